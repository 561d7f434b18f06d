"""lm-eval's model backends: their log output, their environment and their memory."""

import gc
import logging
import os
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from kib.records import UNKNOWN_DEVICE, Environment

if TYPE_CHECKING:
    from lm_eval.api.model import LM

__all__ = ["environment", "free", "notes", "quiet"]


def quiet() -> None:
    """Hide the progress bars and log messages of lm-eval and its libraries; errors are still shown."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in ("lm_eval", "datasets", "transformers", "evaluate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("asyncio", "lm_eval.models.api_models"):  # failed requests, which kib reports in a sentence of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)


def notes(lm: object) -> list[str]:
    """Return a backend's remarks on its own computation as sentences, for example that it ran out of memory."""
    return list(getattr(lm, "notes", ()))


def environment(lm: "LM", distribution: str) -> Environment:
    """Return the device and package versions that can affect a score; `distribution` is the model plugin's package."""
    names = sorted({"lm-eval", "torch", "transformers", distribution})
    return Environment(str(getattr(lm, "device", None) or UNKNOWN_DEVICE), {n: v for n in names if (v := _version(n))})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def free(lm: "LM") -> None:
    """Release a model's memory before the next model is loaded."""
    release = getattr(lm, "release", None)
    if release:
        release()
    for name in ("_model", "pretrained"):  # HFLM keeps a given model under both names and has no method to drop it
        if hasattr(getattr(lm, name, None), "to"):
            setattr(lm, name, None)
    gc.collect()
