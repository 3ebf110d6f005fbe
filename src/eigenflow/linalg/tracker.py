"""Follows the largest eigenpairs of an operator that changes a little from one instant to the next.

One block Rayleigh-Ritz on the old vectors and guards makes eigenvalue errors of second order in the change; the
certificate says how large they are. The old vectors are first corrected by their images, which cost nothing more.
Where the certificate misses the tolerance, the directions in which the worst residuals leave the block are added, a
few at a time; those of the first guards where it is only they that leave room below the last mode. A warm start helps
as long as the change is small: to a tight tolerance a block needs more products than a cold Lanczos solve, so the
tracker goes cold, and says so, once it would.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from eigenflow.core.checks import check_number, check_whole
from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.linalg.certificate import certified_pairs
from eigenflow.linalg.identity import ModeIdentity, continue_modes, first_identity
from eigenflow.linalg.operator import SymmetricOperator
from eigenflow.linalg.outlook import Outlook, outlook
from eigenflow.linalg.pairs import CertifiedPairs, SolveStats, SolveStatus
from eigenflow.linalg.solver import solve_subspace
from eigenflow.linalg.subspace import RitzPairs, Subspace

__all__ = ["ModeTracker", "TrackedPairs"]

# A rotation of a wanted vector out of the old block by more than this is no small change.
LARGE_ANGLE = 0.5
# Gains of extensions are uneven: they are judged once this part of a cold solve's products has gone into them.
TRIED = 0.25
# As long as bounds miss the tolerance by more than this factor, extensions are wider by the other: larger blocks make
# cheaper products, and what they add is needed anyway.
FAR, WIDE = 3.0, 2
# What a state holds as tensors.
TENSORS = ("vectors", "corrected", "scouts", "labels")


@dataclass(frozen=True, repr=False)
class TrackedPairs(FieldsPrinted):
    """Eigenpairs at one instant and how they continue those of the instant before.

    Attributes:
        pairs: Eigenpairs with their certificates.
        identity: Labels, overlaps, crossings.
        is_cold: Whether the pairs were solved for from random directions.
        reason: Why the solve was cold, in words; empty if it was not.
    """

    pairs: CertifiedPairs
    identity: ModeIdentity
    is_cold: bool
    reason: str


@dataclass(frozen=True)
class _State:
    vectors: Tensor
    corrected: Tensor
    scouts: Tensor
    labels: Tensor
    next_label: int
    cold_products: int


class ModeTracker:
    """Tracks the largest eigenpairs of M(t) over instants that are close to each other.

    An update either completes or leaves the tracker as it was, so it may be interrupted and tried again.

    Args:
        modes: How many pairs to report.
        guards: Vectors kept behind them, so that pairs may enter from below and gaps to the rest are wide; None:
            a quarter as many as modes, at least 4.
        tolerance: Relative accuracy of the eigenvalues, as certified.
        depth: How many times at most the block is extended by directions of its residuals, each time by half as
            many vectors as there are guards (at least 4), or as many again while the tolerance is far, before the
            solve goes cold. It goes cold earlier once the gains so far say that this is cheaper.
            0: only the old vectors, whatever the accuracy; the pairs then say themselves how far they are off.
        scouts: Vectors that start at random outside the block and are multiplied by M at every instant, to see what
            rises there: what is larger than the guards comes into view after some instants.
        block: Block size of cold solves.
        generator: Of random directions; None seeds one with 0.

    Raises:
        ArgumentError: For a number out of range.
    """

    def __init__(
        self,
        modes: int,
        *,
        guards: int | None = None,
        tolerance: float = 1e-5,
        depth: int = 32,
        scouts: int = 1,
        block: int = 4,
        generator: torch.Generator | None = None,
    ):
        _check(modes, guards, tolerance, depth, scouts)
        self.modes = modes
        self.guards = max(4, modes // 4) if guards is None else guards
        self.tolerance, self.depth, self.scouts, self.block = tolerance, depth, scouts, block
        self.generator = torch.Generator().manual_seed(0) if generator is None else generator
        self._state: _State | None = None

    @property
    def labels(self) -> Int[Tensor, " vectors"] | None:
        """Labels of the modes and guards at the last instant, or None before the first."""
        return None if self._state is None else self._state.labels

    @torch.no_grad()
    def update(self, operator: SymmetricOperator) -> TrackedPairs:
        """Solve at the next instant.

        Args:
            operator: M, near the one of the last update (or anything, at the price of a cold solve).

        Returns:
            The pairs, certified, with their identity.

        Raises:
            ArgumentError: If the operator is smaller than the number of modes, or not of the size of the last one.
            NonFiniteError: If a product is NaN or infinite; the tracker's state stays as it was.
        """
        state = self._state
        if state is None:
            return self._cold(operator, None, "first instant", 0)
        if state.vectors.shape[1] != operator.space.local_size:
            raise ArgumentError(
                f"`operator` must have rows of {state.vectors.shape[1]} entries like the one before, but has "
                f"{operator.space.local_size}. Use a new ModeTracker for another probe set."
            )
        subspace, pairs, reason = self._warm(operator, state)
        if pairs is None:
            return self._cold(operator, state, reason, subspace.products)
        return self._finish(subspace, pairs, state, state.cold_products, reason)

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on later, as tensors by name (for safetensors); empty before the first instant."""
        if self._state is None:
            return {}
        state = self._state
        counts = torch.tensor([state.next_label, state.cold_products, self.modes, self.guards])
        tensors = {name: getattr(state, name) for name in TENSORS}
        random = {"generator": self.generator.get_state()}
        return {**{name: tensor.clone() for name, tensor in tensors.items()}, "counts": counts, **random}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned.

        Raises:
            ArgumentError: If the state is not one of a tracker with as many modes and guards.
        """
        if not state:
            self._state = None
            return
        missing = {*TENSORS, "counts"} - set(state)
        if missing:
            raise ArgumentError(f"`state` must be what ModeTracker.state() returned, but lacks {sorted(missing)}.")
        next_label, cold_products, modes, guards = (int(value) for value in state["counts"])
        if (modes, guards) != (self.modes, self.guards):
            raise ArgumentError(
                f"`state` is of a tracker with {modes} modes and {guards} guards, but this one has {self.modes} and "
                f"{self.guards}. Make the tracker with the same numbers."
            )
        tensors = {name: state[name].clone() for name in TENSORS}
        self._state = _State(**tensors, next_label=next_label, cold_products=cold_products)
        # Folders of older versions hold none.
        if "generator" in state:
            self.generator.set_state(state["generator"])

    def _warm(self, operator: SymmetricOperator, state: _State) -> tuple[Subspace, CertifiedPairs | None, str]:
        """Rayleigh-Ritz on the old vectors, deepened until certified, or why that failed."""
        count, step = len(state.vectors) + len(state.scouts), max(4, self.guards // 2)
        subspace = Subspace(operator, count + WIDE * self.depth * step)
        start = torch.cat([state.corrected, state.scouts])
        subspace.add(subspace.complement(start))
        first, depth, start_products = 0.0, 0, subspace.products
        while True:
            seen = outlook(subspace, self.modes, self.tolerance)
            if seen.may_be_reached or self.depth == 0:
                pairs = certified_pairs(subspace, self.modes, self.tolerance, self._stats(subspace))
                seen = seen.certified(pairs)
                is_at_rounding = pairs.status is SolveStatus.ROUNDING_REACHED and not seen.is_limited_by_guards
                if pairs.status is SolveStatus.CONVERGED or is_at_rounding or self.depth == 0:
                    return subspace, pairs, ""
            if seen.worst_angle > LARGE_ANGLE:
                return subspace, None, f"the operator has changed too much: residual / shift is {seen.worst_angle:.2g}"
            first = first or seen.excess
            is_far = seen.excess > FAR and not seen.is_limited_by_guards
            rows = self._worst_directions(subspace, seen, WIDE * step if is_far else step)
            spent = subspace.products - start_products
            is_judged = spent >= TRIED * state.cold_products
            is_lost = is_judged and _remaining(first, seen.excess, spent) > state.cold_products
            if depth == self.depth or len(rows) == 0 or is_lost:
                reason = f"{max(1, seen.missing)} pairs missed the tolerance after {subspace.products} products"
                return subspace, None, reason
            subspace.add(rows)
            depth += 1

    def _worst_directions(self, subspace: Subspace, seen: Outlook, count: int) -> Tensor:
        """Directions in which residuals leave the subspace: of the first guards, or by what they add to the bounds."""
        ritz, count = subspace.ritz(), min(count, subspace.room)
        if not seen.is_limited_by_guards:
            return subspace.complement(ritz.residual_rows(seen.worst_weights(count).to(ritz.values)))
        count = min(count, subspace.count - self.modes)
        return subspace.complement(ritz.residual_rows(torch.eye(count).to(ritz.values), first=self.modes))

    def _cold(self, operator: SymmetricOperator, state: _State | None, reason: str, spent: int) -> TrackedPairs:
        if self.modes > operator.size:
            raise ArgumentError(
                f"The tracker's `modes` must not exceed the operator's size, {operator.size}, but is {self.modes}."
            )
        subspace, pairs = solve_subspace(
            operator, self.modes, tolerance=self.tolerance, block=self.block, generator=self.generator
        )
        stats = replace(pairs.stats, products=pairs.stats.products + spent)
        return self._finish(subspace, replace(pairs, stats=stats), state, pairs.stats.products, reason)

    def _finish(
        self, subspace: Subspace, pairs: CertifiedPairs, state: _State | None, cold_products: int, reason: str
    ) -> TrackedPairs:
        """Carry the labels over, and only then replace the state."""
        ritz, count = subspace.ritz(), min(self.modes + self.guards, subspace.count)
        vectors = ritz.vectors(count)
        if state is None:
            identity, next_label = first_identity(count, self.modes), count
        else:
            overlap = subspace.space.inner(vectors, state.vectors)
            guards = int(pairs.clusters[-1]) + 1 + torch.arange(count - self.modes)
            clusters = torch.cat([pairs.clusters.cpu(), guards])
            identity = continue_modes(overlap, state.labels, clusters, self.modes, state.next_label)
            next_label = max(state.next_label, int(identity.labels.max()) + 1)
        rotation = identity.rotation.to(vectors)
        corrected = _corrected(ritz, count, rotation)
        vectors = rotation @ vectors
        scouts = self._next_scouts(subspace, state)
        self._state = _State(vectors, corrected, scouts, identity.labels, next_label, cold_products)
        return TrackedPairs(pairs, identity, bool(reason), reason)

    def _next_scouts(self, subspace: Subspace, state: _State | None) -> Tensor:
        """Images of the scouts outside the block, mixed with new random directions of a tenth of their length."""
        fresh = subspace.space.draw(self.scouts, self.generator)
        fresh /= subspace.space.size**0.5
        if state is None or self.scouts == 0 or len(state.scouts) != self.scouts:
            return fresh
        count = min(len(state.vectors), subspace.count)
        kept = subspace.ritz().vectors(count)
        # The scouts' images, from the products that were made: M s is near B^T (B M B^T) B s plus what left the basis.
        inside = subspace.space.inner(state.scouts, subspace.basis)
        images = inside @ subspace.images
        images -= subspace.space.inner(images, kept) @ kept
        lengths = subspace.space.inner(images, images).diagonal().clamp(min=0).sqrt()[:, None]
        return torch.where(lengths > 0, images / lengths.clamp(min=1e-300), fresh) + 0.1 * fresh

    @staticmethod
    def _stats(subspace: Subspace) -> SolveStats:
        return SolveStats(subspace.products, subspace.calls, 0, subspace.count)


def _corrected(ritz: RitzPairs, count: int, rotation: Tensor) -> Tensor:
    """Rotated Ritz vectors, most of what lies outside of their span taken out by the images that are there already.

    One step of a Chebyshev iteration of degree 1: a component along an eigenvalue x is multiplied by
    (x - c) / (theta - c), with c the middle between 0 and the smallest Ritz value given.
    """
    values = ritz.values[:count]
    centre = 0.5 * values[-1].clamp(min=0.0)
    distance = values - centre
    is_usable = distance > 1e-6 * values[0].abs()
    of_images = torch.where(is_usable, 1.0 / torch.where(is_usable, distance, 1.0), 0.0)
    of_vectors = torch.where(is_usable, -centre * of_images, 1.0)
    return torch.addmm((rotation * of_vectors) @ ritz.vectors(count), rotation * of_images, ritz.images(count))


def _remaining(first: float, now: float, spent: int) -> float:
    """Products still needed if they gain as much as those that were spent did on average."""
    gain = math.log(first / now) / max(spent, 1)
    return math.log(max(now, 1.0)) / gain if gain > 0 else math.inf


def _check(modes: int, guards: int | None, tolerance: float, depth: int, scouts: int) -> None:
    check_whole("modes", modes, 1, what="number of modes")
    if not check_number("tolerance", tolerance) > 0:
        raise ArgumentError(f"`tolerance` must be a relative accuracy > 0, for example 1e-5, but is {tolerance}.")
    for name, value in (("guards", guards), ("depth", depth), ("scouts", scouts)):
        if value is not None:
            check_whole(name, value, what="number of vectors")
