"""Error messages for invalid values in a benchmark file."""

import enum
import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, HttpUrl, ValidationError, model_validator

from kib.interfaces import InputPath, Options
from kib.spec.messages import explain, print_key, show_value
from kib.support.phrases import counted, join, nearest, offer


class Colour(enum.Enum):
    red = "red"
    blue = "blue"


class Circle(Options):
    kind: Literal["circle"] = Field(description="its shape")
    radius: float = Field(gt=0, description="its size")


class Square(Options):
    kind: Literal["square"] = Field(description="its shape")
    side: int = Field(description="its length")


class Everything(Options):
    whole: Annotated[int, Field(ge=1, le=9)] = 1
    even: Annotated[int, Field(multiple_of=2)] = 2
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    text: Annotated[str, Field(min_length=2, max_length=4)] = "aa"
    word: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
    switch: bool = False
    colour: Colour = Colour.red
    path: InputPath | None = None
    paths: list[InputPath] = Field(default_factory=list)
    pair: tuple[int, str] = (1, "a")
    some: Annotated[tuple[int, ...], Field(min_length=1, max_length=3)] = (1,)
    limited: dict[str, tuple[Annotated[int, Field(ge=1)], ...]] = Field(default_factory=dict)
    mixed: tuple[int | str, ...] = ()
    table: dict[str, int] = Field(default_factory=dict)
    places: dict[Literal["left", "right"], int] = Field(default_factory=dict)
    either: int | Literal["all"] | list[str] = 1
    shape: Circle | Square | None = None
    tagged: Annotated[Circle | Square, Field(discriminator="kind")] | None = None
    shapes: list[Square] = Field(default_factory=list)
    url: HttpUrl | None = None
    anything: Any = None

    @model_validator(mode="after")
    def _no_seven(self):
        if self.whole == 7:
            raise ValueError("seven is reserved")
        return self


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        ({"whole": "three"}, "whole", 'expected a whole number, got "three"'),
        ({"whole": "3"}, "whole", 'expected a whole number, got "3"; write 3 without quotes'),
        ({"whole": 3.0}, "whole", "expected a whole number, got 3.0; write 3"),
        ({"whole": 3.5}, "whole", "expected a whole number, got 3.5"),
        ({"whole": True}, "whole", "expected a whole number, got true"),
        ({"whole": 0}, "whole", "expected a number of at least 1, got 0"),
        ({"whole": 10}, "whole", "expected a number of at most 9, got 10"),
        ({"whole": 7}, "", "seven is reserved"),
        ({"even": 3}, "even", "expected a multiple of 2, got 3"),
        ({"share": 1}, "share", "expected a number less than 1, got 1"),
        ({"share": "0.5"}, "share", 'expected a number, got "0.5"; write 0.5 without quotes'),
        ({"text": "a"}, "text", 'expected text of at least 2 characters, got "a"'),
        ({"text": 12}, "text", 'expected text in quotes, got 12; write "12"'),
        ({"text": "x" * 99}, "text", f'expected text of at most 4 characters, got "{"x" * 58}…'),
        ({"word": "A"}, "word", 'expected text that matches ^[a-z]+$, got "A"'),
        ({"switch": "true"}, "switch", 'expected true or false, got "true"; write true without quotes'),
        ({"switch": 1}, "switch", "expected true or false, got 1"),
        ({"colour": "rde"}, "colour", 'expected "red" or "blue", got "rde"; did you mean "red"?'),
        ({"colour": "green"}, "colour", 'expected "red" or "blue", got "green"'),
        ({"path": 3}, "path", 'expected text in quotes, got 3; write "3"'),
        ({"paths": "a"}, "paths", 'expected a list of paths, got "a"; write ["a"]'),
        ({"paths": ["a", 3]}, "paths[1]", 'expected text in quotes, got 3; write "3"'),
        ({"pair": [1, "a", 2]}, "pair", 'expected a list of at most 2 items, got [1, "a", 2]'),
        ({"pair": [1]}, "pair[1]", "missing"),
        ({"some": 3}, "some", "expected a list of whole numbers, got 3; write [3]"),
        ({"limited": {"a": 1}}, "limited.a", "expected a list of whole numbers, got 1; write [1]"),
        ({"mixed": 1}, "mixed", "expected a list, got 1; write [1]"),
        ({"mixed": None}, "mixed", "expected a list, got null"),
        ({"some": []}, "some", "expected a list of at least 1 item, got []"),
        ({"some": [1, 2, 3, 4]}, "some", "expected a list of at most 3 items, got [1, 2, 3, 4]"),
        ({"some": ["x"]}, "some[0]", 'expected a whole number, got "x"'),
        ({"table": [1]}, "table", "expected a table, got [1]"),
        ({"table": {"a b": "1"}}, 'table."a b"', 'expected a whole number, got "1"; write 1 without quotes'),
        ({"places": {"lef": 1}}, "places.lef", 'expected "left" or "right", got "lef"; did you mean "left"?'),
        (
            {"either": "al"},
            "either",
            'expected a whole number, "all" or a list of texts, got "al"; did you mean "all"?',
        ),
        ({"either": 1.5}, "either", 'expected a whole number, "all" or a list of texts, got 1.5'),
        ({"either": ["a", 1]}, "either[1]", 'expected text in quotes, got 1; write "1"'),
        ({"shape": 3}, "shape", "expected a table, got 3"),
        ({"shape": {"kind": "circle"}}, "shape.radius", "missing (its size)"),
        (
            {"shape": {"kind": "square", "side": 1, "sides": 2}},
            "shape.sides",
            'unknown key; did you mean "side"? Known: ',
        ),
        ({"tagged": {"kind": "star"}}, "tagged", "`kind` must be one of: circle, square"),
        ({"tagged": {"side": 1}}, "tagged", "the key `kind` is missing"),
        ({"tagged": {"kind": "square"}}, "tagged.side", "missing (its length)"),
        ({"shapes": {"kind": "square"}}, "shapes", "expected a list, got a table"),
        ({"shapes": [{"kind": "square"}]}, "shapes[0].side", "missing (its length)"),
        ({"shapes": [{"kind": "square", "side": 1, "sid": 1}]}, "shapes[0].sid", 'unknown key; did you mean "side"?'),
        ({"url": "x"}, "url", "expected a valid URL, "),
        ({"url": "ftp://x"}, "url", "URL scheme should be 'http' or 'https' (got \"ftp://x\")"),
        ({"wohle": 1}, "wohle", 'unknown key; did you mean "whole"? Known: anything, colour, '),
    ],
)
def test_a_mistake_has_a_plain_message(data, key, message):
    """The error for an invalid value states the expected type, the given value and, if possible, a correction."""
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate_json(json.dumps(data))
    [(path, text)] = explain(caught.value, data, Everything)
    assert print_key(path) == key
    assert text.startswith(message)
    assert len(text) < len(message) + 200


