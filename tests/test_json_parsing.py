"""JSON written by users: repeated keys and the positions of mistakes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.errors import InputError
from kib.support.json_parsing import parse_json

TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('{}[]":,\\\n'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_json_without_a_repeated_key_is_read_unchanged(value, ascii_only, indent):
    """A JSON text without a repeated key is read unchanged."""
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent), "q:1") == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"answer": "A", "answer": "B"}', 'q.json:1: the key "answer" appears twice in one object; keep only one'),
        ('{"a": 1, "\\u0061": 1}', 'q.json:1: the key "a" appears twice'),
        ('{\n"a": [{"b": {},\n"c": "b",\n"b": 2}]}', 'q.json:4: the key "b" appears twice'),
        ('[{"a": "\\"a\\": {"},\n{"a\\"": 1,\n"a\\"" : 1}]', 'q.json:3: the key "a\\\\"" appears twice'),
        ('[{"a": 1},\n{"a" 1}]', "q.json:2: invalid JSON: Expecting ':' delimiter at column 6"),
    ],
)
def test_a_mistake_is_reported_with_its_line(text, said):
    """A repeated key, also in a nested object, and invalid JSON raise an error with the line of the mistake."""
    with pytest.raises(InputError, match=f"^{said}"):
        parse_json(text, "q.json", whole_file=True)


def test_equal_keys_of_different_objects_are_accepted():
    """Objects next to or inside each other may have the same keys."""
    assert parse_json('{"a": {"a": [{"a": 1}, {"a": 2}]}}', "q:1") == {"a": {"a": [{"a": 1}, {"a": 2}]}}
