"""The shapes of the usual schedules: the learning rate of update k after warm-up, and what their numbers may be.

Every shape takes updates k, counted from 0 and warm-up included, then total, warmup, peak and the numbers of its own;
`with_warmup` puts the linear warm-up, rates[k] = peak * k / warmup, in front of it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_choice, check_number, check_whole
from eigenflow.core.errors import ArgumentError, LimitError, ShapeError
from eigenflow.core.limits import current_limits
from eigenflow.forecast.checks import MOST, check_usual

__all__ = [
    "Decay",
    "Shape",
    "check_inside",
    "check_total",
    "check_updates",
    "constant",
    "cosine",
    "cyclic",
    "linear_to_zero",
    "multi_step",
    "two_stage",
    "with_warmup",
    "wsd",
]

Decay = Literal["linear", "exponential", "sqrt"]
Updates = Float[np.ndarray, " update"]


Shape = Callable[..., Updates]


def with_warmup(rate: Shape, total: int, warmup: int, peak: float, /, **parameters: Any) -> Updates:
    """Give every rate of a schedule: linear warm-up from 0, then the shape.

    Raises:
        ArgumentError: If a number is not allowed.
    """
    total, warmup = check_total(total, warmup), int(warmup)
    if not isinstance(peak, str) and peak == 0:
        raise ArgumentError("`peak` must be a learning rate, positive and finite, but is 0.")
    check_usual("peak", peak)
    check_number("end", parameters.get("end", 0.0), 0.0, MOST)
    k = np.arange(total, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # during warm-up the shape itself is not used
        return np.where(k < warmup, peak * k / max(warmup, 1), rate(k, total, warmup, peak, **parameters))


def constant(k: Updates, total: int, warmup: int, peak: float, /) -> Updates:
    """The peak."""
    return np.full(k.shape, peak)


def cosine(k: Updates, total: int, warmup: int, peak: float, /, end: float) -> Updates:
    """Half a cosine down to `end` at update `total`."""
    return end + 0.5 * (peak - end) * (1 + np.cos(np.pi * (k - warmup) / (total - warmup)))


def wsd(k: Updates, total: int, warmup: int, peak: float, /, decay_start: int, end: float, decay: Decay) -> Updates:
    """The peak until `decay_start`, then down to `end` at update `total`."""
    check_choice("decay", decay, ("linear", "exponential", "sqrt"))
    check_inside("decay_start", decay_start, warmup, total)
    if decay == "exponential" and not end > 0:
        raise ArgumentError(f"An exponential decay never reaches 0: `end` must be positive, but is {end:g}.")
    done = np.clip((k - decay_start) / max(total - decay_start, 1), 0.0, 1.0)
    if decay == "exponential":
        return peak * (end / peak) ** done
    return peak - (peak - end) * (done if decay == "linear" else np.sqrt(done))


def two_stage(k: Updates, total: int, warmup: int, peak: float, /, end: float, change: int) -> Updates:
    """The peak before update `change`, `end` from it on."""
    check_inside("change", change, warmup, total)
    return np.where(k < change, peak, end)


def multi_step(
    k: Updates, total: int, warmup: int, peak: float, /, changes: Sequence[int], factors: Sequence[float]
) -> Updates:
    """The peak times 1 at first, times factors[j] from update changes[j] on."""
    if len(changes) != len(factors) or len(changes) == 0:
        raise ShapeError(
            f"`changes` and `factors` must be equally long, not empty, but have {len(changes)} and {len(factors)}."
        )
    edges = [check_whole(f"changes[{k}]", change, warmup, total) for k, change in enumerate(changes)]
    factors = [check_number(f"factors[{k}]", factor, 0.0) for k, factor in enumerate(factors)]
    if edges != sorted(set(edges)):
        raise ArgumentError(f"`changes` must increase, but is {edges}.")
    levels = peak * np.array([1.0, *factors])
    return levels[np.searchsorted(edges, k, side="right")]


def linear_to_zero(k: Updates, total: int, warmup: int, peak: float, /) -> Updates:
    """A straight line to 0 at update `total`."""
    return peak * (total - k) / (total - warmup)


def cyclic(k: Updates, total: int, warmup: int, peak: float, /, period: int, end: float, shape: str) -> Updates:
    """Cycles of `period` updates between the peak and `end`: half cosines with restarts, or triangles."""
    check_choice("shape", shape, ("cosine", "triangle"))
    check_inside("period", period, 2, total)
    phase = np.mod(k - warmup, period) / period
    height = 0.5 * (1 + np.cos(np.pi * phase)) if shape == "cosine" else np.abs(1 - 2 * phase)
    return end + (peak - end) * height


def check_total(total: int, warmup: int) -> int:
    """Give the total as an int, or say what is wrong with it or with the warm-up."""
    found = check_whole("total", total, 1)
    check_updates(found)
    check_whole("warmup", warmup, 0, found - 1, f"number of updates, below total = {found:,},")
    return found


def check_updates(count: int, name: str = "total") -> None:
    """Refuse more updates than the limit allows; most often they are tokens."""
    most = current_limits().steps
    if count > most:
        raise LimitError(
            f"`{name}` asks for {count:,} updates; at most {most:,} are allowed. If it counts tokens, divide it by the "
            f"tokens per update. If it is meant, raise the limit: `eigenflow --limit steps=VALUE ...`, or "
            f"`with ef.limits(steps=VALUE):` in Python."
        )


def check_inside(name: str, value: int, low: int, high: int) -> None:
    """Refuse what is no whole number of updates within bounds."""
    check_whole(name, value, low, high)
