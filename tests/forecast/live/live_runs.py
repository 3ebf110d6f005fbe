"""Healthy runs with a known truth, and troubles that are put into them.

The truth is none of the package's laws: a power of the summed rate, minus what annealing brings (a sum of the falls of
the rate that are forgotten at a rate of their own). Noise is heavy-tailed and correlated from step to step.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from eigenflow.forecast import Schedule

__all__ = ["SCHEDULES", "Run", "healthy", "true_losses"]

TOTAL, PEAK, WARMUP = 6000, 1e-3, 150
SCHEDULES = {
    "constant": Schedule.constant(total=TOTAL, peak=PEAK, warmup=WARMUP),
    "cosine": Schedule.cosine(total=TOTAL, peak=PEAK, end=1e-4, warmup=WARMUP),
    "linear": Schedule.linear_to_zero(total=TOTAL, peak=PEAK, warmup=WARMUP),
    "wsd": Schedule.wsd(total=TOTAL, peak=PEAK, decay_start=4500, warmup=WARMUP),
    "restarts": Schedule.cyclic(total=TOTAL, peak=PEAK, period=1950, end=1e-4, warmup=WARMUP),
}
FLOOR, DROP, POWER, ANNEALED, FORGOTTEN = 2.0, 1.6, 0.35, 0.35, 0.998


@dataclass(frozen=True)
class Run:
    """Losses as `LiveForecast.add` takes them."""

    steps: np.ndarray
    losses: np.ndarray
    rates: np.ndarray
    total: int


def true_losses(schedule: Schedule) -> np.ndarray:
    """Of every update, without noise."""
    rates = schedule.rates / schedule.peak
    time = np.cumsum(rates) / 100.0
    falls = np.maximum(-np.diff(rates, prepend=rates[0]), -np.inf)
    annealing = np.cumsum(lfilter([1.0], [1.0, -FORGOTTEN], falls)) / len(rates)
    return FLOOR + DROP * (1.0 + time) ** -POWER - ANNEALED * annealing


def healthy(kind: str, seed: int, *, noise: float = 0.03, correlation: float = 0.3, every: int = 1) -> Run:
    """One run; noise is a share of the loss, of a Student's law with five degrees of freedom."""
    schedule, rng = SCHEDULES[kind], np.random.default_rng(seed)
    white = rng.standard_t(5, schedule.total) / np.sqrt(5 / 3)
    scatter = lfilter([np.sqrt(1 - correlation**2)], [1.0, -correlation], white)
    losses = true_losses(schedule) * np.exp(noise * scatter)
    steps = np.arange(1, schedule.total + 1)
    kept = slice(every - 1, None, every)
    return Run(steps[kept], losses[kept], schedule.rates[kept], schedule.total)
