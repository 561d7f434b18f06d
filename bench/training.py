"""Compare the training speed of kib, of transformers' Trainer with padding, and of TRL's SFTTrainer, padded and packed.

All trainers take turns and train the same model on the same documents (tokens with BOS and EOS), with AdamW in float32
on the CPU and about the same number of tokens per step. Speed is the number of tokens with a loss per second, over all
steps after the first step, excluding loading and saving. The times also exclude kib's loss computation before and after
training. TRL's packing is compared only if packed texts do not attend to each other, which is tested on the model. The
table shows the number of tokens that each trainer loses. On a shared machine, the processor time of a single thread is
more reliable than wall time. Usage:

    pip install trl
    python bench/training.py [--data FOLDER] [--rounds N] [--threads N] [--json FILE]
    python bench/training.py --vocabulary N [--texts N] [--threads N] [--json FILE]
    python bench/training.py --model FOLDER [--texts N] [--threads N] [--json FILE]

The texts are the lab's documents, and the model is the lab's. With `--data`, the script also trains a random Llama of
about four million parameters, with a BPE vocabulary of 4,000, on the paragraphs in FOLDER/xquad/xquad.en.json. The
lengths of these paragraphs vary widely.

With `--vocabulary` or `--model`, the script does not compare trainers. Instead, the script measures the peak memory and
the time of kib's trainers on the lab's documents, with a random model with this vocabulary or with the model in FOLDER.
"""

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import command

from kib.plugins.registry import load
from kib.records import Text, Weights
from kib.testing import make_plugin, make_tiny_model
from kib_hf.loading import load_model, load_tokenizer, quietly
from kib_hf.training.examples import Example, tokenize

BLOCK = 256
ROWS = 16
"""Rows per step of kib, which has 4,096 tokens."""
RATE = 1e-4
EPOCHS = 3


@dataclass(frozen=True, slots=True)
class Work:
    """A model in a folder, and the texts to train it on."""

    name: str
    model: Path
    texts: Sequence[Text]
    examples: Sequence[Example]

    @property
    def tokens(self) -> int:
        """The number of tokens with a loss."""
        return sum(example.loss_tokens for example in self.examples)

    @property
    def batch(self) -> int:
        """The number of texts that contain about as many tokens as one step of kib's trainer."""
        return max(1, round(BLOCK * ROWS * len(self.examples) / sum(map(len, self.examples))))


@dataclass(frozen=True, slots=True)
class Run:
    """The number of tokens with a loss in all steps, and the tokens and times of the steps after the first step."""

    trained: int
    timed: int
    seconds: float
    processor: float

    @classmethod
    def between(cls, trained: int, timed: int, start: tuple[float, float], end: tuple[float, float]) -> "Run":
        """Create a run from two readings of the clocks."""
        return cls(trained, timed, end[0] - start[0], end[1] - start[1])


def clocks() -> tuple[float, float]:
    """Return wall time and processor time in seconds."""
    return time.perf_counter(), time.process_time()


def lab(count: int) -> Work:
    """Return the lab's model and its documents about new people."""
    from kib_lab.model import FOLDER

    corpus = make_plugin(load("corpora", "lab"), {"people": "new"})
    texts = [Text(one.id, "document", f"{one.title}\n{one.text}") for one in corpus.documents()]
    return _work("lab", FOLDER, texts[:count], begin=False)


def paragraphs(data: Path, folder: Path, count: int) -> Work:
    """Return paragraphs from Wikipedia, and a random Llama with a vocabulary learned from the paragraphs."""
    articles = json.loads((data / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    found = [(article["title"], one["context"]) for article in articles for one in article["paragraphs"]]
    texts = [Text(f"paragraph-{n}", "document", f"{title}\n{text}") for n, (title, text) in enumerate(found)]
    _make_llama(folder, [text.text for text in texts])
    return _work("paragraphs", folder, texts[:count], begin=True)


def _work(name: str, model: Path, texts: Sequence[Text], *, begin: bool) -> Work:
    tokenizer = load_tokenizer(model, trust_remote_code=False, add_bos_token=None)
    return Work(name, model, texts, tokenize(texts, tokenizer, begin=begin))


def _make_llama(folder: Path, texts: Sequence[str]) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=4000, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    ends = {"bos_token": "<s>", "eos_token": "</s>"}
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=made, **ends).save_pretrained(folder)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6}
    sizes |= {"num_attention_heads": 6, "max_position_embeddings": 1024, "bos_token_id": 0, "eos_token_id": 1}
    config = LlamaConfig(vocab_size=4000, **sizes)
    with quietly():
        LlamaForCausalLM(config).save_pretrained(folder)


