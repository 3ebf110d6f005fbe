"""Which mode became which: labels that survive rotation inside clusters, and the crossings that they saw.

A label follows its eigenvector, not its rank. Between two instants a new vector takes the label of the old one
that it overlaps most, all labels assigned at once ([@kuhn1955hungarian], on squared overlaps); inside a cluster, where
single vectors have no meaning, the best rotation onto the old vectors (orthogonal Procrustes,
[@schonemann1966procrustes]) says which label goes where.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from eigenflow.core.display import FieldsPrinted

__all__ = ["Crossing", "ModeIdentity", "continue_modes"]

# A mode continues an old one if at least half of its squared length lies on it (in its cluster, after rotation).
CONTINUES = 0.5


@dataclass(frozen=True)
class Crossing:
    """Two modes whose order by eigenvalue was swapped between two instants.

    At a real crossing both keep their eigenvectors; at an avoided one they exchange them on a scale of the gap
    over the drift, which an instant in between would show as rotation. Which of the two it was is a matter of the step.

    Attributes:
        rising: Label of the mode that is now above.
        falling: Label of the mode that is now below.
    """

    rising: int
    falling: int


@dataclass(frozen=True, repr=False)
class ModeIdentity(FieldsPrinted):
    """How the modes of one instant continue those of the one before.

    Attributes:
        labels: Label of each mode; a mode that continues none has a new one.
        overlaps: |<new, old>| with the vector that carried the label before, after the rotation; 0 for a new mode.
        rotation: Block diagonal over clusters; `rotation @ eigenvectors` is nearest to the old vectors, signs included.
        crossings: Pairs of modes that swapped their order.
        entered: Labels that were not among the modes before.
        left: Labels that are no longer among them.
    """

    labels: Int[Tensor, " modes"]
    overlaps: Float[Tensor, " modes"]
    rotation: Float[Tensor, "modes modes"]
    crossings: tuple[Crossing, ...]
    entered: tuple[int, ...]
    left: tuple[int, ...]


def first_identity(count: int, modes: int, dtype: torch.dtype = torch.float64) -> ModeIdentity:
    """Labels 0, 1, ... in the order of the eigenvalues, for `count` vectors of which `modes` are reported."""
    return ModeIdentity(
        labels=torch.arange(count),
        overlaps=torch.zeros(count, dtype=dtype),
        rotation=torch.eye(count, dtype=dtype),
        crossings=(),
        entered=tuple(range(modes)),
        left=(),
    )


def continue_modes(
    overlap: Float[Tensor, "new old"],
    labels: Int[Tensor, " old"],
    clusters: Int[Tensor, " new"],
    modes: int,
    next_label: int,
) -> ModeIdentity:
    """Carry labels from old vectors to new ones.

    Args:
        overlap: <new_i, old_j>, modes and guards of both.
        labels: Of the old vectors.
        clusters: Of the new vectors; guards each in one of their own, or as they are.
        modes: How many leading vectors are reported; the others are guards.
        next_label: First label that was never given.
    """
    overlap, clusters = overlap.cpu(), clusters.cpu()
    new, old = (torch.from_numpy(index) for index in linear_sum_assignment(overlap.square().numpy(), maximize=True))
    partner = torch.full((len(overlap),), -1)
    partner[new] = old
    rotation = _rotation(overlap, partner, clusters)
    turned = rotation @ overlap
    strength = turned[torch.arange(len(turned)), partner.clamp(min=0)].abs() * (partner >= 0)
    continues = strength.square() >= CONTINUES
    carried = torch.where(continues, labels[partner.clamp(min=0)], -1)
    fresh = torch.cumsum((~continues).long(), 0) - 1 + next_label
    found = torch.where(continues, carried, fresh)
    before, after = set(labels[:modes].tolist()), set(found[:modes].tolist())
    return ModeIdentity(
        labels=found,
        overlaps=torch.where(continues, strength, 0.0),
        rotation=rotation,
        crossings=_crossings(labels, found, modes),
        entered=tuple(sorted(after - before)),
        left=tuple(sorted(before - after)),
    )


def _rotation(overlap: Tensor, partner: Tensor, clusters: Tensor) -> Tensor:
    """Orthogonal Procrustes inside every cluster; for a single mode, its sign. Orders `partner` inside clusters."""
    # A single mode has a sign only.
    own = overlap[torch.arange(len(overlap)), partner.clamp(min=0)]
    rotation = torch.diag(torch.where((partner >= 0) & (own < 0), -1.0, 1.0).to(overlap))
    for label in torch.nonzero(torch.bincount(clusters) > 1)[:, 0]:
        members = torch.nonzero((clusters == label) & (partner >= 0))[:, 0]
        if len(members) == 0:
            continue
        partner[members] = partner[members].sort().values  # inside a cluster any order is as good: keep the old one
        left, _, right = torch.linalg.svd(overlap[members][:, partner[members]])
        rotation[members[:, None], members[None, :]] = (left @ right).T
    return rotation


def _crossings(before: Tensor, after: Tensor, modes: int) -> tuple[Crossing, ...]:
    """Pairs present at both instants whose order was swapped."""
    rank = {int(label): index for index, label in enumerate(before)}
    known = [(rank[int(label)], int(label)) for label in after[:modes] if int(label) in rank]
    return tuple(
        Crossing(rising=upper, falling=lower)
        for index, (old_upper, upper) in enumerate(known)
        for old_lower, lower in known[index + 1 :]
        if old_upper > old_lower
    )
