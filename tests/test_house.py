"""Rules for the whole repository: imports, start-up, docstrings, plugins and versions."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import kib

ROOT = Path(__file__).parent.parent

ROWS = (
    ("errors", "records", "identity", "moved_modules", "safe_text"),
    ("interfaces", "progress", "statistics", "streams", "support", "text_metrics"),
    ("prompts", "store"),
    ("spec",),
    ("published", "harness"),
    ("plugins",),
    ("plan",),
    ("run",),
    ("leaderboard",),
    ("commands",),
    ("cli",),
)
"""Modules and packages of kib; each imports only from earlier rows. docs/architecture.md describes them."""

BESIDE = "testing"
"""The module for plugin authors: it may import everything except the command line, and nothing imports it."""

LM_EVAL_IMPORTERS = ("kib.harness.", "kib.plugins.builtin.lm_eval_model")
"""The modules that may import lm_eval: the harness, and the plugin for lm-eval's backends."""

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "lm_eval",
    "numpy",
    "scipy",
    "statsmodels",
    "pydantic",
    "rich",
    "jinja2",
    "openpyxl",
)

FORBIDDEN = re.compile(r"(?<![\w.$}])/(?:root|work|farm|home|opt)/|pypi\.org|pythonhosted\.org|find-links|index-url")
"""Paths of a single machine, and hosts of package indexes."""


def name_of(path):
    """Return the dotted name of a module file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted((ROOT / "kib").rglob("*.py"))}
PLUGINS = sorted(path for path in ROOT.glob("plugins/*/kib_*/**/*.py")) + sorted(ROOT.glob("plugins/*/kib_*.py"))
TESTS = sorted([*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/test_*.py")])


def relative(path):
    """Return a file's path relative to the repository root, as a test id."""
    return path.relative_to(ROOT).as_posix()


@cache
def imports(name):
    """Return the imports of a module, including those in functions and excluding those for type checking."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: line {node.lineno}: a relative import; write the full name"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {member if member in MODULES else node.module for member in members}
    return frozenset(found)


def own_imports(name):
    """Return the modules of kib that a module imports."""
    return {other for other in imports(name) if other in MODULES} - {"kib"}


def part(name):
    """Return the top-level module or subpackage of kib that contains a module."""
    return name.split(".")[1]


def test_rows_are_complete():
    """Every top-level module of kib is in exactly one row of the import order, and rows list only existing modules."""
    listed = [*(name for row in ROWS for name in row), BESIDE]
    assert sorted(listed) == sorted({part(name) for name in MODULES if name != "kib"})


def test_rows_are_documented():
    """The module table in docs/architecture.md matches the import order in this test."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| ([^|]+) \|", page, re.MULTILINE)
    assert tuple(tuple(re.findall(r"`(\w+)/?`", row)) for row in rows) == ROWS


def test_rendering_stays_out_of_computing():
    """Modules that compute the leaderboard do not import modules that render the leaderboard."""
    computing = [name for name in MODULES if name.startswith("kib.leaderboard.compute.")]
    assert computing
    for name in computing:
        assert not [other for other in own_imports(name) if other.startswith("kib.leaderboard.render")], name


@pytest.mark.parametrize("name", [name for name in MODULES if name != "kib"])
def test_imports_point_to_earlier_rows(name):
    """A module imports only from its own package and from earlier rows of the import order, even inside functions."""
    rows = {part: number for number, row in enumerate(ROWS) for part in row}
    rows[BESIDE] = rows["cli"]
    wrong = {
        other for other in own_imports(name) if rows[part(other)] >= rows[part(name)] and part(other) != part(name)
    }
    assert not wrong, f"{name} imports {', '.join(sorted(wrong))}"


