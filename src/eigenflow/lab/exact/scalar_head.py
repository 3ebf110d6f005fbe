"""The scalar-head network f(x) = a w'x: the smallest network that learns features, and has an effective time.

Inputs have covariance diag(k^-decay), the linear target obeys lambda_k w*_k^2 = k^(-decay source - 1), and training is
gradient flow on half the population's mean square from w = 0, a = a0:

    dw_k/dt = a lambda_k (w*_k - a w_k),    da/dt = sum_k lambda_k w_k (w*_k - a w_k),    a^2 - |w|^2 = a0^2.

The operator is a^2 diag(lambda) + z z' with z = sqrt(lambda) w: all eigenvalues scale with a^2 (drift with b = 1),
but for a rank-one part. With tau = int a^2 dt, a hard target (source < 1) gives tau ~ t^(2 / (1 + source)) and a loss
~ tau^-source [@bordelon2024feature]; an easy one leaves tau ~ t.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import get_lapack_funcs
from torch import Tensor, nn

from eigenflow.core.errors import ArgumentError, ConvergenceError

__all__ = ["ScalarHeadModel", "ScalarHeadNet", "ScalarHeadPath"]

COARSEST_STEP = 0.04  # relative to the time that has passed
MOST_HALVINGS = 6


@dataclass(frozen=True)
class ScalarHeadPath:
    """The network along its training.

    Attributes:
        times: As asked for.
        head: a.
        weights: w.
        effective_time: tau = int a^2 dt.
        loss: Half the population's mean square, with the part of all modes beyond the simulated ones, which the
            network cannot learn.
        error: Estimated relative error of `loss`, `head` and `effective_time`.
    """

    times: Float[np.ndarray, " time"]
    head: Float[np.ndarray, " time"]
    weights: Float[np.ndarray, "time mode"]
    effective_time: Float[np.ndarray, " time"]
    loss: Float[np.ndarray, " time"]
    error: float


class ScalarHeadModel(nn.Module):
    """f(x) = a w'x in float64."""

    def __init__(self, head: float, weights: Tensor):
        super().__init__()
        self.head = nn.Parameter(torch.tensor([head], dtype=torch.float64))
        self.weight = nn.Parameter(weights.to(torch.float64).reshape(1, -1))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head * nn.functional.linear(inputs, self.weight)


