"""Losses of PyTorch that are a function of one output and its target: logits, margins, Huber, counts, shares."""

import math
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.loss.base import AbstractLoss
from eigenflow.tangent.loss.pointwise import AbstractPointwiseLoss

__all__ = ["BinaryLogitLoss", "BinaryProbabilityLoss", "HuberLoss", "PoissonLoss", "SoftMarginLoss"]


@dataclass(frozen=True)
class BinaryLogitLoss(AbstractPointwiseLoss):
    """phi = (1 - y) z + (1 + (P - 1) y) softplus(-z), as in `torch.nn.BCEWithLogitsLoss`.

    With s = sigmoid(z) and l = 1 + (P - 1) y: phi' = (1 - y) s - P y (1 - s), phi'' = l s (1 - s), and the quotient
    ((1 - y) exp(z / 2) - P y exp(-z / 2)) / sqrt(l), which grows with the margin of what is sure and wrong.

    Attributes:
        pos_weight: P, in any shape that broadcasts to the outputs of a sample; None: one.
    """

    title = "binary_cross_entropy_with_logits"
    is_curved = True

    pos_weight: Tensor | None = field(default=None, compare=False, repr=False)

    def bind(
        self, targets: Tensor, output_shape: torch.Size, dtype: torch.dtype, name: str
    ) -> tuple[AbstractLoss, Tensor]:
        """Also flatten `pos_weight`."""
        pos_weight = self.pos_weight
        if pos_weight is not None:
            if pos_weight.ndim >= max(2, len(output_shape)) and len(pos_weight) > 1:
                raise ArgumentError(
                    f"`pos_weight` must be the same for all samples, and broadcast to {tuple(output_shape[1:])}, but "
                    f"has shape {tuple(pos_weight.shape)}. Weights of samples go into `weight`."
                )
            root = self._weight_root(pos_weight, output_shape, targets.to(dtype), "pos_weight")
            pos_weight = root.square()
        bound, flat = super().bind(targets, output_shape, dtype, name)
        return replace(bound, pos_weight=pos_weight), flat  # pyright: ignore[reportCallIssue]

    def check_targets(self, targets: Tensor, name: str) -> None:
        """The loss is convex for y in [0, 1]."""
        _require_between_zero_and_one(targets, name, self.title)

    def _positive(self, y: Tensor) -> Tensor:
        """P y."""
        return y if self.pos_weight is None else self.pos_weight * y

    def term(self, z: Tensor, y: Tensor) -> Tensor:
        """(1 - y) softplus(z) + P y softplus(-z)."""
        return (1 - y) * functional.softplus(z) + self._positive(y) * functional.softplus(-z)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """(1 - y) s - P y (1 - s)."""
        return (1 - y) * torch.sigmoid(z) - self._positive(y) * torch.sigmoid(-z)

    def bend(self, z: Tensor, y: Tensor) -> Tensor:
        """sqrt(l s (1 - s))."""
        return self._total(y).sqrt() * _sigmoid_bend(z)

    def quotient(self, z: Tensor, y: Tensor) -> Tensor:
        """((1 - y) exp(z / 2) - P y exp(-z / 2)) / sqrt(l)."""
        total = self._total(y)
        # A share that is zero must not meet an exponential that overflows.
        up = torch.where(y < 1, (1 - y) * torch.exp(0.5 * torch.where(y < 1, z, 0.0)), 0.0)
        positive = self._positive(y)
        down = torch.where(positive > 0, positive * torch.exp(-0.5 * torch.where(positive > 0, z, 0.0)), 0.0)
        return torch.where(total > 0, (up - down) / torch.where(total > 0, total, 1.0).sqrt(), 0.0)

    def _total(self, y: Tensor) -> Tensor:
        return (1 - y) + self._positive(y)


