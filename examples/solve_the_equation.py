"""Solve the transport-dissipation equation at b = 2 and compare the loss with its closed form.

For the density lambda^(s - 1) without a cut-off, L(t) = (c t)^-s B(s, 2 / c - s).

Run:  python examples/solve_the_equation.py
"""

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
        print(f"t = {time:8.1f}   loss {total:.10f}   closed form {truth:.10f}")
    print(f"status: {solution.status}; {solution.reason}")
    return float(np.abs(solution.total / exact - 1).max())


if __name__ == "__main__":
    main()
