"""Compare the speed of kib's scorer with lm-eval's `hf` backend on the same prompts, and print one table.

kib and lm-eval use the same model, number of threads and requests, take turns, and start with empty caches. lm-eval
runs at its fastest batch size, which is determined once on a few questions. All times include tokenisation, and kib's
times also include planning. A matrix multiplication in the same number format measures the machine's peak throughput.
Usage:

    python bench/scorer.py --data FOLDER [--full] [--json FILE]     a random Llama of about 100 million parameters
    python bench/scorer.py --data FOLDER --gpu [--json FILE]        a random Mistral of 7 billion on a CUDA GPU, bf16
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import command
import material

from kib.harness.backends import quiet
from kib.harness.requests import answer, batches
from kib.records import Request

BATCH_SIZES = (1, 4, 8, 16, 32)
SEARCHED = 25
"""Number of questions used to find lm-eval's fastest batch size."""
K = range(6)
MARGIN = 2e-4

WORKS = {
    "mmlu-5-letters": "MMLU anatomy, 5-shot, letters",
    "mmlu-0-letters": "MMLU anatomy, 0-shot, letters",
    "mmlu-0-texts": "MMLU anatomy, 0-shot, option text",
    "openbook-k": "OpenBookQA, K = 0..5, 0-shot, option text",
}

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096},
    "llama-100m": {"model_type": "llama", "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
                   "num_attention_heads": 12, "max_position_embeddings": 4096, "tie_word_embeddings": True},
    "mistral-7b": {"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                   "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768,
                   "sliding_window": 4096},
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """The model, data and machine settings of a measurement."""

    data: Path
    folder: Path
    model: str
    device: str
    dtype: str
    questions: int | None
    repeats: int
    threads: int


@dataclass(frozen=True)
class Line:
    """A line of the table: wall time and total processor time of each run in seconds, and memory in bytes."""

    work: str
    questions: int
    batch_size: int
    lm_eval: list[float]
    kib: list[float]
    lm_eval_processors: list[float]
    kib_processors: list[float]
    lm_eval_tokens: int
    kib_tokens: int
    distinct_tokens: int
    prompt_tokens: int
    difference: float
    other_answers: int
    peak_share: float
    lm_eval_memory: int | None = None
    kib_memory: int | None = None

    @property
    def faster(self) -> float:
        """The ratio of lm-eval's median time to kib's median time."""
        return median(self.lm_eval) / median(self.kib)


def runs(work: str, data: Path, limit: int | None) -> list[list[Request]]:
    """Return the requests of a workload, one list per lm-eval run."""
    quiet()
    if work == "openbook-k":
        rendered_task = material.openbook(data, limit)
        asked = rendered_task.ask(0)
        passages = {passage.id: passage for passage in material.facts(data)}
        found = material.search(asked, list(passages.values()), max(K))
        return [
            material.requests(rendered_task, asked, [[passages[hit.passage] for hit in hits[:k]] for hits in found])
            for k in K
        ]
    rendered_task = material.anatomy(
        data, limit, "mmlu_anatomy_continuation" if work == "mmlu-0-texts" else "mmlu_anatomy"
    )
    asked = rendered_task.ask(5 if work == "mmlu-5-letters" else 0)
    return [material.requests(rendered_task, asked, [[]] * len(asked))]


def load(setting: Setting) -> Any:
    """Create a model with random weights, because speed does not depend on their values."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = dict(SHAPES[setting.model])
    words = {"vocab_size": material.WORDS, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = AutoConfig.for_model(shape.pop("model_type"), **words, **shape)
    torch.manual_seed(0)
    with torch.device(setting.device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, setting.dtype))
    return model.eval()


def make(side: str, setting: Setting, model: Any, batch_size: int) -> Any:
    """Wrap the model in a new LM object of kib or of lm-eval."""
    from lm_eval.models.huggingface import HFLM

    from kib_hf.scoring.scorer import Scorer

    options = {"tokenizer": str(setting.folder), "batch_size": batch_size}
    return Scorer(model, **options) if side == "kib" else HFLM(model, **options)


def run(lm: Any, lists: Sequence[Sequence[Request]]) -> list[list[tuple[float, bool]]]:
    """Answer all lists of requests; kib receives all lists at once, as in `kib run`, and lm-eval one list per run."""
    if not hasattr(lm, "plan"):
        return [answer(lm, some) for some in lists]
    known: dict[tuple[str, str], Any] = {}
    for batch in batches([request for some in lists for request in some], lm):
        known |= dict(zip([request.arguments for request in batch], answer(lm, batch), strict=True))
    return [[known[request.arguments] for request in some] for some in lists]


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the wall time and the total processor time of a call in seconds, and the result of the call."""
    import torch

    start, busy = time.perf_counter(), time.process_time()
    given = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - busy, given


@contextmanager
def counted(model: Any) -> Iterator[list[int]]:
    """Record the number of tokens of each forward pass in this context, including padding."""
    sizes: list[int] = []

    def note(_: Any, given: tuple[Any, ...]) -> None:
        sizes.append(given[0].numel())

    hook = model.get_input_embeddings().register_forward_pre_hook(note)
    try:
        yield sizes
    finally:
        hook.remove()


