"""Power-law random features: the model behind the phases of compute-optimal training [@paquette2024phases].

Data x are Gaussian with variances j^(-2 alpha), j = 1 ... v, the target is sum_j j^-beta x_j, and the model is linear
in W'x with v x d Gaussian W of variance 1 / d. With D the variances, b the target and e = D^(1/2) (W theta - b),
training from theta = 0 has the operator M = D^(1/2) W W' D^(1/2), which stands still. Its d eigenvalues and the error
in its modes are all that any training of the model needs, so W is drawn in pieces and never held.

Conventions: loss = half the mean square, with the noise of labels; time = sum of learning rates.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eigenflow.core.checks import check_kind, check_number, check_whole, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["DrawnFeatures", "PowerLawFeatures"]

PIECE = 2000  # rows of W that are held at once


@dataclass(frozen=True, repr=False)
class DrawnFeatures(AbstractPrinted):
    """A draw of the features, in the modes of its operator.

    Attributes:
        eigenvalues: lambda, decreasing, 1 / time; as many as there are features, or inputs if they are fewer.
        coefficients: The error at the start in each mode; signs are arbitrary.
        floor: Mean square of the target that the features cannot express.
        noise: Variance of labels.
    """

    eigenvalues: Float[np.ndarray, " mode"]
    coefficients: Float[np.ndarray, " mode"]
    floor: float
    noise: float = 0.0

    @property
    def unlearned(self) -> float:
        """Mean square that no training removes."""
        return self.floor + self.noise

    def energies(self, times: Any) -> Float[np.ndarray, "time mode"]:
        """Squares of the error's coefficients under gradient flow on the population, exact.

        Args:
            times: Sum of learning rates, >= 0; infinity is allowed.
        """
        return self.coefficients**2 * np.exp(-2.0 * np.multiply.outer(checked_times(times), self.eigenvalues))

    def loss(self, times: Any) -> Float[np.ndarray, " time"]:
        """Loss under gradient flow on the population, exact.

        Args:
            times: Sum of learning rates, >= 0; infinity is allowed.
        """
        return 0.5 * (self.energies(times).sum(axis=1) + self.unlearned)

    def descent_loss(self, steps: Any, learning_rate: float) -> Float[np.ndarray, " step"]:
        """Loss after numbers of updates of gradient descent on the population, exact.

        Args:
            steps: Completed updates, >= 0.
            learning_rate: > 0 and below 2 / lambda_1.

        Raises:
            ArgumentError: If the learning rate is beyond stability.
        """
        steps, most = checked_steps(steps), 2.0 / float(self.eigenvalues[0])
        if not 0 < check_number("learning_rate", learning_rate) < most:
            raise ArgumentError(
                f"`learning_rate` must be > 0 and below 2 / lambda_1 = {most:.6g}, where gradient descent diverges, "
                f"but is {learning_rate:.6g}."
            )
        left = np.abs(1.0 - learning_rate * self.eigenvalues) ** np.multiply.outer(2 * steps, np.ones(1))
        return 0.5 * (left @ self.coefficients**2 + self.unlearned)

    def _card(self) -> Card:
        low, high = float(self.eigenvalues[-1]), float(self.eigenvalues[0])
        return Card(
            f"DrawnFeatures with {len(self.eigenvalues)} modes",
            [
                ("eigenvalues", f"{figure(low)} to {figure(high)}"),
                ("target", f"mean square {figure(float((self.coefficients**2).sum()) + self.floor)}"),
                ("floor", f"mean square {figure(self.floor)}, which the features cannot express"),
                ("noise", f"variance {figure(self.noise)}"),
            ],
        )


@dataclass(frozen=True)
class PowerLawFeatures:
    """The model, before its features are drawn.

    Attributes:
        decay: alpha > 0; inputs have standard deviations j^-alpha.
        target_decay: beta >= 0; the target's weights are j^-beta.
        inputs: v.
        features: d.
        noise: Variance of labels.
    """

    decay: float = 1.0
    target_decay: float = 0.7
    inputs: int = 20_000
    features: int = 1_000
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not check_number("decay", self.decay) > 0:
            raise ArgumentError(f"`decay` must be > 0, but is {self.decay:g}. It is alpha: variances are j^(-2 alpha).")
        check_number("target_decay", self.target_decay, 0.0)
        check_number("noise", self.noise, 0.0)
        check_whole("inputs", self.inputs, 1, what="number of inputs")
        check_whole("features", self.features, 1, what="number of features")

    @property
    def deviations(self) -> Float[np.ndarray, " input"]:
        """Standard deviations of inputs, j^-alpha."""
        return np.arange(1.0, self.inputs + 1.0) ** -self.decay

    @property
    def target(self) -> Float[np.ndarray, " input"]:
        """b, j^-beta."""
        return np.arange(1.0, self.inputs + 1.0) ** -self.target_decay

    @property
    def spectrum(self) -> TaskSpectrum:
        """The task that many features see: eigenvalues j^(-2 alpha), target j^(-2 alpha - 2 beta)."""
        return TaskSpectrum(self.deviations**2, (self.deviations * self.target) ** 2, self.noise)

    def draw(self, rng: np.random.Generator) -> DrawnFeatures:
        """Draw W and find the modes of the operator.

        Small eigenvalues are as exact as large ones. Cost: about 2 v d^2 operations, and memory of 6 d^2 numbers.

        Args:
            rng: Of W, row by row.

        Returns:
            The modes.

        Raises:
            ArgumentError: If `rng` is no generator.
            LimitError: If d is larger than `limits` allows.
        """
        check_kind("rng", rng, np.random.Generator, "a NumPy generator, as of `numpy.random.default_rng(0)`")
        within("entries", 6 * self.features**2, "A draw of features")
        triangle = self._triangle(rng)
        left, roots, _ = np.linalg.svd(triangle[:, :-1], full_matrices=False)
        coefficients = left.T @ triangle[:, -1]
        # The last row of the triangle is what no feature reaches; with d >= v there is none.
        floor = float(triangle[-1, -1] ** 2) if len(triangle) > self.features else 0.0
        if floor:
            coefficients = left[:-1].T @ triangle[:-1, -1]
        return DrawnFeatures(roots**2, coefficients, floor, self.noise)

    def _triangle(self, rng: np.random.Generator) -> np.ndarray:
        """The triangular factor of D^(1/2) W with the error behind.

        The first rows are factorised as they are. Those after them are no larger than the smallest eigenvalues, so that
        their products may be summed without loss, which is several times faster.
        """
        columns = self.features + 1
        first = min(2 * columns, self.inputs)
        held = self._rows(slice(0, first), rng)
        if self.inputs - first < 2 * columns:
            return _triangular(np.vstack([held, self._rows(slice(first, self.inputs), rng)]))
        products = np.zeros((columns, columns))
        for start in range(first, self.inputs, PIECE):
            rows = self._rows(slice(start, min(start + PIECE, self.inputs)), rng)
            products += rows.T @ rows
        return _triangular(np.vstack([held, np.linalg.cholesky(products).T]))

    def network(self, rng: np.random.Generator) -> tuple[nn.Module, Tensor, Tensor]:
        """The untrained model with one sample an input, whose loss "half_sum" is the population's without noise.

        Args:
            rng: Of W; in the state in which `draw` got it, it gives the same W.
        """
        rows = torch.from_numpy(self._rows(slice(0, self.inputs), rng))
        model = nn.Linear(self.features, 1, bias=False, dtype=torch.float64)
        nn.init.zeros_(model.weight)
        return model, rows[:, :-1].contiguous(), -rows[:, -1:]

    def _rows(self, rows: slice, rng: np.random.Generator) -> np.ndarray:
        """Rows of D^(1/2) W, with the error at the start behind."""
        deviations, target = self.deviations[rows], self.target[rows]
        mixed = rng.standard_normal((len(deviations), self.features)) / np.sqrt(self.features)
        return np.column_stack([deviations[:, None] * mixed, -deviations * target])


def _triangular(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.qr(rows, mode="r"))


def checked_times(times: Any) -> Float[np.ndarray, " time"]:
    """Give times as a row, or say what came."""
    found = np.atleast_1d(real_array("times", times))
    if found.ndim != 1 or len(found) == 0 or not (found >= 0).all():
        raise ArgumentError(
            f"`times` must be a row of times >= 0, but is {times!r}. Time is the sum of learning rates."
        )
    return found


def checked_steps(steps: Any) -> Float[np.ndarray, " step"]:
    """Give numbers of updates as a row, or say what came."""
    found = np.atleast_1d(real_array("steps", steps))
    if found.ndim != 1 or len(found) == 0 or not ((found >= 0) & (found == np.floor(found)) & (found < 2**53)).all():
        raise ArgumentError(f"`steps` must be a row of whole numbers >= 0, but is {steps!r}. They count updates.")
    return found