@pytest.mark.parametrize(
    "data", [{"some": "three"}, {"limited": {"a": 0}}, {"pair": 1}, {"either": 1.5}, {"shapes": 1}]
)
def test_no_invalid_list_is_suggested(data):
    """The message suggests wrapping the value in a list only if the list would be valid."""
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate_json(json.dumps(data))
    [(_, text)] = explain(caught.value, data, Everything)
    assert "write" not in text


def test_an_unset_variable_is_named(monkeypatch):
    """The message for a path with an unset environment variable names the variable."""
    monkeypatch.delenv("KIB_TEST", raising=False)
    data = {"path": "${KIB_TEST}/x"}
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate_json(json.dumps(data))
    assert list(explain(caught.value, data, Everything)) == [
        (("path",), 'the environment variable KIB_TEST is not set (got "${KIB_TEST}/x")')
    ]


def test_further_known_keys_are_suggested():
    """A message suggests kib's own keys only for an unknown key at the top level of a table."""
    data = {"chunks": 1, "shape": {"kind": "square", "side": 1, "chunks": 2}}
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate_json(json.dumps(data))
    messages = dict(explain(caught.value, data, Everything, ["chunk"]))
    assert 'did you mean "chunk"?' in messages["chunks",]
    assert "chunk" not in messages["shape", "chunks"]


def test_a_key_path_is_printed_as_toml():
    """A key path is printed in TOML syntax, with quotes around keys that need quotes."""
    assert print_key(("methods", "ft+rag", "top_k", 0)) == 'methods."ft+rag".top_k[0]'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ("é\n", '"é\\n"'),
        ([1, "a"], '[1, "a"]'),
        (list(range(12)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …]"),
        ({"a": 1}, "a table"),
        (1e-5, "1e-05"),
    ],
)
def test_values_are_printed_as_toml(value, text):
    """A value is printed in TOML syntax, and tables and long lists are abbreviated."""
    assert show_value(value) == text


def test_the_nearest_name():
    """The nearest name is found regardless of case, but only if its spelling is similar."""
    assert nearest("BM25", ["bm25", "oracle"]) == "bm25"
    assert nearest("xyzzy", ["bm25", "oracle"]) is None
    assert offer("x", []) == "none is defined"


def test_phrases():
    """Names are joined with commas and a final conjunction, and nouns are singular or plural depending on the count."""
    assert [join(names, "or") for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a or b", "a, b or c"]
    assert [counted(number, "cell") for number in (1, 2, 1000)] == ["1 cell", "2 cells", "1,000 cells"]
    assert [counted(number, "query", "queries") for number in (0, 1, 2)] == ["0 queries", "1 query", "2 queries"]
