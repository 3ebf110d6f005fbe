"""The solution of a transport problem, with its budget and what is known of its accuracy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from eigenflow.core.display import AbstractPrinted, Card, FieldsPrinted, figure, span
from eigenflow.core.errors import ArgumentError
from eigenflow.transport.problem import TransportProblem

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["Budget", "SolveStatus", "TransportSolution"]

# Share of the last total from which what lies below the domain is worth a line.
_NOTICED = 1e-3


class SolveStatus(Enum):
    """How a solve ended.

    CONVERGED: accurate, and all mass stayed in the domain. LEFT_DOMAIN: accurate, but mass went out
    through an end of the domain; see the budget. INACCURATE: the budget residual or the
    estimated error is larger than promised (1e-9 and 1e-6 of the mass in exact methods, 1e-6 and 1e-2 in
    others), or the integration stopped before the last time, and its last state is repeated.
    """

    CONVERGED = "converged"
    LEFT_DOMAIN = "left domain"
    INACCURATE = "inaccurate"


@dataclass(frozen=True, repr=False)
class Budget(FieldsPrinted):
    """Where the initial mass has gone by each output time, cumulative since t = 0.

    Attributes:
        initial: Mass at t = 0 in the domain.
        dissipated: Lost to the dissipation rate, shape (time,).
        outflow_below: Gone through the lower end of the domain, as much as was left on arrival
            there. For b < 1 this holds the modes on their way to zero, which decay no more.
        outflow_above: Gone through the upper end, for c < 0.
        source: Gained from the source, net; zero without one.
        residual: initial + source - total - dissipated - outflow. The terms are integrated
            separately. With the exact methods it measures the quadrature and the partition of the
            domain; with the others, which keep the books in the same steps, only their conservation.
    """

    initial: float
    dissipated: Float[np.ndarray, " time"]
    outflow_below: Float[np.ndarray, " time"]
    outflow_above: Float[np.ndarray, " time"]
    source: Float[np.ndarray, " time"]
    residual: Float[np.ndarray, " time"]

    @property
    def outflow(self) -> Float[np.ndarray, " time"]:
        """Mass gone through both ends of the domain, shape (time,)."""
        return self.outflow_below + self.outflow_above


@dataclass(frozen=True, repr=False)
class TransportSolution(AbstractPrinted):
    """Cell masses and totals at the output times.

    Attributes:
        problem: What was solved.
        times: Output times, shape (time,).
        edges: Cell edges, logarithmic over the domain, shape (cells + 1,).
        mass: Integral of g over each cell, shape (time, cell). Never negative, except with the method
            "lines", if the source is not. The method "exact" gives cells of which less than e^-5 is left to some ten
            digits of their own mass, down to 1e-300, unless paths under a c(t) fan out; others are good to `error`.
        total: Integral of g over the domain, shape (time,). For energy this is twice the loss.
        budget: Where the mass has gone.
        error: Estimated error of `mass`, summed over the cells, shape (time,); on the safe side for
            smooth data. For `CellMasses` it is what halving their resolution would change; for the
            methods other than "exact" it is what half the cells (and double steps) do change.
        status: See `SolveStatus`.
        method: Name of the method that was used.
        reason: Why that method.
        find_frontier: Computes `frontier`, which costs as much as a solve and is not always asked for.
    """

    problem: TransportProblem
    times: Float[np.ndarray, " time"]
    edges: Float[np.ndarray, " edge"]
    mass: Float[np.ndarray, "time cell"]
    total: Float[np.ndarray, " time"]
    budget: Budget
    error: Float[np.ndarray, " time"]
    status: SolveStatus
    method: str
    reason: str
    find_frontier: Callable[[], Float[np.ndarray, " time"]] = field(compare=False)

    @cached_property
    def frontier(self) -> Float[np.ndarray, " time"]:
        """Eigenvalue of the lowest mode that has lost the share 1 - 1/e of what it carried, shape (time,).

        It is where the exponent Q of the characteristic ending there is 1, in instantaneous lambda
        (equations/hypotheses.md#frontier-coordinates). Only paths inside the domain count: inf while none has lost that
        much (or none is left), 0 when all have. The source does not enter. For a drift that is no `PowerDrift` paths
        are followed numerically, and it is good to 1e-8 where the rate is smooth.
        """
        return self.find_frontier()

    def _card(self) -> Card:
        budget, learned = self.budget, self.frontier[-1]
        where = (
            "none, or no mode is left,"
            if np.isinf(learned)
            else "all learned"
            if learned == 0
            else figure(float(learned))
        )
        gone = f"dissipated {figure(float(budget.dissipated[-1]))}, outflow {figure(float(budget.outflow[-1]))}"
        rows = [
            ("status", self.status.value),
            ("method", self.method),
            ("reason", self.reason),
            ("time", span(self.times)),
            ("total", f"{span(self.total, 4)}, from {figure(budget.initial)} at t = 0"),
            ("frontier", f"{where} at the end"),
            ("gone", f"{gone}, gained from the source {figure(float(budget.source[-1]))}"),
            ("error", f"{figure(float(self.error.max()), 2)} estimated, of the masses, at worst"),
            ("residual", f"{figure(float(np.abs(budget.residual).max()), 2)} of the budget, at worst"),
        ]
        if self.missing_below > _NOTICED * self.total[-1]:
            rows.append(
                ("left out", f"below the domain up to {figure(self.missing_below, 2)}, if `initial` goes on there")
            )
        return Card(f"TransportSolution: {len(self.times)} times, {len(self.edges) - 1} cells", rows)

    def to_dataset(self) -> "xr.Dataset":
        """Put masses, totals, frontier and budget on the axes `time`, `cell` and `edge`, with units in the attributes.

        Status, method and reason are attributes. A frontier that no mode has reached is inf, as here.
        """
        from eigenflow.transport.dataset import solution_dataset

        return solution_dataset(self)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the mass per unit ln(lambda) at a few times, with the frontier as dots.

        Args:
            ax: Axes to draw into; None makes a new figure.

        Returns:
            The axes.
        """
        from eigenflow.plots.axes import axes_or_new
        from eigenflow.plots.transport import plot_density

        return plot_density(self.times, self.edges, self.mass, self.frontier, ax=axes_or_new(ax))

    @property
    def missing_below(self) -> float:
        """Mass at t = 0 below the domain, if a callable `initial` goes on there as the power law of its lowest e-fold.

        It counts as zero, and none of it is in `error`. Where it is not small beside the last `total`, a lower end of
        the domain changes what is found late: take one far below 1 / time. inf if the power law has no integral; 0 for
        masses, which end where they end.
        """
        initial, lowest = self.problem.initial, self.edges[0]
        if not callable(initial):
            return 0.0
        here, above = (float(x * initial(np.array([x]))[0]) for x in (lowest, lowest * np.e))
        if here <= 0.0:
            return 0.0
        slope = np.log(above / here) if above > 0.0 else 0.0
        return here / slope if slope > 0.0 else np.inf

    @property
    def density(self) -> Float[np.ndarray, "time cell"]:
        """Mean of g over each cell, mass per unit eigenvalue."""
        return self.mass / np.diff(self.edges)

    def moment(self, power: float | int) -> Float[np.ndarray, " time"]:
        """Integrate lambda^power g over the domain, g spread evenly in ln(lambda) inside each cell.

        Args:
            power: Any finite number; with 1 and an energy, half the rate at which it dissipates.

        Returns:
            Mass times eigenvalue^power, shape (time,); the error is of second order in the cells.
        """
        if not np.isfinite(power):
            raise ArgumentError(f"`power` must be a finite number, but is {power}. 0 gives the total.")
        width = np.diff(np.log(self.edges))
        half = 0.5 * power * width
        mean = np.sinh(half) / half if power else np.ones_like(half)
        return self.mass @ (mean * np.sqrt(self.edges[1:] * self.edges[:-1]) ** power)

    def quantile(self, share: float | int) -> Float[np.ndarray, " time"]:
        """Find the eigenvalue below which a share of the present mass lies.

        Unlike `frontier` it sees the source, and any drift: the frontier as a quantile of energy
        (equations/hypotheses.md#frontier-coordinates).

        Args:
            share: Between 0 and 1, for example 0.9.

        Returns:
            Eigenvalues, shape (time,), interpolated in ln(lambda) inside the cell; the lower end of the domain
            where no mass is left.
        """
        if not 0 < share < 1:
            raise ArgumentError(f"`share` must lie between 0 and 1, but is {share}. 0.5 is the median.")
        mass = np.maximum(self.mass, 0.0)
        cumulative = np.concatenate([np.zeros((len(mass), 1)), np.cumsum(mass, axis=1)], axis=1)
        target = share * cumulative[:, -1:]
        cell = np.clip((cumulative < target).sum(axis=1) - 1, 0, mass.shape[1] - 1)
        row = np.arange(len(mass))
        held = mass[row, cell]
        inside = np.where(held > 0, (target[:, 0] - cumulative[row, cell]) / np.where(held > 0, held, 1.0), 0.0)
        log_edges = np.log(self.edges)
        return np.exp(log_edges[cell] + inside * np.diff(log_edges)[cell])
