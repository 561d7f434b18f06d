"""Reading of a benchmark file, and error messages about its mistakes."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import tomli
import tomli_w
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kib.cli import main
from kib.errors import InputError, KibError, SpecError
from kib.plugins.resolve import open_spec
from kib.spec.load import KINDS, TextKey, load_spec, own_keys

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad_specs").glob("*.toml"))
install = runpy.run_path(str(HERE / "bad_plugins" / "install.py"))["install"]

WHOLE = """\
schema = 1
name = "lab"
title = "A fictional world"
seeds = [0, 1, 2]

[models.tiny]
plugin = "lab"

[corpora.new-people]
plugin = "lab"
people = "new"
chunk = { tokens = 128, overlap = 16 }

[retrievers.bm25]
plugin = "bm25"

[retrievers.gold]
plugin = "oracle"
others = 2

[writers.reword]
plugin = "lab"

[trainers.reg]
plugin = "lora"
epochs = 5
tokens = "as:par"

[trainers.par]
plugin = "lora"
epochs = 5
text = { writer = "reword", count = 10 }
vary = { rank = [4, 16], "text.count" = [1, 10] }
replay = { corpus = "new-people", share = 0.25 }
validation = { corpus = "old-people" }
choose = "validation"

[tasks.new-people]
plugin = "lab"
people = "new"
corpus = "new-people"
shots = [0, 5]
query = "{{ question }}"
scoring = "text-norm"
limit = 100

[tasks.known-people]
plugin = "lab"
name = "an option may be called so"
options = "and so"
role = "control"

[methods.base]
[methods.rag]
retrieve = "bm25"
top_k = [1, 2, 3]
choose = "validation"
[methods."ft-par+rag"]
train = "par"
retrieve = "gold"
tasks = ["new-people"]
models = ["tiny"]

[prompt]
template = "{% for passage in passages %}{{ passage.text }}{% endfor %}"
order = "best-last"
tokens = 1024

[prices]
device_hour = 2
input_tokens_million = 0.5

[corpora.old-people]
plugin = "lab"
people = "known"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Put the good test distribution on sys.path for the tests of this module."""
    folder = str(install(tmp_path_factory.mktemp("plugins") / "site", "good"))
    sys.path.insert(0, folder)
    yield folder
    sys.path.remove(folder)
    for name in [name for name in sys.modules if name.startswith("kib_test_")]:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a benchmark file and returns its path."""

    def written(text):
        file = tmp_path / "x.toml"
        file.write_text(text) if isinstance(text, str) else file.write_bytes(text)
        return file

    return written


def mistakes(path):
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return [str(mistake).removeprefix(str(path)) for mistake in caught.value.mistakes]


def test_tables_keep_the_order_of_the_file(write):
    """Tables of the same kind keep their order in the file."""
    spec = load_spec(write(WHOLE))
    assert [list(spec.tables(kind)) for kind in KINDS] == [
        ["tiny"],
        ["new-people", "old-people"],
        ["bm25", "gold"],
        ["new-people", "known-people"],
        ["reword"],
        ["reg", "par"],
        [],
        [],
        ["base", "rag", "ft-par+rag"],
    ]


def test_own_keys_and_options_are_separated(write):
    """In each table, keys that kib does not reserve are treated as plugin options."""
    spec = load_spec(write(WHOLE))
    par = spec.trainers["par"]
    assert par.options == {"epochs": 5}
    assert par.text == TextKey(writer="reword", count=10, originals=True, kind="documents")
    assert par.vary == {"rank": (4, 16), "text.count": (1, 10)}
    assert spec.tasks["known-people"].options == {"name": "an option may be called so", "options": "and so"}


def test_defaults(write):
    """A missing key has its documented default value."""
    spec = load_spec(
        write('schema = 1\nname = "x"\n[models.m]\nplugin = "p"\n[tasks.t]\nplugin = "p"\n[methods.base]\n')
    )
    task, method = spec.tasks["t"], spec.methods["base"]
    assert (spec.title, spec.seeds, spec.prices, spec.prompt.order) == ("", (0,), None, "best-first")
    assert (task.role, task.shots, task.scoring, task.limit, task.corpus) == ("target", (0,), None, None, None)
    assert (method.train, method.retrieve, method.top_k, method.tasks) == (None, None, (), None)


