"""Results recorded under a distribution's former name are read with its current name."""

from kib.store.result_records import CELL, plan_from_json

CELL_JSON = {
    "cell": {
        "model": "m",
        "method": "base",
        "settings": [],
        "task": "t",
        "corpus": None,
        "shots": 0,
        "seed": 0,
        "identity": "0" * 64,
    },
    "n": 1,
    "correct": 1,
    "metric": "acc",
}


def test_environment_uses_present_names():
    """A recorded environment that mentions `kib` equals an environment that mentions `kib-bench`."""
    former, present = (
        CELL.validate_python({**CELL_JSON, "environments": [{"device": "cpu", "packages": {name: "0.1.0"}}]})
        for name in ("kib", "kib-bench")
    )
    assert former == present


def test_sources_use_present_names():
    """A plugin recorded under the distribution `kib-huggingface` is read as a plugin of `kib-datasets`."""
    source = {"distribution": "kib-huggingface", "version": "0.1.0"}
    value = {"schema": 1, "name": "b", "title": "", "tasks": {}, "methods": {}, "cells": []}
    plan = plan_from_json({**value, "sources": {"corpora": {"wiki": source}}})
    assert plan.sources == {"corpora": {"wiki": {"distribution": "kib-datasets", "version": "0.1.0"}}}
