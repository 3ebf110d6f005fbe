"""The operator M = J J^T as a dense matrix, by layer rules where there are any."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vjp, vmap

from eigenflow.tangent.layers import LinearLayer, capture_signals
from eigenflow.tangent.network import Network, Parameters

__all__ = ["dense_kernel", "dense_kernel_and_rate"]

# Rows of the Jacobian that are contracted at once, in bytes.
JACOBIAN_BYTES = 512 * 2**20


def dense_kernel(
    network: Network,
    layers: tuple[LinearLayer, ...],
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
) -> Float[Tensor, "size size"]:
    """Form J_net J_net^T of the network's outputs, sample-major (index = sample * outputs + output).

    Parameters of `layers` go through the rule (A A^T + 1) o (G G^T), which supposes that no output
    depends on another sample's input; all others through their explicit Jacobian.
    """
    covered = {name for layer in layers for name in layer.parameters}
    others = {name: tensor for name, tensor in parameters.items() if name not in covered}
    kernel: Tensor | None = None
    if layers:
        for layer, (A, G) in zip(layers, capture_signals(network, layers, parameters, rest, inputs), strict=True):
            part = _linear_part(layer, A, G)
            kernel = part if kernel is None else kernel + part
    if others:
        part = _jacobian_part(network, parameters, others, rest, inputs)
        kernel = part if kernel is None else kernel + part
    assert kernel is not None, "a network has at least one trainable parameter"
    return kernel


def dense_kernel_and_rate(
    network: Network,
    layers: tuple[LinearLayer, ...],
    parameters: Parameters,
    rest: Parameters,
    inputs: Tensor,
    direction: Parameters,
) -> tuple[Float[Tensor, "size size"], Float[Tensor, "size size"]]:
    """Form J_net J_net^T and its exact derivative along a direction, by one forward-mode pass."""
    kernel, rate, *_ = jvp(
        lambda p: dense_kernel(network, layers, p, rest, inputs), (dict(parameters),), (dict(direction),)
    )
    return kernel, rate


def _linear_part(layer: LinearLayer, A: Tensor, G: Tensor) -> Tensor:
    samples, classes, _ = G.shape
    rows = G.reshape(samples * classes, -1)
    signal_gram = (rows @ rows.T).reshape(samples, classes, samples, classes)
    input_gram = A @ A.T if layer.has_weight else A.new_zeros(samples, samples)
    if layer.has_bias:
        input_gram = input_gram + 1.0
    return (signal_gram * input_gram[:, None, :, None]).reshape(samples * classes, -1)


def _jacobian_part(
    network: Network, parameters: Parameters, others: Parameters, rest: Parameters, inputs: Tensor
) -> Tensor:
    outputs, pull_back, *_ = vjp(lambda some: network.apply({**parameters, **some}, rest, inputs), dict(others))
    size = outputs.numel()
    row_bytes = sum(p.numel() for p in others.values()) * outputs.element_size()
    chunk = max(1, min(size, JACOBIAN_BYTES // row_bytes))
    basis = torch.eye(size, dtype=outputs.dtype, device=outputs.device).reshape(size, *outputs.shape)

    def rows(start: int) -> Tensor:
        (gradients,) = vmap(pull_back)(basis[start : start + chunk])
        return torch.cat([g.flatten(1) for g in gradients.values()], dim=1)

    starts = range(0, size, chunk)
    if len(starts) == 1:
        J = rows(0)
        return J @ J.T
    # Too large to hold at once: every block of rows against every other, each recomputed.
    return torch.cat([torch.cat([rows(a) @ rows(b).T for b in starts], dim=1) for a in starts])
