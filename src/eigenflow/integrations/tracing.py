"""What a `training_step` does with a batch, seen on a copy: which modules it calls, which losses, and what comes out.

The copy is silent. It logs nothing, its optimizers do nothing, backward passes are only noted, and the trainer that it
sees is a stand-in that can be read and not written. Works for any module with a `training_step` as Lightning's; nothing
of Lightning is imported.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from eigenflow.core.errors import ModelError
from eigenflow.integrations.probe_batch import own_random_numbers
from eigenflow.tangent.model.evaluation import evaluation

__all__ = ["PASS_PROBE", "Call", "LossCall", "Trace", "silent_twin", "step_arguments", "trace", "watching_losses"]

PASS_PROBE = (
    "Pass probe=, a function of the module that returns eigenflow.Probe(network, inputs, targets, loss=...), such as "
    "SpectralCallback(path, probe=lambda module: Probe(module.network, inputs, targets, loss='cross_entropy'))."
)
# Losses that are noted when they are called.
LOSSES = (
    functional.cross_entropy,
    functional.mse_loss,
    functional.binary_cross_entropy_with_logits,
    functional.binary_cross_entropy,
    functional.smooth_l1_loss,
    functional.huber_loss,
    functional.poisson_nll_loss,
    functional.soft_margin_loss,
    functional.multilabel_soft_margin_loss,
)
# Exchanges between processes: only the first process traces, so the others would never answer.
COLLECTIVES = ("all_reduce", "all_gather", "all_gather_into_tensor", "all_gather_object", "broadcast", "reduce")
COLLECTIVES += ("gather", "scatter", "barrier", "reduce_scatter_tensor", "all_to_all_single")


@dataclass(frozen=True)
class Call:
    """A module's forward pass.

    Attributes:
        args: By position.
        kwargs: By name.
        returned: What came out.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    returned: Any


@dataclass(frozen=True)
class LossCall:
    """A call of one of PyTorch's losses.

    Attributes:
        function: Of `torch.nn.functional`.
        outputs: Its first argument.
        targets: Its second one.
        options: The others that were given.
        value: What came out.
    """

    function: Callable[..., Tensor]
    outputs: Tensor
    targets: Tensor
    options: Mapping[str, Any]
    value: Tensor


@dataclass
class Trace:
    """What one `training_step` did.

    Attributes:
        loss: That it returned or, where the module does its own backward passes, went back from.
        calls: Of the watched modules, by path.
        losses: Calls of losses, in their order.
    """

    loss: Tensor
    calls: dict[str, list[Call]] = field(default_factory=dict)
    losses: list[LossCall] = field(default_factory=list)


