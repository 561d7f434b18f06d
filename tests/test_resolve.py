"""Resolution of a spec's plugins into options, identities and fingerprints."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from kib.errors import InputError, SpecError
from kib.plugins.resolve import open_spec, resolve
from kib.spec.load import load_spec

install = runpy.run_path(str(Path(__file__).parent / "bad_plugins" / "install.py"))["install"]

SPEC = """\
schema = 1
name = "x"
[models.toy]
plugin = "toy"
{model}
[corpora.facts]
plugin = "shelf"
path = "facts.txt"
{corpus}
[tasks.quiz]
plugin = "file"
path = "quiz.jsonl"
corpus = "facts"
[methods.base]
{rest}
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Put the good test distribution on sys.path."""
    folder = install(tmp_path / "site", "good")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("kib_test_")]:
        del sys.modules[name]


@pytest.fixture
def opened(site, tmp_path):
    """Return a function that writes the spec with additional lines and then opens the spec."""
    (tmp_path / "facts.txt").write_text("a\nb\n")
    (tmp_path / "quiz.jsonl").write_text('{"id": "1", "question": "a?", "options": ["a", "b"], "answer": 0}\n')

    def opened(model="", corpus="", rest="", trust=False):
        file = tmp_path / "x.toml"
        file.write_text(SPEC.format(model=model, corpus=corpus, rest=rest))
        return open_spec(file, trust_remote_code=trust)

    return opened


def facts(opened, **lines):
    return opened(**lines)[1].get("corpora", "facts").identity


def messages(opened, **lines):
    with pytest.raises(SpecError) as caught:
        opened(**lines)
    return [f"{mistake.key}: {mistake.message}" for mistake in caught.value.mistakes]


def test_a_table_is_resolved(opened):
    """A resolved table has a ready-to-use plugin and the plugin's distribution."""
    locked = opened()[1].get("corpora", "facts")
    assert (locked.kind, locked.name, locked.plugin_name, locked.revision) == ("corpora", "facts", "shelf", 1)
    assert (locked.distribution, locked.version, locked.source) == ("kib-test-good", "1.0", "")
    assert [document.text for document in locked.plugin.documents()] == ["a", "b"]


def test_an_identity_is_json(opened):
    """An identity is a JSON object with the plugin, revision, source, options and fingerprint."""
    identity = facts(opened)
    assert json.loads(json.dumps(identity)) == identity
    assert list(identity) == ["plugin", "revision", "source", "options", "fingerprint"]


@pytest.mark.parametrize("same", ['device = "cuda"', "depth = 3", 'sort = "line"', "chunk = { sentences = 2 }"])
def test_an_identity_excludes_options_without_effect(opened, same):
    """Options marked NotInIdentity, explicit defaults and kib's own keys do not affect an identity."""
    assert facts(opened, corpus=same) == facts(opened)


@pytest.mark.parametrize("other", ["depth = 4", 'sort = "title"', 'fields = { title = "t" }', 'more = ["facts.txt"]'])
def test_other_options_change_the_identity(opened, other):
    """Every option that is not marked NotInIdentity is part of the identity."""
    assert facts(opened, corpus=other) != facts(opened)


def test_names_are_not_part_of_the_identity(opened):
    """Tables with equal content have equal identities, even if their names differ."""
    lock = opened(rest='[corpora.others]\nplugin = "shelf"\npath = "facts.txt"')[1]
    assert lock.get("corpora", "others").identity == lock.get("corpora", "facts").identity


def test_an_identity_depends_on_content_not_on_paths(opened, tmp_path):
    """Renaming a file keeps the identity, but changing the file's content changes the identity."""
    before = facts(opened)
    shutil.copy(tmp_path / "facts.txt", tmp_path / "moved.txt")
    moved = opened(rest='[corpora.moved]\nplugin = "shelf"\npath = "moved.txt"')[1].get("corpora", "moved").identity
    assert moved == before
    (tmp_path / "facts.txt").write_text("a\nc\n")
    assert facts(opened) != before


