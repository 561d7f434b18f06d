"""Measure retrieval quality on two test collections with one setting per retriever, next to published values.

    python bench/retrieval.py --data FOLDER [--elasticsearch URL] [--work FOLDER] [--json FILE]

FOLDER holds `scifact` and `vaswani` in BEIR's layout. All steps use the code of `kib retrieve`. A retriever that is
unavailable on this machine is skipped, and the reason is printed. The exit code is 1 if a measured value is below its
required minimum.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import command

from kib.commands.retrieve import Report, SearchRequest, retrieve
from kib.errors import KibError
from kib.plugins.registry import installed
from kib.progress import progress_for
from kib.records import Hit
from kib.store.work import Work

DEPTH = 1000
"""Hits per query, as in the published runs of trec_eval."""

RETRIEVERS = {
    "bm25": """plugin = "bm25"
stemmer = "english"
stop_words = "en_plus"
token_pattern = '\\b\\w+\\b'
k1 = 0.9
b = 0.4
""",
    "elasticsearch": """plugin = "elasticsearch"
analyzer = "english"
k1 = 0.9
b = 0.4
""",
    "dense": 'plugin = "dense"\n',
    "hybrid": 'plugin = "hybrid"\nof = ["bm25", "dense"]\ndepth = 1000\n',
}
"""One spec table per retriever; the encoder is the default of kib-dense."""

MEASURES = {"scifact": ("nDCG@10", "recall@100"), "vaswani": (f"MAP@{DEPTH}", "nDCG@10")}
PUBLISHED = {
    "scifact": ("Anserini 0.21, BM25 flat, k1 0.9, b 0.4", {"nDCG@10": 0.6789, "recall@100": 0.9253}),
    "vaswani": ("PyTerrier, BM25", {f"MAP@{DEPTH}": 0.2965}),
}
LEAST = {
    ("bm25", "scifact", "nDCG@10"): 0.678,
    ("bm25", "scifact", "recall@100"): 0.920,
    ("bm25", "vaswani", f"MAP@{DEPTH}"): 0.290,
    ("elasticsearch", "scifact", "nDCG@10"): 0.6779,
    ("elasticsearch", "scifact", "recall@100"): 0.9243,
    ("elasticsearch", "vaswani", f"MAP@{DEPTH}"): 0.285,
}
"""The minimum of each value."""

SPEC = """schema = 1
name = "retrieval"

[corpora.collection]
plugin = "beir"
path = {path}
"""


def usable(url: str | None) -> tuple[list[str], dict[str, str]]:
    """Return the available retrievers, and the reason for each missing retriever."""
    there = {plugin.name for plugin in installed() if plugin.kind == "retrievers"}
    absent = {name: f"the plugin {name} is not installed" for name in RETRIEVERS if name not in there}
    if url is None:
        absent.setdefault("elasticsearch", "no server was specified; set its address with --elasticsearch URL")
    if "dense" in absent:
        absent.setdefault("hybrid", absent["dense"])
    return [name for name in RETRIEVERS if name not in absent], absent


def measured(collection: Path, names: Sequence[str], url: str | None, work: Path) -> Report:
    """Search a collection with each retriever, as `kib retrieve` does."""
    tables = {name: RETRIEVERS[name] for name in names}
    if "elasticsearch" in tables:
        tables["elasticsearch"] += f"url = {json.dumps(url)}\n"
    spec = work / f"{collection.name}.toml"
    text = SPEC.format(path=json.dumps(str(collection.resolve())))
    text += "".join(f"\n[retrievers.{name}]\n{table}" for name, table in tables.items())
    spec.write_text(text, encoding="utf-8")
    return retrieve(spec, SearchRequest(depth=DEPTH), Work(work / "work"), progress_for())


def overlap(one: Mapping[str, Sequence[Hit]], other: Mapping[str, Sequence[Hit]], k: int = 10) -> float:
    """Return the mean share of the first `k` hits that two retrievers have in common."""
    pairs = [({hit.passage for hit in one[query][:k]}, {hit.passage for hit in other[query][:k]}) for query in one]
    return mean(len(ours & theirs) / max(1, len(ours), len(theirs)) for ours, theirs in pairs)


def figures(report: Report) -> dict[str, Any]:
    """Return the measured values of a report by retriever."""
    [block] = report.blocks
    return {
        "passages": report.passages,
        "queries": block.queries,
        "retrievers": {
            line.retriever: {
                "measures": {
                    name: [one.mean, one.interval.low, one.interval.high] for name, one in line.measures.items()
                },
                "index_bytes": line.index_bytes,
                "seconds_indexing": line.indexing,
                "seconds_query": line.searching,
            }
            for line in block.lines
        },
        "overlap_10": {
            f"{one.retriever}, {other.retriever}": overlap(one.hits, other.hits)
            for number, one in enumerate(block.lines)
            for other in block.lines[:number]
        },
        "failures": dict(report.failures),
    }


def lines(name: str, found: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table for one collection."""
    wanted = MEASURES[name]
    source, published = PUBLISHED[name]
    head = f"{'retriever':<16}" + "".join(f"{measure:>12}{'interval':>18}" for measure in wanted)
    text = [f"{name}: {found['passages']:,} documents, {found['queries']} queries", head + f"{'ms/query':>10}"]
    for retriever, row in found["retrievers"].items():
        cells = [row["measures"][measure] for measure in wanted]
        values = "".join(f"{value:>12.4f}{f'[{low:.3f}, {high:.3f}]':>18}" for value, low, high in cells)
        text.append(f"{retriever:<16}{values}{1000 * row['seconds_query']:>10.2f}")
    values = "".join(f"{format(published[m], '.4f') if m in published else '–':>12}{'':>18}" for m in wanted)
    text.append(f"{'published':<16}{values}  {source}")
    text += [
        f"shared hits among the top 10: {pair}: {100 * share:.1f} %" for pair, share in found["overlap_10"].items()
    ]
    return [*text, ""]


def shortfalls(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one sentence for each measured value below its required minimum."""
    short = []
    for (retriever, name, measure), least in LEAST.items():
        row = found[name]["retrievers"].get(retriever)
        if row and row["measures"][measure][0] < least:
            short.append(
                f"{retriever} on {name}: {measure} = {row['measures'][measure][0]:.4f} is below the minimum, {least}"
            )
    return short


def main() -> int:
    """Run the measurement and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=command.folder, required=True, help="folder that contains scifact and vaswani")
    parser.add_argument(
        "--elasticsearch", metavar="URL", help="address of an Elasticsearch server; if unset, its row is left out"
    )
    parser.add_argument("--work", type=Path, help="folder for indexes and hits (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="JSON file to write the results to")
    arguments = parser.parse_args()
    names, absent = usable(arguments.elasticsearch)
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        try:
            found = {
                name: figures(measured(arguments.data / name, names, arguments.elasticsearch, work))
                for name in MEASURES
            }
        except KibError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    for name, some in found.items():
        print("\n".join(lines(name, some)))
    failed = {retriever: why for some in found.values() for retriever, why in some["failures"].items()}
    for name, why in (absent | failed).items():
        print(f"left out: {name}: {why}")
    short = shortfalls(found)
    print("\n".join(short or ["every measured value reaches its required minimum"]))
    if arguments.json:
        text = json.dumps({"depth": DEPTH, "collections": found, "left_out": absent}, indent=2)
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    return int(bool(short or failed))


if __name__ == "__main__":
    sys.exit(main())
