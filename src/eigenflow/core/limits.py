"""Bounds on what a file may ask for, so that a stranger's file costs no more than is said here.

A limit is far above what people have, and stops what would fill the memory or never end. Each can be raised: on the
command line by `eigenflow --limit NAME=VALUE ...`, in Python by `with ef.limits(NAME=VALUE):`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace

from eigenflow.core.errors import ArgumentError, LimitError

__all__ = ["Limits", "current_limits", "limits", "parse_limits", "within"]


@dataclass(frozen=True)
class Limits:
    """What one input may hold.

    Attributes:
        file_bytes: Of one file, in bytes, after decompression.
        rows: Of one table.
        depth: Of nested JSON and TOML.
        steps: Updates of one run or schedule; rates are held one by one, 8 bytes each.
        curves: Runs read at once.
        cells: Of a grid on which the transport equation is solved, times the number of output times.
    """

    file_bytes: int = 2 * 2**30
    rows: int = 50_000_000
    depth: int = 64
    steps: int = 20_000_000
    curves: int = 20_000
    cells: int = 50_000_000


_current: ContextVar[Limits] = ContextVar("limits", default=Limits())  # noqa: B039  frozen


def current_limits() -> Limits:
    """The limits that hold here."""
    return _current.get()


@contextmanager
def limits(**changes: float) -> Iterator[Limits]:
    """Raise or lower limits for what is read and solved inside.

    Args:
        **changes: By name, as in `Limits`; positive whole numbers.

    Raises:
        ArgumentError: If a name or a value is not allowed.
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


def within(name: str, came: float, what: str) -> None:
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
    "depth": "levels of nesting",
    "steps": "updates",
    "curves": "curves",
    "cells": "cells",
}


def _spelled(value: float) -> str:
    return f"{value:,.0f}" if value < 1e15 else f"{value:.3g}"


def _checked(name: str, value: float) -> int:
    known = [field.name for field in fields(Limits)]
    if name not in known:
        raise ArgumentError(f"A limit must be one of {', '.join(known)}, but is {name!r}. Give NAME=VALUE.")
    if not (isinstance(value, int | float) and 1 <= value < 2**63):  # also refuses NaN
        raise ArgumentError(f"Limit `{name}` must be a positive number, but is {value!r}. Give, say, {name}=1e9.")
    return int(value)
