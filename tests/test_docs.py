"""Tests that the examples in the documentation work as printed."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from kib.cli import main
from kib.interfaces import GROUPS
from kib.plan.planner import make_plan
from kib.plugins.registry import load
from kib.plugins.resolve import open_spec
from kib.spec.tables import own_keys

ROOT = Path(__file__).parent.parent
BASH = shutil.which("bash") or "bash"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CALL = re.compile(r"(?:^|[\s/`(])kib ([a-z]+)((?: [^\s`;&|]+)*)")


def blocks(path, language=None):
    """Return the fenced code blocks of a page, either in one language or in all languages."""
    found = BLOCK.findall(path.read_text(encoding="utf-8"))
    return [text for kind, text in found if language in (None, kind)]


def snippets():
    """Return every TOML block of every page, with the page and the block number as the test id."""
    return [
        pytest.param(text, id=f"{path.relative_to(ROOT).as_posix()}-{number}")
        for path in PAGES
        for number, text in enumerate(blocks(path, "toml"), 1)
    ]


def calls(path):
    """Return the command and arguments of every `kib` call in the code blocks of a page."""
    text = path.read_text(encoding="utf-8")
    shown = [*blocks(path, "sh"), *re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))]
    lines = [line.partition(" #")[0] for part in shown for line in part.splitlines()]
    return [(command, rest.split()) for line in lines for command, rest in CALL.findall(line)]


def test_first_blocks_are_one_line_each():
    """The README's first two code blocks run the lab and the tests in a fresh clone, and each consists of one line."""
    first, second = (block.strip() for block in blocks(ROOT / "README.md")[:2])
    for line in (first, second):
        assert "\n" not in line
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -c constraints.txt ")
    assert first.endswith(" && .venv/bin/kib run benchmarks/lab.toml")
    assert second.endswith(" && .venv/bin/tox")


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 0), (0, 3)])
def test_ci_runs_the_second_block_then_all_tests(tmp_path, first, second):
    """`.ci/run` runs the README's second block and all tests, stops at a failure, and repeats the summary lines."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    quick, full = ("======== 3 passed in 0.10s ========", "======== 5 passed in 0.20s ========")
    page = f"```sh\nexit 9\n```\n\n```sh\necho '{quick}'; (exit {first})\n```\n"
    (tmp_path / "README.md").write_text(page, encoding="utf-8")
    tox = tmp_path / ".venv" / "bin" / "tox"
    tox.parent.mkdir(parents=True)
    tox.write_text(f"#!/bin/sh\necho \"$@\"; echo '{full}'; exit {second}\n", encoding="utf-8")
    tox.chmod(0o755)
    run = subprocess.run([BASH, str(tmp_path / ".ci" / "run")], capture_output=True, text=True, check=False)
    assert run.returncode == (first or second)
    assert ("-e full" in run.stdout.splitlines()) == (first == 0)
    closing = [quick, full] if first == 0 else [quick]
    assert run.stdout.splitlines()[-len(closing) :] == closing


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_exist(path):
    """Every command and option mentioned in the documentation exists."""
    for command, arguments in calls(path):
        assert command in main.commands, f"kib {command}"
        known = {option for parameter in main.commands[command].params for option in parameter.opts}
        unknown = [one for one in arguments if one.startswith("-") and one.partition("=")[0] not in {*known, "--help"}]
        assert not unknown, f"kib {command}: {unknown}"


def test_readme_lists_every_command():
    """The README mentions every command."""
    shown = {command for command, _ in calls(ROOT / "README.md")}
    assert {name for name, command in main.commands.items() if not command.hidden} == shown


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_existing_headings(path):
    """Every link inside the repository leads to an existing file and heading."""
    links = LINK.findall(BLOCK.sub("", path.read_text(encoding="utf-8")))
    assert not [link for link in links if "://" not in link and not leads_somewhere(path, link)]


def leads_somewhere(path, link):
    """Return whether the target of a link on a page exists."""
    file, _, anchor = link.partition("#")
    target = path.parent / file if file else path
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(path):
    """Return the anchors that GitHub generates for the headings of a page."""
    headings = HEADING.findall(BLOCK.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("text", snippets())
def test_toml_examples_contain_only_valid_options(text, monkeypatch):
    """Every table in a TOML example contains only options that its plugin accepts."""
    for name in re.findall(r"\$\{(\w+)\}", text):
        monkeypatch.setenv(name, "/data")
    document = tomllib.loads(text)
    for kind in GROUPS if document.get("kind") != "published" else ():  # published files have no plugins
        for name, table in document.get(kind, {}).items():
            if table["plugin"] != "notes":  # the sample plugin of CONTRIBUTING.md
                check_options(kind, name, table)


def check_options(kind, name, table):
    """Check that the plugin of a table accepts the options in the table."""
    varied = table.get("vary", {})
    rest = {key: value for key, value in table.items() if key not in own_keys(kind)}
    first = {key: values[0] for key, values in varied.items() if "." not in key}
    load(kind, table["plugin"]).Options.model_validate_json(json.dumps({**first, **rest}), context={"folder": Path()})


@pytest.fixture
def handbook(tmp_path, tiny_model):
    """Return a folder with the README's benchmark, documents and questions, and a tiny model."""
    page = ROOT / "README.md"
    documents, questions = blocks(page, "json")
    spec = next(block for block in blocks(page, "toml") if block.startswith("schema = 1"))
    (tmp_path / "handbook.jsonl").write_text(documents, encoding="utf-8")
    (tmp_path / "questions.jsonl").write_text(questions, encoding="utf-8")
    (tmp_path / "handbook.toml").write_text(spec, encoding="utf-8")
    shutil.copytree(tiny_model, tmp_path / "models" / "small")
    return tmp_path


