"""Several runs in one table: which columns tell them apart.

A column of runs (`curve`, `run`, `name`) is one by its name. Others that may be one, such as a seed or a learning rate,
are used where the steps say that there are several runs: where they go back to the beginning, or occur twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from eigenflow.forecast.reading.columns.names import words_of
from eigenflow.forecast.reading.columns.recognise import Columns, usable_numbers
from eigenflow.forecast.reading.rows.hidden_runs import begins_anew
from eigenflow.forecast.reading.rows.repeated_steps import is_rank
from eigenflow.forecast.reading.rows.stacked_runs import stacked

__all__ = ["Runs", "grouped", "runs_of"]

_NAMES = {
    # What people call a run, or the member of a group of runs; the more telling names first.
    "run": "run member seed fold trial experiment exp job model replica replicate ensemble repeat rep config variant "
    "method setting arch architecture sweep instance case task dataset id uuid",
    "beside it": "id name number num no idx index key label tag hash run random",
    # What is set for a run: it tells runs apart, but may also change within one.
    "setting": "optimizer scheduler schedule lr learning_rate peak_lr max_lr base_lr batch_size bs global_batch_size "
    "weight_decay wd dropout width depth hidden hidden_size d_model n_layer n_layers num_layers layers heads n_head "
    "rank beta1 beta2 momentum warmup warmup_steps temperature alpha gamma precision dtype subset group condition data "
    "tokens_per_step pair branch hparams total_steps max_steps total_epochs num_epochs max_epochs train_tokens",
}
_RUNS, _SECOND_WORDS, _SETTINGS = (names.split() for names in _NAMES.values())
MOST_CANDIDATES = 12
MOST_TOGETHER = 3
# Steps that go back more often than a run is started again are those of several runs, or in no order.
MOST_RESTARTS = 1000


@dataclass(frozen=True)
class Runs:
    """The runs of a table.

    Attributes:
        numbers: Of the run of each row, from 0 in the order of the file.
        names: Of each run, None where the table has no name for it.
        columns: That tell them apart.
        added: Those of them that were not asked for by their name.
        settings: Columns that may tell runs apart, if these do not.
        are_stacked: Whether some are told apart only by their steps, which begin anew.
        ignored: A column that is called like one of runs, and numbers rows.
    """

    numbers: Int[np.ndarray, " row"]
    names: tuple[str | None, ...]
    columns: tuple[str, ...]
    added: tuple[str, ...]
    settings: tuple[str, ...] = ()
    are_stacked: bool = False
    ignored: str | None = None

    @property
    def notes(self) -> list[str]:
        """How they were told apart, where that was found out."""
        count = len(self.names)
        notes = [f"{count} runs, told apart by {' and '.join(map(repr, self.columns))}"] if self.added else []
        if self.ignored is not None:
            notes.append(f"column {self.ignored!r} numbers the rows of one run, and tells no runs apart")
        if self.are_stacked:
            ends = " to ".join(filter(None, (self.names[0], self.names[-1])))
            notes.append(
                f"{count} runs, of which some are told apart by nothing but their steps, which begin anew; "
                f"called {ends}"
            )
        return notes

    def rows(self) -> Iterator[Any]:
        """Rows of each run: where they stand together, as in most tables, a slice, which costs a tenth of a choice."""
        order = np.argsort(self.numbers, kind="stable")
        for at in np.split(order, np.flatnonzero(np.diff(self.numbers[order])) + 1):
            yield slice(at[0], at[-1] + 1) if at[-1] - at[0] == len(at) - 1 else at


def runs_of(
    frame: pd.DataFrame,
    columns: Columns,
    is_point: Bool[np.ndarray, " row"],
    order: Float[np.ndarray, " row"],
    *,
    is_said: bool = False,
) -> Runs:
    """Tell the runs of a table apart.

    Args:
        frame: The table.
        columns: What is what in it.
        is_point: Rows with a loss.
        order: Rises along each run.
        is_said: Whether the user named the column of runs.
    """
    losses = usable_numbers(frame[columns.names["loss"]], np.nan)
    keys = [columns.names[field] for field in ("curve", "size") if field in columns.names]
    numbers = grouped(frame, keys)
    ignored = None
    if "curve" in columns.names and not is_said and _numbers_rows(frame, columns.names["curve"], is_point, order):
        ignored, *keys = keys
        numbers = grouped(frame, keys)
    used = is_point & np.isfinite(order)
    added: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    within = np.zeros(len(frame), dtype=np.int64)
    if used.any() and not _is_settled(numbers[used], order[used], losses[used], strictly=True):
        candidates = list(_candidates(frame, columns, used))[:MOST_CANDIDATES]
        added = _telling(frame, candidates, numbers, used, order, losses) or ()
        if not added:
            settings = tuple(name for name, _ in candidates)
            added, within = _partly_telling(frame, columns, keys, settings, used, order, losses)
        numbers = grouped(frame, [*keys, *added])
    curve = columns.get("curve") if columns.get("curve") in keys else None
    names = _names(frame, numbers, curve, added)
    if within.any():
        base = int(within.max()) + 1
        pairs, numbers = np.unique(numbers * base + within, return_inverse=True)
        names = tuple(_numbered(names[pair // base], pair % base) for pair in pairs.tolist())
    return Runs(numbers, names, (*keys, *added), added, settings, bool(within.any()), ignored)


def grouped(frame: pd.DataFrame, keys: Sequence[str]) -> Int[np.ndarray, " row"]:
    """Number of each row's group by the values of columns, in the order of their first rows."""
    if not keys:
        return np.zeros(len(frame), dtype=np.int64)
    numbers = pd.factorize(_text(frame[keys[0]]))[0]
    for key in keys[1:]:
        codes, said = pd.factorize(_text(frame[key]))
        numbers = pd.factorize(numbers * max(len(said), 1) + codes)[0]
    return numbers.astype(np.int64)