def train_kib(work: Work, folder: Path, **options: Any) -> Run:
    """Train with kib's trainer `full`."""
    records: list[tuple[tuple[float, float], int]] = []
    given = {"epochs": EPOCHS, "block": BLOCK, "batch_size": ROWS, "learning_rate": RATE, "device": "cpu", **options}
    trainer = make_plugin(load("trainers", "full"), given)
    trained = trainer.train(
        Weights(work.model), work.texts, folder, 0, lambda r: records.append((clocks(), r["tokens"]))
    )
    (start, first), (end, last) = records[0], records[-1]
    return Run.between(trained.trained_tokens, last - first, start, end)


def train_peer(work: Work, folder: Path, make: Callable[..., Any]) -> Run:
    """Train with a subclass of transformers' Trainer, created by `make(model, work, arguments)`."""
    from transformers import PrinterCallback, TrainerCallback

    model = load_model(work.model, dtype="float32", device="cpu", trust_remote_code=False)
    times: list[tuple[float, float]] = []
    counts: list[int] = []

    class Clock(TrainerCallback):
        """Records the end of each step."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(clocks())

    with quietly():
        trainer = make(model, work, {**ARGUMENTS, "output_dir": str(folder)})
        trainer.add_callback(Clock())
        trainer.remove_callback(PrinterCallback)
        collate = trainer.data_collator

        def counted(items: Any) -> Any:
            batch = collate(items)
            counts.append(int((batch["labels"][:, 1:] != -100).sum()))
            return batch

        trainer.data_collator = counted
        trainer.train()
    first = trainer.args.gradient_accumulation_steps
    return Run.between(sum(counts), sum(counts[first:]), times[0], times[-1])


ARGUMENTS: dict[str, Any] = {
    "num_train_epochs": EPOCHS,
    "learning_rate": RATE,
    "use_cpu": True,
    "bf16": False,
    "save_strategy": "no",
    "logging_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "seed": 0,
}


def transformers_padded(model: Any, work: Work, arguments: dict[str, Any]) -> Any:
    """Create transformers' Trainer, with batches padded to their longest text."""
    import torch
    from transformers import Trainer, TrainingArguments

    def collate(items: Sequence[Example]) -> dict[str, Any]:
        longest = max(map(len, items))
        shape = (len(items), longest)
        batch = {
            "input_ids": torch.zeros(shape, dtype=torch.long),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
        }
        batch["labels"] = torch.full(shape, -100)
        for row, example in enumerate(items):
            batch["input_ids"][row, : len(example)] = torch.tensor(example.tokens)
            batch["attention_mask"][row, : len(example)] = 1
            batch["labels"][row, : len(example)] = torch.tensor(example.labels)
        return batch

    made = TrainingArguments(per_device_train_batch_size=work.batch, remove_unused_columns=False, **arguments)
    return Trainer(model=model, args=made, train_dataset=list(work.examples), data_collator=collate)


def trl_padded(model: Any, work: Work, arguments: dict[str, Any]) -> Any:
    """Create TRL's SFTTrainer with its defaults, without truncation."""
    return _trl(model, work, arguments, per_device_train_batch_size=work.batch, max_length=None)


