"""What an arm is measured against: the base of its model, task and shots, or another method."""

from collections.abc import Iterable, Sequence

from kib.errors import InputError
from kib.leaderboard.compute.arms import Arm, Key

__all__ = ["References", "check_name"]


class References:
    """Finds the reference of every arm of one benchmark; `against` is a method's or an arm's name, None for base."""

    def __init__(self, arms: Iterable[Arm], against: str | None) -> None:
        self._against = against
        self._candidates: dict[Key, list[Arm]] = {}
        for arm in arms:
            if arm.method.is_base if against is None else against in (arm.cell.method, arm.name):
                self._candidates.setdefault(arm.key, []).append(arm)

    def find(self, arm: Arm) -> Arm | str:
        """The arm that `arm` is measured against, itself where it is one; else the reason why there is none."""
        candidates = self._candidates.get(arm.key, [])
        if arm in candidates:
            return arm
        if not candidates:
            return f"the plan has no {self._against or 'base'} of the same model, task and shots"
        if len(candidates) > 1:
            candidates = [one for one in candidates if one.cell.corpus == arm.cell.corpus] or candidates
        if len(candidates) > 1:
            candidates = _fitting(arm, candidates)
        if len(candidates) == 1 or self._against is None:
            return candidates[0]
        some = ", ".join(one.name for one in candidates)
        return f"{self._against} has several arms ({some}) and no single one fits this arm's settings; name one"


def _fitting(arm: Arm, candidates: Sequence[Arm]) -> list[Arm]:
    """Those whose settings `arm` has too: `rag,k=3` for `ft+rag,rank=4,k=3`; all where none fits."""
    settings = set(arm.cell.settings)
    return [one for one in candidates if set(one.cell.settings) <= settings] or list(candidates)


def check_name(name: str, arms: Sequence[Arm]) -> None:
    """InputError, with what exists, where no arm has this name."""
    methods = list(dict.fromkeys(arm.cell.method for arm in arms))
    names = list(dict.fromkeys(arm.name for arm in arms))
    if name in methods or name in names:
        return
    from kib.support.phrases import offer

    method, _, _ = name.partition(",")
    arms_of = [one for one in names if one.startswith(f"{method},")]
    raise InputError(f"--against: no method or arm {name!r} in these results; {offer(name, [*methods, *arms_of])}")
