"""The command line interface; a command imports its modules only when it is called, so that `kib --help` is fast."""

import atexit
import io
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from kib import __version__
from kib.errors import (
    InputError,
    KibError,
    OutputError,
    PluginCallError,
    ServerUnavailableError,
    SpecError,
    StepError,
    TableError,
)
from kib.streams import lost_output, prepare_streams, write_json, write_styled, write_text
from kib.support.disk_errors import explain_os_error, is_disk_full
from kib.support.phrases import counted

if TYPE_CHECKING:
    from kib.leaderboard import PublishedResults, Table
    from kib.plan.plan import Plan
    from kib.progress import Progress
    from kib.store.results import Results
    from kib.store.work import Work

__all__ = ["main"]

INTERRUPTED = 130
INTERRUPTION = "Interrupted. Run the same command again to resume."
TABLES = ("terminal", "markdown", "csv", "json")
FORMATS = (*TABLES, "latex")
FIGURES = ("gains", "top-k")

spec_argument = click.argument("spec", type=click.Path(dir_okay=False, path_type=Path))
results_option = click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), default=Path("results"), show_default=True,
    help="Folder for results, with one subfolder per benchmark.",
)  # fmt: skip
work_option = click.option(
    "--work", type=click.Path(file_okay=False, path_type=Path), default=Path("work"), show_default=True,
    help="Folder for large intermediate files, which can be deleted and recreated.",
)  # fmt: skip
trust_option = click.option(
    "--trust-remote-code", is_flag=True,
    help="Allow models and data sets with trust_remote_code = true, and systems with plugin = \"python\", to run code.",
)  # fmt: skip


def _allow_hosts(_context: click.Context, _option: click.Parameter, hosts: tuple[str, ...]) -> None:
    from kib.support.recipients import allow_hosts

    allow_hosts(hosts)


allow_option = click.option(
    "--allow-host", metavar="HOST", multiple=True, expose_value=False, callback=_allow_hosts,
    help="Allow a server named in the spec (HOST or HOST:PORT) to receive text and, over https, credentials; repeat "
    "this option for several servers. The environment variable KIB_ALLOW_HOSTS lists further hosts, which may also "
    "use plain http.",
)  # fmt: skip
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show no progress, only remarks and warnings.")
against_option = click.option(
    "--against", metavar="METHOD", help="Compute gains relative to this method instead of `base`."
)


def _print(text: str, form: str = "terminal", *, end: str = "\n") -> None:
    """Print the result of a command to standard output.

    JSON output preserves its content in every encoding. For any other machine-readable format, lost characters are
    reported.
    """
    exact = (write_json if form == "json" else write_text)(text + end)
    if not exact and form != "terminal":
        _report(
            f"standard output: the encoding {sys.stdout.encoding} does not support some characters, which are "
            "therefore printed in ASCII; set the environment variable PYTHONIOENCODING=utf-8 to print all "
            "characters"
        )


def _report(text: str) -> None:
    write_text(f"{text}\n", err=True)


