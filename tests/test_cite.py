"""`kib cite` prints BibTeX entries for the works that a benchmark uses."""

import re

import pytest

from kib import __version__
from kib.commands.cite import entries_in
from kib.plugins.registry import installed


def keys(text):
    return re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE)


def test_every_benchmark_cites_kib_the_study_and_lm_eval(bench):
    """Every benchmark cites the installed version of kib, the study and lm-eval."""
    bench.write_toy()
    result = bench.call("cite", bench.spec)
    assert result.exit_code == 0
    assert keys(result.output) == ["kib", "ovadia2024finetuning", "lmevalharness"]
    assert f"version = {{{__version__}}}" in result.output
    assert result.output.count("{") == result.output.count("}")


def test_lm_evals_version_is_the_installed_one(bench):
    """The cited version of lm-eval is the installed version."""
    from importlib.metadata import version

    bench.write_toy()
    assert f"version = {{{version('lm-eval')}}}" in bench.call("cite", bench.spec).output


@pytest.mark.slow
def test_a_tasks_data_are_cited(bench):
    """An lm-eval task adds each BibTeX entry from its README once."""
    task = '\n[tasks.{0}]\nplugin = "lm-eval"\ntask = "mmlu_{0}"\n'
    bench.write_toy(more=task.format("anatomy") + task.format("astronomy"))
    text = bench.call("cite", bench.spec).output
    assert "hendryckstest2021" in keys(text)
    assert len(set(keys(text))) == len(keys(text))


def test_missing_data_files_do_not_prevent_citation(bench):
    """`kib cite` works even if the data files of the benchmark are missing."""
    bench.write_toy()
    (bench.folder / "people.jsonl").unlink()
    assert bench.call("cite", bench.spec).exit_code == 0


BM25 = {"robertson2009bm25", "lu2024bm25s"}
DENSE = {"reimers2019sentencebert"}
PAPER = {*DENSE, "xiao2023cpack"}
LORA = {"hu2021lora"}
CITED_WORKS = [
    ("retrievers", "bm25", "", BM25),
    ("retrievers", "dense", "", DENSE),
    ("retrievers", "dense", 'preset = "paper"', PAPER),
    ("retrievers", "dense", 'preset = "paper"\npath = "elsewhere"', PAPER),
    ("retrievers", "dense", 'hub = "BAAI/bge-large-en"\nindex = "hnsw"', {*PAPER, "douze2024faiss"}),
    ("retrievers", "rerank", 'hub = "BAAI/bge-reranker-base"\nof = ["words"]', PAPER),
    ("retrievers", "hybrid", 'of = ["words", "more-words"]', {"cormack2009rrf"}),
    ("retrievers", "elasticsearch", "", {"robertson2009bm25"}),
    ("retrievers", "elasticsearch", 'mode = "knn"\nencoder = { preset = "paper" }', PAPER),
    ("trainers", "full", "", set()),
    ("trainers", "lora", "", LORA),
    ("trainers", "lora", "dora = true", {*LORA, "liu2024dora"}),
    ("trainers", "lora", "vary = { rslora = [false, true] }", {*LORA, "kalajdzievski2023rslora"}),
]


@pytest.mark.parametrize(("kind", "name", "options", "works"), CITED_WORKS)
def test_plugins_cite_their_methods(bench, kind, name, options, works):
    """A retriever or trainer adds one complete BibTeX entry for each method selected by its options."""
    if (kind, name) not in {(plugin.kind, plugin.name) for plugin in installed()}:
        pytest.skip(f"not installed: {name}")
    uses = "train" if kind == "trainers" else "retrieve"
    k = "" if kind == "trainers" else "top_k = [1]\n"
    more = f'\n[retrievers.more-words]\nplugin = "toy"\n\n[{kind}.one]\nplugin = "{name}"\n{options}\n'
    bench.write_toy(more=f'{more}\n[methods.of-one]\n{uses} = "one"\n{k}')
    result = bench.call("cite", bench.spec)
    assert result.exit_code == 0, result.output
    found = keys(result.output)
    assert sorted(found) == sorted({"kib", "ovadia2024finetuning", "lmevalharness", *works})
    assert len(entries_in(result.output)) == len(found)
    assert result.output.count("{") == result.output.count("}")


def test_a_work_of_several_plugins_is_listed_once(bench):
    """A work cited by several retrievers is listed once."""
    if "bm25" not in {plugin.name for plugin in installed()}:
        pytest.skip("not installed: bm25")
    more = "".join(f'\n[retrievers.{name}]\nplugin = "bm25"\n' for name in ("one", "two"))
    bench.write_toy(more=more)
    assert sorted(keys(bench.call("cite", bench.spec).output)) == sorted(
        {"kib", "ovadia2024finetuning", "lmevalharness", *BM25}
    )


ENTRY = '@article{key,\n  title = {A {B} \\"{o}},\n  year = 2020\n}'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("no entry, but me@home.org and {braces}", []),
        (ENTRY, [ENTRY]),
        (f"Text\n```\n{ENTRY}\n```\nmore\n  @misc{{other, note = {{x}}}} tail", [ENTRY, "@misc{other, note = {x}}"]),
        ("@article{open,\n title = {never closed", []),
        (f"@article{{open, title = {{x\n{ENTRY}", [ENTRY]),
        (f"@comment{{note, {ENTRY}}} @string(a = {{b}}) @preamble{{x}} {ENTRY}", [ENTRY]),
        ("@Book{ spaced , title={T}}", ["@Book{ spaced , title={T}}"]),
    ],
)
def test_entries_are_found_in_any_text(text, found):
    """Complete BibTeX entries in any text are found by matching braces, and incomplete entries are ignored."""
    assert entries_in(text) == found
