"""The transport law as a sum over every update: slow, and written without what the law itself uses."""

import numpy as np

from eigenflow.forecast.laws import History, TransportLaw
from eigenflow.forecast.laws.transport import NAMES

__all__ = ["summed_over_updates"]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


def summed_over_updates(theta: np.ndarray, h: History, reference: float, feedback: bool) -> np.ndarray:
    """The law of equations/loss_law.md#loss-law-form: kernel K integrated by adaptive quadrature over every update."""
    v = {name: float(p.to_value(x)) for name, p, x in zip(NAMES, TransportLaw.parameters, theta, strict=True)}
    w = h.rates / h.rates.max()
    offset = v["s0"] * reference
    clock = np.concatenate([[0.0], np.cumsum(w ** v["p"])])
    age = (offset + clock) / (offset + reference)
    tau = np.log(age) if v["alpha"] == 0 else (age ** v["alpha"] - 1) / v["alpha"]
    k, c = 1 + 1 / v["b"], v["b"] * v["r"]

    def integral(u0: np.ndarray, u1: np.ndarray) -> np.ndarray:
        # The kernel is a power of 1 + C u: quadrature in its logarithm.
        x0, x1 = np.log1p(c * u0), np.log1p(c * u1)
        x = 0.5 * (x1 + x0)[..., None] + 0.5 * (x1 - x0)[..., None] * NODES
        return 0.5 * (x1 - x0) * (np.exp((1 - k) * x) @ WEIGHTS) / c

    start = np.log(age[0]) if v["alpha"] == 0 else (age[0] ** v["alpha"] - 1) / v["alpha"]
    full = integral(np.array([0.0]), np.array([-start]))[0]
    noise = np.empty(len(h.steps))
    for i, s in enumerate(h.steps):
        noise[i] = (w[:s] ** v["q"] * integral(tau[s] - tau[1 : s + 1], tau[s] - tau[:s])).sum() / full
    bias = v["L_inf"] * (1 + v["A"] * age[h.steps] ** -v["a"])
    unit = bias if feedback else v["L_inf"] * (1 + v["A"])
    return bias + v["B"] * unit * noise
