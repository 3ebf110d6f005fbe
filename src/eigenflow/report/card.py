"""The cards of a run and of a forecast: what they say, unpacked for `eigenflow.plots.share_card`."""

import numpy as np
from matplotlib.figure import Figure

from eigenflow.core.display import at_level
from eigenflow.forecast.outlook.result import LogForecast
from eigenflow.plots.card import CardFan, share_card

__all__ = ["forecast_card", "forecast_fan"]


def forecast_card(found: LogForecast) -> Figure:
    """The card of an answer to a log: the end with its interval, the best other schedule, how hidden parts did."""
    run, unit = found.run, found.curves.loss_unit
    end = f"{run.curve.losses[-1]:.4g} {unit}, logged" if run.is_finished else f"{found.end.told} {unit}"
    notes = [
        f"{'Ended' if run.is_finished else 'Expected'} after {run.total:,} {run.unit}; rates: {run.kind.split(';')[0]}."
    ]
    if found.endings:
        best = min(found.endings, key=lambda one: one.difference)
        apart = at_level(abs(best.difference), found.end.loss)
        notes.append(f"{best.name}: {apart} {'lower' if best.difference < 0 else 'higher'}.")
    if found.checks:
        held = sum(part.holds for part in found.checks)
        notes.append(f"{held} of {len(found.checks)} intervals held for parts of the log that were hidden.")
    measured = np.asarray(run.curve.steps, dtype=np.float64), run.curve.losses
    return share_card(run.curve.label, "forecast", end, notes, measured=measured, fan=forecast_fan(found), unit=unit)


def forecast_fan(found: LogForecast) -> CardFan | None:
    """What lies ahead of a log; None where it has come to its end."""
    path = found.path
    rows = path.steps >= found.run.last
    if found.run.is_finished or rows.sum() < 2:
        return None
    return CardFan(path.steps[rows].astype(np.float64), path.loss[rows], path.lower[rows], path.upper[rows])
