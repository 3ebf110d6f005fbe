"""Small tables of one run and of several, in the layouts of programs that write logs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["STEPS", "loss_at", "one_run", "several", "write_csv", "write_lines"]

STEPS = np.arange(20, 401, 20)


def loss_at(steps: object) -> np.ndarray:
    """A loss that falls by a power, at any steps."""
    return 2.0 + 3.0 * (1.0 + np.asarray(steps, dtype=np.float64) / 50.0) ** -0.5


def one_run(shift: float = 0.0, **columns: object) -> pd.DataFrame:
    """Twenty points with a constant rate, and what is constant beside them."""
    frame = pd.DataFrame({"step": STEPS, "loss": loss_at(STEPS) + shift, "lr": 1e-3})
    return frame.assign(**columns)


def several(**values: Sequence[object]) -> pd.DataFrame:
    """A run for each combination of values, one below the other, each a tenth higher than the one before."""
    grid = pd.MultiIndex.from_product(list(values.values()), names=list(values)).to_frame(index=False)
    parts = [one_run(0.1 * k, **row) for k, row in enumerate(grid.to_dict("records"))]
    return pd.concat(parts, ignore_index=True)


def write_csv(folder: Path, table: pd.DataFrame | str, name: str = "log.csv", empty: str = "") -> Path:
    """Write a table, or the text of one, and give its path; `empty` is what stands for nothing."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table if isinstance(table, str) else table.to_csv(index=False, na_rep=empty))
    return path


def write_lines(folder: Path, rows: Sequence[Mapping[str, object]], name: str = "log.jsonl") -> Path:
    """Write one JSON object a line and give the path."""
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path
