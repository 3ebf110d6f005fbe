"""Jumps between modes that keep the mass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import as_strided
from scipy.special import ndtr

from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.transport.finite_volumes.cells import CellGrid
from eigenflow.transport.finite_volumes.propagator import MATRICES, Propagator
from eigenflow.transport.flows.paths import panel_rule
from eigenflow.transport.sources.calls import called, refuse_negative
from eigenflow.transport.sources.source import AbstractSource, Matrix, SourceStep

__all__ = ["KernelSource", "LogNormalKernel"]

Array = Float[np.ndarray, "..."]

CONSERVED = 1e-6
NARROWEST, WIDEST = 1e-9, 1e4
_TARGET_NODES = 6
_SPLITS = 4
# Negative entries up to this share of the largest are taken for zero.
_RINGING = 1e-9


@dataclass(frozen=True)
class LogNormalKernel:
    """Jumps by a Gaussian of fixed width in ln(lambda), cut at the ends of the domain.

    What would land outside the domain is spread over the inside in proportion, so that each
    departure keeps its mass.

    Attributes:
        width: Standard deviation in ln(lambda), positive.
    """

    width: float | int

    def __post_init__(self) -> None:
        if not NARROWEST <= self.width <= WIDEST:
            raise ArgumentError(
                f"`width` must be positive, in [{NARROWEST:g}, {WIDEST:g}], but is {self.width}. It is a standard "
                f"deviation in ln(lambda): a narrower kernel moves nothing, a wider one is even over any domain."
            )


@dataclass(frozen=True)
class KernelSource(AbstractSource):
    """S(lambda) = integral of K(lambda, lambda') a(lambda') g(lambda') dlambda' - a(lambda) g(lambda).

    Attributes:
        rate: a, jumps per time: a factor of lambda, or a function of an array of eigenvalues, >= 0.
        kernel: `LogNormalKernel`, or a function K(lambda, lambda_from) of two arrays of one shape:
            density of the arrivals per unit eigenvalue, >= 0, whose integral over the domain is 1
            for every departure. A kernel that misses this by more than 1e-6 is refused; one that
            meets it is scaled to keep the mass to all digits.
    """

    rate: float | int | Callable
    kernel: LogNormalKernel | Callable
    is_linear: ClassVar[bool] = True
    is_steppable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not callable(self.rate) and not (np.isfinite(self.rate) and self.rate >= 0):
            raise ArgumentError(
                f"`rate` must be a finite factor of lambda >= 0 or a function, but is {self.rate}. "
                f"Use 0.5 for the rate 0.5 lambda."
            )
        if not isinstance(self.kernel, LogNormalKernel) and not callable(self.kernel):
            raise ArgumentError(
                f"`kernel` must be a `LogNormalKernel` or a function, but is a {type(self.kernel).__name__}. "
                f"A matrix has no meaning here, for the cells are chosen later."
            )

    def matrix(self, grid: CellGrid) -> Matrix:
        """What arrives in each cell from each, less what leaves.

        Raises:
            ArgumentError: If a kernel does not keep the mass, or a rate is negative.
        """
        rate = self.rates(grid.nodes)
        arrivals = self.arrivals(grid.log_edges, grid.rule[0], grid.leaving(rate))
        return grid.assembled(arrivals) - grid.averaged(rate), np.zeros(grid.count)

    def step(self, grid: CellGrid, shared: dict) -> SourceStep:
        """Multiply by the exponential of a matrix with no negative entry off its diagonal: none is in the product."""
        within("entries", MATRICES * grid.count**2, f"The method 'positive' on {grid.count:,} cells")
        key = ("step", self, float(grid.log_edges[0]), float(grid.log_edges[-1]), grid.count)
        if key not in shared:
            matrix = self.matrix(grid)[0]
            shared[key] = Propagator(matrix, is_metzler=True), -float(np.diag(matrix).min())
        propagator, fastest = shared[key]
        return SourceStep(lambda masses, t, span: (propagator.carry(span, masses), 0.0), fastest, propagator.step)

    @property
    def leaving(self) -> float | None:
        """The rate, if it is a factor of lambda."""
        return None if callable(self.rate) else float(self.rate)

    def landing(self, grid: CellGrid, shared: dict) -> Float[np.ndarray, "cell cell"]:
        """What arrives in each cell from each."""
        within("entries", MATRICES * grid.count**2, f"The method 'positive' on {grid.count:,} cells")
        key = ("landing", self, float(grid.log_edges[0]), float(grid.log_edges[-1]), grid.count)
        if key not in shared:
            # A kernel narrower than cells rings where order is high; constant cells never do.
            for order in (grid.order, 1):
                cells = CellGrid(grid.log_edges, order)
                leaving = cells.leaving(self.rates(cells.nodes))
                arrivals = cells.assembled(self.arrivals(cells.log_edges, cells.rule[0], leaving))
                if arrivals.min() >= -_RINGING * arrivals.max():
                    break
            shared[key] = np.maximum(arrivals, 0.0)
        return shared[key]

    def rates(self, log_eigenvalues: Array) -> Array:
        """Evaluate a at ln(lambda), in 1 / time."""
        eigenvalues = np.exp(log_eigenvalues)
        if not callable(self.rate):
            return float(self.rate) * eigenvalues
        return refuse_negative("rate", called("rate", self.rate, eigenvalues), "Jumps leave, they cannot arrive less.")

    def shares(
        self, log_edges: Float[np.ndarray, " edge"], fractions: Float[np.ndarray, " node"]
    ) -> Float[np.ndarray, "target cell node"]:
        """Give which share of the jumps from points in cells lands in which cell.

        Args:
            log_edges: Edges of equal cells in ln(lambda).
            fractions: Where in each departure cell the points lie, in [0, 1].

        Returns:
            Shares >= 0 that add up to 1 over the targets.

        Raises:
            ArgumentError: If a callable kernel does not keep the mass.
        """
        if isinstance(self.kernel, LogNormalKernel):
            landed, sums = _gaussian_landings(log_edges, fractions, float(self.kernel.width))
            return _by_target(landed[:, None, :]) / sums
        raw = _integrated_shares(self.kernel, log_edges, fractions)
        _check_conserved(raw.sum(axis=0), log_edges, fractions)
        return raw / raw.sum(axis=0)

    def arrivals(
        self,
        log_edges: Float[np.ndarray, " edge"],
        fractions: Float[np.ndarray, " node"],
        leaving: Float[np.ndarray, "cell node part"],
    ) -> Float[np.ndarray, "target cell part"]:
        """Give what arrives in each cell of what leaves the nodes of each cell; see `shares`."""
        if not isinstance(self.kernel, LogNormalKernel):
            return np.einsum("ijq,jqp->ijp", self.shares(log_edges, fractions), leaving)
        landed, sums = _gaussian_landings(log_edges, fractions, float(self.kernel.width))
        count, nodes, parts = leaving.shape
        rows = (leaving / sums[:, :, None]).transpose(1, 0, 2).reshape(nodes, -1)
        return _by_target((landed @ rows).reshape(-1, count, parts))


def _gaussian_landings(log_edges: Array, fractions: Array, width: float) -> tuple[Array, Array]:
    """Give shares that jump by -n .. n - 1 cells, shape (2n, node), and what of each departure lands inside.

    Cells are equal, so shares depend on the number of cells alone that a jump passes.
    """
    count = len(log_edges) - 1
    step = (log_edges[-1] - log_edges[0]) / count
    passed = np.arange(-count, count + 1)[:, None] - fractions
    # Differences of the upper tail cancel on the far side, so both sides are measured from below.
    tail = ndtr(-np.abs(passed) * (step / width))
    both_below = passed[1:] <= 0
    straddle = (passed[:-1] < 0) & (passed[1:] > 0)
    difference = np.where(both_below, tail[1:] - tail[:-1], tail[:-1] - tail[1:])
    landed = np.where(straddle, 1.0 - tail[1:] - tail[:-1], difference)
    cumulative = np.concatenate([np.zeros((1, len(fractions))), np.cumsum(landed, axis=0)])
    cell = np.arange(count)
    return landed, cumulative[2 * count - cell] - cumulative[count - cell]


def _by_target(passed: Float[np.ndarray, "passed cell part"]) -> Float[np.ndarray, "target cell part"]:
    """View values of jumps from cell j by i - j cells as those that arrive in cell i, without a copy."""
    count = len(passed) // 2
    row, column, part = passed.strides
    shape = (count, count, passed.shape[2])
    return as_strided(passed[count:], shape, (row, (column if passed.shape[1] > 1 else 0) - row, part), writeable=False)


def _integrated_shares(kernel: Callable, log_edges: Array, fractions: Array) -> Array:
    nodes, weights = panel_rule(_TARGET_NODES)
    step = np.diff(log_edges)[0] / _SPLITS
    sub = log_edges[0] + step * np.arange(_SPLITS * (len(log_edges) - 1))
    x = (sub[:, None] + 0.5 * step * (1.0 + nodes)).reshape(len(log_edges) - 1, -1)
    spread = np.tile(0.5 * step * weights, _SPLITS) * np.exp(x)
    origin = np.exp(log_edges[:-1, None] + np.diff(log_edges)[:, None] * fractions)
    shares = np.empty((len(x), *origin.shape))
    for row in range(len(x)):
        values = called("kernel", kernel, np.exp(x[row])[:, None, None], origin[None])
        shares[row] = np.tensordot(spread[row], refuse_negative("kernel", values, "It is a density."), axes=1)
    return shares


def _check_conserved(sums: Array, log_edges: Array, fractions: Array) -> None:
    gap = np.abs(sums - 1.0)
    if gap.max() <= CONSERVED:
        return
    cell, node = np.unravel_index(int(gap.argmax()), gap.shape)
    width = float(log_edges[1] - log_edges[0])
    origin = float(np.exp(log_edges[cell] + width * fractions[node]))
    raise ArgumentError(
        f"`kernel` must keep the mass: its integral over the domain must be 1 for every departure, but is "
        f"{sums[cell, node]:.8g} from eigenvalue {origin:g}. Divide K(lambda, lambda_from) by its integral over "
        f"lambda in the domain (not over all lambda); a kernel narrower than a cell needs more `cells`."
    )
