"""Which column of a log is what: by its name, and by which rows it fills."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.cells import is_empty_text
from eigenflow.forecast.reading.columns.guesses import missing_columns
from eigenflow.forecast.reading.columns.names import (
    COMPONENT,
    ERROR,
    PREFIXES,
    SMOOTHED,
    is_epoch,
    listed,
    loss_rank,
    phase_of,
    rate_rank,
    step_rank,
    words_of,
)

__all__ = ["Columns", "by_quantity", "is_filled", "recognise", "size_unit", "usable_numbers"]

# In order of preference. Compared without case, blanks and the prefixes of trackers. Losses, rates and steps are found
# by the words in their names; here stand names under which `columns` may map them.
_NAMES = {
    "step": "step steps _step global_step iteration iter iterations update updates current_steps num_updates "
    "train_step training_step",
    "loss": "loss train_loss training_loss loss_train lm_loss cross_entropy ce_loss val_loss valid_loss "
    "validation_loss eval_loss test_loss smooth_loss nll",
    "learning_rate": "lr learning_rate learningrate lr-adamw lr-sgd lr-adam learning_rates",
    "curve": "curve run run_id run_name curve_name name",
    "size": "model_size_m model_size_b model_size size size_m params_m params num_params parameters num_parameters "
    "n_parameters model_params n_params params_b n",
    "role": "role split",
    "tokens": "tokens tokens_seen num_tokens total_tokens num_input_tokens_seen consumed_tokens n_tokens_seen d",
    "batch": "batch batch_size tokens_per_step global_batch_size",
    "peak": "peak_lr peak_learning_rate max_lr",
    "unit": "loss_unit unit units",
}
KNOWN: dict[str, tuple[str, ...]] = {field: tuple(names.split()) for field, names in _NAMES.items()}
# A loss needs so many values to be a curve.
LEAST = 3
MOST_LISTED = 8


@dataclass(frozen=True)
class Columns:
    """The file's name of each recognised quantity.

    Attributes:
        names: By quantity.
        other_losses: Losses that stand beside the chosen one.
        epoch: The column of epochs.
        counts_epochs: Whether the steps are those.
        notes: What was chosen among several.
    """

    names: Mapping[str, str]
    other_losses: tuple[str, ...] = ()
    epoch: str | None = None
    counts_epochs: bool = False
    notes: tuple[str, ...] = ()

    def get(self, field: str) -> str | None:
        """The file's name of a quantity, None if it has none."""
        return self.names.get(field)

    def unused(self, frame: pd.DataFrame) -> list[str]:
        """Columns that may tell runs apart: all but those that are measured, or change where a run is started again."""
        taken = {self.get(field) for field in ("step", "loss", "learning_rate", "tokens", "batch", "curve", "size")}
        return [name for name in map(str, frame.columns) if name not in taken and name not in self.other_losses]


def recognise(
    frame: pd.DataFrame,
    chosen: Mapping[str, str] | None,
    place: str,
    *,
    has_tokens_per_step: bool = False,
    needs_rates: bool = False,
) -> Columns:
    """Find the columns of a table.

    Args:
        frame: The table.
        chosen: What the user said: quantity, or a name under which it is recognised, to column.
        place: The file, for messages.
        has_tokens_per_step: Whether tokens can serve as steps.
        needs_rates: Whether the log's own learning rates are needed.

    Returns:
        What was found; `step` (or `tokens`) and `loss` always.

    Raises:
        ArgumentError: If the user's choice does not exist, or columns are missing; names all of them.
    """
    names = _said(frame, chosen, place)
    free = [str(name) for name in frame.columns if name not in set(names.values())]
    losses = _losses(frame, free)
    if losses:
        names.setdefault("loss", losses[0])
    for field in ("curve", "size", "role", "tokens", "batch", "peak", "unit"):
        found = [name for name in _matches(free, KNOWN[field]) if name not in names.values()]
        if found:
            names.setdefault(field, found[0])
    epochs = [name for name in map(str, frame.columns) if is_epoch(name) and usable_numbers(frame[name]).any()]
    epoch = epochs[0] if epochs else None
    steps = _steps(frame, free, names.get("loss"), epoch)
    if "step" not in names and steps:
        # A batch that counts is no batch size.
        names = {field: name for field, name in names.items() if field == "loss" or name != steps[0]}
        names["step"] = steps[0]
    if epoch is not None and not ("tokens" in names and has_tokens_per_step):
        names.setdefault("step", epoch)
    rates = _rates(frame, [name for name in free if name not in names.values()])
    if rates:
        names.setdefault("learning_rate", rates[0])
    _require(frame, names, place, needs_rates=needs_rates)
    others = tuple(name for name in losses if name != names["loss"] and usable_numbers(frame[name]).any())
    counts_epochs = "step" in names and is_epoch(names["step"])
    notes = _choices(names, others, [] if counts_epochs else steps, rates)
    return Columns(names, others, epoch, counts_epochs, tuple(f"{place}: {line}" for line in notes))


