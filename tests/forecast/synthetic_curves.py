"""Synthetic curves with a known truth: a law's own losses, with noise that is correlated along the run."""

import numpy as np

from eigenflow.forecast import Curve, CurveSet, Schedule
from eigenflow.forecast.fitting.pooled import history_of
from eigenflow.forecast.laws.published import PUBLISHED_LAWS

TOTAL, PEAK = 4000, 1e-3
TRUTH = {"momentum": [2.5, 0.35, 0.12, 0.5], "power_time": [2.5, 0.35, 0.5]}

SCHEDULES = {
    "constant": Schedule.constant(total=TOTAL, peak=PEAK, warmup=100),
    "cosine": Schedule.cosine(total=TOTAL, peak=PEAK, end=0.1 * PEAK, warmup=100),
    "two_stage": Schedule.two_stage(total=TOTAL, peak=PEAK, end=0.3 * PEAK, change=2500, warmup=100),
    "wsd": Schedule.wsd(total=TOTAL, peak=PEAK, decay_start=3000, end=0.0, warmup=100),
}


def correlated(length: int, sd: float, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """A stationary first-order autoregressive sequence."""
    noise = rng.normal(0.0, 1.0, length)
    for index in range(1, length):
        noise[index] = correlation * noise[index - 1] + np.sqrt(1 - correlation**2) * noise[index]
    return sd * noise


def synthetic(
    law: str = "momentum",
    names: tuple[str, ...] = tuple(SCHEDULES),
    *,
    rng: np.random.Generator,
    sd: float = 1e-3,
    correlation: float = 0.0,
    points: int = 60,
    sizes: tuple[float, ...] = (1e8,),
) -> CurveSet:
    """Curves of a law with its parameters in `TRUTH`; a size moves the floor by its power -0.05."""
    curves = []
    for size in sizes:
        for name in names:
            steps = np.unique(np.geomspace(150, TOTAL, points).astype(np.int64))
            bare = Curve(name, steps, np.ones(len(steps)), SCHEDULES[name], size=size)
            values = np.array(TRUTH[law])
            values[0] *= (size / 1e8) ** -0.05
            log_loss, _ = PUBLISHED_LAWS[law].evaluate(np.log(values), PUBLISHED_LAWS[law].prepare(history_of(bare)))
            losses = np.exp(log_loss + correlated(len(steps), sd, correlation, rng))
            curves.append(Curve(name, steps, losses, SCHEDULES[name], size=size))
    return CurveSet(tuple(curves))
