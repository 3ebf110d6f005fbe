"""Bounds on what a file may ask for, so that a stranger's file costs no more than is said here.

A limit is far above what people have, and stops what would fill the memory or never end. Each can be raised: on the
command line by `eigenflow --limit NAME=VALUE ...`, in Python by `with ef.limits(NAME=VALUE):`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace

from eigenflow.core.errors import ArgumentError, LimitError

__all__ = ["Limits", "current_limits", "limits", "metered", "parse_limits", "spend", "within"]


@dataclass(frozen=True)
class Limits:
    """What one input may hold.

    Attributes:
        file_bytes: Of one file, in bytes, after decompression.
        rows: Of one table.
        table_cells: Of one table, rows times columns.
        depth: Of nested JSON and TOML.
        steps: Updates of one run or schedule; rates are held one by one, 8 bytes each.
        curves: Runs read at once.
        total_steps: Updates of all runs read at once.
        record_bytes: Of all measurements of one run, in memory.
        cells: Of a grid on which the transport equation is solved, times the number of output times.
        entries: Of matrices that a solve holds at once, 8 bytes each.
        work: Of one solve, in evaluations of a path or a source at a point, each about 0.1 microseconds.
        config_bytes: Of a configuration in TOML, and of what `--set` adds to it.
    """

    file_bytes: int = 2 * 2**30
    rows: int = 50_000_000
    table_cells: int = 200_000_000
    depth: int = 64
    steps: int = 20_000_000
    curves: int = 20_000
    total_steps: int = 500_000_000
    record_bytes: int = 16 * 2**30
    cells: int = 20_000_000
    entries: int = 150_000_000
    work: int = 1_000_000_000
    config_bytes: int = 200_000


_USUAL = Limits()
_current: ContextVar[Limits] = ContextVar("limits", default=_USUAL)


def current_limits() -> Limits:
    """The limits that hold here."""
    return _current.get()


@contextmanager
def limits(**changes: int | float) -> Iterator[Limits]:
    """Raise or lower limits for what is read and solved inside.

    Args:
        **changes: By name, as in `Limits`; positive whole numbers.

    Raises:
        ArgumentError: If a name or a value is not allowed.

    Examples:
        >>> with limits(rows=1000) as inside:
        ...     print(inside.rows)
        1000
        >>> current_limits().rows
        50000000
    """
    token = _current.set(replace(current_limits(), **{name: _checked(name, value) for name, value in changes.items()}))
    try:
        yield current_limits()
    finally:
        _current.reset(token)


def parse_limits(pairs: list[str]) -> dict[str, float]:
    """Read `NAME=VALUE` pairs of the command line.

    Raises:
        ArgumentError: If one cannot be read.
    """
    changes = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        changes[name.strip()] = _checked(name.strip(), value)
    return changes


def within(name: str, came: int | float, what: str) -> None:
    """Refuse what is above a limit.

    Args:
        name: Of the limit.
        came: How much was asked for.
        what: That asked for it, in words that stand before "asks for": "`a.csv`, row 3".

    Raises:
        LimitError: With the limit, what came, and how to raise it.
    """
    most = getattr(current_limits(), name)
    if came > most:
        raise LimitError(
            f"{what} asks for {_spelled(came)} {_WORDS[name]}; at most {_spelled(most)} are allowed. If that is meant, "
            f"raise the limit: `eigenflow --limit {name}=VALUE ...`, or `with ef.limits({name}=VALUE):` in Python."
        )


_WORDS = {
    "file_bytes": "bytes",
    "rows": "rows",
    "table_cells": "cells of a table",
    "depth": "levels of nesting",
    "steps": "updates",
    "curves": "curves",
    "total_steps": "updates in all",
    "record_bytes": "bytes in memory",
    "cells": "cells",
    "entries": "matrix entries",
    "work": "evaluations",
    "config_bytes": "bytes of settings",
}


_meter: ContextVar["list[float] | None"] = ContextVar("meter", default=None)


@contextmanager
def metered() -> Iterator[None]:
    """Count the work of what is done inside, as `spend` tells it, against the limit `work`."""
    token = _meter.set([0.0])
    try:
        yield
    finally:
        _meter.reset(token)


def spend(amount: int | float, what: str = "The solve") -> None:
    """Count work that is about to be done.

    Args:
        amount: In evaluations at a point, about 0.1 microseconds each.
        what: That asks for it.

    Raises:
        LimitError: If it is more in all than the limit `work` allows.
    """
    meter = _meter.get()
    if meter is not None:
        meter[0] += amount
        within("work", meter[0], what)


def _spelled(value: int | float) -> str:
    return f"{value:,.0f}" if value < 1e15 else f"{value:.3g}"


def _checked(name: str, value: int | float) -> int:
    known = [field.name for field in fields(Limits)]
    if name not in known:
        raise ArgumentError(f"A limit must be one of {', '.join(known)}, but is {name!r}. Give NAME=VALUE.")
    if not (isinstance(value, int | float) and 1 <= value < 2**63):  # also refuses NaN
        raise ArgumentError(f"Limit `{name}` must be a positive number, but is {value!r}. Give, say, {name}=1e9.")
    return int(value)
