"""The energy budget of one update for any convex loss, from autograd Hessians and Jacobians and numpy's eigh.

The root is H^(1/2), turned at every other point of the outputs by scipy's polar decomposition so that B0^+ B is
symmetric; no formula of a particular loss enters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from eigenflow.core.grid import shell_index
from reference import dense_jacobian

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Point:
    """Outputs, the root B of the Hessian as one block matrix, e with B e = r, and J_net."""

    outputs: np.ndarray
    root: np.ndarray
    error: np.ndarray
    jacobian: np.ndarray
    gradient: np.ndarray
    loss: float

    @property
    def kernel(self) -> np.ndarray:
        rows = self.root.T @ self.jacobian
        return rows @ rows.T


def look(model: nn.Module, inputs: Tensor, function: Function, frame: "Point | None" = None) -> Point:
    """The network's point, in the frame of another one."""
    with torch.no_grad():
        outputs = model(inputs)
    jacobian = dense_jacobian.jacobian(model, inputs).numpy()
    root, error, gradient, loss = root_at(outputs, function, frame)
    return Point(outputs.numpy(), root, error, jacobian, gradient, loss)


def root_at(outputs: Tensor, function: Function, frame: Point | None):
    """B, e, r and the loss at some outputs."""
    samples, width = outputs.shape
    z = outputs.clone().requires_grad_(True)
    H = torch.autograd.functional.hessian(function, z).reshape(outputs.numel(), -1).numpy()
    loss = function(z)
    r = torch.autograd.grad(loss, z)[0].numpy().reshape(-1)
    root, error = np.zeros_like(H), np.zeros_like(r)
    for sample in range(samples):
        at = slice(sample * width, (sample + 1) * width)
        values, columns = np.linalg.eigh(0.5 * (H[at, at] + H[at, at].T))
        values = np.where(values > 1e-12 * values.max(), values, 0.0)
        block = columns @ np.diag(np.sqrt(values)) @ columns.T
        if frame is not None:
            # B0^+ B = S U with S symmetric, so B U^T is the root that B0^+ leaves symmetric.
            turn, _ = scipy.linalg.polar(np.linalg.pinv(frame.root[at, at], rcond=1e-7) @ block, side="left")
            block = block @ turn.T
        root[at, at] = block
        error[at] = np.linalg.pinv(block, rcond=1e-7) @ r[at]
    return root, error, r, float(loss.detach())


def budget(
    model: nn.Module,
    inputs: Tensor,
    function: Function,
    start: Tensor,
    end: Tensor,
    step_size: float,
    edges: np.ndarray,
) -> dict[str, np.ndarray]:
    """All terms of every shell by dense projectors."""
    dense_jacobian.set_parameters(model, start)
    old = look(model, inputs, function)
    dense_jacobian.set_parameters(model, end)
    new = look(model, inputs, function, frame=old)
    change = old.jacobian @ (end - start).numpy()
    e, e_new = old.error, new.error
    h0 = e - step_size * old.kernel @ e
    h = e + old.root.T @ change
    linear = root_at(torch.from_numpy(old.outputs + change.reshape(old.outputs.shape)), function, old)[1]
    shells = len(edges) + 1

    def energies(point: Point, vector: np.ndarray) -> np.ndarray:
        values, columns = np.linalg.eigh(point.kernel)
        return np.bincount(shell_index(values, edges), (columns.T @ vector) ** 2, shells)

    parts = {name: energies(old, v) for name, v in {"e": e, "h0": h0, "h": h, "l": linear}.items()}
    after = {name: energies(new, v) for name, v in {"l": linear, "e": e_new}.items()}
    return {
        "energy": parts["e"],
        "energy_after": after["e"],
        "dissipation": parts["e"] - parts["h0"],
        "optimizer": parts["h"] - parts["h0"],
        "curvature": parts["l"] - parts["h"],
        "transfer": after["l"] - parts["l"],
        "remainder": after["e"] - after["l"],
    }