class _Commands(click.Group):
    """A command group that converts every KibError to a message on standard error and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the parameter name is click's
        """Return the commands in the order of this file, which follows the usual workflow."""
        return list(self.commands)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line; exit with code 4 if the command succeeded but its output could not be written."""
        prepare_streams()
        try:
            return super().main(*args, **options)
        except SystemExit as done:
            if not done.code and (lost := lost_output()):
                _report(f"Error: {OutputError(lost)}")
                raise SystemExit(OutputError.exit_code) from lost
            raise

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the arguments; an interruption at this point would end click with code 1, the code of a failed check."""
        try:
            return super().make_context(*args, **options)
        except KeyboardInterrupt as error:
            _report(INTERRUPTION)
            raise click.exceptions.Exit(INTERRUPTED) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; after Ctrl-C or SIGTERM, print how to resume the command."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            usage = io.StringIO()
            error.show(usage)
            _report(usage.getvalue().rstrip("\n"))
            ctx.exit(error.exit_code)
        except KibError as error:
            # Editors and CI parse mistakes in a spec as `file:line: key: message`, so these lines have no prefix.
            _report(str(error) if isinstance(error, SpecError) else f"Error: {error}")
            ctx.exit(error.exit_code)
        except PluginCallError as error:
            # The traceback shows the author of the plugin where the bug is.
            _report("".join(traceback.format_exception(error.__cause__)) + f"Error: {error}")
            ctx.exit(KibError.exit_code)
        except OSError as error:
            _report(f"Error: {explain_os_error(error)}")
            ctx.exit(StepError.exit_code if is_disk_full(error) else KibError.exit_code)
        except MemoryError:
            _report("Error: not enough memory; free some memory, then run the same command again to resume.")
            ctx.exit(StepError.exit_code)
        except KeyboardInterrupt:
            _report(INTERRUPTION)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kib")
def main() -> None:
    """Measure how to bring knowledge into a language model: by retrieval, by fine-tuning, or both.

    One TOML file declares models, documents, questions and methods; `kib run` measures all methods and prints their
    gains.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    # After the command has finished, Ctrl-C would not stop any work, and would only disturb Python's shutdown.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _progress(quiet: bool) -> "Progress":
    from kib.progress import progress_for

    return progress_for(quiet=quiet)


def _open(spec: Path, trust_remote_code: bool, quiet: bool) -> "Plan":
    from kib.plan.planner import make_plan
    from kib.plugins.resolve import open_spec

    with _progress(quiet).waiting(f"reading {spec} and the files that it names"):
        return make_plan(*open_spec(spec, trust_remote_code=trust_remote_code))


def _stores(plan: "Plan", results: Path, work: Path) -> "tuple[Results, Work]":
    from kib.store.results import Results
    from kib.store.work import Work

    return Results(results / plan.spec.name), Work(work)


@main.command()
@spec_argument
@results_option
@work_option
@trust_option
@allow_option
@click.option(
    "--verify", is_flag=True,
    help="First compare every stored step of the benchmark with its digests, recompute damaged steps, and measure "
    "cells with missing files again.",
)  # fmt: skip
@quiet_option
def run(spec: Path, results: Path, work: Path, trust_remote_code: bool, verify: bool, quiet: bool) -> None:
    """Measure all missing cells, then print the leaderboard."""
    from kib.commands.announce import announce
    from kib.commands.run import failure_message
    from kib.run.loop import run as measure

    plan = _open(spec, trust_remote_code, quiet)
    announce(plan.lock, _progress(quiet))
    stored, intermediate = _stores(plan, results, work)
    try:
        failures = measure(plan, stored, intermediate, _progress(quiet), verify=verify)
    except OSError as error:
        if is_disk_full(error) and stored.has_plan():
            _print_table([stored], "terminal", progress=_progress(quiet))
        raise
    _print_table([stored], "terminal", progress=_progress(quiet))
    if failures:
        down = all(failure.unavailable for failure in failures.values())
        raise (ServerUnavailableError if down else StepError)(failure_message(failures, len(plan.cells)))


@main.command()
@spec_argument
@results_option
@work_option
@trust_option
@allow_option
@quiet_option
def plan(spec: Path, results: Path, work: Path, trust_remote_code: bool, quiet: bool) -> None:
    """List the sets of weights, steps and cells of a benchmark, each with its status, and forecast the missing cells.

    Only cells with stored prompts are forecast; `kib check` stores the prompts of all cells.
    """
    from kib.commands.plan import show_plan

    opened = _open(spec, trust_remote_code, quiet)
    _print(show_plan(opened, *_stores(opened, results, work), _progress(quiet)))


