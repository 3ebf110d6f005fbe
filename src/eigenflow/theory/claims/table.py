"""The rows of the claims as a sequence that is also a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import pandas as pd

from eigenflow.core.display import AbstractPrinted, Card
from eigenflow.theory.verdicts import Claim, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Claims"]


@dataclass(frozen=True, repr=False, eq=False, init=False)
class Claims(AbstractPrinted, Sequence[Claim]):
    """What a run says about the theory: each claim as a whole, and after it its assertions.

    A sequence of `Claim`, equal to a list of the same rows; a slice is `Claims` again.
    """

    _rows: tuple[Claim, ...]

    def __init__(self, rows: Iterable[Claim]) -> None:
        object.__setattr__(self, "_rows", tuple(rows))

    @overload
    def __getitem__(self, index: int) -> Claim: ...
    @overload
    def __getitem__(self, index: slice) -> "Claims": ...
    def __getitem__(self, index: int | slice) -> "Claim | Claims":
        return Claims(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Claims, list, tuple)):
            return NotImplemented
        return self._rows == tuple(other)

    def __hash__(self) -> int:
        return hash(self._rows)

    @property
    def assertions(self) -> "Claims":
        """The assertions alone; a claim that is undecided as a whole has none."""
        return Claims(row for row in self._rows if row.is_assertion)

    def to_dataframe(self) -> pd.DataFrame:
        """One row an assertion, by its key; a claim that is undecided as a whole, without assertions, has one too."""
        judged = {row.number for row in self._rows if row.is_assertion}
        rows = [row for row in self._rows if row.is_assertion or row.number not in judged]
        columns = ("claim", "statement", "estimate", "lower", "upper", "band_low", "band_high")
        columns += ("verdict", "reason", "would_change")
        index = pd.Index([row.claim for row in rows], name="assertion", dtype=object)
        values = [
            (
                row.number,
                row.statement,
                row.estimate,
                *(row.interval or (None, None)),
                *row.band,
                row.verdict.value,
                row.reason,
                row.would_change,
            )
            for row in rows
        ]
        frame = pd.DataFrame(values, index=index, columns=list(columns))
        numbers = ["estimate", "lower", "upper", "band_low", "band_high"]
        return frame.astype(dict.fromkeys(numbers, "float64"))

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the verdict on every row as colour, with its estimate; into new axes if none are given."""
        from eigenflow.plots.axes import axes_or_new
        from eigenflow.plots.claims import plot_claims

        return plot_claims({"run": self}, ax=axes_or_new(ax))

    def _card(self) -> Card:
        assertions, wholes = self.assertions, [row for row in self._rows if not row.is_assertion]
        counted = ", ".join(f"{sum(row.verdict is v for row in assertions)} {v}" for v in Verdict)
        title = f"Claims on a run: {len(wholes)} claims, {len(assertions)} assertions ({counted})"
        if not wholes:
            return Card(title, [(row.claim, row.told) for row in self._rows])
        return Card(title, [(row.claim, self._told(row)) for row in wholes])

    def _told(self, whole: Claim) -> str:
        """Verdict and estimate of a claim, and how many of its assertions are supported."""
        parts = [row for row in self.assertions if row.number == whole.claim]
        supported = sum(row.verdict is Verdict.SUPPORTED for row in parts)
        counted = f"{supported} of {len(parts)} supported" if parts else "no assertion judged"
        return f"{whole.told:<43}  {counted:<20}  {whole.statement}"
