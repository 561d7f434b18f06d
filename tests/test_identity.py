"""Canonical JSON and digests, which are equal for equal inputs on every machine."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.identity import canonical, digest, digest_file, digest_lines
from kib.records import Gold, Passage

TEXT = st.text(st.characters(codec="utf-8"))
ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


def shape(value):
    """Return a value together with its types, so that 1, 1.0 and True differ and key order is ignored."""
    if isinstance(value, dict):
        return "object", frozenset((key, shape(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return "list", tuple(map(shape, value))
    return type(value).__name__, repr(value)


@given(VALUES)
def test_canonical_json_is_json_of_the_value(value):
    """Canonical JSON decodes to the original value with the original types."""
    assert shape(json.loads(canonical(value))) == shape(value)


@given(VALUES, VALUES)
def test_only_equal_values_share_a_digest(one, other):
    """Two values have the same digest if and only if they are equal in value and type."""
    assert (digest(one) == digest(other)) == (shape(one) == shape(other))


@given(st.dictionaries(TEXT, ATOMS), st.randoms(use_true_random=False))
def test_key_order_does_not_affect_the_digest(value, random):
    """A digest does not depend on the order of keys."""
    keys = list(value)
    random.shuffle(keys)
    assert digest({key: value[key] for key in keys}) == digest(value)


@pytest.mark.parametrize("values", [(1, 1.0), (1, True), (0, False), ("1", 1), (None, "null"), ([], {}), ("", None)])
def test_similar_values_have_different_digests(values):
    """Values that look alike but are not equal have different digests."""
    assert digest(values[0]) != digest(values[1])


def test_lists_and_tuples_share_a_digest():
    """A list and a tuple with equal elements have the same digest."""
    assert digest((1, (2, 3))) == digest([1, [2, 3]])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), [float("nan")]])
def test_nan_and_infinity_are_rejected(value):
    """NaN and infinity are rejected, because JSON cannot represent these values."""
    with pytest.raises(ValueError, match="JSON"):
        canonical(value)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), Passage])
def test_values_without_a_canonical_form_are_rejected(value):
    """A value without a canonical form raises an error, because its repr may contain a memory address."""
    with pytest.raises(TypeError, match="has no canonical form"):
        canonical(value)


def test_a_dataclass_has_the_digest_of_its_fields():
    """A dataclass has the same digest as a dictionary of its fields."""
    fields = {"document": "d", "start": 1, "end": 2, "quote": None}
    assert digest(Gold("d", 1, 2)) == digest(fields)


def test_nested_dataclasses_become_objects():
    """Dataclasses inside containers are converted to JSON objects."""

    @dataclass
    class Shelf:
        gold: tuple[Gold, ...]

    assert canonical(Shelf((Gold("d"),))) == '{"gold":[{"document":"d","end":null,"quote":null,"start":null}]}'


def test_a_path_is_its_posix_text():
    """A path has the same digest on every operating system."""
    assert digest(Path("a") / "b") == digest("a/b")
    assert isinstance(Path("a"), PurePosixPath) or canonical(Path("a") / "b") == '"a/b"'


def test_digests_never_change_between_versions():
    """Digests remain the same across versions, because they identify stored results."""
    assert digest({"b": [1, 2.5, None, True], "a": "ü\u2028"}) == (
        hashlib.sha256('{"a":"ü\u2028","b":[1,2.5,null,true]}'.encode()).hexdigest()
    )


@given(st.lists(st.text()), st.lists(st.text()))
def test_two_lists_of_texts_never_share_a_digest(one, other):
    """Lists that split a text at different positions have different digests, even between surrogates."""
    assert (digest_lines(one) == digest_lines(other)) == (one == other)


def test_a_generator_has_the_digest_of_its_list():
    """A generator of texts has the same digest as a list of these texts."""
    assert digest_lines(letter for letter in "abc") == digest_lines(["a", "b", "c"])


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 19])
def test_a_files_digest_is_that_of_its_bytes(tmp_path, size):
    """The digest of a file larger than one read block covers the whole file."""
    data = bytes(number % 251 for number in range(size % 1000)) + b"x" * (size - size % 1000)
    (tmp_path / "file").write_bytes(data)
    assert digest_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()
