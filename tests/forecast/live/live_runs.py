"""Healthy runs with a known truth, troubles that are put into them, and forecasts that are wrong by a known law.

The truth is none of the package's laws: a power of the summed rate, minus what annealing brings (a sum of the falls of
the rate that are forgotten at a rate of their own). Noise is heavy-tailed and correlated from step to step.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import lfilter

from eigenflow.forecast import Schedule
from eigenflow.forecast.live import LiveForecast, RestForecast
from eigenflow.forecast.live.engines import Answer
from eigenflow.forecast.live.rest import Question

__all__ = ["SCHEDULES", "TOTAL", "Knowing", "Run", "fed", "healthy", "true_losses", "watched"]

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

    kind: str
    steps: np.ndarray
    losses: np.ndarray
    rates: np.ndarray

    def after(self, step: int, change) -> "Run":
        """With every loss behind a step changed, by a function of losses and steps."""
        late = self.steps > step
        return replace(self, losses=np.where(late, change(self.losses, self.steps), self.losses))


def true_losses(schedule: Schedule) -> np.ndarray:
    """Of every update, without noise."""
    rates = schedule.rates / schedule.peak
    time = np.cumsum(rates) / 100.0
    falls = -np.diff(rates, prepend=rates[0])
    annealing = np.cumsum(lfilter([1.0], [1.0, -FORGOTTEN], falls)) / len(rates)
    return FLOOR + DROP * (1.0 + time) ** -POWER - ANNEALED * annealing


def healthy(kind: str, seed: int, *, noise: float = 0.03, correlation: float = 0.3, every: int = 1) -> Run:
    """One run; noise is a share of the loss, of a Student's law with five degrees of freedom."""
    schedule, rng = SCHEDULES[kind], np.random.default_rng([seed, *kind.encode()])
    white = rng.standard_t(5, schedule.total) / np.sqrt(5 / 3)
    scatter = lfilter([np.sqrt(1 - correlation**2)], [1.0, -correlation], white)
    losses = true_losses(schedule) * np.exp(noise * scatter)
    steps = np.arange(1, schedule.total + 1)
    kept = slice(every - 1, None, every)
    return Run(kind, steps[kept], losses[kept], schedule.rates[kept])


class Knowing:
    """Forecasts of the truth from the level that was seen last, wrong as their intervals say.

    That is 0.2 % at once, and `ahead` an e-fold of steps ahead.
    """

    def __init__(self, kind: str, seed: int = 0, ahead: float = 0.02):
        self._kind, self._ahead = kind, ahead
        self._truth, self._rng = np.log(true_losses(SCHEDULES[kind])), np.random.default_rng(seed)
        self._answer: Answer | None = None
        self.asked: list[Question] = []

    def ask(self, question: Question, schedule: Schedule | None) -> None:
        made_at = int(question.steps[-1])
        steps = np.unique(np.linspace(WARMUP, TOTAL, 240).astype(np.int64))
        sd = 0.002 + self._ahead * np.log(np.maximum(steps / made_at, 1.0))
        late = question.steps > 0.9 * made_at
        level = float(np.mean(question.log_losses[late] - self._truth[question.steps[late] - 1]))
        middle, half = self._truth[steps - 1] + level + sd * self._rng.standard_normal(), 1.645 * sd
        end = (float(np.exp(middle[-1] + side * half[-1])) for side in (0, -1, 1))
        rates = SCHEDULES[self._kind].rates[steps - 1]
        found = RestForecast(made_at, TOTAL, *end, steps, middle, half, rates, "known", "known", (), 0.0)
        self._answer = Answer(found, "", 0.0)
        self.asked.append(question)

    def poll(self, wait_s: float = 0.0) -> Answer | None:
        found, self._answer = self._answer, None
        return found

    def close(self) -> None:
        """Nothing is open."""


def fed(live: LiveForecast, run: Run, first: int = 0, last: int | None = None) -> list:
    """Feed losses from one index to another; what `add` had to tell."""
    parts = (part[first:last].tolist() for part in (run.steps, run.losses, run.rates))
    return [news for row in zip(*parts, strict=True) if (news := live.add(*row)) is not None]


def watched(run: Run, seed: int = 0, *, moments: tuple[float, ...] | None = None, ahead: float = 0.02) -> LiveForecast:
    """A whole run under forecasts that are as wrong as they say."""
    live = LiveForecast(TOTAL, moments=moments, max_share=None, engine=Knowing(run.kind, seed, ahead))
    fed(live, run)
    return live