@dataclass(frozen=True)
class ScalarHeadNet:
    """The task and the untouched network.

    Attributes:
        decay: Of the input spectrum, > 1 (alpha, capacity).
        source: Of the target, > 0 (beta): hard below 1, easy above.
        head: a(0), not 0.
        modes: Number of inputs.
    """

    decay: float = 1.5
    source: float = 0.4
    head: float = 0.1
    modes: int = 1000

    def __post_init__(self) -> None:
        if not (self.decay > 1 and self.source > 0 and self.head != 0 and self.modes >= 2):
            raise ArgumentError(
                f"`decay` must be > 1, `source` > 0, `head` not 0 and `modes` >= 2, but they are {self.decay}, "
                f"{self.source}, {self.head} and {self.modes}. The covariance must have a finite trace and w = 0 must "
                f"not be a point of rest."
            )

    @property
    def variances(self) -> Float[np.ndarray, " mode"]:
        """lambda_k = k^-decay."""
        return np.arange(1, self.modes + 1.0) ** -self.decay

    @property
    def target(self) -> Float[np.ndarray, " mode"]:
        """w*_k."""
        return np.arange(1, self.modes + 1.0) ** ((self.decay * (1 - self.source) - 1) / 2)

    @property
    def tail(self) -> float:
        """Loss of the modes beyond the simulated ones, by the midpoint rule: relative error below 1 / modes^2."""
        power = self.decay * self.source
        return 0.5 * (self.modes + 0.5) ** -power / power

    @property
    def effective_time_exponent(self) -> float:
        """Exponent of tau in t at late times."""
        return max(1.0, 2.0 / (1.0 + self.source))

    @property
    def loss_exponent(self) -> float:
        """Minus the exponent of the loss in t at late times."""
        return self.source * self.effective_time_exponent

    def flow(self, times: Float[np.ndarray, " time"], *, tolerance: float = 1e-5) -> ScalarHeadPath:
        """Follow gradient flow.

        Within a step the head is held at its value half-way, for which the weights are solved exactly; steps are a
        fixed share of the time that has passed, and are halved until the results agree to the tolerance.

        Args:
            times: Positive and increasing.
            tolerance: Relative error of loss, head and effective time.

        Raises:
            ArgumentError: If `times` are not positive and increasing.
            ConvergenceError: If the tolerance is not reached.
        """
        times = np.asarray(times, dtype=np.float64)
        if times.ndim != 1 or len(times) == 0 or times[0] <= 0 or (np.diff(times) <= 0).any():
            raise ArgumentError(f"`times` must be positive and increasing, but they begin with {times[:3]}.")
        step, error = COARSEST_STEP, np.inf
        before = self._march(times, step)
        for _ in range(MOST_HALVINGS):
            step /= 2
            path = self._march(times, step)
            rows = ((p.loss, p.head, p.effective_time) for p in (before, path))
            # Second order: the finer path is off by a third of the difference.
            error = max(float(np.abs(a / b - 1).max()) for a, b in zip(*rows, strict=True)) / 3
            if error <= tolerance:
                return ScalarHeadPath(path.times, path.head, path.weights, path.effective_time, path.loss, error)
            before = path
        raise ConvergenceError(
            f"Steps of {step:.2g} of the passed time leave a relative error of {error:.2g}, more than `tolerance` = "
            f"{tolerance:.2g}. Raise the tolerance."
        )

    def _march(self, times: np.ndarray, share: float) -> ScalarHeadPath:
        lam, target = self.variances, self.target
        start = 1.0 / (np.linalg.norm(lam * target) + lam[0] * self.head**2)
        weights, effective, now = np.zeros(self.modes), 0.0, 0.0
        found = []
        for end in times:
            count = max(1, int(np.ceil(np.log((end + start) / (now + start)) / share)))
            marks = (now + start) * ((end + start) / (now + start)) ** (np.arange(count + 1) / count) - start
            for step in np.diff(marks):
                head = self._head(weights)
                half = self._head(_relaxed(weights, target / head, lam * head**2 * step / 2))
                weights = _relaxed(weights, target / half, lam * half**2 * step)
                effective += step * (head**2 + 4 * half**2 + self._head(weights) ** 2) / 6
            now = end
            head = self._head(weights)
            loss = 0.5 * float((lam * (target - head * weights) ** 2).sum()) + self.tail
            found.append((head, weights, effective, loss))
        head, kept, effective_time, loss = (np.array(values) for values in zip(*found, strict=True))
        return ScalarHeadPath(times, head, kept, effective_time, loss, np.inf)

    def _head(self, weights: np.ndarray) -> float:
        """a from w, by the conserved a^2 - |w|^2; it never changes its sign."""
        return float(np.sign(self.head) * np.hypot(self.head, np.linalg.norm(weights)))

    def operator_eigenvalues(self, head: float, weights: Float[np.ndarray, " mode"]) -> Float[np.ndarray, " mode"]:
        """Eigenvalues of a^2 diag(lambda) + z z' in decreasing order, from LAPACK's secular equation.

        Args:
            head: a.
            weights: w, of one time.
        """
        roots = np.abs(head) * np.sqrt(self.variances)[::-1]
        z = (np.sqrt(self.variances) * weights)[::-1]
        size = np.linalg.norm(z)
        if size == 0:
            return roots[::-1] ** 2
        (secular_root,) = get_lapack_funcs(("lasd4",), (roots,))
        found = [secular_root(index, roots, z / size, rho=size**2)[1] for index in range(len(roots))]
        return np.array(found)[::-1] ** 2

    def network(
        self, head: float | None = None, weights: Float[np.ndarray, " mode"] | None = None
    ) -> tuple[ScalarHeadModel, Tensor, Tensor]:
        """The network with inputs and targets whose half-sum loss is the population's: one sample a mode.

        Args:
            head: a; by default the untouched one.
            weights: w; by default 0.
        """
        weights = np.zeros(self.modes) if weights is None else weights
        model = ScalarHeadModel(self.head if head is None else head, torch.from_numpy(np.array(weights)))
        inputs = torch.from_numpy(np.diag(np.sqrt(self.variances)))
        return model, inputs, torch.from_numpy(np.sqrt(self.variances) * self.target).reshape(-1, 1)


def _relaxed(weights: np.ndarray, rest: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Weights after relaxing towards a point of rest."""
    return weights - np.expm1(-exponent) * (rest - weights)
