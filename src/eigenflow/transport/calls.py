"""What a user's function says when it is called on an array it was not written for."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError, EigenflowError

__all__ = ["on_arrays"]


def on_arrays(name: str, function: Callable, *arguments: Float[np.ndarray, " entry"]) -> Any:
    """Call a function on flat arrays; what numpy says of an `if` on an array is said of the argument by its name.

    Raises:
        ArgumentError: If the function takes numbers only.
    """
    try:
        return np.asarray(function(*arguments), dtype=np.float64)
    except EigenflowError:
        raise
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"`{name}` must take an array of {len(arguments[0])} numbers, but says: {error} Write it with numpy "
            f"functions that work element by element, such as np.where instead of if."
        ) from error
