"""The command line: each command a few lines, heavy imports inside them, so that `kib --help` is quick."""

import atexit
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from kib import __version__
from kib.errors import KibError, SpecError, TableError

if TYPE_CHECKING:
    from kib.leaderboard import PublishedResults
    from kib.plan.planner import Plan
    from kib.progress import Progress
    from kib.store.results import Results
    from kib.store.work import Work

__all__ = ["main"]

INTERRUPTED = 130
TABLES = ("terminal", "markdown", "csv", "json")
FORMATS = (*TABLES, "latex")
FIGURES = ("gains", "top-k")

spec_argument = click.argument("spec", type=click.Path(dir_okay=False, path_type=Path))
results_option = click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), default=Path("results"), show_default=True,
    help="Folder of what people cite; a benchmark's own folder in it bears its name.",
)  # fmt: skip
work_option = click.option(
    "--work", type=click.Path(file_okay=False, path_type=Path), default=Path("work"), show_default=True,
    help="Folder of heavy intermediate things; it can be deleted.",
)  # fmt: skip
trust_option = click.option(
    "--trust-remote-code", is_flag=True,
    help="Let models whose table says trust_remote_code = true run code that comes with them.",
)  # fmt: skip
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")


class _Commands(click.Group):
    """Catches every KibError once: its message on standard error, its class's exit code, no traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the name click calls it by
        """In the order of the file: that of a user's work."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; interruption by Ctrl-C or SIGTERM says how to go on."""
        try:
            return super().invoke(ctx)
        except KibError as error:
            # A spec's mistakes are lines that editors and CI read as file:line: key: message.
            click.echo(str(error) if isinstance(error, SpecError) else f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                sys.stderr.close()  # the reader has gone; Python would complain about it on exit
                ctx.exit(0)
            click.echo(f"Error: {error.filename or 'output'}: {error.strerror or error}", err=True)
            ctx.exit(KibError.exit_code)
        except KeyboardInterrupt:
            click.echo("Interrupted. The same command goes on where it stopped.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kib")
def main() -> None:
    """Measure how knowledge gets into a language model: by retrieval, by fine-tuning, or both.

    One TOML file declares models, documents, questions and methods; `kib run` measures them and prints the gains.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    # Once all is done, Ctrl-C has nothing left to stop: Python, while it shuts down, would die of it without a word.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _progress(quiet: bool) -> "Progress":
    from kib.progress import SilentProgress, progress_for

    return SilentProgress() if quiet else progress_for()


def _open(spec: Path, trust_remote_code: bool) -> "Plan":
    from kib.plan.planner import make_plan
    from kib.plugins.resolve import open_spec

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
@quiet_option
def run(spec: Path, results: Path, work: Path, trust_remote_code: bool, quiet: bool) -> None:
    """Measure what is missing, then print the leaderboard."""
    from kib.errors import StepError
    from kib.run.loop import run as measure

    plan = _open(spec, trust_remote_code)
    store, workshop = _stores(plan, results, work)
    failures = measure(plan, store, workshop, _progress(quiet))
    _print_table([store.folder], "terminal", progress=_progress(quiet))
    if failures:
        raise StepError(_said_of(failures, len(plan.cells)))


def _said_of(failures: Any, cells: int) -> str:
    """Each reason once, with the number of cells that it cost."""
    from kib.support.phrases import counted

    counts: dict[str, int] = {}
    for failure in failures.values():
        reason = f"{failure.step}: {failure.error}"
        counts[reason] = counts.get(reason, 0) + 1
    lines = [f"{reason} ({counted(count, 'cell')})" for reason, count in counts.items()]
    rest = "none was measured" if len(failures) == cells else "all others were measured"
    return f"{counted(len(failures), 'cell')} failed, {rest}:\n" + "\n".join(lines)


@main.command()
@spec_argument
@results_option
@work_option
@trust_option
def plan(spec: Path, results: Path, work: Path, trust_remote_code: bool) -> None:
    """Show weights, cells and steps, and which of them are done."""
    from kib.commands.show import show_plan

    made = _open(spec, trust_remote_code)
    click.echo(show_plan(made, *_stores(made, results, work)))


@main.command()
@spec_argument
@work_option
@trust_option
@quiet_option
def check(spec: Path, work: Path, trust_remote_code: bool, quiet: bool) -> None:
    """Prove a spec before money is spent: data, real prompts, token lengths, cuts, answer tokens, forecast."""
    from kib.commands.check import check as look
    from kib.errors import InputError
    from kib.store.work import Work

    try:
        plan = _open(spec, trust_remote_code)
    except SpecError as error:
        raise _outlined(spec, error) from error
    report = look(plan, Work(work), _progress(quiet))
    click.echo(report.text)
    if report.problems:
        raise InputError("\n".join(report.problems))


def _outlined(spec: Path, error: SpecError) -> SpecError:
    """Say what is right in a file of which only data are not there; the error with all mistakes that can be known."""
    from kib.commands.check import outline
    from kib.plugins.resolve import open_spec

    try:
        click.echo(outline(*open_spec(spec, look=False)))
    except SpecError as more:
        return SpecError([*{*error.mistakes, *more.mistakes}])
    return error


@main.command()
@spec_argument
@click.option("--corpus", metavar="NAME", help="The documents that are searched; needed where there are several.")
@click.option(
    "--retriever", "retrievers", metavar="NAME", multiple=True, help="One to measure, again for more; default all."
)
@click.option("--task", metavar="NAME", help="Only this task's questions.")
@click.option(
    "--queries", type=click.Path(dir_okay=False, path_type=Path),
    help="A file of queries instead: .jsonl (id, text, relevance or gold), .tsv, or questions of the task `file`.",
)  # fmt: skip
@click.option(
    "--depth", "--k", type=click.IntRange(min=1), default=100, show_default=True, help="Passages found a query."
)
@click.option("--format", "form", type=click.Choice(TABLES), default="terminal", show_default=True, help="Output form.")
@click.option(
    "--run", "run_file", metavar="FILE",
    help="Write what was found in TREC's format; {retriever} in the name where there are several.",
)  # fmt: skip
@work_option
@trust_option
@quiet_option
def retrieve(spec: Path, form: str, run_file: str | None, work: Path, quiet: bool, **wanted: Any) -> None:
    """Index and search, and print how well each retriever finds what answers the queries; no model is loaded."""
    from kib.commands import retrieve as desk
    from kib.errors import StepError
    from kib.store.work import Work

    report = desk.retrieve(spec, desk.Wanted(**wanted), Work(work), _progress(quiet))
    if run_file is not None:
        _write_runs(desk.trec_runs(report), run_file)
    click.echo(desk.render(report, form), nl=False)
    if report.failures:
        raise StepError("\n".join(f"retrievers.{name}: {why}" for name, why in report.failures.items()))


def _write_runs(runs: Mapping[str, str], name: str) -> None:
    from kib.errors import InputError
    from kib.store.files import write_text

    if len(runs) > 1 and "{retriever}" not in name:
        raise InputError(f"--run: {len(runs)} retrievers; write {{retriever}} in the file's name, or choose one")
    for retriever, text in runs.items():
        path = Path(name.replace("{retriever}", retriever))
        if not path.parent.is_dir():
            raise InputError(f"{path.parent}: no such folder")
        if path.is_dir():
            raise InputError(f"--run: {path}: a folder, expected a file")
        write_text(path, text)
        click.echo(f"{path}: written", err=True)


@main.command()
@click.argument("places", metavar="[RESULTS]...", nargs=-1)
@results_option
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="terminal", show_default=True, help="Output form."
)
@click.option("--against", metavar="METHOD", help="Compare with this method instead of base.")
@click.option("--averages", is_flag=True, help="Only averages over tasks; where there are none, the target rows.")
@click.option("--cost", is_flag=True, help="Also what each arm costs, and from where on one is cheaper than another.")
@click.option("--retrieval", is_flag=True, help="Also how well passages were found, and accuracy where they were.")
@click.option("--times", is_flag=True, help="With costs and retrieval, seconds and memory as measured on this machine.")
@click.option(
    "--check", "baseline", type=click.Path(path_type=Path), help="Compare with a stored table; exit 1 if worse."
)
@click.option("--update-baseline", type=click.Path(path_type=Path), help="Store this table for later --check.")
@quiet_option
def leaderboard(
    places: tuple[str, ...],
    results: Path,
    form: str,
    baseline: Path | None,
    update_baseline: Path | None,
    quiet: bool,
    **view: Any,
) -> None:
    """Print the table of gains. RESULTS: folders, names of benchmarks, spec or published files; default all folders."""
    folders = _folders(places, results)
    table = _print_table(folders, form, progress=_progress(quiet), **view)
    if update_baseline or baseline:
        _verify(folders)
    if update_baseline:
        _update(table, update_baseline)
    if baseline:
        _compare(table, baseline)
    if not table.complete:
        raise TableError("the table is not complete: cells are missing or failed (see above)")


def _folders(places: tuple[str, ...], results: Path) -> list[Path]:
    """Results folders by path, by name, or by the spec that made them."""
    from kib.errors import InputError

    if not places:
        found = sorted(path.parent for path in results.glob("*/plan.json"))
        if not found:
            raise InputError(f"{results}: no results here; `kib run SPEC` makes them")
        return found
    return [_folder(place, results) for place in places]


def _folder(place: str, results: Path) -> Path:
    if place.endswith(".toml"):
        from kib.published.load import is_published
        from kib.spec.load import load_spec

        if is_published(Path(place)):
            return Path(place)
        return results / load_spec(Path(place)).name
    found = Path(place) if (Path(place) / "plan.json").is_file() or "/" in place else results / place
    if not (found / "plan.json").is_file() and Path(place).is_dir():
        _refuse_published(Path(place))
    return found


def _refuse_published(folder: Path) -> None:
    """InputError for a folder that holds published files, of which one must be named."""
    from kib.errors import InputError
    from kib.published.load import published_in

    names = published_in(folder)
    if names:
        raise InputError(f"{folder}: a folder of published files and no results; name one of them: {', '.join(names)}")


def _print_table(folders: list[Path], form: str, averages: bool = False, **more: Any) -> Any:
    """Print the table of results folders; `more` is what `make_table` takes."""
    from shutil import get_terminal_size

    from kib.leaderboard import averages_only, make_table, render

    table = make_table([_source(folder) for folder in folders], **more)
    shown = averages_only(table) if averages else table
    colour = form == "terminal" and sys.stdout.isatty()
    click.echo(render(shown, form, width=get_terminal_size((120, 40)).columns, colour=colour), nl=False, color=colour)
    return table


def _source(place: Path) -> "Results | PublishedResults":
    """What a results folder or a published file holds."""
    from kib.leaderboard import PublishedResults
    from kib.published.load import load_published
    from kib.store.results import Results

    return PublishedResults(load_published(place)) if place.suffix == ".toml" else Results(place)


def _verify(folders: list[Path]) -> None:
    """A check that machines rely on trusts no stored statistics: the questions must be those that were measured."""
    for folder in folders:
        _source(folder).verify()


def _update(table: Any, path: Path) -> None:
    from kib.errors import InputError
    from kib.leaderboard import baseline
    from kib.store.files import write_text

    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder")
    write_text(path, baseline(table))
    click.echo(f"{path}: stored", err=True)


def _compare(table: Any, path: Path) -> None:
    from kib.errors import InputError
    from kib.leaderboard import check as changes

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); --update-baseline writes it") from error
    try:
        found = changes(table, text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    for change in found.noted:
        click.echo(f"noted: {change}", err=True)
    if found.failed:
        raise TableError("\n".join([f"worse than {path}:", *found.failed]))
    click.echo(f"{path}: nothing is worse", err=True)


@main.command()
@click.argument("places", metavar="[RESULTS]...", nargs=-1)
@results_option
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file: .png, .svg or .pdf."
)
@click.option(
    "--show", "kind", type=click.Choice(FIGURES), default="gains", show_default=True,
    help="Gains by model and method, or accuracy over the number of passages.",
)  # fmt: skip
@click.option("--against", metavar="METHOD", help="Compare with this method instead of base.")
@quiet_option
def figure(places: tuple[str, ...], results: Path, out: Path, kind: str, against: str | None, quiet: bool) -> None:
    """Draw the table of gains. RESULTS: as of `kib leaderboard`. Needs matplotlib: pip install 'kib[figures]'."""
    from kib.leaderboard import make_table, save_figure

    sources = [_source(folder) for folder in _folders(places, results)]
    save_figure(make_table(sources, against=against, progress=_progress(quiet)), kind, out)
    click.echo(f"{out}: drawn", err=True)


@main.command()
@click.argument("cell")
@click.argument("question", required=False)
@results_option
@work_option
def show(cell: str, question: str | None, results: Path, work: Path) -> None:
    """Show a cell's questions, or one question through all methods: passages, prompt, scores, answer.

    CELL is an id as the leaderboard prints it, with the benchmark's name before it where there are several; its last
    part may be left out where it is unique.
    """
    from kib.commands.show import show_cell, show_question
    from kib.store.work import Work

    if question is None:
        click.echo(show_cell(results, Work(work), cell))
    else:
        click.echo(show_question(results, Work(work), cell, question))


@main.command()
@spec_argument
@click.option("--corpus", metavar="NAME", required=True, help="The documents that are asked about.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Where the questions go (.jsonl)."
)
@click.option(
    "--validation", type=click.Path(dir_okay=False, path_type=Path), help="Where a fifth of them goes instead."
)
@click.option("--writer", metavar="NAME", help="The writer; needed where there are several.")
@click.option("--count", type=click.IntRange(1, 20), default=4, show_default=True, help="Questions written a passage.")
@click.option(
    "--keep", type=click.IntRange(1, 20), default=2, show_default=True, help="Of them kept, the most specific."
)
@click.option(
    "--group", type=click.Choice(("document", "passage")), default="document", show_default=True,
    help="What makes questions depend on each other; passage where documents are few and long.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what it would cost; nothing is sent or written.")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@work_option
@quiet_option
def questions(
    spec: Path, out: Path, validation: Path | None, work: Path, dry_run: bool, force: bool, quiet: bool, **wanted: Any
) -> None:
    """Write questions on your own documents, with options and gold, for you to review and for the task `file`."""
    from kib.commands import questions as desk
    from kib.store.work import Work

    paths = [path for path in (out, validation) if path]
    desk.check_free(paths, force=force or dry_run)
    job = desk.open_job(spec, desk.Wanted(**wanted), Work(work), _progress(quiet))
    if dry_run:
        click.echo(desk.forecast(job))
        return
    made = desk.make(job, _progress(quiet))
    for path, rows in zip(paths, desk.split(made.rows) if validation else [made.rows], strict=True):
        desk.write(rows, path)
        click.echo(f"{path}: {len(rows):,} questions")
    click.echo("\n".join(desk.summary(made, job.passages)))


@main.command()
def plugins() -> None:
    """List what is installed, from which distribution, working or why not."""
    from kib.commands.show import show_plugins

    click.echo(show_plugins())


@main.command()
@click.option("--core", is_flag=True, help="Leave the installed plugins' options out.")
@click.option("--published", is_flag=True, help="Of a file with published numbers instead.")
def schema(core: bool, published: bool) -> None:
    """Print the JSON Schema of a benchmark file, with the installed plugins' options."""
    import json

    from kib.commands.json_schema import published_schema
    from kib.commands.json_schema import schema as make

    made = published_schema() if published else make(core_only=core)
    click.echo(json.dumps(made, indent=2, ensure_ascii=False))


@main.command()
@spec_argument
def cite(spec: Path) -> None:
    """Print BibTeX of what a benchmark or a published file stands on: the paper, data, models, plugins and kib."""
    from kib.commands.cite import bibtex, bibtex_of_published
    from kib.plugins.resolve import open_spec
    from kib.published.load import is_published, load_published

    if is_published(spec):
        click.echo(bibtex_of_published(load_published(spec)))
        return
    click.echo(bibtex(open_spec(spec, look=False)[1]))
