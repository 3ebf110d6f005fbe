"""What every method is: its name, what it promises, which problems it takes, and one way to run it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from eigenflow.transport.flows.flow import AbstractFlow
from eigenflow.transport.flows.preparation import make_flow
from eigenflow.transport.problem import TransportProblem

__all__ = ["AbstractMethod", "Evolved", "Progress", "Task", "tell"]

# Takes the number of output times that are done, and of all.
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Evolved:
    """Masses, and where the rest came from and went; cumulative since t = 0.

    Attributes:
        initial: Mass at t = 0.
        mass: Shape (time, cell).
        dissipated: Lost to the dissipation rate; the other rows likewise, shape (time,).
        outflow_below: Gone through the lower end.
        outflow_above: Gone through the upper end.
        source: Gained from the source.
        error: Estimated error of `mass`, summed over cells.
        failure: What went wrong, or empty.
    """

    initial: float
    mass: Float[np.ndarray, "time cell"]
    dissipated: Float[np.ndarray, " time"]
    outflow_below: Float[np.ndarray, " time"]
    outflow_above: Float[np.ndarray, " time"]
    source: Float[np.ndarray, " time"]
    error: Float[np.ndarray, " time"]
    failure: str = ""


@dataclass(frozen=True)
class Task:
    """What a method is asked for.

    Attributes:
        problem: Already checked.
        times: Output times, increasing, not negative.
        log_edges: ln(lambda) at the cells' edges, evenly spaced.
        progress: Called with the number of output times done and of all.
        shared: What tasks of one batch have in common, such as exponentials; methods look there and add to it.
    """

    problem: TransportProblem
    times: Float[np.ndarray, " time"]
    log_edges: Float[np.ndarray, " edge"]
    progress: Progress | None = None
    shared: dict = field(default_factory=dict)

    @property
    def ends(self) -> tuple[float, float]:
        """ln(lambda) at the ends of the domain."""
        return float(self.log_edges[0]), float(self.log_edges[-1])

    @cached_property
    def flow(self) -> AbstractFlow | None:
        """Paths and exponents up to the last time, where the drift is a power law."""
        drift = self.problem.power_drift
        return None if drift is None else make_flow(drift, self.problem.dissipation, float(self.times[-1]))

    def tell(self, done: int) -> None:
        """Report progress."""
        tell(self.progress, done, len(self.times))


class AbstractMethod(ABC):
    """A method that knows which problems it solves, how well, and why it should be taken.

    Attributes:
        name: What it is called in `solve` and in a solution.
        advice: What to change where it was not accurate.
        residual_tolerance: Budget residual that it promises, as a share of the mass.
    """

    name: ClassVar[str]
    advice: ClassVar[str]
    residual_tolerance: ClassVar[float] = 1e-6

    @abstractmethod
    def refuses(self, problem: TransportProblem) -> str | None:
        """Say why it cannot solve a problem, to follow a colon; None if it can."""

    @abstractmethod
    def recommends(self, problem: TransportProblem) -> str | None:
        """Say why "auto" should take it for a problem that it does not refuse; None if others come first."""

    @abstractmethod
    def run(self, task: Task) -> Evolved:
        """Carry the initial state to all output times."""

    def allowed_error(self, problem: TransportProblem) -> float:
        """Estimated error up to which a solution counts as accurate, as a share of the mass."""
        return 1e-2


def tell(progress: Progress | None, done: int, total: int) -> None:
    """Call the user's progress function, if there is one."""
    if progress is not None:
        progress(done, total)
