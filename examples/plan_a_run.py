"""
Plan the next run
=================

From a table of finished runs to the next one. The law of this package and Chinchilla's approach 3 are fitted to the
same table. Both predict a larger run, and both say which size is best for a budget.

The runs are made up from a law whose limits of size and data meet sharply (gamma = 0.5), with a little scatter. So the
predictions can be compared with the truth.
"""

import matplotlib.pyplot as plt
import numpy as np

from eigenflow.scaling import allocate, fit_approach3, fit_scaling, make_table, predict_losses


def true_loss(size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return 1.75 + ((2.0e2 * size**-0.30) ** 2 + (2.4e3 * tokens**-0.36) ** 2) ** 0.5


def main() -> tuple[float, float]:
    rng = np.random.default_rng(0)
    size = np.repeat(np.geomspace(5e7, 2e9, 8), 6)
    tokens = size * np.tile(np.geomspace(5, 160, 6), 8)
    table = make_table(size, tokens, true_loss(size, tokens) * np.exp(0.003 * rng.normal(size=len(size))))

    budget, larger = 1e23, (np.array([2e10]), np.array([8e11]))
    errors = []
    _, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.plot(6 * size * tokens, table.loss, ".", color="0.7", label="finished runs")
    budgets = np.geomspace(1e19, 1e23, 30)
    for name, fit in (("frontier", fit_scaling(table)), ("approach 3", fit_approach3(table))):
        ahead, plan = predict_losses(fit, *larger), allocate(fit, np.array([budget]))
        errors.append(float(ahead.loss[0] - true_loss(*larger)[0]))
        print(f"{name:10}  {fit.status}; gamma {fit.constants['gamma']:.2f}")
        print(f"  2e10 parameters, 8e11 tokens: {ahead.loss[0]:.3f} [{ahead.lower[0]:.3f}, {ahead.upper[0]:.3f}]"
              f", true {true_loss(*larger)[0]:.3f}")  # fmt: skip
        print(
            f"  best size for {budget:g} FLOP: {plan.size[0]:.3g} [{plan.size_lower[0]:.3g}, {plan.size_upper[0]:.3g}]"
        )
        best = allocate(fit, budgets)
        left.plot(budgets, best.loss, label=f"best for the budget, {name}")
        right.fill_between(budgets, best.size_lower, best.size_upper, alpha=0.25)
        right.plot(budgets, best.size, label=name)
    left.plot(6 * larger[0] * larger[1], true_loss(*larger), "k*", markersize=10, label="the larger run, truth")
    left.set(xscale="log", xlabel="compute [FLOP]", ylabel="final loss [nats]")
    right.set(xscale="log", yscale="log", xlabel="compute [FLOP]", ylabel="best size [parameters], 90 %")
    left.legend(frameon=False)
    right.legend(frameon=False)
    return errors[0], errors[1]


if __name__ == "__main__":
    main()
    plt.show()