def _text(cells: Any) -> np.ndarray:
    return cells.astype(str).str.strip().where(cells.notna(), "").to_numpy(dtype=object)


def _numbers_rows(frame: pd.DataFrame, name: str, is_point: Any, order: Float[np.ndarray, " row"]) -> bool:
    """Whether a column that is called like one of runs has another value in every row of what is one run."""
    steps = order[is_point]
    if len(steps) < 3 or not np.isfinite(steps).all() or np.any(np.diff(steps) <= 0):
        return False
    cells: Any = frame.loc[is_point, name]
    numbers = cells.astype(str).str.extract(r"(\d+)\D*$", expand=False)
    counts = np.diff(usable_numbers(numbers, np.nan))
    return bool(np.all(counts == counts[0]) and counts[0] > 0)


def _telling(
    frame: pd.DataFrame,
    candidates: Sequence[tuple[str, bool]],
    numbers: Int[np.ndarray, " row"],
    used: Bool[np.ndarray, " row"],
    order: Float[np.ndarray, " row"],
    losses: Float[np.ndarray, " row"],
) -> tuple[str, ...] | None:
    """The fewest columns that leave no run whose steps go back to its beginning or occur twice, if there are any."""
    steps, values, base = order[used], losses[used], numbers[used]
    has_runs = not _is_settled(base, steps, values, strictly=False)
    # A late step back is a restart, unless the run is another one by its name: its settings may change then.
    codes = {name: pd.factorize(_text(frame[name]))[0][used] for name, is_run in candidates if has_runs or is_run}
    for together in range(1, MOST_TOGETHER + 1):
        for chosen in combinations(codes, together):
            split = base
            for name in chosen:
                split = pd.factorize(split * len(frame) + codes[name])[0]
            is_one_a_row = np.median(np.bincount(split)) < 2
            if not is_one_a_row and _is_settled(split, steps, values, strictly=not has_runs):
                return tuple(name for name in map(str, frame.columns) if name in chosen)
    return None


