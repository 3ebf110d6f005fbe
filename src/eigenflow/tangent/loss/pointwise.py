"""Losses that are a sum or mean over outputs of a function of one output and its target: roots in closed form.

With a term phi(z, y) of weight f the Hessian is diagonal, so

    r = f phi'      B = sqrt(f phi'')      e = sqrt(f) phi' / sqrt(phi'')

and the frame of B needs no care. Quotients are written out, so that nothing cancels where a sample is sure. Where phi
is straight (phi'' = 0 and phi' != 0) no e exists: that is refused, unless `defect="drop"` leaves the part out of e.
"""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.loss.base import AbstractLoss, flat_targets

__all__ = ["AbstractPointwiseLoss"]


@dataclass(frozen=True)
class AbstractPointwiseLoss(AbstractLoss):
    """f times the sum over samples and outputs of weight * phi(output, target).

    Attributes:
        reduction: "mean" over samples and outputs, or "sum".
        defect: What to do where phi is straight: "raise", or "drop" that part of the gradient.
        weight: Of the terms, in any shape that broadcasts to the outputs, any floating-point type; bound: the root of
            it, (samples or 1, outputs). None: ones.
        is_class_mean: Whether a sum is one over samples only, of means over the last axis.
    """

    title: ClassVar[str] = ""
    # Whether phi'' > 0 wherever phi' != 0, though rounding may show zero far out, where e overflows.
    is_curved: ClassVar[bool] = False

    reduction: Literal["mean", "sum"] = "mean"
    defect: Literal["raise", "drop"] = "raise"
    weight: Tensor | None = field(default=None, compare=False, repr=False)
    is_class_mean: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("reduction", self.reduction, ("mean", "sum")),
            ("defect", self.defect, ("raise", "drop")),
        ):
            if value not in allowed:
                raise ArgumentError(f"`{name}` must be '{allowed[0]}' or '{allowed[1]}', but is {value!r}.")

    @abstractmethod
    def term(self, z: Tensor, y: Tensor) -> Tensor:
        """phi."""

    @abstractmethod
    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """phi'."""

    @abstractmethod
    def bend(self, z: Tensor, y: Tensor) -> Tensor:
        """sqrt(phi'')."""

    @abstractmethod
    def quotient(self, z: Tensor, y: Tensor) -> Tensor:
        """phi' / sqrt(phi''), or zero where phi'' is."""

    def check_targets(self, targets: Tensor, name: str) -> None:
        """Refuse targets for which phi is not convex, or not defined."""
        del targets, name

    @property
    def name(self) -> str:
        """PyTorch's name of the function, and what makes it differ from the plain mean."""
        kinds = {"weights": self.weight is not None, "sum": self.reduction == "sum"}
        told = ", ".join(kind for kind, is_there in kinds.items() if is_there)
        return f"{self.title} ({told})" if told else self.title

    @property
    def is_quadratic(self) -> bool:
        """False: B moves with the outputs."""
        return False

    def bind(
        self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype, name: str
    ) -> tuple[AbstractLoss, Tensor]:
        """Flatten targets of the outputs' shape; integers and booleans are numbers here."""
        if targets.is_complex():
            raise ArgumentError(f"`{name}` must be real for loss '{self.name}', but has dtype {targets.dtype}.")
        flat = flat_targets(targets, output_shape, name, is_exact=True).to(dtype)
        self.check_targets(flat, name)
        count = output_shape.numel() if self.reduction == "mean" else output_shape[-1] if self.is_class_mean else 1
        root = None if self.weight is None else self._weight_root(self.weight, output_shape, flat, "weight")
        return replace(self, factor=1.0 / count, weight=root), flat

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """f times the sum of the terms."""
        terms = self.term(outputs, targets)
        return self.factor * (terms if self.weight is None else self.weight.square() * terms).sum()

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """f phi'."""
        slope = self.factor * self.slope(outputs, targets)
        return slope if self.weight is None else self.weight.square() * slope

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """sqrt(f) phi' / sqrt(phi'')."""
        return self._weighted(self.quotient(outputs, targets))

    def weigh(self, outputs: Tensor, targets: Tensor, changes: Tensor) -> Tensor:
        """sqrt(f phi'') times changes of the outputs."""
        return self._weighted(self.bend(outputs, targets)) * changes

    def spread(self, outputs: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """The same: B is diagonal."""
        return self.weigh(outputs, targets, rows)

    def require_valid(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse straight parts: all of the loss in any case, some of it unless they are dropped."""
        if self.is_curved:
            return
        weighs = torch.ones_like(outputs) if self.weight is None else self.weight.expand_as(outputs)
        bends = (self.bend(outputs, targets) > 0) & (weighs > 0)
        if not bool(bends.any()):
            raise ArgumentError(
                f"`loss` '{self.name}' has no curvature on any output of the probe set: it is straight there, so that "
                f"M = J J^T would be zero.{self.remedy()}"
            )
        is_straight = ~bends & (weighs > 0) & (self.slope(outputs, targets) != 0)
        if self.defect == "raise" and is_straight.any():
            raise ArgumentError(
                f"`loss` '{self.name}' is straight at {int(is_straight.sum())} of {outputs.numel()} outputs of the "
                f"probe set: its gradient is outside the range of its Hessian there, so no error e with B e = r "
                f"exists.{self.remedy()} GeneralLoss(function, defect='drop') leaves that part out of e."
            )

    def remedy(self) -> str:
        """What else to do about straight parts, a sentence with a leading space."""
        return ""

    def part(self, samples: slice | Tensor, of: int) -> AbstractLoss:
        """The weights of some samples."""
        del of
        if self.weight is None or len(self.weight) == 1:
            return self
        return replace(self, weight=self.weight[samples])

    def counted(self, targets: Tensor) -> float | None:
        """Samples, for the mean."""
        return len(targets) if self.reduction == "mean" else None

    def _weighted(self, numbers: Tensor) -> Tensor:
        numbers = self.factor**0.5 * numbers
        return numbers if self.weight is None else self.weight * numbers

    def _weight_root(self, weight: Tensor, output_shape: torch.Size, like: Tensor, name: str) -> Tensor:
        """sqrt(weight), flattened as the outputs; one row where all samples have the same."""
        try:
            full = torch.broadcast_to(weight.detach(), output_shape)
        except RuntimeError:
            full = None
        if full is None or not bool(((full >= 0) & torch.isfinite(full)).all()):
            raise ArgumentError(
                f"`{name}` of loss '{self.title}' must be finite, >= 0, and broadcast to the network's outputs "
                f"{tuple(output_shape)}, but has shape {tuple(weight.shape)} and values from {float(weight.min()):.3g} "
                f"to {float(weight.max()):.3g}."
            )
        has_samples = weight.ndim == len(output_shape) and len(weight) > 1
        rows = (full if has_samples else full[:1]).reshape(-1, output_shape[1:].numel())
        return rows.to(like).sqrt()
