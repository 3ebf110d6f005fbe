"""A law on many steps from its values at few: where it bends it is evaluated, in between it is interpolated.

A forecast of 100,000 steps costs a few hundred evaluations. Losses bend just after a change of the learning rate and
early in training, so nodes are graded towards both; on the way they are even.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import PchipInterpolator

from eigenflow.core.checks import check_whole
from eigenflow.forecast.laws.rate_path import NOISE_POWER, RatePath, rate_path

__all__ = ["forecast_nodes", "forecast_steps", "interpolated"]

# Fewer steps than this are evaluated one by one.
FEW = 1000
EVEN, EARLY = 160, 120
# A path of the schedule this coarse has its knots where the loss must have nodes.
COARSE = 2e-3
# A sudden change of the rate, or of its slope: by more than this many tolerances of the path.
SUDDEN = 12.0
# After it nodes are graded, from this share of the run on (noise relaxes over a few hundredths of it).
GRADED_FROM, AFTER_CHANGE, MOST_AFTER = 2e-4, 30, 360

Steps = Int[np.ndarray, " step"]


def forecast_steps(total: int, warmup: int, every: int, first: int | None) -> Steps:
    """The steps of a forecast: multiples of `every` from `first` (None: the end of warm-up) on, and the last one."""
    check_whole("every", every, 1, what="number of steps")
    begin = max(warmup if first is None else check_whole("first", first, 0, total), 1)
    steps = np.arange(-(-begin // every) * every, total + 1, every)
    return steps if len(steps) and steps[-1] == total else np.append(steps, total)


def forecast_nodes(rates: Float[np.ndarray, " update"], steps: Steps) -> Int[np.ndarray, " node"]:
    """Choose where to evaluate a law that is wanted at increasing `steps` of a run with these learning rates."""
    if len(steps) <= FEW:
        return steps
    first, last = int(steps[0]), int(steps[-1])
    path = rate_path(rates[:last] / rates[:last].max(), COARSE)
    changes = _sudden(path)
    count = min(AFTER_CHANGE, max(MOST_AFTER // max(len(changes), 1), 6))
    graded = np.concatenate([[0.0, 1.0, 2.0], np.geomspace(max(GRADED_FROM * last, 3.0), last, count)])
    found = [
        np.linspace(first, last, EVEN),
        np.geomspace(first, last, EARLY),
        (np.floor(path.positions)[:, None] + np.array([-1.0, 0.0, 1.0])).ravel(),
        0.5 * (path.positions[1:] + path.positions[:-1]),
        (changes[:, None] + graded).ravel(),
    ]
    nodes = np.unique(np.rint(np.concatenate(found)).astype(np.int64))
    return nodes[(nodes >= first) & (nodes <= last)]


def interpolated(
    nodes: Int[np.ndarray, " node"], values: Float[np.ndarray, " node"], steps: Steps
) -> Float[np.ndarray, " step"]:
    """Join values at nodes by monotone cubics."""
    if len(nodes) == len(steps):
        return values
    return PchipInterpolator(nodes, values)(steps)


def _sudden(path: RatePath) -> Float[np.ndarray, " change"]:
    """Positions of jumps, and of bends that are sharper than those of a smooth curve, the strongest first kept."""
    before, after = path.before**NOISE_POWER, path.after**NOISE_POWER
    lengths = np.diff(path.positions)
    slopes = (before[1:] - after[:-1]) / lengths
    reach = np.minimum(np.append(lengths, np.inf), np.insert(lengths, 0, np.inf))
    with np.errstate(invalid="ignore"):  # a path of one piece has no length on either side
        bends = np.abs(np.diff(np.concatenate([[0.0], slopes, [0.0]]))) * reach
    strength = np.maximum(np.abs(after - before), np.where(np.isfinite(bends), bends, 0.0))
    strongest = np.argsort(strength)[::-1][: MOST_AFTER // 6]
    return path.positions[strongest[strength[strongest] > SUDDEN * COARSE]]
