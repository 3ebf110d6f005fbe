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

Saturated samples. All is computed from log p, whose own small values do not cancel, and products with B are arranged
so that nothing does: a sample that is sure and right (1 - p_y down to the smallest number) keeps its small part of M
and its small e to full relative accuracy. A sample that is sure and wrong has e = -1 / sqrt(p_y), which grows like
exp(margin / 2) although r stays bounded and the loss grows only like the margin: the energy then says little
about the loss, so follow both. Beyond a margin of about 1400 (float64; 170 in float32) e overflows, and the probe
raises. A class that no sample has enters e through sqrt(p) alone.

Weights and smoothing. Class weights w and smoothed targets make a position's loss -sum(a log p), a_c = w_c y_c >= 0.
With its sum s and y = a / s this is s times the above: r = s (p - y), H = s (diag(p) - p p^T), B and e times sqrt(s).
A position that is left out has s = 0. What a mean divides by is PyTorch's: the weights of the labels, without
smoothing; for probabilities the number of positions.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.loss.base import AbstractLoss
from eigenflow.tangent.loss.class_axis import find_class_axis, one_hot, probabilities

__all__ = ["IGNORED_LABEL", "CrossEntropyLoss"]

# As in torch.nn.functional.cross_entropy: such positions do not count.
IGNORED_LABEL = -100


