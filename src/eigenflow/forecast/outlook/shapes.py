"""Closed forms of learning rates after warm-up, each fitted by least squares to the rates that a log shows.

Rates are in units of the highest one. Every fit gives a `Shape`, which knows the rate of any later update, or None
where the entries cannot be of its kind. Ends of half cosines are searched on a grid, everything else is linear.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = [
    "FARTHEST_END",
    "Shape",
    "constant",
    "cosine",
    "cosine_misfits",
    "decay_after_plateau",
    "exponential",
    "inverse_sqrt",
    "linear",
]

Steps = Float[np.ndarray, " entry"]
Rates = Float[np.ndarray, " entry"]

# A half cosine of which less than this part is seen is a constant or a parabola: its end is anything.
FARTHEST_END = 30.0
# Entries this close to the highest rate belong to its plateau; those that are closer do for certain.
PLATEAU, HIGH = 0.995, 0.9994
# A plateau is one if it holds this share of the entries' range, and so many entries; a decay needs fewer.
LEAST_PLATEAU, LEAST_ENTRIES, LEAST_FALLEN = 0.15, 3, 2
TINY = 1e-30


@dataclass(frozen=True)
class Shape:
    """One form of the rates after warm-up, with its numbers.

    Attributes:
        kind: What it is called.
        rate: The rate of updates, in units of the highest one.
        free: Numbers that were fitted.
        ends: Update at which its decay is over, None if it has no end of its own.
        end: Rate there, None without an end.
        begins: Update at which its decay begins, None if it begins at once.
    """

    kind: str
    rate: Callable[[Steps], Rates]
    free: int
    ends: float | None = None
    end: float | None = None
    begins: float | None = None


def constant(x: Steps, y: Rates) -> Shape:
    """The mean."""
    level = float(y.mean())
    return Shape("constant", lambda k: np.full(len(k), level), 1)


def linear(x: Steps, y: Rates, total: int | None) -> Shape | None:
    """A falling straight line; without a total it is taken to end at 0."""
    slope, level = np.polyfit(x, y, 1)
    if slope >= 0:
        return None
    ends = -level / slope
    end = 0.0
    if total is not None and ends > total:
        ends, end = float(total), float(level + slope * total)
    return Shape("linear", lambda k: np.maximum(level + slope * k, end), 2, float(ends), end)


def inverse_sqrt(x: Steps, y: Rates) -> Shape | None:
    """(a + b k)^-1/2."""
    slope, level = np.polyfit(x, y**-2.0, 1) if np.all(y > 0) else (0.0, 1.0)
    if slope <= 0 or level + slope * x[0] <= 0:
        return None
    return Shape("inverse square root", lambda k: np.maximum(level + slope * k, 1e-12) ** -0.5, 2)


def exponential(x: Steps, y: Rates) -> Shape | None:
    """exp(a - b k)."""
    slope, level = np.polyfit(x, np.log(y), 1) if np.all(y > 0) else (0.0, 0.0)
    return None if slope >= 0 else Shape("exponential", lambda k: np.exp(level + slope * k), 2)


def cosine(x: Steps, y: Rates, begin: float, ends: float, floor: float | None = None) -> Shape | None:
    """Half a cosine from update `begin` to `ends`, then its last rate; the floor is fitted if it is None.

    Args:
        x: Updates.
        y: Their rates.
        begin: Where it starts to fall.
        ends: Where it is down.
        floor: Its last rate as a share of its first one.
    """
    bend = 0.5 * (1.0 + np.cos(np.pi * np.clip((x - begin) / (ends - begin), 0.0, 1.0)))
    if floor is None:
        columns = np.stack([bend, 1.0 - bend], axis=1)
        top, low = np.linalg.lstsq(columns, y, rcond=None)[0]
    else:
        mixed = floor + (1.0 - floor) * bend
        top = float(mixed @ y / max(float(mixed @ mixed), TINY))
        low = floor * top
    if not -0.02 <= low <= 0.98 * top:
        return None
    low = max(float(low), 0.0)

    def rate(k: Steps) -> Rates:
        return low + (top - low) * 0.5 * (1.0 + np.cos(np.pi * np.clip((k - begin) / (ends - begin), 0.0, 1.0)))

    return Shape("cosine", rate, 3 if floor is None else 2, float(ends), low)


def cosine_misfits(
    x: Steps, y: Rates, begin: float, ends: Float[np.ndarray, " end"], floor: float | None = None
) -> Float[np.ndarray, " end"]:
    """Mean squared misfit of the half cosine to each end, as `cosine` would fit it; infinite where it has none."""
    bend = 0.5 * (1.0 + np.cos(np.pi * np.clip((x - begin) / (ends - begin)[:, None], 0.0, 1.0)))
    if floor is not None:
        mixed = floor + (1.0 - floor) * bend
        top = mixed @ y / np.maximum((mixed**2).sum(axis=1), TINY)
        return ((top[:, None] * mixed - y) ** 2).mean(axis=1)
    # The line y = low + slope * bend, by its moments.
    middle, level = bend.mean(axis=1, keepdims=True), y.mean()
    spread = ((bend - middle) ** 2).sum(axis=1)
    slope = (bend - middle) @ (y - level) / np.maximum(spread, 1e-30)
    low = level - slope * middle[:, 0]
    squares = ((low[:, None] + slope[:, None] * bend - y) ** 2).mean(axis=1)
    top = low + slope
    return np.where((low >= -0.02) & (low <= 0.98 * top), squares, np.inf)


def decay_after_plateau(x: Steps, y: Rates, total: int | None) -> list[Shape]:
    """WSD, warm-up, stable, decay: every form that the decay after a plateau may have."""
    fallen = np.flatnonzero(y < PLATEAU)
    flat = int(fallen[0]) if len(fallen) else len(y)
    seen = x[flat:]
    if flat < LEAST_ENTRIES or len(seen) < LEAST_FALLEN or x[flat - 1] - x[0] < LEAST_PLATEAU * (x[-1] - x[0]):
        return []
    low, high = float(x[np.flatnonzero(y >= HIGH)[-1]]), float(x[flat])
    top = float(y[:flat].mean())
    share = np.clip(y[flat:] / top, 0.0, 1.0)
    found = [_wsd(*fitted, top, (low, high), total) for fitted in _straightened(seen, share)]
    found += _wsd_cosines(x, y / top, top, (low, high), total)
    return [one for one in found if one is not None]


def _straightened(x: Steps, share: Rates) -> list[tuple[str, float, float]]:
    """Decays that are straight lines in another coordinate: its name, and the line's slope and level."""
    is_down = share > share.min() * (1.0 + 1e-6)  # a floor that is reached bends the line
    if is_down.sum() < LEAST_FALLEN:
        is_down[:] = True
    x, share = x[is_down], share[is_down]
    lines = [("linear", 1.0 - share), ("sqrt", (1.0 - share) ** 2)]
    if np.all(share > 0):
        lines.append(("exponential", -np.log(share)))
    return [(name, *np.polyfit(x, line, 1)) for name, line in lines]