@dataclass(frozen=True)
class SoftMarginLoss(AbstractPointwiseLoss):
    """phi = softplus(-y z), as in `torch.nn.SoftMarginLoss`; targets are -1 and 1, or any numbers."""

    title = "soft_margin_loss"
    is_curved = True

    def term(self, z: Tensor, y: Tensor) -> Tensor:
        """softplus(-y z)."""
        return functional.softplus(-y * z)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """-y sigmoid(-y z)."""
        return -y * torch.sigmoid(-y * z)

    def bend(self, z: Tensor, y: Tensor) -> Tensor:
        """|y| sqrt(s (1 - s))."""
        return y.abs() * _sigmoid_bend(y * z)

    def quotient(self, z: Tensor, y: Tensor) -> Tensor:
        """-sign(y) exp(-y z / 2)."""
        return -torch.sign(y) * torch.exp(-0.5 * y * z)


@dataclass(frozen=True)
class HuberLoss(AbstractPointwiseLoss):
    """phi = d^2 / 2 for d = z - y within delta, delta (|d| - delta / 2) beyond, times a scale.

    `torch.nn.HuberLoss(delta)` has scale 1, `torch.nn.SmoothL1Loss(beta)` has delta = beta and scale 1 / beta.
    """

    delta: float = 1.0
    scale: float = 1.0
    title = "huber_loss"

    @property
    def name(self) -> str:
        """Name, and where it turns straight."""
        return f"{super().name}, delta {self.delta:g}"

    def term(self, z: Tensor, y: Tensor) -> Tensor:
        """Half the square, or the straight line that continues it."""
        d = (z - y).abs()
        return self.scale * torch.where(d <= self.delta, 0.5 * d.square(), self.delta * (d - 0.5 * self.delta))

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """d, cut off at delta."""
        return self.scale * (z - y).clamp(-self.delta, self.delta)

    def bend(self, z: Tensor, y: Tensor) -> Tensor:
        """One within delta, zero beyond."""
        return self.scale**0.5 * ((z - y).abs() <= self.delta).to(z.dtype)

    def quotient(self, z: Tensor, y: Tensor) -> Tensor:
        """d within delta."""
        d = z - y
        return self.scale**0.5 * torch.where(d.abs() <= self.delta, d, 0.0)

    def remedy(self) -> str:
        """A larger delta."""
        return f" A delta (or beta) above {self.delta:g} makes it curved further out; loss='mse' is curved everywhere."


@dataclass(frozen=True)
class PoissonLoss(AbstractPointwiseLoss):
    """phi = exp(z) - y z, or z - y log(z + eps) for outputs that are rates, as in `torch.nn.PoissonNLLLoss`.

    Attributes:
        log_input: Whether outputs are logarithms of rates.
        full: Whether Stirling's approximation of log y! is added for y > 1; it changes the loss only.
        eps: Added to rates.
    """

    log_input: bool = True
    full: bool = False
    eps: float = 1e-8
    title = "poisson_nll_loss"

    def check_targets(self, targets: Tensor, name: str) -> None:
        """Counts."""
        if bool((targets < 0).any()):
            raise ArgumentError(
                f"`{name}` must hold counts >= 0 for loss '{self.title}', but has {float(targets.min()):.3g}."
            )

    def term(self, z: Tensor, y: Tensor) -> Tensor:
        """The negative logarithm of the likelihood, without log y! unless it is full."""
        term = torch.exp(z) - y * z if self.log_input else z - y * torch.log(z + self.eps)
        if not self.full:
            return term
        safe = y.clamp(min=1.0)
        stirling = safe * torch.log(safe) - safe + 0.5 * torch.log(2 * math.pi * safe)
        return term + torch.where(y > 1, stirling, 0.0)

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """exp(z) - y, or 1 - y / (z + eps)."""
        return torch.exp(z) - y if self.log_input else 1 - y / (z + self.eps)

    def bend(self, z: Tensor, y: Tensor) -> Tensor:
        """exp(z / 2), or sqrt(y) / (z + eps)."""
        return torch.exp(0.5 * z) if self.log_input else y.sqrt() / (z + self.eps)

    def quotient(self, z: Tensor, y: Tensor) -> Tensor:
        """exp(z / 2) - y exp(-z / 2), or (z + eps - y) / sqrt(y)."""
        if self.log_input:
            return torch.exp(0.5 * z) - y * torch.exp(-0.5 * z)
        return torch.where(y > 0, (z + self.eps - y) / torch.where(y > 0, y, 1.0).sqrt(), 0.0)

    def require_valid(self, outputs: Tensor, targets: Tensor) -> None:
        """Also refuse rates that are not positive."""
        if not self.log_input and bool((outputs + self.eps <= 0).any()):
            raise ArgumentError(
                f"`loss` '{self.name}' with log_input=False takes the network's outputs as rates > 0, but the smallest "
                f"is {float(outputs.min()):.3g}. Let the network return logarithms: log_input=True."
            )
        super().require_valid(outputs, targets)

    def remedy(self) -> str:
        """The other parametrisation."""
        return "" if self.log_input else " With log_input=True it is curved for every count."


