"""Pre-train the lab's model: `python -m kib_lab.pretrain --out FOLDER`.

Deterministic for a number of threads, and resumable: the same command continues from the last checkpoint in FOLDER.
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

from kib_lab.rows import SECOND, Row, make_row
from kib_lab.vocabulary import END, PAD, vocabulary, write_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from transformers import LlamaForCausalLM

__all__ = ["Settings", "main", "pretrain"]

ROWS: tuple[dict[str, int], dict[str, int]] = (
    {"known": 20, "asked": 24, "twice": 8, "read": 16},
    {"known": 8, "asked": 8, "recall": 12, "read": 12},
)
"""Rows of each kind in a step of the first and of the second stage."""

SHARES = {"known": 1.0, "asked": 0.6, "twice": 0.3, "recall": 1.0, "read": 1.0}
"""Weight of each kind's mean loss."""

PIECE = 6000
"""Tokens, padding included, that go through the model at once."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides the weights."""

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


def _new_model(settings: Settings) -> "LlamaForCausalLM":
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


def _rate(settings: Settings, step: int) -> float:
    """Learning rate of a step: linear warm-up, part of a cosine, and from the second stage on a line to a fiftieth."""
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    second = SECOND * settings.steps
    done = (min(step, second) - settings.warmup) / max(1.0, settings.steps * 4 / 3 - settings.warmup)
    rate = settings.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
    left = 1 - max(0.0, step - second) / (settings.steps - second)
    return settings.rate * 0.02 + (rate - settings.rate * 0.02) * left


def _pieces(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows of like length together, each piece at most PIECE tokens with padding."""
    piece: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.tokens)):
        if piece and len(row.tokens) * (len(piece) + 1) > PIECE:
            yield piece
            piece = []
        piece.append(row)
    yield piece


def _loss(model: "LlamaForCausalLM", rows: Sequence[Row]) -> "Tensor":
    """Weighted sum of the negative log-likelihoods, in nats; each branch sees what all see and itself."""
    import torch
    from torch.nn.functional import cross_entropy

    longest = max(len(row.tokens) for row in rows)

    def pad(lists: list[list[Any]], value: float, dtype: "torch.dtype") -> "Tensor":
        return torch.tensor([items + [value] * (longest - len(items)) for items in lists], dtype=dtype)

    tokens = pad([row.tokens for row in rows], vocabulary()[PAD], torch.long)
    branches = pad([row.branches for row in rows], 0, torch.long)
    positions = pad([row.positions for row in rows], 0, torch.long)
    weights = pad([row.weights for row in rows], 0.0, torch.float32)
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    seen = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])
    hidden = model.model(tokens, attention_mask=(causal & seen)[:, None], position_ids=positions).last_hidden_state
    chosen = weights[:, 1:] > 0
    logits = model.lm_head(hidden[:, :-1][chosen]).float()
    each = cross_entropy(logits, tokens[:, 1:][chosen], reduction="none")
    return (each * weights[:, 1:][chosen]).sum()


def _step(model: "LlamaForCausalLM", settings: Settings, step: int) -> dict[str, float]:
    """Gradients of one step; the mean loss of each kind and the tokens read."""
    import torch

    report, count, progress = {}, 0, step / settings.steps
    for kind, count_of_rows in ROWS[progress >= SECOND].items():
        places = max(1, round(count_of_rows * settings.rows))
        rows = [make_row(kind, settings.seed, step, place, progress) for place in range(places)]
        total = sum(sum(row.weights[1:]) for row in rows)
        count += sum(len(row.tokens) for row in rows)
        report[kind] = 0.0
        for piece in _pieces(rows):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.bf16):
                loss = _loss(model, piece) / total
            (loss * SHARES[kind]).backward()  # type: ignore[no-untyped-call]
            report[kind] += loss.item()
    return {**{kind: round(value, 5) for kind, value in report.items()}, "tokens": count}


def _flat(optimizer: "Optimizer") -> "dict[str, Tensor]":
    state = optimizer.state_dict()["state"]
    return {f"{place}.{name}": value for place, entry in state.items() for name, value in entry.items()}


def _save(folder: Path, model: "LlamaForCausalLM", optimizer: "Optimizer", settings: Settings, step: int) -> None:
    """A checkpoint appears whole or not at all; the one before it goes last."""
    from safetensors.torch import save_file

    done, part = folder / f"checkpoint-{step:06d}", folder / "checkpoint.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    weights = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, part / "weights.safetensors")
    save_file(_flat(optimizer), part / "optimizer.safetensors")
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


def _resume(folder: Path, model: "LlamaForCausalLM", optimizer: "Optimizer", settings: Settings) -> int:
    """Load the newest checkpoint; the number of steps done."""
    from safetensors.torch import load_file

    found = _checkpoints(folder)
    if not found:
        return 0
    newest = found[-1]
    if json.loads((newest / "settings.json").read_text(encoding="utf-8")) != asdict(settings):
        raise SystemExit(f"{folder} holds a checkpoint made with other settings; choose another --out or remove it")
    model.load_state_dict(load_file(newest / "weights.safetensors"), strict=False)
    state: dict[int, dict[str, Any]] = {}
    for key, value in load_file(newest / "optimizer.safetensors").items():
        place, name = key.split(".", 1)
        state.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(newest.name.split("-")[1])


def _cut_log(path: Path, step: int) -> None:
    """Drop the lines of steps that the checkpoint does not hold."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
    part = path.with_suffix(".part")
    part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    part.replace(path)


def _optimizer(model: "LlamaForCausalLM", settings: Settings) -> "Optimizer":
    import torch

    return torch.optim.AdamW(model.parameters(), lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.01)


def _quiet_threads() -> None:
    """Threads that wait do not spin: on a busy machine that makes a step five times faster."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pretrain(folder: Path, settings: Settings, every: int = 100) -> None:
    """Train to the end and write the model to `folder`; log to its `log.jsonl`, a checkpoint `every` so many steps."""
    _quiet_threads()
    import torch

    torch.set_num_threads(settings.threads)
    folder.mkdir(parents=True, exist_ok=True)
    model = _new_model(settings)
    optimizer = _optimizer(model, settings)
    start = _resume(folder, model, optimizer, settings)
    log = folder / "log.jsonl"
    _cut_log(log, start)
    begun = time.monotonic()
    for step in range(start, settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(settings, step)
        report = _step(model, settings, step)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 10 == 0:
            _log(
                log, {"step": step + 1, **report, "seconds": round((time.monotonic() - begun) / (step + 1 - start), 3)}
            )
        if (step + 1) % every == 0 and step + 1 < settings.steps:
            _save(folder, model, optimizer, settings, step + 1)
    _export(folder, model)


def _log(path: Path, record: Mapping[str, float]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _export(folder: Path, model: "LlamaForCausalLM") -> None:
    """Write the finished model as a transformers folder."""
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes it for its owner alone
    write_tokenizer(folder)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m kib_lab.pretrain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, its log and its checkpoints")
    parser.add_argument("--every", type=int, default=100, help="steps from checkpoint to checkpoint")
    defaults = Settings()
    for name, value in asdict(defaults).items():
        if not isinstance(value, bool):
            parser.add_argument(f"--{name}", type=type(value), default=value, help=f"default {value}")
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="single precision throughout")
    given = vars(parser.parse_args())
    pretrain(given.pop("out"), every=given.pop("every"), settings=Settings(**given))


if __name__ == "__main__":
    main()
