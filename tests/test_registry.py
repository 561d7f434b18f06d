"""Discovery, loading and rejection of plugins."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field, create_model

from kib.errors import PluginError
from kib.interfaces import GROUPS, Options
from kib.plugins.registry import _option_faults, installed, load, names, problem
from kib.spec.tables import own_keys

FOLDER = Path(__file__).parent / "bad_plugins"
ALL = ("good", "colliding", "broken", "malformed")
install = runpy.run_path(str(FOLDER / "install.py"))["install"]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Put all test distributions on sys.path, and unload their modules after the test."""
    folder = install(tmp_path / "site", *ALL)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("kib_test_")]:
        del sys.modules[name]


def message(kind, name):
    with pytest.raises(PluginError) as caught:
        load(kind, name)
    return str(caught.value)


def test_core_plugins_are_installed():
    """The core plugins are registered as entry points, like third-party plugins."""
    mine = {(plugin.kind, plugin.name) for plugin in installed() if plugin.distribution == "kib-bench"}
    assert mine == {
        ("models", "lm-eval"),
        ("tasks", "lm-eval"),
        ("tasks", "file"),
        ("retrievers", "oracle"),
        ("retrievers", "random"),
        ("trainers", "elsewhere"),
        ("systems", "http"),
        ("systems", "python"),
    }


def test_core_plugins_work():
    """Every core plugin loads without an error."""
    assert {problem(plugin) for plugin in installed() if plugin.distribution == "kib-bench"} == {None}


def test_a_good_plugin_loads(site):
    """A plugin from any distribution is found through its entry point."""
    assert load("trainers", "turn").__name__ == "Turn"


def test_listing_imports_nothing(site):
    """Listing the installed plugins does not import any plugin."""
    assert names("corpora")
    assert not [name for name in sys.modules if name.startswith("kib_test_")]


def test_listing_names_distribution_and_version(site):
    """The list of plugins contains the distribution, version and target of each plugin."""
    turn = next(plugin for plugin in installed() if plugin.name == "turn")
    assert (turn.distribution, turn.version, turn.target, turn.editable) == (
        "kib-test-good",
        "1.0",
        "kib_test_good:Turn",
        False,
    )


def test_editable_installs_are_recognised(site):
    """A distribution that pip installed in editable mode is listed as editable."""
    note = {"url": "file:///somewhere", "dir_info": {"editable": True}}
    (site / "kib_test_good-1.0.dist-info" / "direct_url.json").write_text(json.dumps(note))
    sys.path.append(str(site / "makes sys.path another one"))
    assert next(plugin for plugin in installed() if plugin.name == "turn").editable


def test_a_plugin_name_conflict_names_both_distributions(site):
    """A plugin name registered by two distributions raises an error that names both distributions."""
    text = message("corpora", "shelf")
    assert 'several packages declare the corpus plugin "shelf": ' in text
    assert "kib-test-colliding 2.0 (kib_test_colliding:Shelf)" in text
    assert "kib-test-good 1.0 (kib_test_good:Shelf)" in text


def test_a_collision_does_not_affect_other_plugins(site):
    """If two distributions register the same plugin name, their other plugins still work."""
    assert load("corpora", "other-shelf").__name__ == "Shelf"
    assert load("models", "toy").__name__ == "Toy"


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("corpora", "torn", 'corpus plugin "torn" of kib-test-broken 0.3 cannot be imported'),
        ("corpora", "torn", "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
        ("corpora", "gone", "AttributeError"),
        ("tasks", "quits", "SystemExit: goodbye"),
    ],
)
def test_a_failing_import_names_distribution_and_error(site, kind, name, words):
    """A failed import is reported with the plugin, its distribution and the error."""
    assert words in message(kind, name)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("corpora", "no-class", "kib_test_malformed:no_class is not a class"),
        ("corpora", "no-options", "class NoOptions: `Options` must be a class derived from kib.interfaces.Options"),
        ("corpora", "other-base", "class OtherBase: `Options` must be a class derived from kib.interfaces.Options"),
        ("corpora", "lenient", "class Lenient: the class Options must keep the setting extra = 'forbid'"),
        ("corpora", "no-revision", "class NoRevision: `revision` must be a whole number, got '1'"),
        (
            "corpora",
            "clash",
            "class Clash: the option `chunk` has the same name as a key that kib itself uses in [corpora.NAME]; rename",
        ),
        ("corpora", "alias-clash", "class AliasClash: the option `chunk` has the same name as a key"),
        ("corpora", "undescribed", "class Undescribed: the option `depth` has no description"),
        ("corpora", "leaky", "class Leaky: the option `inner`: Inner ignores unknown keys"),
        ("corpora", "no-schema", "class NoSchema: the JSON Schema of the class Options cannot be created"),
        ("corpora", "no-documents", "class NoDocuments is not a Corpus: `documents` is missing (a method)"),
        ("corpora", "greedy", "kib calls `documents` as documents(self), but missing a required argument"),
        ("corpora", "no-argument", "kib calls `__init__` as __init__(self, options), but too many"),
        (
            "retrievers",
            "half",
            "class Half is not a Retriever, Reranker or GoldRetriever: `build` is missing (a method)",
        ),
    ],
)
def test_a_malformed_plugin_names_class_and_option(site, kind, name, words):
    """A malformed plugin is reported with its distribution, its class and the invalid option or method."""
    text = message(kind, name)
    assert f'plugin "{name}" of kib-test-malformed 0.1: ' in text
    assert words in text


