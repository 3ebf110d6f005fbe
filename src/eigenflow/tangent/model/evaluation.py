"""How a forward pass is run while it is measured: the same function, in one precision, and differentiable throughout.

What changes no value is switched off (gradient checkpointing, compilation, fused attention, fast paths), what is
computed in a lower precision than the probe's is computed in the probe's, and operations whose derivatives
PyTorch 2.13 lacks are made of elementary ones (`elementary`). Afterwards everything is as it was, random numbers
included.
"""

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from eigenflow.tangent.model.elementary import ELEMENTARY, MISSING

__all__ = ["evaluation", "is_transformed", "undisturbed"]

_LOWER = {
    torch.float64: {torch.float32, torch.float16, torch.bfloat16},
    torch.float32: {torch.float16, torch.bfloat16},
}
_CASTS = {Tensor.float: torch.float32, Tensor.half: torch.float16, Tensor.bfloat16: torch.bfloat16}
# What leaves PyTorch for Python's numbers or numpy's is seen as it is, gradients or not.
_READS = {Tensor.numpy, Tensor.__array__, Tensor.__float__, Tensor.__int__, Tensor.__complex__}
# Default device of whoever measures, which holds again inside forward passes.
_CALLERS_DEVICE: ContextVar[torch.device | None] = ContextVar("callers_device", default=None)
# A view as another type reads bits, it does not convert.
_NO_CAST = {Tensor.view}


@contextmanager
def evaluation(dtype: torch.dtype, *, elementary: bool = True) -> Iterator[None]:
    """Run forward passes as the operator needs them.

    Args:
        dtype: Of the probe.
        elementary: Whether operations are replaced by elementary ones; without, PyTorch's own are differentiated,
            which is what results are held against.
    """
    with ExitStack() as stack:
        for enter in (_no_fast_path, _no_checkpoints, _same_random_numbers):
            stack.enter_context(enter())
        stack.enter_context(_default_dtype(dtype))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "torch._dynamo" in sys.modules:  # only then can anything be compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if (device := _CALLERS_DEVICE.get()) is not None:
            stack.enter_context(device)
        stack.enter_context(_OnePrecision(dtype))
        stack.enter_context(_Elementary(ELEMENTARY if elementary else MISSING))
        yield


def is_transformed(tensor: Tensor) -> bool:
    """Whether a tensor lives inside a transform of torch.func."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Outside of `torch.inference_mode` and of a default device, which measuring may be called from within."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        device = torch.get_default_device()
        if device.type != "cpu":
            token = _CALLERS_DEVICE.set(device)
            stack.callback(_CALLERS_DEVICE.reset, token)
            stack.enter_context(torch.device("cpu"))
        yield


class _OnePrecision(TorchFunctionMode):
    """Nothing is rounded to a lower precision than the probe's, whatever the forward pass asks for."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype, self.lower = dtype, _LOWER[dtype]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _CASTS and _CASTS[func] in self.lower:
            return args[0].to(self.dtype)
        if func is Tensor.requires_grad_:
            return _mark(*args, **kwargs)
        if func not in _NO_CAST:
            args = tuple(self._raised(a) for a in args)
            if "dtype" in kwargs:
                kwargs = {**kwargs, "dtype": self._raised(kwargs["dtype"])}
        return func(*args, **kwargs)

    def _raised(self, value: Any) -> Any:
        if isinstance(value, torch.dtype):
            if value in self.lower:
                return self.dtype
            if value == torch.complex64 and self.dtype == torch.float64:
                return torch.complex128
        return value


def _mark(tensor: Tensor, requires_grad: bool = True) -> Tensor:
    """A tensor that is being differentiated already needs no mark, and PyTorch refuses to set one."""
    try:
        return tensor.requires_grad_(requires_grad)
    except RuntimeError:
        return tensor


class _Elementary(TorchFunctionMode):
    def __init__(self, replacements: Mapping[Any, Callable[..., Tensor]]):
        super().__init__()
        self.replacements = replacements

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READS:  # after detach(), too, a tensor has a gradient here, of zero
            args = (args[0].detach(), *args[1:])
        replacement = self.replacements.get(func)
        if replacement is not None:
            result = replacement(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return func(*args, **(kwargs or {}))


@contextmanager
def _no_fast_path() -> Iterator[None]:
    """Multi-head attention has a path that skips differentiation altogether."""
    had = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(had)


class _Direct:
    """Stands for the two ways of checkpointing: calls the function, and keeps what it makes."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        del preserve
        return function(*args)

    @staticmethod
    def around(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[None]:
        del function, args, kwargs
        yield


@contextmanager
def _no_checkpoints() -> Iterator[None]:
    """Recomputing activations changes no value, and cannot be differentiated by torch.func (pytorch#122729)."""
    module = torch.utils.checkpoint
    names = ("CheckpointFunction", "_checkpoint_without_reentrant_generator")
    before = {name: getattr(module, name) for name in names if hasattr(module, name)}
    for name, stand_in in zip(names, (_Direct, _Direct.around), strict=True):
        if name in before:
            setattr(module, name, stand_in)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """The forward pass draws what it likes; the training loop goes on with the numbers that it would have had."""
    state, python = torch.get_rng_state(), random.getstate()
    on_device = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    numpy = sys.modules.get("numpy")
    numbers = None if numpy is None else numpy.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)
        random.setstate(python)
        if on_device is not None:
            torch.cuda.set_rng_state_all(on_device)
        if numpy is not None:
            numpy.random.set_state(numbers)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """What the forward pass makes (zeros, positions, constants) has the probe's precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
