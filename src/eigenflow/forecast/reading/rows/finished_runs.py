"""Tables with one row a run: they hold no curves, and belong to `eigenflow forecast plan`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.names import FINAL, listed, loss_rank

__all__ = ["refuse_final_losses", "refuse_finished_runs", "refuse_table_of_states"]

# What trackers say of a run as a whole, and columns that stand beside it in their lists of runs.
_STATES = {"finished", "crashed", "failed", "killed", "running", "preempted", "complete", "completed", "pruned", "fail"}
_STATE_COLUMNS = {"state", "status"}
_BESIDE = {"runtime", "created", "sweep", "notes", "tags", "user", "start_time", "end_time", "artifact_uri", "duration"}
MOST_LISTED = 20
# Shares of steps that go back, and that occurred before, above which rows in no order are not those of a log.
UP_AND_DOWN, OFTEN = 0.2, 0.3
# So many rows, of which so many go on, are a log.
LEAST_OF_LOG, MOSTLY = 5, 0.8


def refuse_table_of_states(frame: pd.DataFrame, place: str) -> None:
    """Refuse an export of a tracker's list of runs, which says of each row whether the run is finished.

    Raises:
        ArgumentError: If the table is one.
    """
    names = {str(name).strip().lower(): str(name) for name in frame.columns}
    for plain in _STATE_COLUMNS & set(names):
        said = {str(cell).strip().lower() for cell in frame[names[plain]].iloc[:1000]} - {""}
        if said - {"running"} and said <= _STATES and _BESIDE & set(names):
            raise _error(frame, place, f"column {names[plain]!r} says whether each is finished")


def refuse_final_losses(frame: pd.DataFrame, loss: str, steps: Float[np.ndarray, " row"] | None, place: str) -> None:
    """Refuse a table whose only losses are final ones.

    Args:
        frame: The table, for its columns.
        loss: The column of losses.
        steps: Of the rows, None if there are none. Where they rise, the name means something else.
        place: The file.

    Raises:
        ArgumentError: If by its name the column holds the last loss of a run.
    """
    rises = 0.0 if steps is None or len(steps) < LEAST_OF_LOG else float(np.mean(np.diff(steps) > 0))
    if loss_rank(loss) == FINAL and rises < MOSTLY:
        raise _error(frame, place, f"column {loss!r} is the end of each")


def refuse_finished_runs(
    frame: pd.DataFrame,
    steps: Float[np.ndarray, " point"],
    runs: Int[np.ndarray, " point"],
    settings: Sequence[str],
    place: str,
) -> None:
    """Refuse a table in which no run has two steps, or in which steps go up and down beside settings of runs.

    Args:
        frame: The table, for its columns.
        steps: Step of each row with a loss.
        runs: Number of the run of each.
        settings: Columns that may tell runs apart and did not.
        place: The file.

    Raises:
        ArgumentError: If the table is one.
    """
    if len(steps) < 2:
        return
    least, most = np.full(runs.max() + 1, np.inf), np.full(runs.max() + 1, -np.inf)
    np.minimum.at(least, runs, steps)
    np.maximum.at(most, runs, steps)
    is_same = np.diff(runs) == 0
    is_mixed = np.mean(np.diff(steps)[is_same] < 0) > UP_AND_DOWN if is_same.any() else False
    repeats = 1.0 - len(np.unique(steps)) / len(steps)
    if len(settings) > 1 and is_mixed and repeats > OFTEN:
        raise _error(frame, place, f"steps go up and down, and {listed(settings[:3])} change from row to row")
    if np.all(most <= least):
        raise _error(frame, place, "no run has two steps")


def _error(frame: pd.DataFrame, place: str, reason: str) -> ArgumentError:
    names: Sequence[str] = [str(name) for name in frame.columns]
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ArgumentError(
        f"{place} has one row a run: this is a table for `eigenflow forecast plan` ({reason}). Its columns are "
        f"{listed(names[:MOST_LISTED])}{more}. A loss curve needs a row for every logged step: export the history of "
        f"the runs, or take the trainer's own log."
    )
