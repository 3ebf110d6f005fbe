"""Lanczos recurrences from several starting rows at once, and the quadrature of a spectral measure.

For a symmetric M and a row v, the measure of v puts the mass <phi_u, v>^2 on every eigenvalue lambda_u. After m
steps of Lanczos its first 2m + 1 moments are known, and with them sharp bounds of the mass below any x: the Radau
rule with a node at x puts less than that mass below x, and not less up to x (Chebyshev, Markov, Stieltjes;
[@golub2010matrices], chapter 6). No sampling enters; the distance between the bounds is the Christoffel function at x.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.linalg.operator import AbstractRowSpace, SymmetricOperator

__all__ = ["KrylovBasis", "SpectralMeasure", "lanczos"]

# A step that keeps less than this part of the operator's size has reached an invariant subspace, up to rounding.
BREAKDOWN = 1e-13
# Largest node of a Radau rule, over the size of the operator, at which its masses keep 12 digits.
FAR = 1e4


@dataclass(frozen=True)
class SpectralMeasure:
    """The measure of one row, known by its recurrence coefficients.

    Attributes:
        diagonal: alpha of the Jacobi matrix, one per step.
        offdiagonal: beta behind each step; the last one is 0 if the measure is known completely.
        mass: Squared norm of the row.
    """

    diagonal: Float[np.ndarray, " steps"]
    offdiagonal: Float[np.ndarray, " steps"]
    mass: float

    @property
    def is_exact(self) -> bool:
        """Whether Lanczos ended by itself, so that the Gauss rule is the measure, up to rounding."""
        return bool(self.offdiagonal[-1] == 0.0)

    def gauss(self) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
        """Nodes in increasing order, and masses; exact for polynomials of degree 2 * steps - 1."""
        return _rule(self.diagonal, self.offdiagonal[:-1], self.mass)

    def below(self, points: Float[np.ndarray, " points"]) -> tuple[np.ndarray, np.ndarray]:
        """Bound the mass on eigenvalues < x.

        Args:
            points: The x, in the unit of the operator, in any order.

        Returns:
            Lower and upper bounds, each monotone in x. Their distance is 0 where the measure is exact.
        """
        nodes, masses = self.gauss()
        sums = np.concatenate([[0.0], np.cumsum(masses)])
        order = np.argsort(points)
        count = np.searchsorted(nodes, points[order], side="left")
        lower = upper = sums[count]
        if not self.is_exact and self.mass > 0:
            known = np.asarray(
                [self._radau(float(x), int(below)) for x, below in zip(points[order], count, strict=True)]
            )
            known = known.reshape(-1, 2).clip(0.0, self.mass)
            # What lies below a smaller x bounds what lies below x.
            lower = np.maximum.accumulate(known[:, 0])
            upper = np.minimum.accumulate(known[::-1, 1])[::-1]
        back = np.argsort(order)
        return lower[back], upper[back]

    def _radau(self, point: float, below: int) -> tuple[float, float]:
        """Masses below `point` and up to it, of the rule that has one more node, one of them there.

        Its nodes interlace those of Gauss, so as many (`below`) lie below the point.
        """
        if abs(last := self._last(point)) <= self._far:
            masses = _rule(np.append(self.diagonal, last), self.offdiagonal, self.mass)[1]
            return masses[:below].sum(), masses[: below + 1].sum()
        # The point is next to a Gauss node, and the other new node so far away that it would cost all digits of
        # the rest. Bounds at points a little aside hold here too.
        return self._radau_aside(point, -1)[0], self._radau_aside(point, +1)[1]

    def _radau_aside(self, point: float, sign: int) -> tuple[float, float]:
        nodes, _ = self.gauss()
        shift = 1e-6 * max(abs(point), 1e-6 * float(nodes[-1]))
        # A node is passed within a few doublings, and at the next the other new node is near again.
        while abs(last := self._last(point + sign * shift)) > self._far and shift < self._far:
            shift *= 2.0
        below = int(np.searchsorted(nodes, point + sign * shift))
        masses = _rule(np.append(self.diagonal, last), self.offdiagonal, self.mass)[1]
        return masses[:below].sum(), masses[: below + 1].sum()

    def _last(self, point: float) -> float:
        """The diagonal entry that gives the Jacobi matrix, one row larger, an eigenvalue at `point`."""
        pivot = self.diagonal[0] - point
        for alpha, beta in zip(self.diagonal[1:], self.offdiagonal[:-1], strict=True):
            pivot = alpha - point - beta**2 / _away_from_zero(pivot)
        return point + self.offdiagonal[-1] ** 2 / _away_from_zero(pivot)

    @property
    def _far(self) -> float:
        return FAR * float(np.abs(self.diagonal).max() + self.offdiagonal.max())


@dataclass(frozen=True)
class KrylovBasis:
    """Orthonormal rows V of a Lanczos run with V M V^T tridiagonal; V[0] is along the start.

    Attributes:
        vectors: V.
        measure: The measure of the start.
    """

    vectors: Float[Tensor, "steps local"]
    measure: SpectralMeasure

    def function(self, values: Float[np.ndarray, "steps functions"]) -> Float[Tensor, "functions local"]:
        """f(M) times the start, approximated by f(T), for functions given on `measure.gauss()` nodes.

        Args:
            values: f at each node (rows) for each function (columns).
        """
        _, coefficients = _eigen(self.measure.diagonal, self.measure.offdiagonal[:-1])
        weights = coefficients @ (coefficients[0][:, None] * values) * self.measure.mass**0.5
        return torch.from_numpy(weights.T.copy()).to(self.vectors) @ self.vectors


@torch.no_grad()
def lanczos(
    operator: SymmetricOperator,
    starts: Float[Tensor, "block local"],
    steps: int,
    *,
    deflate: Float[Tensor, "modes local"] | None = None,
) -> list[KrylovBasis]:
    """Run Lanczos from each start, with full reorthogonalisation; one block product a step.

    Args:
        operator: M.
        starts: Rows, each with a Krylov space of its own.
        steps: Most steps from each start; a run ends earlier when its space is invariant.
        deflate: Orthonormal rows Q to take out: the operator is then (I - Q'Q) M (I - Q'Q), and the starts
            are projected.

    Returns:
        One basis for each start. A start of norm 0 (after projection) has mass 0 and one node at 0.

    Raises:
        ArgumentError: If `steps` is below 1.
        ShapeError: If `starts` or `deflate` are not rows of the operator's space.
    """
    if steps < 1:
        raise ArgumentError(f"`steps` must be at least 1, but is {steps}.")
    space = operator.space
    against = starts[:0].to(torch.float64) if deflate is None else deflate.to(torch.float64)
    for name, rows in (("starts", starts), ("deflate", against)):
        if rows.ndim != 2 or rows.shape[1] != space.local_size:
            raise ShapeError(
                f"`{name}` must be rows of length {space.local_size}, but has shape {tuple(rows.shape)}. "
                f"For a single vector, pass vector[None]."
            )
    starts = starts.to(torch.float64)
    left = operator.size - len(against)
    capacity = max(1, min(steps, left))
    rows, whole = _project(space, starts, against), _norms(space, starts)
    runs = [_Run(space, row, against, float(norm), capacity) for row, norm in zip(rows, whole, strict=True)]
    while active := [run for run in runs if not run.is_done]:
        images = operator.product(torch.stack([run.last for run in active]))
        for run, image in zip(active, images, strict=True):
            run.advance(image)
    return [run.result(is_complete=steps >= left) for run in runs]


class _Run:
    """One recurrence."""

    def __init__(self, space: AbstractRowSpace, start: Tensor, against: Tensor, whole: float, capacity: int):
        self.space, self.against = space, against
        norm = float(_norms(space, start[None])[0])
        # What deflation leaves of a row inside the deflated space is rounding, not a direction.
        self.is_done = norm <= 1e-14 * whole
        self.mass = 0.0 if self.is_done else norm**2
        self.vectors = start.new_zeros(capacity, len(start))
        self.diagonal: list[float] = []
        self.offdiagonal: list[float] = []
        self.scale = 0.0
        if not self.is_done:
            self.vectors[0] = start / norm

    @property
    def last(self) -> Tensor:
        """The newest basis vector."""
        return self.vectors[len(self.diagonal)]

    def advance(self, image: Tensor) -> None:
        """Take M times the last vector and make the next one."""
        count = len(self.diagonal) + 1
        basis = self.vectors[:count]
        rest = _project(self.space, image[None], self.against)
        self.scale = max(self.scale, float(_norms(self.space, rest)[0]))
        for repeat in range(3):  # the first takes the recurrence out, twice more is enough
            components = self.space.inner(rest, basis)
            if repeat == 0:
                self.diagonal.append(float(components[0, -1]))
            rest = _project(self.space, rest - components @ basis, self.against)
        norm = float(_norms(self.space, rest)[0])
        is_invariant = norm <= BREAKDOWN * self.scale
        self.offdiagonal.append(0.0 if is_invariant else norm)
        self.is_done = is_invariant or count == len(self.vectors)
        if not self.is_done:
            self.vectors[count] = rest[0] / norm

    def result(self, is_complete: bool) -> KrylovBasis:
        """What was found; `is_complete` if there are no more dimensions than steps."""
        diagonal, offdiagonal = np.asarray(self.diagonal or [0.0]), np.asarray(self.offdiagonal or [0.0])
        if is_complete:
            offdiagonal[-1] = 0.0
        return KrylovBasis(self.vectors[: len(diagonal)], SpectralMeasure(diagonal, offdiagonal, self.mass))


def _project(space: AbstractRowSpace, rows: Tensor, against: Tensor) -> Tensor:
    if len(against) == 0:
        return rows
    for _ in range(2):
        rows = rows - space.inner(rows, against) @ against
    return rows


def _norms(space: AbstractRowSpace, rows: Tensor) -> Tensor:
    return torch.stack([space.inner(row[None], row[None])[0, 0] for row in rows]).clamp(min=0).sqrt()


def _away_from_zero(value: float) -> float:
    tiny = np.finfo(np.float64).tiny ** 0.5
    return value if abs(value) > tiny else tiny


def _rule(diagonal: np.ndarray, offdiagonal: np.ndarray, mass: float) -> tuple[np.ndarray, np.ndarray]:
    nodes, vectors = _eigen(diagonal, offdiagonal)
    squares = vectors[0] ** 2
    return nodes, mass * squares / squares.sum()


def _eigen(diagonal: np.ndarray, offdiagonal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(diagonal) == 1:
        return diagonal, np.ones((1, 1))
    nodes, vectors = eigh_tridiagonal(diagonal, offdiagonal)  # pyright: ignore[reportAssignmentType]
    return nodes, vectors