def _partly_telling(
    frame: pd.DataFrame,
    columns: Columns,
    keys: Sequence[str],
    settings: Sequence[str],
    used: Bool[np.ndarray, " row"],
    order: Float[np.ndarray, " row"],
    losses: Float[np.ndarray, " row"],
) -> tuple[tuple[str, ...], Int[np.ndarray, " row"]]:
    """Settings that are constant in each stretch of rising steps, and the number of each run among those they share."""
    stretch = np.cumsum(np.diff(order[used], prepend=-np.inf) < 0)
    count = int(stretch[-1]) + 1
    constant = []
    for name in settings:
        codes = pd.factorize(_text(frame[name]))[0][used]
        if len(np.unique(stretch * len(frame) + codes)) == count:
            constant.append(name)
    for chosen in (tuple(constant), ()):
        numbers = grouped(frame, [*keys, *chosen])
        within = stacked(frame, columns, numbers, used, order, losses)
        both = pd.factorize(numbers * len(frame) + within)[0]
        if within.any() and _is_settled(both[used], order[used], losses[used], strictly=False):
            return chosen, within
    return (), np.zeros(len(frame), dtype=np.int64)


def _candidates(frame: pd.DataFrame, columns: Columns, used: Any) -> Iterator[tuple[str, bool]]:
    """Columns that may tell runs apart, neither constant nor numbering rows; whether by name they are runs."""
    taken = {columns.get(field) for field in ("loss", "step", "tokens", "curve", "size")} | set(columns.other_losses)
    rate, batch = columns.get("learning_rate"), columns.get("batch")
    ranked = []
    for at, name in enumerate(map(str, frame.columns)):
        plain = "_".join(words_of(name))
        named = _run_rank(name)
        place = named if named is not None else _SETTINGS.index(plain) if plain in _SETTINGS else None
        if name in {rate, batch}:
            place = _SETTINGS.index("lr") if name == rate else _SETTINGS.index("batch_size")
        if place is None or name in taken or is_rank(frame, name):
            continue
        count = _distinct(frame, name, used)
        if 1 < count <= used.sum() / 2:
            ranked.append((named is None, place, at, name))
    for is_setting, _, _, name in sorted(ranked):
        yield name, not is_setting


def _distinct(frame: pd.DataFrame, name: str, which: Bool[np.ndarray, " row"]) -> int:
    return len(np.unique(pd.factorize(_text(frame[name]))[0][which]))


def _run_rank(name: str) -> int | None:
    words = words_of(name)
    found = [word for word in words if word in _RUNS and word != "id"] or [word for word in words if word == "id"]
    rest = [word for word in words if word not in _RUNS and word not in _SECOND_WORDS]
    return _RUNS.index(found[0]) if found and not rest else None


def _is_settled(
    numbers: Int[np.ndarray, " point"],
    order: Float[np.ndarray, " point"],
    losses: Float[np.ndarray, " point"],
    *,
    strictly: bool,
) -> bool:
    """Whether the steps of every run rise: strictly, or but for restarts that keep a part of what was before."""
    by_run = np.argsort(numbers, kind="stable")
    run, step, loss = numbers[by_run], order[by_run], losses[by_run]
    is_same = np.diff(run) == 0
    change = np.diff(step)
    if np.any(is_same & (change == 0) & (np.diff(loss) != 0)):
        return False
    falls = np.flatnonzero(is_same & (change < 0))
    if len(falls) == 0 or strictly or len(falls) > MOST_RESTARTS:
        return len(falls) == 0
    starts = np.flatnonzero(np.diff(run, prepend=-1))
    for fall in falls.tolist():
        start = starts[np.searchsorted(starts, fall, side="right") - 1]
        if begins_anew(step[start : fall + 1], float(step[fall + 1])):
            return False
    return True


def _names(
    frame: pd.DataFrame, numbers: Int[np.ndarray, " row"], curve: str | None, added: Sequence[str]
) -> tuple[str | None, ...]:
    """A name for each run: what its column says, and for others `column=value`, or the value if it is a word."""
    count = int(numbers.max()) + 1 if len(numbers) else 0
    first = np.zeros(count, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    parts: list[list[str]] = [[] for _ in range(count)]
    for name in ([curve] if curve else []) + list(added):
        said = _text(frame[name].iloc[first])
        for part, value in zip(parts, said.tolist(), strict=True):
            is_word = name == curve or (_run_rank(name) is not None and not _is_number(value))
            part.append(value if is_word else f"{name}={value}")
    return tuple(", ".join(filter(None, part)) or None for part in parts)


def _numbered(name: str | None, run: int) -> str | None:
    return name if run == 0 else ", ".join(filter(None, [name, f"run {run}"]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
