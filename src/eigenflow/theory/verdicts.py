"""From an estimate, its interval and a band fixed beforehand to a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from eigenflow.core.display import AbstractPrinted, Card, figure, interval

__all__ = ["Claim", "Verdict", "change_of_all", "judge", "overall", "what_would_change"]


class Verdict(StrEnum):
    """What a run says about a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"


@dataclass(frozen=True, repr=False)
class Claim(AbstractPrinted):
    """One row of the claims table.

    Attributes:
        claim: "C1" ... for a claim as a whole, "C1.flow" for one of its assertions.
        statement: What is asserted, in words.
        estimate: The measured number, or None if the run does not allow one.
        interval: Its 90 % interval.
        band: Where the estimate lies if the claim holds; the same for every run.
        verdict: See `judge`.
        reason: Why, in words, with the numbers behind it.
        would_change: What the verdict would have to see to become another one, in words.
    """

    claim: str
    statement: str
    estimate: float | None
    interval: tuple[float, float] | None
    band: tuple[float | None, float | None]
    verdict: Verdict
    reason: str
    would_change: str = ""

    @property
    def number(self) -> str:
        """Of the claim that it belongs to, "C1" ..."""
        return self.claim.split(".")[0]

    @property
    def is_assertion(self) -> bool:
        """Whether it is one assertion of a claim, not a claim as a whole."""
        return "." in self.claim

    @property
    def told(self) -> str:
        """Verdict, and the estimate with its interval where there is one."""
        if self.estimate is None:
            return self.verdict.value
        found = figure(self.estimate, 3) if self.interval is None else interval(self.estimate, *self.interval)
        return f"{self.verdict:<12}  {found}"

    def _card(self) -> Card:
        low, high = self.band
        ends = [f">= {low:g}" if low is not None else "", f"<= {high:g}" if high is not None else ""]
        rows = [("statement", self.statement), ("band", " and ".join(filter(None, ends)) or "none")]
        rows += [("reason", self.reason), ("would change", self.would_change)]
        return Card(f"{self.claim} {self.told}", rows)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Claim":
        """The row that `to_dict` wrote, for instance into `summary.json`."""
        interval, (low, high) = row["interval"], row["band"]
        known = {"interval": None if interval is None else tuple(interval), "band": (low, high)}
        return cls(**{**row, **known, "verdict": Verdict(row["verdict"])})

    def to_dict(self) -> dict[str, Any]:
        """The row in JSON types; an open end of the band is null."""
        row = asdict(self)
        row["verdict"] = self.verdict.value
        row["interval"] = None if self.interval is None else list(self.interval)
        row["band"] = list(self.band)
        return row


def judge(
    interval: tuple[float, float] | None,
    band: tuple[float | None, float | None],
    beats_alternatives: bool = True,
) -> Verdict:
    """Judge an interval against the band fixed beforehand.

    Returns:
        Supported if the interval lies inside the band and the claim's model beats its alternatives;
        contradicted if it lies outside; else undecided.
    """
    if interval is None:
        return Verdict.UNDECIDED
    low = float("-inf") if band[0] is None else band[0]
    high = float("inf") if band[1] is None else band[1]
    if interval[1] < low or interval[0] > high:
        return Verdict.CONTRADICTED
    if low <= interval[0] and interval[1] <= high and beats_alternatives:
        return Verdict.SUPPORTED
    return Verdict.UNDECIDED


def what_would_change(
    interval: tuple[float, float], band: tuple[float | None, float | None], beats_alternatives: bool = True
) -> str:
    """Say which interval would turn the verdict of `judge` into another one."""
    verdict = judge(interval, band, beats_alternatives)
    low, high = band
    ends = [("lower", low, "more"), ("upper", high, "less")]
    inside = " and ".join(f"its {side} end is {end:.3g} or {way}" for side, end, way in ends if end is not None)
    now = f"now [{interval[0]:.3g}, {interval[1]:.3g}]"
    if verdict is Verdict.CONTRADICTED:
        return f"no longer contradicted if the interval ({now}) reaches the band; supported if {inside}"
    if verdict is Verdict.SUPPORTED:
        return f"contradicted if the whole interval ({now}) lies outside the band; undecided if it leaves it in part"
    if judge(interval, band) is Verdict.SUPPORTED:
        return "supported if the claim's model beats its best alternative on held-out time, which it does not do now"
    return f"supported if {inside}; contradicted if the whole interval ({now}) lies outside the band"


def change_of_all(rows: Sequence[Claim]) -> str:
    """The same for a claim as a whole: what its deciding assertions would have to show."""
    verdict = overall([row.verdict for row in rows])
    deciding = [row for row in rows if row.verdict is verdict]
    return "; ".join(f"{row.claim}: {row.would_change}" for row in deciding)


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """A claim with several assertions holds if all do, and fails if one does."""
    if Verdict.CONTRADICTED in verdicts:
        return Verdict.CONTRADICTED
    return Verdict.SUPPORTED if all(v is Verdict.SUPPORTED for v in verdicts) else Verdict.UNDECIDED
