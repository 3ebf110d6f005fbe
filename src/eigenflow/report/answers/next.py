"""What comes next in a run: the forecast of its logged loss by the law that `eigenflow forecast` fits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eigenflow.core.errors import EigenflowError
from eigenflow.forecast.outlook.logs import forecast_logs
from eigenflow.forecast.outlook.result import LogForecast
from eigenflow.store import Run

__all__ = ["LONGER", "Next", "what_next"]

# A run that has come to its end is asked what so many times its updates would have brought.
LONGER = 2
# Rows that the law is fitted to; evenly spread ones say as much of a smooth curve as all of them.
MOST_ROWS = 4000
FINISHED = ("complete", "complete with gaps")


@dataclass(frozen=True)
class Next:
    """A forecast, or the reason why there is none.

    Attributes:
        found: The answer to the log, or None.
        why_not: The reason, in words; "" with an answer.
        planned: Updates of the whole run where its record says them; None where it does not.
        is_longer: Whether the run is over and the forecast is of one that goes on at its last rate.
    """

    found: LogForecast | None
    why_not: str
    planned: int | None
    is_longer: bool


def what_next(run: Run) -> Next:
    """Forecast the rest of a run from its logged losses and rates.

    Args:
        run: As from `open_run`; it may still be running.

    Returns:
        Of a run that goes on, its end. Of one that is over, what as many updates again would bring at its last rate; if
        its rates came to zero, the ends of other schedules.
    """
    planned = planned_updates(run)
    is_over = run.status in FINISHED
    losses = run.losses
    wanted = [name for name in ("step", "loss", "learning_rate") if name in losses.columns]
    if not {"step", "loss"} <= set(wanted):
        return Next(None, "no loss was logged", planned, False)
    rows = pd.DataFrame(losses[wanted]).rename(columns={"learning_rate": "lr"})
    # Rows are numbered by their update, from 0; forecasts count completed updates.
    rows = rows[np.isfinite(rows["loss"]) & (rows["loss"] > 0)].assign(step=lambda table: table["step"] + 1)
    if len(rows) > MOST_ROWS:
        rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, MOST_ROWS).round().astype(int))]
    ended_at_zero = "lr" in rows and len(rows) > 0 and rows["lr"].iloc[-1] <= 1e-3 * rows["lr"].max()
    is_longer = is_over and not ended_at_zero
    total = LONGER * (int(losses["step"].iloc[-1]) + 1) if is_longer else None if is_over else planned
    try:
        return Next(forecast_logs(rows, total=total), "", planned, is_longer)
    except EigenflowError as error:
        return Next(None, str(error), planned, is_longer)


def planned_updates(run: Run) -> int | None:
    """Updates of the whole run, from the set-up that its record holds, or from where its schedule ends."""
    config = run.header.get("config")
    train = config.get("train") if isinstance(config, Mapping) else None
    for part in (train, config, run.header):
        for key in ("steps", "max_steps", "total_steps"):
            value = part.get(key) if isinstance(part, Mapping) else None
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    schedule = run.header.get("schedule")
    if isinstance(schedule, list) and len(schedule) > 0 and all(isinstance(step, int) for step in schedule):
        return max(schedule) + 1
    return None
