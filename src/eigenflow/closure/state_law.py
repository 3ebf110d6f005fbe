"""One constant that ties the drift to the state, from what is known at a cut, with a prior.

The law is d ln(lambda) / dt = kappa F / s, the same for all modes (b = 1), with F what was learned times what is left
and s the growth since the start (`transport.StateDrift`, r = q = 1). One mode of an aligned linear network of two
layers obeys it exactly, and so does the scale a^2 of f = a w'x. So kappa = (growth of s) / int F dt, over the last
factor of time.

At the start the network's own outputs f(0) are in the error. They are unlearned first, and modes shrink meanwhile: the
true -<f, e> is F - <f(0), e>, and |f(0)|^2 is not recorded. It is estimated beside kappa, its part in the error fading
as that of outputs that spread over modes as lambda^2. What is known of kappa before any growth is its size by
dimension, (velocity of single modes) x (largest eigenvalue) / (dissipation), all at the first measurement. The factor
and its spread were learned from runs (docs/validation/closure.md), and so were the sizes of the errors here.
"""

from dataclasses import dataclass, replace

import numpy as np

from eigenflow.closure.history import StateHistory
from eigenflow.closure.rotation import JumpRate
from eigenflow.core.display import FieldsPrinted
from eigenflow.transport.state_drift import StateDrift

__all__ = ["StateLaw", "fit_state_law"]

WINDOW, AGEING = 4.0, 2.0  # factor of time that is looked at, and the power of time by which it counts
# Chosen on 22 runs on digits, see docs/validation/closure.md.
PRIOR_FACTOR = 1.2
PRIOR_SPREAD = 1.3  # standard deviation of ln(kappa)
NOISE = 0.15  # of a mean over modes, as a share of the first velocities
MISFIT = 0.15  # relative error of the law
ROUNDED = 1e-6  # of the largest growth rate: smaller ones are not told apart
OUTPUT_MISFIT = 0.5  # of how f(0) fades
OUTPUT = 0.08  # mean of |f(0)|^2 / E(0)
KAPPAS = np.linspace(-5.0, 5.0, 201)  # of ln(kappa), in spreads around the prior
OUTPUTS = np.linspace(0.0, 0.5, 26)  # of |f(0)|^2 / E(0)


@dataclass(frozen=True, repr=False)
class StateLaw(FieldsPrinted):
    """kappa of d ln(lambda) / dt = kappa F / s, s being 1 at the cut.

    Attributes:
        kappa: Estimate, in 1 / (time x energy).
        spread: Standard deviation of its logarithm, after the data.
        prior: Median of the prior.
        measured: What the last factor of time says alone; may be negative.
        output: Estimate of |f(0)|^2, energy of the untouched network's outputs.
        jumps: How often energy jumps upwards while modes grow by an e-fold.
        trust: Share of the kappa that was fitted which is used, see `forecast_state`.
    """

    kappa: float
    spread: float
    prior: float
    measured: float
    output: float
    jumps: JumpRate
    trust: float = 1.0

    def trusted(self, share: float) -> "StateLaw":
        """The same law with a share of its kappa."""
        return replace(self, kappa=share * self.kappa, trust=share)

    @property
    def drift(self) -> StateDrift:
        """The law as a drift."""
        return StateDrift(self.kappa)

    @property
    def parameters(self) -> dict[str, float]:
        """What was fitted, by name."""
        return {
            "kappa": self.kappa,
            "spread": self.spread,
            "measured": self.measured,
            "prior": self.prior,
            "trust": self.trust,
        }


def fit_state_law(history: StateHistory, jumps: JumpRate) -> StateLaw:
    """Weigh what was measured against the prior.

    Args:
        history: What is known.
        jumps: As from `jump_rate`.
    """
    tiny = float(np.finfo(np.float64).tiny)
    first_energy = max(float(history.energy[0]), tiny)
    scale = np.exp(history.growth - history.growth[-1])
    prior = max(_prior(history) * float(scale[0]), tiny)
    rows = history.since(WINDOW)
    times, growth = history.times[rows], scale[rows]
    span = np.diff(times)
    rate = np.diff(growth) / span
    learned, untouched, energy = (_middle(x[rows]) for x in (history.learned, history.untouched, history.energy))
    middle = _middle(times)
    weight = span / middle * (middle / times[-1]) ** AGEING
    logs = np.log(prior) + PRIOR_SPREAD * KAPPAS
    best = float((weight * learned * rate).sum() / max(float((weight * learned**2).sum()), tiny))
    if best > 0:
        logs = np.union1d(logs, np.log(best) + PRIOR_SPREAD * KAPPAS)
    kappas, outputs = np.exp(logs)[:, None, None], OUTPUTS[:, None] * first_energy * untouched
    floor = (ROUNDED * float(np.abs(rate).max())) ** 2 + tiny
    noise = NOISE * history.first_speed * float(scale[0]) * energy / first_energy
    variance = noise**2 + kappas**2 * ((MISFIT * learned) ** 2 + (OUTPUT_MISFIT * outputs) ** 2) + floor
    density = -0.5 * (((rate - kappas * (learned - outputs)) ** 2 / variance + np.log(variance)) @ weight)
    density = density - 0.5 * ((logs - np.log(prior)) / PRIOR_SPREAD)[:, None] ** 2 - OUTPUTS / OUTPUT
    mass = np.exp(density - density.max()) * np.gradient(logs)[:, None]
    mass /= mass.sum()
    mean = float(mass.sum(1) @ logs)
    spread = float(np.sqrt(mass.sum(1) @ (logs - mean) ** 2))
    output = float(mass.sum(0) @ OUTPUTS) * first_energy
    return StateLaw(float(np.exp(mean)), spread, prior, best, output, jumps)


def _prior(history: StateHistory) -> float:
    """By dimension; s is 1 at the first measurement."""
    dissipation = max(history.first_dissipation, float(np.finfo(np.float64).tiny))
    return PRIOR_FACTOR * history.first_speed * history.first_largest / dissipation


def _middle(values: np.ndarray) -> np.ndarray:
    return 0.5 * (values[1:] + values[:-1])
