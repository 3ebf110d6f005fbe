"""From an estimate, its interval and a band fixed beforehand to a verdict."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Claim", "Verdict", "judge", "overall"]


class Verdict(StrEnum):
    """What a run says about a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Claim:
    """One row of the claims table.

    Attributes:
        claim: "C1" ... for a claim as a whole, "C1.flow" for one of its assertions.
        statement: What is asserted, in words.
        estimate: The measured number, or None if the run does not allow one.
        interval: Its 90 % interval.
        band: Where the estimate lies if the claim holds; the same for every run.
        verdict: See `judge`.
        reason: Why, in words, with the numbers behind it.
    """

    claim: str
    statement: str
    estimate: float | None
    interval: tuple[float, float] | None
    band: tuple[float | None, float | None]
    verdict: Verdict
    reason: str

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


def overall(verdicts: list[Verdict]) -> Verdict:
    """A claim with several assertions holds if all do, and fails if one does."""
    if Verdict.CONTRADICTED in verdicts:
        return Verdict.CONTRADICTED
    return Verdict.SUPPORTED if all(v is Verdict.SUPPORTED for v in verdicts) else Verdict.UNDECIDED
