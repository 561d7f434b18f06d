"""Chance that is the same on every machine: draws decided by digests of names, never by a generator's state."""

from collections.abc import Collection, Sequence

from kib.identity import digest

__all__ = ["draw", "shuffled"]


SMALL = 256
"""Below so many items all of them are shuffled; above, single ones are drawn, or a large corpus would cost minutes."""


def number(*salt: object) -> int:
    """A whole number from 0 below 2**64 that depends on the salt alone."""
    return int(digest(list(salt))[:16], 16)


def shuffled(items: Sequence[str], *salt: object) -> list[str]:
    """The items in an order that depends on them and the salt alone."""
    return sorted(items, key=lambda item: number(item, *salt))


def draw(items: Sequence[str], count: int, without: Collection[str], *salt: object) -> list[str]:
    """`count` different items, none of `without`, all of them where there are fewer; time is that of `count`.

    A smaller draw is the beginning of a larger one.
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
