"""Plugins as they are found, loaded and refused."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from kib.errors import PluginError
from kib.interfaces import GROUPS
from kib.plugins.registry import installed, load, names, problem
from kib.spec.tables import own_keys

FOLDER = Path(__file__).parent / "bad_plugins"
ALL = ("good", "colliding", "broken", "malformed")
install = runpy.run_path(str(FOLDER / "install.py"))["install"]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """All test distributions on sys.path, and their modules forgotten afterwards."""
    folder = install(tmp_path / "site", *ALL)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("kib_test_")]:
        del sys.modules[name]


def said(kind, name):
    with pytest.raises(PluginError) as caught:
        load(kind, name)
    return str(caught.value)


def test_core_plugins_are_installed():
    """The core's own plugins come through the same door as everybody's."""
    mine = {(plugin.kind, plugin.name) for plugin in installed() if plugin.distribution == "kib-bench"}
    assert mine == {
        ("models", "lm-eval"),
        ("tasks", "lm-eval"),
        ("tasks", "file"),
        ("retrievers", "oracle"),
        ("retrievers", "random"),
    }


def test_core_plugins_work():
    """Every plugin of the core keeps the promises that it is held to."""
    assert [problem(plugin) for plugin in installed() if plugin.distribution == "kib-bench"] == [None] * 5


def test_a_good_plugin_loads(site):
    """A plugin of a stranger's distribution is found by its entry point."""
    assert load("trainers", "turn").__name__ == "Turn"


def test_listing_imports_nothing(site):
    """Listing what is installed imports no plugin."""
    assert names("corpora")
    assert not [name for name in sys.modules if name.startswith("kib_test_")]


def test_listing_names_distribution_and_version(site):
    """A listed plugin carries its distribution, version and target."""
    turn = next(plugin for plugin in installed() if plugin.name == "turn")
    assert (turn.distribution, turn.version, turn.target, turn.editable) == (
        "kib-test-good",
        "1.0",
        "kib_test_good:Turn",
        False,
    )


def test_editable_installs_are_told_apart(site):
    """A distribution that pip noted as editable is listed as such."""
    note = {"url": "file:///somewhere", "dir_info": {"editable": True}}
    (site / "kib_test_good-1.0.dist-info" / "direct_url.json").write_text(json.dumps(note))
    sys.path.append(str(site / "makes sys.path another one"))
    assert next(plugin for plugin in installed() if plugin.name == "turn").editable


def test_two_claims_on_a_name_name_both(site):
    """Two distributions that claim one name are both named, and neither wins."""
    text = said("corpora", "shelf")
    assert 'the corpus plugin "shelf" is claimed by ' in text
    assert "kib-test-colliding 2.0 (kib_test_colliding:Shelf)" in text
    assert "kib-test-good 1.0 (kib_test_good:Shelf)" in text


