"""Somebody else's exception inside a model, told so that its owner can act on it: which layer and line, what to do."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import torch
from torch import nn

from eigenflow.core.errors import EigenflowError, ModelError

__all__ = ["explained", "in_our_words", "model_error", "require_memory_left"]

_MIXED_TYPES = re.compile(r"(float|double|half|bfloat16).*(float|double|half|bfloat16)|same dtype", re.IGNORECASE)
_NO_DERIVATIVE = re.compile(
    r"(?:derivative for|forward AD with|forward AD.*?for) [`']?(?:aten::)?(\w+)|(\w+)\.jvp|custom autograd\.Function",
    re.IGNORECASE,
)


def model_error(
    error: BaseException,
    model: nn.Module,
    task: str,
    dtype: torch.dtype,
    kind: type[EigenflowError] = ModelError,
) -> EigenflowError:
    """An error that says where in the model an exception came from, and the next step.

    Args:
        error: What was raised inside the forward pass or its derivatives.
        model: Whose forward pass it was.
        task: What was being done, such as "be evaluated on `inputs`".
        dtype: Of the probe.
        kind: Of the error.
    """
    return kind(f"`model` cannot {task}: {explained(error, model)}. {_remedy(error, dtype)}")


@contextmanager
def in_our_words(model: nn.Module, task: str, dtype: torch.dtype) -> Iterator[None]:
    """Within it, somebody else's exception becomes a ModelError; arguments as for `model_error`."""
    try:
        yield
    except EigenflowError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError) as error:
        require_memory_left(error)
        raise model_error(error, model, task, dtype) from error


def explained(error: BaseException, model: nn.Module) -> str:
    """Kind and first line of an exception, the layer that it came from and the line of its code."""
    text = str(error).strip().split("\n", 1)[0].rstrip(".")
    layer, line = _layer(error.__traceback__, model), _line(error)
    where = f", in layer {layer}" if layer else ""
    return f"{type(error).__name__}: {text[:300]}{where}{f' (at {line})' if line else ''}"


def require_memory_left(error: BaseException) -> None:
    """Raise in the user's words where the memory ran out: no other way of measuring needs less.

    Raises:
        ModelError: If the exception says so.
    """
    text = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        raise ModelError(
            f"The memory of this machine ran out while measuring ({text.strip().splitlines()[0][:200]}). Pass "
            f"a smaller `memory_budget`, fewer samples, or measure some of the modes: measure(modes=64, "
            f"method='products')."
        ) from error


def _layer(trace: TracebackType | None, model: nn.Module) -> str:
    """The innermost layer whose code was running."""
    names = {id(module): name for name, module in model.named_modules()}
    found = ""
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            found = f"'{names[id(owner)] or 'the model itself'}' ({type(owner).__name__})"
        trace = trace.tb_next
    return found


def _line(error: BaseException) -> str:
    """The innermost line that is neither PyTorch's nor ours."""
    own, torchs = Path(__file__).parents[2], Path(torch.__file__).parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if own not in Path(frame.filename).parents and torchs not in Path(frame.filename).parents
    ]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno} `{frames[-1].line}`" if frames else ""


def _remedy(error: BaseException, dtype: torch.dtype) -> str:
    text = str(error)
    if _MIXED_TYPES.search(text) and dtype == torch.float64:
        return (
            "The probe evaluates in torch.float64, and the model makes tensors of another precision there: make them "
            "like the inputs (x.new_zeros, dtype=x.dtype), or pass dtype=torch.float32."
        )
    if _NO_DERIVATIVE.search(text):
        return (
            "That operation lacks a derivative which the operator or its rate needs: write it with elementary "
            "operations, or measure without rates, measure(drift=False)."
        )
    return "Pass samples as the model's forward takes them, sample axis first."
