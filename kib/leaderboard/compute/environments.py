"""The distinct environments of a table, by number."""

from kib.records import Environment

__all__ = ["Environments"]


class Environments:
    """Numbers the distinct environments of a table in the order in which they are met."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._all: list[Environment] = []

    def number(self, environment: Environment) -> int:
        """The position of an environment in `all()`."""
        key = (environment.device, tuple(sorted(environment.packages.items())))
        if key not in self._numbers:
            self._numbers[key] = len(self._all)
            self._all.append(environment)
        return self._numbers[key]

    def all(self) -> tuple[Environment, ...]:
        """The distinct environments, by number."""
        return tuple(self._all)
