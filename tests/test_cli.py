"""The command line: output, error messages and exit codes."""

import csv
import errno
import io
import json
import re
import shutil
from dataclasses import replace

import msgspec
import pytest

from kib import __version__

COMMANDS = ("run", "plan", "check", "leaderboard", "show", "plugins", "schema", "cite", "questions")


@pytest.fixture(scope="module")
def done(new_bench, toys, tmp_path_factory):
    """The toy benchmark with all cells measured."""
    bench = new_bench(tmp_path_factory.mktemp("done")).write_toy()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(toys)
        assert bench.run() == {}
    return bench


@pytest.fixture
def copy(done, new_bench, tmp_path, toybox):
    """A copy of the measured benchmark that a test may modify."""
    shutil.copytree(done.folder, tmp_path / "copy")
    return new_bench(tmp_path / "copy")


def refused(result, code=2):
    """Return the output of a command that must exit with the given code and without a traceback."""
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def worsen(bench):
    """Mark all answers of one measured cell as wrong."""
    cell = bench.cells()["m/rag,k=1/people,0-shot"]
    result, scores = bench.results.cell(cell), bench.results.scores(cell)
    bench.results.save_cell(replace(result, correct=0), [msgspec.structs.replace(score, score=0) for score in scores])


# Help


def test_help_lists_every_command(bench):
    """The help page describes each command, in the order in which users need them."""
    text = bench.call("--help").output
    places = [re.search(rf"^  {name} +\S", text, re.MULTILINE) for name in COMMANDS]
    assert all(places)
    assert [name for name in COMMANDS if name != "questions"] == sorted(
        (name for name in COMMANDS if name != "questions"), key=lambda name: text.index(f"\n  {name} ")
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help_page(bench, command):
    """Each command has a help page that lists its options, for both --help and -h."""
    result = bench.call(command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: kib " + command)
    assert result.output == bench.call(command, "-h").output
    described = re.findall(r"^  (?:-\w, )?--[\w-]+.*", result.output, re.MULTILINE)
    assert described


def test_version_option_prints_the_package_version(bench):
    """The option --version prints the version of the package."""
    assert bench.call("--version").output == f"kib, version {__version__}\n"


@pytest.mark.parametrize("arguments", [("rnu",), ("run",), ("run", "a.toml", "b.toml"), ("run", "--bogus", "a.toml")])
def test_wrong_usage_is_an_error(bench, arguments):
    """An unknown command, a missing argument or an unknown option causes exit code 2 and a hint to use --help."""
    assert "--help" in refused(bench.call(*arguments))


# Errors


@pytest.mark.parametrize("command", ["run", "plan", "check", "cite"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "bench.toml: no such file; expected a benchmark file (TOML)"),
        ("schema = ", "bench.toml:1: "),
        ("schema = 1\n", "name: missing (the name of the benchmark"),
        (b"\xff", "bench.toml:1: expected UTF-8 text, got byte 0xff"),
    ],
)
def test_every_command_reports_a_wrong_spec(bench, command, content, words):
    """If a benchmark file cannot be read, every command exits with code 2 and names the file."""
    if content is not None:
        bench.spec.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in refused(bench.call(command, bench.spec))


def test_a_folder_is_not_a_spec(bench):
    """Passing a folder instead of a benchmark file is reported as an error."""
    assert "is a directory" in refused(bench.call("run", bench.folder))


def test_a_path_that_cannot_be_written_is_named(bench):
    """If a folder cannot be created, the error names the folder's path."""
    bench.write_toy()
    (bench.folder / "file").write_text("x")
    assert "file" in refused(bench.call("run", bench.spec, "-q", "--results", "file/results"))
    assert "file" in refused(bench.call("run", bench.spec, "-q", "--work", "file/work"))


def test_a_wrong_plugin_name_suggests_the_nearest(bench):
    """The error for an uninstalled plugin states the file, line, key and nearest plugin name."""
    bench.write_toy()
    bench.write(bench.spec.read_text(encoding="utf-8").replace('plugin = "oracle"', 'plugin = "oracel"'))
    said = refused(bench.call("plan", bench.spec))
    assert re.search(r'bench\.toml:\d+: retrievers\.gold\.plugin: .*did you mean "oracle"\?', said)


# Running


def test_a_run_prints_its_table(bench):
    """A run prints the leaderboard to standard output and progress to standard error."""
    bench.write_toy()
    result = bench.kib("run", bench.spec)
    assert result.returncode == 0
    assert result.stdout == bench.call("leaderboard").stdout
    assert result.stdout.startswith("toy · Six people that nobody knows\n")
    assert "asking m: 312" in result.stderr.splitlines()
    assert "asking" not in result.stdout


def test_a_quiet_run_is_quiet(bench):
    """With --quiet, a run prints nothing to standard error."""
    bench.write_toy()
    assert bench.call("run", bench.spec, "--quiet").stderr == ""


def test_results_and_work_folders_can_be_chosen(bench):
    """Results and work folders can be in any location, and the results subfolder is named after the benchmark."""
    bench.write_toy()
    assert bench.call("run", bench.spec, "-q", "--results", "r/s", "--work", "w").exit_code == 0
    assert (bench.folder / "r" / "s" / "toy" / "plan.json").is_file()
    assert (bench.folder / "w" / "hits").is_dir()
    assert sorted(path.name for path in bench.folder.iterdir()) == ["bench.toml", "people.jsonl", "r", "w"]
    assert bench.call("leaderboard", "--results", "r/s").exit_code == 0
    assert bench.call("show", "m/base/people,0-shot", "--results", "r/s").exit_code == 0


# The leaderboard


@pytest.mark.parametrize(
    "place", [(), ("toy",), ("results/toy",), ("bench.toml",), ("{folder}/results/toy",), ("results/toy/",)]
)
def test_results_can_be_selected_by_name_folder_or_file(done, place):
    """The same table is printed whether results are selected by default, by benchmark name, by folder or by file."""
    named = [part.format(folder=done.folder) for part in place]
    result = done.call("leaderboard", *named)
    assert result.exit_code == 0
    assert result.output == done.call("leaderboard").output


@pytest.mark.parametrize("place", ["nobody", "results/nobody", "nobody.toml"])
def test_missing_results_are_named(done, place):
    """The error for a benchmark without results names the benchmark."""
    assert "nobody" in refused(done.call("leaderboard", place))


def test_without_results_a_run_is_suggested(bench):
    """The error for an empty folder names the command that creates results."""
    assert "results: no results found; create results with `kib run SPEC`" in refused(bench.call("leaderboard"))


def test_each_output_format_is_valid(done):
    """CSV and JSON output can be parsed, Markdown output is a table, and a repeated command prints identical output."""
    texts = {form: done.call("leaderboard", "--format", form).output for form in ("csv", "json", "markdown")}
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert {row["method"] for row in rows} >= {"base", "rag,k=1", "oracle"} or len(rows) >= 5
    assert json.loads(texts["json"])
    assert re.search(r"^\|.*\|$", texts["markdown"], re.MULTILINE)
    for form, text in texts.items():
        assert done.call("leaderboard", "--format", form).output == text
    assert "Invalid value for '--format'" in refused(done.call("leaderboard", "--format", "xml"))


def test_a_different_reference(done):
    """Gains can be measured over a method other than base, and an unknown method is reported."""
    assert done.call("leaderboard", "--against", "rag,k=1").exit_code == 0
    assert "rga" in refused(done.call("leaderboard", "--against", "rga"))


def test_a_missing_cell_makes_exit_code_1(copy):
    """An incomplete table is printed, and the command then exits with code 1."""
    shutil.rmtree(copy.results.cell_folder(copy.cells()["m/oracle/people,0-shot"]))
    said = refused(copy.call("leaderboard"), 1)
    assert "the table is incomplete: some cells are missing or failed" in said
    assert "oracle" in said


def test_a_baseline_is_stored_and_compared(copy):
    """The comparison of a table with its own baseline passes, and fails after a gain has fallen."""
    assert copy.call("leaderboard", "--update-baseline", "base.json").exit_code == 0
    kept = copy.call("leaderboard", "--check", "base.json")
    assert kept.exit_code == 0
    assert "base.json: no row is worse" in kept.output
    value = json.loads((copy.folder / "base.json").read_text(encoding="utf-8"))
    assert "rag" in json.dumps(value)
    worsen(copy)
    said = refused(copy.call("leaderboard", "--check", "base.json"), 1)
    assert "worse than base.json:" in said
    assert "rag,k=1" in said.partition("worse than base.json:")[2]


@pytest.mark.parametrize(("content", "words"), [(None, "create it with --update-baseline"), ("{", "base.json")])
def test_a_baseline_that_cannot_be_read_is_named(copy, content, words):
    """A missing or damaged baseline is reported as an input error with exit code 2."""
    if content is not None:
        (copy.folder / "base.json").write_text(content)
    assert words in refused(copy.call("leaderboard", "--check", "base.json"))


def test_damaged_results_are_named(copy):
    """Every command that shows results names damaged files and the remedy, and a run measures the cells again."""
    place = copy.results.cell_folder(copy.cells()["m/base/people,0-shot"])
    (place / "cell.json").write_text("{")
    for arguments in (("leaderboard",), ("show", "m/base/people,0-shot")):
        said = refused(copy.call(*arguments))
        assert "cell.json: the file is damaged" in said
        assert "`kib run` measures the cell again" in said
    ran = copy.call("run", copy.spec)
    assert ran.exit_code == 0
    assert "cell.json: the file is damaged" in ran.stderr
    assert copy.call("leaderboard").exit_code == 0


# Pipes


def test_check_keeps_its_exit_code_without_a_reader(copy):
    """If the reader closes standard output, `leaderboard --check` still returns the exit code of the comparison."""
    copy.call("leaderboard", "--update-baseline", "base.json")
    ran = copy.kib_without_reader("leaderboard", "--check", "base.json")
    assert (ran.returncode, ran.stderr) == (0, "base.json: no row is worse\n")
    worsen(copy)
    ran = copy.kib_without_reader("leaderboard", "--check", "base.json")
    assert ran.returncode == 1
    assert "worse than base.json:" in ran.stderr
    assert "BrokenPipe" not in ran.stderr


def test_a_broken_pipe_inside_a_command_is_an_error(bench, monkeypatch):
    """A broken pipe other than standard output, for example to a worker process, causes exit code 2."""

    def broken(*_):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("kib.commands.plugins.list_plugins", broken)
    assert refused(bench.call("plugins")) == "Error: Broken pipe\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 3, "Error: not enough memory; free some memory, then run the same command again to resume.\n"),
        (KeyboardInterrupt(), 130, "Interrupted. Run the same command again to resume.\n"),
    ],
)
def test_exhausted_memory_and_interruptions_are_one_sentence(bench, monkeypatch, error, code, said):
    """A lack of memory and an interruption end a command with one sentence and their own exit codes."""

    def stop(*_):
        raise error

    monkeypatch.setattr("kib.commands.plugins.list_plugins", stop)
    assert refused(bench.call("plugins"), code) == said


def test_an_interruption_while_arguments_are_read_has_its_own_exit_code(bench, monkeypatch):
    """An interruption before a command starts exits with code 130, because code 1 means that a check failed."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("click.Context.__init__", stop)
    assert bench.call("plugins").exit_code == 130


def test_output_in_a_pipe_has_no_colour(done):
    """A table written to a pipe or file contains no colour codes."""
    assert "\x1b" not in done.kib("leaderboard").stdout


# The schema


def test_schema_contains_the_options_of_installed_plugins(bench):
    """The schema contains the options of all installed plugins, or only of core plugins with --core."""
    whole = bench.call("schema").output
    core = bench.call("schema", "--core").output
    assert json.loads(whole)["$schema"] == json.loads(core)["$schema"]
    assert '"fails_on"' in whole
    assert '"fails_on"' not in core
    assert '"others"' in core
