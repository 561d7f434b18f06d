"""Line numbers of the keys in a TOML text."""

import re

import pytest
import tomli
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kib.spec.line_numbers import find_lines

TEXT = """\
name = "x"
"quo.ted" . 'lit' = { one = 1, two.three = [1, { four = 2 }] }

[methods."ft+rag"]
top_k = [
  1,  # the first
  2,
]
text = \"""
[not.a.table]
nor = "a key"
\"""
after = 1
[[list]]
a = 1
[[list]]
a = 2
[list.inner]
b = 3
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 1),
        (("quo.ted",), 2),
        (("quo.ted", "lit", "two", "three", 1, "four"), 2),
        (("methods",), 4),
        (("methods", "ft+rag", "top_k"), 5),
        (("methods", "ft+rag", "top_k", 1), 7),
        (("methods", "ft+rag", "text"), 9),
        (("methods", "ft+rag", "after"), 13),
        (("list",), 14),
        (("list", 0, "a"), 15),
        (("list", 1), 16),
        (("list", 1, "a"), 17),
        (("list", 1, "inner", "b"), 19),
        (("methods", "ft+rag", "top_q"), 4),
        (("methods", "other"), 4),
        (("nowhere",), None),
    ],
)
def test_a_key_has_its_line_or_that_of_its_parent(path, line):
    """A key path is mapped to its line, and a missing key is mapped to the line of its nearest parent."""
    assert find_lines(TEXT).find(*path) == line


def test_windows_line_ends_count_once():
    """A Windows line ending counts as one line ending."""
    assert find_lines("a = 1\r\n\r\nb = 2\r\n").find("b") == 3


def test_new_escapes_hide_nothing():
    r"""The TOML 1.1 escapes `\e` and `\x41` in a value or key do not change any line number."""
    lines = find_lines('a = "\\e[0m"\n"\\x41b" = 1\nc = "C:\\\\exe"\nd = 1\n')
    assert [lines.find(key) for key in ("a", "Ab", "c", "d")] == [1, 2, 3, 4]


class Writer:
    """Writes random TOML with a unique number in the name of each key."""

    def __init__(self, draw):
        self.draw = draw
        self.count = 0

    def key(self):
        self.count += 1
        plain = f"k{self.count}k"
        forms = [plain, f'"{plain}"', f"'{plain}'", f'"{plain} \\u00e9.\\""', f"'{plain}.x\\e'", f'"# {plain}"']
        return self.draw(st.sampled_from(forms))

    def dotted(self):
        dot = self.draw(st.sampled_from([".", " . "]))
        return dot.join(self.key() for _ in range(self.draw(st.integers(1, 3))))

    def value(self, depth=0):
        simple = [
            "1",
            "-2.5e3",
            "true",
            '"k0k = 1"',
            "'[k0k]'",
            '"""\n[k0k]\nk0k = 1\n"""',
            "'''\n\\\n'''",
            "1979-05-27",
        ]
        kind = self.draw(st.sampled_from(["simple", "simple", "array", "table"] if depth < 3 else ["simple"]))
        if kind == "simple":
            return self.draw(st.sampled_from(simple))
        gap = self.draw(st.sampled_from([" ", " ", "\n", " # k0k = [\n"]))
        parts = [self.value(depth + 1) for _ in range(self.draw(st.integers(0, 3)))]
        if kind == "array":
            return f"[{gap}{f',{gap}'.join(parts)}{gap}]"
        return f"{{{gap}{f',{gap}'.join(f'{self.dotted()} = {part}' for part in parts)}{gap}}}"

    def pairs(self):
        return "".join(f"{self.dotted()} = {self.value()}\n" for _ in range(self.draw(st.integers(0, 3))))

    def document(self):
        text = self.pairs()
        headers = []
        for _ in range(self.draw(st.integers(0, 6))):
            start = self.draw(st.sampled_from([*headers, ""]))
            again = start and self.draw(st.booleans())
            header = start if again else ".".join(filter(None, [start, self.dotted()]))
            headers.append(header)
            text += self.draw(st.sampled_from(["[{}]", "[[{}]]", "[ {} ] # k0k"])).format(header) + "\n" + self.pairs()
        return text


@st.composite
def documents(draw):
    return Writer(draw).document()


def key_paths(value, path=()):
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from key_paths(inner, (*path, key))


@settings(max_examples=60, deadline=None)
@given(documents())
def test_every_key_has_its_line(text):
    """Every key path that tomli reads is mapped to a line that contains the key."""
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError:
        assume(False)
    lines = find_lines(text)
    shown = text.split("\n")
    for path in key_paths(data):
        assert path in lines.by_key, path
        names = [part for part in path if isinstance(part, str)]
        if isinstance(path[-1], str):
            assert re.search(r"k\d+k", names[-1]).group() in shown[lines.by_key[path] - 1], path