def test_lines(write):
    """A key path is mapped to its line, and a missing key is mapped to the line of its nearest parent."""
    spec = load_spec(write(WHOLE))
    assert WHOLE.split("\n")[spec.line("methods", "rag", "top_k") - 1] == "top_k = [1, 2, 3]"
    assert WHOLE.split("\n")[spec.line("methods", "ft-par+rag", "top_k") - 1] == '[methods."ft-par+rag"]'
    assert spec.line("nowhere") is None


def test_a_missing_table(write):
    """The error for a missing table suggests the table with the most similar name."""
    with pytest.raises(InputError, match=r'no table \[retrievers.bm52\]; did you mean "bm25"'):
        load_spec(write(WHOLE)).table("retrievers", "bm52")


def test_a_spec_is_frozen(write):
    """A spec and its tables are immutable."""
    spec = load_spec(write(WHOLE))
    with pytest.raises(AttributeError):
        spec.name = "other"
    with pytest.raises(TypeError):
        spec.models["other"] = spec.models["tiny"]
    with pytest.raises(ValueError, match="frozen"):
        spec.models["tiny"].plugin = "other"


def first_line(file):
    """Return the expected message of an invalid spec, taken from the comment in its first line."""
    return file.read_text().split("\n", 1)[0].removeprefix("# ")


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("file", BAD, ids=[file.stem for file in BAD])
def test_a_bad_spec_has_one_message(file, monkeypatch):
    """Each invalid spec has one mistake and produces exactly the message in its first line, with file, line and key."""
    monkeypatch.chdir(file.parent)
    with pytest.raises(SpecError) as caught:
        open_spec(Path(file.name))
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert message.startswith(f"{file.name}:{first_line(file)}")
    assert "\n" not in message


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("command", ["check", "plan", "run"])
@pytest.mark.parametrize("name", ["option-range", "path-not-there", "plugin-fault", "syntax-open-text"])
def test_every_command_reports_a_bad_spec(command, name, monkeypatch, tmp_path):
    """Every command that reads an invalid spec prints the error, exits with code 2 and writes no files."""
    monkeypatch.chdir(HERE / "bad_specs")
    folders = [f"--work={tmp_path / 'work'}", *([f"--results={tmp_path / 'results'}"] if command != "check" else [])]
    file = HERE / "bad_specs" / f"{name}.toml"
    ran = CliRunner().invoke(main, [command, file.name, *folders])
    assert ran.exit_code == 2
    assert f"{file.name}:{first_line(file)}" in ran.stderr
    assert "Traceback" not in ran.output
    assert not list(tmp_path.iterdir())


def test_bad_specs_cover_all_kinds_of_mistakes():
    """The invalid specs cover syntax, types, names, references, plugins and options."""
    assert len(BAD) > 90


def test_all_mistakes_are_reported_together(write, site):
    """All mistakes in a file, including invalid plugin options, are reported together in line order."""
    file = write(
        'schema = 2\nname = "x"\n[models.m]\nplugin = "toy"\npaht = "x"\n[corpora.c]\nplugin = "shelf"\n'
        'chunk = { tokens = 0 }\n[tasks.t]\nplugin = 3\ncorpus = "d"\n[methods.m]\nretrieve = "r"\ntop_k = 3\n'
    )
    with pytest.raises(SpecError) as caught:
        open_spec(file)
    assert [(mistake.line, mistake.key) for mistake in caught.value.mistakes] == [
        (1, "schema"),
        (5, "models.m.paht"),
        (6, "corpora.c.path"),
        (8, "corpora.c.chunk.tokens"),
        (10, "tasks.t.plugin"),
        (13, "methods.m.retrieve"),
        (14, "methods.m.top_k"),
    ]


