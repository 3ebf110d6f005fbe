"""What measured kernels say of a network's test error: standing still, drifting only, and as they really moved.

The test residual is driven by the training residual through K(x, X): each update takes eta K(x, X) e from it
(equations/identities.md, "other losses"; de_test/dt = -K(x, X) e in the flow). Three predictions follow from the
kernels at the recorded steps of one run and from nothing else of its training:

* "lazy": the kernels of the untouched network stay, v = 0;
* "drift": eigenvalues move as measured, eigenvectors stay, on the samples and off them. With
  phi_u(x) = K(x, X) phi_u / lambda_u at the start, K(x, X; t) = sum_u lambda_u(t) phi_u(x) phi_u(X)', so that the test
  residual is e(x) - sum_u phi_u(x) g_u (1 - e^(-Q_u)), Q_u = int lambda_u: transport without rotation
  (equations/double_descent.md#double-descent-and-transport). Eigenvalues are matched by rank;
* "full": both kernels move as measured. It must give the network back, up to the quadrature between recorded steps.

So full against drift is what rotation does, and drift against lazy what v does. All three know the step size: a mode
keeps (1 - eta lambda) of its amplitude an update; eta = 0 is the flow, with times in place of updates.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_number, real_array
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError

__all__ = ["PREDICTIONS", "DrivenResiduals", "KernelPath", "predict_residuals", "resolved_share"]

PREDICTIONS = ("lazy", "drift", "full")
# Eigenvalues below this share of the largest are rounding of a kernel formed in double precision: such modes have no
# eigenfunction off the samples, and keep what the lazy kernel gives them.
ROUNDING = 1e-11


@dataclass(frozen=True, repr=False)
class KernelPath:
    """The kernels of one run at its recorded steps, and its residuals before training.

    Attributes:
        times: Sum of learning rates, increasing from 0.
        train: M(t) on the training samples, symmetric, 1 / time.
        test: K(x, X; t) between test and training samples, same factor.
        residual: Prediction minus label on the training samples at the start.
        test_residual: Prediction minus target on the test samples at the start.
        learning_rate: eta of full-batch gradient descent; 0 for the flow.
    """

    times: Float[np.ndarray, " time"]
    train: Float[np.ndarray, "time row row"]
    test: Float[np.ndarray, "time tested row"]
    residual: Float[np.ndarray, " row"]
    test_residual: Float[np.ndarray, " tested"]
    learning_rate: float = 0.0

    def __post_init__(self) -> None:
        names = ("times", "train", "test", "residual", "test_residual")
        arrays = {name: real_array(name, getattr(self, name)) for name in names}
        check_number("learning_rate", self.learning_rate, 0.0)
        rows, tested, count = (arrays[name].shape[0] for name in ("residual", "test_residual", "times"))
        shapes = {
            "times": (count,),
            "train": (count, rows, rows),
            "test": (count, tested, rows),
            "residual": (rows,),
            "test_residual": (tested,),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ShapeError(f"`{name}` must have the shape {shape}, but has {arrays[name].shape}.")
            if not np.isfinite(arrays[name]).all():
                raise NonFiniteError(f"`{name}` must be finite; leave out steps at which training has diverged.")
            object.__setattr__(self, name, arrays[name])
        if count < 2 or self.times[0] != 0.0 or not (np.diff(self.times) > 0).all():
            raise ArgumentError(
                f"`times` must increase from 0 and be two or more, but are {count} from "
                f"{self.times[0] if count else 'nothing'}. The first kernel is that of the untouched network."
            )

    @cached_property
    def eigenvalues(self) -> Float[np.ndarray, "time mode"]:
        """Of the training kernel, increasing; those of one rank are one mode."""
        return np.linalg.eigvalsh(self.train)


@dataclass(frozen=True, repr=False)
class DrivenResiduals:
    """Residuals over time by one prediction.

    Attributes:
        train: On the training samples.
        test: On the test samples.
    """

    train: Float[np.ndarray, "time row"]
    test: Float[np.ndarray, "time tested"]


def predict_residuals(path: KernelPath) -> dict[str, DrivenResiduals]:
    """Give the residuals by each of `PREDICTIONS`, at the times of the path.

    "full" takes the mean of the kernels at both ends of an interval, and is exact for kernels that stand still; for
    others its error falls with the square of the intervals.

    At the edge of stability the largest eigenvalue of a network swings about 2 / eta, so that no amplitude grows for
    long. A record may catch it above, and a kernel held there would amplify without end. So over intervals of several
    updates "drift" and "full" count eigenvalues as 2 / eta at most; "lazy", whose kernel does stand still, does not.

    Costs two eigenproblems of the training kernel a time.
    """
    values, vectors = np.linalg.eigh(path.train[0])
    largest = np.maximum(values[-1], np.finfo(np.float64).tiny)
    start = vectors.T @ path.residual
    reach = path.test[0] @ vectors
    lazy_left, lazy_gain = _whole(values, path.times, path.learning_rate)
    drift_left = _attenuation(path.eigenvalues, path)
    known = values > ROUNDING * largest
    drift_gain = np.where(known, (1.0 - drift_left) / np.where(known, values, 1.0), lazy_gain)
    drift_left = np.where(known, drift_left, lazy_left)
    made = {"lazy": (lazy_left, lazy_gain), "drift": (drift_left, drift_gain)}
    found = {
        name: DrivenResiduals((left * start) @ vectors.T, path.test_residual - (gain * start) @ reach.T)
        for name, (left, gain) in made.items()
    }
    return {**found, "full": _stepwise(path)}


def resolved_share(
    eigenvalues: Float[np.ndarray, "time mode"], times: Float[np.ndarray, " time"]
) -> Float[np.ndarray, " time"]:
    """Share of the modes that are learned at each time: those with 2 int lambda > 1, eigenvalues matched by rank.

    Where it reaches 1 the resolution frontier has passed the smallest eigenvalue.
    """
    means = 0.5 * (eigenvalues[1:] + eigenvalues[:-1]) * np.diff(times)[:, None]
    learned = np.cumsum(means, axis=0)
    return np.concatenate([[0.0], (2.0 * learned > 1.0).mean(axis=1)])


def _attenuation(values: Float[np.ndarray, "time mode"], path: KernelPath) -> np.ndarray:
    """What is left of each amplitude, eigenvalues being the means of both ends of an interval."""
    means, intervals = 0.5 * (values[1:] + values[:-1]), np.diff(path.times)
    pairs = zip(means, intervals, strict=True)
    factors = [_step(mean, interval, path.learning_rate, moves=True)[0] for mean, interval in pairs]
    return np.concatenate([np.ones((1, values.shape[1])), np.cumprod(factors, axis=0)])


def _whole(
    values: Float[np.ndarray, " mode"], times: Float[np.ndarray, " time"], rate: float
) -> tuple[np.ndarray, np.ndarray]:
    pairs = [_step(values, time, rate) for time in times]
    return np.array([left for left, _ in pairs]), np.array([gain for _, gain in pairs])


def _stepwise(path: KernelPath) -> DrivenResiduals:
    train, test = [path.residual], [path.test_residual]
    middle = 0.5 * (path.train[1:] + path.train[:-1])
    off = 0.5 * (path.test[1:] + path.test[:-1])
    for M, K, interval in zip(middle, off, np.diff(path.times), strict=True):
        values, vectors = np.linalg.eigh(M)
        left, gain = _step(values, interval, path.learning_rate, moves=True)
        amplitudes = vectors.T @ train[-1]
        test.append(test[-1] - K @ (vectors @ (gain * amplitudes)))
        train.append(vectors @ (left * amplitudes))
    return DrivenResiduals(np.array(train), np.array(test))


def _step(values: np.ndarray, interval: float, rate: float, *, moves: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """What is left of amplitudes after an interval, and its integral (the sum of eta times amplitude).

    Args:
        values: Eigenvalues that hold throughout.
        interval: Of time.
        rate: Of gradient descent, or 0 for the flow.
        moves: Whether the values are means of a kernel that moves; see `predict_residuals` on the edge of stability.
    """
    if rate == 0.0:
        lost = -np.expm1(-values * interval)
    else:
        updates = np.round(interval / rate)
        interval = updates * rate
        values = np.minimum(values, 2.0 / rate) if moves and updates > 1 else values
        is_gentle = rate * values < 0.5
        gentle = -np.expm1(updates * np.log1p(-rate * np.where(is_gentle, values, 0.0)))
        lost = np.where(is_gentle, gentle, 1.0 - (1.0 - rate * values) ** updates)
    is_small = np.abs(values) * interval < 1e-12
    return 1.0 - lost, np.where(is_small, interval, lost / np.where(is_small, 1.0, values))