@dataclass(frozen=True)
class BinaryProbabilityLoss(AbstractPointwiseLoss):
    """phi = -y log p - (1 - y) log(1 - p) of outputs p that are probabilities, as in `torch.nn.BCELoss`.

    phi' = (p - y) / (p (1 - p)), phi'' = y / p^2 + (1 - y) / (1 - p)^2. Seen from p, not from a logit, M is another
    Gauss-Newton operator than that of `BinaryLogitLoss`: a label has e = -1 or 1 whatever p is.
    """

    title = "binary_cross_entropy"

    def check_targets(self, targets: Tensor, name: str) -> None:
        """The loss is convex for y in [0, 1]."""
        _require_between_zero_and_one(targets, name, self.title)

    def term(self, z: Tensor, y: Tensor) -> Tensor:
        """-y log p - (1 - y) log(1 - p)."""
        return -(torch.xlogy(y, z) + torch.special.xlog1py(1 - y, -z))

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        """(1 - y) / (1 - p) - y / p."""
        return (1 - y) / (1 - z) - y / z

    def bend(self, z: Tensor, y: Tensor) -> Tensor:
        """sqrt(y (1 - p)^2 + (1 - y) p^2) / (p (1 - p))."""
        return self._length(z, y) / (z * (1 - z))

    def quotient(self, z: Tensor, y: Tensor) -> Tensor:
        """(p - y) / sqrt(y (1 - p)^2 + (1 - y) p^2)."""
        return ((1 - y) * z - y * (1 - z)) / self._length(z, y)

    def require_valid(self, outputs: Tensor, targets: Tensor) -> None:
        """Also refuse outputs at which PyTorch cuts the loss or its gradient off."""
        if not bool((outputs * (1 - outputs) > 1e-12).all()):
            raise ArgumentError(
                f"`loss` '{self.name}' takes probabilities between 0 and 1, and PyTorch cuts off those within 1e-12 of "
                f"the ends, but the outputs lie in [{float(outputs.min()):.3g}, {float(outputs.max()):.3g}]. Drop "
                f"Sigmoid from the model and pass loss=torch.nn.BCEWithLogitsLoss()."
            )
        super().require_valid(outputs, targets)

    def _length(self, z: Tensor, y: Tensor) -> Tensor:
        return (y * (1 - z).square() + (1 - y) * z.square()).sqrt()


def _sigmoid_bend(z: Tensor) -> Float[Tensor, "..."]:
    """sqrt(sigmoid(z) sigmoid(-z)), far out too."""
    return torch.exp(0.5 * (functional.logsigmoid(z) + functional.logsigmoid(-z)))


def _require_between_zero_and_one(targets: Tensor, name: str, title: str) -> None:
    if bool(((targets < 0) | (targets > 1)).any()):
        raise ArgumentError(
            f"`{name}` must lie in [0, 1] for loss '{title}', but lies in [{float(targets.min()):.3g}, "
            f"{float(targets.max()):.3g}]. For labels -1 and 1, pass loss=torch.nn.SoftMarginLoss()."
        )
