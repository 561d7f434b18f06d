"""BibTeX of what a benchmark stands on: kib, the study, lm-eval, the tasks' data and the plugins' own."""

import re
from collections.abc import Iterator

from kib import __version__
from kib.interfaces import GROUPS
from kib.lock import Lock
from kib.spec import Spec

__all__ = ["bibtex"]

KIB = f"""@software{{kib,
  title = {{kib: the knowledge injection benchmark}},
  author = {{{{The kib developers}}}},
  version = {{{__version__}}},
  year = {{2026}},
  license = {{Apache-2.0}}
}}"""

STUDY = """@inproceedings{ovadia2024finetuning,
  title = {Fine-Tuning or Retrieval? Comparing Knowledge Injection in {LLM}s},
  author = {Ovadia, Oded and Brief, Menachem and Mishaeli, Moshik and Elisha, Oren},
  booktitle = {Proceedings of the 2024 Conference on Empirical Methods in Natural Language Processing},
  year = {2024},
  note = {2024.emnlp-main.15},
  eprint = {2312.05934},
  archivePrefix = {arXiv}
}"""

HARNESS = """@software{lmevalharness,
  title = {Language Model Evaluation Harness},
  author = {{EleutherAI}},
  version = {0.4.13},
  license = {MIT}
}"""

ENTRY = re.compile(r"^\s*@(\w+)\s*\{\s*([^,\s]+)\s*,", re.MULTILINE)


def bibtex(spec: Spec, lock: Lock) -> str:
    """The entries one after the other, each key once; plugins give theirs by a method `bibtex()`."""
    entries = [KIB, STUDY, HARNESS, *_of_plugins(spec, lock)]
    keyed = {match.group(2): entry for entry in entries if (match := ENTRY.search(entry))}
    return "\n\n".join(entry.strip() for entry in keyed.values())


def _of_plugins(spec: Spec, lock: Lock) -> Iterator[str]:
    for kind in GROUPS:
        for name in spec.tables(kind):
            own = getattr(lock.get(kind, name).plugin, "bibtex", None)
            if own is not None:
                yield from entries_in(own())


def entries_in(text: str) -> list[str]:
    """Every BibTeX entry in a text, found by counting braces."""
    found = []
    for match in ENTRY.finditer(text):
        depth = 0
        for end in range(match.start(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if text[end] == "}" and depth == 0:
                found.append(text[match.start() : end + 1].strip())
                break
    return found