def _said(frame: pd.DataFrame, chosen: Mapping[str, str] | None, place: str) -> dict[str, str]:
    """Columns by quantity as the user said."""
    names = by_quantity(chosen or {}, KNOWN)
    absent = [name for name in names.values() if name not in set(map(str, frame.columns))]
    if absent:
        raise ArgumentError(f"{place}: `columns` names {listed(absent)}, but the table has {listed(frame.columns)}.")
    return names


def _require(frame: pd.DataFrame, names: Mapping[str, str], place: str, *, needs_rates: bool) -> None:
    missing = ["loss"] if "loss" not in names else []
    missing += ["step"] if "step" not in names and "tokens" not in names else []
    if missing:
        missing += ["learning_rate"] if needs_rates and "learning_rate" not in names else []
        raise missing_columns(frame, missing, names, KNOWN, place)


def _choices(names: Mapping[str, str], losses: Sequence[str], steps: Sequence[str], rates: Sequence[str]) -> list[str]:
    """A line for each quantity of which there were several."""
    notes = []
    if losses:
        is_part = loss_rank(names["loss"]) == COMPONENT and phase_of(names["loss"]) != "val"
        is_part = is_part and any(loss_rank(name) == COMPONENT for name in losses)
        part = ", a part of a loss whose sum is not logged" if is_part else ""
        notes.append(
            f"the loss is column {names['loss']!r}{part}; {_some(losses)} not used (choose with "
            f"`columns={{'loss': NAME}}`, --column loss=NAME)"
        )
    for field, found, what in (("step", steps, "step"), ("learning_rate", rates, "learning rate")):
        others = [name for name in found if name != names.get(field)]
        if others and field in names:
            notes.append(f"the {what} is column {names[field]!r}; {_some(others)} not used (--column {field}=NAME)")
    return notes


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


def _losses(frame: pd.DataFrame, free: Sequence[str]) -> list[str]:
    """Columns of losses, the best first: of training before validation, of a step before means, a sum before parts."""
    ranked = []
    for at, name in enumerate(free):
        rank = loss_rank(name)
        if rank is None:
            continue
        count = int(np.count_nonzero(usable_numbers(frame[name])))
        if count or rank < COMPONENT:
            words = words_of(name)
            is_said = "loss" in words or rank >= ERROR
            ranked.append((count < LEAST, rank, phase_of(name) == "val", not is_said, len(words), at, name))
    found = sorted(ranked)
    # Errors, perplexities and parts are taken only where nothing better is there, and are no alternative to it.
    best = found[0][1] if found else 0
    return [one[-1] for one in found if one[1] <= max(best, SMOOTHED)]


def _rates(frame: pd.DataFrame, free: Sequence[str]) -> list[str]:
    ranked = [(rank, at, name) for at, name in enumerate(free) if (rank := rate_rank(name)) is not None]
    return [name for _, _, name in sorted(ranked) if usable_numbers(frame[name]).any() or not len(frame)]