def test_paths_start_at_the_file(opened, tmp_path, monkeypatch):
    """Relative paths are resolved from the folder of the benchmark file, not from the current folder."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert facts(opened)["fingerprint"]


def test_variables_in_paths_are_expanded(opened, tmp_path, monkeypatch):
    """Environment variables in paths are expanded."""
    monkeypatch.setenv("KIB_TEST_DATA", str(tmp_path))
    lock = opened(rest='[corpora.more]\nplugin = "shelf"\npath = "${KIB_TEST_DATA}/facts.txt"')[1]
    assert lock.get("corpora", "more").fingerprint == lock.get("corpora", "facts").fingerprint


def test_source_of_an_editable_plugin_is_part_of_its_identity(site, opened):
    """The source code of an editable plugin is part of its identity, so that changes to the code are detected."""
    note = {"url": "file:///somewhere", "dir_info": {"editable": True}}
    (site / "kib_test_good-1.0.dist-info" / "direct_url.json").write_text(json.dumps(note))
    sys.path.append(str(site / "makes sys.path another one"))
    before = facts(opened)["source"]
    assert len(before) == 64
    (site / "kib_test_good.py").write_text((site / "kib_test_good.py").read_text() + "# changed\n")
    assert facts(opened)["source"] not in (before, "")


def test_source_of_a_package_is_all_of_it(site, opened):
    """The source code of a plugin in a package includes all files of the package."""
    note = {"url": "file:///somewhere", "dir_info": {"editable": True}}
    info = site / "kib_test_good-1.0.dist-info"
    (info / "direct_url.json").write_text(json.dumps(note))
    (site / "kib_test_package" / "inner").mkdir(parents=True)
    for place in ("__init__.py", "inner/__init__.py"):
        (site / "kib_test_package" / place).touch()
    (site / "kib_test_good.py").rename(site / "kib_test_package" / "inner" / "good.py")
    entries = (info / "entry_points.txt").read_text()
    (info / "entry_points.txt").write_text(entries.replace("kib_test_good:", "kib_test_package.inner.good:"))
    sys.path.append(str(site / "makes sys.path another one"))
    before = facts(opened)["source"]
    (site / "kib_test_package" / "template.txt").write_text("beside the modules")
    assert facts(opened)["source"] not in (before, "")


TURN = '[writers.echo]\nplugin = "echo"\n[trainers.turn]\nplugin = "turn"\ntext = { writer = "echo" }\n'


def test_each_arm_of_a_trainer_is_resolved(opened):
    """A trainer is resolved once per combination of its varied options, ignoring "text.count"."""
    lock = opened(rest=TURN + 'vary = { rate = [0.1, 0.2], rank = [1, 2], "text.count" = [1, 5] }')[1]
    arm = lock.get("trainers", "turn", (("rank", 2), ("rate", 0.1), ("text.count", 5)))
    assert (arm.options["rank"], arm.options["rate"]) == (2, 0.1)
    assert arm is lock.get("trainers", "turn", (("rate", 0.1), ("text.count", 1), ("rank", 2)))
    assert len([place for place in lock.tables if place[0] == "trainers"]) == 4


def test_arms_share_the_digest_of_their_source(opened, monkeypatch):
    """The source code of a trainer's plugin is read only once, even if the trainer has several arms."""
    read = []
    monkeypatch.setattr("kib.plugins.resolve._source", lambda record: read.append((record.kind, record.name)) or "")
    opened(rest=TURN + "vary = { rate = [0.1, 0.2], rank = [1, 2] }")
    assert read.count(("trainers", "turn")) == 1


def test_a_missing_arm(opened):
    """Requesting a nonexistent arm of a trainer raises an error."""
    lock = opened(rest=TURN + "vary = { rank = [1, 2] }")[1]
    with pytest.raises(
        InputError, match=r"\[trainers.turn\]: the file contains no such table, or the trainer has no such arm"
    ):
        lock.get("trainers", "turn", (("rank", 3),))


