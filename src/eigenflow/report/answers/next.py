"""What comes next in a run: its loss by the law that `eigenflow forecast` fits, or carried on by its own modes.

Which of the two speaks is decided by what each would have said of the run's past: see `Next`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eigenflow.core.errors import EigenflowError
from eigenflow.forecast.outlook.logs import forecast_logs
from eigenflow.forecast.outlook.result import LogForecast
from eigenflow.store import Run
from eigenflow.theory.forecasts.ahead import AheadForecast, forecast_ahead
from eigenflow.theory.forecasts.rest_of_run import RestForecast

__all__ = ["LONGER", "Next", "last_loss", "what_next"]

# A run that has come to its end is asked what so many times its updates would have brought.
LONGER = 2
# Rows that the law is fitted to; evenly spread ones say as much of a smooth curve as all of them.
MOST_ROWS = 4000
FINISHED = ("complete", "complete with gaps")
# A law that no hidden part of the log confirms is not believed: if there are two such parts, or one that it missed by
# this factor. Nor are modes that missed by as much.
FAR = 2.0
# A run whose modes knew its past within this is carried on by them, and the law is not asked: fitting it takes longer.
NEAR = 0.1


@dataclass(frozen=True)
class Next:
    """A forecast, or the reason why there is none.

    Attributes:
        found: The answer to the log, or None.
        why_not: The reason, in words; "" with an answer.
        planned: Updates of the whole run where its record says them; None where it does not.
        is_longer: Whether the run is over and the forecast is of one that goes on at its last rate.
        carried: The run carried on by its modes, to twice its updates at its last rate; None where they do not make the
            logged loss.
    """

    found: LogForecast | None
    why_not: str
    planned: int | None
    is_longer: bool
    carried: AheadForecast | None = None

    @property
    def ahead(self) -> AheadForecast | None:
        """The run carried on, where that was nearer to its own past than the law, or the law has nothing to say."""
        if self.carried is None or not self.is_longer:
            return None
        checks = () if self.found is None else self.found.checks
        law = min((abs(part.error) for part in checks), default=np.inf)
        return self.carried if self.carried.missed < min(law, np.log(FAR)) else None

    @property
    def law(self) -> LogForecast | None:
        """The answer of the law, where it is the one that is given."""
        return None if self.found is None or self.ahead is not None or self.is_refuted else self.found

    @property
    def is_refuted(self) -> bool:
        """Whether the law does not follow this log: no interval held for what was hidden of it."""
        checks = () if self.found is None else self.found.checks
        if not checks or any(part.holds for part in checks):
            return False
        return len(checks) > 1 or bool(max(abs(part.error) for part in checks) > np.log(FAR))


def what_next(run: Run, forecasts: Sequence[RestForecast] = ()) -> Next:
    """Forecast the rest of a run from its logged losses and rates, and from its modes.

    Args:
        run: As from `open_run`; it may still be running.
        forecasts: Of the rest of the run from its beginning, as an analysis has them.

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
    carried = forecast_ahead(run, forecasts) if is_longer else None
    if carried is not None and carried.missed <= NEAR:
        return Next(None, "its modes are carried on instead", planned, is_longer, carried)
    try:
        return Next(forecast_logs(rows, total=total), "", planned, is_longer, carried)
    except EigenflowError as error:
        return Next(None, str(error), planned, is_longer, carried)


def last_loss(found: LogForecast) -> float:
    """The last logged losses of the run that a forecast is about, their median over a fiftieth of it."""
    losses = found.run.curve.losses
    return float(np.median(losses[-max(1, len(losses) // 50) :]))


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
