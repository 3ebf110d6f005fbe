"""Names of runs from several files: what stands in folders of their own is told apart by them, unless it is one run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from eigenflow.forecast.reading.columns.names import is_epoch, step_rank
from eigenflow.forecast.reading.files.tables import LogTable, joined
from eigenflow.forecast.reading.rows.hidden_runs import begins_anew

__all__ = ["named_apart"]


def named_apart(tables: Sequence[LogTable]) -> list[LogTable]:
    """Bring metrics of one run together, and name runs by their folders where files of different runs are called alike.

    Tables of one name stay alike if each goes on where the one before it ended, as pieces of a run that was started
    again do; they are joined later.
    """
    groups: dict[str, list[int]] = {}
    tables = _streams_joined(tables)
    for at, table in enumerate(tables):
        groups.setdefault(table.name, []).append(at)
    found = list(tables)
    for name, group in groups.items():
        alike = [tables[at] for at in group]
        if len(group) == 1 or len({table.file for table in alike}) < len(alike) or _are_pieces(alike):
            continue
        names = _differing([table.file for table in alike])
        note = f"{len(alike)} files called {name!r} begin anew: runs of their own, named by what differs in their paths"
        for number, (at, own) in enumerate(zip(group, names, strict=True)):
            notes = (*tables[at].notes, note) if number == 0 else tables[at].notes
            found[at] = replace(tables[at], name=own, notes=notes)
    return found


def _streams_joined(tables: Sequence[LogTable]) -> list[LogTable]:
    """Files that hold one metric each, of one run in one folder, as one table."""
    groups: dict[tuple[str, Path], list[LogTable]] = {}
    for table in tables:
        if table.is_stream:
            groups.setdefault((table.name, Path(table.file).parent), []).append(table)
    made = {}
    for key, group in groups.items():
        first = group[0]
        made[key] = replace(
            first,
            file=" + ".join(table.file for table in group),
            frame=joined([_named_only(table.frame) if len(group) > 1 else table.frame for table in group]),
            rows=np.concatenate([table.rows for table in group]),
            notes=tuple(note for table in group for note in table.notes),
        )
    found = []
    for table in tables:
        if not table.is_stream:
            found.append(table)
        elif (one := made.pop((table.name, Path(table.file).parent), None)) is not None:
            found.append(one)
    return found


def _named_only(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the column of values that each file has under one name."""
    return frame.drop(columns=[name for name in frame.columns if str(name).strip().lower() == "value"])


def _are_pieces(tables: Sequence[LogTable]) -> bool:
    """Whether each table goes on from those before it, in the order of their first steps."""
    steps = [found for table in tables if (found := _steps(table.frame)) is not None]
    if len(steps) < len(tables):
        return False
    before = np.zeros(0)
    for piece in sorted(steps, key=lambda one: float(one[0])):
        if len(before) and begins_anew(before, float(piece[0])):
            return False
        before = np.append(before, piece)
    return True


def _steps(frame: pd.DataFrame) -> np.ndarray | None:
    """The numbers in the best column of steps, None if there is none."""
    names = [str(column) for column in frame.columns]
    ranked = sorted((rank, name) for name in names if (rank := step_rank(name)) is not None)
    name = ranked[0][1] if ranked else next((one for one in names if is_epoch(one)), None)
    if name is None or names.count(name) > 1:
        return None
    values = np.asarray(pd.to_numeric(frame[name], errors="coerce"), dtype=np.float64)
    values = values[np.isfinite(values)]
    return values if len(values) else None


def _differing(files: Sequence[str]) -> list[str]:
    """The part of each path that differs from the others': `a/version_0/metrics.csv` is version_0."""
    parts = [[one for one in Path(file).parts if not one.startswith("checkpoint-")] for file in files]
    if len(set(map(len, parts))) == 1:
        for alike in zip(*parts, strict=True):
            if len(set(alike)) == len(files):
                return list(alike)
    shortest = min(map(len, parts))
    first = next((k for k in range(shortest) if len({one[k] for one in parts}) > 1), shortest)
    last = next((k for k in range(shortest - first) if len({one[-1 - k] for one in parts}) > 1), shortest - first)
    names = ["/".join(one[first : len(one) - last]) for one in parts]
    return [name or Path(file).name for name, file in zip(names, files, strict=True)]