@dataclass(frozen=True)
class CrossEntropyLoss(AbstractLoss):
    """Mean (or sum) over positions of -sum(w y log softmax(z)), equal to `torch.nn.CrossEntropyLoss`.

    Targets are class labels (integers, one for every position of the outputs), or probabilities with the shape of the
    outputs. Bound targets are w y, in the order of the outputs.

    Attributes:
        class_axis: Axis of the network's outputs with the classes, samples counted as axis 0; None: the axis that the
            targets fit, and axis 1 if they fit both that and the last (which warns).
        weight: One weight >= 0 for each class, in any floating-point type, or None.
        label_smoothing: Share of every target that is spread evenly over the classes.
        ignore_index: Label of positions that do not count.
        reduction: "mean", or "sum".
        classes: Number of classes, when bound.
        stride: Outputs from one class to the next, when bound.
        count: What the mean divides by, when bound.
        anchor: log p, flattened like the outputs, at which the frame of the root is fixed; None: it moves with q.
    """

    class_axis: int | None = None
    weight: Tensor | None = field(default=None, compare=False, repr=False)
    label_smoothing: float = 0.0
    ignore_index: int = IGNORED_LABEL
    reduction: Literal["mean", "sum"] = "mean"
    classes: int = 0
    stride: int = 1
    count: float = 1.0
    anchor: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise ArgumentError(f"`label_smoothing` must lie in [0, 1], but is {self.label_smoothing}.")
        if self.reduction not in ("mean", "sum"):
            raise ArgumentError(f"`reduction` must be 'mean' or 'sum', but is {self.reduction!r}.")

    @property
    def name(self) -> str:
        """cross_entropy, and what makes it differ from the plain mean."""
        kinds = {
            "class weights": self.weight is not None,
            f"label smoothing {self.label_smoothing:g}": self.label_smoothing > 0,
            "sum": self.reduction == "sum",
        }
        told = ", ".join(kind for kind, is_there in kinds.items() if is_there)
        return f"cross_entropy ({told})" if told else "cross_entropy"

    @property
    def is_quadratic(self) -> bool:
        """False: B moves with the outputs."""
        return False

    def bind(
        self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype, name: str
    ) -> tuple[AbstractLoss, Tensor]:
        """Turn targets into weighted probabilities, flattened like the outputs; an ignored position has none."""
        axis = find_class_axis(targets, output_shape, self.class_axis, name)
        classes = output_shape[axis]
        weights = self._class_weights(classes, targets.device)
        if targets.is_floating_point():
            if self.ignore_index >= 0:
                raise ArgumentError(
                    f"`ignore_index` {self.ignore_index} has no meaning for probabilities, as in PyTorch. Leave it "
                    f"out, or pass class labels."
                )
            y = probabilities(targets, output_shape, axis, name)
            count = float(y[..., 0].numel())
        else:
            y, is_kept = one_hot(targets, output_shape, axis, self.ignore_index, name)
            y = y * is_kept[..., None]
            count = float((y * weights).sum())
        y = y + self.label_smoothing * (1.0 / classes - y) * (y.sum(-1, keepdim=True) > 0)
        y = y * weights
        if count == 0 or not bool((y > 0).any()):
            raise ArgumentError(
                f"`{name}` must have at least one label that is not {self.ignore_index} and has a weight above 0."
            )
        flat = y.to(dtype).movedim(-1, axis).reshape(len(targets), -1)
        factor = 1.0 / count if self.reduction == "mean" else 1.0
        stride = output_shape[axis + 1 :].numel()
        return replace(self, factor=factor, classes=classes, stride=stride, count=count), flat

    def _class_weights(self, classes: int, device: torch.device) -> Tensor:
        if self.weight is None:
            return torch.ones(classes, dtype=torch.float64, device=device)
        weights = self.weight.detach().to(device=device, dtype=torch.float64)
        if weights.shape != (classes,) or not bool(((weights >= 0) & torch.isfinite(weights)).all()):
            raise ArgumentError(
                f"`weight` must hold one finite weight >= 0 for each of the {classes} classes, but has shape "
                f"{tuple(weights.shape)} and values from {float(weights.min()):.3g} to {float(weights.max()):.3g}. "
                f"`class_axis` says on which axis of the outputs the classes lie."
            )
        return weights

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """-f sum(w y log p)."""
        log_p, weighted = _log_softmax(self._split(outputs)), self._split(targets)
        return -self.factor * torch.where(weighted > 0, weighted * log_p, 0.0).sum()

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """f s (p - y)."""
        log_p, (y, s) = _log_softmax(self._split(outputs)), self._targets(targets)
        return self._join(self.factor * s * _miss(log_p, y), outputs)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """sqrt(f s) (p - y) / sqrt(p)."""
        log_p, (y, s) = _log_softmax(self._split(outputs)), self._targets(targets)
        # Where y = 0 the quotient is sqrt(p), also for p that underflows.
        is_target = y > 0
        safe = torch.where(is_target, log_p, 0.0)
        error = torch.where(is_target, _miss(safe, y) * torch.exp(-0.5 * safe), torch.exp(0.5 * log_p))
        error = self._carried(error, log_p)
        return self._join((self.factor * s).sqrt() * error, outputs)

    def weigh(self, outputs: Tensor, targets: Tensor, changes: Tensor) -> Tensor:
        """B^T v = q (v - p . v); v is counted from its value at the likeliest class, so that nothing cancels."""
        log_p, root_s = self._root(outputs, targets)
        v = self._split(changes)
        top = log_p.argmax(-1, keepdim=True)
        v = v - torch.take_along_dim(v, top.expand(*v.shape[:-1], 1), -1)
        v = v - (torch.exp(log_p) * v).sum(-1, keepdim=True)
        return self._join(root_s * self._carried(torch.exp(0.5 * log_p) * v, log_p), changes)

    def spread(self, outputs: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """B u = q u - p (q . u); its sum is zero, which gives the likeliest class without cancellation."""
        log_p, root_s = self._root(outputs, targets)
        u, q = self._split(rows), torch.exp(0.5 * log_p)
        if self.anchor is not None:
            q0 = self._anchor_root()
            share = ((q + q0) * u).sum(-1, keepdim=True) / (1.0 + (q * q0).sum(-1, keepdim=True))
            u = u - share * (q0 - q)  # B q = 0, so q + q0 counts as q0 - q
        spread = q * u - torch.exp(log_p) * (q * u).sum(-1, keepdim=True)
        is_top = functional.one_hot(log_p.argmax(-1), self.classes).to(torch.bool)
        others = torch.where(is_top, 0.0, spread)
        spread = torch.where(is_top, -others.sum(-1, keepdim=True), spread)
        return self._join(root_s * spread, rows)

    def anchored(self, outputs: Tensor, targets: Tensor) -> AbstractLoss:
        """Fix the frame at these outputs."""
        del targets
        return replace(self, anchor=self._join(_log_softmax(self._split(outputs.detach())), outputs))

    def counted(self, targets: Tensor) -> float | None:
        """Positions that are not ignored, or the weights of their labels."""
        del targets
        return self.count if self.reduction == "mean" else None

    def part(self, samples: slice | Tensor, of: int) -> AbstractLoss:
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
        """log p, and sqrt(f s)."""
        s = self._split(targets).sum(-1, keepdim=True)
        return _log_softmax(self._split(outputs)), (self.factor * s).sqrt()

    def _targets(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """y, which sums to one, and s; zeros for positions that are left out."""
        weighted = self._split(targets)
        s = weighted.sum(-1, keepdim=True)
        return weighted / torch.where(s > 0, s, 1.0), s

    def _split(self, tensor: Tensor) -> Tensor:
        """(..., outputs) as (..., positions, classes)."""
        if self.stride == 1:
            return tensor.reshape(*tensor.shape[:-1], -1, self.classes)
        return tensor.reshape(*tensor.shape[:-1], -1, self.classes, self.stride).movedim(-2, -1)

    def _join(self, tensor: Tensor, like: Tensor) -> Tensor:
        """Back to the order and the shape of outputs."""
        return (tensor if self.stride == 1 else tensor.movedim(-1, -2)).reshape(like.shape)


def _log_softmax(z: Tensor) -> Tensor:
    """log p of the last axis, and its derivatives, accurate also where one class has all but nothing of the rest.

    `torch.log_softmax` has 1 - p of the likeliest class as a difference from one: at a loss of 1e-4, float32 leaves
    three digits of it.
    """
    top = z.argmax(-1, keepdim=True)
    is_top = torch.arange(z.shape[-1], device=z.device) == top
    # Zero as a constant: the derivative of z - z would be a difference of ones again.
    below = torch.where(is_top, 0.0, z - torch.take_along_dim(z, top, -1))
    return below - torch.where(is_top, 0.0, torch.exp(below)).sum(-1, keepdim=True).log1p()


def _miss(log_p: Tensor, y: Tensor) -> Tensor:
    """p - y, accurate also where both are close to one."""
    return torch.where(y < 0.5, torch.exp(log_p) - y, torch.expm1(log_p) + (1.0 - y))
