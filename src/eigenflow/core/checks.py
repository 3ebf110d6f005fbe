"""Arguments checked where they enter: kinds, choices, numbers within bounds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError, NonFiniteError

__all__ = ["MOST_WHOLE", "check_choice", "check_kind", "check_number", "check_whole", "real_array"]

# Up to here every whole number is exact in double precision.
MOST_WHOLE = 2**53
_NUMBER = (int, float, np.integer, np.floating)


def check_number(name: str, value: Any, low: float = -1e30, high: float = 1e30) -> float:
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


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse what is not among the words allowed."""
    if not isinstance(value, str) or value not in allowed:
        raise ArgumentError(f"Unknown `{name}` {_shown(value)}. Available: {', '.join(map(repr, sorted(allowed)))}.")


def check_kind(name: str, value: object, kind: type | tuple[type, ...], words: str) -> None:
    """Refuse an argument of a wrong kind; `words` say what it must be, and how to make one."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ArgumentError(f"`{name}` must be {words}, but is {_shown(value)} ({type(value).__name__}).")


def real_array(name: str, values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Give real numbers as an array in double precision, whatever its shape; refuse texts, complex and ragged ones."""
    try:
        found = np.asarray(values)
        is_real = found.dtype.kind in "iufb"
        if is_real or found.dtype.kind == "O":
            return np.array(found, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ArgumentError(f"`{name}` must be real numbers, but is {_shown(values)}.")


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "a number of more than 30 digits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