def _steps(frame: pd.DataFrame, free: Sequence[str], loss: str | None, epoch: str | None) -> list[str]:
    """Columns that count updates, the best first: those that are whole and there in every row with a loss."""
    is_point = np.ones(len(frame), dtype=bool) if loss is None else is_filled(frame, loss)
    ranked = sorted((rank, at, name) for at, name in enumerate(free) if (rank := step_rank(name)) is not None)
    names = [name for _, _, name in ranked]
    good = [name for name in names if _counts(usable_numbers(frame[name], np.nan), is_point)]
    if good:
        return good
    if epoch is not None:
        within = sorted((r, name) for name in free if (r := step_rank(name, within_epoch=True)) is not None)
        batches = [name for _, name in within if _counts(usable_numbers(frame[name], np.nan), is_point)]
        if batches:
            return batches
        # A count that stands in no row with a loss, or never changes, is worse than epochs that do.
        numbers = {name: usable_numbers(frame[name], np.nan)[is_point] for name in names}
        names = [name for name, values in numbers.items() if len(np.unique(values[np.isfinite(values)])) > 1]
    return names


def _counts(values: Float[np.ndarray, " row"], is_point: Bool[np.ndarray, " row"]) -> bool:
    values = values[is_point]
    if len(values) == 0 or np.isnan(values).any() or np.any(values < 0) or np.any(values != np.rint(values)):
        return False
    return len(values) < LEAST or float(np.ptp(values)) > 0


def usable_numbers(cells: Any, empty: float | None = None) -> Any:
    """Which cells are finite numbers; with `empty` the numbers themselves, and it where there is none."""
    if pd.api.types.is_bool_dtype(cells.dtype) or getattr(cells.dtype, "kind", "O") in "mMc":
        values = np.full(len(cells), np.nan)
    else:
        values = np.asarray(pd.to_numeric(cells, errors="coerce"), dtype=np.float64)
    is_usable = np.isfinite(values)
    return is_usable if empty is None else np.where(is_usable, values, empty)


def is_filled(frame: pd.DataFrame, column: str) -> Bool[np.ndarray, " row"]:
    """Which rows say something in a column; in text a written nan is something, in numbers it is an empty cell."""
    cells = frame[column]
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells.notna().to_numpy()
    return cells.notna().to_numpy() & ~is_empty_text(cells.astype(str).str.strip())


def by_quantity(chosen: Mapping[str, str], known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Quantity to column, where a quantity may be called by any name under which its column is recognised.

    Raises:
        ArgumentError: If a key is no such name, or two keys are one quantity.
    """
    found: dict[str, str] = {}
    said: dict[str, str] = {}
    for key, column in chosen.items():
        plain = str(key).strip().lower()
        field = next((one for one, names in known.items() if plain in {one, *(name.lower() for name in names)}), None)
        if field is None:
            allowed = "; ".join(f"{one} ({', '.join(n for n in names if n != one)})" for one, names in known.items())
            raise ArgumentError(
                f"`columns` maps {key!r}, which is no quantity. Quantities, and other names of each, are: {allowed}."
            )
        if field in found:
            raise ArgumentError(f"`columns` maps {said[field]!r} and {key!r}, but both are the {field}. Keep one.")
        found[field], said[field] = column, str(key)
    return found


def size_unit(column: str) -> float:
    """Parameters per unit of a size column: 1e6 for names that end with _M, 1e9 for _B, else 1."""
    return {"m": 1e6, "b": 1e9}.get(column.strip().lower().rpartition("_")[2], 1.0)


def _matches(available: Sequence[str], known: Sequence[str]) -> list[str]:
    by_name: dict[str, list[str]] = {}
    for column in available:
        for form in _forms(column):
            by_name.setdefault(form, []).append(column)
    found = [column for name in known for column in by_name.get(name, ())]
    return list(dict.fromkeys(found))


def _forms(column: str) -> set[str]:
    plain = re.sub(r"\s+", " ", str(column)).strip().lower()
    forms = {plain, plain.replace(" ", "_")}
    for prefix in PREFIXES:
        if plain.startswith(prefix):
            tail = plain.removeprefix(prefix)
            kind = prefix.removesuffix("/")
            forms |= {f"{kind}_{tail}"} if kind in {"eval", "val", "test", "validation"} else {tail, f"{kind}_{tail}"}
    return forms
