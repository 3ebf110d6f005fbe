"""To which update a logged learning rate belongs: the next one, or the one just done.

Trainers differ. PyTorch's schedulers show the rate of the next update once they were stepped; the Hugging Face trainer
logs the rate of the update just done since March 2025, and programs that log once an epoch that of the epoch. It is
told from numbers that are exact: a warm-up in a straight line begins at 0 with update 0, so rates of the next update
are proportional to the step s, and those of the update done to s - 1; a fall to 0 ends at the planned last step, or
one later; a fall from the first update on begins at a round number.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Entries", "aligned", "entries_of"]

# How exactly an entry must lie on a line, as a share of what the rate changes in one update: rounding hides a shift.
EXACT = 0.05
# How well half a cosine must fit, as a share of the highest rate; entries that are fitted, and warm-ups that are tried.
FITS, MOST_FITTED, MOST_TRIED = 1e-6, 64, 2000
# A last rate of 0 where the rates before it lead to more than this share of the one before.
LEADS_ON = 0.25
EPOCH = "learning rates beside an epoch are taken for those of that epoch, and not of the next one"
DONE = "learning rates are read as those of the update just done, not of the next one: {why}"


@dataclass(frozen=True)
class Entries:
    """Learning rates of a log.

    Attributes:
        steps: Completed updates before the update that has the rate; increasing.
        rates: The rates.
        notes: What was done to them.
    """

    steps: Int[np.ndarray, " entry"]
    rates: Float[np.ndarray, " entry"]
    notes: tuple[str, ...] = ()


def entries_of(
    steps: Int[np.ndarray, " row"], rates: Float[np.ndarray, " row"]
) -> tuple[Int[np.ndarray, " entry"], Float[np.ndarray, " entry"]]:
    """Entries with increasing steps, from rows in the order of the log.

    Where the step goes back a run was restarted, and what its earlier piece logged from there on does not hold.
    """
    if len(steps) == 0:
        return steps, rates
    least_later = np.minimum.accumulate(steps[::-1])[::-1]
    kept = np.append(steps[:-1] < least_later[1:], True)
    return steps[kept], rates[kept]


def aligned(
    steps: Int[np.ndarray, " entry"],
    rates: Float[np.ndarray, " entry"],
    *,
    step_unit: str = "update",
    planned: int | None = None,
) -> Entries:
    """Entries by the update that they belong to; those that cannot be told are taken for those of the next update.

    Args:
        steps: Of the log, increasing.
        rates: Beside them.
        step_unit: What a step is: "update", "epoch" or "interval".
        planned: Updates of the whole run, where the log says it.
    """
    rates, notes = _without_last_zero(steps, rates)
    if step_unit == "epoch":
        return _shifted(steps, rates, (*notes, EPOCH))
    if step_unit != "update" or len(steps) < 3 or rates.max() <= 0:
        return Entries(steps, rates, notes)
    why = _by_warmup(steps, rates)
    if why is None:
        why = _by_fall(steps, rates, planned)
    return _shifted(steps, rates, (*notes, DONE.format(why=why))) if why else Entries(steps, rates, notes)


def _shifted(steps: np.ndarray, rates: np.ndarray, notes: tuple[str, ...]) -> Entries:
    is_done = steps > 0
    return Entries(steps[is_done] - 1, rates[is_done], notes) if is_done.any() else Entries(steps, rates, notes)


def _without_last_zero(steps: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """A last rate of 0 that the ones before it do not lead to is what a scheduler shows when all updates are done."""
    if len(rates) < 3 or rates[-1] != 0 or rates[-2] <= 0:
        return rates, ()
    ahead = (steps[-1] - steps[-2]) / (steps[-2] - steps[-3])
    expected = float(rates[-2] + (rates[-2] - rates[-3]) * ahead)
    if expected <= LEADS_ON * rates[-2]:
        return rates, ()
    line = f"the last learning rate, 0 at step {steps[-1]}, is that after the last update; {expected:.4g} is taken"
    return np.append(rates[:-1], expected), (line,)


def _by_warmup(steps: np.ndarray, rates: np.ndarray) -> str | None:
    """Where the line of the warm-up meets 0: "" for step 0 or another place, a reason for step 1; None without one."""
    grows = np.flatnonzero(np.diff(rates) <= 0)
    top = int(grows[0]) if len(grows) else len(rates) - 1
    # The last entry of the rise may stand behind the corner.
    for count in (top + 1, top):
        at, rate = steps[:count].astype(np.float64), rates[:count]
        if count < 2 or rate[-1] <= 0:
            continue
        for origin in (0, 1):
            slope = rate[-1] / (at[-1] - origin) if at[-1] > origin else 0.0
            expected = slope * np.maximum(at - origin, 0)
            if slope > 0 and np.abs(rate - expected).max() <= EXACT * slope:
                return f"they rise from 0 at step {origin}" if origin else ""
    return None if top < 2 else ""


def _by_fall(steps: np.ndarray, rates: np.ndarray, planned: int | None) -> str:
    """From a line or a cosine that falls behind the highest entry: a reason if rates are of updates done, else ""."""
    top = int(rates.argmax())
    # The highest entry may stand on the warm-up, before the corner.
    first = top + 1 if top else 0
    at, rate = steps[first:], rates[first:]
    if len(at) < 3 or np.any(np.diff(rate) >= 0):
        return ""
    slope = float((rate[0] - rate[-1]) / (at[-1] - at[0]))
    if np.abs(rate[0] - slope * (at - at[0]) - rate).max() <= EXACT * slope:
        return _by_line(float(rate[0] + slope * at[0]), slope, planned, from_start=top == 0)
    return "" if planned is None else _by_cosine(at, rate, planned, int(steps[top - 1]) if top else 0)


def _by_line(at_zero: float, slope: float, planned: int | None, *, from_start: bool) -> str:
    """From a straight line: where it meets 0, or whether it begins at a round number."""
    end = at_zero / slope
    if planned is not None and abs(end - planned - 1) <= EXACT:
        return f"they fall to 0 at step {round(end)}, one after the planned last"
    if not from_start or (planned is not None and abs(end - planned) <= EXACT):
        return ""
    first = at_zero - slope  # at step 1
    is_round = [abs(value - float(f"{value:.1e}")) <= EXACT * slope for value in (at_zero, first)]
    return f"they fall from a round number, {first:.2g}, at step 1" if is_round == [False, True] else ""


def _by_cosine(at: np.ndarray, rates: np.ndarray, planned: int, earliest: int) -> str:
    """From half a cosine to the planned end, with any peak and end, behind a warm-up of the length that fits best."""
    if len(at) < 4:
        return ""
    at, rates = at[:: max(len(at) // MOST_FITTED, 1)], rates[:: max(len(at) // MOST_FITTED, 1)]
    warmups = np.arange(earliest, min(int(at[0]), planned - 1) + 1)
    warmups = warmups[:: max(len(warmups) // MOST_TRIED, 1)]
    left = []
    for shift in (0, 1):
        form = np.cos(np.pi * (at - shift - warmups[:, None]) / (planned - warmups[:, None]))
        form -= form.mean(axis=1, keepdims=True)
        off = rates - rates.mean()
        height = (form @ off) / np.sum(form**2, axis=1)
        left.append(float(np.abs(off - height[:, None] * form).max(axis=1).min()))
    is_exact = left[1] <= EXACT * left[0] and left[1] <= FITS * rates.max() and left[0] > 1e-12 * rates.max()
    return f"they are half a cosine that ends at step {planned + 1}, one after the planned last" if is_exact else ""
