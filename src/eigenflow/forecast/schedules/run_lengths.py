"""Rates as plain values: one an update, or one a run of equal ones where that is shorter."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.checks import as_numbers
from eigenflow.forecast.schedules.kinds import check_updates

__all__ = ["from_runs", "to_runs"]


def to_runs(values: Float[np.ndarray, " update"]) -> dict[str, Any]:
    """Give values, or starts, values and total where that is shorter."""
    starts = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    if 2 * len(starts) < len(values):
        return {"starts": starts.tolist(), "values": values[starts].tolist(), "total": len(values)}
    return {"values": values.tolist()}


def from_runs(form: Mapping[str, Any]) -> Float[np.ndarray, " update"]:
    """Give one value an update again."""
    if "values" not in form:
        raise ArgumentError("A table of rates needs `values`, a list of numbers.")
    values = as_numbers("values", form["values"])
    if form.get("starts") is None:
        return values
    total = check_whole("total", form.get("total"), 1)
    check_updates(total)
    lengths = np.diff(as_numbers("starts", form["starts"]), append=total)
    if len(lengths) != len(values) or lengths.min(initial=1) < 0 or np.any(lengths != np.rint(lengths)):
        raise ArgumentError(
            f"`starts` must increase up to `total` = {total}, and be as long as `values` ({len(values)}), but has "
            f"{len(lengths)} entries."
        )
    if lengths.sum() != total:
        raise ArgumentError("`starts` must begin with 0.")
    return np.repeat(values, lengths.astype(np.int64))
