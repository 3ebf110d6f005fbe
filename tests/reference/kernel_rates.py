"""M, e and Mdot of any module and inputs by plain autograd and differences; shares no code with the package."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Flow", "assert_measured"]

# Offsets and weights of the sixth-order central difference.
STENCIL = ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))


class Flow:
    """Gradient flow of the mean squared error of a copy of a model, in float64, dense.

    Args:
        model: Copied; its parameters may be of any floating-point type.
        inputs: A tensor, a tuple for forward(*inputs) or a mapping for forward(**inputs).
        targets: Of the outputs' shape.
        select: Takes the outputs out of what the model returns.
        scales: Diagonal of P^(-1) as one flat vector, or None.
        is_own: Whether the model is nobody else's and needs no copy; some cannot be copied.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        targets: Tensor,
        select: Callable[[Any], Tensor] = lambda returned: returned,
        scales: Tensor | None = None,
        *,
        is_own: bool = False,
    ):
        self.model = (model if is_own else copy.deepcopy(model)).double()
        self.select, self.scales = select, scales
        self.inputs, self.targets = inputs, targets.double()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.start = [p.detach().clone() for p in self.parameters]
        self.buffers = [b.detach().clone() for b in self.model.buffers()]

    def at(self, moved: list[Tensor] | None = None) -> tuple[Tensor, Tensor, list[Tensor]]:
        """M, e and minus P^(-1) times the gradient at given parameters, or at the model's own."""
        with torch.no_grad():
            for p, value in zip(self.parameters, moved or self.start, strict=True):
                p.copy_(value)
            for b, value in zip(self.model.buffers(), self.buffers, strict=True):
                b.copy_(value)
        outputs = self._call().reshape(-1)
        f = 2.0 / outputs.numel()
        rows = []
        for output in outputs:
            found = torch.autograd.grad(output, self.parameters, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([g.to_dense().reshape(-1) for g in found]))
        J, e = f**0.5 * torch.stack(rows), f**0.5 * (outputs.detach() - self.targets.reshape(-1))
        flat = -(J.T @ e) * (1.0 if self.scales is None else self.scales)
        pieces = flat.split([p.numel() for p in self.parameters])
        weighed = J if self.scales is None else J * self.scales
        return weighed @ J.T, e, [g.reshape(p.shape) for g, p in zip(pieces, self.parameters, strict=True)]

    def rate(self, step: float = 3e-3) -> Tensor:
        """dM/dt along the flow; the nearest nodes move the parameters by `step` of a unit in all."""
        _, _, direction = self.at()
        length = step / max(1e-300, float(sum(d.square().sum() for d in direction) ** 0.5))
        total = torch.zeros(())
        for times, weight in STENCIL:
            for sign in (1.0, -1.0):
                moved = [p + sign * times * length * d for p, d in zip(self.start, direction, strict=True)]
                total = total + sign * weight / length * self.at(moved)[0]
        return total

    def _call(self) -> Tensor:
        if isinstance(self.inputs, Tensor):
            return self.select(self.model(self.inputs))
        if isinstance(self.inputs, Mapping):
            return self.select(self.model(**self.inputs))
        return self.select(self.model(*self.inputs))


def assert_measured(snapshot: Any, flow: Flow, step: float = 3e-3, rate_error: float = 1e-8) -> None:
    """A snapshot with all modes holds M, e and Mdot, put together again from its eigenbasis.

    M to rounding; the rate to what a sixth-order difference with this step leaves.
    """
    M, e, _ = flow.at()
    basis = snapshot.eigenvectors
    assert basis.shape == M.shape
    found = basis.T @ (snapshot.eigenvalues[:, None] * basis)
    assert float((found - M).norm()) <= 1e-12 * float(M.norm())
    assert float((snapshot.error - e).norm()) <= 1e-12 * float(e.norm())
    if snapshot.rate_matrix is not None:
        rate = flow.rate(step)
        found = basis.T @ snapshot.rate_matrix @ basis
        assert float((found - rate).norm()) <= rate_error * float(rate.norm())