def test_too_many_arms_are_rejected(opened):
    """Too many combinations of varied options are rejected before any plugin is created."""
    lists = ", ".join(f"{name} = [{', '.join(str(n + 1) for n in range(40))}]" for name in ("rank", "rate"))
    assert messages(opened, rest=f"{TURN}vary = {{ {lists} }}") == [
        "trainers.turn.vary: expected lists that yield at most 1000 arms, got 1600 arms"
    ]


def test_every_value_of_vary_is_checked(opened):
    """Each invalid value in `vary` is reported with its index."""
    assert messages(opened, rest=TURN + 'vary = { rank = [0, 1], target = ["all", 3] }') == [
        "trainers.turn.vary.rank[0]: expected a number of at least 1, got 0",
        'trainers.turn.vary.target[1]: expected text in quotes, got 3; write "3"',
    ]


def test_incompatible_values_of_vary(opened):
    """Values that are valid separately but incompatible together are reported with the affected arm."""
    assert messages(opened, rest=TURN + 'vary = { rank = [1, 7], target = ["all", "seven"] }') == [
        'trainers.turn.vary: seven does not support rank 7 (with rank = 7, target = "seven")'
    ]


@pytest.mark.parametrize("vary", ['device = ["cpu", "cuda"]', "rate = [1, 1.0]"])
def test_arms_with_equal_output(opened, vary):
    """Arms are reported as duplicates if they differ only in a NotInIdentity option or in the type of a number."""
    (message,) = messages(opened, rest=f"{TURN}rank = 1\nvary = {{ {vary} }}")
    assert message.startswith("trainers.turn.vary: expected arms with different outputs, but ")


UNUSED = '[corpora.spare]\nplugin = "shelf"\npath = "nowhere.txt"\n'


def test_data_of_an_unused_table_may_be_missing(opened):
    """Missing data of an unused table cause no error until the table is used."""
    lock = opened(rest=UNUSED)[1]
    with pytest.raises(InputError, match=r"\[corpora.spare\]: .*nowhere.txt: no such file"):
        lock.get("corpora", "spare")


@pytest.mark.parametrize(
    "user",
    [
        '[tasks.more]\nplugin = "file"\npath = "quiz.jsonl"\ncorpus = "spare"',
        TURN + 'rank = 1\nreplay = { corpus = "spare", share = 0.5 }\n[methods.ft]\ntrain = "turn"',
        TURN + 'rank = 1\n[trainers.like]\nplugin = "turn"\nrank = 1\ntokens = "as:turn"\n[methods.ft]\ntrain = "like"'
        '\n[trainers.turn.validation]\ncorpus = "spare"',
    ],
)
def test_data_of_a_used_table_must_exist(opened, user):
    """The data of every table that a method uses, directly or indirectly, must exist."""
    assert [message.split(": ")[0] for message in messages(opened, rest=UNUSED + user)] == ["corpora.spare.path"]


def test_options_of_an_unused_table_are_checked(opened):
    """Invalid options are reported even in unused tables."""
    assert messages(opened, rest=UNUSED + "depth = 0") == [
        "corpora.spare.depth: expected a number of at least 1, got 0"
    ]


def test_circular_rerankers_are_all_reported(opened):
    """Every reranker in a circular reference is reported."""
    rest = '[retrievers.a]\nplugin = "fuse"\nof = ["b"]\n[retrievers.b]\nplugin = "fuse"\nof = ["a"]'
    assert messages(opened, rest=rest) == [
        'retrievers.a.of[0]: circular reference: "b" itself uses this retriever; expected a different retriever',
        'retrievers.b.of[0]: circular reference: "a" itself uses this retriever; expected a different retriever',
    ]


def test_a_reranker_uses_its_sources(opened):
    """A reranker uses the retrievers named in its options."""
    rest = '[retrievers.a]\nplugin = "bm25"\n[retrievers.b]\nplugin = "fuse"\nof = ["a"]\n[methods.r]\nretrieve = "b"'
    assert opened(rest=rest)[1].get("retrievers", "b").plugin.options.of == ("a",)


