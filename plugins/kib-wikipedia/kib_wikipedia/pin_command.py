"""The command `kib-wikipedia`, which queries a wiki for page revisions and writes them to a pin file."""

import sys
from pathlib import Path

import click

from kib.errors import InputError, KibError
from kib_wikipedia.corpus import Wikipedia

__all__ = ["main"]


@click.group()
def main() -> None:
    """Pin a wiki's pages to fixed revisions, for use in a kib corpus."""


@main.command()
@click.argument("spec", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("corpus", required=False)
@click.option("--again", is_flag=True, help="Replace existing pins with the newest revisions.")
def pin(spec: Path, corpus: str | None, again: bool) -> None:
    """Write a pin file for each corpus in SPEC that sets `pins`, or only for CORPUS."""
    try:
        for name, plugin in _pinned_corpora(spec, corpus).items():
            pins = plugin.pin(again)
            counts = f"{_count(len(pins.pages), 'page')} and {_count(len(pins.redirects), 'redirect')} of {pins.site}"
            missing = f"; linked pages that do not exist: {pins.missing:,}" if pins.missing else ""
            click.echo(f"{name}: {counts} in {plugin.options.pins}{missing}")
    except KibError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


def _pinned_corpora(spec: Path, corpus: str | None) -> dict[str, Wikipedia]:
    """Return the corpora that set `pins`, keyed by name; raise InputError if there is none or `corpus` sets no pins."""
    from kib.plugins.resolve import open_spec

    opened, lock = open_spec(spec, look=False, whole=False)
    plugins = {name: lock.get("corpora", name).plugin for name in opened.corpora}
    pinned = {name: plugin for name, plugin in plugins.items() if isinstance(plugin, Wikipedia) and plugin.options.pins}
    if corpus is not None and corpus not in pinned:
        available = ", ".join(pinned) or "none"
        raise InputError(f"{spec}: no corpus named {corpus!r} sets `pins`; corpora that set `pins`: {available}")
    if not pinned:
        raise InputError(f"{spec}: no corpus with the plugin `wikipedia` sets `pins`")
    return pinned if corpus is None else {corpus: pinned[corpus]}


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
