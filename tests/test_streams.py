"""Output streams that are closed, full, restricted in encoding or unread, and text that could control a terminal."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from kib.safe_text import escaped_json, visible, visible_or_style

TITLE = "Brücke 桥 – 3 → 4, ±1 🚧"
FULL = Path("/dev/full")
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
ATTACK = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202etxt\u2066\rgone"
COMMANDS = (
    ("plan", "bench.toml"),
    ("check", "bench.toml"),
    ("retrieve", "bench.toml"),
    ("leaderboard", "--format", "csv"),
    ("show", "m/base"),
    ("plugins",),
    ("schema",),
    ("cite", "bench.toml"),
)


@pytest.fixture(scope="module")
def done(new_bench, toys, tmp_path_factory):
    """The toy benchmark with all cells measured, a stored baseline, and a title that few encodings can represent."""
    bench = new_bench(tmp_path_factory.mktemp("done")).write_toy()
    bench.write(bench.spec.read_text(encoding="utf-8").replace("Six people that nobody knows", TITLE))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(toys)
        assert bench.run() == {}
        assert bench.call("leaderboard", "--update-baseline", "base.json").exit_code == 0
        baseline = json.loads((bench.folder / "base.json").read_text(encoding="utf-8"))
        baseline["rows"]["toy/m/rag,k=1/people,0-shot"]["gain"] = [0.9, 0.8, 1.0]
        del baseline["digest"]  # as in a baseline of an earlier version, which may be edited
        (bench.folder / "better.json").write_text(json.dumps(baseline), encoding="utf-8")
    return bench


def through_shell(bench, redirections, *arguments, **environment):
    """Run a command in a shell with redirections such as `2>&-`, and return the process with output as bytes."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirections}', "sh", *bench.command(*arguments)],
        cwd=bench.folder,
        env={**bench.environment, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


# Closed streams


@pytest.mark.parametrize("redirections", [pytest.param("2>&-", marks=pytest.mark.slow), "<&- >&- 2>&-"])
def test_a_run_with_closed_streams_measures_everything(bench, redirections):
    """A run measures all cells even if standard error or all standard streams are closed."""
    bench.write_toy()
    ran = through_shell(bench, redirections, "run", bench.spec)
    assert ran.returncode == 0
    assert all(bench.results.has(cell) for cell in bench.results.plan().cells)
    assert ran.stdout.startswith(b"toy") is (redirections == "2>&-")
    assert {path.name for path in bench.folder.iterdir()} == {"bench.toml", "people.jsonl", "results", "work"}


@pytest.mark.parametrize(("baseline", "code"), [("base.json", 0), ("better.json", 1)])
@pytest.mark.parametrize("redirections", [">&-", ">&- 2>&-"])
def test_check_keeps_its_exit_code_with_closed_streams(done, redirections, baseline, code):
    """The exit code of `leaderboard --check` depends on the comparison and never on a closed stream."""
    ran = through_shell(done, redirections, "leaderboard", "--check", baseline)
    assert ran.returncode == code
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("arguments", COMMANDS[1::2], ids=lambda arguments: arguments[0])
def test_a_command_without_a_reader_succeeds(done, arguments):
    """A command exits with code 0 and without an error message if the reader of standard output has exited."""
    ran = done.kib_without_reader(*arguments)
    assert ran.returncode == 0, ran.stderr
    assert "Error" not in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_a_run_finishes_after_its_terminal_closes(bench):
    """A run that shows progress bars finishes even if the terminal is closed during the run."""
    bench.write_toy(model="seconds = 0.1")
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        bench.command("run", bench.spec),
        cwd=bench.folder,
        env={**bench.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    os.read(main, 100)
    os.close(main)
    assert process.wait() == 0
    assert all(bench.results.has(cell) for cell in bench.results.plan().cells)


# Full disks


@pytest.mark.skipif(not FULL.exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("leaderboard",), 4),
        (("--help",), 4),
        (("leaderboard", "--check", "base.json"), 4),
        (("leaderboard", "--check", "better.json"), 1),
    ],
)
def test_lost_output_has_its_own_exit_code(done, arguments, code):
    """A command that succeeds but cannot write its output exits with code 4; a failed check keeps its own code."""
    ran = through_shell(done, f"> {FULL}", *arguments)
    assert ran.returncode == code
    assert b"Traceback" not in ran.stderr
    said = b"Error: standard output: No space left on device; the output is incomplete\n"
    assert ran.stderr.endswith(said) is (code == 4)


# Narrow encodings


