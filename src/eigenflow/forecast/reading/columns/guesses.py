"""What to say where columns are missing: all of them at once, and which of the others may be meant."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.names import is_epoch, listed, rate_rank, step_rank, words_of

__all__ = ["missing_columns", "rate_candidate"]

# Words of names that a loss or a rate may have, though other things have them too; the more telling ones first.
_MAY_BE_LOSS = (
    "loss", "losses", "nll", "ce", "crossentropy", "entropy", "xent", "objective", "cost", "error", "err", "rmse",
    "mse", "mae", "bpb", "bpc", "ppl", "perplexity", "train", "eval", "val",
)  # fmt: skip
_MAY_BE_RATE = ("lr", "eta", "rate", "alpha", "lrate", "eps")
_NO_STEP = {
    "time", "second", "seconds", "sec", "ms", "timestamp", "elapsed", "memory", "mem", "runtime", "wall", "id", "index",
    "seed", "rank", "flop", "flops",
}  # fmt: skip
_NO_LOSS = _NO_STEP | {"step", "steps", "total", "warmup", "size", "params", "tokens", "norm", "batch", "epoch", "grad"}
_WHAT = {"loss": "the loss", "step": "the step", "learning_rate": "the learning rate"}
MOST_ROWS = 20_000
FARTHEST = 1e100


def missing_columns(
    frame: pd.DataFrame,
    missing: Sequence[str],
    found: Mapping[str, str],
    known: Mapping[str, Sequence[str]],
    place: str,
) -> ArgumentError:
    """One error for all columns that are missing, with the options that may mend it.

    Args:
        frame: The table.
        missing: Quantities without a column, of loss, step and learning_rate.
        found: Columns of the others.
        known: Recognised names by quantity.
        place: The file.
    """
    kept = {found.get(field) for field in ("loss", "step", "learning_rate", "curve")}
    options = _options(frame, missing, [str(name) for name in frame.columns if str(name) not in kept])
    said = [_WHAT[field] for field in missing]
    text = f"{place}: there is no column of {' and of '.join(filter(None, [', of '.join(said[:-1]), said[-1]]))}. "
    text += f"The table has {listed(frame.columns)}. "
    if options:
        pairs = " ".join(f"--column {_quoted(f'{field}={name}')}" for field, name in options.items())
        mapping = ", ".join(f"{field!r}: {name!r}" for field, name in options.items())
        text += f"If you mean these, say so: {pairs} (`columns={{{mapping}}}`). "
    rest = [field for field in missing if field not in options]
    if rest:
        names = "; ".join(f"{', '.join(known[field][:6])}, ... for {_WHAT[field]}" for field in rest)
        ways = ", ".join(f"`columns={{{field!r}: NAME}}` (--column {field}=NAME)" for field in rest)
        text += f"Recognised names are {names}; for another one pass {ways}. "
    if "learning_rate" in missing:
        text += "Learning rates can also come from a table, `schedules` (--schedules), or be 'constant'. "
    if "step" in missing:
        text += "If each row is a finished run, it is a table for `eigenflow forecast plan`."
    return ArgumentError(text.strip())


def _options(frame: pd.DataFrame, missing: Sequence[str], free: Sequence[str]) -> dict[str, str]:
    """Columns that may be the missing ones, each for one of them, in the order of `missing`."""
    numbers = {name: values for name in free if len(values := _numbers(frame[name])) >= 2}
    found: dict[str, str] = {}
    for field, guess in (("step", _step), ("learning_rate", _rate), ("loss", _loss)):
        if field in missing:
            one = guess({name: values for name, values in numbers.items() if name not in found.values()})
            found |= {} if one is None else {field: one}
    return {field: found[field] for field in missing if field in found}


def rate_candidate(frame: pd.DataFrame, taken: Collection[str]) -> str | None:
    """A column that may hold the learning rates, of those that are nothing else; None if there is none."""
    free = [str(name) for name in frame.columns if str(name) not in taken]
    numbers = {name: values for name in free if len(values := _numbers(frame[name])) >= 2}
    return _rate(numbers)


def _quoted(option: str) -> str:
    return f"'{option}'" if any(sign in option for sign in " ()'\"&;|<>*?$") else option


def _numbers(cells: Any) -> np.ndarray:
    if pd.api.types.is_bool_dtype(cells.dtype) or getattr(cells.dtype, "kind", "O") in "mMc":
        return np.zeros(0)
    values = np.asarray(pd.to_numeric(cells.iloc[:MOST_ROWS], errors="coerce"), dtype=np.float64)
    values = values[np.abs(values) < FARTHEST]
    return values if 2 * len(values) >= min((cells.astype(str).str.strip() != "").sum(), MOST_ROWS) else np.zeros(0)


def _step(columns: Mapping[str, np.ndarray]) -> str | None:
    """A column of whole numbers that mostly rise."""
    ranked = []
    for at, (name, values) in enumerate(columns.items()):
        rises = np.diff(values)
        is_count = np.all(values == np.rint(values)) and np.all(values >= 0) and np.mean(rises > 0) >= 0.5
        if is_count and not set(words_of(name)) & (_NO_STEP | {"tokens"}):
            is_named = step_rank(name) is not None or is_epoch(name) or bool({"step", "iter"} & set(words_of(name)))
            ranked.append((not is_named, bool(np.any(rises <= 0)), at, name))
    return min(ranked)[-1] if ranked else None


def _rate(columns: Mapping[str, np.ndarray]) -> str | None:
    """A column whose name may be one of rates, with values that may be some."""
    ranked = []
    for at, (name, values) in enumerate(columns.items()):
        words = words_of(name)
        place = next((k for k, word in enumerate(_MAY_BE_RATE) if word in words), None)
        if (place is not None or rate_rank(name) is not None) and np.all(values >= 0) and 0 < values.max() <= 10:
            ranked.append((rate_rank(name) is None, place or 0, at, name))
    return min(ranked)[-1] if ranked else None


def _loss(columns: Mapping[str, np.ndarray]) -> str | None:
    """A column that may be a loss by its name, else one of positive values that fall."""
    ranked = []
    for at, (name, values) in enumerate(columns.items()):
        quarter = max(len(values) // 4, 1)
        falls = np.all(values > 0) and np.median(values[-quarter:]) < np.median(values[:quarter])
        place = next((k for k, word in enumerate(_MAY_BE_LOSS) if word in words_of(name)), None)
        is_other = bool(set(words_of(name)) & _NO_LOSS) or rate_rank(name) is not None
        if falls and not is_other:
            ranked.append((place is None, place or 0, at, name))
    return min(ranked)[-1] if ranked else None
