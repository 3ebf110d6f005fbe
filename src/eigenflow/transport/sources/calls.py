"""Calling users' functions and checking what comes back."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.core.limits import spend
from eigenflow.transport.calls import on_arrays

__all__ = ["called", "refuse_negative"]

Array = Float[np.ndarray, "..."]


def called(name: str, function: Callable, *arguments: Array) -> Array:
    """Call a function on broadcast, flattened arrays; give its values back in their shape.

    Raises:
        ShapeError: If it does not return one value per entry, or a single number.
        NonFiniteError: If a value is NaN or inf.
    """
    arguments = tuple(np.broadcast_arrays(*arguments))
    shape = arguments[0].shape
    flat = [np.ravel(argument) for argument in arguments]
    spend(len(flat[0]))
    with np.errstate(under="ignore"):
        values = on_arrays(name, function, *flat)
    if values.shape not in ((), flat[0].shape):
        raise ShapeError(
            f"`{name}` must return one value per entry, shape {flat[0].shape}, but returned shape "
            f"{values.shape}. Write it with numpy functions that work element by element."
        )
    values = np.broadcast_to(values, flat[0].shape)
    if not np.all(np.isfinite(values)):
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        where = ", ".join(f"{argument[first]:g}" for argument in flat)
        raise NonFiniteError(
            f"`{name}` must be finite in the domain and at all times solved for, but is not at ({where}). "
            f"Cut the singularity off, or narrow `domain`."
        )
    return values.reshape(shape)


def refuse_negative(name: str, values: Array, hint: str) -> Array:
    """Give values back that are >= 0, refuse others."""
    if values.size and values.min() < 0:
        raise ArgumentError(f"`{name}` must not be negative, but falls to {values.min():g}. {hint}")
    return values
