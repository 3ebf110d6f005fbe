"""A law on many steps from its values at few: where it bends it is evaluated, in between it is interpolated.

A forecast of 100,000 steps costs a few hundred evaluations. Losses bend just after a change of the learning rate and
early in training, so nodes are graded towards both; on the way they are even.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import PchipInterpolator

__all__ = ["forecast_nodes", "interpolated"]

# Fewer steps than this are evaluated one by one.
FEW = 600
EVEN, EARLY, AFTER_CHANGE = 160, 60, 12
# A change of rate by this share of the peak, within one update, is one that the loss answers with a bend.
SUDDEN = 0.02
MOST_CHANGES = 20

Steps = Int[np.ndarray, " step"]


def forecast_nodes(rates: Float[np.ndarray, " update"], steps: Steps) -> Steps:
    """Choose where to evaluate a law that is wanted at increasing `steps` of a run with these learning rates."""
    if len(steps) <= FEW:
        return steps
    first, last = int(steps[0]), int(steps[-1])
    jumps = np.abs(np.diff(rates[:last])) / rates.max()
    changes = np.flatnonzero(jumps > SUDDEN) + 1
    if len(changes) > MOST_CHANGES:
        changes = changes[np.argsort(jumps[changes - 1])[-MOST_CHANGES:]]
    graded = np.unique(np.rint(np.geomspace(1, max(last - first, 2), AFTER_CHANGE)).astype(np.int64))
    nodes = np.concatenate(
        [
            np.linspace(first, last, EVEN),
            np.geomspace(first, last, EARLY),
            changes,
            (changes[:, None] + graded).ravel(),
            _bends(rates[:last]),
        ]
    )
    nodes = np.unique(np.rint(nodes).astype(np.int64))
    return nodes[(nodes >= first) & (nodes <= last)]


def interpolated(nodes: Steps, values: Float[np.ndarray, " node"], steps: Steps) -> Float[np.ndarray, " step"]:
    """Join values at nodes by monotone cubics."""
    if len(nodes) == len(steps):
        return values
    return PchipInterpolator(nodes, values)(steps)


def _bends(rates: Float[np.ndarray, " update"]) -> Float[np.ndarray, " node"]:
    """Steps where a decay begins or ends: the rate's slope (peak rates per run) changes by more than 1."""
    slope = np.diff(rates) / rates.max() * len(rates)
    turns = np.flatnonzero(np.abs(np.diff(slope)) > 1.0) + 1
    if len(turns) == 0 or len(turns) > MOST_CHANGES:
        return np.zeros(0)
    graded = np.rint(np.geomspace(1, len(rates) / 10, AFTER_CHANGE))
    return (turns[:, None] + np.concatenate([[0.0], graded])).ravel()
