"""Learning curves of a population, from the modes of one sample and without a power law.

What regression in a kernel leaves of a target depends on the population by four functions of one scale gamma:

    df1(gamma) = sum lambda / (lambda + gamma)            df2(gamma) = sum (lambda / (lambda + gamma))^2
    B(gamma) = sum (gamma / (lambda + gamma))^2 w^2 + noise,     A(gamma) = sum gamma / (lambda + gamma) w^2 + noise

and all four can be measured on a sample. Regression on its m samples with the ridge d (beside a mean over samples) has
df1 = sum L / (L + d) at gamma = d / (1 - df1 / m), and its training error is (d / gamma)^2 m / (m - df2) B, with the
eigenvalues L of the sample. So B is a training error in other units, and

    df2 = df1 + d df1 / d ln gamma,           A(gamma) = gamma * integral over g > gamma of B(g) / g^2

Other numbers of samples n, features k and other ridges r ask for other scales, and no more: with n r = kappa (n - df1)
and k kappa = gamma (k - df1)

    risk = n (k - df2) / [n (k - df2) - df2 (k - 2 df1) - df1^2] * [A - (kappa / gamma) k / (k - df2) (A - B)]

It holds as far as the sample reaches: for fewer samples than there are, or so much ridge.

Sources: [@simon2021eigenlearning] and equations/exponents.md#kernel-gradient-descent, read backwards;
[@simon2023better] for features (equations/double_descent.md).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import expit

from eigenflow.core.checks import check_number, check_whole, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError

__all__ = ["MeasuredTask", "measured_task"]

POINTS_A_DECADE = 60
ABOVE = 1e6  # the largest scale over the largest eigenvalue
ROUNDING = 1e-12
MOST = 0.98  # share of a sample's degrees of freedom up to which its training error is more than rounding


@dataclass(frozen=True, repr=False)
class MeasuredTask(AbstractPrinted):
    """What a sample tells of a population: functions of one scale, on a grid.

    Attributes:
        scales: gamma, increasing, in the unit of an eigenvalue.
        freedom: df1 at each.
        squared_freedom: df2 at each.
        bias: B at each, in the square of the output's unit, label noise included.
        projection: A at each.
        samples: m of the sample.
    """

    scales: Float[np.ndarray, " scale"]
    freedom: Float[np.ndarray, " scale"]
    squared_freedom: Float[np.ndarray, " scale"]
    bias: Float[np.ndarray, " scale"]
    projection: Float[np.ndarray, " scale"]
    samples: int

    @property
    def reach(self) -> float:
        """Most degrees of freedom that the sample can tell of: without ridge, about so many samples."""
        return float(self.freedom[0])

    def risk(self, samples: float | int, features: float | int = np.inf, ridge: float | int = 0.0) -> float:
        """Give the mean squared test error, label noise included.

        Args:
            samples: n > 0, infinite for all data.
            features: k > 0, infinite for the kernel itself.
            ridge: Beside a mean over samples, >= 0, in the unit of an eigenvalue.

        Returns:
            The risk, infinite where n = k without ridge; NaN never.

        Raises:
            ArgumentError: If the sample does not reach so far, or an argument is not allowed.
        """
        for name, value in (("samples", samples), ("features", features)):
            if not value > 0:
                raise ArgumentError(f"`{name}` must be > 0, but is {value}.")
        check_number("ridge", ridge, 0.0)
        if samples == np.inf and features == np.inf and ridge == 0:
            raise ArgumentError("`samples` and `features` are both infinite without `ridge`: nothing is left to learn.")
        gamma = self._scale(samples, features, ridge)
        df1, df2, bias, projection = (
            float(np.interp(np.log(gamma), np.log(self.scales), column))
            for column in (self.freedom, self.squared_freedom, self.bias, self.projection)
        )
        width = 1.0 if features == np.inf else features / (features - df2)
        ratio = 1.0 - df1 / features  # kappa / gamma
        left = projection - ratio * width * (projection - bias)
        used = df2 if features == np.inf else (df2 * (features - 2.0 * df1) + df1**2) / (features - df2)
        return float(left / (1.0 - used / samples)) if used < (1.0 - 1e-12) * samples else np.inf

    def _scale(self, samples: float | int, features: float | int, ridge: float | int) -> float:
        """gamma, at which df1 + n ridge / kappa = n with kappa = gamma (1 - df1 / k)."""

        def excess(log_gamma: float) -> float:
            df1 = float(np.interp(log_gamma, np.log(self.scales), self.freedom))
            kappa = np.exp(log_gamma) * (1.0 - df1 / features)
            return ridge / max(kappa, 1e-300) - 1.0 + df1 / samples

        low, high = np.log(self.scales[[0, -1]])
        if features < self.freedom[0]:
            # Where all k features are used up kappa is 0; with k samples or more and no ridge it is so.
            low = float(np.interp(-features, -self.freedom, np.log(self.scales)))
            if ridge == 0 and samples >= features:
                return float(np.exp(low))
            return _root(excess, low + 1e-12, high)
        if excess(low) < 0:
            raise self._too_far(min(samples, features))
        return _root(excess, low, high)

    def _too_far(self, asked: float | int) -> ArgumentError:
        return ArgumentError(
            f"A risk for {asked:g} degrees of freedom is asked for, but {self.samples} samples tell of "
            f"{self.reach:.4g} at most. Measure a spectrum on more samples, or give a larger `ridge`."
        )

    def _card(self) -> Card:
        return Card(
            f"MeasuredTask of {self.samples} samples",
            [
                ("scales", f"{figure(float(self.scales[0]))} to {figure(float(self.scales[-1]))}"),
                ("reach", f"{figure(self.reach)} degrees of freedom"),
                (
                    "target",
                    f"mean square {figure(float(self.bias[-1]))}, {figure(float(self.bias[0]))} at the least scale",
                ),
            ],
        )


def measured_task(
    eigenvalues: Float[np.ndarray, " mode"], energies: Float[np.ndarray, " mode"], samples: int
) -> MeasuredTask:
    """Measure a task on the modes of one sample.

    Args:
        eigenvalues: Of K / m, decreasing; modes below rounding may be missing or zero.
        energies: Squared coefficients of the labels over m, >= 0, one a mode; of several outputs with one kernel each,
            summed over outputs. They must hold all of the labels: missing modes count as empty.
        samples: m.

    Raises:
        ShapeError: If there are not as many energies as eigenvalues.
        NonFiniteError: If a number is not finite.
        ArgumentError: If eigenvalues do not decrease or energies are negative.
    """
    values, squares = real_array("eigenvalues", eigenvalues), real_array("energies", energies)
    if values.ndim != 1 or values.shape != squares.shape:
        raise ShapeError(
            f"`eigenvalues` and `energies` must be rows of one length, but have shapes {values.shape} and "
            f"{squares.shape}."
        )
    if not (np.isfinite(values).all() and np.isfinite(squares).all()):
        raise NonFiniteError("`eigenvalues` and `energies` must be finite.")
    count = check_whole("samples", samples, 2, what="number of samples")
    if len(values) < 2 or (np.diff(values) > 0).any() or not values[0] > 0 or (squares < 0).any():
        raise ArgumentError("`eigenvalues` must decrease from a positive one, and `energies` be >= 0.")
    if len(values) > count:
        raise ArgumentError(f"`eigenvalues` has {len(values)} modes, but `samples` is {count}: a kernel has no more.")
    logs = np.full(len(values), -np.inf)  # a mode of rounding has no eigenvalue
    seen = values > ROUNDING * values[0]
    logs[seen] = np.log(values[seen])
    top = np.log(ABOVE * values[0])
    bottom = np.log(ROUNDING * values[0])
    ridges = np.linspace(bottom, top, int((top - bottom) / np.log(10.0) * POINTS_A_DECADE))
    kept = expit(logs - ridges[:, None])
    freedom = kept.sum(1)
    told = freedom < MOST * count
    ridges, kept, freedom = ridges[told], kept[told], freedom[told]
    scales = ridges - np.log1p(-freedom / count)
    squared = freedom + np.gradient(freedom, scales)
    train = ((1.0 - kept) ** 2) @ squares
    bias = train * np.exp(2.0 * (scales - ridges)) * (1.0 - squared / count)
    return MeasuredTask(np.exp(scales), freedom, squared, bias, _projection(scales, bias), count)


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    """Scale at which a decreasing function of its logarithm is 0."""
    root = brentq(excess, low, high, xtol=1e-12)
    assert isinstance(root, float)  # without full_output
    return float(np.exp(root))


def _projection(logs: Float[np.ndarray, " scale"], bias: Float[np.ndarray, " scale"]) -> Float[np.ndarray, " scale"]:
    """gamma times the integral of B / g^2 from gamma on, B constant beyond the grid and linear in ln g within."""
    steps = np.diff(logs)
    slope = np.diff(bias) / steps
    shrink = np.exp(-steps)
    # Over one step from l, with s = ln g - l: integral of (B + slope s) e^-s ds.
    within = bias[:-1] * (1.0 - shrink) + slope * (1.0 - shrink * (1.0 + steps))
    found = np.empty_like(bias)
    found[-1] = bias[-1]
    for place in range(len(steps) - 1, -1, -1):
        found[place] = within[place] + shrink[place] * found[place + 1]
    return found
