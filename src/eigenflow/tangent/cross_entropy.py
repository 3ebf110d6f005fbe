"""Softmax cross-entropy, with a root of its curvature in closed form.

With p = softmax(z), q = sqrt(p) and target probabilities y (sum 1),

    r = p - y      H = diag(p) - p p^T      B = diag(q) (I - q q^T)      e = (p - y) / q

give B B^T = H and B e = r; ||e||^2 = sum(y^2 / p) - 1, which is 1 / p_y - 1 for a class label. B differs from the
symmetric root H^(1/2) by an orthogonal matrix, so every spectrum and energy is the same, but it is smooth where
eigenvalues of H meet, and it needs no eigendecomposition.

The frame. Vectors over the error lie in the tangent space of the sphere |q| = 1, where the matrix of B^+ dB,
(I - q q^T) diag(dq / q) (I - q q^T), is symmetric. An anchored loss carries them along the sphere to the tangent space
at the anchor q0, by the rotation that turns q into q0 and leaves what is orthogonal to both:
u + (q - q0) . u (q + q0) / (1 + q . q0). The null vector of a sample is then q0 at both instants.

The curvature of the loss. With w = B^T dz the change of a sample's e is w (1 + y / p) / 2. So for a class label the
energy 1 / p_y - 1 changes by 2 e . w = -2 dlog p_y, twice the change of the loss, and by -(1 / p_y - 2) dlog p_y
because the curvature moves: against the fall of the energy where p_y > 1/2, with it where p_y < 1/2. In the end, p_y
near 1, the energy is the loss itself instead of twice it.

Saturated samples. All is computed from log p, and products with B are arranged so that nothing cancels: a sample
that is sure and right (1 - p_y down to the smallest number) keeps its small part of M to full relative accuracy, and
its small e as far as log p itself does. A sample that is sure and wrong has e = -1 / sqrt(p_y), which grows like
exp(margin / 2) although r stays bounded and the loss grows only like the margin: the energy then says little
about the loss, so follow both. Beyond a margin of about 1400 (float64; 170 in float32) e overflows, and the probe
raises. A class that no sample has enters e through sqrt(p) alone.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.tangent.losses import AbstractLoss

__all__ = ["IGNORED_LABEL", "CrossEntropyLoss"]

# As in torch.nn.functional.cross_entropy: such positions do not count.
IGNORED_LABEL = -100


@dataclass(frozen=True)
class CrossEntropyLoss(AbstractLoss):
    """Mean over positions of -sum(y log softmax(z)); classes lie on the last axis of the network's outputs.

    Targets are class labels (integers, one for every position of the outputs; -100 leaves a position out), or
    probabilities with the shape of the outputs.

    Attributes:
        classes: Length of the last axis of the outputs.
        anchor: log p, flattened like the outputs, at which the frame of the root is fixed; None: it moves with q.
    """

    classes: int = 0
    anchor: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """cross_entropy."""
        return "cross_entropy"

    @property
    def is_quadratic(self) -> bool:
        """False: B moves with the outputs."""
        return False

    def bind(
        self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype, name: str
    ) -> tuple[AbstractLoss, Tensor]:
        """Turn labels into probabilities, flattened like the outputs; an ignored position has none."""
        if len(output_shape) < 2 or output_shape[-1] < 2:
            raise ShapeError(
                f"loss='cross_entropy' needs outputs with at least two classes on the last axis, but the network "
                f"returns {tuple(output_shape)}. For one logit, pass a callable: "
                f"loss=torch.nn.functional.binary_cross_entropy_with_logits."
            )
        classes = output_shape[-1]
        if targets.is_floating_point():
            probabilities = _checked_probabilities(targets, output_shape, name)
        else:
            probabilities = _one_hot(targets, output_shape, name)
        positions = int((probabilities.sum(-1) > 0).sum())
        if positions == 0:
            raise ArgumentError(f"`{name}` must have at least one label that is not {IGNORED_LABEL}.")
        flat = probabilities.to(dtype).reshape(len(targets), -1)
        return replace(self, factor=1.0 / positions, classes=classes), flat

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean of -sum(y log p)."""
        log_p, y = self._split(outputs).log_softmax(-1), self._split(targets)
        return -self.factor * torch.where(y > 0, y * log_p, 0.0).sum()

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """f (p - y)."""
        log_p, y = self._split(outputs).log_softmax(-1), self._split(targets)
        return (self.factor * _miss(log_p, y) * _counts(y)).reshape(outputs.shape)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """sqrt(f) (p - y) / sqrt(p)."""
        log_p, y = self._split(outputs).log_softmax(-1), self._split(targets)
        # Where y = 0 the quotient is sqrt(p), also for p that underflows.
        is_target = y > 0
        safe = torch.where(is_target, log_p, 0.0)
        error = torch.where(is_target, _miss(safe, y) * torch.exp(-0.5 * safe), torch.exp(0.5 * log_p))
        error = self._carried(error, log_p)
        return (self.factor**0.5 * error * _counts(y)).reshape(outputs.shape)

    def weigh(self, outputs: Tensor, targets: Tensor, changes: Tensor) -> Tensor:
        """B^T v = q (v - p . v); v is counted from its value at the likeliest class, so that nothing cancels."""
        log_p, root_f = self._root(outputs, targets)
        v = self._split(changes)
        top = log_p.argmax(-1, keepdim=True)
        v = v - torch.take_along_dim(v, top.expand(*v.shape[:-1], 1), -1)
        v = v - (torch.exp(log_p) * v).sum(-1, keepdim=True)
        return (root_f * self._carried(torch.exp(0.5 * log_p) * v, log_p)).reshape(changes.shape)

    def spread(self, outputs: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """B u = q u - p (q . u); its sum is zero, which gives the likeliest class without cancellation."""
        log_p, root_f = self._root(outputs, targets)
        u, q = self._split(rows), torch.exp(0.5 * log_p)
        if self.anchor is not None:
            q0 = self._anchor_root()
            share = ((q + q0) * u).sum(-1, keepdim=True) / (1.0 + (q * q0).sum(-1, keepdim=True))
            u = u - share * (q0 - q)  # B q = 0, so q + q0 counts as q0 - q
        spread = q * u - torch.exp(log_p) * (q * u).sum(-1, keepdim=True)
        is_top = functional.one_hot(log_p.argmax(-1), self.classes).to(torch.bool)
        others = torch.where(is_top, 0.0, spread)
        spread = torch.where(is_top, -others.sum(-1, keepdim=True), spread)
        return (root_f * spread).reshape(rows.shape)

    def anchored(self, outputs: Tensor, targets: Tensor) -> AbstractLoss:
        """Fix the frame at these outputs."""
        del targets
        return replace(self, anchor=self._split(outputs.detach()).log_softmax(-1).reshape(outputs.shape))

    def counted(self, targets: Tensor) -> int | None:
        """Positions that are not ignored."""
        return int((self._split(targets).sum(-1) > 0).sum())

    def part(self, samples: slice, of: int) -> AbstractLoss:
        """The frame of some samples."""
        del of
        return self if self.anchor is None else replace(self, anchor=self.anchor[samples])

    def _carried(self, u: Tensor, log_p: Tensor) -> Tensor:
        """Tangent vectors at q, carried to the anchor."""
        if self.anchor is None:
            return u
        q, q0 = torch.exp(0.5 * log_p), self._anchor_root()
        share = ((q - q0) * u).sum(-1, keepdim=True) / (1.0 + (q * q0).sum(-1, keepdim=True))
        return u + share * (q + q0)

    def _anchor_root(self) -> Tensor:
        assert self.anchor is not None
        return torch.exp(0.5 * self._split(self.anchor))

    def _root(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self._split(outputs).log_softmax(-1), self.factor**0.5 * _counts(self._split(targets))

    def _split(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(*tensor.shape[:-1], -1, self.classes)


def _miss(log_p: Tensor, y: Tensor) -> Tensor:
    """p - y, accurate also where both are close to one."""
    return torch.where(y < 0.5, torch.exp(log_p) - y, torch.expm1(log_p) + (1.0 - y))


def _counts(y: Tensor) -> Tensor:
    """1 for positions that count, 0 for ignored ones."""
    return (y.sum(-1, keepdim=True) > 0).to(y.dtype)


def _one_hot(labels: Tensor, output_shape: torch.Size, name: str) -> Tensor:
    classes = output_shape[-1]
    if labels.dtype == torch.bool or labels.is_complex():
        raise ArgumentError(f"`{name}` must hold class labels as integers, but has dtype {labels.dtype}.")
    positions = (
        labels.reshape(len(labels), *output_shape[1:-1]) if labels.numel() == output_shape[:-1].numel() else None
    )
    if positions is None:
        raise ShapeError(
            f"`{name}` must hold one label for every position of the outputs, shape {tuple(output_shape[:-1])}, but "
            f"has {tuple(labels.shape)}. The network returns {tuple(output_shape)} with the classes on the last axis; "
            f"for probabilities, pass floating-point targets of that shape."
        )
    is_kept = positions != IGNORED_LABEL
    is_bad = is_kept & ((positions < 0) | (positions >= classes))
    if is_bad.any():
        worst = int(positions[is_bad][0])
        raise ArgumentError(
            f"`{name}` must hold class labels in [0, {classes - 1}] (the outputs' last axis has {classes} classes), "
            f"but has {int(is_bad.sum())} outside, the first {worst}. Use {IGNORED_LABEL} for positions to leave out."
        )
    one_hot = functional.one_hot(torch.where(is_kept, positions, 0).long(), classes)
    return one_hot.to(torch.float64) * is_kept[..., None]


def _checked_probabilities(targets: Tensor, output_shape: torch.Size, name: str) -> Tensor:
    if targets.shape != output_shape:
        hint = f" Class labels must be integers: {name}.long()." if targets.numel() == output_shape[:-1].numel() else ""
        raise ShapeError(
            f"`{name}` must be probabilities with the shape of the outputs, {tuple(output_shape)}, or integer class "
            f"labels of shape {tuple(output_shape[:-1])}, but has dtype {targets.dtype} and shape "
            f"{tuple(targets.shape)}.{hint}"
        )
    if not torch.isfinite(targets).all():
        raise NonFiniteError(f"`{name}` must be finite probabilities. Remove or repair those samples.")
    sums = targets.sum(-1)
    tolerance = 100 * targets.shape[-1] * torch.finfo(targets.dtype).eps
    if (targets < 0).any() or ((sums - 1).abs() > tolerance).any():
        raise ArgumentError(
            f"`{name}` must be probabilities, >= 0 with sum 1 over the classes (last axis), but the smallest is "
            f"{float(targets.min()):.3g} and the sums lie in [{float(sums.min()):.6g}, {float(sums.max()):.6g}]. "
            f"For class labels, pass integers."
        )
    probabilities = targets.to(torch.float64)
    return probabilities / probabilities.sum(-1, keepdim=True)
