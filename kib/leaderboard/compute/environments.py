"""The distinct environments of a table, identified by number."""

from kib.records import Environment

__all__ = ["Environments"]


class Environments:
    """Numbers the distinct environments of a table in the order of their first appearance."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._all: list[Environment] = []

    def number(self, environment: Environment) -> int:
        """Return the position of an environment in the list that `all()` returns."""
        key = (environment.device, tuple(sorted(environment.packages.items())))
        if key not in self._numbers:
            self._numbers[key] = len(self._all)
            self._all.append(environment)
        return self._numbers[key]

    def all(self) -> tuple[Environment, ...]:
        """Return the distinct environments in order of their numbers."""
        return tuple(self._all)
