"""Tables of finished runs: size, tokens and final loss, read from CSV or Parquet and checked row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from eigenflow.core.checks import check_kind
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.forecast.checks import as_numbers
from eigenflow.forecast.reading.columns.cells import numbers, require_usual
from eigenflow.forecast.reading.columns.recognise import by_quantity
from eigenflow.forecast.reading.files.parquet import read_parquet
from eigenflow.forecast.reading.files.tables import from_frame, read_delimited, refuse_doubled
from eigenflow.scaling.counts import FLOPS_PER_PARAMETER_TOKEN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ScalingTable", "make_table", "read_scaling_table"]

RECOGNISED = {
    "size": ("size", "params", "model_params", "parameters", "n_params", "N", "num_params"),
    "tokens": ("tokens", "train_tokens", "D", "num_tokens"),
    "loss": ("loss", "val_loss", "final_loss", "smooth_loss", "final_val_loss", "train_loss"),
    "flops": ("flops", "train_flop", "flops_budget", "budget", "C", "train_flops", "compute"),
    "unique_tokens": ("unique_tokens", "U"),
}
# Parts of the names of columns that may hold a quantity, in order, for the example in a message.
HINTS = {
    "size": (("size", "param"), ("size", "size"), ("size", "non_emb")),
    "loss": (("loss", "loss"), ("loss", "nll"), ("loss", "entropy"), ("loss", "ce"), ("loss", "eval"), ("loss", "val")),
    "tokens": (("tokens", "tok"), ("flops", "flop"), ("flops", "compute"), ("tokens", "data"), ("tokens", "seen")),
}
MIN_ROWS = 3
# What a cell without a value says; such a row is refused as one that did not finish.
_EMPTY = ("", "nan", "-nan", "na", "n/a", "#n/a", "null", "none", "<na>")
# Sizes of one table spread over at most about four decades; a factor of a million is millions beside units.
UNIT_GAP = 3e4
# C = 6 N D holds within a factor of 2 to 3 for small models; a larger one is another unit or another count.
FLOPS_GAP = 10.0


@dataclass(frozen=True, repr=False)
class ScalingTable(AbstractPrinted):
    """Finished runs.

    Attributes:
        size: Parameters, by the convention of the table (state it: with or without embeddings).
        tokens: Training tokens seen, repeated ones counted every time.
        loss: Final loss in nats per token.
        unique_tokens: Distinct tokens, or None where every token was seen once.
        source: File, or "arguments".
    """

    size: Float[np.ndarray, " run"]
    tokens: Float[np.ndarray, " run"]
    loss: Float[np.ndarray, " run"]
    unique_tokens: Float[np.ndarray, " run"] | None = None
    source: str = "arguments"

    def __len__(self) -> int:
        return len(self.loss)

    def _card(self) -> Card:
        columns = {"size": self.size, "tokens": self.tokens, "compute": self.flops, "loss": self.loss}
        if self.epochs is not None:
            columns["epochs"] = self.epochs
        rows = [
            (name, f"{figure(float(values.min()), 4)} to {figure(float(values.max()), 4)}")
            for name, values in columns.items()
        ]
        return Card(f"Table of {len(self)} finished runs, from {self.source}", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a run: size, tokens, flops, loss; unique_tokens where tokens were repeated."""
        columns = {"size": self.size, "tokens": self.tokens, "flops": self.flops, "loss": self.loss}
        return pd.DataFrame(columns if self.unique_tokens is None else columns | {"unique_tokens": self.unique_tokens})

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the loss over compute; into new axes if none are given."""
        from eigenflow.plots import axes_or_new, plot_runs

        return plot_runs(self.flops, self.loss, self.size, ax=axes_or_new(ax))

    @property
    def flops(self) -> Float[np.ndarray, " run"]:
        """Training compute by C = 6 N D."""
        return FLOPS_PER_PARAMETER_TOKEN * self.size * self.tokens

    @property
    def epochs(self) -> Float[np.ndarray, " run"] | None:
        """Passes over the unique tokens, at least 1; None where every token was seen once."""
        return None if self.unique_tokens is None else np.maximum(self.tokens / self.unique_tokens, 1.0)

    def take(self, index: np.ndarray) -> "ScalingTable":
        """The rows that a mask or an index picks."""
        unique = None if self.unique_tokens is None else self.unique_tokens[index]
        return ScalingTable(self.size[index], self.tokens[index], self.loss[index], unique, self.source)


def make_table(
    size: Sequence[float] | np.ndarray,
    tokens: Sequence[float] | np.ndarray,
    loss: Sequence[float] | np.ndarray,
    unique_tokens: Sequence[float] | np.ndarray | None = None,
    *,
    source: str = "arguments",
    rows: np.ndarray | None = None,
) -> ScalingTable:
    """Check runs and put them into a table.

    Args:
        size: Parameters of each run.
        tokens: Tokens seen by each run.
        loss: Its final loss.
        unique_tokens: Distinct tokens, at most `tokens`.
        source: Where they come from, for messages.
        rows: Number of each row there, for messages; None counts from 0.

    Raises:
        NonFiniteError: If a value is NaN or infinite.
        ArgumentError: If a value is not positive, there are fewer than 3 runs, lengths differ, or sizes or tokens
            look like a mix of units.
    """
    columns = {"size": size, "tokens": tokens, "loss": loss}
    if unique_tokens is not None:
        columns["unique_tokens"] = unique_tokens
    arrays = {name: as_numbers(name, values, finite=False) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ArgumentError(f"{source}: columns must have one length, but have {lengths}. Drop incomplete runs.")
    for name, values in arrays.items():
        _check_column(name, values, source, _rows(rows, values))
    if len(arrays["loss"]) < MIN_ROWS:
        raise ArgumentError(f"{source}: a table needs at least {MIN_ROWS} runs, but has {len(arrays['loss'])}.")
    for name in ("size", "tokens"):
        _check_units(name, arrays[name], source, _rows(rows, arrays[name]))
    return ScalingTable(**arrays, source=source)


def read_scaling_table(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
) -> ScalingTable:
    """Read a CSV or Parquet file of finished runs.

    Args:
        path: The file.
        columns: Names of its columns for "size", "tokens", "loss", "flops", "unique_tokens", or under another name by
            which one is recognised, as "params"; those left out are recognised by their usual names. Tokens are
            flops / (6 size) where there are none.
        where: Rows to keep, as column -> value (compared as text).

    Returns:
        The checked table.

    Raises:
        ArgumentError: If the file or a column is missing, or a row is not allowed; the message names file and row.
    """
    check_kind("path", path, (str, Path), "a CSV or Parquet file")
    for name, given in (("columns", columns), ("where", where)):
        check_kind(name, {} if given is None else given, Mapping, "a dict, such as {'loss': 'val_loss'}")
    path = Path(path)
    frame = _frame(path)
    frame.index = frame.index + 2  # as an editor counts: the header is row 1
    frame = _keep(frame, where or {}, path)
    asked = by_quantity(columns or {}, RECOGNISED)
    named = {role: _column(frame, role, asked.get(role), path) for role in RECOGNISED}
    _require_columns(frame, named, path)
    values: dict[str, Any] = {
        role: None if name is None else _numbers(frame, name, path) for role, name in named.items()
    }
    size, loss, tokens, flops = (values[role] for role in ("size", "loss", "tokens", "flops"))
    rows = frame.index.to_numpy()
    if tokens is None:
        tokens = flops / FLOPS_PER_PARAMETER_TOKEN / size
    elif flops is not None:
        _check_flops(size, tokens, flops, rows, path)
    return make_table(size, tokens, loss, values["unique_tokens"], source=str(path), rows=rows)


def _frame(path: Path) -> pd.DataFrame:
    try:
        is_there = path.is_file()
    except (OSError, ValueError):  # a name that is too long, or with a NUL
        is_there = False
    if not is_there and not path.exists():
        raise ArgumentError(f"`path` must be a CSV or Parquet file, but there is no file '{path}'.")
    if path.suffix.lower() == ".parquet":
        table = from_frame(read_parquet(path), str(path))
        refuse_doubled(table)
        return table.frame
    frame = read_delimited(path)
    # As pandas does by itself: blank lines are none, and a cell says in many ways that it is empty.
    is_blank = (frame.isna() | (frame == "")).all(axis=1)
    return frame.loc[~is_blank]


def _numbers(frame: pd.DataFrame, column: str, path: Path) -> Any:
    rows = frame.index.to_numpy()
    if pd.api.types.is_numeric_dtype(frame[column].dtype):
        values, _ = numbers(frame[column], rows, f"{path}")
    else:
        text = frame[column].astype(str).str.strip()
        is_empty = frame[column].isna() | text.str.lower().isin(_EMPTY)
        values, _ = numbers(text.where(~is_empty, ""), rows, f"{path}")
    finite = np.isfinite(values)
    require_usual(values[finite], rows[finite], f"{path}", f"value of `{column}`")
    return values


def _rows(rows: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    return np.arange(len(values)) if rows is None else rows


def _keep(frame: pd.DataFrame, where: Mapping[str, str], path: Path) -> pd.DataFrame:
    for column, value in where.items():
        if column not in frame.columns:
            raise ArgumentError(
                f"{path}: `where` names no column '{column}'. It has {', '.join(map(str, frame.columns))}."
            )
        kept = frame[_says(frame[column], value)]
        if kept.empty:
            known = ", ".join(sorted(map(str, frame[column].unique()))[:12])
            raise ArgumentError(f"{path}: no row has {column} = {value}. The column holds {known}.")
        frame = pd.DataFrame(kept)
    return frame


def _says(cells: Any, value: str) -> Any:
    """Where cells are this text, or this number however it is written."""
    same = (cells.astype(str) == str(value)).to_numpy()
    try:
        number = float(value)
    except (TypeError, ValueError):
        return same
    return same | (np.asarray(pd.to_numeric(cells.astype(str), errors="coerce"), dtype=np.float64) == number)


def _column(frame: pd.DataFrame, role: str, asked: str | None, path: Path) -> str | None:
    if asked is not None:
        if asked not in frame.columns:
            raise ArgumentError(
                f"{path}: `columns` maps {role} to '{asked}'. It has {', '.join(map(str, frame.columns))}."
            )
        return asked
    return next((name for name in RECOGNISED[role] if name in frame.columns), None)


def _require_columns(frame: pd.DataFrame, named: Mapping[str, str | None], path: Path) -> None:
    """Refuse a table without a size, a loss, or both of tokens and flops; the example maps all that is missing."""
    missing = [role for role in ("size", "loss") if named[role] is None]
    is_tokenless = not (named["tokens"] or named["flops"])
    if not missing and not is_tokenless:
        return
    listed = [*missing, *(["tokens (or flops)"] if is_tokenless else [])]
    free = [str(name) for name in frame.columns if name not in set(named.values())]
    example: dict[str, str] = {}
    for role in [*missing, *(["tokens"] if is_tokenless else [])]:
        likely = next(((what, name) for what, sign in HINTS[role] for name in free if sign in name.lower()), None)
        what, name = likely or (role, next(iter(free), "NAME"))
        example[what] = name
        free = [one for one in free if one != name]
    options = " ".join(f"--column {what}={name}" for what, name in example.items())
    raise ArgumentError(
        f"{path}: found no column for {_and(listed)}. It has {', '.join(map(str, frame.columns)) or 'none'}. Map "
        f"{'them' if len(listed) > 1 else 'it'}, for example columns={example} ({options})."
    )


def _and(words: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _check_column(name: str, values: np.ndarray, source: str, rows: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise NonFiniteError(
            f"{source}, row {rows[bad[0]]}: `{name}` is {values[bad[0]]} ({len(bad)} such rows). "
            f"Leave out runs that diverged or did not finish."
        )
    require_usual(values, rows, source, f"value of `{name}`")
    bad = np.flatnonzero(values <= 0)
    if len(bad):
        raise ArgumentError(
            f"{source}, row {rows[bad[0]]}: `{name}` must be positive, but is {values[bad[0]]:g} "
            f"({len(bad)} such rows). The laws are fitted to its logarithm."
        )


def _check_units(name: str, values: np.ndarray, source: str, rows: np.ndarray) -> None:
    ordered = np.sort(values)
    gaps = ordered[1:] / ordered[:-1]
    if len(gaps) and gaps.max() > UNIT_GAP:
        low = int(np.flatnonzero(values == ordered[int(gaps.argmax())])[0])
        raise ArgumentError(
            f"{source}, row {rows[low]}: `{name}` jumps from {ordered[int(gaps.argmax())]:g} to "
            f"{ordered[int(gaps.argmax()) + 1]:g} with nothing between, which looks like mixed units (millions beside "
            f"units). Give all rows in one unit."
        )


def _check_flops(size: np.ndarray, tokens: np.ndarray, flops: np.ndarray, rows: np.ndarray, path: Path) -> None:
    product = FLOPS_PER_PARAMETER_TOKEN * size * tokens
    bad = np.flatnonzero(~((flops > product / FLOPS_GAP) & (flops < product * FLOPS_GAP)) & np.isfinite(product))
    if len(bad):
        raise ArgumentError(
            f"{path}, row {rows[bad[0]]}: flops = {flops[bad[0]]:g}, but 6 * size * tokens = {product[bad[0]]:g} "
            f"({len(bad)} such rows). Units are mixed, or the column overflowed; correct it, or leave it out by "
            f"mapping another column."
        )
