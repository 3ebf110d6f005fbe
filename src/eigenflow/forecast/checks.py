"""Numbers of arguments and files, checked where they enter: what nobody means, and what leaves the range of numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_number, real_array
from eigenflow.core.errors import NonFiniteError, ShapeError

__all__ = [
    "LEAST",
    "MOST",
    "as_numbers",
    "check_usual",
    "within_numbers",
]

# Losses, rates, sizes and batches outside of these are slips, and would overflow in products.
LEAST, MOST = 1e-30, 1e30


def check_usual(name: str, value: Any) -> float:
    """Give a positive number that somebody may mean."""
    return check_number(name, value, LEAST, MOST)


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
    array = real_array(name, values)
    if array.ndim != 1:
        raise ShapeError(f"`{name}` must have one axis, a value each, but has shape {array.shape}.")
    wrong = np.flatnonzero(~np.isfinite(array))
    if finite and len(wrong):
        raise NonFiniteError(f"`{name}` must be finite, but value {wrong[0]} is {array[wrong[0]]}.")
    return array
