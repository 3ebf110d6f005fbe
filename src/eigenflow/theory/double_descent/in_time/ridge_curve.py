"""What samples, and random features, make of a rate: the effective ridge of the modes, and where it is complex.

n samples of k random features of a task turn a rate -z into gamma, the ridge that the task's modes feel,

    -z = gamma (1 - df(gamma) / k) (1 - df(gamma) / n),     df(gamma) = sum_i lambda_i / (lambda_i + gamma),

and with h = 1 / (1 - df / n), G = sum_i w_i^2 / (lambda_i + gamma) / (1 - df / k) all means over samples and features
follow as they do for the kernel itself, k infinite (`mean_form`): features turn w'(Sigma + kappa)^-1 w into G, and
kappa = gamma (1 - df / k) is the ridge that the samples cause.

Where z is real and gamma = -rho exp(i psi) is not, the smaller of n and k alone bounds the angle from below
(`spectral_curve`); beyond it the imaginary part of z changes its sign once.

Derivation: equations/double_descent.md#finite-time.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Complex, Float

from eigenflow.theory.double_descent.in_time.spectral_curve import (
    DEEPEST,
    cosine_defects,
    log_bands,
    resolvent_sums,
    sample_rates,
)
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["RidgeCurve"]

Array = Float[np.ndarray, "..."]
Points = Complex[np.ndarray, " point"]

STEPS = 60
BISECTIONS = 60
LEAST = 1e-15  # of 1 - cos psi: where a modulus lies at the end of a band
ACROSS = 24  # places at which the gap between two modes is looked for


@dataclass(frozen=True)
class RidgeCurve:
    """The curve of n samples of a task, through k random features or all of the kernel.

    Attributes:
        task: The task.
        samples: n, perhaps infinite if features are not.
        features: k, infinite for the kernel itself; not n exactly, unless there are fewer modes.
    """

    task: TaskSpectrum
    samples: float | int
    features: float | int

    @property
    def fewer(self) -> float | int:
        """min(n, k)."""
        return min(self.samples, self.features)

    @property
    def is_single(self) -> bool:
        """Whether samples or features alone decide."""
        return bool(np.isinf(max(self.samples, self.features)))

    def lacks(self, gamma: Points) -> tuple[Points, Points]:
        """Give 1 - df / n and 1 - df / k, without cancellation where the smaller number is that of the modes."""
        task, fewer = self.task, self.fewer
        less = sample_rates(task.eigenvalues, task.sizes, fewer, gamma) / gamma
        more = max(self.samples, self.features)
        greater = 1.0 - fewer / more * (1.0 - less) if np.isfinite(more) else np.ones_like(less)
        return (less, greater) if self.samples <= self.features else (greater, less)

    def slopes(self, gamma: Points) -> tuple[Points, Points]:
        """Give their derivatives by gamma."""
        task = self.task
        spread = resolvent_sums(task.eigenvalues, (task.sizes * task.eigenvalues)[:, None], gamma)[1][:, 0]
        return spread / self.samples, spread / self.features

    def rates(self, gamma: Points) -> Points:
        """Give -z."""
        by_samples, by_features = self.lacks(gamma)
        return gamma * by_samples * by_features

    def rate_slopes(self, gamma: Points) -> Points:
        """Give d(-z) / d gamma."""
        by_samples, by_features = self.lacks(gamma)
        samples_slope, features_slope = self.slopes(gamma)
        return by_samples * by_features + gamma * (samples_slope * by_features + by_samples * features_slope)

    @cached_property
    def bands_of_fewer(self) -> Float[np.ndarray, "band 2"]:
        """Bands of the smaller of n and k alone."""
        return log_bands(self.task.eigenvalues, self.task.sizes, self.fewer)

    def log_bands(self) -> Float[np.ndarray, "band 2"]:
        """Give the ends of ln(rho) of each band, from the smallest up."""
        inner = self.bands_of_fewer
        if self.is_single:
            return inner
        pairs = zip(inner[:-1, 1], inner[1:, 0], strict=True)
        gaps = [end for before, after in pairs for end in self._gap(float(before), float(after))]
        lowest, highest = self._lowest(float(inner[0, 0])), self._highest(float(inner[-1, 1]))
        return np.array([lowest, *gaps, highest]).reshape(-1, 2)

    def defects(self, modulus: Array, start: Array | None = None) -> Array:
        """Solve for 1 - cos psi at each modulus of a band."""
        values, counts = self.task.eigenvalues, self.task.sizes
        if self.is_single:
            return cosine_defects(values, counts, self.fewer, modulus, start)
        inner = self.bands_of_fewer.ravel()
        low = np.full(modulus.shape, LEAST)
        inside = np.searchsorted(inner, np.log(modulus)) % 2 == 1
        low[inside] = np.maximum(cosine_defects(values, counts, self.fewer, modulus[inside]), LEAST)
        return self._turn(modulus, low, np.full(modulus.shape, 2.0 - LEAST))

    def _turn(self, modulus: Array, low: Array, high: Array) -> Array:
        """Find where the imaginary part of z vanishes, by the rule of false position with halved ends."""
        below, above = self._tilt(modulus, low), self._tilt(modulus, high)
        found = low.copy()
        side = np.zeros(modulus.shape, dtype=int)
        active = np.flatnonzero((below < 0.0) & (above > 0.0))
        for _ in range(STEPS):
            a, b, fa, fb = low[active], high[active], below[active], above[active]
            new = (a * fb - b * fa) / (fb - fa)
            value = self._tilt(modulus[active], new)
            is_below = value < 0.0
            again = np.where(is_below, side[active] == -1, side[active] == 1)
            kept = np.where(again, 0.5, 1.0)
            low[active], high[active] = np.where(is_below, new, a), np.where(is_below, b, new)
            below[active] = np.where(is_below, value, fa * kept)
            above[active] = np.where(is_below, fb * kept, value)
            side[active] = np.where(is_below, -1, 1)
            moved = np.abs(new - found[active])
            found[active] = new
            active = active[(moved > 4e-16 * new) & (value != 0.0)]
            if not len(active):
                break
        return found

    def _tilt(self, modulus: Array, defect: Array) -> Array:
        """Imaginary part of -z over that of gamma."""
        cosine, sine = 1.0 - defect, np.sqrt(defect * (2.0 - defect))
        gamma = -modulus * (cosine + 1j * sine)
        by_samples, by_features = self.lacks(gamma)
        share = by_samples * by_features
        return np.real(share) + np.imag(share) * cosine / sine

    def _real_slope(self, gamma: Array) -> Array:
        return np.real(self.rate_slopes(gamma + 0j))

    def _gap(self, before: float, after: float) -> list[float]:
        """The part of a gap of the smaller number that both leave open, as two ends of ln(rho), or nothing."""
        places = before + (after - before) * (0.5 - 0.5 * np.cos(np.pi * (np.arange(ACROSS) + 0.5) / ACROSS))
        open_ = np.flatnonzero(self._real_slope(-np.exp(places)) > 0.0)
        if not len(open_):
            return []
        ends = []
        for place, outside in ((open_[0], before), (open_[-1], after)):
            ends.append(self._crossing(float(places[place]), outside, -1.0))
        return ends

    def _lowest(self, inner: float) -> float:
        total = self.task.modes
        if total == self.fewer:
            return float(np.log(self.task.eigenvalues[-1] * DEEPEST))
        if total < self.fewer:
            return self._crossing(float(np.log(self.task.eigenvalues[-1])) - 45.0, inner, -1.0)
        return self._crossing(max(inner, float(np.log(self.task.trace))) + 5.0, inner, 1.0)

    def _highest(self, inner: float) -> float:
        return self._crossing(inner + 5.0 + np.log1p(self.task.modes / self.fewer), inner, -1.0)

    def _crossing(self, open_: float, closed: float, sign: float) -> float:
        """End of a band between a place outside it and one inside, on the side of positive or negative gamma."""
        for _ in range(BISECTIONS):
            middle = 0.5 * (open_ + closed)
            if self._real_slope(np.array([sign * np.exp(middle)]))[0] > 0.0:
                open_ = middle
            else:
                closed = middle
        return 0.5 * (open_ + closed)