def best_batch(setting: Setting, model: Any, work: str) -> int:
    """Find lm-eval's fastest batch size on a few questions."""
    lists = runs(work, setting.data, min(SEARCHED, setting.questions or SEARCHED))
    lists = lists[-1:]  # of a sweep over K, only the longest prompts
    times = {
        size: timed(lambda size=size: run(make("lm-eval", setting, model, size), lists))[0] for size in BATCH_SIZES
    }
    return min(times, key=times.__getitem__)


def measure(setting: Setting, model: Any, work: str, peak: float) -> Line:
    """Measure a workload and return one line of the table."""
    lists = runs(work, setting.data, setting.questions)
    size = best_batch(setting, model, work)
    times: dict[str, list[tuple[float, float]]] = {"lm-eval": [], "kib": []}
    given: dict[str, Any] = {}
    tokens = {"lm-eval": 0, "kib": 0}
    for _ in range(setting.repeats):
        for side, seconds in times.items():
            lm = make(side, setting, model, size)
            with counted(model) as sizes:
                wall, busy, given[side] = timed(partial(run, lm, lists))
            seconds.append((wall, busy))
            tokens[side] = sum(sizes)
    distinct, prompts, flops = needed(model, lists, setting)
    return Line(
        work=work,
        questions=len({request.arguments[0] for request in lists[0]}),
        batch_size=size,
        lm_eval=[wall for wall, _ in times["lm-eval"]],
        kib=[wall for wall, _ in times["kib"]],
        lm_eval_processors=[busy for _, busy in times["lm-eval"]],
        kib_processors=[busy for _, busy in times["kib"]],
        lm_eval_tokens=tokens["lm-eval"],
        kib_tokens=tokens["kib"],
        distinct_tokens=distinct,
        prompt_tokens=prompts,
        difference=max(abs(a[0] - b[0]) for a, b in _pairs(given)),
        other_answers=other_answers(lists, given),
        peak_share=flops / median(wall for wall, _ in times["kib"]) / peak,
        lm_eval_memory=memory(setting, "lm-eval", work, size),
        kib_memory=memory(setting, "kib", work, size),
    )


def _pairs(given: dict[str, Any]) -> list[tuple[Any, Any]]:
    lists = zip(given["lm-eval"], given["kib"], strict=True)
    return [pair for one, two in lists for pair in zip(one, two, strict=True)]


def other_answers(lists: Sequence[Sequence[Request]], given: dict[str, Any]) -> int:
    """Count questions with different answers, except questions with an lm-eval margin within rounding error."""
    other = 0
    for number, some in enumerate(lists):
        options: dict[str, list[int]] = {}
        for index, request in enumerate(some):
            options.setdefault(request.arguments[0], []).append(index)
        for indices in options.values():
            plain, mine = ([given[side][number][index][0] for index in indices] for side in ("lm-eval", "kib"))
            order = sorted(plain, reverse=True)
            if order[0] - order[1] > MARGIN and plain.index(order[0]) != mine.index(max(mine)):
                other += 1
    return other


def needed(model: Any, lists: Sequence[Sequence[Request]], setting: Setting) -> tuple[int, int, float]:
    """Return the numbers of distinct tokens, of tokens in each list's distinct prompts, and of operations needed.

    The operations needed are the operations on distinct tokens: in layers, in attention and for scored outputs.
    """
    import numpy as np

    from kib_hf.scoring.prefix_trees import RowLimits
    from kib_hf.scoring.request_plan import RequestPlan

    lm = make("kib", setting, model, 1)
    pairs = dict.fromkeys(request.arguments for some in lists for request in some)
    prompts = RequestPlan(lm.encode_pairs(pairs), RowLimits(2**40, 2**40, 0)).prompts
    distinct = int(prompts.lengths.sum() - prompts.shared.sum())
    config = model.config
    head = config.vocab_size * config.hidden_size
    layers = sum(part.numel() for part in model.get_decoder().layers.parameters())
    pairs_seen = sum(
        (int(length) * (int(length) + 1) - int(shared) * (int(shared) + 1)) / 2
        for length, shared in zip(prompts.lengths, prompts.shared, strict=True)
    )
    wide = config.num_attention_heads * getattr(
        model.config, "head_dim", config.hidden_size // config.num_attention_heads
    )
    attention = 4 * config.num_hidden_layers * wide * pairs_seen
    scored = int((prompts.lengths - np.maximum(prompts.first_scored, prompts.shared)).clip(min=1).sum())
    total = sum(len(lm.tok_encode(text)) for some in lists for text in {one.arguments[0] for one in some})
    return distinct, total, 2.0 * layers * distinct + attention + 2.0 * head * scored


def matmul_peak(setting: Setting) -> float:
    """Return the operations per second of the fastest of several plain matrix multiplications."""
    import torch

    size = 8192 if setting.device.startswith("cuda") else 2048
    one, two = (torch.randn(size, size, device=setting.device).to(getattr(torch, setting.dtype)) for _ in range(2))
    one @ two
    return 2 * size**3 / min(timed(lambda: one @ two)[0] for _ in range(15))


