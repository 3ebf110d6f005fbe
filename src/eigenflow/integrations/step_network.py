"""A training step as a network: from the tensors of a batch to the outputs that the step hands to its loss.

For steps that put their networks together themselves, such as an encoder and a decoder called one after the other. The
network is a silent copy of the module that holds the very parameters and buffers of the live one.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from eigenflow.core.errors import EigenflowError
from eigenflow.integrations.readings import Reading, Taken, given_options
from eigenflow.integrations.tracing import LossCall, Trace, silent_twin, step_arguments, trace, watching_losses
from eigenflow.tangent import CrossEntropyLoss, make_loss

__all__ = ["StepNetwork", "step_network"]


class _Reached(BaseException):  # no `except Exception` of the step stops it
    def __init__(self, outputs: Tensor):
        super().__init__()
        self.outputs = outputs


class StepNetwork(nn.Module):
    """Runs a module's training step up to one of its losses.

    Args:
        module: The live one.
        batch: Whose structure all batches have.
        number: Of the loss among those that the step calls.
    """

    def __init__(self, module: nn.Module, batch: Any, number: int):
        super().__init__()
        self.module = silent_twin(module, shares_tensors=True)
        self.module_name = type(module).__name__
        leaves, self.structure = tree_flatten(batch)
        self.constants = [None if _is_samples(leaf) else leaf for leaf in leaves]
        self.number = number

    def forward(self, *tensors: Tensor) -> Tensor:
        """Outputs, sample axis first."""
        found, leaves = iter(tensors), self.constants
        batch = tree_unflatten([next(found) if one is None else one for one in leaves], self.structure)
        seen = 0

        def note(call: LossCall) -> None:
            nonlocal seen
            if seen == self.number:
                raise _Reached(call.outputs)
            seen += 1

        try:
            with watching_losses(note):
                self.module.training_step(*step_arguments(self.module, batch))  # pyright: ignore[reportCallIssue]
        except _Reached as reached:
            outputs, samples = reached.outputs, len(tensors[0])
            is_flat = len(outputs) != samples and len(outputs) % samples == 0
            return outputs.unflatten(0, (samples, -1)) if is_flat else outputs
        raise RuntimeError("the training step ended without its loss")


def _is_samples(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0


def step_network(
    module: nn.Module, batch: Any, traces: list[Trace], own: list[float], dtype: torch.dtype, tolerance: float
) -> tuple[nn.Module, Any, Reading, Tensor] | None:
    """Find a loss of PyTorch that is the step's, up to a constant factor.

    Returns:
        The network, its inputs, the reading, and outputs; None if there is none.
    """
    leaves = [leaf for leaf in tree_flatten(batch)[0] if _is_samples(leaf)]
    if len({len(one.losses) for one in traces}) != 1 or len({len(leaf) for leaf in leaves}) != 1:
        return None
    samples = len(leaves[0])
    for number, calls in enumerate(zip(*(one.losses for one in traces), strict=True)):
        call = calls[0]
        if not all(torch.equal(one.targets, call.targets) for one in calls[1:]):
            continue
        if call.value.numel() != 1 or len(call.outputs) % samples:
            continue
        values = [float(one.value.detach()) for one in calls]
        if not all(values):
            continue
        ratios = [a / b for a, b in zip(own, values, strict=True)]
        if ratios[0] <= 0 or any(abs(one - ratios[0]) > tolerance * ratios[0] for one in ratios):
            continue
        reading = _reading(call, samples, dtype)
        if reading is not None and _is_by_sample(module, batch, number, call, samples, dtype):
            ratio = 1.0 if abs(ratios[0] - 1) <= tolerance else ratios[0]
            inputs = tuple(leaf.detach() for leaf in leaves)
            outputs = call.outputs.detach()
            outputs = outputs if len(outputs) == samples else outputs.unflatten(0, (samples, -1))
            return StepNetwork(module, batch, number), inputs, reading.times(ratio), outputs
    return None


def _reading(call: LossCall, samples: int, dtype: torch.dtype) -> Reading | None:
    options = given_options(call)
    targets, is_flat = call.targets.detach(), len(call.outputs) != samples
    try:
        if call.function is functional.cross_entropy:
            axis = -1 if is_flat else 1
            is_wide = is_flat or call.outputs.ndim > 2
            loss = CrossEntropyLoss(class_axis=axis if is_wide else None, **options)
            targets = targets.unflatten(0, (samples, -1)) if is_flat else targets
            return Reading("cross_entropy", Taken(None, axis), targets, loss)
        targets = targets.to(dtype).reshape(samples, *((-1,) if is_flat else call.outputs.shape[1:]))
        return Reading(call.function.__name__, Taken(), targets, make_loss(partial(call.function, **options)))
    except (EigenflowError, RuntimeError):
        return None


def _is_by_sample(module: nn.Module, batch: Any, number: int, call: LossCall, samples: int, dtype: torch.dtype) -> bool:
    """Whether the outputs of some samples are those that they have among all, in the same order."""
    some = max(1, samples // 2)
    part = tree_map(lambda x: x[:some] if _is_samples(x) else x, batch)
    outputs = trace(silent_twin(module).to(dtype), part, dtype).losses[number].outputs.detach()
    whole = call.outputs.detach()[: len(call.outputs) // samples * some]
    return outputs.shape == whole.shape and torch.allclose(outputs, whole, rtol=1e-6, atol=1e-8)
