"""BibTeX entries for everything that a benchmark uses: kib, the study, lm-eval, the tasks' data and the plugins."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kib import __version__
from kib.interfaces import GROUPS, CitingPlugin
from kib.plugins.resolve import Lock
from kib.published.load import Published
from kib.support.bibtex import entries_in, key_of
from kib.support.literature import of_model

__all__ = ["bibtex", "bibtex_of_published"]

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


def bibtex(lock: Lock) -> str:
    """Return the BibTeX entries for a benchmark without duplicate keys; plugins may add entries (`CitingPlugin`)."""
    return _join([KIB, STUDY, HARNESS, *_model_entries(_texts(lock)), *_plugin_entries(lock)])


def bibtex_of_published(published: Published) -> str:
    """Return the BibTeX entries for a published file: its paper, models and data, and kib."""
    data = published.data
    hubs = [model.hub for model in data.models.values() if model.hub]
    return _join([KIB, data.paper.bibtex, *_model_entries(hubs), *entries_in(data.paper.cites or "")])


def _join(entries: Iterable[str]) -> str:
    """Join entries; if several entries share a key, keep the first, so that no entry can replace kib's own entry."""
    by_key: dict[str, str] = {}
    for entry in entries:
        by_key.setdefault(key_of(entry).lower(), entry.strip())
    return "\n\n".join(by_key.values())


def _model_entries(texts: Iterable[str]) -> Iterator[str]:
    """Yield the BibTeX entries of all models named in these texts."""
    for text in texts:
        yield from of_model(text)


def _texts(lock: Lock) -> Iterator[str]:
    """Yield every string among the options of all tables."""
    for table in lock.tables.values():
        yield from _texts_in(table.options)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(item)


def _plugin_entries(lock: Lock) -> Iterator[str]:
    for kind in GROUPS:
        plugins = [table.plugin for (group, _, _), table in lock.tables.items() if group == kind]
        for plugin in plugins:
            if isinstance(plugin, CitingPlugin):
                yield from entries_in(plugin.bibtex())