def test_circular_trainers_are_all_reported(write):
    """Trainers with a circular reference in their token counts are all reported."""
    text = WHOLE.replace('text = { writer = "reword", count = 10 }', 'tokens = "as:reg"').replace('"text.count"', '"b"')
    assert [message.split(": ", 2)[1:] for message in mistakes(write(text))] == [
        ["trainers.reg.tokens", "expected a trainer without circular references, got reg -> par -> reg"],
        ["trainers.par.tokens", "expected a trainer without circular references, got par -> reg -> par"],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'name = "\xff"', ":1: expected UTF-8 text, got byte 0xff"),
        (b"a = 1\n\xef\xbb\xbf", ":2: "),
        (b"\xef\xbb\xbfname = 1", ":1: expected UTF-8 without a byte order mark (BOM)"),
        (b"seeds = [" + b"9" * 5000 + b"]", ": kib cannot parse this TOML file: Exceeds the limit"),
        (b"a = " + b"[" * 5000, ": kib cannot parse this TOML file: "),
        (b".".join([b"a"] * 5000) + b" = 1", ": kib cannot parse this TOML file: "),
        (b"a = 1\x00", ":1: "),
    ],
)
def test_a_file_that_is_not_toml(write, content, message):
    """A file that is not valid TOML or UTF-8 is reported with the first invalid line, if known."""
    assert mistakes(write(content))[0].startswith(message)


def test_a_missing_file(tmp_path):
    """A missing benchmark file is reported with its name."""
    with pytest.raises(InputError, match=r"x\.toml: no such file"):
        load_spec(tmp_path / "x.toml")


def test_a_folder_is_not_a_file(tmp_path):
    """If a folder is passed instead of a benchmark file, the error names the folder."""
    with pytest.raises(InputError, match="cannot be read"):
        load_spec(tmp_path)


def test_published_numbers_are_recognised(write):
    """If a file of published results is passed as a benchmark, the error states the kind of the file."""
    with pytest.raises(InputError, match="expected a benchmark, got a file of published results"):
        load_spec(write('schema = 1\nkind = "published"\nname = "paper"\n'))


