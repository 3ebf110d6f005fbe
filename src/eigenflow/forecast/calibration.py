"""Learning how variances add up to an interval, from errors on curves that were held out.

A scale is fitted by the likelihood of a heavy-tailed (Student, 4 degrees) error; the factor then makes 90 % of held-out
points lie inside, every set with one vote and its curves with equal ones. What is learned from some sets is only
ever judged on the others.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.forecast.intervals import COMPONENTS, Calibration

__all__ = ["HeldOut", "calibrate", "leave_out", "shipped_calibration"]

FREEDOM = 4.0
SHIPPED = "interval_calibration.json"
# A floor under every interval, far below any noise: ln(loss) is not known to better than 1e-6.
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class HeldOut:
    """One held-out curve.

    Attributes:
        group: The set it comes from; sets are left out as a whole.
        errors: ln(forecast) - ln(truth) at its unseen points.
        spread: Variances there, one column for each of `COMPONENTS`.
    """

    group: str
    errors: Float[np.ndarray, " point"]
    spread: Float[np.ndarray, "point component"]


def calibrate(law: str, cases: Sequence[HeldOut]) -> Calibration:
    """Learn weights and factor. Every set has one vote, shared by its curves, and a curve's by its points.

    Raises:
        ArgumentError: If there are fewer than 10 cases.
    """
    if len(cases) < 10:
        raise ArgumentError(f"A calibration needs 10 held-out curves or more, but law {law!r} has {len(cases)}.")
    counts = {group: sum(case.group == group for case in cases) for group in {case.group for case in cases}}
    votes = np.concatenate([np.full(len(case.errors), 1.0 / (len(case.errors) * counts[case.group])) for case in cases])
    errors = np.concatenate([case.errors for case in cases])
    spread = np.concatenate([case.spread for case in cases])
    weights = _fit_scale(errors, spread, votes / votes.sum())
    ratio = np.abs(errors) / np.sqrt(spread @ weights + LEAST_VARIANCE)
    order = np.argsort(ratio)
    reached = np.searchsorted(np.cumsum(votes[order]) / votes.sum(), LEVEL)
    factor = float(ratio[order][min(reached, len(ratio) - 1)])
    return Calibration(law, tuple(float(w) for w in weights), factor, len(cases), tuple(sorted(counts)), {})


def leave_out(law: str, cases: Sequence[HeldOut]) -> dict[str, Calibration]:
    """Learn, for every set, from all the others: what its own intervals may honestly use."""
    groups = sorted({case.group for case in cases})
    return {group: calibrate(law, [case for case in cases if case.group != group]) for group in groups}


def shipped_calibration(law: str) -> Calibration:
    """Give the calibration that comes with the package, learned on public curves (its file says which, and how).

    A law that is not in it gets the one learned from all laws together, under the name "default".
    """
    table = json.loads((files("eigenflow.forecast") / SHIPPED).read_text())["laws"]
    entry = table.get(law, table["default"])
    return Calibration(
        entry["law"],
        tuple(entry["weights"][name] for name in COMPONENTS),
        entry["factor"],
        entry["cases"],
        tuple(entry["sets"]),
        entry["coverage"],
    )


def to_entry(calibration: Calibration) -> dict[str, object]:
    """As plain values for the shipped table."""
    weights = dict(zip(COMPONENTS, calibration.weights, strict=True))
    return {**asdict(calibration), "weights": weights, "sets": list(calibration.sets)}


def _fit_scale(errors: np.ndarray, spread: np.ndarray, votes: np.ndarray) -> Float[np.ndarray, " component"]:
    """Maximise the Student likelihood of the errors over non-negative weights of the variances."""
    used = spread.max(axis=0) > 0

    def cost(log_weights: np.ndarray) -> tuple[float, np.ndarray]:
        parts = spread[:, used] * np.exp(log_weights)
        variance = parts.sum(axis=1) + LEAST_VARIANCE
        ratio = errors**2 / (FREEDOM * variance)
        value = votes @ (0.5 * np.log(variance) + 0.5 * (FREEDOM + 1) * np.log1p(ratio))
        slope = votes * (0.5 - 0.5 * (FREEDOM + 1) * ratio / (1 + ratio)) / variance
        return float(value), slope @ parts

    bounds = [(-12.0, 6.0)] * int(used.sum())
    starts = [np.full(int(used.sum()), level) for level in (0.0, -2.0)]
    found = [minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
    weights = np.zeros(spread.shape[1])
    weights[used] = np.exp(min(found, key=lambda one: one.fun).x)
    return weights
