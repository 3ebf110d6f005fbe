"""The ridge at which the test risk of random features is lowest, and that risk."""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind
from eigenflow.theory.double_descent.mode_sums import DirectSums, TabulatedSums
from eigenflow.theory.double_descent.random_features import risk_parts
from eigenflow.theory.double_descent.surface import RiskSurface, coordinate
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["optimal_ridge_risk"]

DECADES = (-16.0, 6.0)  # of the ridge over the trace, searched
LADDER = 3  # ridges a decade at first
TRIED = 9  # ridges around the best, whose distance then shrinks fourfold
CLOSE = 1e-7  # of ridges in logarithms: the risk is flat there to its square


def optimal_ridge_risk(task: TaskSpectrum, samples: Any, features: Any = np.inf) -> RiskSurface:
    """Give the test risk at the best ridge for each number of samples and features.

    Args:
        task: Spectrum, target and noise.
        samples: n > 0, a number or an increasing row; `features`: k > 0, likewise, infinite for the kernel itself.

    Returns:
        A surface over samples x features, with one more variable, `optimal_ridge`: to some 1e-6 of itself where the
        risk has a minimum, and 0 where no ridge above 1e-16 of the trace is better than none. It falls
        along both axes, without a peak, as is proved for this formula in [@simon2023better].

    Raises:
        ArgumentError: If an argument is not allowed.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum, such as `TaskSpectrum.power_law(1.5, 2.0)`")
    return _surface(task, TabulatedSums(DirectSums(task)), samples, features)


def _surface(task: TaskSpectrum, sums: TabulatedSums, samples: Any, features: Any) -> RiskSurface:
    axes = {"samples": samples, "features": features}
    places = [coordinate(name, values) for name, values in axes.items()]
    n, k = (grid.ravel() for grid in np.meshgrid(*places, indexing="ij"))
    shape = tuple(place.size for place in places if place.ndim)
    ridge = _best(task, sums, n, k)
    parts = risk_parts(task, sums, n, k, ridge)

    def evaluate(*, samples: Any, features: Any, noise: float = task.noise) -> RiskSurface:
        return _surface(replace(task, noise=noise), sums, samples, features)

    made = RiskSurface.over(
        axes,
        noise=task.noise,
        formula=f"random features of a spectrum of {task.modes:.6g} modes, at the best ridge",
        evaluate=evaluate,
        modes=task.modes,
        **{name: values.reshape(shape) for name, values in parts.items()},
    )
    held = (made.data["from_target"].dims, ridge.reshape(shape))
    return RiskSurface(made.data.assign(optimal_ridge=held), evaluate)


def _best(
    task: TaskSpectrum, sums: TabulatedSums, n: Float[np.ndarray, " point"], k: Float[np.ndarray, " point"]
) -> Float[np.ndarray, " point"]:
    """The best ridge at each point: the best of a ladder, then of ever closer ones around it."""

    def risk(log_ridge: np.ndarray) -> np.ndarray:
        parts = risk_parts(task, sums, n, k, np.exp(log_ridge))
        return parts["from_target"] + parts["from_noise"]

    log_trace = np.log(task.trace)
    step = np.log(10.0) / LADDER
    ladder = log_trace + np.log(10.0) * DECADES[0] + step * np.arange(LADDER * int(DECADES[1] - DECADES[0]) + 1)
    best, lowest = np.full(len(n), -np.inf), risk(np.full(len(n), -np.inf))
    for rung in ladder:
        tried = risk(np.full(len(n), rung))
        best, lowest = np.where(tried < lowest, rung, best), np.minimum(tried, lowest)
    while step > CLOSE:
        center = best.copy()
        for offset in np.linspace(-step, step, TRIED):
            tried = risk(center + offset)
            best, lowest = np.where(tried < lowest, center + offset, best), np.minimum(tried, lowest)
        step /= 0.5 * (TRIED - 1)
    return np.exp(best)
