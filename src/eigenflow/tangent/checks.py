"""Checks of what the user passes to a probe, each with the remedy in its message."""

import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from eigenflow.core.checks import check_kind
from eigenflow.core.errors import ArgumentError, EigenflowError, ModelError, NonFiniteError, ShapeError
from eigenflow.linalg import ModeTracker
from eigenflow.tangent.model.failures import model_error
from eigenflow.tangent.model.network import Network, Parameters
from eigenflow.tangent.model.samples import Inputs, checked_inputs, named_tensors, require_samples
from eigenflow.tangent.model.slots import plain_name

if TYPE_CHECKING:
    from eigenflow.tangent.point import TangentPoint

__all__ = ["checked_direction", "checked_modes", "checked_outputs", "checked_pair", "modes_there_are"]


def modes_there_are(modes: int, size: int) -> int:
    """How many modes to take if `modes` are asked for: all, and a warning, where M has fewer.

    Raises:
        ArgumentError: If it is no positive whole number.
    """
    if isinstance(modes, bool) or not isinstance(modes, int | np.integer) or modes < 1:
        raise ArgumentError(f"`modes` must be a positive whole number or None, but is {modes!r}. None takes all.")
    if modes > size:
        warnings.warn(
            f"`modes` is {modes}, but M has {size} rows (samples * outputs of the probe set): all {size} are taken.",
            UserWarning,
            stacklevel=6,  # the line that measures, or makes the recorder
        )
    return min(int(modes), size)


def checked_pair(inputs: Any, targets: Tensor, names: tuple[str, str], dtype: torch.dtype) -> tuple[Inputs, Tensor]:
    """Check one pair of inputs and targets and convert floating-point inputs to `dtype`."""
    found = checked_inputs(inputs, names[0], dtype)
    require_samples(targets, names[1])
    if len(found) != len(targets):
        is_list_of_samples = isinstance(inputs, list) and len(inputs) == len(targets)
        raise ShapeError(
            f"`{names[0]}` and `{names[1]}` must have the same number of samples, but have "
            f"{len(found)} and {len(targets)}."
            f"{' For a list with one tensor a sample: torch.stack(inputs).' * is_list_of_samples}"
        )
    return found, targets


def checked_outputs(
    network: Network,
    parameters: Parameters,
    rest: Parameters,
    inputs: Inputs,
    check_determinism: bool,
) -> Tensor:
    """Evaluate the network on the probe set, check that outputs are finite and repeatable; returns them unflattened."""
    with torch.no_grad():
        try:
            _note_gradients(network, parameters, rest, inputs)
            network.note_written(parameters, rest, inputs)
            outputs = network.apply_unflattened(parameters, rest, inputs)
            with _other_random_numbers():
                again = network.apply_unflattened(parameters, rest, inputs) if check_determinism else outputs
        except EigenflowError:
            raise
        except Exception as error:
            shapes = ", ".join(
                f"{path} of shape {tuple(t.shape)} and dtype {t.dtype}" for path, t in named_tensors(inputs, "inputs")
            )
            task = f"be evaluated on {shapes}"
            raise model_error(error, network.model, task, network.dtype, ArgumentError) from error
    if outputs.shape[:1] != (len(inputs),):
        raise ShapeError(
            f"`model` must return one row of outputs a sample: for {len(inputs)} samples it returns shape "
            f"{tuple(outputs.shape)}."
        )
    if not torch.isfinite(outputs).all():
        raise NonFiniteError(
            "`model` returns NaN or infinite outputs on the probe inputs. Look at its weights before measuring."
        )
    # Threads may add in another order, so repeatability means equal up to rounding.
    if (outputs - again).norm() > 1e-5 * torch.finfo(outputs.dtype).eps ** 0.5 * outputs.norm():
        raise ModelError(
            "`model` gives different outputs on two calls with the same inputs, so its operator is not defined. "
            "Switch random layers off with model.eval(), or pass check_determinism=False if you know better."
        )
    return outputs


def _note_gradients(network: Network, parameters: Parameters, rest: Parameters, inputs: Inputs) -> None:
    """Find out whether the forward pass takes gradients by the parameters (an inner step of training, say)."""
    own = [{name: tensor.clone() for name, tensor in side.items()} for side in (parameters, rest)]
    try:
        network.apply_unflattened(own[0], own[1], inputs)
    except RuntimeError as error:
        if "require grad" not in str(error) and "requires grad" not in str(error):
            raise
        network.differentiates = True


@contextmanager
def _other_random_numbers() -> Iterator[None]:
    """Every evaluation starts from the same random state, so a layer that draws shows only from another one."""
    with torch.random.fork_rng():
        torch.manual_seed(torch.initial_seed() % 2**31 + 1)
        state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002 - what a forward pass may draw from
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numbers)  # noqa: NPY002


def checked_direction(direction: Mapping[str, Tensor] | None, point: "TangentPoint") -> dict[str, Tensor]:
    """dtheta/dt in the parameters' types, or that of gradient flow; refuse one that lacks a parameter."""
    if direction is None:
        return point.descent()
    check_kind("direction", direction, Mapping, "a mapping from the names of parameters to tensors")
    direction = {plain_name(name): tensor for name, tensor in direction.items()}
    for name, parameter in point.parameters.items():
        if name not in direction or direction[name].shape != parameter.shape:
            came = f"has shape {tuple(direction[name].shape)}" if name in direction else "is missing"
            raise ArgumentError(
                f"`direction` must hold one tensor for every trainable parameter; '{name}' with shape "
                f"{tuple(parameter.shape)} {came}. Use dict(model.named_parameters()) as the pattern."
            )
    return {name: direction[name].detach().to(parameter) for name, parameter in point.parameters.items()}


def checked_modes(modes: int | None, tracker: ModeTracker | None, size: int) -> int | None:
    """How many modes to take; those of a tracker if there is one; None for all."""
    if tracker is not None:
        check_kind("tracker", tracker, ModeTracker, "a ModeTracker, such as ModeTracker(64)")
        if modes is not None and modes != tracker.modes:
            raise ArgumentError(
                f"`modes` must be left out or be the tracker's, {tracker.modes}, but is {modes}. The tracker follows "
                f"a fixed number of modes."
            )
        if tracker.modes > size:
            raise ArgumentError(
                f"`tracker` must follow at most {size} modes (samples * outputs of the probe set), but follows "
                f"{tracker.modes}. Make it with ModeTracker({size}) or fewer."
            )
        return tracker.modes
    return None if modes is None else modes_there_are(modes, size)
