"""The risk of linear learners as a quadratic form in what time leaves of each eigenvalue of the sample.

Whatever a learner does to the directions of its sample covariance, if it turns with none of them its residual keeps a
share a(l) of a direction of eigenvalue l, and the excess risk is

    from the target   sum_jk a_j a_k T_jk + 2 a_0 sum_j a_j t_j + a_0^2 t_0,      a_0 = 1: what the sample does not see
    from the noise    sigma^2 sum_j (1 - a_j)^2 v_j

with numbers that the sample alone decides. Gradient flow has a = exp(-l t), and with a drift of the eigenvalues
a = exp(-Q(l, t)).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["RiskForm", "RiskParts"]

Array = Float[np.ndarray, " time"]


@dataclass(frozen=True)
class RiskParts:
    """Risks over time, in the square of the output's unit.

    Attributes:
        from_target: Excess risk without noise in the labels.
        from_noise: What noise of the given variance adds.
        train: Mean square of the residual on the noisy labels.
    """

    from_target: Float[np.ndarray, " time"]
    from_noise: Float[np.ndarray, " time"]
    train: Float[np.ndarray, " time"]

    @property
    def risk(self) -> Float[np.ndarray, " time"]:
        """Excess risk."""
        return self.from_target + self.from_noise


@dataclass(frozen=True)
class RiskForm:
    """The form of one sample, or of the mean over samples.

    Attributes:
        eigenvalues: l > 0 of the sample covariance, or nodes of its density.
        target: T.
        target_cross: t, with the directions that the sample does not see.
        target_unseen: t_0.
        noise: v, per unit of the labels' variance.
        train_target: Share of the mean square on the sample of each direction, without noise.
        train_noise: The same of noise of variance 1.
        train_missing: What of the target is left on the sample for ever.
        train_unseen: The same of noise of variance 1.
    """

    eigenvalues: Float[np.ndarray, " node"]
    target: Float[np.ndarray, "node node"]
    target_cross: Float[np.ndarray, " node"]
    target_unseen: float
    noise: Float[np.ndarray, " node"]
    train_target: Float[np.ndarray, " node"]
    train_noise: Float[np.ndarray, " node"]
    train_missing: float
    train_unseen: float

    def risk(
        self, residual: Float[np.ndarray, "time node"], learned: Float[np.ndarray, "time node"], noise: float
    ) -> RiskParts:
        """Evaluate the form.

        Args:
            residual: a at each time.
            learned: 1 - a, given apart so that neither loses digits.
            noise: Variance of the labels.
        """
        target = ((residual @ self.target + 2.0 * self.target_cross) * residual).sum(1) + self.target_unseen
        train = residual**2 @ (self.train_target + noise * self.train_noise)
        train = train + (self.train_missing + noise * self.train_unseen)
        return RiskParts(target, noise * (learned**2 @ self.noise), train)

    @property
    def at_start(self) -> float:
        """Excess risk of an untrained learner: all of the form, which has to be the target's variance."""
        return float(self.target.sum() + 2.0 * self.target_cross.sum()) + self.target_unseen

    def slope(
        self,
        residual: Float[np.ndarray, "time node"],
        learned: Float[np.ndarray, "time node"],
        change: Float[np.ndarray, "time node"],
        noise: float,
    ) -> Array:
        """Differentiate the excess risk, `change` being the derivative of the residual."""
        target = 2.0 * ((residual @ self.target + self.target_cross) * change).sum(1)
        return target - 2.0 * noise * ((learned * change) @ self.noise)