@main.command()
@spec_argument
@results_option
@work_option
@trust_option
@allow_option
@click.option(
    "--no-probe", is_flag=True,
    help="Send no test requests to the servers of models; the test requests do not contain your text.",
)  # fmt: skip
@quiet_option
def check(spec: Path, results: Path, work: Path, trust_remote_code: bool, no_probe: bool, quiet: bool) -> None:
    """Check the data, prompts and token lengths of a spec, and forecast its cost, before an expensive run.

    The forecast states the missing requests, tokens, training runs, time and peak memory. If the spec declares no
    methods, kib check describes the passages of the corpora and the questions of the tasks.
    """
    from kib.commands.announce import announce
    from kib.commands.check import check as check_plan
    from kib.commands.check import check_corpora, read_corpora
    from kib.store.work import Work

    progress = _progress(quiet)
    if corpora := read_corpora(spec, trust_remote_code=trust_remote_code):
        announce(corpora[1], progress)
        report = check_corpora(*corpora, Work(work), progress)
    else:
        try:
            plan = _open(spec, trust_remote_code, quiet)
        except SpecError as error:
            raise _outlined(spec, error) from error
        announce(plan.lock, progress)
        report = check_plan(plan, *_stores(plan, results, work), progress, probe=not no_probe)
    _print(report.text)
    if report.problems:
        raise (ServerUnavailableError if report.unavailable else InputError)("\n".join(report.problems))


def _outlined(spec: Path, error: SpecError) -> SpecError:
    """Print an outline of the benchmark file if only its data is missing; return the error with all mistakes found."""
    from kib.commands.check import outline
    from kib.plugins.resolve import open_spec

    try:
        _print(outline(*open_spec(spec, look=False)))
    except SpecError as more:
        return SpecError([*{*error.mistakes, *more.mistakes}])
    return error


@main.command()
@spec_argument
@click.option("--corpus", metavar="NAME", help="The corpus to search; required if the file declares several corpora.")
@click.option(
    "--retriever", "retrievers", metavar="NAME", multiple=True,
    help="A retriever to measure; repeat this option to measure several retrievers (default: all).",
)  # fmt: skip
@click.option("--task", metavar="NAME", help="Use only the questions of this task.")
@click.option(
    "--queries", type=click.Path(dir_okay=False, path_type=Path),
    help=(
        "A file with queries to use instead of the questions of the tasks: .jsonl, .tsv, or the question file of a "
        "`file` task."
    ),
)  # fmt: skip
@click.option(
    "--depth",
    "--k",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="The number of passages to find per query.",
)
@click.option(
    "--format", "form", type=click.Choice(TABLES), default="terminal", show_default=True, help="Output format."
)
@click.option(
    "--run", "run_file", metavar="FILE",
    help=(
        "Write the hits to this file as a TREC run; if several retrievers are measured, the name must contain "
        "{retriever}."
    ),
)  # fmt: skip
@click.option(
    "--run-names", "unit", type=click.Choice(("documents", "passages", "ranges")),
    help="What the TREC run names: documents, passages (id#number), or documents with character ranges "
    "(id:start-end). Default: documents if documents are judged, else passages.",
)  # fmt: skip
@click.option(
    "--show", type=click.IntRange(min=1), metavar="N",
    help="Also print the first N passages that each retriever found for each query.",
)  # fmt: skip
@work_option
@trust_option
@allow_option
@quiet_option
def retrieve(
    spec: Path,
    form: str,
    run_file: str | None,
    unit: Any,
    show: int | None,
    work: Path,
    quiet: bool,
    **request: Any,
) -> None:
    """Index and search a corpus, and print the quality of each retriever; no model is loaded."""
    from kib.commands import retrieve as retrieval
    from kib.store.work import Work

    if show and form == "csv":
        raise InputError("--show: CSV has no place for passages; use --format json")
    if unit and run_file is None:
        raise InputError("--run-names: names the hits in a TREC run; add --run FILE")
    report = retrieval.retrieve(spec, retrieval.SearchRequest(**request), Work(work), _progress(quiet))
    if run_file is not None:
        _write_runs(retrieval.trec_runs(report, unit), run_file)
    _print(retrieval.render(report, form, show or 0), form, end="")
    if report.failures:
        raise (ServerUnavailableError if report.awaits_server else StepError)(
            "\n".join(f"retrievers.{name}: {why}" for name, why in report.failures.items())
        )


