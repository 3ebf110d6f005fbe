"""From the joined points of a run to those that may be fitted.

Spikes are left out, courses that no law describes are refused, and what makes a forecast doubtful is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.quantities import Quantity
from eigenflow.forecast.reading.judging.accumulation import (
    factor_jump,
    first_loss_caution,
    refuse_factor_jump,
    sum_caution,
)
from eigenflow.forecast.reading.judging.course import course_of
from eigenflow.forecast.reading.judging.divergence import refuse_blow_up, refuse_divergence, refuse_rising, rise_caution
from eigenflow.forecast.reading.judging.rounding import printed_quanta, rounding_caution
from eigenflow.forecast.reading.judging.spikes import remove_spikes
from eigenflow.forecast.reading.rates.rate_alignment import entries_of
from eigenflow.forecast.reading.rows.cleaning import Points
from eigenflow.forecast.reading.rows.drafts import Draft
from eigenflow.forecast.schedules.schedule import Schedule

# How a line begins that says that a run ended without finite losses.
DIVERGED = "the run diverged"

__all__ = ["Judged", "judge", "loss_unit"]


@dataclass(frozen=True)
class Judged:
    """A run that may be fitted.

    Attributes:
        draft: It, without spikes.
        rounding: Quantum of its late losses, in their unit.
        cautions: What makes a forecast of it doubtful.
    """

    draft: Draft
    rounding: float
    cautions: tuple[str, ...]


def judge(
    draft: Draft,
    given: Mapping[str, Schedule] | None,
    *,
    unit: str = "nats",
    keep_spikes: bool = False,
    check_units: bool = True,
) -> Judged:
    """Judge a run whose pieces are joined.

    Args:
        draft: The run.
        given: Schedules by name, as in `attach_schedules`.
        unit: As in `read_curves`.
        keep_spikes: As in `read_curves`.
        check_units: As in `read_curves`.

    Raises:
        ArgumentError: If its values rise from the start, or jump by a whole factor.
        NonFiniteError: If it diverges.
    """
    points, quantity = draft.points, draft.quantity
    rates = _rates_at(draft, given)
    quanta = _quanta(points, quantity)
    if quantity.kind == "perplexity" and unit != "nats":
        raise ArgumentError(f"{draft.place}: the logarithm of a perplexity is in nats, so leave `unit` (--unit) out.")
    is_converted = quantity.kind == "bits" and unit == "bits"
    cautions = ["" if is_converted else quantity.caution, *draft.cautions]
    cautions += [
        f"{line}; a forecast is of a run that does not" for line in points.changes if line.startswith(DIVERGED)
    ]
    cautions += [first_loss_caution(points), sum_caution(points, draft.tokens_per_step)]
    jump = factor_jump(points, rates)
    if jump is not None and jump.is_clear and check_units:
        refuse_factor_jump(points, jump, draft.place)
    if jump is not None:
        cautions.append(
            f"the loss jumps by a factor of {jump.factor} at step {points.steps[jump.at]} and stays there, as at the "
            f"border of an epoch, or where a run is resumed with a trainer that counts gradient accumulation otherwise"
        )
    rounding, line = rounding_caution(points.losses, quanta)
    cautions.append(line)
    # Before spikes are taken out: a blow-up at the end, of which the last points would count as spikes.
    course = course_of(points, quanta, rates)
    refuse_rising(points, course, quantity, draft.place)
    refuse_blow_up(points, quanta, course, draft.place)
    if not keep_spikes:
        points = remove_spikes(points, quanta, rates)
    if len(points.steps) < len(draft.points.steps):
        kept = np.isin(draft.points.steps, points.steps)
        quanta, rates = quanta[kept], None if rates is None else rates[kept]
        course = course_of(points, quanta, rates)
    refuse_divergence(points, course, quantity, draft.place)
    cautions.append(rise_caution(points, quanta, course, quantity))
    return Judged(replace(draft, points=points), rounding, tuple(line for line in cautions if line))


def _quanta(points: Points, quantity: Quantity) -> Float[np.ndarray, " point"]:
    if quantity.kind == "perplexity":  # rounded before its logarithm was taken
        return printed_quanta(np.exp(points.losses)) / np.exp(points.losses)
    return printed_quanta(points.losses)


def _rates_at(draft: Draft, given: Mapping[str, Schedule] | None) -> Float[np.ndarray, " point"] | None:
    """Rate at each point, from its schedule or from its log."""
    steps = draft.points.steps
    schedule = None if given is None else given.get(draft.name, given.get("schedule") if len(given) == 1 else None)
    if schedule is not None:
        return schedule.rates[np.minimum(steps, schedule.total - 1)]
    at, rates = entries_of(draft.rate_steps, draft.rates)
    return np.interp(steps, at, rates) if len(at) else None


def loss_unit(drafts: Sequence[Draft], unit: str) -> str:
    """Unit of the losses of a set, as they are after conversion."""
    found = {"nats" if unit == "bits" else draft.quantity.unit or "nats" for draft in drafts}
    return found.pop() if len(found) == 1 else "mixed units"
