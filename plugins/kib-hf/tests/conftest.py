import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kib.testing import make_tiny_model


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Use one torch thread, because several threads take a hundred times longer on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def quick_collection() -> Iterator[None]:
    """Exclude objects in imported libraries from garbage collection, which runs whenever memory is freed."""
    import kib_hf.scoring.scorer  # noqa: F401

    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that all tests share; a test that changes files must copy the folder first."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", positions=512)


@pytest.fixture(scope="session")
def near() -> Callable[[float, str], Any]:
    """Return a function that compares a float32 log-likelihood with an expected value, up to rounding on any processor.

    The tolerance grows with the value and with the number of scored tokens, which is at most the number of bytes.
    """

    def near(expected: float, scored_text: str) -> Any:
        return pytest.approx(expected, rel=1e-5, abs=5e-5 * len(scored_text.encode()))

    return near