def trl_packed(model: Any, work: Work, arguments: dict[str, Any]) -> Any:
    """Create TRL's SFTTrainer with packing that splits long texts; row length and rows per step are the same as in kib.

    A step has four micro-batches, because TRL joins the rows of a micro-batch and wastes attention between texts.
    """
    return _trl(
        model,
        work,
        arguments,
        per_device_train_batch_size=ROWS // 4,
        gradient_accumulation_steps=4,
        max_length=BLOCK,
        packing=True,
        packing_strategy="bfd_split",
    )


def _trl(model: Any, work: Work, arguments: dict[str, Any], **more: Any) -> Any:
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found] # installed for this script alone

    disable_progress_bars()
    tokenizer = load_tokenizer(work.model, trust_remote_code=False, add_bos_token=None)
    tokenizer.pad_token = tokenizer.eos_token
    config = SFTConfig(gradient_checkpointing=False, **arguments, **more)
    data = Dataset.from_dict({"input_ids": [list(example.tokens) for example in work.examples]})
    return SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)


def texts_see_each_other(work: Work, folder: Path) -> bool:
    """Return whether changing one text in a packed batch of TRL changes the logits of a different text."""
    import torch

    model: Any = load_model(work.model, dtype="float32", device="cpu", trust_remote_code=False)
    with quietly():
        trainer = trl_packed(model, work, {**ARGUMENTS, "output_dir": str(folder)})
    batch = trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[1]])
    batch.pop("labels")
    second = int((batch["position_ids"][0] == 0).nonzero()[1])
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][0, :second] = batch["input_ids"][0, :second].flip(0)
    model.eval()
    with torch.inference_mode():
        before, after = (model(**one, use_cache=False).logits[0, second:] for one in (batch, changed))
    return not torch.allclose(before, after, atol=1e-5)


def measure(work: Work, rounds: int, temporary: Path) -> dict[str, Any]:
    """Run all trainers in turn, `rounds` times."""
    sides: dict[str, Callable[[Path], Run]] = {
        "kib": lambda folder: train_kib(work, folder),
        "kib, packed": lambda folder: train_kib(work, folder, layout="packed"),
        "transformers, padded": lambda folder: train_peer(work, folder, transformers_padded),
        "TRL, padded": lambda folder: train_peer(work, folder, trl_padded),
        "TRL, packed": lambda folder: train_peer(work, folder, trl_packed),
    }
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    for number in range(rounds):
        for side, run in sides.items():
            with tempfile.TemporaryDirectory(dir=temporary) as folder:
                runs[side].append(run(Path(folder)))
            print(
                f"  round {number + 1}, {side}: {runs[side][-1].timed / runs[side][-1].seconds:,.0f} tokens/s",
                flush=True,
            )
    with tempfile.TemporaryDirectory(dir=temporary) as folder:
        joined = texts_see_each_other(work, Path(folder))
    others = [side for side in sides if side[0] != "k" and not (joined and side == "TRL, packed")]
    result: dict[str, Any] = {
        "texts": len(work.examples),
        "text_tokens": work.tokens,
        "runs": {side: [asdict(run) for run in some] for side, some in runs.items()},
        "lost_tokens": {side: EPOCHS * work.tokens - some[0].trained for side, some in runs.items()},
        "trl_packed_texts_see_each_other": joined,
    }
    for clock in ("seconds", "processor"):
        rates = {side: median(run.timed / getattr(run, clock) for run in some) for side, some in runs.items()}
        best = max(rates[side] for side in others)
        result[clock] = {"tokens_per_second": rates, "ratio_to_best": rates["kib"] / best}
    return result


def big_vocabulary(folder: Path, vocabulary: int) -> Path:
    """Write a random Llama with a byte tokenizer and an output layer of `vocabulary` words to a folder."""
    from transformers import AutoConfig, LlamaForCausalLM

    make_tiny_model(folder, layers=2, width=64)
    config = AutoConfig.from_pretrained(folder)
    config.vocab_size = vocabulary
    with quietly():
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def peak_of(kind: str, model: Path, texts: Sequence[Text], *, blocks: bool, threads: int) -> dict[str, float]:
    """Train in this process, and return its peak memory in bytes and its processor time in seconds."""
    import torch

    from kib_hf.training import blocked_loss

    torch.set_num_threads(threads)
    if not blocks:
        blocked_loss.BLOCK_VALUES = sys.maxsize
    start = time.process_time()
    trainer = make_plugin(load("trainers", kind), {"epochs": 1, "learning_rate": RATE, "device": "cpu"})
    with tempfile.TemporaryDirectory() as folder:
        trained = trainer.train(Weights(model), texts, Path(folder), 0, lambda _: None)
    return {
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "processor": time.process_time() - start,
        "first_loss": trained.first_loss,
        "last_loss": trained.last_loss,
    }


