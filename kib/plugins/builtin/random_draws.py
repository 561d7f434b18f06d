"""Random choices that are identical on every machine, because they depend only on digests of names."""

from collections.abc import Collection, Sequence

from kib.identity import digest

__all__ = ["draw", "shuffled"]


SMALL = 256
"""Below this number of items, all items are shuffled; otherwise, items are drawn one by one, which is much faster."""


def number(*salt: object) -> int:
    """Return an integer from 0 to 2**64 - 1 that depends only on `salt`."""
    return int(digest(list(salt))[:16], 16)


def shuffled(items: Sequence[str], *salt: object) -> list[str]:
    """Return the items in an order that depends only on the items and `salt`."""
    return sorted(items, key=lambda item: number(item, *salt))


def draw(items: Sequence[str], count: int, without: Collection[str], *salt: object) -> list[str]:
    """Return `count` distinct items that are not in `without`, or all such items if fewer than `count` exist.

    With otherwise equal arguments, a smaller draw is a prefix of a larger draw. The running time is proportional to
    `count`.
    """
    if len(items) - len(without) < SMALL:
        return shuffled([item for item in items if item not in without], *salt)[:count]
    if 2 * count > len(items) - len(without):
        count = min(count, sum(item not in without for item in items))
    picked: dict[str, None] = {}
    step = 0
    while len(picked) < count:
        item = items[number(step, *salt) % len(items)]
        step += 1
        if item not in without:
            picked[item] = None
    return list(picked)
