"""The transport tasks of the benchmarks, their exact answers, and how errors and seconds are measured.

The answers are independent of the package and of the peers: closed characteristics and scipy's adaptive
quadrature for T1, T1s and T2, global Chebyshev collocation with scipy's matrix exponential for T3 (degree 320,
which agrees with degree 256 to 2e-7).
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
from scipy.integrate import quad

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

    def departure(self, log_eigenvalue: float, t: float) -> float:
        """ln(lambda0) of what arrives at time t, inf above the pile-up front."""
        C = self.accumulated(t)
        if self.b == 1:
            return log_eigenvalue + C
        w = (self.b - 1) * C * math.exp((self.b - 1) * log_eigenvalue)
        return math.inf if w >= 1 else log_eigenvalue - math.log1p(-w) / (self.b - 1)

    def exponent(self, eigenvalue: float, t: float) -> float:
        """Integral of lambda along the path from `eigenvalue`; only what T1 and T2 need."""
        if self.b == 2:
            return math.log1p(self.c(t) * eigenvalue * t) / self.c(t)
        # T2: the integral of (1 + s/0.1)^-1/2 from 0 to t.
        return eigenvalue * 0.2 * (math.sqrt(1 + t / 0.1) - 1)


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
    edges = np.linspace(*ends, cells + 1)
    masses = np.zeros((len(TIMES), cells))
    for row, t in enumerate(TIMES):
        cuts = [min(max(task.departure(x, t), ends[0]), ends[1]) for x in edges]

        def density(x, t=t):
            eigenvalue = math.exp(x)
            cut = -1e-5 / eigenvalue - (eigenvalue / 10) ** 2
            return math.exp(0.5 * x + cut - task.exponent(eigenvalue, t))

        for cell in range(cells):
            low, high = cuts[cell], cuts[cell + 1]
            # Long departures are told where the density is.
            inner = [x for x in np.arange(-13.0, 5.0, 1.0) if low < x < high]
            if high > low:
                mass = quad(density, low, high, epsabs=1e-15, epsrel=1e-11, points=inner or None, limit=200)
                masses[row, cell] = mass[0]
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
