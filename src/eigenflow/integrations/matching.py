"""A probe for a module with a `training_step`: the network and the loss that the step itself uses.

Which of the modules is the network, what of the batch it gets, and which loss its outputs meet is not guessed from
names. The step is run on a copy (`tracing`), at the present parameters and at others near them. Every reading that the
shapes allow is tried: innermost networks first, and losses in the order of `readings`. The one is taken whose loss is
the step's own at all of them, up to a constant factor. If there is none, outputs are taken where the step itself hands
them to a loss of PyTorch; if that is none either, the module is refused, so no probe has another loss than its module.

Works for any module with a `training_step`; only PyTorch is imported.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from eigenflow.core.errors import ArgumentError, EigenflowError, ModelError
from eigenflow.integrations.language import evaluating, probe_arguments, read_batch
from eigenflow.integrations.probe_batch import smaller_batch
from eigenflow.integrations.readings import Reading, readings
from eigenflow.integrations.smaller_probe import smaller_probe
from eigenflow.integrations.step_network import step_network
from eigenflow.integrations.tracing import PASS_PROBE, Call, Trace, silent_twin, trace
from eigenflow.tangent import Probe, ShardedProbe
from eigenflow.tangent.model.evaluation import undisturbed

__all__ = ["matching_probe"]

Made = TypeVar("Made", Probe, Probe | ShardedProbe)

# Relative distance of the probe's loss from the step's own: sums of the same terms in another order.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
# Relative size of the change of parameters with which a reading is tried again.
NEARBY, STATES = 0.05, 3
# Buffers that move in training; others may be weights of a loss.
STATISTICS = ("running_mean", "running_var")
# Readings that a message names.
NAMED = 6


@undisturbed()
def matching_probe(
    module: nn.Module,
    batch: Any,
    *,
    dtype: torch.dtype = torch.float64,
    max_rows: int = 65_536,
    say: Callable[[str], None] = lambda text: None,
    make: Callable[..., Made] = Probe,
) -> Made:
    """Make a probe whose loss is that of `module.training_step(batch, 0)` in eval mode.

    Args:
        module: A LightningModule, or another module with a `training_step`.
        batch: As its dataloader gives it, on the module's device.
        dtype: In which all is evaluated.
        max_rows: Rows of M that the probe may have; samples are left out first, then positions or outputs, evenly.
        say: Called with what was left out.
        make: Makes the probe of the network and of what `Probe` takes, such as `sharded_probe`.

    Raises:
        ModelError: If no reading of the step has the step's own loss; with what was tried.
    """
    twin = silent_twin(module).to(dtype)
    paths = _networks(twin, trace(twin, batch, dtype).loss)
    traces = _traces(twin, batch, dtype, paths)
    own = [float(one.loss.detach()) for one in traces]
    if not all(abs(value) < float("inf") for value in own) or own[0] == 0:
        raise ModelError(f"`training_step` has loss {own[0]:.8g} for the probe's batch. {PASS_PROBE}")
    tried: list[str] = []
    leaves = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim]
    for path in paths:
        calls = [one.calls[path] for one in traces]
        if {len(one) for one in calls} != {1} or not _are_same([one[0] for one in calls]):
            continue
        network, call = module.get_submodule(path), calls[0][0]
        if (found := _of_language(network, call, calls, own, dtype, max_rows, say, make)) is not None:
            return found
        for reading in readings(call.returned, leaves, traces[0].losses, dtype):
            ratio = _ratio(reading, [one[0].returned for one in calls], own, dtype, tried)
            if ratio is not None:
                inputs = _inputs(network, call)
                return smaller_probe(network, inputs, reading.times(ratio), call.returned, dtype, max_rows, say, make)
    found = step_network(module, batch, traces, own, dtype, TOLERANCE[dtype])
    if found is not None:
        network, inputs, reading, outputs = found
        return smaller_probe(network, inputs, reading, outputs, dtype, max_rows, say, make)
    raise ModelError(
        f"`training_step` of {type(module).__name__} has loss {own[0]:.8g} for the probe's batch, and no reading of "
        f"its networks' outputs and the batch does: {', '.join(tried[:NAMED]) or 'none fits their shapes'}"
        f"{' and others' * (len(tried) > NAMED)}. It may be a sum of several losses, or hold a penalty. {PASS_PROBE}"
    )


def _networks(twin: nn.Module, loss: Tensor) -> list[str]:
    """Modules that hold all trainable parameters which the loss depends on, innermost first."""
    names = [name for name, p in twin.named_parameters() if p.requires_grad]
    parameters = [p for p in twin.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    used = {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    if not names or not used:
        raise ModelError(f"`training_step` of {type(twin).__name__} trains no parameter. {PASS_PROBE}")
    found = [path for path, one in twin.named_modules() if used <= {id(p) for p in one.parameters()}]
    return sorted(found, key=lambda path: -len(path.split(".")) if path else 0)


def _traces(twin: nn.Module, batch: Any, dtype: torch.dtype, paths: list[str]) -> list[Trace]:
    """At the present tensors, and with all changed a little: what is frozen now, and statistics, may move later."""
    generator = torch.Generator().manual_seed(0)
    found = [trace(twin, batch, dtype, paths)]
    for _ in range(1, STATES):
        with torch.no_grad():
            statistics = [buffer for name, buffer in twin.named_buffers() if name.endswith(STATISTICS)]
            for tensor in (*twin.parameters(), *statistics):
                if tensor.is_floating_point() and tensor.numel():
                    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).clamp(-3, 3).to(tensor)
                    scale = tensor.square().mean().sqrt()
                    # Variances stay positive.
                    is_positive = bool((tensor > 0).all())
                    change = tensor * noise if is_positive else noise * (scale if scale > 0 else 1.0)
                    tensor.copy_(tensor + NEARBY * change)
        found.append(trace(twin, batch, dtype, paths))
    return found


def _are_same(calls: list[Call]) -> bool:
    """Whether the inputs are given, and not made by parameters."""
    first = tree_leaves((calls[0].args, dict(calls[0].kwargs)))
    for other in calls[1:]:
        leaves = tree_leaves((other.args, dict(other.kwargs)))
        if len(leaves) != len(first) or not all(_equal(a, b) for a, b in zip(first, leaves, strict=True)):
            return False
    return any(isinstance(leaf, Tensor) and leaf.ndim for leaf in first)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    return one is other or bool(one == other)


def _ratio(
    reading: Reading, returned: list[Any], own: list[float], dtype: torch.dtype, tried: list[str]
) -> float | None:
    """The constant between the step's loss and that of a reading; None if there is none."""
    try:
        ours = [reading.value(one, dtype) for one in returned]
    except (EigenflowError, RuntimeError, IndexError):
        return None
    tolerance = TOLERANCE[dtype]
    tried.append(f"{reading.kind} {ours[0]:.8g}")
    if not all(abs(value) > 0 for value in ours):
        return None
    ratios = [a / b for a, b in zip(own, ours, strict=True)]
    if all(abs(one - ratios[0]) <= tolerance * abs(ratios[0]) for one in ratios) and ratios[0] > 0:
        return 1.0 if abs(ratios[0] - 1) <= tolerance else ratios[0]
    return None


