"""Losses that a trainer multiplied or divided by its number of accumulation steps.

Versions of the Hugging Face trainer of late 2024 logged the sum over the micro-batches of an update where their mean
was meant, other programs log a part of it. A run that was resumed with another version jumps by a whole factor, and
stays there. A loss that is wrong all along shows it beside its validation loss, or in the first loss of a language
model, which is the logarithm of the vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.quantities import Quantity, words_of
from eigenflow.forecast.reading.rows.cleaning import Points

__all__ = ["FactorJump", "against_validation", "factor_jump", "first_loss_caution", "refuse_factor_jump", "sum_caution"]

FACTORS = np.array([2, 3, 4, 5, 6, 7, 8, 16, 32, 64])
# How near to a whole factor, points on each side that must show it, and their scatter as a share of its logarithm.
NEAR, SIDE, LEAST_SIDE, SCATTER = 0.03, 10, 5, 0.15
# A fall by less may be the border of an epoch, where the data begin anew.
CLEAR_FALL = 4
# Change of the rate, as a share of its highest value, that explains a jump.
RATE_CHANGE = 0.1
# Beside a validation loss: the factor must hold at every measurement.
BESIDE, LEAST_BESIDE, MEASURED = 0.12, 3, 2
# Vocabularies of usual tokenizers: Llama, GPT-NeoX, GPT-2, tiktoken's, Llama 3, Qwen, Gemma.
VOCABULARIES = (32_000, 50_257, 50_304, 65_536, 100_277, 128_256, 151_936, 256_000)
# Steps within which a first loss is that of the initial network, and how near it is then.
FIRST, INITIAL = 10, 0.01
PLAUSIBLE_END = (1.0, 8.0)
# A first loss that is no mean, tokens of a step that are no examples, and what a token of a new model costs.
NO_MEAN, TOKENS, PER_TOKEN = 100.0, 1000, (2.0, 14.0)


@dataclass(frozen=True)
class FactorJump:
    """A jump by a whole factor.

    Attributes:
        at: Index of the first point behind it.
        factor: How many times higher or lower.
        goes_up: Whether it goes up.
        before: Level before it.
        after: Level behind it.
    """

    at: int
    factor: int
    goes_up: bool
    before: float
    after: float

    @property
    def is_clear(self) -> bool:
        """Whether nothing that networks do explains it."""
        return self.goes_up or self.factor >= CLEAR_FALL


def factor_jump(points: Points, rates: Float[np.ndarray, " point"] | None = None) -> FactorJump | None:
    """A jump by a whole factor from one level to another, where the rate does not change; None if there is none.

    Args:
        points: Of one run.
        rates: Learning rate at each point, if known.
    """
    values = np.log(points.losses)
    candidates = np.flatnonzero(np.abs(np.diff(values)) > np.log(FACTORS[0]) / 2) + 1
    # Noise jumps often, a change of the trainer once or twice.
    for at in candidates[:LEAST_SIDE] if len(candidates) > SIDE else candidates:
        before, after = values[max(at - SIDE, 0) : at], values[at : at + SIDE]
        if min(len(before), len(after)) < LEAST_SIDE:
            continue
        size = float(np.median(after) - np.median(before))
        factor = int(FACTORS[np.abs(np.log(FACTORS) - abs(size)).argmin()])
        if abs(np.exp(abs(size)) / factor - 1.0) > NEAR:
            continue
        if max(np.ptp(before), np.ptp(after)) > SCATTER * 2.0 * np.log(factor):
            continue
        near = None if rates is None else rates[max(at - 2, 0) : at + 2]
        if near is not None and rates is not None and np.ptp(near) > RATE_CHANGE * rates.max():
            continue
        later = float(np.median(values[at : at + 5 * SIDE]))
        if abs(later - np.median(after)) <= SCATTER * np.log(factor):
            levels = float(np.exp(np.median(before))), float(np.exp(np.median(after)))
            return FactorJump(int(at), factor, size > 0, *levels)
    return None


def refuse_factor_jump(points: Points, jump: FactorJump, place: str) -> None:
    """Refuse a jump by a whole factor.

    Raises:
        ArgumentError: Names its row.
    """
    raise ArgumentError(
        f"{place}, row {points.rows[jump.at]}: the loss jumps from {jump.before:.4g} to {jump.after:.4g} and stays "
        f"there, {jump.factor} times as {'high' if jump.goes_up else 'low'}, as when a run is resumed with a trainer "
        f"that counts gradient accumulation otherwise (some versions log the sum over its steps, some the mean). "
        f"{'Divide' if jump.goes_up else 'Multiply'} the later part by {jump.factor}, or, if the values are right, "
        f"pass `check_units=False` (--no-check-units)."
    )


def against_validation(
    points: Points, frame: pd.DataFrame, steps: Int[np.ndarray, " row"], quantity: Quantity
) -> tuple[str, ...]:
    """What to say of training losses that are a whole multiple or part of the validation losses beside them.

    Args:
        points: Of one run.
        frame: All rows of the run.
        steps: Of each, in the order of the log; negative where they are not known, as in rows of a validation.
        quantity: What the losses are.
    """
    beside = [name for name in quantity.others if words_of(name) in ({"eval", "loss"}, {"val", "loss"})]
    if quantity.is_validation or not beside or np.any(np.diff(points.steps) <= 0):
        return ()
    values = np.asarray(pd.to_numeric(frame[beside[0]], errors="coerce"), dtype=np.float64)
    reached = np.maximum.accumulate(steps)
    shown = np.isfinite(values) & (values > 0) & (reached >= points.steps[0])
    if shown.sum() < MEASURED:
        return ()
    near = np.exp(np.interp(reached[shown], points.steps, np.log(points.losses)))
    ratio = np.log(near / values[shown])
    size = float(np.median(ratio))
    factor = int(FACTORS[np.abs(np.log(FACTORS) - abs(size)).argmin()])
    if factor < LEAST_BESIDE or np.abs(np.abs(ratio) - np.log(factor)).max() > BESIDE:
        return ()
    times, done = (f"{factor}", "multiplied") if size > 0 else (f"1/{factor}", "divided")
    return (
        f"the training losses are {times} times the values of {beside[0]!r} beside them: the trainer may have {done} "
        f"them by its accumulation steps. The forecast is of the losses as logged",
    )


def first_loss_caution(points: Points) -> str:
    """What to say of a first loss that is a multiple of the logarithm of a usual vocabulary; nothing of another one."""
    first, last = float(points.losses[0]), float(points.losses[-1])
    if points.steps[0] > FIRST:
        return ""
    for factor in (2, 4, 8, 16, 32, 64):
        level = first / (factor * np.log(VOCABULARIES))
        at = int(np.abs(level - 1.0).argmin())
        if abs(level[at] - 1.0) <= INITIAL and PLAUSIBLE_END[0] <= last / factor <= PLAUSIBLE_END[1]:
            return (
                f"the first loss, {first:.4g}, is {factor} times ln({VOCABULARIES[at]}), that of a new language model: "
                f"the trainer may have multiplied losses by its accumulation steps. The forecast is of the losses as "
                f"logged"
            )
    return ""


def sum_caution(points: Points, tokens_per_step: float | int | None) -> str:
    """What to say of losses that are sums over the tokens of a step: nothing where they are not, or it is not known."""
    first = float(points.losses[0])
    if tokens_per_step is None or tokens_per_step < TOKENS or first < NO_MEAN:
        return ""
    per_token = first / float(tokens_per_step)
    if not PER_TOKEN[0] <= per_token <= PER_TOKEN[1]:
        return ""
    return (
        f"the first loss, {first:.4g}, is {per_token:.3g} for each of the {tokens_per_step:g} tokens of a step: losses "
        f"seem to be sums over tokens, which change with the batch"
    )