def _wsd(
    name: str, slope: float, level: float, top: float, corner: tuple[float, float], total: int | None
) -> Shape | None:
    if slope <= 0:
        return None
    begins = float(np.clip(-level / slope, *corner))
    back = {"linear": lambda z: 1.0 - z, "sqrt": lambda z: 1.0 - np.sqrt(z), "exponential": lambda z: np.exp(-z)}[name]
    # An exponential decay has no end of its own; the others are taken to end at 0 where no total says it.
    ends = None if name == "exponential" else begins + 1.0 / slope
    end = None if ends is None else 0.0
    if total is not None and (ends is None or ends > total):
        ends, end = float(total), top * float(back(slope * max(total - begins, 0.0)))
    stop = np.inf if ends is None else ends

    def rate(k: Steps) -> Rates:
        return top * np.maximum(back(slope * np.clip(np.minimum(k, stop) - begins, 0.0, None)), 0.0)

    return Shape(f"WSD, {name} decay", rate, 4, ends, end, begins)


def _wsd_cosines(x: Steps, y: Rates, top: float, corner: tuple[float, float], total: int | None) -> list[Shape | None]:
    found: list[Shape | None] = []
    for begins in np.unique(np.linspace(*corner, 5)):
        seen = max(float(x[-1]) - begins, 1.0)
        grid = begins + seen * np.geomspace(0.25, 10.0, 200) if total is None else np.array([float(total)])
        best = float(grid[np.argmin(cosine_misfits(x, y, begins, grid))])
        made = cosine(x, y, begins, best) if best > begins else None
        if made is not None:
            ends, end = made.ends, (made.end or 0.0) * top
            found.append(Shape("WSD, cosine decay", _scaled(made.rate, top), 5, ends, end, begins))
    return found


def _scaled(rate: Callable[[Steps], Rates], factor: float) -> Callable[[Steps], Rates]:
    return lambda k: factor * rate(k)
