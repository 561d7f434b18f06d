"""The context that every step of a run needs in addition to its inputs."""

from dataclasses import dataclass

from kib.plugins.resolve import Lock
from kib.progress import Progress
from kib.spec.load import Spec
from kib.store.work import Work

__all__ = ["RunContext"]


@dataclass(frozen=True, slots=True)
class RunContext:
    """The spec, its plugins, the work folder and the progress display of a run."""

    spec: Spec
    lock: Lock
    work: Work
    progress: Progress