def test_readme_spec_can_be_planned(handbook):
    """The README's sample benchmark can be planned as printed and has at most 30 lines."""
    plan = make_plan(*open_spec(handbook / "handbook.toml"))
    assert {cell.cell.arm for cell in plan.cells} == {"base", "rag,k=1", "rag,k=3", "oracle"}
    assert len([line for line in (handbook / "handbook.toml").read_text().splitlines() if line.strip()]) <= 30


def test_readme_training_can_be_planned(handbook):
    """The README's sample benchmark can be planned together with the trainer and methods from the training example."""
    spec, training = (block for block in blocks(ROOT / "README.md", "toml")[:2])
    (handbook / "trained.toml").write_text(f"{spec}\n{training}", encoding="utf-8")
    plan = make_plan(*open_spec(handbook / "trained.toml"))
    assert {cell.cell.arm for cell in plan.cells} == {"base", "rag,k=1", "rag,k=3", "oracle", "ft", "ft+rag,k=3"}


def test_the_example_of_systems_can_be_planned(handbook):
    """The example in docs/systems.md can be added to the README's sample benchmark, and its function answers."""
    page = ROOT / "docs" / "systems.md"
    (handbook / "search.py").write_text(blocks(page, "python")[0], encoding="utf-8")
    text = f"{(handbook / 'handbook.toml').read_text(encoding='utf-8')}\n{blocks(page, 'toml')[0]}"
    (handbook / "handbook.toml").write_text(text, encoding="utf-8")
    plan = make_plan(*open_spec(handbook / "handbook.toml", trust_remote_code=True))
    assert {"search", "assistant"} <= {cell.cell.arm for cell in plan.cells}
    served = plan.lock.get("systems", "search").plugin.load().answer("Which lever switches off pump 7?", "")
    assert "the red lever" in served.value
    assert served.passages == ("pump-7",)


@pytest.mark.slow
def test_readme_commands_run(handbook):
    """The README's commands, including the CI check, run as printed on the sample benchmark."""
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.splitlines() if "handbook" in line]
    assert len(lines) == 4
    lines.sort(key=lambda line: "leaderboard" in line)  # a baseline needs results
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}  # several threads are slow on a busy machine
    for line in lines:
        run = subprocess.run(
            [BASH, "-c", line], cwd=handbook, env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, f"{line}\n{run.stdout}{run.stderr}"
    assert (handbook / "baseline.json").is_file()


@pytest.mark.slow
def test_the_sample_plugin_in_contributing_works(tmp_path):
    """The sample plugin in CONTRIBUTING.md has fewer than 30 lines and passes the sample test on the same page."""
    page = ROOT / "CONTRIBUTING.md"
    module, contract, *_ = blocks(page, "python")  # the other blocks belong to plugins that contact a server
    assert len([line for line in module.splitlines() if line.strip()]) < 30
    project = tomllib.loads(blocks(page, "toml")[0])
    (tmp_path / "kib_notes.py").write_text(module, encoding="utf-8")
    (tmp_path / "test_contract.py").write_text(contract, encoding="utf-8")
    install(project, tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_contract.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout


def install(project, site):
    """Write the metadata that pip would write when installing a distribution."""
    name, version = project["project"]["name"], project["project"]["version"]
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = project["project"]["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in some.items()) for group, some in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))


def test_every_command_and_option_has_help_text():
    """Every command and every option has help text."""
    for name, command in main.commands.items():
        assert command.help, name
        options = [one for one in command.params if isinstance(one, click.Option)]
        assert not [one.name for one in options if not one.help], name
