"""Numbers as people and programs write them: percent, thousands, decimal commas, units, `50/546`.

A whole column is read at once, so that one cell can tell what another one means: `1,000` is a thousand where the table
has decimal points, and one where it has decimal commas. What stays ambiguous is refused.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.cells import is_empty_text, says_nan

__all__ = ["plain_writing"]

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_OF_TOTAL = re.compile(r"(\d+)\s*/\s*\d+")
_PERCENT = re.compile(rf"({_NUMBER})\s*%")
_SUFFIXED = re.compile(rf"({_NUMBER})\s*([A-Za-z][A-Za-z/_]*)")
_GAPS = re.compile(r"[+-]?\d{1,3}(?:[ _'\u00a0\u202f]\d{3})+(?:\.\d+)?")
_THOUSANDS = re.compile(r"\d{1,3}(?:(?:,\d{3}){2,}(?:\.\d+)?|(?:,\d{3})+\.\d+)")
_EITHER = re.compile(r"[1-9]\d{0,2},\d{3}")
_COMMA = re.compile(r"[+-]?(?:\d*,\d+|\d{1,3}(?:\.\d{3})+,\d+)(?:[eE][+-]?\d+)?")
_MULTIPLIERS = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
# Cells of a column in which a decimal point is looked for.
LOOKED_AT = 50
_UNITS_OF_LOSS = {"nats", "nat", "nats/token"}


def plain_writing(
    frame: pd.DataFrame, fields: Mapping[str, str], rows: Int[np.ndarray, " entry"], place: str
) -> tuple[pd.DataFrame, list[str]]:
    """Turn columns of text into numbers, also where they are written in an unusual way, if it is clear what they mean.

    Args:
        frame: The table.
        fields: Columns that may hold numbers, and what each may be: step, loss, ...
        rows: Where a person finds each entry.
        place: The file, for messages.

    Returns:
        The table, and a line for each column that was rewritten. One with a cell that is no number, or that says nan,
        stays as it is.

    Raises:
        ArgumentError: If a comma may be either a decimal sign or one of thousands.
    """
    odd: dict[str, tuple[Any, Any]] = {}
    made: dict[str, Any] = {}
    has_points = False
    for name in fields:
        if pd.api.types.is_numeric_dtype(frame[name].dtype):
            continue
        text, values, is_odd = _odd_cells(frame[name])
        if is_odd.any():
            odd[name] = text, is_odd
        elif not says_nan(text[np.isnan(values)]).any():
            made[name] = values
        fractions = np.flatnonzero((values != np.rint(values)) & ~np.isnan(values))[:LOOKED_AT]
        has_points |= any("." in cell for cell in text.iloc[fractions])
    has_commas = any(_is_decimal(cell) for text, is_odd in odd.values() for cell in text[is_odd])
    notes: list[str] = []
    for name, (text, is_odd) in odd.items():
        decimals = "," if has_commas and not has_points else "." if has_points and not has_commas else ""
        found = _rewritten(text, is_odd, fields[name], decimals, rows, f"{place}: column {name!r}")
        if found is not None:
            made[name] = pd.Series(found[0], index=frame.index, dtype=object)
            notes.append(f"{place}: column {name!r} {found[1]}")
    return (frame.assign(**made) if made else frame), notes


def _odd_cells(cells: Any) -> tuple[Any, Float[np.ndarray, " entry"], Bool[np.ndarray, " entry"]]:
    """Cells as text, as numbers, and which say something that is no number."""
    text = cells.astype(str).str.strip().where(cells.notna(), "")
    values = np.asarray(pd.to_numeric(text, errors="coerce"), dtype=np.float64)
    is_odd = np.isnan(values)
    if is_odd.any():
        open_cells = text[is_odd]
        is_odd[is_odd] = ~(is_empty_text(open_cells) | says_nan(open_cells))
    return text, values, is_odd


def _rewritten(
    text: Any, is_odd: Any, field: str, decimals: str, rows: Any, place: str
) -> tuple[np.ndarray, str] | None:
    """The cells as plain numbers and what was done, None if they are not all of one kind of writing."""
    cells = text[is_odd].tolist()
    is_all = bool(is_odd[(text != "").to_numpy()].all())
    if is_all and field == "step" and (of_total := _matched(_OF_TOTAL, cells)):
        return _with(text, is_odd, [m[1] for m in of_total]), "counts as 'step/total', so its first number is read"
    if is_all and field != "step" and (percents := _matched(_PERCENT, cells)):
        return _with(text, is_odd, [float(m[1]) / 100 for m in percents]), "is in percent: divided by 100"
    if _matched(_GAPS, cells):
        return _with(text, is_odd, [re.sub(r"[ _'\u00a0\u202f]", "", cell) for cell in cells]), "has marks of thousands"
    if all("," in cell for cell in cells):
        return _with_commas(text, is_odd, field, decimals, rows, place)
    suffixed = _matched(_SUFFIXED, cells)
    if not suffixed:
        return None
    units = {m[2] for m in suffixed}
    if units <= set(_MULTIPLIERS) and field not in {"loss", "learning_rate"}:
        values = [float(m[1]) * _MULTIPLIERS[m[2]] for m in suffixed]
        return _with(text, is_odd, values), f"is in {', '.join(sorted(units))}: {cells[0]} is {values[0]:g}"
    if not is_all or len(units) > 1 or (field == "loss" and not {u.lower() for u in units} <= _UNITS_OF_LOSS):
        return None
    return _with(text, is_odd, [m[1] for m in suffixed]), f"has its unit {units.pop()!r} in every cell; left out"


def _with_commas(
    text: Any, is_odd: Any, field: str, decimals: str, rows: Any, place: str
) -> tuple[np.ndarray, str] | None:
    cells = text[is_odd].tolist()
    at = np.flatnonzero(is_odd)
    commas = [k for k, cell in enumerate(cells) if _is_decimal(cell)]
    groups = [k for k, cell in enumerate(cells) if _THOUSANDS.fullmatch(cell)]
    if len(commas) + len(groups) + sum(bool(_EITHER.fullmatch(cell)) for cell in cells) < len(cells):
        return None
    if commas and groups:
        one, other = commas[0], groups[0]
        raise ArgumentError(
            f"{place} has a comma for decimals in row {rows[at[one]]} ({cells[one]!r}) and for thousands in row "
            f"{rows[at[other]]} ({cells[other]!r}). Write it with decimal points and no other signs."
        )
    if groups or (not commas and (decimals == "." or (field == "step" and decimals != ","))):
        return _with(text, is_odd, [cell.replace(",", "") for cell in cells]), "has commas for thousands"
    plain = text[~is_odd & (text != "").to_numpy()]
    if (commas or decimals == ",") and field != "step" and not plain.str.contains(".", regex=False).any():
        values = [cell.replace(".", "").replace(",", ".") for cell in cells]
        return _with(text, is_odd, values), "has decimal commas"
    raise ArgumentError(
        f"{place}, row {rows[at[0]]}: {cells[0]!r} may be {cells[0].replace(',', '.')} or {cells[0].replace(',', '')}. "
        f"Write it with a decimal point, and no sign for thousands."
    )


def _is_decimal(cell: str) -> bool:
    return _COMMA.fullmatch(cell) is not None and not _EITHER.fullmatch(cell)


def _matched(pattern: re.Pattern[str], cells: Sequence[str]) -> list[re.Match[str]]:
    """The matches if every cell is one, else none."""
    found = [match for cell in cells if (match := pattern.fullmatch(cell))]
    return found if len(found) == len(cells) else []


def _with(text: Any, is_odd: Any, values: Sequence[object]) -> np.ndarray:
    cells = text.to_numpy(dtype=object, copy=True)
    cells[is_odd] = np.array(values, dtype=object)
    return cells
