"""The JSON Schema and the documentation of benchmark files match the code."""

import json
import os
import re
import runpy
import sys
from pathlib import Path

import pytest
import tomli
from jsonschema import Draft202012Validator

from kib.commands.json_schema import benchmark_schema
from kib.errors import SpecError
from kib.plugins.builtin.lm_eval_task import Data, LmEvalTask
from kib.plugins.builtin.questions_file_task import FileTask
from kib.plugins.registry import installed, load
from kib.plugins.resolve import open_spec
from kib.spec import tables
from kib.spec.load import load_spec
from kib.spec.tables import TABLES, Head, own_keys

ROOT = Path(__file__).parent.parent
BAD = ROOT / "tests" / "bad_specs"
# `KIB_WRITE_DOCS=1 pytest tests/test_json_schema.py` writes the files instead of comparing them.
WRITE = os.environ.get("KIB_WRITE_DOCS")
KEY_TYPES = runpy.run_path(str(ROOT / "tests" / "key_types.py"))
install = runpy.run_path(str(ROOT / "tests" / "bad_plugins" / "install.py"))["install"]


@pytest.fixture(scope="module")
def schemas(tmp_path_factory):
    """Yield a dictionary: True maps to the core schema, and False maps to the schema with all installed plugins."""
    folder = str(install(tmp_path_factory.mktemp("plugins") / "site", "good"))
    sys.path.insert(0, folder)
    yield {core_only: benchmark_schema(core_only) for core_only in (True, False)}
    sys.path.remove(folder)
    for name in [name for name in sys.modules if name.startswith("kib_test_")]:
        del sys.modules[name]


def errors(made, text):
    return [error.message for error in Draft202012Validator(made).iter_errors(tomli.loads(text))]


