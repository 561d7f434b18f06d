"""The study as executable benchmarks: planned, checked offline, cited, and run at a small scale."""

import bz2
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kib.cli import main
from kib.plan.planner import make_plan
from kib.plugins.registry import installed
from kib.plugins.resolve import open_spec
from kib.spec.load import load_spec

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
STUDY = ("ovadia2024-mmlu", "ovadia2024-current-events")


def call(*arguments):
    """Run a kib command with the given arguments."""
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def offline(monkeypatch):
    """Block network access, and skip the test if a plugin of the study is not installed."""
    missing = {"dense", "wikipedia", "openai", "hf"} - {plugin.name for plugin in installed()}
    if missing:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", STUDY)
def test_the_setup_matches_the_paper(name):
    """Models, retriever, K, learning rates, block size, batch size and epochs match the paper."""
    spec = load_spec(BENCHMARKS / f"{name}.toml")
    assert [model.options["hub"].split("/")[1] for model in spec.models.values()] == [
        "Mistral-7B-v0.1",
        "Llama-2-7b-hf",
        "Orca-2-7b",
    ]
    assert [retriever.options for retriever in spec.retrievers.values()] == [{"preset": "paper"}]
    assert {method.top_k for method in spec.methods.values() if method.retrieve} == {(1, 2, 3, 4, 5)}
    for trainer in spec.trainers.values():
        rates = trainer.vary["learning_rate"]
        assert (trainer.plugin, min(rates), max(rates)) == ("full", 1e-6, 5e-5)
        assert {key: trainer.options[key] for key in ("pack", "block", "batch_size", "epochs")} == {
            "pack": "concatenate",
            "block": 256,
            "batch_size": 64,
            "epochs": 5,
        }


def test_each_subject_has_0_and_5_shots():
    """Each subject in Table 1 has 0-shot and 5-shot questions and a separate corpus."""
    spec = load_spec(BENCHMARKS / "ovadia2024-mmlu.toml")
    assert {(task.options["task"], task.shots) for task in spec.tasks.values()} == {
        (f"mmlu_{subject}", (0, 5))
        for subject in ("anatomy", "astronomy", "college_biology", "college_chemistry", "prehistory")
    }
    assert {task.corpus for task in spec.tasks.values()} == set(spec.corpora)


def test_paraphrases_come_from_an_endpoint():
    """A chat model behind an OpenAI-compatible endpoint writes ten paraphrases per chunk."""
    spec = load_spec(BENCHMARKS / "ovadia2024-current-events.toml")
    assert (spec.trainers["par"].text.writer, spec.trainers["par"].text.count) == ("gpt", 10)
    assert spec.writers["gpt"].plugin == "openai"


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDY)
def test_check_confirms_the_valid_parts_offline(offline, name):
    """Offline, `kib check` confirms the valid parts of the file and lists unchecked tables with line numbers."""
    result = call("check", "-q", BENCHMARKS / f"{name}.toml")
    assert result.exit_code == 2
    assert "keys, names and options are valid" in result.output
    assert "models: mistral-7b, llama2-7b and orca2-7b" in result.output
    for model in ("mistral-7b", "llama2-7b", "orca2-7b"):
        assert re.search(rf"^\S+:\d+: models\.{model}: .*the hub cannot be reached", result.output, re.MULTILINE)
    assert re.search(r"^\S+:\d+: corpora\.\S+\.pins: .*`kib-wikipedia pin SPEC`", result.output, re.MULTILINE)


