"""Write the files of `xquad.toml` from the official xquad.en.json (Artetxe et al., 2020).

    python benchmarks/xquad.py XQUAD.EN.JSON-OR-ITS-FOLDER [FOLDER]

XQuAD has 48 Wikipedia articles with five paragraphs each. The paragraphs of every second article become the documents.
Questions about the first four paragraphs of such an article are test questions, and questions about the fifth paragraph
are validation questions. The remaining articles are not documents: their questions show what a method harms, and their
paragraphs are held-out text.

XQuAD's questions have no options. The three wrong options are the answers to other questions about the same article, if
possible of the same kind (with a digit, with a capital letter, or neither). A question without three such answers is
left out and named. The files are written to FOLDER, by default the folder of the JSON file; `xquad.toml` reads the
files from `${KIB_DATA}/xquad`.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from json_lines import write

NAME = "xquad.en.json"
WRONG_OPTIONS = 3
TEST_PARAGRAPHS = 4
ORIGIN = {"source": "XQuAD, English", "licence": "CC BY-SA 4.0"}

Row = Mapping[str, Any]


def answer_text(question: Row) -> str:
    """Return the answer of a question without surrounding white space and without the full stop of its sentence."""
    text = str(question["answers"][0]["text"]).strip()
    return text.removesuffix(".") if text.count(".") == 1 else text


def kind(answer: str) -> str:
    """Return the kind of an answer, because an option of a different kind would be too easy to exclude."""
    if any(character.isdigit() for character in answer):
        return "number"
    return "name" if answer[:1].isupper() else "phrase"


def overlap(one: str, other: str) -> bool:
    """Return whether one of two answers contains the other, so that both may be correct."""
    one, other = one.casefold(), other.casefold()
    return one in other or other in one


def options(question: Row, answers: Sequence[str]) -> tuple[list[str], int] | None:
    """Return four options in random order and the index of the correct one, or None if there are too few answers.

    The random numbers depend on the question's id only, so the options are the same on every machine.
    """
    random = Random(question["id"])  # noqa: S311
    right = answer_text(question)
    others = sorted(set(answers))
    random.shuffle(others)
    chosen = [right]
    for answer in sorted(others, key=lambda answer: kind(answer) != kind(right)):
        if len(chosen) <= WRONG_OPTIONS and not any(overlap(answer, option) for option in chosen):
            chosen.append(answer)
    if len(chosen) <= WRONG_OPTIONS:
        return None
    random.shuffle(chosen)
    return chosen, chosen.index(right)


def documents(articles: Iterable[Row]) -> Iterator[Row]:
    """Yield one document per paragraph."""
    for article in articles:
        for number, paragraph in enumerate(article["paragraphs"], 1):
            title = article["title"].replace("_", " ")
            yield {"id": f"{article['title']}/{number}", "title": title, "text": paragraph["context"], **ORIGIN}


def questions(articles: Iterable[Row], first: int, last: int) -> Iterator[Row]:
    """Yield the questions about the paragraphs with the numbers `first` to `last`, in the order of the file."""
    for article in articles:
        answers = [answer_text(question) for paragraph in article["paragraphs"] for question in paragraph["qas"]]
        for number, paragraph in enumerate(article["paragraphs"], 1):
            if first <= number <= last:
                yield from _paragraph_questions(paragraph["qas"], f"{article['title']}/{number}", answers)


def _paragraph_questions(asked: Iterable[Row], document: str, answers: Sequence[str]) -> Iterator[Row]:
    """Yield the questions about a paragraph; a message names the questions that are left out."""
    seen: set[str] = set()
    for question in asked:
        text = " ".join(question["question"].split())
        found = options(question, answers)
        if found is None or text in seen:
            reason = "too few different answers" if found is None else "the question stands twice"
            print(f"left out: question {question['id']} ({reason}): {text}")
            continue
        seen.add(text)
        yield {
            "id": question["id"],
            "question": text,
            "options": found[0],
            "answer": found[1],
            "document": document,
            "group": document,
        }


def read(source: Path) -> Sequence[Row]:
    """Return the articles of the official file; raise SystemExit if the file is missing or different."""
    try:
        articles = json.loads(source.read_text(encoding="utf-8"))["data"]
        for article in articles:
            _ = article["title"], [(part["context"], part["qas"]) for part in article["paragraphs"]]
    except OSError as error:
        raise SystemExit(f"{source}: cannot be read ({error.strerror}); expected the official {NAME}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{source}: this is not the official {NAME}: {error!r}") from None
    return articles  # type: ignore[no-any-return]


def convert(source: Path, folder: Path) -> None:
    """Write all files of the benchmark."""
    articles = read(source)
    known, others = articles[::2], articles[1::2]
    last = max(len(article["paragraphs"]) for article in articles)
    write(folder / "documents.jsonl", documents(known))
    write(folder / "held-out.jsonl", documents(others))
    write(folder / "test.jsonl", questions(known, 1, TEST_PARAGRAPHS))
    write(folder / "validation.jsonl", questions(known, TEST_PARAGRAPHS + 1, last))
    control = ({key: row[key] for key in row if key != "document"} for row in questions(others, 1, last))
    write(folder / "control.jsonl", control)


def main() -> None:
    """Parse the command line and convert the file."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit(str(__doc__))
    given = Path(sys.argv[1])
    source = given / NAME if given.is_dir() else given
    convert(source, Path(sys.argv[2]) if len(sys.argv) == 3 else source.parent)


if __name__ == "__main__":
    main()