BENCHMARKS = sorted([*(ROOT / "benchmarks").glob("*.toml"), *(ROOT / "bench").glob("*.toml")])
EXAMPLE = re.search(r"```toml\n(.*?)```", (ROOT / "docs" / "spec.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
GOOD = (BAD / "path-not-there.toml").read_text()  # valid for the schema, which does not check files


@pytest.mark.parametrize("core_only", [True, False])
def test_the_schema_is_valid(schemas, core_only):
    """The schema is a valid JSON Schema (draft 2020-12) without dangling references."""
    made = schemas[core_only]
    Draft202012Validator.check_schema(made)
    references = set(re.findall(r'"\$ref": "#/\$defs/([^"]*)"', json.dumps(made)))
    assert references <= set(made["$defs"])


@pytest.mark.parametrize("text", [*(path.read_text() for path in BENCHMARKS), EXAMPLE, GOOD])
@pytest.mark.parametrize("core_only", [True, False])
def test_good_files_are_valid(schemas, core_only, text):
    """Every shipped benchmark and every example is valid."""
    distributions = {plugin.name for plugin in installed()}
    named = {table["plugin"] for kind in tomli.loads(text).values() if isinstance(kind, dict) for table in kind.values()
             if isinstance(table, dict) and "plugin" in table}  # fmt: skip
    if not core_only and not named <= distributions:
        pytest.skip(f"not installed: {', '.join(sorted(named - distributions))}")
    assert errors(schemas[core_only], text) == []


SEEN = [
    "chat-template-text",
    "chunk-unknown-key",
    "date",
    "key-unknown",
    "kind-unknown",
    "limit-zero",
    "method-key",
    "name-climbs",
    "no-methods",
    "no-models",
    "option-choice",
    "option-missing",
    "option-nested",
    "option-number",
    "option-range",
    "option-union",
    "option-unknown",
    "plugin-missing",
    "plugin-other-kind",
    "plugin-unknown",
    "prices-negative",
    "replay-share",
    "role-unknown",
    "schema-later",
    "seeds-number",
    "table-name-capital",
    "table-name-climbs",
    "table-name-dots",
    "tables-are-text",
    "text-without-writer",
    "tokens-form",
    "top-k-empty",
    "top-k-number",
    "top-k-twice",
    "vary-no-list",
]


@pytest.mark.parametrize("name", SEEN)
def test_bad_files_are_not_valid(schemas, name):
    """The schema rejects every mistake that a JSON Schema can express."""
    data = tomli.loads((BAD / f"{name}.toml").read_text())
    assert not Draft202012Validator(schemas[False]).is_valid(data)


@pytest.mark.parametrize("name", ["plugin-unknown", "option-unknown"])
def test_the_core_schema_lets_other_plugins_pass(schemas, name):
    """The core schema accepts unknown plugins and arbitrary options for these plugins."""
    assert errors(schemas[True], (BAD / f"{name}.toml").read_text()) == []


@pytest.mark.parametrize("name", ["path-variable", "remote-code", "remote-code-nested"])
def test_a_file_that_kib_opens_is_valid(schemas, name, monkeypatch):
    """The schema accepts benchmark files that need a command-line flag or an environment variable."""
    monkeypatch.chdir(BAD)
    monkeypatch.setenv("KIB_TEST_NOT_SET", str(BAD / "data"))
    assert open_spec(Path(f"{name}.toml"), trust_remote_code=True)
    assert errors(schemas[False], (BAD / f"{name}.toml").read_text()) == []


def test_documented_messages_are_current(tmp_path, monkeypatch):
    """The messages in docs/spec.md match the errors for the documented example with three mistakes."""
    monkeypatch.chdir(tmp_path)
    text = EXAMPLE.replace("sentences = 5", "sentence = 5").replace('retrieve = "bm25"', 'retrieve = "bm52"')
    Path("manuals.toml").write_text(text.replace("[1, 3, 5]", "3"))
    with pytest.raises(SpecError) as caught:
        load_spec(Path("manuals.toml"))
    assert f"```text\n{caught.value}\n```" in (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")


def test_the_shipped_schema_is_current():
    """docs/schema.json equals the output of `kib schema --core`."""
    made = json.dumps(benchmark_schema(core_only=True), indent=2, ensure_ascii=False) + "\n"
    file = ROOT / "docs" / "schema.json"
    if WRITE:
        file.write_text(made, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == made, "run: kib schema --core > docs/schema.json"


TASK_OPTIONS = {"file": FileTask.Options, "lm_eval": LmEvalTask.Options, "lm_eval_data": Data}


def spec_keys(name):
    """Return the table of keys that follows a marker in docs/spec.md."""
    model = Head if name == "head" else TABLES.get(name) or TASK_OPTIONS.get(name) or getattr(tables, name)
    return KEY_TYPES["key_table"](model.model_json_schema())


def test_every_key_is_documented():
    """The tables of keys in docs/spec.md match the code."""
    file = ROOT / "docs" / "spec.md"
    text = file.read_text(encoding="utf-8")
    made, shown = KEY_TYPES["replace_key_tables"](text, "keys", spec_keys)
    if WRITE:
        file.write_text(made, encoding="utf-8")
        text = made
    assert text == made, "run: KIB_WRITE_DOCS=1 pytest tests/test_json_schema.py"
    parts = {"Chunk", "TextKey", "Replay", "Unseen", "Validation", "MethodCost", "PromptTable", "PriceTable"}
    assert shown == {"head", *TABLES, *TASK_OPTIONS, *parts}


def test_the_options_of_systems_are_documented():
    """The tables of keys in docs/systems.md match the core plugins for systems."""
    file = ROOT / "docs" / "systems.md"
    text = file.read_text(encoding="utf-8")
    core = [one.name for one in installed() if (one.kind, one.distribution) == ("systems", "kib-bench")]
    options = {name: load("systems", name).Options for name in core}

    def table_of(name):
        return KEY_TYPES["key_table"](options[name].model_json_schema())

    made, shown = KEY_TYPES["replace_key_tables"](text, "keys", table_of)
    if WRITE:
        file.write_text(made, encoding="utf-8")
        text = made
    assert text == made, "run: KIB_WRITE_DOCS=1 pytest tests/test_json_schema.py"
    assert shown == set(options)


def test_the_task_examples_are_valid(schemas):
    """The examples of all task plugins in docs/spec.md are valid benchmark files when added to the first example."""
    page = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(\[tasks\.[\s\S]*?)```", page)
    assert len(examples) == 4
    for example in examples:
        assert errors(schemas[True], f"{EXAMPLE}\n{example}") == []


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_no_core_plugin_has_an_own_key_as_option(kind):
    """No core plugin has an option with the name of a key reserved by kib."""
    for plugin in installed():
        if plugin.kind == kind and plugin.distribution == "kib-bench":
            assert not set(load(kind, plugin.name).Options.model_fields) & set(own_keys(kind))
