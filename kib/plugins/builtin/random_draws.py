"""Random choices that are identical on every machine, because they depend only on digests of names."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice

from kib.identity import digest

__all__ = ["draw", "shuffled"]


SMALL = 256
"""Below this number of items, all items are shuffled; otherwise, items are drawn one by one, which is much faster."""

MOST_MISSES = 10_000
"""The number of draws without a new item after which all remaining items are shuffled instead."""


def number(*salt: object) -> int:
    """Return an integer from 0 to 2**64 - 1 that depends only on `salt`."""
    return int(digest(list(salt))[:16], 16)


def shuffled(items: Sequence[str], *salt: object) -> list[str]:
    """Return the items in an order that depends only on the items and `salt`."""
    return sorted(items, key=lambda item: number(item, *salt))


def draw(
    items: Sequence[str],
    count: int,
    without: Collection[str],
    *salt: object,
    refused: Callable[[str], bool] = lambda _: False,
) -> list[str]:
    """Return `count` distinct items that are neither in `without` nor refused, or all such items if fewer exist.

    With otherwise equal arguments, a smaller draw is a prefix of a larger draw. The running time is proportional to
    `count`; `refused` is called at most once per item.
    """
    if len(items) - len(without) < SMALL:
        return list(islice(_allowed(items, without, refused, salt), count))
    picked: dict[str, bool] = {}  # whether each drawn item is allowed
    found, step, last = 0, 0, 0
    while found < count and step - last < MOST_MISSES:
        item = items[number(step, *salt) % len(items)]
        step += 1
        if item not in picked and item not in without:
            picked[item] = not refused(item)
            found += picked[item]
            last = step if picked[item] else last
    drawn = [item for item, allowed in picked.items() if allowed]
    rest = _allowed(items, {*without, *picked}, refused, salt) if found < count else iter(())
    return [*drawn, *islice(rest, count - found)]


def _allowed(
    items: Sequence[str], without: Collection[str], refused: Callable[[str], bool], salt: tuple[object, ...]
) -> Iterator[str]:
    """Yield the allowed items in random order."""
    order = shuffled([item for item in items if item not in without], *salt)
    return (item for item in order if not refused(item))
