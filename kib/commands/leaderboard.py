"""The command `kib leaderboard`: finds the results to show, and compares their table with a stored baseline."""

from collections.abc import Callable, Sequence
from pathlib import Path

from kib.errors import DriftError, InputError, ServerUnavailableError, TableError
from kib.leaderboard import PublishedResults, Table, baseline, check
from kib.published.load import is_published, load_published, published_in
from kib.spec.load import load_spec
from kib.store.files import remove_temporaries_of, write_text
from kib.store.results import Results

__all__ = ["compare_with_baseline", "find_results", "open_results", "store_baseline", "verify"]


def find_results(names: Sequence[str], results: Path) -> list[Path]:
    """Return the results with the given paths, benchmark names or spec files, or all results folders by default."""
    if names:
        return [_find(name, results) for name in names]
    found = sorted(path.parent for path in results.glob("*/plan.json"))
    if not found:
        raise InputError(f"{results}: no results found; create results with `kib run SPEC`")
    return found


def _find(name: str, results: Path) -> Path:
    path = Path(name)
    if name.endswith(".toml"):
        return path if is_published(path) else results / load_spec(path).name
    found = path if (path / "plan.json").is_file() or "/" in name else results / name
    if not (found / "plan.json").is_file() and path.is_dir() and (files := published_in(path)):
        raise InputError(
            f"{path}: expected a results folder, got a folder of published results; choose one of its files: "
            f"{', '.join(files)}"
        )
    return found


def open_results(path: Path) -> Results | PublishedResults:
    """Open a results folder or a published file."""
    return PublishedResults(load_published(path)) if path.suffix == ".toml" else Results(path)


def verify(paths: Sequence[Path]) -> None:
    """Verify the stored questions of all results, because a baseline must not rely on cached statistics."""
    for path in paths:
        open_results(path).verify()


def store_baseline(table: Table, path: Path) -> None:
    """Write a table as the baseline for later comparisons."""
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder")
    remove_temporaries_of(path)
    write_text(path, baseline(table))


def compare_with_baseline(table: Table, path: Path, report: Callable[[str], None]) -> None:
    """Compare a table with a stored baseline, and report harmless changes.

    Raises TableError for worse results, DriftError if the server of all worse results has changed, and
    ServerUnavailableError if only results of a server that did not answer are missing.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the baseline cannot be read ({error}); create it with --update-baseline") from error
    try:
        changes = check(table, text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    for change in changes.noted:
        report(f"changed: {change}")
    if changes.failed:
        raise TableError("\n".join([f"worse than {path}:", *changes.failed, *changes.drifted, *changes.unavailable]))
    if changes.drifted:
        found = "rows are worse, but the endpoint has changed, so the method may not be the reason:"
        raise DriftError("\n".join([f"{path}: {found}", *changes.drifted, *changes.unavailable]))
    if changes.unavailable:
        found = "no measured row is worse, but a server did not answer, so some rows cannot be compared:"
        raise ServerUnavailableError("\n".join([f"{path}: {found}", *changes.unavailable]))
    report(f"{path}: no row is worse")