def test_check_lists_the_required_downloads_offline(offline, monkeypatch):
    """Without network access, `kib check` lists every model, wiki, data set and API key needed by a run."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    output = call("check", "-q", BENCHMARKS / "ovadia2024-mmlu.toml").output
    heading = "`kib run` needs the following, and downloads data that are not yet on this machine:\n"
    _, _, taken = output.partition(heading)
    assert "  models.llama2-7b: model meta-llama/Llama-2-7b-hf on the hub at revision `main`\n" in taken
    assert "  retrievers.bge: model BAAI/bge-large-en on the hub at revision `abe7d9d8" in taken
    assert (
        "  corpora.prehistory: the pages pinned in prehistory.pins, from https://en.wikipedia.org/w/api.php\n" in taken
    )
    for subject in ("anatomy", "astronomy", "college_biology", "college_chemistry", "prehistory"):
        name = subject.replace("_", "-")
        assert f"  tasks.{name}: the data set cais/mmlu {subject} for the lm-eval task mmlu_{subject}\n" in taken
    output = call("check", "-q", BENCHMARKS / "ovadia2024-current-events.toml").output
    missing = "the environment variable OPENAI_API_KEY is not set"
    assert f"  writers.gpt: model gpt-4 at https://api.openai.com/v1; {missing}" in output


def test_check_reports_unknown_lm_eval_tasks_offline(offline, tmp_path):
    """If models are unreachable, `kib check` still reports an unknown lm-eval task and does not call the file valid."""
    text = (BENCHMARKS / "ovadia2024-mmlu.toml").read_text(encoding="utf-8")
    (tmp_path / "wrong.toml").write_text(text.replace('"mmlu_anatomy"', '"mmlu_anatmy"'), encoding="utf-8")
    result = call("check", "-q", tmp_path / "wrong.toml")
    assert result.exit_code == 2
    assert re.search(
        r"^\S+:\d+: tasks\.anatomy: .*no task mmlu_anatmy; did you mean mmlu_anatomy", result.output, re.MULTILINE
    )
    assert "models.orca2-7b: " in result.output
    assert "are valid" not in result.output


def test_check_reports_the_unreleased_questions(offline):
    """`kib check` reports the missing current-events questions, and the file shows the command that creates them."""
    path = BENCHMARKS / "ovadia2024-current-events.toml"
    output = call("check", "-q", path).output
    assert re.search(r"tasks\.current-events\.path: .*questions\.jsonl: no such file", output)
    text = path.read_text(encoding="utf-8")
    shown = re.search(r"^#\s+(kib questions .*)$", text, re.MULTILINE)[1].split()
    assert {"--corpus", "--writer", "--count", "--keep", "--out", "--validation"} <= set(shown)
    spec = load_spec(path)
    assert {shown[shown.index("--out") + 1], shown[shown.index("--validation") + 1]} == {
        f"benchmarks/{spec.tasks['current-events'].options[key]}" for key in ("path", "validation")
    }


def test_check_of_a_wrong_file_shows_no_outline(tmp_path):
    """If the file contains mistakes, `kib check` reports the mistakes without listing the valid parts."""
    text = (BENCHMARKS / "ovadia2024-mmlu.toml").read_text(encoding="utf-8")
    (tmp_path / "wrong.toml").write_text(text.replace('retrieve = "bge"', 'retrieve = "bgd"', 1), encoding="utf-8")
    result = call("check", "-q", tmp_path / "wrong.toml")
    assert result.exit_code == 2
    assert 'did you mean "bge"?' in result.output
    assert "are valid" not in result.output


@pytest.mark.parametrize("name", STUDY)
def test_cite_lists_the_encoder_and_models(offline, name):
    """`kib cite` cites the study's paper, its encoder and its three models."""
    result = call("cite", BENCHMARKS / f"{name}.toml")
    assert result.exit_code == 0, result.output
    keys = re.findall(r"^@\w+\{([^,]+),", result.output, re.MULTILINE)
    assert {"kib", "ovadia2024finetuning", "jiang2023mistral", "touvron2023llama2", "mitra2023orca2"} <= set(keys)
    assert {"xiao2023cpack", "reimers2019sentencebert"} <= set(keys)
    assert len(keys) == len(set(keys))


@pytest.fixture
def small(data, offline, monkeypatch):
    """The small benchmark with its data; skips the test if the data are missing."""
    for part in ("models/stories260K", "wikipedia/enwiki-fragment.xml.bz2", "mmlu/test/anatomy_test.csv"):
        if not (data / part).exists():
            pytest.skip(f"no {data / part}")
    monkeypatch.setenv("KIB_DATA", str(data))
    return BENCHMARKS / "ovadia2024-small.toml"


def test_the_small_benchmark_has_the_arms_of_the_study(small):
    """The small benchmark has the study's arms: base, every K, fine-tuning and both combined."""
    plan = make_plan(*open_spec(small))
    arms = {cell.cell.arm for cell in plan.cells if cell.cell.split == "test"}
    both = {f"ft+rag,k={k}" for k in range(1, 6)}
    assert arms == {"base", "ft", *(f"rag,k={k}" for k in range(1, 6)), *both}
    assert {(cell.cell.task, cell.cell.shots) for cell in plan.cells} == {
        ("anatomy", 0),
        ("astronomy", 0),
    }


@pytest.mark.slow
def test_the_small_benchmark_runs(small, data, tmp_path):
    """The small benchmark runs to completion and appears next to the published table, but in a separate ranking."""
    whole = bz2.decompress((data / "wikipedia" / "enwiki-fragment.xml.bz2").read_bytes()).decode()
    some = [page for page in re.findall(r"  <page>.*?</page>\n", whole, re.DOTALL) if "<redirect" not in page][:4]
    (tmp_path / "four.xml").write_text(
        f"{whole.partition('  <page>')[0]}{''.join(some)}</mediawiki>\n", encoding="utf-8"
    )
    text = small.read_text(encoding="utf-8").replace('corpus = "wikipedia"\n', 'corpus = "wikipedia"\nlimit = 12\n')
    text = text.replace("top_k = [1, 2, 3, 4, 5]", "top_k = [1, 2]")
    text = text.replace("${KIB_DATA}/wikipedia/enwiki-fragment.xml.bz2", "four.xml")
    (tmp_path / "ovadia2024-small.toml").write_text(text, encoding="utf-8")
    folders = ["--results", tmp_path / "results"]
    run = call("run", "-q", tmp_path / "ovadia2024-small.toml", *folders, "--work", tmp_path / "work")
    assert run.exit_code == 0, run.output
    published = BENCHMARKS / "published" / "ovadia2024-mmlu.toml"
    shown = call("leaderboard", "ovadia2024-small", published, *folders, "--format", "json")
    table = json.loads(shown.output)
    assert {row["origin"] for row in table["rows"]} == {"measured", "published"}
    assert table["across"] == []
    assert "does not state how answers were scored" in table["apart"][0]
