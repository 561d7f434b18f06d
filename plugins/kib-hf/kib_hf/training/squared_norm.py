"""Norms of weights in float64, computed piece by piece, because a large weight in float64 takes gigabytes."""

from typing import Any

__all__ = ["squared_norm"]

PIECE = 2**22
"""The number of values that are converted to float64 at a time."""


def squared_norm(weight: Any, before: Any = None) -> float:
    """Return the squared norm of a weight or, if `before` is given, of the difference between the two weights."""
    pieces = weight.detach().reshape(-1).split(PIECE)
    if before is None:
        return sum(float(piece.double().square().sum()) for piece in pieces)
    others = before.detach().reshape(-1).split(PIECE)
    return sum(float((new.double() - old.double()).square().sum()) for new, old in zip(pieces, others, strict=True))
