"""Many networks of one hidden layer trained at once, and their kernels at the recorded steps.

The network is f(x) = alpha (a' s(W x / sqrt(d) + b) / sqrt(w) + c), all weights N(0, 1), biases 0, minus its own
untouched outputs, so training starts at zero [@chizat2018lazy]. The loss is half the mean over samples of the square
summed over outputs, so M = J J' / n. Networks of one width and one number of samples are trained side by side: their
gradients are written out, since at these sizes a tape would cost more than the arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.core.errors import NonFiniteError
from eigenflow.lab.double_descent.config import NetworksConfig

__all__ = ["Weights", "initial_weights", "network_outputs", "parameter_count", "tangent_kernel", "train_networks"]

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Weights:
    """Of a batch of networks.

    Attributes:
        hidden: W, transposed.
        bias: b.
        readout: a.
        constant: c.
    """

    hidden: Float[np.ndarray, "network input width"]
    bias: Float[np.ndarray, "network 1 width"]
    readout: Float[np.ndarray, "network width output"]
    constant: Float[np.ndarray, "network 1 output"]


def parameter_count(width: int, inputs: int, outputs: int) -> int:
    """Trained numbers of one network."""
    return (inputs + 1) * width + (width + 1) * outputs


def initial_weights(seeds: list[int], width: int, inputs: int, outputs: int) -> Weights:
    """Draw one network a seed."""
    rngs = [np.random.default_rng([seed, width]) for seed in seeds]
    hidden = np.array([rng.standard_normal((inputs, width)) for rng in rngs])
    readout = np.array([rng.standard_normal((width, outputs)) for rng in rngs])
    zeros = np.zeros((len(seeds), 1, width)), np.zeros((len(seeds), 1, outputs))
    return Weights(hidden, zeros[0], readout, zeros[1])


def network_outputs(
    weights: Weights, inputs: Float[np.ndarray, "network sample input"], config: NetworksConfig
) -> Float[np.ndarray, "network sample output"]:
    """Outputs, without the untouched network's taken from them."""
    active = _activate(weights, inputs, config)[0]
    return config.output_scale * (active @ weights.readout / np.sqrt(active.shape[-1]) + weights.constant)


def tangent_kernel(
    weights: Weights,
    inputs: Float[np.ndarray, "network sample input"],
    others: Float[np.ndarray, "network other input"],
    config: NetworksConfig,
) -> Float[np.ndarray, "network sample output other output"]:
    """J(inputs) J(others)', without the factor 1 / n of the loss.

    Between outputs c and c': alpha^2 [delta_cc' (s's' / w + 1) + (x'x' / d + 1) sum_j a_jc a_jc' s_j' s_j' / w].
    """
    (first, slope), (second, other_slope) = (_activate(weights, x, config) for x in (inputs, others))
    width, outputs = weights.readout.shape[1:]
    features = first @ second.swapaxes(1, 2) / width + 1.0
    reach = inputs @ others.swapaxes(1, 2) / inputs.shape[-1] + 1.0
    kernel = np.empty((len(first), inputs.shape[1], outputs, others.shape[1], outputs))
    for c in range(outputs):
        scaled = slope * weights.readout[:, None, :, c]
        for k in range(outputs):
            moved = scaled @ (other_slope * weights.readout[:, None, :, k]).swapaxes(1, 2) / width
            kernel[:, :, c, :, k] = reach * moved + (features if c == k else 0.0)
    return config.output_scale**2 * kernel


def train_networks(
    weights: Weights,
    inputs: Float[np.ndarray, "network sample input"],
    labels: Float[np.ndarray, "network sample output"],
    config: NetworksConfig,
    recorded: Int[np.ndarray, " record"],
    progress: Progress | None = None,
) -> list[Weights]:
    """Train by full-batch gradient descent in single precision.

    Args:
        weights: At the start.
        inputs: Training samples of each network.
        labels: Their labels; the untouched outputs are added to them here.
        config: Activation, learning rate.
        recorded: Numbers of updates, increasing from 0, after which the weights are kept.
        progress: Called with the number of updates made, now and then.

    Returns:
        The weights at each recorded step.

    Raises:
        NonFiniteError: If training diverges, with the way out.
    """
    x = torch.from_numpy(np.ascontiguousarray(inputs / np.sqrt(inputs.shape[-1]), dtype=np.float32))
    y = torch.from_numpy((labels + network_outputs(weights, inputs, config)).astype(np.float32))
    held = [torch.from_numpy(np.ascontiguousarray(w, dtype=np.float32)) for w in _arrays(weights)]
    kept = [weights]
    for step in range(1, int(recorded[-1]) + 1):
        _update(held, x, y, config)
        if step in recorded[1:]:
            kept.append(Weights(*(tensor.numpy().astype(np.float64) for tensor in held)))
            _check(held, step, config)
        if progress is not None and (step % 100 == 0 or step == recorded[-1]):
            progress(step)
    return kept


def _update(held: list[Tensor], x: Tensor, y: Tensor, config: NetworksConfig) -> None:
    """One step of gradient descent, in place."""
    hidden, bias, readout, constant = held
    alpha, root = config.output_scale, hidden.shape[-1] ** 0.5
    active = torch.baddbmm(bias, x, hidden)
    active = active.tanh_() if config.activation == "tanh" else active.relu_()
    error = alpha * (torch.bmm(active, readout) / root + constant) - y
    rate = config.learning_rate * alpha / x.shape[1]
    slope = 1.0 - active * active if config.activation == "tanh" else (active > 0).to(x.dtype)
    back = torch.bmm(error, readout.mT).mul_(slope)
    hidden.baddbmm_(x.mT, back, alpha=-rate / root)
    bias.sub_(back.sum(1, keepdim=True), alpha=rate / root)
    readout.baddbmm_(active.mT, error, alpha=-rate / root)
    constant.sub_(error.sum(1, keepdim=True), alpha=rate)


def _check(held: list[Tensor], step: int, config: NetworksConfig) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in held):
        raise NonFiniteError(
            f"Training of networks of width {held[0].shape[-1]} has diverged by update {step}. Lower "
            f"networks.learning_rate, which is {config.learning_rate:g}: times its largest eigenvalue it must stay "
            f"below 2."
        )


def _activate(weights: Weights, inputs: np.ndarray, config: NetworksConfig) -> tuple[np.ndarray, np.ndarray]:
    """Hidden units and their slopes."""
    before = inputs @ weights.hidden / np.sqrt(inputs.shape[-1]) + weights.bias
    if config.activation == "relu":
        return np.maximum(before, 0.0), (before > 0).astype(np.float64)
    active = np.tanh(before)
    return active, 1.0 - active**2


def _arrays(weights: Weights) -> tuple[np.ndarray, ...]:
    return weights.hidden, weights.bias, weights.readout, weights.constant