def measure_memory(model: Path, count: int, threads: int) -> list[dict[str, Any]]:
    """Print the memory and the time of both trainers, with the logits of all positions at once and in blocks."""
    texts = lab(count).texts
    print(f"{len(texts)} texts\n{'trainer':8}{'logits':>12}{'peak MiB':>10}{'cpu s':>9}{'loss':>24}")
    found = []
    for kind in ("full", "lora"):
        for blocks in (False, True):
            with ProcessPoolExecutor(1, get_context("spawn")) as process:  # a process reports only its highest peak
                one = process.submit(peak_of, kind, model, texts, blocks=blocks, threads=threads).result()
            found.append({"trainer": kind, "blocks": blocks, **one})
            losses = f"{one['first_loss']:.6f} -> {one['last_loss']:.6f}"
            print(
                f"{kind:8}{'in blocks' if blocks else 'at once':>12}{one['peak_bytes'] / 2**20:10,.0f}"
                f"{one['processor']:9.1f}{losses:>24}",
                flush=True,
            )
    return found


def main() -> None:
    """Run the measurement and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=command.folder)
    parser.add_argument("--rounds", type=command.count, default=3)
    parser.add_argument("--threads", type=command.count, default=2)
    parser.add_argument("--texts", type=command.count, default=10_000)
    parser.add_argument("--vocabulary", type=command.count)
    parser.add_argument("--model", type=command.folder)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "threads": arguments.threads,
        "python": platform.python_version(),
    }
    found |= {name: version(name) for name in ("torch", "transformers")}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.vocabulary or arguments.model:
            model = arguments.model or big_vocabulary(Path(folder) / "model", arguments.vocabulary)
            found["memory"] = measure_memory(model, arguments.texts, arguments.threads)
        else:
            compare(arguments, Path(folder), found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def compare(arguments: argparse.Namespace, folder: Path, found: dict[str, Any]) -> None:
    """Compare the speed of all trainers, print the tables, and add the results to `found`."""
    found |= {name: version(name) for name in ("trl", "accelerate")}
    works = [lab(arguments.texts)]
    if arguments.data:
        works.append(paragraphs(arguments.data, folder / "llama", arguments.texts))
    for work in works:
        print(f"{work.name}: {len(work.examples)} texts, {work.tokens:,} tokens")
        found[work.name] = measure(work, arguments.rounds, folder)
        show(found[work.name])


def show(result: dict[str, Any]) -> None:
    """Print the table of a workload."""
    rates, own = result["seconds"]["tokens_per_second"], result["processor"]["tokens_per_second"]
    print(f"{'':24}{'tokens/s':>10}{'kib is':>8}{'/cpu s':>10}{'kib is':>8}{'lost':>8}")
    for side, rate in rates.items():
        ratios = rates["kib"] / rate, own["kib"] / own[side]
        print(
            f"{side:24}{rate:10,.0f}{ratios[0]:8.2f}{own[side]:10,.0f}{ratios[1]:8.2f}{result['lost_tokens'][side]:8,}"
        )
    joined = result["trl_packed_texts_see_each_other"]
    print(
        "TRL's packed texts "
        f"{'attend to each other, so TRL with packing is not compared' if joined else 'do not attend to each other'}"
    )
    wall, processor = (result[clock]["ratio_to_best"] for clock in ("seconds", "processor"))
    print(
        f"kib's speed relative to the best other trainer: {wall:.2f} in wall time, {processor:.2f} in processor time\n"
    )


if __name__ == "__main__":
    main()
