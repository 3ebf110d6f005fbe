"""Runs whose truth is a transport law, with noise as real curves have it."""

import numpy as np

from eigenflow.forecast import Curve, Schedule
from eigenflow.forecast.laws import History, TransportLaw

__all__ = ["SCHEDULES", "TOTAL", "TRUTH", "UNSEEN", "WARMUP", "curve", "three", "true_losses"]

TRUTH = {"L_inf": 2.6, "A": 0.08, "a": 0.5, "s0": 0.01, "B": 0.08, "q": 0.65, "r": 250.0, "b": 1.8}
TRUTH |= {"alpha": 0.35, "p": 1.0}
PEAK, WARMUP, TOTAL = 3e-4, 1000, 20_000
SCHEDULES = {
    "cosine": Schedule.cosine(total=TOTAL, peak=PEAK, end=PEAK / 10, warmup=WARMUP),
    "constant": Schedule.constant(total=TOTAL, peak=PEAK, warmup=WARMUP),
    "two stage": Schedule.two_stage(total=12_000, peak=PEAK, end=0.3 * PEAK, change=7000, warmup=WARMUP),
}
UNSEEN = Schedule.wsd(total=TOTAL, peak=PEAK, end=PEAK / 10, decay_start=16_000, warmup=WARMUP)


def true_losses(schedule: Schedule, steps: np.ndarray, **values: float) -> np.ndarray:
    law = TransportLaw(reference=SCHEDULES["constant"].times[-1] / PEAK)
    truth = TRUTH | values
    theta = np.array([float(p.to_theta(truth[p.name])) for p in TransportLaw.parameters])
    return np.exp(law.evaluate(theta, law.prepare(History(steps, schedule.rates)))[0])


def curve(name: str, rng: np.random.Generator, *, noise: float = 3e-4, size: float | None = None, **values) -> Curve:
    """Points every 128 steps, correlated over about four of them, as logged averages are."""
    schedule = SCHEDULES[name]
    steps = np.arange(WARMUP, schedule.total + 1, 128)
    white = rng.standard_normal(len(steps) + 3)
    smooth = np.convolve(white, np.full(4, 0.5), mode="valid")
    return Curve(name, steps, true_losses(schedule, steps, **values) * np.exp(noise * smooth), schedule, size=size)


def three(seed: int, **values) -> list[Curve]:
    rng = np.random.default_rng(seed)
    return [curve(name, rng, **values) for name in SCHEDULES]