@pytest.mark.parametrize(
    ("encoding", "form"),
    [("ascii", "terminal"), ("latin-1", "terminal"), ("cp1252", "terminal"), ("ascii", "markdown"), ("ascii", "json")],
)
def test_tables_are_printed_in_every_encoding(done, encoding, form):
    """Characters missing from a stream's encoding are printed in ASCII, and JSON output retains its exact content."""
    ran = through_shell(done, "", "leaderboard", "--format", form, PYTHONIOENCODING=encoding)
    assert ran.returncode == 0, ran.stderr
    text = ran.stdout.decode(encoding)
    if form == "json":
        assert json.loads(text) == json.loads(done.call("leaderboard", "--format", "json").output)
        assert json.loads(text)["benchmarks"][0]["title"] == TITLE
        return
    shown = {"ascii": "Br\\xfccke \\u6865 - 3 -> 4, +/-1 ", "latin-1": "Brücke \\u6865 - 3 -> 4, ±1 "}
    assert shown.get(encoding, "Brücke \\u6865 – 3 -> 4, ±1 ") + "\\U0001f6a7" in text
    assert (b"standard output: the encoding ascii does not support" in ran.stderr) is (form == "markdown")


def test_progress_and_messages_are_printed_in_every_encoding(bench):
    """Progress lines and error messages are printed in ASCII if the encoding of standard error lacks a character."""
    bench.write_toy()
    bench.write(bench.spec.read_text(encoding="utf-8").replace("models.m]", 'models."桥"]'))
    ran = through_shell(bench, "", "run", bench.spec, PYTHONIOENCODING="ascii")
    assert b"Traceback" not in ran.stderr
    assert b"\\u6865" in ran.stderr


# Foreign text


def test_no_command_prints_control_characters(bench):
    """No command prints control characters or bidirectional formatting characters from untrusted text."""
    attack = json.dumps(ATTACK)[1:-1]
    questions = [json.loads(line) for line in bench.write_toy().spec.with_name("people.jsonl").read_text().splitlines()]
    for row in questions:
        row["question"] += ATTACK
        row["options"] = [f"{option}{ATTACK}" for option in row["options"]]
    text = bench.spec.read_text(encoding="utf-8").replace("Six people that nobody knows", attack)
    text = text.replace("She owns a ferret.", f"She owns a ferret. {attack}").replace("Ada Quill", f"Ada{attack} Quill")
    bench.write(text, people_jsonl="".join(json.dumps(row) + "\n" for row in questions))
    ran = bench.kib("run", bench.spec)
    assert ran.returncode == 0, ran.stderr
    said = [ran.stdout, ran.stderr]
    for arguments in (*COMMANDS, ("show", "m/rag,k=1/people,0-shot", "ada-0"), ("leaderboard", "--format", "json")):
        result = bench.call(*arguments)
        assert result.exit_code == 0, result.output
        said += [result.stdout, result.stderr]
    bench.write(text.replace("top_k = [2]", f'"{attack}" = 2'))
    said += [bench.call("plan", bench.spec).output, bench.call("plan", f"{ATTACK}.toml").output]
    said += [bench.call(f"{ATTACK}").output, bench.call("show", f"m/{ATTACK}").output]
    assert [text for text in said if DANGEROUS.search(text)] == []
    assert "owned" in said[-1]


def test_failures_print_no_control_characters(bench):
    """The message of a failed plugin is printed without control characters."""
    bench.write_toy(model=f'fails_on = "Where does"\nsays = {json.dumps(ATTACK)}')
    ran = bench.kib("run", bench.spec)
    assert ran.returncode == 3
    assert "the toy broke down" in ran.stderr
    assert not DANGEROUS.search(ran.stdout + ran.stderr)


def test_visible_text_replaces_control_characters():
    """Control and bidirectional formatting characters are replaced, except line breaks and tabs."""
    kept = "a\tb\nñ 桥 न्\u200dय 👩\u200d🚀 ½\u00a0µm"
    assert visible(kept) == kept
    assert visible("one\r\ntwo\rthree") == "one\ntwo\ufffdthree"
    assert DANGEROUS.search(ATTACK)
    assert not DANGEROUS.search(visible(ATTACK))
    assert visible("file\udcff") == "file\ufffd"


def test_only_style_escape_sequences_are_preserved():
    """In styled text, the escape sequences for colours and font styles are preserved, and all others are replaced."""
    assert visible_or_style("\x1b[1;31mred\x1b[0m") == "\x1b[1;31mred\x1b[0m"
    assert visible_or_style("\x1b[2J\x1b]0;x\x07") == "\ufffd[2J\ufffd]0;x\ufffd"


def test_escaped_json_has_the_same_content():
    """Escaping control and bidirectional formatting characters in JSON does not change the decoded content."""
    value = {"a": ATTACK, "b": ["\u2028", "\udcff", "桥"]}
    text = escaped_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    assert not DANGEROUS.search(text)
