"""The processes that train together: how many the options ask for."""

from pathlib import Path

from kib.errors import InputError
from kib_hf.training.options import TrainingOptions

__all__ = ["check_file", "crew_size"]

EXPECTED = "expected what `accelerate config` wrote"


def check_file(path: Path) -> None:
    """InputError where the configuration of accelerate is no file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {EXPECTED}")


def crew_size(options: TrainingOptions) -> int:
    """How many processes train; InputError where accelerate's file says so and cannot be read."""
    path = options.accelerate
    if path is None:
        return options.processes or 1
    from accelerate.commands.config.config_args import load_config_from_file  # type: ignore[import-untyped]

    check_file(path)
    try:
        found = load_config_from_file(str(path)).num_processes
    except Exception as error:  # whatever YAML, JSON and accelerate's own classes raise
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read: {said}; {EXPECTED}") from error
    if not isinstance(found, int) or found < 1:
        raise InputError(f"{path}: num_processes = {found!r}; expected the number of processes, 1 or more")
    return found