@pytest.mark.parametrize("kind", GROUPS)
def test_every_own_key_clashes(kind):
    """A plugin option is rejected if its name is a key that kib reserves in the same kind of table."""
    fields = {key: (int, Field(1, description="x")) for key in own_keys(kind)}
    faults = list(_option_faults(kind, create_model("Clash", __base__=Options, **fields)))
    assert faults == [
        f"the option `{key}` has the same name as a key that kib itself uses in [{kind}.NAME]; rename the option"
        for key in fields
    ]


def test_problem_and_load_agree(site):
    """`problem` returns the message of the error that `load` raises."""
    torn = next(plugin for plugin in installed() if plugin.name == "torn")
    assert problem(torn) == message("corpora", "torn")


def test_a_misspelled_name_suggests_the_nearest_name(site):
    """The message for a misspelled name suggests the nearest name."""
    assert message("trainers", "trun").startswith(
        'no trainer plugin "trun" is installed; did you mean "turn"? installed: '
    )


def test_a_name_of_another_kind_is_recognised(site):
    """If an unknown plugin name belongs to a plugin of a different kind, the error names this kind."""
    assert "a trainer plugin has this name" in message("writers", "turn")


def test_an_unknown_name_suggests_a_package(site):
    """The error for an unknown plugin name suggests a package that may contain the plugin."""
    assert "is the package kib-xyzzy installed in this environment?" in message("writers", "xyzzy")


def test_unreadable_metadata_do_not_affect_other_plugins(site):
    """The error for a missing plugin mentions distributions with unreadable entry points; other plugins still load."""
    info = site / "kib_test_torn_apart-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kib-test-torn-apart\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kib.corpora]\nno equals sign\n")
    sys.path.append(str(site / "makes sys.path another one"))
    assert load("models", "toy").__name__ == "Toy"
    assert "the entry points of the package kib-test-torn-apart cannot be read" in message("corpora", "nowhere")


def test_a_hidden_distribution_is_not_a_collision(site, tmp_path, monkeypatch):
    """If a distribution occurs twice on sys.path, the first copy is used without an error."""
    monkeypatch.syspath_prepend(install(tmp_path / "again", "good"))
    assert load("trainers", "turn").__name__ == "Turn"


SCRIPT = """
import json
from kib.plugins.registry import installed, problem
print(json.dumps({f"{p.kind}.{p.name}": [p.distribution, problem(p)] for p in installed()}))
"""


@pytest.mark.slow
def test_really_installed(tmp_path):
    """After an installation with pip, each faulty distribution is reported and the valid one works."""
    folder = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    sources = []
    for name in ALL:  # from a copy, because building leaves files behind
        sources.append(tmp_path / name)
        (tmp_path / name).mkdir()
        for file in (FOLDER / name).glob("*.*"):
            (tmp_path / name / file.name).write_text(file.read_text())
    subprocess.run([*pip, "--target", str(folder), *map(str, sources)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    ran = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, capture_output=True, text=True)
    found = json.loads(ran.stdout)
    assert found["trainers.turn"] == ["kib-test-good", None]
    assert found["corpora.other-shelf"] == ["kib-test-colliding", None]
    assert "kib-test-good 1.0" in found["corpora.shelf"][1]
    assert "kib-test-broken 0.3 cannot be imported" in found["corpora.torn"][1]
    assert "kib-test-malformed 0.1: class Clash: the option `chunk`" in found["corpora.clash"][1]
    assert found["retrievers.oracle"] == ["kib-bench", None]
