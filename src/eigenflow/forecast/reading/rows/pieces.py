"""Runs of one name from several places: pieces of one run if its steps go on, else runs of their own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.forecast.reading.rows.drafts import Draft
from eigenflow.forecast.reading.rows.hidden_runs import begins_anew

__all__ = ["join_pieces"]

LEAST_COMMON = 3


def join_pieces(drafts: Sequence[Draft], notes: list[str]) -> list[Draft]:
    """Join the pieces of runs, in the order of their steps.

    A piece goes on where the one before ended, or goes over the end of it again, as a restart does. One that begins
    anew is another run, named by what differs in the files' paths; or the same run, if its losses are the same.

    Args:
        drafts: Runs of all sources.
        notes: Gets a line for what was named anew, or found twice.

    Raises:
        ArgumentError: If runs of one name begin anew and nothing in their paths tells them apart.
    """
    groups: dict[tuple[str, float | None], list[Draft]] = {}
    for draft in drafts:
        groups.setdefault((draft.name, draft.size), []).append(draft)
    within("curves", len(groups), drafts[0].file if drafts else "")
    found: list[Draft] = []
    for group in groups.values():
        found += [group[0]] if len(group) == 1 else _joined(group, notes)
    return found


def _joined(group: Sequence[Draft], notes: list[str]) -> list[Draft]:
    pieces = sorted(_without_copies(group, notes), key=lambda draft: int(draft.points.steps[0]))
    kept = np.zeros(0, dtype=np.int64)
    for piece in pieces:
        first = int(piece.points.steps[0])
        if begins_anew(kept, first):
            return _named_apart(pieces, notes)
        kept = np.concatenate([kept[kept < first], piece.points.steps])
    return [pieces[0].followed_by(pieces[1:])] if len(pieces) > 1 else list(pieces)


def _without_copies(group: Sequence[Draft], notes: list[str]) -> list[Draft]:
    """Pieces that are not the beginning of another one, as the log of an earlier checkpoint is."""
    longest = sorted(group, key=lambda draft: -len(draft.points.steps))
    kept: list[Draft] = []
    for draft in longest:
        whole = next((other for other in kept if _is_within(draft, other)), None)
        if whole is None:
            kept.append(draft)
        else:
            notes.append(f"{draft.file}: its {len(draft.points.steps)} points are all in {whole.file}, too; read once")
    return [draft for draft in group if any(draft is one for one in kept)]


def _is_within(part: Draft, whole: Draft) -> bool:
    is_same = len(part.points.steps) >= LEAST_COMMON
    for steps, values, all_steps, all_values in (
        (part.points.steps, part.points.losses, whole.points.steps, whole.points.losses),
        (part.rate_steps, part.rates, whole.rate_steps, whole.rates),
    ):
        common, here, there = np.intersect1d(steps, all_steps, return_indices=True)
        is_same = is_same and len(common) == len(np.unique(steps)) and np.array_equal(values[here], all_values[there])
    return is_same


def _named_apart(pieces: Sequence[Draft], notes: list[str]) -> list[Draft]:
    name, files = pieces[0].name, [piece.file for piece in pieces]
    own = _differing(files)
    if len(set(own)) < len(own):
        raise ArgumentError(
            f"{len(pieces)} runs called {name!r} begin anew at step {pieces[1].points.steps[0]} "
            f"({', '.join(files[:5])}): they are no pieces of one run. Give each a name of its own, in a column "
            f"`curve`, or in files of different names."
        )
    notes.append(
        f"{len(pieces)} runs called {name!r} begin anew and are no pieces of one run; named by what differs in their "
        f"paths: {', '.join(own[:5])}"
    )
    is_stem = all(name == Path(file).name.partition(".")[0] for file in files)
    return [
        replace(piece, name=part if is_stem else f"{name} ({part})") for piece, part in zip(pieces, own, strict=True)
    ]


def _differing(files: Sequence[str]) -> list[str]:
    """The last part of each path that differs from all others', without ending; else the paths."""
    parts = [(*Path(file).parts[:-1], Path(file).name.partition(".")[0]) for file in files]
    for back in range(1, min(map(len, parts)) + 1):
        found = [one[-back] for one in parts]
        if len(set(found)) == len(found):
            return found
    return list(files)
