"""Pre-train the lab's model: `python -m kib_lab.pretrain --out FOLDER`.

The weights depend on the number of threads but are otherwise deterministic. To resume an interrupted training run from
its last checkpoint in FOLDER, run the same command again.
"""

import argparse
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kib_lab.pretraining_examples import SECOND_STAGE, TrainingExample, make_example
from kib_lab.vocabulary import END, PAD, vocabulary, write_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from transformers import LlamaForCausalLM

__all__ = ["PretrainingSettings", "main", "pretrain"]

EXAMPLES_PER_STEP: tuple[dict[str, int], dict[str, int]] = (
    {"known": 20, "asked": 24, "twice": 8, "read": 16},
    {"known": 8, "asked": 8, "recall": 12, "read": 12},
)
"""The number of examples of each kind per step, in the first and in the second stage."""

LOSS_WEIGHTS = {"known": 1.0, "asked": 0.6, "twice": 0.3, "recall": 1.0, "read": 1.0}
"""The weight of each kind of example in the loss."""

BATCH_TOKENS = 6000
"""Maximum number of tokens per forward pass, including padding."""


@dataclass(frozen=True, slots=True)
class PretrainingSettings:
    """All settings that determine the weights; `rows` scales the number of examples per step."""

    steps: int = 4400
    seed: int = 0
    width: int = 128
    layers: int = 4
    heads: int = 4
    rows: float = 1.0
    rate: float = 2e-3
    warmup: int = 100
    threads: int = 2
    bf16: bool = True


def _new_model(settings: PretrainingSettings) -> "LlamaForCausalLM":
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(settings.seed)
    tokens = vocabulary()
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=settings.width,
        intermediate_size=settings.width * 3,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=tokens["<s>"],
        eos_token_id=tokens[END],
        pad_token_id=tokens[PAD],
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("sdpa")
    return model


def _rate(settings: PretrainingSettings, step: int) -> float:
    """Return the learning rate for a step: linear warm-up, cosine decay, then linear decay to 1/50 of the peak rate."""
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    second = SECOND_STAGE * settings.steps
    done = (min(step, second) - settings.warmup) / max(1.0, settings.steps * 4 / 3 - settings.warmup)
    rate = settings.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
    left = 1 - max(0.0, step - second) / (settings.steps - second)
    return settings.rate * 0.02 + (rate - settings.rate * 0.02) * left


def _batches(examples: Sequence[TrainingExample]) -> Iterator[list[TrainingExample]]:
    """Yield batches of similar-length examples, each with at most BATCH_TOKENS tokens including padding."""
    batch: list[TrainingExample] = []
    for example in sorted(examples, key=lambda example: len(example.tokens)):
        if batch and len(example.tokens) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(example)
    yield batch


def _loss(model: "LlamaForCausalLM", examples: Sequence[TrainingExample]) -> "Tensor":
    """Return the weighted sum of negative log-likelihoods in nats; each branch attends only to itself and branch 0."""
    import torch
    from torch.nn.functional import cross_entropy

    longest = max(len(example.tokens) for example in examples)

    def pad(lists: list[list[Any]], value: float, dtype: "torch.dtype") -> "Tensor":
        return torch.tensor([items + [value] * (longest - len(items)) for items in lists], dtype=dtype)

    tokens = pad([example.tokens for example in examples], vocabulary()[PAD], torch.long)
    branches = pad([example.branches for example in examples], 0, torch.long)
    positions = pad([example.positions for example in examples], 0, torch.long)
    weights = pad([example.weights for example in examples], 0.0, torch.float32)
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    visible = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])
    hidden = model.model(tokens, attention_mask=(causal & visible)[:, None], position_ids=positions).last_hidden_state
    weighted = weights[:, 1:] > 0
    logits = model.lm_head(hidden[:, :-1][weighted]).float()
    losses = cross_entropy(logits, tokens[:, 1:][weighted], reduction="none")
    return (losses * weights[:, 1:][weighted]).sum()


def _step(model: "LlamaForCausalLM", settings: PretrainingSettings, step: int) -> dict[str, float]:
    """Compute the gradients for one step; return the mean loss per kind of example and the number of tokens."""
    import torch

    losses, tokens, progress = {}, 0, step / settings.steps
    for kind, number in EXAMPLES_PER_STEP[progress >= SECOND_STAGE].items():
        scaled = max(1, round(number * settings.rows))
        examples = [make_example(kind, settings.seed, step, index, progress) for index in range(scaled)]
        total_weight = sum(sum(example.weights[1:]) for example in examples)
        tokens += sum(len(example.tokens) for example in examples)
        losses[kind] = 0.0
        for batch in _batches(examples):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.bf16):
                loss = _loss(model, batch) / total_weight
            (loss * LOSS_WEIGHTS[kind]).backward()  # type: ignore[no-untyped-call]
            losses[kind] += loss.item()
    return {**{kind: round(value, 5) for kind, value in losses.items()}, "tokens": tokens}