def _write_runs(runs: Mapping[str, str], name: str) -> None:
    from kib.store.files import write_output

    if len(runs) > 1 and "{retriever}" not in name:
        raise InputError(
            f"--run: one file cannot hold the runs of {len(runs)} retrievers; put {{retriever}} into the file name, "
            "or choose one retriever"
        )
    for retriever, text in runs.items():
        path = Path(name.replace("{retriever}", retriever))
        if not path.parent.is_dir():
            raise InputError(f"{path.parent}: no such folder")
        if path.is_dir():
            raise InputError(f"--run: {path}: expected a file, got a folder")
        write_output(path, text)
        _report(f"{path}: written")


@main.command()
@click.argument("names", metavar="[RESULTS]...", nargs=-1)
@results_option
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="terminal", show_default=True, help="Output format."
)
@against_option
@click.option(
    "--by", type=click.Choice(["probe"]),
    help="Also show the gain of each method on the questions of each probe, such as direct and reworded questions.",
)  # fmt: skip
@click.option(
    "--averages",
    is_flag=True,
    help="Show only averages over tasks; without averages, show only the rows of target tasks.",
)
@click.option(
    "--cost",
    is_flag=True,
    help="Also show the cost of each arm, and the number of questions from which one arm is cheaper than another.",
)
@click.option(
    "--retrieval",
    is_flag=True,
    help="Also show retrieval quality, and the accuracy with and without a retrieved gold passage.",
)
@click.option(
    "--times", is_flag=True, help="With --cost or --retrieval: also show the measured times and the peak memory."
)
@click.option(
    "--check", "baseline", type=click.Path(path_type=Path),
    help="Compare the table with a stored baseline; exit with code 1 if any row is worse, with code 5 if only results "
    "of a server that did not answer are missing, and with code 6 if rows are worse and their server has changed.",
)  # fmt: skip
@click.option(
    "--update-baseline", type=click.Path(path_type=Path), help="Store this table as the baseline for --check."
)
@quiet_option
def leaderboard(
    names: tuple[str, ...],
    results: Path,
    form: str,
    baseline: Path | None,
    update_baseline: Path | None,
    quiet: bool,
    **view: Any,
) -> None:
    """Print the table of gains.

    RESULTS are results folders, benchmark names, spec files or published files; by default, all results are shown.
    """
    from kib.commands.leaderboard import compare_with_baseline, find_results, open_results, store_baseline, verify

    paths = find_results(names, results)
    table = _print_table([open_results(path) for path in paths], form, progress=_progress(quiet), **view)
    if update_baseline or baseline:
        verify(paths)
    if update_baseline:
        store_baseline(table, update_baseline)
        _report(f"{update_baseline}: stored")
    if baseline:
        compare_with_baseline(table, baseline, _report)
    if table.awaits_server:
        raise ServerUnavailableError(
            "the table is incomplete, because a server did not answer (see above); run the benchmark again with "
            "`kib run`"
        )
    if not table.complete:
        raise TableError("the table is incomplete: some cells are missing or failed (see above)")


def _print_table(
    results: "list[Results | PublishedResults]", form: str, averages: bool = False, **options: Any
) -> "Table":
    """Print and return the table of these results; `options` are passed to `make_table`."""
    from shutil import get_terminal_size

    from kib.leaderboard import averages_only, make_table, render

    table = make_table(results, **options)
    shown = averages_only(table) if averages else table
    colour = form == "terminal" and sys.stdout.isatty()
    text = render(shown, form, width=get_terminal_size((120, 40)).columns, colour=colour)
    if colour:
        write_styled(text)
    else:
        _print(text, form, end="")
    return table


