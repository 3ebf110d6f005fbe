"""From a table of finished runs to the next one: fit, predict, allocate, and say how sure.

The runs are made up from a law whose size and data frontiers meet sharply (gamma = 0.5), with 0.3 % of scatter.

Run:  python examples/plan_a_run.py
"""

import numpy as np

from eigenflow.forecast.scaling.allocation import allocate
from eigenflow.forecast.scaling.fit import fit_approach3, fit_scaling
from eigenflow.forecast.scaling.prediction import predict_losses
from eigenflow.forecast.scaling.table import make_table


def true_loss(size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return 1.75 + ((2.0e2 * size**-0.30) ** 2 + (2.4e3 * tokens**-0.36) ** 2) ** 0.5


def main() -> tuple[float, float]:
    rng = np.random.default_rng(0)
    size = np.repeat(np.geomspace(5e7, 2e9, 8), 6)
    tokens = size * np.tile(np.geomspace(5, 160, 6), 8)
    table = make_table(size, tokens, true_loss(size, tokens) * np.exp(0.003 * rng.normal(size=len(size))))

    budget, larger = 1e23, (np.array([2e10]), np.array([8e11]))
    errors = []
    for name, fit in (("frontier", fit_scaling(table)), ("approach 3", fit_approach3(table))):
        ahead, plan = predict_losses(fit, *larger), allocate(fit, np.array([budget]))
        errors.append(float(ahead.loss[0] - true_loss(*larger)[0]))
        print(f"{name:10}  {fit.status}; gamma {fit.constants['gamma']:.2f}")
        print(f"  2e10 parameters, 8e11 tokens: {ahead.loss[0]:.3f} [{ahead.lower[0]:.3f}, {ahead.upper[0]:.3f}]"
              f", true {true_loss(*larger)[0]:.3f}")  # fmt: skip
        print(
            f"  best size for {budget:g} FLOP: {plan.size[0]:.3g} [{plan.size_lower[0]:.3g}, {plan.size_upper[0]:.3g}]"
        )
    return errors[0], errors[1]


if __name__ == "__main__":
    main()
