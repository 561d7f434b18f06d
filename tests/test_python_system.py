"""The system `python`: the flag, the fingerprint, calls of the function, and mistakes in the user's code."""

import json

import pytest

from kib.errors import InputError, NoAnswerError
from kib.interfaces import CheckedModel, CodePlugin, System
from kib.plugins.systems.python_system import PythonSystem
from kib.testing import check_fingerprint, check_options, check_plugin, check_system, make_plugin

SPEC = """schema = 1
name = "function"
[models.m]
plugin = "toy"
[corpora.halls]
plugin = "toy"
documents = [["pump-1", "Pump 1", "Pump 1 stands in hall 7."], ["pump-2", "Pump 2", "Pump 2 stands in hall 14."]]
[tasks.halls]
plugin = "file"
path = "halls.jsonl"
corpus = "halls"
scoring = "contains"
[systems.ours]
plugin = "python"
function = "halls_system:answer"
[methods.base]
[methods.ours]
system = "ours"
"""

CODE = """
from halls_index import hall

def answer(question):
    number = int(question.split()[-1].rstrip("?"))
    return {"answer": f"It is in {hall(number)}.", "passages": [f"pump-{number}"], "cost": 0.25}
"""

INDEX = """
def hall(number):
    with open("calls.txt", "a") as file:
        file.write(f"{number}\\n")
    return f"hall {7 * number}"
"""

FLAG = "--trust-remote-code"


@pytest.fixture
def halls(bench):
    """Write a benchmark with open questions that a function answers, and return its folder."""
    rows = [{"question": f"Where is pump {n}?", "answer": f"hall {7 * n}", "document": f"pump-{n}"} for n in (1, 2)]
    bench.write(SPEC, halls_jsonl="\n".join(map(json.dumps, rows)))
    (bench.folder / "halls_system.py").write_text(CODE)
    (bench.folder / "halls_index.py").write_text(INDEX)
    return bench


@pytest.fixture
def function(tmp_path):
    """Return a function that writes a module with the given code, and returns the loaded system of its function."""
    names = iter(range(100))

    def load(code, name="answer"):
        module = f"{tmp_path.name}_{next(names)}"
        (tmp_path / f"{module}.py").write_text(code)
        return make_plugin(PythonSystem, {"function": f"{module}:{name}", "folder": tmp_path}).load()

    return load


def calls(bench):
    """Return how often the function was called."""
    path = bench.folder / "calls.txt"
    return len(path.read_text().split()) if path.exists() else 0


def test_contract(tmp_path):
    """The plugin is installed, follows the protocols, and its fingerprint changes with all of its source code."""
    assert check_plugin("systems", "python") is PythonSystem
    (tmp_path / "own_contract.py").write_text("import own_helper\n\ndef answer(question):\n    return question\n")
    helper = tmp_path / "own_helper.py"
    helper.write_text("from own_package import deep\n")
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("")
    deep = tmp_path / "own_package" / "deep.py"
    deep.write_text("")

    def make(function="own_contract:answer"):
        return make_plugin(PythonSystem, {"function": function, "folder": tmp_path})

    for protocol in (System, CheckedModel, CodePlugin):
        assert isinstance(make(), protocol)
    check_system(make)
    for path in (helper, deep, tmp_path / "own_contract.py"):
        check_fingerprint(
            make,
            change=lambda path=path: path.write_text(f"{path.read_text()}\n# changed"),
            same=lambda: (tmp_path / "unrelated.py").write_text("1"),
        )
    check_fingerprint(lambda: make("own_package.deep:answer"), change=lambda: deep.write_text("# changed again"))
    check_options(
        PythonSystem,
        accepts=[{"function": "a.b:c", "concurrency": 4, "version": "2"}],
        refuses=[
            {},
            *({"function": name} for name in ("a", "a:", "../a:b")),
            {"function": "a:b", "concurrency": 0},
        ],
    )


def test_the_fingerprint_runs_no_code(tmp_path):
    """The fingerprint of a function is computed without running any of the user's code."""
    package = tmp_path / "own_untouched"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('the package was imported')")
    (package / "inner.py").write_text("raise SystemExit('the module was imported')")
    for module in ("own_untouched", "own_untouched.inner"):
        assert make_plugin(PythonSystem, {"function": f"{module}:f", "folder": tmp_path}).fingerprint()


def test_a_module_of_the_environment(tmp_path):
    """A module that is not in the folder is found in the environment."""
    made = make_plugin(PythonSystem, {"function": "textwrap:dedent", "folder": tmp_path})
    assert made.fingerprint()
    assert made.load().answer("  x", "").value == "x"


def test_code_runs_only_with_the_flag(halls):
    """Without --trust-remote-code, every command that would run the code is refused, and nothing runs."""
    (halls.folder / "halls_system.py").write_text("raise SystemExit('the code ran')")
    for command in ("run", "check", "plan"):
        result = halls.call(command, halls.spec)
        assert result.exit_code == 2
        assert "bench.toml:15: systems.ours.function: kib would run the code that this option names" in result.output
        assert "the code ran" not in result.output
    assert halls.call("cite", halls.spec).exit_code == 0