@pytest.mark.parametrize("plugin", ["oracle", "random"])
def test_a_reranker_needs_sources_that_search(opened, plugin):
    """A reranker is rejected if its source retriever has access to the gold passages."""
    rest = (
        f'[retrievers.a]\nplugin = "{plugin}"\n[retrievers.b]\nplugin = "fuse"\nof = ["a"]\n[methods.r]\nretrieve = "b"'
    )
    wrong = "this retriever returns the gold passages directly; expected a retriever that searches the corpus"
    assert messages(opened, rest=rest) == [f'retrievers.b.of[0]: "a" does not search: {wrong}']


REMOTE = [
    {"corpus": "trust_remote_code = true"},
    {"model": "args = { trust_remote_code = true }"},
    {"model": "args = { trust_remote_code = 1 }"},
    {"model": 'args = { all = "dtype=float16, trust_remote_code = true" }'},
    {"model": "args = { all = \"trust_remote_code='False'\" }"},
    {"model": "args = { all = '{\"trust_remote_code\": true}' }"},
    {"model": 'args = { all = "trust_remote_code=False,trust_remote_code=on" }'},
    {"model": 'args = { all = "--trust-remote-code --bf16" }'},
]


@pytest.mark.parametrize("lines", REMOTE)
def test_remote_code_needs_the_flag(opened, lines):
    """An option that executes downloaded code raises an error that names the key and the flag that permits it."""
    (message,) = messages(opened, **lines)
    assert "--trust-remote-code" in message
    assert opened(**lines, trust=True)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("text", ["True", "false", "False", "0", "no", ""])
@pytest.mark.parametrize("args", ["{{ trust_remote_code = {} }}", "{{ tokenizer = [{{ trust_remote_code = {} }}] }}"])
def test_remote_code_is_not_set_by_a_string(opened, args, text, trust):
    """A string as the value of `trust_remote_code` raises an error, because libraries treat every string as true."""
    with pytest.raises(SpecError, match=rf'expected true or false without quotation marks.*; got "{text}"'):
        opened(model=f"args = {args.format(json.dumps(text))}", trust=trust)


OFF = [
    "trust_remote_code = false",
    "args = { trust_remote_code = 0 }",
    'args = { all = "trust_remote_code=False" }',
    'args = { all = "about trust_remote_code" }',
]


@pytest.mark.parametrize("line", OFF)
def test_refusing_remote_code_needs_no_flag(opened, line):
    """An option that forbids downloaded code needs no flag."""
    assert opened(**{"corpus" if line.startswith("trust") else "model": line})


def test_resolve_reports_all_mistakes(opened, tmp_path):
    """Resolving a spec reports all mistakes in plugin tables together, each with its line and key."""
    file = tmp_path / "x.toml"
    file.write_text(SPEC.format(model="a = 1", corpus="depth = 0", rest='[writers.w]\nplugin = "ekho"'))
    with pytest.raises(SpecError) as caught:
        resolve(load_spec(file))
    assert [(mistake.line, mistake.key) for mistake in caught.value.mistakes] == [
        (5, "models.toy.a"),
        (9, "corpora.facts.depth"),
        (16, "writers.w.plugin"),
    ]


def test_resolve_and_open_agree(opened, tmp_path):
    """Opening a spec returns the same result as loading and then resolving the spec."""
    spec, lock = opened()
    again = load_spec(tmp_path / "x.toml")
    assert again == spec
    assert resolve(again).sources() == lock.sources()


def test_sources_leave_out_varied_options(opened):
    """The recorded sources are JSON and contain only the options shared by all arms of a trainer."""
    sources = opened(rest=UNUSED + TURN + "vary = { rank = [1, 2] }")[1].sources()
    assert json.loads(json.dumps(sources)) == sources
    assert sources["trainers"]["turn"]["options"] == {"rate": 1e-4, "target": "all"}
    assert sources["models"]["toy"]["distribution"] == "kib-test-good"
    assert list(sources["corpora"]) == ["facts"]
