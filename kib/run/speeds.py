"""The speeds that this machine reached in earlier runs, from which `kib check` and `kib plan` forecast times.

Each speed is a small file in the folder `speeds` of the work folder. The name of the file is a digest of the machine,
of the plugin with all of its options, and of the kind of work, so that each device and batch size has its own speed.
"""

import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from kib.identity import digest
from kib.interfaces import Workload
from kib.plugins.resolve import Locked
from kib.store.files import indented_json, make_folder, write_text
from kib.store.sealed_json import read_sealed, sealed
from kib.store.work import Work

__all__ = [
    "Speed",
    "asking_speed",
    "machine",
    "read_speed",
    "store_asking_speed",
    "store_speed",
    "training_key",
    "writing_key",
]

FOLDER = "speeds"

SHORTEST = 1.0
"""The shortest measurement in seconds; the fixed cost of starting a computation dominates shorter measurements."""

Key = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Speed:
    """A measurement: the completed units (tokens, requests or operations), the seconds, and the peak memory in bytes.

    The peak memory is 0 if it was not measured.
    """

    units: float
    seconds: float
    peak_bytes: int = 0

    def time_for(self, units: float) -> float:
        """Return the number of seconds for a number of units at this speed."""
        return units * self.seconds / self.units


def store_asking_speed(work: Work, model: Locked, workload: Workload, seconds: float, peak_bytes: int) -> None:
    """Store the speed at which a model has answered requests of one kind."""
    key, units = _asking(model, workload)
    store_speed(work, key, Speed(units, seconds, peak_bytes))


def asking_speed(work: Work, model: Locked, workload: Workload) -> Speed | None:
    """Return the last measured speed of a model, with the time for this workload in seconds for its own units."""
    key, units = _asking(model, workload)
    speed = read_speed(work, key)
    return None if speed is None else Speed(units, speed.time_for(units), speed.peak_bytes)


def _asking(model: Locked, workload: Workload) -> tuple[Key, int]:
    """Return the key of a speed, and the units of a workload.

    Scored requests are measured in tokens to read. Text is generated in an unknown number of tokens, and a model
    without a public tokenizer does not count tokens; such requests are themselves the unit.
    """
    by_tokens = workload.read_tokens is not None and not workload.written_tokens
    units = workload.read_tokens if workload.read_tokens is not None and by_tokens else workload.requests
    unit = "tokens" if by_tokens else "requests"
    return {"work": workload.kind, "unit": unit, "model": _with_all_options(model)}, units


def training_key(model: Locked, trainer: Locked) -> Key:
    """Return the key of a trainer's speed in operations, which all settings and texts of the trainer share."""
    runtime = {name: value for name, value in _all_options(trainer).items() if name not in trainer.options}
    return {"work": "training", "model": model.identity, "trainer": trainer.plugin_name, "options": runtime}


def writing_key(writer: Locked, what: Literal["text", "questions"] = "text") -> Key:
    """Return the key of a writer's speed in requests for training text or for questions."""
    return {"work": "writing" if what == "text" else "questions", "writer": _with_all_options(writer)}


def store_speed(work: Work, key: Key, speed: Speed) -> None:
    """Store a measurement, which replaces an earlier one; too short measurements and full disks are ignored."""
    if speed.units <= 0 or speed.seconds < SHORTEST:
        return
    with suppress(OSError):  # a forecast is not worth an error
        path = _path(work, key)
        make_folder(path.parent)
        write_text(path, indented_json(sealed(asdict(speed))))


def read_speed(work: Work, key: Key) -> Speed | None:
    """Return the last measurement on this machine, or None if there is none or its file is damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        value = read_sealed(_path(work, key))
        speed = Speed(float(value["units"]), float(value["seconds"]), int(value["peak_bytes"]))
        if speed.units > 0 and speed.seconds > 0 and isfinite(speed.units / speed.seconds):
            return speed
    return None


def _path(work: Work, key: Key) -> Path:
    return work.folder / FOLDER / f"{digest({**key, 'machine': machine()})[:32]}.json"


def _with_all_options(locked: Locked) -> dict[str, Any]:
    return {**locked.identity, "options": _all_options(locked)}


def _all_options(locked: Locked) -> dict[str, Any]:
    """Return all options of a plugin, including options such as the device that are not part of its identity."""
    options = getattr(locked.plugin, "options", None)
    return options.model_dump(mode="json") if isinstance(options, BaseModel) else dict(locked.options)


@cache
def machine() -> Mapping[str, Any]:
    """Return the properties of this machine that determine its speed."""
    return {
        "processor": _processor(),
        "threads": os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)) if HAS_AFFINITY else os.cpu_count()),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", len(list(Path("/dev").glob("nvidia[0-9]*")))),
    }


HAS_AFFINITY = hasattr(os, "sched_getaffinity")
"""Whether the operating system can restrict a process to some processors."""


def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()
