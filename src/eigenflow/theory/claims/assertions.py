"""How evidence becomes rows: an assertion of a claim, and a claim with its assertions.

A module for each claim holds a block for each of its assertions: `@asserts(...)` gives statement, band and what the
assertion needs, the function below it the estimate with its interval and reason. The verdict follows from interval and
band by `verdicts.judge`, and so does what would change it. At the end of the module `CLAIM` puts them together.

Bands are fixed before any run is judged, are the same for every run, and are printed. docs/explanation/claims.md says
which of them were chosen after looking at the shipped experiments.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eigenflow.core.errors import EigenflowError
from eigenflow.core.resampling import correlated_interval
from eigenflow.theory.claims.descent import why_not_descent
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.controls.rates import rates_of
from eigenflow.theory.verdicts import Claim, Verdict, decide, judge, what_would_change

__all__ = [
    "CLOCK",
    "DESCENT",
    "NO_BAND",
    "RECORD",
    "RECORDING",
    "UPDATES",
    "Assertion",
    "Band",
    "ClaimTest",
    "Need",
    "asserts",
    "median_interval",
]

Band = tuple[float | None, float | None]
NO_BAND: Band = (None, None)

# What would change a row that a run does not allow.
ALLOWING = "a run that allows the estimate"
SINGLE_UPDATES = "a record of every update of the run, or one that says how many lie between its states"
RECORDING = "a record of the training itself, by a Recorder or a callback of eigenflow.integrations"
RATES = "the sum of learning rates at every state: `eigenflow measure --log FILE`, or record(step, time=...)"
CLOSER = "states closer together"


@dataclass(frozen=True)
class Need:
    """Something without which an estimate says nothing.

    Attributes:
        why_not: Why a run lacks it, in words, or None.
        change: What would change that; None for what the assertion or claim itself says.
    """

    why_not: Callable[[Evidence], str | None]
    change: str | None = None


# Measured changes are those of single updates; updates were measured at all; times are known; updates are gradient
# descent at the logged rates.
UPDATES = Need(lambda evidence: evidence.why_no_updates, SINGLE_UPDATES)
RECORD = Need(lambda evidence: evidence.why_no_updates if evidence.is_of_states else None, RECORDING)
CLOCK = Need(lambda evidence: evidence.why_no_clock, SINGLE_UPDATES)
DESCENT = Need(why_not_descent)


@dataclass(frozen=True)
class Assertion:
    """One assertion of a claim.

    Attributes:
        key: "C1.flow": the claim's number, and a word.
        statement: What is asserted, in words.
        band: Where the estimate lies if the assertion holds; `NO_BAND` for a row that is never judged.
        test: Makes the row by `row`, `median_row` or `undecided`; None if nothing is asserted of this run. The
            generator is the claim's: its assertions draw from it in their order.
        needs: Without these the row is undecided.
        change: What would change that, where the need does not say.
        decides: Whether the verdict on the claim as a whole depends on it.
        integrates: Whether the estimate goes over the time between measurements, so that their spacing enters.
    """

    key: str
    statement: str
    band: Band
    test: Callable[["Assertion", Evidence, np.random.Generator], Claim | None]
    needs: Sequence[Need] = ()
    change: str = ALLOWING
    decides: bool = True
    integrates: bool = True

    def judge(self, evidence: Evidence, rng: np.random.Generator) -> Claim | None:
        """The row; undecided with the reason where the run does not allow the estimate."""
        for need in self.needs:
            why = need.why_not(evidence)
            if why is not None:
                return self.undecided(why, need.change or self.change)
        try:
            row = self.test(self, evidence, rng)
        except EigenflowError as error:
            return self.undecided(str(error))
        if row is not None and evidence.is_of_states and self.integrates:
            row = self._held_to_spacing(row, evidence)
        return None if row is None else _held_to_controls(row, evidence)

    def _held_to_spacing(self, row: Claim, evidence: Evidence) -> Claim:
        """A row of states, with an interval that knows how far they are apart: by what leaving out every second does.

        An estimate that so few states do not allow, or that only they decide, is undecided.
        """
        if row.verdict is Verdict.UNDECIDED or row.estimate is None or row.interval is None:
            return row
        moved = 0.0
        for thin in evidence.thinned:
            try:
                other = self.test(self, thin, thin.rng())
            except EigenflowError as error:
                return self._too_far(row, f"with every second one left out there is no estimate: {error}")
            if other is None or other.estimate is None:
                why = "" if other is None else f": {other.reason}"
                return self._too_far(row, f"with every second one left out there is no estimate{why}")
            if row.verdict is not other.verdict is not Verdict.UNDECIDED:
                return self._too_far(row, f"with every second one left out it would be {other.verdict}")
            moved = max(moved, abs(other.estimate - row.estimate))
        low, high = row.interval
        wider = (low - moved, high + moved)
        told = f"{row.reason}; leaving out every second state moves it by {moved:.2g}, which the interval holds"
        if judge(row.interval, self.band) is row.verdict and judge(wider, self.band) is not row.verdict:
            return replace(self._too_far(row, f"leaving out every second one moves it by {moved:.2g}"), interval=wider)
        return replace(row, interval=wider, reason=told)

    def _too_far(self, row: Claim, why: str) -> Claim:
        """A row that is undecided because of the spacing of the states."""
        reason = f"the states are too far apart to tell: {why}. By itself it would be {row.verdict}: {row.reason}"
        return replace(row, verdict=Verdict.UNDECIDED, reason=reason, would_change=CLOSER)

    def row(
        self,
        estimate: float,
        interval: tuple[float, float],
        reason: str,
        beats_alternatives: bool = True,
        loses: bool = False,
    ) -> Claim:
        """A row that the run allows to judge; `reason` says what the estimate is and what stands behind it."""
        verdict = judge(interval, self.band, beats_alternatives, loses)
        change = what_would_change(interval, self.band, beats_alternatives, loses)
        return self._made(estimate, interval, verdict, reason, change)

    def median_row(self, values: np.ndarray, rng: np.random.Generator, reason: str) -> Claim:
        """A row about the median over measured times."""
        if len(values) == 0:
            return self.undecided("no mode is isolated at any measured time")
        interval = median_interval(values, rng)
        return self.row(float(np.median(values)), interval, reason)

    def undecided(self, reason: str, change: str = ALLOWING) -> Claim:
        """A row that the run does not allow to judge."""
        return self._made(None, None, Verdict.UNDECIDED, reason, change)

    def _made(
        self,
        estimate: float | None,
        interval: tuple[float, float] | None,
        verdict: Verdict,
        reason: str,
        change: str,
    ) -> Claim:
        row = Claim(self.key, self.statement, estimate, interval, self.band, verdict, reason, change)
        return replace(row, decides=self.decides)


def median_interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Of the median over measured times, which are alike where they are close."""
    return correlated_interval(values, lambda v: float(np.median(v)), rng, is_inside=True)


