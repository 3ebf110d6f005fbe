"""The transport tasks of the benchmarks, their exact answers, and how errors and seconds are measured.

The answers are independent of the package and of the peers: closed characteristics and Gauss-Legendre quadrature
of single cells for T1, T1s and T2, global Chebyshev collocation with scipy's matrix exponential for T3 (degree
320, which agrees with degree 256 to 2e-7).
"""

import functools
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eigenflow.transport import KernelSource, LogNormalKernel, PowerDrift, TransportProblem

# The oracle of the tests.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from transport.spectral import jump_masses

DOMAIN = (1e-6, 1e2)
TIMES = np.geomspace(1e-3, 1e4, 50)


def start(eigenvalues):
    """The initial density per unit eigenvalue."""
    return eigenvalues**-0.5 * np.exp(-1e-5 / eigenvalues - (eigenvalues / 10) ** 2)


@dataclass(frozen=True)
class Task:
    """v = -c(t) lambda^b with the dissipation rate lambda, and for T3 a kernel source."""

    name: str
    b: float
    c: Callable
    accumulated: Callable
    has_source: bool = False

    def departure(self, log_eigenvalues: np.ndarray, t: float) -> np.ndarray:
        """ln(lambda0) of what arrives at time t, inf above the pile-up front."""
        C = self.accumulated(t)
        if self.b == 1:
            return log_eigenvalues + C
        w = (self.b - 1) * C * np.exp((self.b - 1) * log_eigenvalues)
        return np.where(w >= 1, np.inf, log_eigenvalues - np.log1p(-np.minimum(w, 1 - 1e-16)) / (self.b - 1))

    def exponent(self, eigenvalues: np.ndarray | float, t: float) -> np.ndarray | float:
        """Integral of lambda along paths from `eigenvalues`; only what T1 and T2 need."""
        if self.b == 2:
            return np.log1p(self.c(t) * eigenvalues * t) / self.c(t)
        # For task T2, the integral of (1 + s/0.1)^-1/2 from 0 to t.
        return eigenvalues * 0.2 * (math.sqrt(1 + t / 0.1) - 1)


TASKS = {
    "T1": Task("T1", 2.0, lambda t: 0.5, lambda t: 0.5 * t),
    "T1s": Task("T1s", 2.0, lambda t: 1.0, lambda t: 1.0 * t),
    "T2": Task("T2", 1.0, lambda t: 5 / (1 + t / 0.1), lambda t: 0.5 * np.log1p(t / 0.1)),
    "T3": Task("T3", 1.5, lambda t: 0.02, lambda t: 0.02 * t, has_source=True),
}


def problem(name: str) -> TransportProblem:
    """Give a task as the package takes it."""
    task = TASKS[name]
    # The integral of c is given to Clawpack and PyMPDATA, too.
    drift = PowerDrift(task.c, task.b, task.accumulated) if name == "T2" else PowerDrift(task.c(0.0), task.b)
    source = KernelSource(0.5, LogNormalKernel(0.5)) if task.has_source else None
    return TransportProblem(drift, 1.0, start, DOMAIN, source)


@functools.cache
def exact(name: str, cells: int) -> np.ndarray:
    """Cell masses at all times, shape (time, cell)."""
    task = TASKS[name]
    if task.has_source:
        settings = {"c": task.c(0.0), "b": task.b, "rate": 0.5, "width": 0.5, "dissipation": 1.0}
        return jump_masses(start, DOMAIN, TIMES, cells, **settings)
    ends = np.log(DOMAIN)
    edges, mesh = np.linspace(*ends, cells + 1), np.arange(*ends, 0.1)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    masses = np.zeros((len(TIMES), cells))
    for row, t in enumerate(TIMES):
        cuts = np.clip(task.departure(edges, t), *ends)
        # Twenty nodes on a tenth of an e-fold resolve every factor of the integrand to roundings.
        points = np.unique(np.concatenate([cuts, mesh[(mesh > cuts[0]) & (mesh < cuts[-1])]]))
        half = 0.5 * np.diff(points)[:, None]
        x = points[:-1, None] + half * (1 + nodes)
        density = start(np.exp(x)) * np.exp(x - task.exponent(np.exp(x), t))
        cell = np.clip(np.searchsorted(cuts, points[:-1], side="right") - 1, 0, cells - 1)
        masses[row] = np.bincount(cell, (density * half) @ weights, cells)
    return masses


def errors(name: str, masses: np.ndarray) -> dict[str, float]:
    """e1, mean and largest over the outputs, and eL, of cell masses (time, cell)."""
    answer = exact(name, masses.shape[1])
    e1 = np.abs(masses - answer).sum(axis=1) / answer.sum(axis=1)
    loss = masses.sum(axis=1) / answer.sum(axis=1)
    return {"e1": float(e1.mean()), "e1_max": float(e1.max()), "eL": float(np.abs(loss - 1).max())}


def cpu_once(function: Callable) -> float:
    """User and system seconds of this process for one call."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, least and most of repeated seconds, and how many they are."""
    return {
        "cpu_s": statistics.median(seconds),
        "cpu_min_s": min(seconds),
        "cpu_max_s": max(seconds),
        "repeats": len(seconds),
    }


def cpu_seconds(function: Callable, repeats: int) -> dict[str, float]:
    """Seconds of several calls after a warm-up."""
    function()
    return spread([cpu_once(function) for _ in range(repeats)])
