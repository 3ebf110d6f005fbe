"""What to change in a run, as far as what was measured says it; each with the number that it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eigenflow.report.answers.next import Next, last_loss
from eigenflow.report.numbers import interval_text, number
from eigenflow.report.summary import Analysis
from eigenflow.store import Run
from eigenflow.store.schema import STATES
from eigenflow.theory.claims.assertions import ALLOWING
from eigenflow.theory.verdicts import Verdict

__all__ = ["Advice", "advice"]

# A held-out loss that rose by this share beyond its smallest value has turned; one that fell by less over the second
# half of the updates, while the trained one fell by `STILL_FALLS`, has stopped.
TURNED, STOPPED, STILL_FALLS = 0.02, 0.02, 0.2
# Rates times the largest eigenvalue, as shares of the limit of stability: above is over it, below leaves room.
OVER, ROOM = 1.0, 0.25
FEW_MEASUREMENTS = 16
# What would change a verdict: beginnings of texts about numbers of the run itself, and one that names no other run.
OF_THIS_RUN = ("supported", "contradicted", "no longer", "undecided")
SAYS_NOTHING = (ALLOWING,)


@dataclass(frozen=True)
class Advice:
    """One thing to change.

    Attributes:
        key: Short name of the kind.
        what: What to do, in a few words.
        why: What was measured that says so, with its numbers.
    """

    key: str
    what: str
    why: str


def advice(analysis: Analysis, coming: Next) -> list[Advice]:
    """What the run says should be changed, the weightiest first.

    Args:
        analysis: As from `analyse`.
        coming: As from `what_next`.

    Returns:
        Possibly nothing. What is said follows from this run alone, and is not known to hold for others.
    """
    rules = (_stability(analysis.run), _held_out(analysis.run), _schedule(coming), _length(analysis.run, coming),
             _room(analysis.run), _measurements(analysis.run), _undecided(analysis))  # fmt: skip
    return [one for one in rules if one is not None]


def edge(run: Run) -> tuple[float, float] | None:
    """The largest rate times eigenvalue of the second half of the measurements, and the limit of its stability.

    Both in units of the update's length in time, eta / (1 - mu) with heavy ball: its limit is 2 (1 + mu) / (1 - mu)
    there. None where the optimizer averages gradients in a way that the record does not say.
    """
    data = run.measurements
    if run.kind == STATES or "step_size" not in data or data.sizes.get("mode", 0) == 0:
        return None
    if run.header.get("preconditioner") is not None:
        return None
    momentum = _momentum(run)
    later = slice(data.sizes["step"] // 2, None)
    lengths, largest = data["step_size"].values[later], data["eigenvalue"].values[later, 0]
    return float((lengths * largest).max()), 2.0 * (1.0 + momentum) / (1.0 - momentum)


def _momentum(run: Run) -> float:
    if "momentum" in run.losses:
        values = run.losses["momentum"].dropna()
        return float(values.iloc[-1]) if len(values) else 0.0
    config = run.header.get("config")
    train = config.get("train") if isinstance(config, Mapping) else None
    value = train.get("momentum", 0.0) if isinstance(train, Mapping) else 0.0
    return float(value) if isinstance(value, int | float) and 0 <= value < 1 else 0.0


def _stability(run: Run) -> Advice | None:
    found = edge(run)
    if found is None or found[0] <= OVER * found[1]:
        return None
    return Advice(
        "stability",
        "Lower the learning rate, or expect oscillation",
        f"The rate times the largest eigenvalue reached {number(found[0])}; gradient descent is unstable above "
        f"{number(found[1])}.",
    )


def _held_out(run: Run) -> Advice | None:
    data = run.measurements
    if "holdout_loss" not in data or data.sizes["step"] < 4:
        return None
    held, trained, steps = data["holdout_loss"].values, data["probe_loss"].values, run.measured_steps
    best = int(np.nanargmin(held))
    if best < len(held) - 1 and held[-1] > (1 + TURNED) * held[best]:
        return Advice(
            "overfit",
            f"Stop near step {steps[best]:,}, or take more training samples",
            f"The held-out loss was lowest there, {number(float(held[best]))}, and is {number(float(held[-1]))} at the "
            f"end, while the loss on the probe went on to {number(float(trained[-1]))}.",
        )
    half = int(np.searchsorted(steps, steps[-1] / 2))
    if half >= len(held) - 1 or held[half] <= 0 or trained[half] <= 0:
        return None
    fell, trained_fell = 1 - held[-1] / held[half], 1 - trained[-1] / trained[half]
    if fell < STOPPED and trained_fell > STILL_FALLS:
        return Advice(
            "data",
            "More training samples, not more updates",
            f"Since step {steps[half]:,} the held-out loss {_went(fell)} while the one on the "
            f"probe fell by {number(100 * trained_fell, 2)} %.",
        )
    return None


def _went(fell: float) -> str:
    return f"{'fell' if fell >= 0 else 'rose'} by {number(100 * abs(fell), 2)} %"


def _schedule(coming: Next) -> Advice | None:
    if coming.law is None:
        return None
    clear = [one for one in coming.law.endings if one.is_clear and one.difference < 0]
    if not clear:
        return None
    best = min(clear, key=lambda one: one.difference)
    return Advice(
        "schedule",
        f"Another schedule: {best.name}",
        f"It would end at {number(best.end.loss)}, {number(-best.difference)} lower than as planned, 90 % interval "
        f"{interval_text((-best.upper, -best.lower))}.",
    )


def _length(run: Run, coming: Next) -> Advice | None:
    """To go on, where the run is over, the loss would fall clearly, and held-out samples still gain."""
    if not coming.is_longer or _held_out(run) is not None:
        return None
    ahead, found = coming.ahead, coming.law
    if ahead is not None and ahead.upper[-1] < ahead.loss[0]:
        return Advice(
            "length",
            "Train longer",
            f"As many updates again at the last rate would bring the loss from {number(float(ahead.loss[0]))} to "
            f"{number(float(ahead.loss[-1]))}, if its modes decay as they do.",
        )
    if found is None:
        return None
    last = last_loss(found)
    if found.end.upper >= last:
        return None
    return Advice(
        "length",
        "Train longer",
        f"As many updates again at the last rate would bring the loss from {number(last)} to {number(found.end.loss)}, "
        f"90 % interval {interval_text((found.end.lower, found.end.upper))}.",
    )


def _room(run: Run) -> Advice | None:
    found = edge(run)
    if found is None or found[0] <= 0 or found[0] >= ROOM * found[1]:
        return None
    return Advice(
        "rate",
        "A larger learning rate is possible",
        f"The rate times the largest eigenvalue stayed below {number(found[0])}, {number(found[1] / found[0], 2)} "
        f"times below the limit of stability, {number(found[1])}. Noise of small batches may bind earlier.",
    )


def _measurements(run: Run) -> Advice | None:
    count = len(run.measured_steps)
    if count >= FEW_MEASUREMENTS:
        return None
    return Advice(
        "measurements",
        "Measure more often",
        f"There are {count} measurements, and most claims want {FEW_MEASUREMENTS} or more to be decided.",
    )


def _undecided(analysis: Analysis) -> Advice | None:
    rows = {row.claim: row for row in analysis.claims}
    wanted: dict[str, list[str]] = {}
    for row in analysis.claims:
        if "." in row.claim or row.verdict is not Verdict.UNDECIDED:
            continue
        decider = rows.get(row.decided_by) if row.decided_by else None
        change = (decider or row).would_change
        if change and change not in SAYS_NOTHING and not change.startswith(OF_THIS_RUN):
            wanted.setdefault(change, []).append(row.claim)
    if not wanted:
        return None
    told = "; ".join(f"{', '.join(names)}: {change}" for change, names in wanted.items())
    return Advice("undecided", "Another run, to decide what this one cannot", f"{told}.")
