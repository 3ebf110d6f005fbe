"""From an estimate, its interval and a band fixed beforehand to a verdict, and from several rows to that on a claim.

Rows of one claim are judged together. A claim is supported if every deciding row is: each has to pass, so nothing is
gained by chance. It is contradicted if one row is, and of k rows one in twenty and more would be by chance alone; so
the interval of a row that is to bring a claim down is taken k times as sure (Bonferroni): stretched by the ratio of
normal quantiles at .05 / k and .05.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from scipy.special import ndtri

from eigenflow.core.display import AbstractPrinted, Card, figure, interval

__all__ = ["Claim", "Verdict", "decide", "judge", "overall", "what_would_change"]

SIDE = 0.05  # what lies beyond either end of an interval, by chance


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
        decides: Whether the verdict on the claim as a whole depends on it; False for a row beside the claim.
        decided_by: Of a claim as a whole, the assertion whose numbers it shows: the one that decided.
        controls: How often the row is right about controls of the run's size, in words.
    """

    claim: str
    statement: str
    estimate: float | None
    interval: tuple[float, float] | None
    band: tuple[float | None, float | None]
    verdict: Verdict
    reason: str
    would_change: str = ""
    decides: bool = True
    decided_by: str = ""
    controls: str = ""

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
        rows += [("decided by", self.decided_by)] if self.decided_by else []
        rows += [("reason", self.reason), ("would change", self.would_change)]
        rows += [("controls", self.controls)] if self.controls else []
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
    loses: bool = False,
) -> Verdict:
    """Judge an interval against the band fixed beforehand.

    Args:
        interval: Of the estimate, or None without one.
        band: Where the estimate lies if the claim holds; None for an open end.
        beats_alternatives: Whether the claim's model is better than its alternatives.
        loses: Whether an alternative is clearly better than it.

    Returns:
        Supported if the interval lies inside the band and the claim's model beats its alternatives;
        contradicted if it lies outside, or the model loses; else undecided.
    """
    if interval is None:
        return Verdict.UNDECIDED
    if loses:
        return Verdict.CONTRADICTED
    low = float("-inf") if band[0] is None else band[0]
    high = float("inf") if band[1] is None else band[1]
    if interval[1] < low or interval[0] > high:
        return Verdict.CONTRADICTED
    if low <= interval[0] and interval[1] <= high and beats_alternatives:
        return Verdict.SUPPORTED
    return Verdict.UNDECIDED


def what_would_change(
    interval: tuple[float, float],
    band: tuple[float | None, float | None],
    beats_alternatives: bool = True,
    loses: bool = False,
) -> str:
    """Say which interval would turn the verdict of `judge` into another one."""
    verdict = judge(interval, band, beats_alternatives)
    if loses:
        return "no longer contradicted if the claim's model came as close as its best alternative"
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


def decide(rows: Sequence[Claim]) -> tuple[Verdict, Claim]:
    """Judge a claim by its deciding rows together.

    Args:
        rows: At least one.

    Returns:
        The verdict, and the row that decided: the one farthest outside its band, or, of a supported claim, the one
        nearest to the edge of its band, or the first that is not supported.
    """
    judged = [row for row in rows if row.interval is not None]
    sure = [row for row in judged if row.verdict is Verdict.CONTRADICTED and _stays_outside(row, len(judged))]
    if sure:
        return Verdict.CONTRADICTED, max(sure, key=_distance)
    if all(row.verdict is Verdict.SUPPORTED for row in rows):
        return Verdict.SUPPORTED, min(rows, key=lambda row: -_distance(row))
    for wanted in (Verdict.CONTRADICTED, Verdict.UNDECIDED):
        found = [row for row in rows if row.verdict is wanted]
        if found:
            return Verdict.UNDECIDED, found[0]
    raise AssertionError("no verdict is left")


def _stays_outside(row: Claim, count: int) -> bool:
    """Whether a row lies outside its band with the interval that `count` rows ask for; also if it lost to another."""
    if judge(row.interval, row.band) is not Verdict.CONTRADICTED:
        return True  # contradicted by an alternative
    assert row.interval is not None and row.estimate is not None
    stretch = float(ndtri(1.0 - SIDE / count) / ndtri(1.0 - SIDE))
    low, high = (row.estimate + stretch * (end - row.estimate) for end in row.interval)
    return judge((low, high), row.band) is Verdict.CONTRADICTED


def _distance(row: Claim) -> float:
    """How far the estimate lies outside its band, in half-widths of its interval; negative inside."""
    if row.estimate is None or row.interval is None:
        return float("inf")
    half = max(0.5 * (row.interval[1] - row.interval[0]), 1e-12 * abs(row.estimate), 1e-300)
    ends = [(row.band[0], -1.0), (row.band[1], 1.0)]
    beyond = [side * (row.estimate - end) for end, side in ends if end is not None]
    return max(beyond, default=float("-inf")) / half


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """A claim with several assertions holds if all do, and fails if one does."""
    if Verdict.CONTRADICTED in verdicts:
        return Verdict.CONTRADICTED
    return Verdict.SUPPORTED if all(v is Verdict.SUPPORTED for v in verdicts) else Verdict.UNDECIDED