def memory(setting: Setting, side: str, work: str, batch_size: int) -> int | None:
    """Return the peak GPU or resident memory of a new process that scores with kib or lm-eval, including the model."""
    arguments = [sys.executable, __file__, "--memory-of", side, work, str(batch_size), "--model", setting.model]
    arguments += ["--data", str(setting.data), "--work", str(setting.folder), "--dtype", setting.dtype]
    arguments += ["--threads", str(setting.threads), "--questions", str(min(SEARCHED, setting.questions or SEARCHED))]
    arguments += ["--gpu"] if setting.device == "cuda" else []
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def held(setting: Setting) -> int:
    """Return the peak memory of this process in bytes. The value of getrusage would include the parent's memory."""
    if setting.device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine(setting: Setting, peak: float) -> dict[str, Any]:
    """Return the machine, packages and model used for the measurements."""
    import torch

    names = ("kib", "kib-hf", "lm-eval", "torch", "transformers", "tokenizers")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": setting.threads,
        "python": platform.python_version(),
        "packages": {name: found for name in names if (found := _version(name))},
        "model": setting.model,
        "dtype": setting.dtype,
        "device": torch.cuda.get_device_name() if setting.device.startswith("cuda") else setting.device,
        "matmul_peak": peak,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def show(lines: Sequence[Line], about: dict[str, Any]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"kib compared with lm-eval hf: {about['model']}, {about['dtype']}, {about['device']}")
    for name in (
        "work",
        "n",
        "batch",
        "lm-eval s",
        "kib s",
        "faster",
        "tokens read",
        "tokens/s",
        "max diff",
        "other",
        "peak",
        "GB",
    ):
        table.add_column(name, justify="left" if name == "work" else "right")
    for line in lines:
        sizes = [line.lm_eval_memory, line.kib_memory]
        table.add_row(
            WORKS[line.work],
            str(line.questions),
            str(line.batch_size),
            f"{median(line.lm_eval):.2f}",
            f"{median(line.kib):.2f}",
            f"{line.faster:.2f}",
            f"{line.lm_eval_tokens:,} / {line.kib_tokens:,}",
            f"{line.prompt_tokens / median(line.lm_eval):,.0f} / {line.prompt_tokens / median(line.kib):,.0f}",
            f"{line.difference:.0e}",
            str(line.other_answers),
            f"{line.peak_share:.0%}",
            " / ".join("–" if size is None else f"{size / 2**30:.2f}" for size in sizes),
        )
    Console(width=170).print(table)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=command.folder, required=True, help="folder that contains mmlu, openbookqa and wikipedia"
    )
    parser.add_argument("--work", type=Path, help="folder for the trained tokenizer (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="JSON file to write the results to")
    parser.add_argument(
        "--questions", type=command.count, default=100, help="number of evenly spaced questions per workload"
    )
    parser.add_argument("--full", action="store_true", help="measure all questions")
    parser.add_argument("--repeats", type=command.count, default=3, help="number of runs per scorer (default: 3)")
    parser.add_argument("--threads", type=command.count, default=os.cpu_count(), help="number of threads per scorer")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--model", choices=SHAPES, default="llama-100m")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument(
        "--gpu", action="store_true", help="measure a 7-billion-parameter Mistral model in bf16 on a CUDA GPU"
    )
    parser.add_argument("--memory-of", nargs=3, metavar=("SIDE", "WORK", "BATCH"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run the measurement and print the table."""
    import torch

    arguments = parse()
    quiet()
    if arguments.gpu and not torch.cuda.is_available():
        print("nothing was measured, because PyTorch finds no CUDA GPU")
        if arguments.json:
            arguments.json.write_text(json.dumps({"unmeasured": "no CUDA GPU"}) + "\n", encoding="utf-8")
        return
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(
            data=arguments.data,
            folder=material.tokenizer(arguments.data, arguments.work or Path(folder)),
            model="mistral-7b" if arguments.gpu else arguments.model,
            device="cuda" if arguments.gpu else "cpu",
            dtype="bfloat16" if arguments.gpu else arguments.dtype,
            questions=None if arguments.full else arguments.questions,
            repeats=arguments.repeats,
            threads=arguments.threads,
        )
        model = load(setting)
        if arguments.memory_of:
            side, work, size = arguments.memory_of
            run(make(side, setting, model, int(size)), runs(work, setting.data, setting.questions))
            print(held(setting))
            return
        peak = matmul_peak(setting)
        about = machine(setting, peak)
        lines = []
        for work in arguments.works:
            lines.append(measure(setting, model, work, peak))
            print(f"{WORKS[work]}: {lines[-1].faster:.2f} times faster", file=sys.stderr, flush=True)
        show(lines, about)
        if arguments.json:
            figures = {"machine": about, "works": [{**asdict(line), "faster": line.faster} for line in lines]}
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
