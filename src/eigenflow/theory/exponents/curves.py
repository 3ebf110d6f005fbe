"""The loss itself, and not only its exponent, over time, width, samples: whichever formula knows it."""

from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind, check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.double_descent.surface import RiskSurface, coordinate
from eigenflow.theory.exponents.finite_width import width_risk
from eigenflow.theory.exponents.kernel_flow import flow_risk
from eigenflow.theory.exponents.stochastic import sgd_risk
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["predicted_loss"]

ROUNDING = 1e-14


def predicted_loss(
    task: TaskSpectrum,
    *,
    time: Any = None,
    features: Any = np.inf,
    samples: Any = np.inf,
    ridge: Any = 0.0,
    learning_rate: float | int | None = None,
    batch: int | None = None,
) -> RiskSurface:
    """Predict the excess risk over those resources that are finite, the others without bound.

    | finite | formula |
    |---|---|
    | time | sum over modes of gradient flow; with `learning_rate` of gradient descent |
    | time, with `learning_rate` and `batch` | mean of one-pass SGD |
    | time and features | gradient flow on random features, infinitely many samples |
    | samples, features, ridge | regression on random features, trained to the end |

    Args:
        task: Spectrum, target and noise.
        time: Sum of learning rates, a number or an increasing row; None for training to the end. SGD takes the nearest
            whole number of updates.
        features: Number of random features; infinite is the kernel.
        samples: Number of samples; infinite is the population.
        ridge: Of the regression.
        learning_rate: Of gradient descent or SGD; None for the flow.
        batch: Samples a step, each used once; None for all of the population.

    Returns:
        The mean squared distance from the target: half of it is the loss, on which the labels' noise comes on top.

    Raises:
        ArgumentError: If no formula is known for the combination, or an argument is out of its range.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum, such as `TaskSpectrum.power_law(1.5, 2.0)`")
    if time is None:
        if learning_rate is not None or batch is not None:
            raise ArgumentError("`learning_rate` and `batch` belong to training: give `time` with them.")
        return random_features_risk(task, samples, features, ridge)
    if np.isfinite(coordinate("samples", samples)).any() or np.any(np.asarray(ridge) != 0):
        raise ArgumentError(
            "`time` cannot be joined with `samples` or `ridge` here: the formulas of this room for a finite time are "
            "those of the population. Use `eigenflow.theory.double_descent` for training on few samples."
        )
    if np.isfinite(coordinate("features", features)).any():
        if learning_rate is not None or batch is not None:
            raise ArgumentError(
                "`features` cannot be joined with `learning_rate` or `batch`: the formula over time and width is that "
                "of gradient flow. Draw features and give their spectrum to `sgd_risk`."
            )
        return _over_width(task, time, features)
    return _over_time(task, time, learning_rate, batch)


def _over_time(task: TaskSpectrum, time: Any, learning_rate: float | int | None, batch: int | None) -> RiskSurface:
    times = np.atleast_1d(coordinate("time", time))
    from_noise, error = np.zeros(len(times)), np.full(len(times), ROUNDING)
    if batch is None:
        formula = "flow of a kernel at rest" if learning_rate is None else "gradient descent of a kernel at rest"
        risk = flow_risk(task, times, learning_rate=learning_rate)
    else:
        if learning_rate is None:
            raise ArgumentError("`batch` needs a `learning_rate`: the noise of SGD is in proportion to it.")
        steps = np.rint(times / learning_rate).astype(np.int64)
        kept, place = np.unique(steps, return_inverse=True)
        quiet = TaskSpectrum(task.eigenvalues, task.target, 0.0, task.counts)
        curves = [sgd_risk(t, kept, learning_rate=learning_rate, batch=batch) for t in (quiet, task)]
        risk, formula = curves[0].risk[place], "one-pass SGD, mean over batches"
        from_noise = curves[1].risk[place] - risk
        error = np.full(len(times), max(ROUNDING, *(curve.error for curve in curves)))
    return _surface({"time": time}, risk, from_noise, task, error, formula)


def _over_width(task: TaskSpectrum, time: Any, features: Any) -> RiskSurface:
    times, widths = np.atleast_1d(coordinate("time", time)), np.atleast_1d(coordinate("features", features))
    counts = [check_whole("features", width, 1, what="number of features") for width in widths]
    curves = [width_risk(task, times, count) for count in counts]
    risk = np.stack([curve.risk for curve in curves], axis=1)
    error = np.stack([curve.error / np.maximum(curve.risk, np.finfo(np.float64).tiny) for curve in curves], axis=1)
    axes = {"time": time, "features": features}
    return _surface(axes, risk, np.zeros_like(risk), task, error, "flow on random features, infinite data")


def _surface(
    axes: dict[str, Any],
    risk: Float[np.ndarray, "..."],
    from_noise: Float[np.ndarray, "..."],
    task: TaskSpectrum,
    error: Float[np.ndarray, "..."],
    formula: str,
) -> RiskSurface:
    shape = tuple(np.size(values) for values in axes.values() if np.ndim(values))
    return RiskSurface.over(
        axes,
        from_target=risk.reshape(shape),
        from_noise=from_noise.reshape(shape),
        noise=task.noise,
        error=error.reshape(shape),
        formula=formula,
        modes=task.modes,
    )
