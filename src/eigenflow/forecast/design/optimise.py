"""The non-increasing schedule of smallest predicted final loss, beside the best cosine and the best WSD."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.optimize import minimize

from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.forecast.design.final_loss import FinalLoss, LawFinalLoss
from eigenflow.forecast.schedules.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DesignStatus", "DesignedSchedule", "Rival", "design_schedule"]

BLOCKS = 48
STARTS = 5
# Starts agree when their objectives differ by less than a ten-thousandth of the loss: far below any noise floor.
AGREE = 1e-4
DECAY_SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
COSINE_ENDS = (0.0, 0.01, 0.03, 0.1)
RIVAL_TOLERANCE = 0.004


class DesignStatus(StrEnum):
    """How the search ended."""

    CONVERGED = "converged"
    NOT_UNIQUE = "starts disagree"


@dataclass(frozen=True, repr=False)
class Rival(AbstractPrinted):
    """A usual schedule at its best setting under the same law.

    Attributes:
        name: "cosine" or "wsd".
        setting: The setting that the law likes best.
        schedule: It.
        loss: Its predicted final loss, one value a draw.
        gain: Median of (its loss - the designed one's), over the draws of the law.
        gain_lower: Lower end of the 90 % interval; below 0 the law cannot tell the two apart.
        gain_upper: Upper end.
    """

    name: str
    setting: str
    schedule: Schedule
    loss: Float[np.ndarray, " draw"]
    gain: float
    gain_lower: float
    gain_upper: float

    def _card(self) -> Card:
        rows = [
            ("final loss", figure(float(np.median(self.loss)), 5)),
            ("gain over it", f"{interval(self.gain, self.gain_lower, self.gain_upper)}, 90 % interval"),
        ]
        return Card(f"{self.name}, {self.setting}", rows)


@dataclass(frozen=True, repr=False)
class DesignedSchedule(AbstractPrinted):
    """A schedule and why it.

    Attributes:
        schedule: The designed one.
        loss: Its predicted final loss, one value a draw of the law.
        rivals: Cosine and WSD, each at its best.
        status: Whether several starts ended at one schedule's loss.
        stationarity: Largest projected derivative of the objective, as a share of the loss: 0 at a constrained optimum.
        agreeing_starts: Share of the starts that ended within 1e-4 of the best objective.
        cautions: What the fitted runs do not cover, such as a peak rate outside theirs.
    """

    schedule: Schedule
    loss: Float[np.ndarray, " draw"]
    rivals: tuple[Rival, ...]
    status: DesignStatus
    stationarity: float
    agreeing_starts: float
    cautions: tuple[str, ...] = ()

    def _card(self) -> Card:
        tail = (1 - LEVEL) / 2
        lower, middle, upper = (float(value) for value in np.quantile(self.loss, [tail, 0.5, 1 - tail]))
        rows = [
            ("status", f"{self.status.value}; {self.agreeing_starts:.0%} of the starts agree"),
            ("final loss", f"{interval(middle, lower, upper, digits=5)} over {len(self.loss)} draws of the law"),
            ("rates", self.schedule.summary),
        ]
        for rival in self.rivals:
            gain = interval(rival.gain, rival.gain_lower, rival.gain_upper)
            rows.append((f"gain over {rival.name}", f"{gain}, 90 % interval; at its best: {rival.setting}"))
        rows += [("caution", caution) for caution in self.cautions]
        return Card(f"Designed schedule of {self.schedule.total} updates", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row an update: step, learning_rate, and the rate of each rival by its name."""
        table = self.schedule.to_dataframe()[["step", "learning_rate"]]
        return table.assign(**{rival.name: rival.schedule.rates for rival in self.rivals})

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw it beside the best usual schedules, with predicted losses; into new axes if none are given."""
        from eigenflow.forecast.pictures import draw_design
        from eigenflow.plots import axes_or_new

        return draw_design(self, axes_or_new(ax))


def design_schedule(
    predict: FinalLoss,
    *,
    steps: int,
    peak: float,
    warmup: int = 0,
    end: float = 0.0,
    risk: float = 0.5,
    blocks: int = BLOCKS,
    starts: int = STARTS,
    iterations: int = 600,
    seed: int = 0,
) -> DesignedSchedule:
    """Find the non-increasing schedule of smallest predicted final loss.

    The loss is averaged over the worse half of the law's draws (`risk` = 0.5), so that a schedule that only some
    draws like does not win. Rates are constant in blocks that get shorter towards the end.

    Args:
        predict: A fitted law with draws of its parameters.
        steps: Updates in all.
        peak: Highest rate; the rate after warm-up may be lower if the law likes that better.
        warmup: Updates of linear warm-up, fixed.
        end: Lowest rate allowed.
        risk: Share of the draws, the worst ones, that is averaged; 1 is the mean.
        blocks: Blocks of constant rate after warm-up.
        starts: Starting schedules, three usual ones first.
        iterations: Limit of each start; lower it for laws without closed derivatives.
        seed: Of the random starts.

    Returns:
        The schedule with its certificate, and the gain over the best cosine and the best WSD.

    Raises:
        ArgumentError: If a number is not allowed.
    """
    _check(steps, peak, warmup, end, risk, blocks)
    head_lengths, head_rates = _warmup_blocks(warmup, peak)
    lengths = _block_lengths(steps - warmup, blocks)
    every = np.concatenate([head_lengths, lengths])

    def cost(falls: np.ndarray) -> tuple[float, np.ndarray]:
        height = (peak - end) * np.exp(-np.cumsum(falls))
        loss, by_rate = predict(every, np.concatenate([head_rates, end + height]), len(head_rates))
        value, by_draw = _worst_mean(loss, risk)
        by_height = (by_draw @ by_rate)[len(head_rates) :]
        return value, -np.cumsum((by_height * height)[::-1])[::-1]

    ends = [
        minimize(cost, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 12.0)] * len(lengths),
                 options={"maxiter": iterations, "maxfun": 3 * iterations, "ftol": 1e-13, "gtol": 1e-10})
        for start in _starts(lengths, starts, np.random.default_rng(seed))
    ]  # fmt: skip
    best = min(ends, key=lambda found: found.fun)
    rates = np.concatenate([head_rates, end + (peak - end) * np.exp(-np.cumsum(best.x))])
    loss = predict(every, rates, len(rates))[0]
    gradient = cost(best.x)[1]
    projected = np.where(
        best.x <= 0, np.minimum(gradient, 0), np.where(best.x >= 12, np.maximum(gradient, 0), gradient)
    )
    agreeing = float(np.mean([found.fun <= best.fun * (1 + AGREE) for found in ends]))
    status = DesignStatus.CONVERGED if agreeing * len(ends) >= 2 else DesignStatus.NOT_UNIQUE
    # The law saw warm-up in blocks of the same sum.
    ramp = peak * np.arange(warmup) / max(warmup, 1)
    schedule = Schedule.table(np.concatenate([ramp, np.repeat(rates[len(head_rates) :], lengths)]), warmup=warmup)
    rivals = (
        _best_rival("cosine", _cosines(steps, peak, warmup, end), predict, loss, risk),
        _best_rival("wsd", _wsds(steps, peak, warmup, end), predict, loss, risk),
    )
    stationarity = float(np.abs(projected).max() / best.fun)
    cautions = predict.cautions if isinstance(predict, LawFinalLoss) else ()
    return DesignedSchedule(schedule, loss, rivals, status, stationarity, agreeing, cautions)


def _worst_mean(loss: np.ndarray, risk: float) -> tuple[float, np.ndarray]:
    """Mean over the draws with the largest losses, and its derivatives by each draw's loss."""
    count = max(1, round(risk * len(loss)))
    weights = np.zeros(len(loss))
    weights[np.argsort(loss)[-count:]] = 1.0 / count
    return float(weights @ loss), weights


def _block_lengths(updates: int, blocks: int) -> Int[np.ndarray, " block"]:
    """Lengths that shrink towards the end, where the last rates count most: the later half of the blocks is a fifth."""
    place = np.linspace(0.0, 1.0, min(blocks, updates) + 1)
    edges = np.unique(np.rint(updates * (1.0 - (1.0 - place) ** 2.3)).astype(int))
    return np.diff(edges)


def _warmup_blocks(warmup: int, peak: float) -> tuple[np.ndarray, np.ndarray]:
    """The ramp as at most 16 blocks with the ramp's own sum of rates."""
    if warmup == 0:
        return np.empty(0, dtype=int), np.empty(0)
    ramp = peak * np.arange(warmup) / warmup
    edges = np.unique(np.linspace(0, warmup, min(16, warmup) + 1).astype(int))
    lengths = np.diff(edges)
    return lengths, np.maximum(np.add.reduceat(ramp, edges[:-1]) / lengths, 1e-12 * peak)


def _starts(lengths: np.ndarray, starts: int, rng: np.random.Generator):
    """Cosine-like, late decay, early decay, and two random falls."""
    done = np.cumsum(lengths) / lengths.sum()
    count = len(lengths)
    shapes = (lambda x: np.clip(5 * (1 - x), 0, 1), lambda x: 0.5 * (1 + np.cos(np.pi * x)), lambda x: 1 - x)
    for shape in shapes[:starts]:
        height = np.maximum(shape(np.minimum(done, 0.995)), 1e-4)
        yield np.maximum(-np.diff(np.log(height), prepend=0.0), 0.0)
    for _ in range(starts - 3):
        yield rng.exponential(3.0 / count, count)


def _cosines(steps: int, peak: float, warmup: int, end: float):
    # The lowest end that is allowed, and the usual ones above it.
    for share in sorted({end / peak, *(share for share in COSINE_ENDS if share * peak > end)}):
        made = Schedule.cosine(total=steps, peak=peak, end=share * peak, warmup=warmup)
        yield f"end {share:.3g} of peak", made


def _wsds(steps: int, peak: float, warmup: int, end: float):
    for decay in ("linear", "sqrt"):
        for share in DECAY_SHARES:
            start = warmup + round((1 - share) * (steps - warmup))
            made = Schedule.wsd(total=steps, peak=peak, decay_start=start, end=end, warmup=warmup, decay=decay)
            yield f"decay {share:.0%}, {'1-sqrt' if decay == 'sqrt' else decay}", made


def _best_rival(name: str, candidates, predict: FinalLoss, designed: np.ndarray, risk: float) -> Rival:
    scored = []
    for setting, schedule in candidates:
        blocks = schedule.blocks_within(RIVAL_TOLERANCE)
        is_used = blocks.rates > 0
        loss = predict(np.diff(blocks.edges)[is_used], blocks.rates[is_used], len(blocks.rates))[0]
        scored.append((_worst_mean(loss, risk)[0], setting, schedule, loss))
    _, setting, schedule, loss = min(scored, key=lambda entry: entry[0])
    tail = (1 - LEVEL) / 2
    lower, median, upper = (float(v) for v in np.quantile(loss - designed, [tail, 0.5, 1 - tail]))
    return Rival(name, setting, schedule, loss, median, lower, upper)


def _check(steps: int, peak: float, warmup: int, end: float, risk: float, blocks: int) -> None:
    rules: tuple[tuple[str, object, bool, str], ...] = (
        ("steps", steps, steps >= 2, "at least 2 updates"),
        ("peak", peak, np.isfinite(peak) and peak > 0, "a positive learning rate"),
        ("warmup", warmup, 0 <= warmup < steps, f"in [0, steps = {steps})"),
        ("end", end, 0 <= end < peak, f"in [0, peak = {peak:g})"),
        ("risk", risk, 0 < risk <= 1, "in (0, 1]"),
        ("blocks", blocks, blocks >= 2, "at least 2"),
    )
    for name, value, is_allowed, allowed in rules:
        if not is_allowed:
            raise ArgumentError(f"`{name}` must be {allowed}, but is {value}.")
