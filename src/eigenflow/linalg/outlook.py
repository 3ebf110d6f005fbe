"""How far the leading Ritz pairs still are from their tolerance, from small matrices alone.

Between extensions of a subspace only two things matter: whether another one is needed, and in which direction. Forming
all residuals to see that costs as much as several products. Their inner products follow from the images': with Ritz
values Theta and coefficients C in the basis B, R R' = C (B M^2 B') C' - Theta^2. The difference cancels where
residuals are small, so what looks reached, or too small to be told, has to be certified from vectors.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.linalg.certificate import GUARDS, Accuracy
from eigenflow.linalg.pairs import CertifiedPairs
from eigenflow.linalg.subspace import Subspace

__all__ = ["Outlook", "outlook"]

# Bounds are of second order pair by pair; a certificate weighs all pairs together and may come out a little smaller.
SLACK = 0.8
# Residuals below this part of the largest eigenvalue are lost in the cancellation.
CANCELLED = 1e-6


@dataclass(frozen=True)
class Outlook:
    """Leading Ritz pairs, seen before they are certified; on the CPU.

    Attributes:
        values: Ritz values of the modes, and of the first vector behind them if there is one.
        residual_gram: R R' of the modes.
        bounds: Of the modes' eigenvalues, about as certified, pair by pair.
        complement_bound: Estimate of the largest eigenvalue outside.
        accuracy: What is asked.
    """

    values: Float[Tensor, " some"]
    residual_gram: Float[Tensor, "modes modes"]
    bounds: Float[Tensor, " modes"]
    complement_bound: float
    accuracy: Accuracy

    @property
    def leading(self) -> Float[Tensor, " modes"]:
        """Ritz values of the modes."""
        return self.values[: self.accuracy.modes]

    @property
    def residuals(self) -> Float[Tensor, " modes"]:
        """Their residuals' lengths."""
        return self.residual_gram.diagonal().clamp(min=0).sqrt()

    @property
    def allowed(self) -> Float[Tensor, " modes"]:
        """Errors within the tolerance."""
        return (self.accuracy.tolerance * self.leading.abs()).clamp(min=1e-300)

    @property
    def missing(self) -> int:
        """How many pairs have not reached the tolerance, as it looks."""
        return int((~self.accuracy.is_reached(self.leading, self.bounds)).sum())

    @property
    def excess(self) -> float:
        """Worst bound over what the tolerance allows."""
        return float((self.bounds / self.allowed).max())

    @property
    def may_be_reached(self) -> bool:
        """Whether a certificate might say that no pair can or need come nearer."""
        if bool((self.residuals <= CANCELLED * self.values[0].abs()).any()):
            return True
        bounds = SLACK * self.bounds
        is_reached = self.accuracy.is_reached(self.leading, bounds)
        return bool((is_reached | self.accuracy.is_at_rounding(self.residuals, bounds)).all())

    @property
    def worst_angle(self) -> float:
        """Largest residual over distance to the complement: how far a wanted vector may lie outside the block."""
        shift = (self.leading - self.complement_bound).clamp(min=0.05 * float(self.values[0].abs()))
        return float(torch.where(self.residuals > 0, self.residuals / shift.clamp(min=1e-300), 0.0).max())

    @property
    def is_limited_by_guards(self) -> bool:
        """Whether all pairs that miss the tolerance would reach it, were the complement to end at the first guard.

        Then their own residuals are small enough, and it is those of the guards that leave room for an eigenvalue
        between.
        """
        if len(self.values) == self.accuracy.modes:
            return False
        shift = (self.leading - self.values[-1]).clamp(min=1e-300)
        would_reach = self.residuals.square() / shift <= self.allowed
        return bool((would_reach | self.accuracy.is_reached(self.leading, self.bounds)).all())

    def worst_weights(self, count: int) -> Float[Tensor, "count modes"]:
        """Combinations of residuals along which they add most to the bounds."""
        floor = 1e-3 * float(self.values[0].clamp(min=0.0))
        shift = (self.leading - self.complement_bound).clamp(min=max(floor, 1e-300))
        weights = 1.0 / (shift * self.allowed).sqrt()
        gram = weights[:, None] * self.residual_gram * weights
        _, columns = torch.linalg.eigh(0.5 * (gram + gram.T))
        return columns.flip(1)[:, :count].T * weights

    def certified(self, pairs: CertifiedPairs) -> "Outlook":
        """The same with bounds that have been certified."""
        bounds = pairs.eigenvalue_bounds.cpu()
        return Outlook(self.values, self.residual_gram, bounds, pairs.complement_bound, self.accuracy)


def outlook(subspace: Subspace, modes: int, tolerance: float) -> Outlook:
    """Look at the leading Ritz pairs of a subspace without forming them."""
    accuracy = Accuracy(modes, tolerance, subspace.rounding, subspace.space.size)
    count = min(subspace.count, 2 * modes + GUARDS)
    values, gram = subspace.ritz().values[:count].cpu(), subspace.residual_gram(count).cpu()
    _, mu = accuracy.cut(values, gram.diagonal().clamp(min=0).sqrt())
    own = gram[:modes, :modes]
    squares = own.diagonal().clamp(min=0)
    bounds = torch.minimum(squares.sqrt(), squares / (values[:modes] - mu).clamp(min=1e-300))
    return Outlook(values[: modes + 1], own, bounds, mu, accuracy)