@main.command()
@click.argument("names", metavar="[RESULTS]...", nargs=-1)
@results_option
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help="The image file to write: .png, .svg or .pdf.",
)  # fmt: skip
@click.option(
    "--show", "kind", type=click.Choice(FIGURES), default="gains", show_default=True,
    help="Plot the gains by model and method, or the accuracy by number of passages.",
)  # fmt: skip
@against_option
@quiet_option
def figure(names: tuple[str, ...], results: Path, out: Path, kind: str, against: str | None, quiet: bool) -> None:
    """Draw the table of gains; needs matplotlib: pip install 'kib-bench[figures]'.

    RESULTS has the same meaning as for `kib leaderboard`.
    """
    from kib.commands.leaderboard import find_results, open_results
    from kib.leaderboard import make_table, save_figure

    sources = [open_results(path) for path in find_results(names, results)]
    save_figure(make_table(sources, against=against, progress=_progress(quiet)), kind, out)
    _report(f"{out}: written")


@main.command()
@click.argument("cell")
@click.argument("question", required=False)
@results_option
@work_option
def show(cell: str, question: str | None, results: Path, work: Path) -> None:
    """Show a cell with its questions, or how each method answered one question: passages, prompt, scores and answer.

    CELL is an id as printed by `kib plan`, its beginning up to a slash, the name of an arm or the digest of a cell, if
    only one cell matches. If several benchmarks contain the cell, prefix the name with the name of the benchmark.
    QUESTION is the id of a question, or the beginning of an id.
    """
    from kib.commands.show import show_cell, show_question
    from kib.store.work import Work

    if question is None:
        _print(show_cell(results, Work(work), cell))
    else:
        _print(show_question(results, Work(work), cell, question))


