"""Mistakes in words: what was expected, what was found, what is nearest."""

import enum
import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, HttpUrl, ValidationError, model_validator

from kib.interfaces import InputPath, Options
from kib.spec.messages import explain, join, nearest, offer, print_key, show


class Colour(enum.Enum):
    red = "red"
    blue = "blue"


class Circle(Options):
    kind: Literal["circle"] = Field(description="its form")
    radius: float = Field(gt=0, description="how large it is")


class Square(Options):
    kind: Literal["square"] = Field(description="its form")
    side: int = Field(description="how long it is")


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
            raise ValueError("seven is taken")
        return self


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        ({"whole": "three"}, "whole", 'expected a whole number from 1 to 9, got "three"'),
        ({"whole": "3"}, "whole", 'expected a whole number from 1 to 9, got "3"; write 3 without quotes'),
        ({"whole": 3.0}, "whole", "expected a whole number from 1 to 9, got 3.0; write 3"),
        ({"whole": 3.5}, "whole", "expected a whole number from 1 to 9, got 3.5"),
        ({"whole": True}, "whole", "expected a whole number from 1 to 9, got true"),
        ({"whole": 0}, "whole", "expected a whole number from 1 to 9, got 0"),
        ({"whole": 10}, "whole", "expected a whole number from 1 to 9, got 10"),
        ({"whole": 7}, "", "seven is taken"),
        ({"even": 3}, "even", "expected a whole number divisible by 2, got 3"),
        ({"share": 1}, "share", "expected a number above 0 and below 1, got 1"),
        ({"share": "0.5"}, "share", 'expected a number above 0 and below 1, got "0.5"; write 0.5 without quotes'),
        ({"text": "a"}, "text", 'expected text in quotes of 2 to 4 characters, got "a"'),
        ({"text": 12}, "text", 'expected text in quotes of 2 to 4 characters, got 12; write "12"'),
        ({"text": "x" * 99}, "text", f'expected text in quotes of 2 to 4 characters, got "{"x" * 58}…'),
        ({"word": "A"}, "word", 'expected text in quotes that matches ^[a-z]+$, got "A"'),
        ({"switch": "true"}, "switch", 'expected true or false, got "true"; write true without quotes'),
        ({"switch": 1}, "switch", "expected true or false, got 1"),
        ({"colour": "rde"}, "colour", 'expected "red" or "blue", got "rde"; did you mean "red"?'),
        ({"colour": "green"}, "colour", 'expected "red" or "blue", got "green"'),
        ({"path": 3}, "path", 'expected a path in quotes, got 3; write "3"'),
        ({"paths": "a"}, "paths", 'expected a list of paths, got "a"; write ["a"]'),
        ({"paths": ["a", 3]}, "paths[1]", 'expected a path in quotes, got 3; write "3"'),
        ({"pair": [1, "a", 2]}, "pair", 'expected [a whole number, text in quotes], got [1, "a", 2]'),
        ({"pair": [1]}, "pair[1]", "missing: expected text in quotes"),
        ({"some": 3}, "some", "expected a list of 1 to 3 whole numbers, got 3; write [3]"),
        ({"some": []}, "some", "expected a list of 1 to 3 whole numbers, got []"),
        ({"some": [1, 2, 3, 4]}, "some", "expected a list of 1 to 3 whole numbers, got [1, 2, 3, 4]"),
        ({"some": ["x"]}, "some[0]", 'expected a whole number, got "x"'),
        ({"table": [1]}, "table", "expected a table, got [1]"),
        ({"table": {"a b": "1"}}, 'table."a b"', 'expected a whole number, got "1"; write 1 without quotes'),
        ({"places": {"lef": 1}}, "places.lef", 'expected "left" or "right", got "lef"; did you mean "left"?'),
        (
            {"either": "al"},
            "either",
            'expected a whole number, "all" or a list of texts, got "al"; did you mean "all"?',
        ),
        ({"either": ["a", 1]}, "either[1]", 'expected text in quotes, got 1; write "1"'),
        ({"shape": 3}, "shape", "expected a table with kind or radius or a table with kind or side, got 3"),
        ({"shape": {"kind": "circle"}}, "shape.radius", "missing: expected a number above 0 (how large it is)"),
        ({"shape": {"kind": "square", "side": 1, "sides": 2}}, "shape.sides", 'unknown key; did you mean "side"?'),
        ({"tagged": {"kind": "star"}}, "tagged", "expected the key kind to be one of: circle, square"),
        ({"tagged": {"side": 1}}, "tagged", "expected the key kind to be there"),
        ({"tagged": {"kind": "square"}}, "tagged.side", "missing: expected a whole number (how long it is)"),
        ({"shapes": {"kind": "square"}}, "shapes", "expected a list of tables with kind or side, got a table"),
        ({"shapes": [{"kind": "square"}]}, "shapes[0].side", "missing: expected a whole number (how long it is)"),
        ({"url": "x"}, "url", "expected a valid URL, "),
        ({"url": "ftp://x"}, "url", "URL scheme should be 'http' or 'https' (got \"ftp://x\")"),
        ({"wohle": 1}, "wohle", 'unknown key; did you mean "whole"? There is: anything, colour, '),
    ],
)
def test_a_mistake_is_said_in_plain_words(data, key, message):
    """Each kind of mistake says what was expected, what was found and how to write it."""
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate_json(json.dumps(data))
    said = [(print_key(path), text) for path, text in explain(caught.value, data, Everything)]
    assert len(said) == 1
    assert said[0][0] == key
    assert said[0][1].startswith(message)
    assert len(said[0][1]) < len(message) + 200


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    """A path with an environment variable that is not set names the variable."""
    monkeypatch.delenv("KIB_TEST", raising=False)
    data = {"path": "${KIB_TEST}/x"}
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate_json(json.dumps(data))
    assert list(explain(caught.value, data, Everything)) == [
        (("path",), 'the environment variable KIB_TEST is not set (got "${KIB_TEST}/x")')
    ]


def test_keys_that_are_right_elsewhere_are_offered():
    """The keys given as known are offered at the top level, and only there."""
    data = {"chunks": 1, "shape": {"kind": "square", "side": 1, "chunks": 2}}
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate_json(json.dumps(data))
    said = dict(explain(caught.value, data, Everything, ["chunk"]))
    assert 'did you mean "chunk"?' in said["chunks",]
    assert "chunk" not in said["shape", "chunks"]


def test_a_key_path_is_printed_as_typed():
    """A key path is printed as TOML wants it typed."""
    assert print_key(("methods", "ft+rag", "top_k", 0)) == 'methods."ft+rag".top_k[0]'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        ("é\n", '"é\\n"'),
        ([1, "a"], '[1, "a"]'),
        (list(range(12)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …]"),
        ({"a": 1}, "a table"),
        (1e-5, "1e-05"),
    ],
)
def test_a_value_is_shown_as_toml_spells_it(value, shown):
    """A value is shown as TOML spells it, tables by that word, long lists shortened."""
    assert show(value) == shown


def test_the_nearest_name():
    """The nearest name is found whatever its case, and none where all are far."""
    assert nearest("BM25", ["bm25", "oracle"]) == "bm25"
    assert nearest("xyzzy", ["bm25", "oracle"]) is None
    assert offer("x", []) == "there is none"


def test_names_are_joined_as_in_a_sentence():
    """Names are joined by commas and one last word."""
    assert [join(names, "or") for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a or b", "a, b or c"]
