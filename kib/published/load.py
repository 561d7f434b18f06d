"""Reads published files; all mistakes in a file are reported with their lines."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kib.errors import KibError, SpecError
from kib.published.checks import (
    KeyPath,
    Mistakes,
    contradictions,
    impossible_accuracies,
    invalid_methods,
    invalid_names,
    invalid_rows,
    unused_tables,
)
from kib.published.file_format import ArmSettings, PublishedFile, arms_of
from kib.spec.load import read_file
from kib.spec.messages import explain

__all__ = ["Published", "is_published", "load_published", "published_in"]


@dataclass(frozen=True)
class Published:
    """A valid published file; `sweeps` contains the sweep file of each method that refers to a sweep."""

    file: Path
    data: PublishedFile
    sweeps: Mapping[str, "Published"] = field(default_factory=dict)

    def arms(self) -> dict[str, tuple[str, ArmSettings]]:
        """Return the method and the settings of every arm by the arm's name, in file order."""
        return arms_of(self.data.methods)

    def source(self) -> str:
        """Return a sentence that states the source of the numbers."""
        paper = self.data.paper
        return (
            f"Published in {paper.title}, {paper.table} ({', '.join(paper.ids)}), transcribed on {paper.transcribed}; "
            "not measured by kib"
        )


def is_published(path: Path) -> bool:
    """Return whether a file declares `kind = "published"`; raises SpecError for a syntax error."""
    return read_file(path).data.get("kind") == "published"


def published_in(folder: Path) -> list[str]:
    """Return the names of the published files in a folder."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            found += [path.name] if is_published(path) else []
        except KibError:
            continue  # the error of a broken file is reported when the command line names this file
    return found


def load_published(path: Path) -> Published:
    """Read a published file and the sweeps that it refers to; raise a SpecError that lists all mistakes in a file."""
    data = _read(path)
    sweeps = {name: path.parent / method.sweep for name, method in data.methods.items() if method.sweep}
    return Published(path, data, {name: Published(sweep, _read(sweep, follow=False)) for name, sweep in sweeps.items()})


def _read(path: Path, *, follow: bool = True) -> PublishedFile:
    """Return the data of one file; if `follow` is set, also check the sweeps that the file refers to."""
    draft = read_file(path)
    try:
        data = PublishedFile.model_validate_json(json.dumps(draft.data))
    except ValidationError as error:
        for place, message in explain(error, draft.data, PublishedFile):
            draft.blame(message + _fraction_hint(draft.data, place), *place)
        raise SpecError(draft.mistakes) from None
    checks = (invalid_names, invalid_rows, impossible_accuracies, unused_tables, invalid_methods)
    mistakes = chain.from_iterable(check(data) for check in checks)
    for place, message in chain(mistakes, _invalid_sweeps(data, path) if follow else ()):
        draft.blame(message, *place)
    if draft.mistakes:
        raise SpecError(draft.mistakes)
    return data


def _fraction_hint(data: Any, key: KeyPath) -> str:
    """Return a hint with the correct fraction for an accuracy written as a percentage, or "" for any other value."""
    value = data
    for part in key:
        known = part in value if isinstance(value, Mapping) else isinstance(value, list)
        value = value[part] if known else None
    if "accuracy" not in key or type(value) not in (int, float) or not 1 < value <= 100:
        return ""
    return f"; write percentages as fractions: {value / 100:.6g}"


def _invalid_sweeps(data: PublishedFile, path: Path) -> Mistakes:
    """Yield mistakes for sweeps that refer to the file itself, an invalid file or a file with different numbers."""
    for name, method in data.methods.items():
        if method.sweep is None:
            continue
        place = ("methods", name, "sweep")
        if (path.parent / method.sweep).resolve() == path.resolve():
            yield (
                place,
                ("the sweep refers to the file itself; expected a different file that contains the method for every K"),
            )
            continue
        try:
            other = _read(path.parent / method.sweep, follow=False)
        except KibError as error:
            yield place, f"cannot be read: {str(error).splitlines()[0]}"
            continue
        if method.top_k:
            yield place, "`sweep` conflicts with `top_k`; use `sweep` only if the paper states no K"
        elif name not in other.methods or len(other.methods[name].top_k) < 2:
            yield place, f"{method.sweep} contains no method {name} with several values of `top_k`"
        elif trouble := next(contradictions(data, other, name), ""):
            yield place, f"{method.sweep} does not contain the sweep for these numbers: {trouble}"
