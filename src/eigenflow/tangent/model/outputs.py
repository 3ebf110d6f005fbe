"""Which of a model's outputs is measured: the tensor itself, or the obvious one of a tuple, dict or ModelOutput."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from eigenflow.core.errors import ArgumentError, ModelError

__all__ = ["Output", "chosen_output", "described_output", "name_output"]

# A key, an index, or a function of what the model returns; None takes the obvious one.
Output = str | int | Callable[[Any], Tensor] | None

# What libraries call the outputs that a loss sees, the first one found is taken.
OBVIOUS = ("logits", "prediction_logits", "logits_per_image", "start_logits", "prediction", "predictions", "pred")
OBVIOUS += ("sample", "reconstruction", "output", "outputs", "out", "last_hidden_state", "y_hat", "y")


def name_output(returned: Any, output: Output) -> Output:
    """The key or index that is taken from what a model returned; None for a tensor itself.

    Raises:
        ModelError: If it is not obvious which one.
    """
    if output is not None or isinstance(returned, Tensor):
        return output
    if isinstance(returned, Mapping):
        keys = [key for key, value in returned.items() if _is_candidate(value)]
        named = [key for key in OBVIOUS if key in keys]
        found = named[:1] or (keys if len(keys) == 1 else [])
        have = f"keys {list(returned)}"
    elif isinstance(returned, Sequence) and not isinstance(returned, str):
        keys = [index for index, value in enumerate(returned) if _is_candidate(value)]
        # Recurrent layers, attention and many models return the outputs first and what else there is behind them.
        found = keys[:1] if keys and (keys[0] == 0 or len(keys) == 1) else []
        have = f"{len(returned)} entries"
    else:
        found, have = [], "no entries that could be looked through"
    if not found:
        raise ModelError(
            f"`model` returns {type(returned).__name__} with {have}, and which of it the loss sees is not obvious. "
            f"Say it: Probe(..., output=key or index or function of what the model returns)."
        )
    return found[0]


def chosen_output(returned: Any, output: Output) -> Tensor:
    """Take the outputs that the loss sees out of what the model returned."""
    try:
        if callable(output):
            found = output(returned)
        elif output is None:
            found = returned
        elif isinstance(output, str) and not isinstance(returned, Mapping):
            found = getattr(returned, output)
        else:
            found = returned[output]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ArgumentError(
            f"`output` must be a key, index or function of what the model returns ({type(returned).__name__}"
            f"{f' with keys {list(returned)}' if isinstance(returned, Mapping) else ''}), but {output!r} gives "
            f"{type(error).__name__}: {error}."
        ) from error
    if not isinstance(found, Tensor):
        raise ModelError(
            f"`model` must return one tensor, or `output` must take one out of it, but what is taken is "
            f"{type(found).__name__}. Pass output=key, index or function, as Probe(..., output='logits')."
        )
    if found.is_complex():
        raise ModelError(
            "`model` returns complex numbers, and the operator is defined for real outputs. Take them apart: "
            "output=lambda z: torch.view_as_real(z).flatten(1)."
        )
    if not found.is_floating_point():
        raise ModelError(
            f"`model` returns {found.dtype}, so no parameter receives a gradient (argmax, rounding to whole numbers "
            f"and comparisons have none). Return the scores before that operation, or take them by `output`."
        )
    return found


def described_output(output: Output) -> str | int | None:
    """What a record says was taken: the key, the index or the function's name; None for a tensor itself."""
    if not callable(output):
        return output
    name = getattr(output, "__name__", "<lambda>")
    return "a function" if name == "<lambda>" else name


def _is_candidate(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.ndim > 0
        and value.dtype
        in (
            torch.float64,
            torch.float32,
            torch.float16,
            torch.bfloat16,
        )
    )
