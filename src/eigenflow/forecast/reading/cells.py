"""Cells of a log as numbers: what is empty, what is no number, what is not finite."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from eigenflow.core.errors import ArgumentError, NonFiniteError

__all__ = ["numbers", "require_finite", "whole_numbers"]


def numbers(
    cells: Any, rows: Int[np.ndarray, " entry"], place: str
) -> tuple[Float[np.ndarray, " entry"], Bool[np.ndarray, " entry"]]:
    """Turn a column into numbers, and say which cells are empty (NaN in a table of numbers counts as empty).

    Raises:
        ArgumentError: If a cell holds something else; names its row.
    """
    if pd.api.types.is_numeric_dtype(cells.dtype):
        values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
        return values, np.isnan(values)
    text: Any = cells.astype(str).str.strip()
    is_empty = (cells.isna() | (text == "")).to_numpy()
    values = np.asarray(pd.to_numeric(text.where(~is_empty, "0"), errors="coerce"), dtype=np.float64)
    says_nan = text.str.lower().isin(["nan", "+nan", "-nan", "none", "null", "na", "<na>"]).to_numpy()
    wrong = np.flatnonzero(np.isnan(values) & ~says_nan & ~is_empty)
    if len(wrong):
        at = wrong[0]
        raise ArgumentError(f"{place}, row {rows[at]}: {cells.name!r} must be a number, but is {text.iloc[at]!r}.")
    return np.where(is_empty, np.nan, values), is_empty


def require_finite(
    values: Float[np.ndarray, " entry"], rows: Int[np.ndarray, " entry"], place: str, what: str, advice: str
) -> None:
    """Refuse NaN and infinite values; the message names the first one's row, and counts them."""
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        others = f", and {len(wrong) - 1} more like it" if len(wrong) > 1 else ""
        raise NonFiniteError(f"{place}, row {rows[wrong[0]]}: the {what} is {values[wrong[0]]}{others}. {advice}")


def whole_numbers(
    values: Float[np.ndarray, " entry"], rows: Int[np.ndarray, " entry"], place: str, what: str
) -> Int[np.ndarray, " entry"]:
    """Refuse steps that are not whole or negative."""
    wrong = np.flatnonzero((values != np.rint(values)) | (values < 0))
    if len(wrong):
        raise ArgumentError(
            f"{place}, row {rows[wrong[0]]}: the {what} must be a whole number of updates, 0 or more, but is "
            f"{values[wrong[0]]:g}. If the column counts epochs or tokens, convert it to updates first."
        )
    return values.astype(np.int64)
