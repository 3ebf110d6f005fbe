"""
Solve the equation
==================

The equation has closed solutions for some drifts. At b = 2, for the density lambda^(s - 1) without a cut-off, the
energy, twice the loss, is (c t)^-s B(s, 2 / c - s), where B is Euler's beta function. This script solves the equation
and compares.

The picture shows how the density empties from the right: large eigenvalues are learned first.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import beta

import eigenflow as ef


def main() -> float:
    s, c = 0.7, 0.5
    problem = ef.TransportProblem(
        drift=ef.PowerDrift(c=c, b=2.0),
        dissipation=2.0,
        initial=lambda lam: lam ** (s - 1),
        domain=(1e-16, 1e8),
    )
    times = np.geomspace(1.0, 1e4, 9)
    solution = ef.solve(problem, times, cells=200)
    exact = (c * times) ** -s * beta(s, 2 / c - s)
    for time, total, truth in zip(times, solution.total, exact, strict=True):
        print(f"t = {time:8.1f}   energy {total:.10f}   closed form {truth:.10f}")
    print(f"status: {solution.status}; {solution.reason}")

    _, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    widths = np.diff(np.log(solution.edges))
    centres = np.sqrt(solution.edges[1:] * solution.edges[:-1])
    for row, time in list(enumerate(times))[::2]:
        left.loglog(centres, solution.mass[row] / widths, label=f"t = {time:g}")
    left.set(xlim=(1e-8, 10), ylim=(1e-7, 1), xlabel="eigenvalue λ [1 / time]", ylabel="energy per e-fold of λ")
    left.legend(frameon=False)
    right.loglog(times, exact, color="0.7", linewidth=5, label="closed form")
    right.loglog(times, solution.total, "o-", label="solved")
    right.set(xlabel="time", ylabel="energy: twice the loss")
    right.legend(frameon=False)
    return float(np.abs(solution.total / exact - 1).max())


if __name__ == "__main__":
    main()
    plt.show()
