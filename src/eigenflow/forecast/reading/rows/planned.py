"""How long a run shall be, where its log says so: a trainer's `max_steps`, or a column of totals beside the steps."""

import numpy as np
import pandas as pd

from eigenflow.forecast.reading.files.tables import LogTable

__all__ = ["planned_total"]

# Names of columns that hold the planned number of updates in every row, without prefixes and case.
TOTALS = ("max_steps", "total_steps", "num_training_steps", "train_iters", "max_iters", "total_iters", "num_iterations")


def planned_total(table: LogTable, frame: pd.DataFrame) -> int | None:
    """Updates that a run shall have in all: what the file says beside its rows, else a column of totals; else None.

    Args:
        table: That the rows are of.
        frame: Rows of one run.
    """
    if table.planned is not None:
        return table.planned
    named = {str(column).lower().rpartition("/")[2]: column for column in frame.columns}
    for name in TOTALS:
        if name not in named:
            continue
        values = np.asarray(pd.to_numeric(frame[named[name]], errors="coerce"), dtype=np.float64)
        values = values[np.isfinite(values)]
        # A run that was prolonged has the later total.
        if len(values) and values[-1] >= 1 and values[-1] == np.rint(values[-1]):
            return int(values[-1])
    return None