def _inputs(network: nn.Module, call: Call) -> Any:
    """Arguments of a call as `Probe` takes them."""
    if not call.kwargs:
        return tuple(_cut_off(one) for one in call.args)
    return {name: _cut_off(value) for name, value in _named(network, call).items()}


def _named(network: nn.Module, call: Call) -> dict[str, Any]:
    try:
        bound = inspect.signature(network.forward).bind(*call.args, **call.kwargs)
    except (TypeError, ValueError) as error:
        raise ModelError(f"`{type(network).__name__}` takes arguments by position and by name. {PASS_PROBE}") from error
    named = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        else:
            named[name] = value
    return named


def _cut_off(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _of_language(
    network: nn.Module,
    call: Call,
    calls: list[list[Call]],
    own: list[float],
    dtype: torch.dtype,
    max_rows: int,
    say: Callable[[str], None],
    make: Callable[..., Made],
) -> Made | None:
    """A model of Hugging Face that computes the step's loss itself."""
    losses = [_cut_off(one[0].returned.get("loss")) if isinstance(one[0].returned, Mapping) else None for one in calls]
    if not all(isinstance(loss, Tensor) and loss.numel() == 1 for loss in losses):
        return None
    if any(abs(float(a) - b) > TOLERANCE[dtype] * abs(b) for a, b in zip(losses, own, strict=True)):  # pyright: ignore
        return None
    batch = {key: _cut_off(value) for key, value in _named(network, call).items() if value is not None}
    name = next((key for key in batch if "label" in key), None)
    try:
        if name is not None:
            one = {key: value[:1] if isinstance(value, Tensor) else value for key, value in batch.items()}
            classes = read_batch(network, one, dtype=dtype).classes
            batch, left_out = smaller_batch(batch, name, classes, max_rows)
            if left_out is not None:
                say(left_out)
        told = probe_arguments(network, batch, dtype=dtype)
        with evaluating(network):
            return make(network, **told)
    except ArgumentError as error:
        raise ModelError(f"{error} {PASS_PROBE}") from error
