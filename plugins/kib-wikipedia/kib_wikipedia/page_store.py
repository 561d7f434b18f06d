"""The folder of fetched pages; the SHA-1 of every pinned revision's wikitext is verified whenever the page is read."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha1
from pathlib import Path

from kib.errors import InputError
from kib.store import write_text
from kib_wikipedia.mediawiki_api import MediaWikiApi, batches
from kib_wikipedia.pin_file import Pin

__all__ = ["read_pages"]


def read_pages(pins: Sequence[Pin], store: Path, connect: Callable[[], MediaWikiApi]) -> Iterator[tuple[Pin, str]]:
    """Yield each pin with its wikitext; fetch missing pages from the wiki and add them to the store."""
    api: MediaWikiApi | None = None
    try:
        for batch in batches(pins):
            missing = [pin for pin in batch if not _is_stored(store, pin)]
            if missing:
                api = api or connect()
                _fetch(api, missing, store)
            for pin in batch:
                yield pin, _path(store, pin).read_bytes().decode("utf-8")
    finally:
        if api:
            api.close()


def _path(store: Path, pin: Pin) -> Path:
    return store / f"{pin.revision}.wikitext"


def _is_stored(store: Path, pin: Pin) -> bool:
    """Return whether the store contains the unmodified text of a revision."""
    try:
        return sha1(_path(store, pin).read_bytes(), usedforsecurity=False).hexdigest() == pin.sha1
    except OSError:
        return False


def _fetch(api: MediaWikiApi, pins: Sequence[Pin], store: Path) -> None:
    """Fetch revisions from the wiki; raise InputError if a revision no longer exists in the wiki."""
    unfetched = {pin.revision: pin for pin in pins}
    parameters = {"prop": "revisions", "revids": "|".join(map(str, unfetched)), "rvslots": "main"}
    for part in api.query({**parameters, "rvprop": "ids|content"}):
        for page in part.get("pages", ()):
            for revision in page.get("revisions", ()):
                pin = unfetched.get(revision["revid"])
                text = revision.get("slots", {}).get("main", {}).get("content")
                if pin and isinstance(text, str):
                    _add(api, pin, text, store)
                    del unfetched[pin.revision]
    if unfetched:
        pin = next(iter(unfetched.values()))
        example = f"for example revision {pin.revision} of {pin.title!r}"
        problem = f"the wiki no longer has {len(unfetched)} of the pinned revisions, {example}"
        raise InputError(f"{api.url}: {problem}; pin newer revisions with `kib-wikipedia pin --again SPEC`")


def _add(api: MediaWikiApi, pin: Pin, text: str, store: Path) -> None:
    """Add a text to the store; raise InputError if the text's SHA-1 differs from the pin."""
    if sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest() != pin.sha1:
        problem = f"the text of revision {pin.revision} of {pin.title!r} differs from the pinned text"
        raise InputError(f"{api.url}: {problem}; pin the page again with `kib-wikipedia pin --again SPEC`")
    write_text(_path(store, pin), text)
