"""Write the files of `openbookqa.toml` from the official OpenBookQA-V1-Sep2018.zip (Mihaylov et al., 2018).

    python benchmarks/openbookqa.py ZIP-OR-ITS-FOLDER [FOLDER]

The 1,326 facts become the documents. Each question's fact is the question's gold document and its group. The files are
written to FOLDER, by default the folder of the zip; `openbookqa.toml` reads them from `${KIB_DATA}/openbookqa`.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from json_lines import write

NAME = "OpenBookQA-V1-Sep2018"
FACTS = f"{NAME}/Data/Main/openbook.txt"
SPLITS = {"test": "test", "validation": "dev", "examples": "train"}
SOURCE = "OpenBookQA, September 2018"
LICENCE = "Apache-2.0"

Row = Mapping[str, Any]


def facts(text: str) -> dict[str, str]:
    """Return the ids of the facts, `fact-<line>`, by text; each line of the file is one fact in double quotes."""
    ids: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        fact = line.removeprefix('"').removesuffix('"')
        if len(line) - len(fact) != 2 or not fact.strip():
            raise SystemExit(f"{FACTS}:{number}: expected a fact in double quotes, got {line!r}")
        if fact in ids:
            raise SystemExit(f"{FACTS}:{number}: the fact duplicates {ids[fact]}: {fact}")
        ids[fact] = f"fact-{number:04}"
    return ids


def questions(text: str, file: str, ids: Mapping[str, str]) -> Iterator[Row]:
    """Yield the questions of a split, each with the document of its fact."""
    for number, line in enumerate(text.splitlines(), 1):
        row = json.loads(line)
        if row["fact1"] not in ids:
            raise SystemExit(
                f"{file}:{number}: the fact of question {row['id']} is not a line in {FACTS}: {row['fact1']}"
            )
        fact = ids[row["fact1"]]
        options = {choice["label"]: choice["text"] for choice in row["question"]["choices"]}
        yield {
            "id": row["id"],
            "question": row["question"]["stem"],
            "options": list(options.values()),
            "answer": list(options).index(row["answerKey"]),
            "document": fact,
            "quote": row["fact1"],
            "group": fact,
        }


def unambiguous(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the questions without duplicate options; ambiguous questions are omitted, and a message names them."""
    for row in rows:
        if len(set(row["options"])) == len(row["options"]):
            yield row
        else:
            print(f"left out: question {row['id']} has duplicate options: {row['options']}")


def convert(source: Path, folder: Path) -> None:
    """Write facts.jsonl, test.jsonl, validation.jsonl and examples.jsonl; raise SystemExit if the zip is invalid."""
    try:
        with ZipFile(source) as archive:
            ids = facts(archive.read(FACTS).decode())
            splits = {}
            for split, official in SPLITS.items():
                file = f"{NAME}/Data/Additional/{official}_complete.jsonl"
                splits[split] = list(unambiguous(questions(archive.read(file).decode(), file, ids)))
    except FileNotFoundError:
        raise SystemExit(f"{source}: no such file; expected the official {NAME}.zip") from None
    except (BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise SystemExit(f"{source}: this is not the official zip archive: {error}") from None
    origin = {"source": SOURCE, "licence": LICENCE}
    write(folder / "facts.jsonl", ({"id": name, "text": fact, **origin} for fact, name in ids.items()))
    for split, rows in splits.items():
        write(folder / f"{split}.jsonl", rows)


def main() -> None:
    """Parse the command line and convert the files."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit(str(__doc__))
    given = Path(sys.argv[1])
    source = given / f"{NAME}.zip" if given.is_dir() else given
    convert(source, Path(sys.argv[2]) if len(sys.argv) == 3 else source.parent)


if __name__ == "__main__":
    main()
