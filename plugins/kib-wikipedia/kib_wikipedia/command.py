"""The command `kib-wikipedia`: the one thing of this plugin that asks a wiki which revisions there are."""

import sys
from pathlib import Path

import click

from kib.errors import InputError, KibError
from kib_wikipedia.corpus import Wikipedia

__all__ = ["main"]


@click.group()
def main() -> None:
    """Pages of a MediaWiki for kib, pinned to their revisions."""


@main.command()
@click.argument("spec", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("corpus", required=False)
@click.option("--again", is_flag=True, help="Replace pins that are there by the newest revisions.")
def pin(spec: Path, corpus: str | None, again: bool) -> None:
    """Ask the wiki for the pages of SPEC's corpora with `pins`, or of one CORPUS, and write the pins."""
    from kib.plugins.resolve import open_spec

    try:
        opened, lock = open_spec(spec, look=False, whole=False)
        plugins = {name: lock.get("corpora", name).plugin for name in opened.corpora}
        pinned = {name: one for name, one in plugins.items() if isinstance(one, Wikipedia) and one.options.pins}
        if corpus is not None:
            if corpus not in pinned:
                raise InputError(f"{spec}: no corpus {corpus!r} with `pins`; there is: {', '.join(pinned) or 'none'}")
            pinned = {corpus: pinned[corpus]}
        if not pinned:
            raise InputError(f"{spec}: no corpus of the plugin wikipedia with `pins`")
        for name, plugin in pinned.items():
            pins = plugin.pin(again)
            counts = f"{len(pins.pages):,} pages and {len(pins.redirects):,} redirects of {pins.site}"
            gone = f"; {pins.missing:,} linked titles have no page" if pins.missing else ""
            click.echo(f"{name}: {counts} in {plugin.options.pins}{gone}")
    except KibError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