def test_imports_have_no_cycle():
    """The imports of kib contain no cycle, even inside subpackages."""
    try:
        TopologicalSorter({name: own_imports(name) for name in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_modules_are_imported_by_statements_only():
    """Only plugin entry points and moved modules are imported by a module name given as a string."""
    for name, path in MODULES.items():
        if name == "kib.moved_modules":
            continue  # it exists to map former names
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
        called = {ast.unparse(node) for node in names}
        assert not called & {"__import__", "import_module", "importlib.import_module"}, name


def test_lm_eval_is_imported_in_one_place():
    """Only the harness and the plugin for lm-eval's backends import lm_eval."""
    found = {name for name in MODULES if any(other.split(".")[0] == "lm_eval" for other in imports(name))}
    assert found
    assert all(name.startswith(LM_EVAL_IMPORTERS) for name in found)


@pytest.mark.parametrize("code", ["import kib", "call(['--help'])", "call(['run', '--help'])"])
def test_starting_imports_nothing_heavy(code):
    """Running `import kib` or showing a help page does not import slow packages."""
    call = """
def call(arguments):
    from kib.cli import main
    try:
        main(arguments, prog_name="kib")
    except SystemExit as stop:
        assert stop.code in (0, 2), stop.code
"""
    end = f"\nimport sys; print('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", call + code + end], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1].split() == ["loaded:"]


@pytest.mark.parametrize("path", TESTS, ids=relative)
def test_tests_say_their_rule(path):
    """Every test has a one-sentence docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions:
        if function.name.startswith("test_"):
            where, said = f"{relative(path)}:{function.lineno}: {function.name}", ast.get_docstring(function) or ""
            assert said.endswith("."), f"{where}: a test's docstring is one sentence with a full stop: {said!r}"
            assert not re.search(r"[.!?]\s+[A-Z]", said), f"{where}: a test's docstring is one sentence: {said!r}"


@pytest.mark.parametrize("path", [*MODULES.values(), *PLUGINS], ids=relative)
def test_public_names_exist_and_are_explained(path):
    """Every name in `__all__` exists, and every public function or class has a docstring."""
    name = ".".join(path.relative_to(plugin_of(path)).with_suffix("").parts)
    module = importlib.import_module(name.removesuffix(".__init__"))
    listed = getattr(module, "__all__", None)
    assert listed is not None or path.name == "__init__.py", f"{name}: no __all__"
    things = {public: getattr(module, public) for public in listed or ()}
    silent = [public for public, thing in things.items() if explains_itself(thing) and not thing.__doc__]
    assert not silent, f"{name}: no docstring: {', '.join(silent)}"


def explains_itself(thing):
    """Return whether a public object is a function or class, which needs a docstring, unlike an alias or constant."""
    return inspect.isfunction(thing) or inspect.isclass(thing)


def plugin_of(path):
    """Return the folder of the distribution that contains a module."""
    return next(folder for folder in path.parents if (folder / "pyproject.toml").is_file())


@cache
def tracked():
    """Return the files tracked by git; skip the test outside a git checkout."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        run = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not a git checkout: {error}")
    return [path for name in run.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_mentions_a_machine_path():
    """No file mentions a path on a specific machine or the host of a package index."""
    for path in tracked():
        if path == Path(__file__):
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        lines = [f"{relative(path)}:{number}: {line.strip()}" for number, line in enumerate(text.splitlines(), 1)]
        found = [line for line in lines if FORBIDDEN.search(line.partition(": ")[2])]
        assert not found, "\n".join(found)


def test_every_plugin_is_tested():
    """Every plugin in the repository has a contract test and a README, and is installed for the tests."""
    installed = (ROOT / "requirements.txt").read_text() + (ROOT / "requirements-all.txt").read_text()
    for project in ROOT.glob("plugins/*/pyproject.toml"):
        folder = project.parent
        assert f"-e ./plugins/{folder.name}\n" in installed, f"{folder.name}: in neither file of requirements"
        assert (folder / "tests" / "test_contract.py").is_file(), f"{folder.name}: no tests/test_contract.py"
        assert (folder / "README.md").is_file(), f"{folder.name}: no README.md"


def test_every_requirement_has_a_version():
    """Every requirement of kib, its plugins and its tests is pinned to one version in constraints.txt."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {plain(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    deps = (ROOT / "tox.ini").read_text(encoding="utf-8").partition("\ndeps =\n")[2].partition("\npass_env")[0]
    wanted = set(re.findall(r"^    (\w[\w-]*)$", deps, re.MULTILINE))
    own = set()
    for file in [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        wanted |= {re.match(r"[\w.-]+", requirement)[0] for requirement in project["dependencies"]}
        own.add(project["name"])
    missing = {plain(name) for name in wanted} - pinned - own
    assert not missing


def plain(name):
    """Return a distribution's name in the normalised form used by package indexes."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_versions_agree():
    """The package, its metadata and its citation file state the same version."""
    assert f'\nversion = "{kib.__version__}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"\nversion: {kib.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
