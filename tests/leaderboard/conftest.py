"""Fixtures with synthetic benchmark results."""

import shutil

import pytest
from leaderboard_lab import Lab, full_lab

from kib.leaderboard import make_table
from kib.store.results import Results


@pytest.fixture
def lab(tmp_path):
    """An empty benchmark with 20 questions per task."""
    return Lab(tmp_path)


@pytest.fixture(scope="session")
def full_results(tmp_path_factory):
    """The results folder of the complete example, which tests must not modify."""
    return full_lab(tmp_path_factory.mktemp("full")).save()


@pytest.fixture(scope="session")
def full_table(full_results):
    """The table of the complete example."""
    return make_table([full_results])


@pytest.fixture
def full_copy(full_results, tmp_path):
    """A copy of the complete results folder without cached statistics."""
    folder = tmp_path / "lab"
    shutil.copytree(full_results.folder, folder, ignore=shutil.ignore_patterns("statistics.json"))
    return Results(folder)
