"""Measure readability: `functions` prints function sizes, `sentences` draws random sentences for a person to judge.

A sample contains equal numbers of sentences from docstrings, messages and documents; equal seeds yield equal samples.
Messages are string literals of at least five words outside docstrings; a value in a message appears as `…`.
"""

import argparse
import ast
import random
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")
WORDS = 5


def sources(part: str) -> list[Path]:
    """Return the Python files of `kib` or of the plugins, without their tests."""
    pattern = "kib/**/*.py" if part == "kib" else "plugins/*/kib_*"
    found = [
        path for start in sorted(ROOT.glob(pattern)) for path in ([start] if start.is_file() else start.rglob("*.py"))
    ]
    return sorted(set(found))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of a module, including nested functions."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def print_functions() -> None:
    """Print the lines of code, and the lengths and parameters of functions, for kib and for the plugins."""
    print("part, lines of code, functions, length median / 90th percentile / longest, most parameters")
    for part in ("kib", "plugins"):
        lines, lengths, parameters = 0, [], []
        for path in sources(part):
            text = path.read_text(encoding="utf-8")
            lines += sum(bool(line.strip()) for line in text.splitlines())
            for function in functions(ast.parse(text)):
                lengths.append((function.end_lineno or 0) - function.lineno + 1)
                given = function.args
                parameters.append(len([*given.posonlyargs, *given.args, *given.kwonlyargs]))
        ninth = statistics.quantiles(lengths, n=10)[-1]
        sizes = f"{statistics.median(lengths):.0f} / {ninth:.0f} / {max(lengths)}"
        print(f"{part}, {lines}, {len(lengths)}, {sizes}, {max(parameters)}")


def docstrings() -> Iterator[str]:
    """Yield the sentences of all docstrings, including the docstrings of tests."""
    for path in [*sources("kib"), *sources("plugins"), *sorted(ROOT.glob("**/tests/**/test_*.py"))]:
        if ".tox" in path.parts or ".venv" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from sentences(ast.get_docstring(node) or "")


def messages() -> Iterator[str]:
    """Yield string literals that a user may read: errors, help texts, descriptions, captions."""
    for path in [*sources("kib"), *sources("plugins")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Expr)]
        described = {id(node.value) for node in nodes}
        inside = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
        for node in ast.walk(tree):
            if id(node) in described or id(node) in inside:
                continue
            text = ""
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            elif isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            if len(re.findall(r"[a-z]{2,}", text)) >= WORDS and "\n" not in text.strip():
                yield text.strip()


def documents() -> Iterator[str]:
    """Yield the sentences of README files and docs, excluding code blocks, tables, headings and lists of links."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")]
    for path in sorted(pages):
        text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for block in re.split(r"\n\s*\n|\n(?=[-*\d])", text):
            if not re.match(r"\s*(#|\||<|!\[)", block):
                yield from sentences(re.sub(r"^\s*([-*]|\d+\.)\s+", "", block))


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text that have at least five words."""
    for block in re.split(r"\n\s*\n", text):
        for sentence in SENTENCE.split(" ".join(block.split())):
            if len(sentence.split()) >= WORDS:
                yield sentence


def print_sentences(seed: int, count: int) -> None:
    """Print `count` sentences, a third each from docstrings, messages and documents."""
    draw = random.Random(seed)  # noqa: S311 - a sample, no secret
    shares = [count // 3 + (number < count % 3) for number in range(3)]
    for title, found, share in zip(
        ("docstring", "message", "document"), (docstrings, messages, documents), shares, strict=True
    ):
        pool = sorted(set(found()))
        for sentence in draw.sample(pool, share):
            print(f"{title}: {sentence}")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("functions", "sentences"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.what == "functions":
        print_functions()
    else:
        print_sentences(arguments.seed, arguments.count)


if __name__ == "__main__":
    main()