class _Nothing:
    """Answers everything and does nothing; a closure that it is given is run, as an optimizer would."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "_Nothing":
        for closure in (*args, *kwargs.values()):
            if inspect.isfunction(closure) or inspect.ismethod(closure):
                closure()
        return self

    def __getitem__(self, key: Any) -> "_Nothing":
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *error: object) -> None:
        return None


class _Optimizer(_Nothing):
    """An optimizer of which only the settings can be read."""

    def __init__(self, optimizer: Any):
        self.param_groups = [{**group, "params": []} for group in getattr(optimizer, "param_groups", [])]
        self.state: dict[Any, Any] = {}


class _Trainer:
    """A trainer that can be read; what is written to it stays here."""

    def __init__(self, trainer: Any):
        self.__dict__.update(
            _real=trainer,
            logger=_Nothing(),
            loggers=[],
            callbacks=[],
            optimizers=[_Optimizer(one) for one in getattr(trainer, "optimizers", None) or []],
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_real"], name)


def silent_twin(module: nn.Module, *, shares_tensors: bool = False) -> nn.Module:
    """Copy a module so that its training step can be run without a trace.

    Args:
        module: With a `training_step`.
        shares_tensors: Whether the copy holds the very parameters and buffers, and follows their values.

    Raises:
        ModelError: If it cannot be copied.
    """
    live = getattr(module, "_trainer", None)
    stand_in = None if live is None else _Trainer(live)
    memo: dict[int, Any] = {} if live is None else {id(live): stand_in}
    if shares_tensors:
        memo |= {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    try:
        twin = copy.deepcopy(module, memo)
    except Exception as error:
        raise ModelError(
            f"`{type(module).__name__}` could not be copied to look at its training_step ({type(error).__name__}: "
            f"{str(error)[:200]}). {PASS_PROBE}"
        ) from error
    twin.eval()
    for one in twin.modules():
        if hasattr(one, "training_step"):
            _silence(one, stand_in)
    return twin


def _silence(twin: nn.Module, trainer: _Trainer | None) -> None:
    own = twin.__dict__
    # What Lightning puts on a compiled module runs the original.
    for name in own.get("_compiler_ctx") or ():
        own.pop(name, None)
    own["_compiler_ctx"] = None
    own["_trainer"] = trainer  # Lightning leaves it out of copies
    nothing = _Nothing()
    for name in ("log", "log_dict", "print", "toggle_optimizer", "untoggle_optimizer", "clip_gradients"):
        own[name] = nothing
    optimizers = [] if trainer is None else trainer.optimizers
    own["optimizers"] = lambda *args, **kwargs: optimizers[0] if len(optimizers) == 1 else optimizers
    own["lr_schedulers"] = lambda: _schedulers(trainer)
    own["all_gather"] = lambda data, *args, **kwargs: data
    own["backwards"] = backwards = []
    own["manual_backward"] = lambda loss, *args, **kwargs: backwards.append(loss)


def _schedulers(trainer: Any) -> Any:
    found = [_Nothing() for _ in getattr(trainer, "lr_scheduler_configs", None) or []]
    return None if not found else found[0] if len(found) == 1 else found


def step_arguments(twin: nn.Module, batch: Any) -> tuple[Any, ...]:
    """What Lightning calls `training_step` with."""
    known = inspect.signature(twin.training_step).parameters  # pyright: ignore[reportArgumentType]
    takes_more = len(known) > 1 or any(one.kind is one.VAR_POSITIONAL for one in known.values())
    return (batch, 0) if takes_more else (batch,)


def trace(twin: nn.Module, batch: Any, dtype: torch.dtype, paths: Iterable[str] = ()) -> Trace:
    """Run the training step of a silent twin.

    Args:
        twin: As `silent_twin` makes it.
        batch: On its device; floating-point tensors are converted.
        dtype: In which all is evaluated.
        paths: Modules whose calls are noted.

    Raises:
        ModelError: If the step fails, or has no loss or several.
    """
    batch = tree_map(lambda x: x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x, batch)
    found = Trace(torch.zeros(()))
    twin.__dict__["backwards"].clear()
    with ExitStack() as stack:
        for enter in (own_random_numbers(), torch.enable_grad(), _alone(), evaluation(dtype)):
            stack.enter_context(enter)
        for path in paths:
            stack.enter_context(_watched(twin, path, found.calls.setdefault(path, [])))
        stack.enter_context(watching_losses(found.losses.append))
        try:
            returned = twin.training_step(*step_arguments(twin, batch))  # pyright: ignore[reportCallIssue]
        except Exception as error:
            raise ModelError(
                f"`training_step` of {type(twin).__name__} could not be run on a copy of the module in eval mode "
                f"({type(error).__name__}: {str(error)[:300]}). {PASS_PROBE}"
            ) from error
    found.loss = _loss_of(twin, returned)
    return found


def _loss_of(twin: nn.Module, returned: Any) -> Tensor:
    backwards = twin.__dict__["backwards"]
    if len(backwards) > 1:
        raise ModelError(
            f"`training_step` of {type(twin).__name__} goes back from {len(backwards)} losses, and which one is to be "
            f"measured is not known. {PASS_PROBE}"
        )
    loss = backwards[0] if backwards else returned.get("loss") if isinstance(returned, Mapping) else returned
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise ModelError(
            f"`training_step` of {type(twin).__name__} gives no loss that depends on trainable parameters for a batch "
            f"of the training set in eval mode. {PASS_PROBE}"
        )
    return loss.reshape(())


@contextmanager
def _watched(twin: nn.Module, path: str, calls: list[Call]) -> Iterator[None]:
    if path == "":  # users call self.forward(x), which runs no hooks
        forward = twin.forward

        def noted(*args: Any, **kwargs: Any) -> Any:
            returned = forward(*args, **kwargs)
            calls.append(Call(args, kwargs, returned))
            return returned

        twin.__dict__["forward"] = noted
        try:
            yield
        finally:
            del twin.__dict__["forward"]
        return
    handle = twin.get_submodule(path).register_forward_hook(
        lambda module, args, kwargs, returned: calls.append(Call(args, kwargs, returned)), with_kwargs=True
    )
    try:
        yield
    finally:
        handle.remove()


class _LossWatch(TorchFunctionMode):
    def __init__(self, note: Callable[[LossCall], None]):
        super().__init__()
        self.note = note

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        value = func(*args, **(kwargs or {}))
        if func in LOSSES:
            options = dict(inspect.signature(func).bind(*args, **(kwargs or {})).arguments)
            outputs, targets = options.pop("input"), options.pop("target")
            self.note(LossCall(func, outputs, targets, options, value))
        return value


def watching_losses(note: Callable[[LossCall], None]) -> _LossWatch:
    """A context in which calls of PyTorch's losses are noted."""
    return _LossWatch(note)


@contextmanager
def _alone() -> Iterator[None]:
    """Other processes do not trace, so whoever asks them for something would wait for ever."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        yield
        return

    def refused(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("it exchanges tensors between processes")

    before = {name: getattr(torch.distributed, name) for name in COLLECTIVES if hasattr(torch.distributed, name)}
    for name in before:
        setattr(torch.distributed, name, refused)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(torch.distributed, name, value)
