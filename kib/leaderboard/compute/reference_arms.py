"""The reference arm that an arm's gain is measured against: base, or another method."""

from collections.abc import Iterable, Sequence

from kib.errors import InputError
from kib.leaderboard.compute.arms import Arm, BlockKey
from kib.support.phrases import offer

__all__ = ["References", "check_name"]


class References:
    """Finds the reference arm of every arm in one benchmark.

    `against` is the name of a method or an arm, or None for base.
    """

    def __init__(self, arms: Iterable[Arm], against: str | None) -> None:
        self._against = against
        self._candidates: dict[BlockKey, list[Arm]] = {}
        for arm in arms:
            if arm.method.is_base if against is None else against in (arm.cell.method, arm.name):
                self._candidates.setdefault(arm.key, []).append(arm)

    def find(self, arm: Arm) -> Arm | str:
        """Return the reference arm, `arm` itself if it is a reference, or the reason why no reference exists."""
        candidates = self._candidates.get(arm.key, [])
        if arm in candidates:
            return arm
        if not candidates:
            return f"the plan has no {self._against or 'base'} with the same model, task and number of shots"
        if len(candidates) > 1:
            candidates = [one for one in candidates if one.cell.corpus == arm.cell.corpus] or candidates
        if len(candidates) > 1:
            candidates = _with_matching_settings(arm, candidates)
        if len(candidates) == 1 or self._against is None:
            return candidates[0]
        names = ", ".join(one.name for one in candidates)
        return (
            f"{self._against} has several arms ({names}), and none matches the settings of this arm; name one of them"
        )


def _with_matching_settings(arm: Arm, candidates: Sequence[Arm]) -> list[Arm]:
    """Return the candidates whose settings `arm` shares (`rag,k=3` for `ft+rag,rank=4,k=3`), or else all candidates."""
    settings = set(arm.cell.settings)
    return [one for one in candidates if set(one.cell.settings) <= settings] or list(candidates)


def check_name(name: str, arms: Sequence[Arm]) -> None:
    """Raise InputError that lists the existing names if no method or arm has this name."""
    methods = list(dict.fromkeys(arm.cell.method for arm in arms))
    names = list(dict.fromkeys(arm.name for arm in arms))
    if name in methods or name in names:
        return
    method, _, _ = name.partition(",")
    arms_of = [one for one in names if one.startswith(f"{method},")]
    raise InputError(f"--against: the results contain no method or arm {name!r}; {offer(name, [*methods, *arms_of])}")
