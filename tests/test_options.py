"""Plugin options: strict validation, paths, and options that are part of the identity."""

import json
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import ConfigDict, Field, ValidationError

from kib.identity import canonical
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.spec.options import identity_options, paths, read


class Inner(Options):
    title: str = "t"
    cache: Annotated[str, NotInIdentity] = ""


class Files(Options):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)
    __pydantic_extra__: dict[str, InputPath]
    layout: str = "rows"


class All(Options):
    depth: int = 3
    path: InputPath | None = None
    paths: tuple[InputPath, ...] = ()
    by_name: dict[str, InputPath] = Field(default_factory=dict)
    pair: tuple[InputPath, int] | None = None
    device: Annotated[str, NotInIdentity()] = "cpu"
    size: int | Annotated[str, NotInIdentity] = 1
    inner: Inner = Inner()
    inners: list[Inner] = Field(default_factory=list)
    files: Files | None = None
    tags: frozenset[str] = frozenset()
    limit: float = float("inf")
    renamed: int = Field(1, alias="as")


def given(raw, folder="/data"):
    return identity_options(read(All, raw, Path(folder)))


BASE = {
    "depth": 3,
    "path": None,
    "paths": [],
    "by_name": {},
    "pair": None,
    "size": 1,
    "inner": {"title": "t"},
    "inners": [],
    "files": None,
    "tags": [],
    "limit": "inf",
    "as": 1,
}


def test_a_default_is_part_of_the_identity():
    """The default value of an omitted option is part of the identity."""
    assert given({}) == BASE


@pytest.mark.parametrize(
    ("raw", "difference"),
    [
        ({"depth": 4}, {"depth": 4}),
        ({"device": "cuda"}, {}),
        ({"inner": {"title": "u", "cache": "here"}}, {"inner": {"title": "u"}}),
        ({"inners": [{"cache": "here"}]}, {"inners": [{"title": "t"}]}),
        ({"paths": ["a", "b"]}, {"paths": [None, None]}),
        ({"by_name": {"en": "a"}}, {"by_name": {"en": None}}),
        ({"pair": ["a", 3]}, {"pair": [None, 3]}),
        ({"files": {"test": "a.csv"}}, {"files": {"layout": "rows"}}),
        ({"size": 2}, {"size": 2}),
        ({"tags": ["b", "a"]}, {"tags": ["a", "b"]}),
        ({"as": 2}, {"as": 2}),
    ],
)
def test_identity_options(raw, difference):
    """Options are part of the identity as JSON, except options marked NotInIdentity and paths in a list."""
    assert given(raw) == {**BASE, **difference}


@pytest.mark.parametrize("raw", [{"path": "a"}, {"size": "here"}])
def test_a_union_value_outside_the_identity_is_omitted(raw):
    """A value of a union option is omitted from the identity if its type is marked NotInIdentity."""
    assert given(raw) == {key: value for key, value in BASE.items() if key not in raw}


def test_the_folder_of_paths_is_not_part_of_the_identity():
    """The base folder of relative paths is not part of the identity."""
    raw = {"path": "a", "paths": ["b"], "files": {"test": "c"}}
    assert given(raw, "/one") == given(raw, "/two")


def test_identity_options_have_a_canonical_form():
    """The identity options have a canonical JSON form, even if a value is infinite."""
    assert json.loads(canonical(given({})))["limit"] == "inf"


def test_paths_are_found_with_their_keys():
    """Every path in the options is found together with its key path."""
    raw = {"path": "a", "paths": ["b"], "by_name": {"en": "c"}, "files": {"test": "d"}, "pair": ["/e", 1]}
    assert dict(paths(read(All, raw, Path("/data")))) == {
        ("path",): Path("/data/a"),
        ("paths", 0): Path("/data/b"),
        ("by_name", "en"): Path("/data/c"),
        ("pair", 0): Path("/e"),
        ("files", "test"): Path("/data/d"),
    }


@pytest.mark.parametrize("raw", [{"depth": "3"}, {"depth": True}, {"depth": 3.0}, {"path": 3}, {"dept": 3}])
def test_reading_is_strict(raw):
    """A value of the wrong type or an unknown key is rejected, without any type conversion."""
    with pytest.raises(ValidationError):
        read(All, raw, Path())
