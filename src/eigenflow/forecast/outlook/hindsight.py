"""A forecast as it would have been: later points of a run are hidden, and stand beside what was forecast of them."""

from dataclasses import dataclass, replace

import numpy as np

from eigenflow.core.checks import check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve, CurveSet
from eigenflow.forecast.outlook.logs import planned_runs
from eigenflow.forecast.outlook.result import LogForecast

__all__ = ["Hindsight", "hide_rest"]


@dataclass(frozen=True)
class Hindsight:
    """What came after the update at which a forecast was made.

    Attributes:
        curves: The log with the later points of one run hidden; its learning rates stay known.
        run: The name of that run.
        came: Its hidden points.
    """

    curves: CurveSet
    run: str
    came: Curve

    def interval(self, found: LogForecast) -> tuple[float, float]:
        """Both ends of the 90 % interval at the last hidden point."""
        path, last = found.path, float(self.came.steps[-1])
        return float(np.interp(last, path.steps, path.lower)), float(np.interp(last, path.steps, path.upper))

    def told(self, found: LogForecast) -> str:
        """What came, and whether the interval held it, in words."""
        low, high = self.interval(found)
        loss = float(self.came.losses[-1])
        where = "inside" if low <= loss <= high else "outside of"
        return f"{loss:.4f} at step {int(self.came.steps[-1]):,}, {where} the interval [{low:.4f}, {high:.4f}]"


def hide_rest(curves: CurveSet, step: int, *, run: str | None = None) -> Hindsight:
    """Hide the points of a run after an update.

    Args:
        curves: As from `read_logs`.
        step: The last completed update that stays known.
        run: The run of which the rest is hidden. None: the one that an answer would be about.

    Raises:
        ArgumentError: If the run has no point up to `step`, or none after it.
    """
    check_whole("until", step, 1)
    _, chosen = planned_runs(curves, run=run)
    whole = chosen.curve
    if not whole.steps[0] <= step < whole.steps[-1]:
        raise ArgumentError(
            f"`until` must be a step of {whole.label} with points before and after it, {whole.steps[0]:,} to "
            f"{whole.steps[-1] - 1:,}, but is {step:,}. Its later points are compared with the forecast."
        )
    kept = tuple(curve.until(step) if curve is whole else curve for curve in curves)
    return Hindsight(replace(curves, curves=kept), whole.label, whole.after(step))
