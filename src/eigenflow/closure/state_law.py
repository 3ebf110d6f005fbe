"""One constant that ties the drift to the state, from what is known at a cut, with a prior.

The law is d ln(lambda) / dt = kappa F / s, the same for all modes (b = 1), with F what was learned times what is left
and s the growth since the start (`transport.StateDrift`, r = q = 1): an aligned linear network of two layers and the
network f = a w'x obey it exactly. So kappa = (growth of s) / int F dt, over the last factor of time.

Early on single modes grow and shrink at random, and a mean over them says little. Its error is taken as a share of the
velocities at the first measurement that fades with the energy. Before it says more, a prior decides: by dimension,
kappa ~ (velocity at the start)^2 / (dissipation at the start), for both are two steps in the same hierarchy of
derivatives. Its factor and spread, and the rate of jumps, were learned from runs (docs/validation/closure.md).
"""

from dataclasses import dataclass

import numpy as np

from eigenflow.closure.history import StateHistory
from eigenflow.closure.rotation import JumpRate
from eigenflow.core.display import FieldsPrinted
from eigenflow.transport.state_drift import StateDrift

__all__ = ["StateLaw", "fit_state_law"]

WINDOW = 2.0  # factor of time over which growth is compared
# Learned from nine runs on digits, see docs/validation/closure.md.
PRIOR_FACTOR = 50.0
PRIOR_SPREAD = 1.2  # standard deviation of ln(kappa)
NOISE = 0.7  # of a mean over modes, as a share of the first velocities
MISFIT = 0.2  # relative error of the law over a window
GRID = np.linspace(-5.0, 5.0, 401)  # of ln(kappa), in spreads around the prior


@dataclass(frozen=True, repr=False)
class StateLaw(FieldsPrinted):
    """kappa of d ln(lambda) / dt = kappa F / s, s being 1 at the cut.

    Attributes:
        kappa: Estimate, in 1 / (time x energy).
        spread: Standard deviation of its logarithm, after the data.
        prior: Median of the prior.
        measured: What the last factor of time says alone; may be negative.
        noise: Its standard error from random velocities.
        jumps: How often energy jumps upwards while modes grow by an e-fold.
    """

    kappa: float
    spread: float
    prior: float
    measured: float
    noise: float
    jumps: JumpRate

    @property
    def drift(self) -> StateDrift:
        """The law as a drift."""
        return StateDrift(self.kappa)

    @property
    def parameters(self) -> dict[str, float]:
        """What was fitted, by name."""
        return {"kappa": self.kappa, "spread": self.spread, "measured": self.measured, "prior": self.prior}


def fit_state_law(history: StateHistory, jumps: JumpRate) -> StateLaw:
    """Weigh what was measured against the prior.

    Args:
        history: What is known.
        jumps: As from `jump_rate`.
    """
    rows = history.since(WINDOW)
    times, learned, growth = history.times[rows], history.learned[rows], history.growth[rows]
    tiny = np.finfo(np.float64).tiny
    spent = max(float(np.trapezoid(learned, times)), tiny)
    # In units in which s is 1 at the cut.
    measured = float(-np.expm1(growth[0] - growth[-1])) / spent
    prior = PRIOR_FACTOR * history.first_speed**2 / max(history.first_dissipation, tiny)
    prior = max(prior * float(np.exp(history.growth[0] - history.growth[-1])), tiny)
    fading = float(history.energy[-1] / max(float(history.energy[0]), tiny))
    noise = NOISE * history.first_speed * fading * float(times[-1] - times[0]) / spent
    mean, spread = _posterior(prior, measured, noise)
    return StateLaw(mean, spread, prior, measured, noise, jumps)


def _posterior(prior: float, measured: float, noise: float) -> tuple[float, float]:
    """Geometric mean and spread of kappa on a grid that holds the prior and what was measured."""
    logs = np.log(prior) + PRIOR_SPREAD * GRID
    if measured > 0:
        logs = np.union1d(logs, np.log(measured) + PRIOR_SPREAD * GRID)
    kappas = np.exp(logs)
    variance = noise**2 + (MISFIT * kappas) ** 2
    density = -0.5 * ((logs - np.log(prior)) / PRIOR_SPREAD) ** 2
    density = density - 0.5 * (measured - kappas) ** 2 / variance - 0.5 * np.log(variance)
    weight = np.exp(density - density.max()) * np.gradient(logs)
    weight /= weight.sum()
    mean = float(weight @ logs)
    return float(np.exp(mean)), float(np.sqrt(weight @ (logs - mean) ** 2))
