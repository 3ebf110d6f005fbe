"""The largest eigenpairs of an operator known by products: block Lanczos, certified.

Full reorthogonalisation, thick restarts [@wu2000thick], and a search for eigenvectors that have not come up.
Residuals do not see those: a basis may hold settled Ritz values on both sides of a gap while a third of the eigenvalues
above it is still outside. So a solve ends only when a fresh random direction, sent through the complement, lifts no
eigenvalue beyond its bound. A block finds eigenvalues up to its own size in multiplicity; when a cluster as large as
the block shows up, or the start was not random, that direction is followed further.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.errors import ArgumentError, ConvergenceError, ShapeError
from eigenflow.linalg.certificate import Accuracy, certified_pairs, certify
from eigenflow.linalg.operator import SymmetricOperator
from eigenflow.linalg.pairs import CertifiedPairs, SolveStats, SolveStatus
from eigenflow.linalg.subspace import Subspace

__all__ = ["block_eigenpairs", "solve_subspace"]

Progress = Callable[[int, int], None]
# Steps of a random direction through the complement: enough to see an eigenvalue that stands out there by half.
SEARCH_STEPS = 8
# Enough to see that the complement as a whole is larger than its bound.
LOOK_STEPS = 3


@torch.no_grad()
def block_eigenpairs(
    operator: SymmetricOperator,
    modes: int,
    *,
    tolerance: float = 1e-6,
    block: int = 4,
    start: Float[Tensor, "rows local"] | None = None,
    max_products: int | None = None,
    max_basis: int | None = None,
    generator: torch.Generator | None = None,
    require_converged: bool = False,
    progress: Progress | None = None,
) -> CertifiedPairs:
    """Compute the largest eigenpairs of a symmetric, positive semidefinite operator.

    Args:
        operator: M.
        modes: How many pairs.
        tolerance: Relative accuracy of the eigenvalues, as certified. Eigenvalues that are zero to rounding are
            converged when their bound is. Bounds hold as far as no eigenvector was missed: some eigenvalue lies within
            the residual in any case, but its rank is only as sure as the search for missed ones. Choose at most 0.03,
            and less than the spread of eigenvalues around the last mode; coarser ones stop before those have come up.
        block: Vectors in one operator call. Small blocks need fewer products, large ones use the machine better.
        start: Rows that span the start, for example old eigenvectors; None draws a random block.
        max_products: Stop after so many products (single vectors); None: 100 a mode.
        max_basis: Basis vectors to hold, each with its image: 16 bytes an entry. None: 4 a mode and 16 a block.
        generator: Of the random directions; None seeds one with 0.
        require_converged: Raise, rather than mark, if some pair has not reached the tolerance.
        progress: Called with (products made, pairs converged) at every check.

    Returns:
        Pairs with their certificates; those that did not converge are marked in `is_converged`.

    Raises:
        ArgumentError, ShapeError: For a size that is not possible.
        NonFiniteError: If a product is NaN or infinite.
        ConvergenceError: With `require_converged`, if the products ran out.
    """
    _, pairs = solve_subspace(
        operator,
        modes,
        tolerance=tolerance,
        block=block,
        start=start,
        max_products=max_products,
        max_basis=max_basis,
        generator=generator,
        progress=progress,
    )
    if require_converged and pairs.status is not SolveStatus.CONVERGED:
        missing = int((~pairs.is_converged).sum())
        raise ConvergenceError(
            f"{missing} of {modes} eigenpairs have not reached the relative tolerance {tolerance:g} after "
            f"{pairs.stats.products} products ({pairs.status.value}). Raise `max_products` or `max_basis`, make the "
            f"products in float64, ask for fewer `modes`, or loosen `tolerance`."
        )
    return pairs


@torch.no_grad()
def solve_subspace(
    operator: SymmetricOperator,
    modes: int,
    *,
    tolerance: float,
    block: int = 4,
    start: Float[Tensor, "rows local"] | None = None,
    max_products: int | None = None,
    max_basis: int | None = None,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> tuple[Subspace, CertifiedPairs]:
    """Build the subspace whose leading Ritz pairs `block_eigenpairs` returns, and certify them; arguments as there."""
    _check(operator, modes, tolerance, block, start, max_products)
    solve = _Solve(
        operator,
        modes,
        tolerance,
        min(block, operator.size),
        max_products=100 * modes if max_products is None else max_products,
        capacity=max(4 * modes + 16 * block if max_basis is None else max_basis, modes + 2 * block + SEARCH_STEPS),
        generator=torch.Generator().manual_seed(0) if generator is None else generator,
        progress=progress,
    )
    pairs = solve.run(None if start is None else start.to(torch.float64))
    return solve.subspace, pairs


class _Solve:
    """One solve: the basis, and the directions in which its images leave it."""

    def __init__(
        self,
        operator: SymmetricOperator,
        modes: int,
        tolerance: float,
        block: int,
        *,
        max_products: int,
        capacity: int,
        generator: torch.Generator,
        progress: Progress | None,
    ):
        self.space, self.modes, self.tolerance, self.block = operator.space, modes, tolerance, block
        self.max_products, self.generator, self.progress = max_products, generator, progress
        self.subspace = Subspace(operator, capacity)
        self.restarts = self.largest = 0
        self.leaving = self.space.draw(0, generator)

    @property
    def stats(self) -> SolveStats:
        """What the solve has cost so far."""
        return SolveStats(self.subspace.products, self.subspace.calls, self.restarts, self.largest)

    def run(self, start: Tensor | None) -> CertifiedPairs:
        """Iterate until the pairs are certified and nothing more is found, or products run out."""
        is_trusted, is_searched = start is None, False
        self._iterate(self._draw() if start is None else self.subspace.complement(start))
        while True:
            pairs = certified_pairs(self.subspace, self.modes, self.tolerance, self.stats)
            if self.subspace.count == self.space.size or self._is_out():
                return pairs
            if pairs.status is not SolveStatus.LIMIT_REACHED:
                if is_searched:
                    return pairs
                is_simple = is_trusted and int(torch.bincount(pairs.clusters).max()) < self.block
                is_trusted, is_searched = True, not self._search(pairs, LOOK_STEPS if is_simple else SEARCH_STEPS)
                if is_searched:
                    # What was searched for was not there, but what was seen of the complement may have raised its
                    # bound, so that pairs have to come nearer.
                    continue
            self._iterate(self.leaving)

    def _iterate(self, rows: Tensor) -> None:
        """Block Lanczos from `rows`, which contain all residuals, until the estimates converge."""
        if self.subspace.count == self.space.size:
            return
        self._make_room(len(rows))
        next_check = self.modes + 1
        while True:
            self.leaving, remainder = self.subspace.extend(rows)
            self.largest = max(self.largest, self.subspace.count)
            if self.subspace.count == self.space.size or self._is_out():
                return
            if self.subspace.count >= next_check:
                converged = self._estimate(len(rows), remainder)
                next_check = self.subspace.count + max(self.block, self.subspace.count // 16)
                if self.progress is not None:
                    self.progress(self.subspace.products, converged)
                if converged == self.modes:
                    return
            # No direction leaves: an invariant subspace is complete, and the rest has to be entered anew.
            rows = self.leaving if len(self.leaving) else self._draw()
            if self._make_room(len(rows)):
                next_check = self.subspace.count + self.block

    def _estimate(self, last: int, remainder: Tensor) -> int:
        """How many pairs would be certified, or are kept from it by rounding, from small matrices alone.

        The residual of a Ritz pair is its part of the last block's remainder.
        """
        accuracy = Accuracy(self.modes, self.tolerance, self.subspace.rounding, self.space.size)
        ritz = self.subspace.ritz()
        parts = (ritz.coefficients[:, -last:] @ remainder).cpu()
        values, residuals = ritz.values.cpu(), torch.linalg.vector_norm(parts, dim=1)
        cut, mu = accuracy.cut(values, residuals)
        leading, shift = values[: self.modes], (values[: self.modes] - mu).clamp(min=1e-300)
        lower = torch.minimum(residuals[: self.modes], residuals[: self.modes] ** 2 / shift)
        is_done = accuracy.is_reached(leading, lower) | accuracy.is_at_rounding(residuals[: self.modes], lower)
        converged = int(is_done.sum())
        if converged < self.modes:
            return converged
        certificate = certify(values[:cut], parts[:cut] @ parts[:cut].T, mu, accuracy)
        bounds = certificate.eigenvalue_bounds
        is_done = accuracy.is_reached(leading, bounds) | accuracy.is_at_rounding(residuals[: self.modes], bounds)
        return int(is_done.sum())

    def _search(self, pairs: CertifiedPairs, steps: int) -> bool:
        """Send one random direction through the complement. Returns whether an eigenvalue rose beyond its bound."""
        self._make_room(SEARCH_STEPS + self.block)
        leaving = self.leaving
        rows = self.subspace.complement(self.space.draw(1, self.generator))
        for _ in range(min(steps, self.subspace.room)):
            if len(rows) == 0:
                break
            rows, _ = self.subspace.extend(rows)
        self.largest = max(self.largest, self.subspace.count)
        self.leaving = self.subspace.complement(torch.cat([leaving, rows]))
        if len(self.leaving) == 0:
            self.leaving = self._draw()
        after = self.subspace.ritz().values[: self.modes]
        allowed = pairs.eigenvalue_bounds + 4.0 * self.subspace.rounding * self.space.size**0.5
        return bool((after - pairs.eigenvalues > allowed).any())

    def _make_room(self, needed: int) -> bool:
        if self.subspace.room >= min(needed, self.space.size - self.subspace.count):
            return False
        capacity = self.subspace.capacity
        self.subspace.shrink(min(self.modes + (capacity - self.modes - needed) // 2, capacity - needed))
        self.restarts += 1
        return True

    def _draw(self) -> Tensor:
        missing = self.space.size - self.subspace.count
        return self.subspace.complement(self.space.draw(min(self.block, missing), self.generator))

    def _is_out(self) -> bool:
        return self.subspace.products >= self.max_products and self.subspace.count >= self.modes


def _check(
    operator: SymmetricOperator,
    modes: int,
    tolerance: float,
    block: int,
    start: Tensor | None,
    max_products: int | None,
) -> None:
    if not 1 <= modes <= operator.size:
        raise ArgumentError(f"`modes` must lie in [1, {operator.size}], the operator's size, but is {modes}.")
    if not tolerance > 0:
        raise ArgumentError(f"`tolerance` must be a relative accuracy > 0, for example 1e-6, but is {tolerance}.")
    if block < 1:
        raise ArgumentError(f"`block` must be at least 1 vector, but is {block}.")
    if max_products is not None and max_products < modes:
        raise ArgumentError(f"`max_products` must be at least `modes`, {modes}, but is {max_products}.")
    if start is not None and (start.ndim != 2 or start.shape[1] != operator.space.local_size):
        raise ShapeError(
            f"`start` must hold vectors as rows, shape (rows, {operator.space.local_size}), but has shape "
            f"{tuple(start.shape)}."
        )