def test_a_collision_stops_nobody_else(site):
    """The other plugins of two distributions that collide go on working."""
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
    """A plugin whose import fails is named with its distribution and the error."""
    assert words in said(kind, name)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("corpora", "no-class", "kib_test_malformed:no_class is not a class"),
        ("corpora", "no-options", "class NoOptions needs `Options`, a class derived from kib.interfaces.Options"),
        ("corpora", "other-base", "class OtherBase needs `Options`, a class derived from kib.interfaces.Options"),
        ("corpora", "lenient", "class Lenient: its Options must keep extra = 'forbid'"),
        ("corpora", "no-revision", "class NoRevision needs `revision`, a whole number, got '1'"),
        ("corpora", "clash", "class Clash: its option `chunk` is a key of kib's own in [corpora.NAME]; rename it"),
        ("corpora", "alias-clash", "class AliasClash: its option `chunk` is a key of kib's own"),
        ("corpora", "undescribed", "class Undescribed: its option `depth` has no description"),
        ("corpora", "leaky", "class Leaky: its option `inner`: Inner ignores unknown keys"),
        ("corpora", "no-schema", "class NoSchema: its Options have no JSON Schema"),
        ("corpora", "no-documents", "class NoDocuments is no Corpus: it has no `documents`()"),
        ("corpora", "greedy", "`documents` must be callable as documents(self), but missing a required argument"),
        ("corpora", "no-argument", "`__init__` must be callable as __init__(self, options), but too many"),
        ("retrievers", "half", "class Half is no Retriever, Reranker or GoldRetriever: it has no `build`()"),
    ],
)
def test_a_malformed_plugin_names_class_and_option(site, kind, name, words):
    """A plugin that breaks a promise is named with its distribution, class and the option or method at fault."""
    text = said(kind, name)
    assert f'plugin "{name}" of kib-test-malformed 0.1: ' in text
    assert words in text


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind in GROUPS for key in own_keys(kind)])
def test_every_own_key_clashes(tmp_path, monkeypatch, kind, key):
    """An option named like any key of kib's own in its kind of table is refused, naming the option."""
    folder = install(tmp_path / "site", "good")
    (folder / "kib_test_good.py").write_text(
        "from pydantic import create_model, Field\nfrom kib.interfaces import Options\n"
        f"class Clash:\n    Options = create_model('O', __base__=Options, {key}=(int, Field(1, description='x')))\n"
        "    revision = 1\n"
    )
    (folder / "kib_test_good-1.0.dist-info" / "entry_points.txt").write_text(
        f"[kib.{kind}]\nclash = kib_test_good:Clash\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "kib_test_good", raising=False)
    text = said(kind, "clash")
    monkeypatch.delitem(sys.modules, "kib_test_good")
    assert f"class Clash: its option `{key}` is a key of kib's own in [{kind}.NAME]; rename it" in text


def test_problem_says_what_load_says(site):
    """Asking for a plugin's problem gives the message that using it would give."""
    torn = next(plugin for plugin in installed() if plugin.name == "torn")
    assert problem(torn) == said("corpora", "torn")


def test_a_slip_offers_the_nearest_name(site):
    """A name that is nearly right is answered with the right one."""
    assert said("trainers", "trun").startswith(
        'no trainer plugin "trun" is installed; did you mean "turn"? installed: '
    )


def test_a_name_of_another_kind_is_recognised(site):
    """The name of a plugin of another kind is recognised as one."""
    assert "there is a trainer plugin of that name" in said("writers", "turn")


def test_an_unknown_name_offers_the_usual_package(site):
    """A name like none is answered with the package that such a plugin usually comes with."""
    assert "usually comes with the package kib-xyzzy" in said("writers", "xyzzy")


def test_unreadable_metadata_stop_nobody_else(site):
    """A distribution whose entry points cannot be read is named beside the name that is missed, and all others work."""
    info = site / "kib_test_torn_apart-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kib-test-torn-apart\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kib.corpora]\nno equals sign\n")
    sys.path.append(str(site / "makes sys.path another one"))
    assert load("models", "toy").__name__ == "Toy"
    assert "the entry points of kib-test-torn-apart cannot be read" in said("corpora", "nowhere")


def test_a_hidden_distribution_is_no_collision(site, tmp_path, monkeypatch):
    """A distribution that stands twice on sys.path is one: the first hides the second."""
    monkeypatch.syspath_prepend(install(tmp_path / "again", "good"))
    assert load("trainers", "turn").__name__ == "Turn"


SCRIPT = """
import json
from kib.plugins.registry import installed, problem
print(json.dumps({f"{p.kind}.{p.name}": [p.distribution, problem(p)] for p in installed()}))
"""


@pytest.mark.slow
def test_really_installed(tmp_path):
    """Installed by pip, each bad distribution is named with its error, and the good one works beside them."""
    folder = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    sources = []
    for name in ALL:  # built from a copy: building leaves files behind
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
    assert "kib-test-malformed 0.1: class Clash: its option `chunk`" in found["corpora.clash"][1]
    assert found["retrievers.oracle"] == ["kib-bench", None]
