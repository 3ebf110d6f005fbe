"""Cells of a log as numbers: what is empty, what is no number, what is not finite."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from eigenflow.core.checks import MOST_WHOLE
from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.forecast.checks import LEAST, MOST

__all__ = ["is_empty_text", "numbers", "require_finite", "require_usual", "says_nan", "whole_numbers"]

# What stands in a cell where nothing was measured, and what a program writes for a number that is none.
_EMPTY = ("", "none", "null", "nil", "na", "n/a", "#n/a", "<na>", "-", "--")
_NAN = ("nan", "+nan", "-nan")


def is_empty_text(text: Any) -> Bool[np.ndarray, " entry"]:
    """Which cells of a column of text hold nothing: empty, or a word for it such as null."""
    return text.str.lower().isin(_EMPTY).to_numpy()


def says_nan(text: Any) -> Bool[np.ndarray, " entry"]:
    """Which cells of a column of text are a NaN that somebody wrote."""
    return text.str.lower().isin(_NAN).to_numpy()


def numbers(
    cells: Any, rows: Int[np.ndarray, " entry"], place: str
) -> tuple[Float[np.ndarray, " entry"], Bool[np.ndarray, " entry"]]:
    """Turn a column into numbers, and say which cells are empty.

    Empty are cells without text, words for nothing such as null, and NaN in a table of numbers. A text that says nan is
    a number that is none.

    Raises:
        ArgumentError: If a cell holds something else; names its row.
    """
    kind = cells.dtype
    if pd.api.types.is_bool_dtype(kind) or pd.api.types.is_complex_dtype(kind) or kind.kind in "mM":
        raise ArgumentError(
            f"{place}: column {cells.name!r} must hold numbers, but holds {kind}. Choose another with `columns`."
        )
    if pd.api.types.is_numeric_dtype(kind):
        values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
        return values, np.isnan(values)
    text: Any = cells.astype(str).str.strip()
    is_empty = cells.isna().to_numpy() | (text == "").to_numpy()
    values = np.asarray(pd.to_numeric(text.where(~is_empty, "0"), errors="coerce"), dtype=np.float64)
    if np.isnan(values).any():
        is_empty = is_empty | is_empty_text(text)
        wrong = np.flatnonzero(np.isnan(values) & ~is_empty & ~says_nan(text))
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


def require_usual(values: Float[np.ndarray, " entry"], rows: Int[np.ndarray, " entry"], place: str, what: str) -> None:
    """Refuse numbers that nobody means: other than 0, and outside of 1e-30 to 1e30."""
    sizes = np.abs(values)
    wrong = np.flatnonzero((sizes > MOST) | ((sizes < LEAST) & (sizes > 0)))
    if len(wrong):
        raise ArgumentError(
            f"{place}, row {rows[wrong[0]]}: the {what} must lie within {LEAST:g} and {MOST:g}, but is "
            f"{values[wrong[0]]:g}. Correct the cell, or the unit of the column."
        )


def whole_numbers(
    values: Float[np.ndarray, " entry"], rows: Int[np.ndarray, " entry"], place: str, what: str
) -> Int[np.ndarray, " entry"]:
    """Refuse steps that are not whole, negative, or too large to be exact."""
    wrong = np.flatnonzero((values != np.rint(values)) | (values < 0) | (values > MOST_WHOLE))
    if len(wrong):
        raise ArgumentError(
            f"{place}, row {rows[wrong[0]]}: the {what} must be a whole number of updates, from 0 to {MOST_WHOLE:.0e}, "
            f"but is {values[wrong[0]]:g}. If the column counts epochs or tokens, convert it to updates first."
        )
    return values.astype(np.int64)
