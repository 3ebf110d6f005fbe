"""Arguments and cells of files, checked where they enter: kinds, whole numbers, and what nobody means."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError

__all__ = [
    "LEAST",
    "MOST",
    "MOST_WHOLE",
    "as_numbers",
    "check_choice",
    "check_kind",
    "check_number",
    "check_usual",
    "check_whole",
    "within_numbers",
]

# Losses, rates, sizes and batches outside of these are slips, and would overflow in products.
LEAST, MOST = 1e-30, 1e30
# Up to here every whole number is exact in double precision.
MOST_WHOLE = 2**53
_NUMBER = (int, float, np.integer, np.floating)


def check_number(name: str, value: Any, low: float = -MOST, high: float = MOST) -> float:
    """Give a finite number within bounds, or say what came."""
    if not isinstance(value, _NUMBER) or isinstance(value, bool | np.bool_):
        raise ArgumentError(f"`{name}` must be a number, but is {_shown(value)}.")
    # An int of any length is compared before it is cast.
    if not low <= value <= high:
        error = ArgumentError if abs(value) < float("inf") else NonFiniteError
        raise error(f"`{name}` must be a number from {low:g} to {high:g}, but is {_shown(value)}.")
    return float(value)


def check_whole(name: str, value: Any, low: int = 0, high: int = MOST_WHOLE, what: str = "number of updates") -> int:
    """Give a whole number within bounds, or say what came."""
    if (
        not isinstance(value, _NUMBER)
        or isinstance(value, bool | np.bool_)
        or not low <= value <= high
        or value != int(value)
    ):
        raise ArgumentError(f"`{name}` must be a whole {what} in [{low:,}, {high:,}], but is {_shown(value)}.")
    return int(value)


def check_usual(name: str, value: Any) -> float:
    """Give a positive number that somebody may mean."""
    return check_number(name, value, LEAST, MOST)


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse what is not among the words allowed."""
    if not isinstance(value, str) or value not in allowed:
        raise ArgumentError(f"Unknown `{name}` {_shown(value)}. Available: {', '.join(map(repr, sorted(allowed)))}.")


def check_kind(name: str, value: object, kind: type | tuple[type, ...], words: str) -> None:
    """Refuse an argument of a wrong kind; `words` say what it must be, and how to make one."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ArgumentError(f"`{name}` must be {words}, but is {_shown(value)} ({type(value).__name__}).")


@contextmanager
def within_numbers(what: str) -> Iterator[None]:
    """Refuse a result that leaves the range of numbers, instead of going on with infinity or NaN.

    Args:
        what: Is computed, for the message: "The forecast".

    Raises:
        NonFiniteError: At the first overflow, division by zero or undefined value inside.
    """
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            yield
    except FloatingPointError as error:
        raise NonFiniteError(
            f"{what} leaves the range of numbers ({error}). The law is far outside of what it was fitted to: look at "
            f"the schedule, the size and the fit's parameters."
        ) from None


def as_numbers(name: str, values: Any, *, finite: bool = True) -> Float[np.ndarray, " value"]:
    """Give numbers along one axis, or say which is none, or not finite."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"`{name}` must be a list of numbers: {error}.") from None
    if array.ndim != 1:
        raise ShapeError(f"`{name}` must have one axis, a value each, but has shape {array.shape}.")
    wrong = np.flatnonzero(~np.isfinite(array))
    if finite and len(wrong):
        raise NonFiniteError(f"`{name}` must be finite, but value {wrong[0]} is {array[wrong[0]]}.")
    return array


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "a number of more than 30 digits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
