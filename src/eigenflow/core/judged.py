"""The order in which rows of claims are shown: a claim, what decides on it, and what stands beside it."""

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

__all__ = ["beside_last"]


@runtime_checkable
class _Row(Protocol):
    @property
    def claim(self) -> str: ...


Row = TypeVar("Row", bound=_Row)


def beside_last(rows: Sequence[Row]) -> list[tuple[Row, bool]]:
    """Rows with those beside each claim after those that decide on it, else in their order.

    Args:
        rows: Of claims ("C1") and assertions ("C1.flow"). A row with `decides` False stands beside its claim.

    Returns:
        Each row, and whether it is the first one beside its claim.
    """

    def is_beside(row: Row) -> bool:
        return not getattr(row, "decides", True)

    numbers = list(dict.fromkeys(row.claim.split(".")[0] for row in rows))
    order = sorted(rows, key=lambda row: (numbers.index(row.claim.split(".")[0]), is_beside(row)))
    before = [None, *order]
    return [
        (row, is_beside(row) and (last is None or not is_beside(last) or not _are_of_one(last, row)))
        for last, row in zip(before, order, strict=False)
    ]


def _are_of_one(first: _Row, second: _Row) -> bool:
    return first.claim.split(".")[0] == second.claim.split(".")[0]