def test_a_benchmark(halls):
    """The function is called once per question, and its answers, passages and costs are in the results."""
    assert halls.kib("run", halls.spec, FLAG).returncode == 0
    assert halls.kib("run", halls.spec, FLAG).returncode == 0
    assert calls(halls) == 2
    result = halls.results.cell(halls.cells()["m/ours/halls,0-shot"])
    assert (result.correct, result.system.cost, result.system.passages) == (2, 0.5, 2)
    assert [line.gold for line in halls.scores("m/ours/halls,0-shot")] == [(True,), (True,)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["halls_system.py", "halls_index.py"])
def test_changed_code_is_measured_again(halls, name):
    """After a change of the function or of a module beside it, all questions are asked again."""
    halls.kib("run", halls.spec, FLAG)
    path = halls.folder / name
    path.write_text(f"{path.read_text()}\n# a change")
    assert halls.kib("run", halls.spec, FLAG).returncode == 0
    assert calls(halls) == 4


@pytest.mark.slow
def test_check_imports_the_function_without_calling_it(halls):
    """`kib check` reports a mistake in the code with its file and line, and does not call the function."""
    checked = halls.kib("check", halls.spec, FLAG)
    assert checked.returncode == 0, checked.stderr
    assert calls(halls) == 0
    (halls.folder / "halls_system.py").write_text("import json\n\nimport no_such_module_at_all\n")
    failed = halls.kib("check", halls.spec, FLAG)
    assert failed.returncode == 2
    assert "halls_system.py:3: ModuleNotFoundError: No module named 'no_such_module_at_all'" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("return [question]", r":1: the function returned list; expected text or a mapping"),
        ("return None", r":1: the function returned NoneType; expected text"),
        ("return {'text': 1}", r":1: the function returned the unknown key 'text'; known: answer"),
        ("return {}", r":1: the function returned `answer`: expected text, got nothing"),
        ("return {'answer': 'a', 'passages': 'b'}", r"`passages`: expected a list of texts"),
        ("return {'answer': 'a', 'cost': -1}", r"`cost`: expected a number from 0, got -1"),
        ("x = {}\n    return x['a']", r"\.py:3: KeyError: 'a'"),
        ("raise SystemExit", r"\.py:2: SystemExit$"),
        ("import json\n    json.loads('{')", r"\.py:3: JSONDecodeError: Expecting"),
    ],
)
def test_a_function_without_a_valid_answer(function, code, words):
    """A function that fails or returns a wrong value is one sentence with the file and the line of the user's code."""
    with pytest.raises(NoAnswerError, match=words) as caught:
        function(f"def answer(question):\n    {code}\n").answer("Who?", "")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        ("def answr(question): ...\n", "answer", r"the module has no function answer"),
        ("answer = 3\n", "answer", r"expected an ordinary function answer, got a value of the type int"),
        (
            "async def answer(question): ...\n",
            "answer",
            r"expected an ordinary function answer, got an `async`",
        ),
        ("def answer(\n", "answer", r"\.py:1: invalid Python|\.py:1: SyntaxError"),
        ("import os\nos.no_such_name\n", "answer", r"\.py:2: AttributeError: module 'os' has no attribute"),
    ],
)
def test_a_module_without_the_function(function, code, name, words):
    """A module that cannot be used is one sentence with the file and the line of the mistake."""
    with pytest.raises(InputError, match=words):
        function(code, name)


def test_a_missing_module(halls):
    """A missing module is reported with the file name that kib looked for."""
    (halls.folder / "halls_system.py").unlink()
    result = halls.call("run", halls.spec, FLAG)
    assert result.exit_code == 2
    assert "systems.ours: `function`: no module halls_system (halls_system.py) in the folder of" in result.output


@pytest.mark.parametrize(
    ("folder", "words"), [("nowhere", "no such folder"), ("halls.jsonl", "this is a file; expected a")]
)
def test_a_missing_folder(halls, folder, words):
    """A folder that does not exist is reported with the line of its key, and so is a folder without the module."""
    text = halls.spec.read_text(encoding="utf-8")
    (halls.folder / "empty").mkdir()
    for name, said in ((folder, words), ("empty", "empty or in the environment")):
        halls.spec.write_text(text.replace("[methods.base]", f'folder = "{name}"\n[methods.base]'), encoding="utf-8")
        line = halls.spec.read_text(encoding="utf-8").splitlines().index(f'folder = "{name}"') + 1
        result = halls.call("run", halls.spec, FLAG)
        assert result.exit_code == 2
        assert f":{line}: systems.ours.folder: " in result.output
        assert said in " ".join(result.output.split())


def test_invalid_syntax(halls):
    """Invalid syntax is reported with the file and the line before anything is measured."""
    (halls.folder / "halls_index.py").write_text("x = 1\ndef hall(:\n")
    result = halls.call("run", halls.spec, FLAG)
    assert result.exit_code == 2
    assert "halls_index.py:2: invalid Python: " in result.output


def test_a_name_that_is_in_use(tmp_path):
    """A file with the name of a module that is already in use is an error instead of a call of the other module."""
    (tmp_path / "json.py").write_text("def loads(text):\n    return text\n")
    made = make_plugin(PythonSystem, {"function": "json:loads", "folder": tmp_path})
    with pytest.raises(InputError, match=r"a different module with the name json is in use \(.*\); rename the file"):
        made.load()


def test_methods_and_threads(function):
    """The function may be an attribute, and several threads may call it at the same time."""
    code = "class Rag:\n    def answer(self, question):\n        return question.upper()\n\nrag = Rag()\n"
    assert function(code, "rag.answer").answer("who?", "").value == "WHO?"