@main.command()
@spec_argument
@click.option("--corpus", metavar="NAME", required=True, help="The corpus to write questions about.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write the questions to (.jsonl).",
)
@click.option(
    "--validation", type=click.Path(dir_okay=False, path_type=Path),
    help="A second file for validation questions, which receives about a fifth of all questions.",
)  # fmt: skip
@click.option("--writer", metavar="NAME", help="The writer to use; required if the file declares several writers.")
@click.option(
    "--count",
    type=click.IntRange(1, 20),
    default=4,
    show_default=True,
    help="The number of questions to write per passage.",
)
@click.option(
    "--keep", type=click.IntRange(1, 20), default=2, show_default=True,
    help="The number of questions to keep per passage; the most specific questions are kept.",
)  # fmt: skip
@click.option(
    "--group", type=click.Choice(("document", "passage")), default="document", show_default=True,
    help="How dependent questions are grouped for confidence intervals; choose `passage` for a few long documents.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the expected cost without sending requests or writing files.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@work_option
@allow_option
@quiet_option
def questions(
    spec: Path, out: Path, validation: Path | None, work: Path, dry_run: bool, force: bool, quiet: bool, **request: Any
) -> None:
    """Write multiple-choice questions about your own documents, to be reviewed and then used by a `file` task."""
    from kib.commands import questions as writing
    from kib.store.work import Work

    paths = [path for path in (out, validation) if path]
    writing.check_free(paths, force=force or dry_run)
    job = writing.open_job(spec, writing.QuestionRequest(**request), Work(work), _progress(quiet))
    if dry_run:
        _print(writing.forecast(job, _progress(quiet)))
        return
    kept = writing.write_questions(job, _progress(quiet))
    for path, rows in zip(paths, writing.split(kept.rows) if validation else [kept.rows], strict=True):
        writing.save(rows, path)
        _print(f"{path}: {counted(len(rows), 'question')}")
    _print("\n".join(writing.summary(kept, job.passages)))
    if missing := writing.failure(kept, job.passages):
        raise StepError(missing)


@main.command()
@spec_argument
@click.argument("trainer", required=False)
@click.option(
    "--model", metavar="NAME",
    help="The model whose form of prompts the pairs get; required if the file declares several models that were not "
    "trained elsewhere.",
)  # fmt: skip
@click.option(
    "--corpus", metavar="NAME", help="The corpus to train on; required if the tasks are about several corpora."
)
@click.option(
    "--count", type=click.IntRange(min=1),
    help="The number of texts per passage; required if the trainer varies this number.",
)  # fmt: skip
@click.option(
    "--output", metavar="DIR", type=click.Path(path_type=Path),
    help="The folder to write, which must not exist. [default: exports/BENCHMARK/TRAINER]",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the expected cost without sending requests or writing files.")
@click.option("--force", is_flag=True, help="Replace an earlier export in the same folder.")
@work_option
@trust_option
@allow_option
@quiet_option
def export(
    spec: Path,
    output: Path | None,
    work: Path,
    trust_remote_code: bool,
    dry_run: bool,
    force: bool,
    quiet: bool,
    **request: Any,
) -> None:
    """Write the training text of a trainer as JSON Lines, to train a model elsewhere.

    TRAINER is a trainer of the file, and may be omitted if there is only one. Question/answer pairs become chats in the
    form in which the tasks ask, or prompts with completions if the model is not asked in chats. Documents and
    paraphrases become lines with a text. A method names the trained model with `trained_as`.
    """
    from kib.commands import export as exporting
    from kib.store.work import Work

    if output and not dry_run:
        exporting.check_target(output, force=force)
    job = exporting.open_job(
        spec, exporting.ExportRequest(**request), Work(work), _progress(quiet), trust_remote_code=trust_remote_code
    )
    if dry_run:
        _print("\n".join(exporting.forecast(job)))
        return
    folder = output or exporting.default_target(job)
    exporting.check_target(folder, force=force)
    _print("\n".join(exporting.export(job, folder)))


@main.command()
@click.argument("name", metavar="RESULTS")
@results_option
@work_option
@click.option("--task", metavar="NAME", help="The task; required if several tasks have generated answers.")
@click.option(
    "--questions", type=click.IntRange(min=1), default=100, show_default=True,
    help="The number of test questions to draw at random.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True,
    help="The seed of the draw; with the same seed, more questions include all questions drawn before.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("labels.csv"), show_default=True,
    help="The sheet to write: .csv or .xlsx.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite an existing sheet, and replace the stored sample of questions.")
def label(name: str, results: Path, work: Path, **request: Any) -> None:
    """Write a blind sheet in which people judge the generated answers to some questions.

    RESULTS is a results folder, a benchmark name or a spec file. The sheet shows neither methods nor scores. The
    verdicts in the sheet correct the accuracies and gains of the table.
    """
    from kib.commands.label import LabelRequest, write_sheet
    from kib.commands.leaderboard import find_results
    from kib.store.results import Results
    from kib.store.work import Work

    (path,) = find_results((name,), results)
    if path.suffix == ".toml":
        raise InputError(f"{path}: published results contain no outputs; expected a results folder")
    _print(write_sheet(Results(path), Work(work), LabelRequest(**request)))


@main.command()
def plugins() -> None:
    """List the installed plugins with their distributions, and the reason if a plugin does not work."""
    from kib.commands.plugins import list_plugins

    _print(list_plugins())


@main.command()
@click.option("--core", is_flag=True, help="Omit the options of plugins that are not part of kib.")
@click.option("--published", is_flag=True, help="Print the schema for files of published results instead.")
def schema(core: bool, published: bool) -> None:
    """Print the JSON Schema of a benchmark file, including the options of installed plugins."""
    import json

    from kib.commands.json_schema import benchmark_schema, published_schema

    found = published_schema() if published else benchmark_schema(core_only=core)
    _print(json.dumps(found, indent=2, ensure_ascii=False), "json")


@main.command()
@spec_argument
def cite(spec: Path) -> None:
    """Print BibTeX entries for everything that a benchmark or a published file uses.

    The entries cite papers, data, models, plugins and kib.
    """
    from kib.commands.cite import bibtex, bibtex_of_published
    from kib.plugins.resolve import open_spec
    from kib.published.load import is_published, load_published

    if is_published(spec):
        _print(bibtex_of_published(load_published(spec)), "bibtex")
        return
    _print(bibtex(open_spec(spec, look=False)[1]), "bibtex")