def _held_to_controls(row: Claim, evidence: Evidence) -> Claim:
    """The row with its rates on controls; undecided where controls of this size for which it holds are not seen."""
    rates = rates_of(row.claim, evidence.modes, len(evidence.data["step"])) if evidence.knows_rates else None
    if rates is None:
        return row
    row = replace(row, controls=rates.told)
    if row.verdict is Verdict.UNDECIDED or not rates.is_too_small:
        return row
    reason = f"too small a run to tell: {rates.told}. By itself it would be {row.verdict}: {row.reason}"
    return replace(row, verdict=Verdict.UNDECIDED, reason=reason, would_change=rates.would_change)


def asserts(
    key: str,
    statement: str,
    band: Band,
    *,
    needs: Sequence[Need] = (),
    change: str = ALLOWING,
    decides: bool = True,
    integrates: bool = True,
) -> Callable[[Callable[[Assertion, Evidence, np.random.Generator], Claim | None]], Assertion]:
    """Make an assertion of the function below, which estimates it; see `Assertion`."""
    return lambda test: Assertion(key, statement, band, test, needs, change, decides, integrates)


@dataclass(frozen=True)
class ClaimTest:
    """A claim, tested by its assertions.

    Attributes:
        name: "C1" ...
        statement: What is claimed, in words.
        assertions: In the order of their rows.
        needs: Without these the claim is undecided as a whole.
        change: What would change that, where the need does not say.
        needs_clock: Whether all of it asks for known times.
        requires: Asks for estimates without which there is no row: their EigenflowError leaves the claim undecided.
        told: More to say of the claim as a whole, from the evidence.
    """

    name: str
    statement: str
    assertions: Sequence[Assertion]
    needs: Sequence[Need] = ()
    change: str = ALLOWING
    needs_clock: bool = True
    requires: Callable[[Evidence], object] | None = None
    told: Callable[[Evidence], str] | None = None

    def judge(self, evidence: Evidence) -> list[Claim]:
        """The claim as a whole, and its assertions; one row with the reason where the run does not allow it."""
        if self.needs_clock and (why := evidence.why_no_clock) is not None:
            return [self._undecided(why, RATES if evidence.is_of_states else SINGLE_UPDATES)]
        for need in self.needs:
            why = need.why_not(evidence)
            if why is not None:
                return [self._undecided(why, need.change or self.change)]
        try:
            if self.requires is not None:
                self.requires(evidence)
        except EigenflowError as error:
            return [self._undecided(str(error), ALLOWING)]
        rng = evidence.rng()
        rows = [row for one in self.assertions if (row := one.judge(evidence, rng)) is not None]
        return [self._summed([row for row in rows if row.decides], evidence), *rows]

    def _summed(self, rows: Sequence[Claim], evidence: Evidence) -> Claim:
        """The row of the claim as a whole; it shows the row that decided."""
        if not rows:
            return self._undecided("none of its assertions is made of this run", ALLOWING)
        verdict, shown = decide(rows)
        listed = ", ".join(f"{row.claim} {row.verdict}" for row in rows)
        more = "" if self.told is None else f"; {self.told(evidence)}"
        alone = shown.verdict is Verdict.CONTRADICTED and verdict is not Verdict.CONTRADICTED
        by = f"{shown.claim}, outside its band by itself but not as one of {len(rows)}" if alone else shown.claim
        return Claim(
            self.name,
            self.statement,
            shown.estimate,
            shown.interval,
            shown.band,
            verdict,
            f"{listed}{more}. Decided by {by}: {shown.reason}",
            f"{shown.claim}: {shown.would_change}",
            decided_by=shown.claim,
        )

    def _undecided(self, reason: str, change: str) -> Claim:
        return Claim(self.name, self.statement, None, None, NO_BAND, Verdict.UNDECIDED, reason, change)