def _flat_state(optimizer: "Optimizer") -> "dict[str, Tensor]":
    """Return the optimizer's state tensors, keyed by `<parameter index>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def _save(
    folder: Path, model: "LlamaForCausalLM", optimizer: "Optimizer", settings: PretrainingSettings, step: int
) -> None:
    """Write a checkpoint atomically, then remove the previous checkpoint."""
    from safetensors.torch import save_file

    done, part = folder / f"checkpoint-{step:06d}", folder / "checkpoint.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    weights = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, part / "weights.safetensors")
    save_file(_flat_state(optimizer), part / "optimizer.safetensors")
    (part / "settings.json").write_text(json.dumps(asdict(settings)), encoding="utf-8")
    for file in part.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(done, ignore_errors=True)
    part.rename(done)
    for old in _checkpoints(folder)[:-1]:
        shutil.rmtree(old)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("checkpoint-*") if path.is_dir())


def _resume(folder: Path, model: "LlamaForCausalLM", optimizer: "Optimizer", settings: PretrainingSettings) -> int:
    """Load the newest checkpoint and return its step, or return 0 if no checkpoint exists."""
    from safetensors.torch import load_file

    found = _checkpoints(folder)
    if not found:
        return 0
    newest = found[-1]
    if json.loads((newest / "settings.json").read_text(encoding="utf-8")) != asdict(settings):
        raise SystemExit(
            f"{newest}: this checkpoint was written with different settings; remove the checkpoint or change --out"
        )
    model.load_state_dict(load_file(newest / "weights.safetensors"), strict=False)
    state: dict[int, dict[str, Any]] = {}
    for key, value in load_file(newest / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(newest.name.split("-")[1])


def _truncate_log(path: Path, step: int) -> None:
    """Remove the log lines for all steps after the checkpoint."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    valid = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
    part = path.with_suffix(".part")
    part.write_text("".join(line + "\n" for line in valid), encoding="utf-8")
    part.replace(path)


def _optimizer(model: "LlamaForCausalLM", settings: PretrainingSettings) -> "Optimizer":
    import torch

    return torch.optim.AdamW(model.parameters(), lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.01)


def _use_passive_threads() -> None:
    """Make waiting threads sleep instead of spinning, which makes a step five times faster on a busy machine."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pretrain(folder: Path, settings: PretrainingSettings, every: int = 100) -> None:
    """Train a model and write it to `folder`, with a log in `log.jsonl` and a checkpoint every `every` steps."""
    _use_passive_threads()
    import torch

    torch.set_num_threads(settings.threads)
    folder.mkdir(parents=True, exist_ok=True)
    model = _new_model(settings)
    optimizer = _optimizer(model, settings)
    start = _resume(folder, model, optimizer, settings)
    log = folder / "log.jsonl"
    _truncate_log(log, start)
    begun = time.monotonic()
    for step in range(start, settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(settings, step)
        report = _step(model, settings, step)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 10 == 0:
            seconds = (time.monotonic() - begun) / (step + 1 - start)
            _log(log, {"step": step + 1, **report, "seconds": round(seconds, 3)})
        if (step + 1) % every == 0 and step + 1 < settings.steps:
            _save(folder, model, optimizer, settings, step + 1)
    _export(folder, model)


def _log(path: Path, record: Mapping[str, float]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _export(folder: Path, model: "LlamaForCausalLM") -> None:
    """Write the trained model to a folder in the transformers format."""
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors creates a file that only its owner can read
    write_tokenizer(folder)


def main() -> None:
    """Parse the command line and train the model."""
    parser = argparse.ArgumentParser(prog="python -m kib_lab.pretrain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="output folder for the model, the log and the checkpoints"
    )
    parser.add_argument("--every", type=int, default=100, help="number of training steps between two checkpoints")
    defaults = PretrainingSettings()
    for name, value in asdict(defaults).items():
        if not isinstance(value, bool):
            parser.add_argument(f"--{name}", type=type(value), default=value, help=f"default {value}")
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="train in single precision")
    given = vars(parser.parse_args())
    pretrain(given.pop("out"), every=given.pop("every"), settings=PretrainingSettings(**given))


if __name__ == "__main__":
    main()