def test_loading_imports_nothing_heavy(tmp_path):
    """Loading a spec imports neither a plugin nor a package that is slow to import."""
    (tmp_path / "x.toml").write_text(WHOLE)
    script = (
        "import sys; from pathlib import Path; from kib.spec.load import load_spec; load_spec(Path('x.toml'));"
        "print(sorted({name.split('.')[0] for name in sys.modules}, key=str)); "
        "print(sorted(name for name in sys.modules if name.startswith('kib')))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    top, ours = ran.stdout.splitlines()
    loaded = set(tomli.loads(f"x = {top}")["x"])
    assert not loaded & {"numpy", "scipy", "torch", "transformers", "lm_eval", "datasets", "statsmodels"}
    assert set(tomli.loads(f"x = {ours}")["x"]) <= {
        "kib",
        "kib.errors",
        "kib.interfaces",
        "kib.moved_modules",
        "kib.records",
        "kib.spec",
        "kib.spec.line_numbers",
        "kib.spec.load",
        "kib.spec.messages",
        "kib.spec.references",
        "kib.spec.tables",
        "kib.support",
        "kib.support.limited_process",
        "kib.support.phrases",
        "kib.support.templates",
    }


def test_own_keys_are_documented():
    """Every key that kib reserves is documented in docs/spec.md."""
    text = (HERE.parent / "docs" / "spec.md").read_text()
    assert [key for kind in KINDS for key in own_keys(kind) if f"`{key}`" not in text] == []


VALUES = st.one_of(
    st.none().map(lambda _: {}),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        ["", "toy", "quiz", "../x", "as:turn", "${HOME}", "${NOT_SET_AT_ALL}", "{{", "validation", "\x7f é"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.dates(),
    st.lists(st.integers() | st.text(st.characters(codec="utf-8"), max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(["a", "writer", "tokens", "corpus", "text.count"]), st.integers(), max_size=2),
)
KEYS = st.sampled_from(
    ["plugin", "options", "name", "path", "vary", "top_k", "chunk", "of", "rag", "", "a.b", "A", ".."]
)


def places(value, path=()):
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def change(data, draw):
    """Delete, copy, rename or change the type of one value anywhere in a benchmark file."""
    path = draw(st.sampled_from(list(places(data)) or [()]))
    if not path:
        return
    parent = data
    for part in path[:-1]:
        parent = parent[part]
    action = draw(st.sampled_from(["drop", "retype", "rename", "copy"]))
    if action == "retype" or isinstance(parent, list):
        parent[path[-1]] = draw(VALUES)
    elif action == "drop":
        del parent[path[-1]]
    else:
        new = draw(KEYS)
        parent[new] = parent.pop(path[-1]) if action == "rename" else parent[path[-1]]


GOOD = """\
schema = 1
name = "good"
seeds = [0, 1]
[models.toy]
plugin = "toy"
args = { a = 1, b = "c" }
[corpora.facts]
plugin = "shelf"
path = "facts.txt"
more = ["facts.txt"]
fields = { title = "t" }
chunk = { tokens = 64, tokenizer = "toy" }
[retrievers.gold]
plugin = "oracle"
[retrievers.words]
plugin = "bm25"
[retrievers.fuse]
plugin = "fuse"
of = ["words"]
[writers.echo]
plugin = "echo"
[trainers.turn]
plugin = "turn"
text = { writer = "echo", count = 2 }
vary = { rank = [1, 2], "text.count" = [1, 2] }
replay = { corpus = "facts", share = 0.5 }
[tasks.quiz]
plugin = "file"
path = "quiz.jsonl"
corpus = "facts"
shots = [0]
[methods.base]
[methods.rag]
retrieve = "fuse"
top_k = [1, 2]
tasks = ["quiz"]
[methods.ft]
train = "turn"
[prompt]
template = "{{ passages }}"
[prices]
device_hour = 1.5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the data files of the valid spec."""
    made = tmp_path_factory.mktemp("good")
    (made / "facts.txt").write_text("a\nb\n")
    (made / "quiz.jsonl").write_text('{"id": "1", "question": "a?", "options": ["a", "b"], "answer": 0}\n')
    return made


def opens_or_complains(file):
    """Open a file, and check that each error has an existing line and a message written by kib."""
    try:
        spec, lock = open_spec(file)
    except KibError as error:
        check_words(error, length=file.read_bytes().count(b"\n") + 1)
    else:
        assert [lock.get("models", name) for name in spec.models]


def check_words(error, length):
    assert str(error)
    for mistake in getattr(error, "mistakes", ()):
        assert 1 <= (mistake.line or 1) <= length
        assert mistake.message
        assert "Input should" not in mistake.message
        assert "pydantic" not in mistake.message


def test_the_good_spec_is_good(site, folder):
    """The spec used by the property tests is valid."""
    (folder / "whole.toml").write_text(GOOD)
    spec, lock = open_spec(folder / "whole.toml")
    assert spec.name == "good"
    assert lock.get("trainers", "turn", (("rank", 2), ("text.count", 1))).options["rank"] == 2


SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(data=st.data())
def test_a_changed_spec_opens_or_is_rejected(site, folder, data):
    """A spec with deleted, copied, renamed or retyped keys is read or rejected with an error, but never crashes."""
    spec = tomli.loads(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        change(spec, data.draw)
    file = folder / "changed.toml"
    file.write_text(tomli_w.dumps(spec))
    opens_or_complains(file)


@SETTINGS
@given(data=st.data())
def test_a_spec_with_damaged_text_opens_or_is_rejected(site, folder, data):
    """A spec with missing, repeated or changed text is read or rejected with an error message, but never crashes."""
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        text = (
            text[:start]
            + data.draw(st.sampled_from(["", text[start:end] * 2, '"', "[", "\n", "é", "\x00"]))
            + text[end:]
        )
    file = folder / "torn.toml"
    file.write_text(text)
    opens_or_complains(file)
