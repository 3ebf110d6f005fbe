"""
What the loss depends on
========================

`sensitivities` gives the exact derivatives of the loss by everything that determines it: the strength c of the drift,
its exponent b, the dissipation, and the initial energy at every eigenvalue. Nothing is differenced.
"""

import matplotlib.pyplot as plt
import numpy as np

import eigenflow as ef
from eigenflow.transport import sensitivities

problem = ef.TransportProblem(
    drift=ef.PowerDrift(c=0.5, b=2.0),
    dissipation=2.0,
    initial=lambda lam: lam**-0.3 * np.exp(-lam),
    domain=(1e-8, 50.0),
)
times = np.geomspace(0.01, 1e3, 40)
found = sensitivities(problem, times)

# %%
# Left: by how much the loss changes when one of the three changes by a factor e. Stronger dissipation lowers the loss.
# Stronger sinking raises it, because modes that sink are learned more slowly.
#
# Right: the share of energy, placed at an eigenvalue at the start, that is still there later.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
left.semilogx(times, 0.5 * found.c / found.total, label="strength c")
left.semilogx(times, 2.0 * found.b / found.total, label="exponent b")
left.semilogx(times, found.log_dissipation / found.total, label="dissipation")
left.axhline(0, color="0.7", linewidth=1)
left.set(xlabel="time", ylabel="d ln(loss) / d ln(parameter)")
left.legend(frameon=False)
for row in (8, 16, 24, 32):
    right.semilogx(found.eigenvalues, found.initial[row], label=f"t = {times[row]:.2g}")
right.set(xlabel="eigenvalue at the start", ylabel="share that remains")
right.legend(frameon=False)

# %%
# A check: solve again with c one per mille larger, and compare the change of the loss.

nearby = ef.TransportProblem(
    drift=ef.PowerDrift(c=0.5005, b=2.0), dissipation=2.0, initial=problem.initial, domain=problem.domain
)
change = ef.solve(nearby, times).total - ef.solve(problem, times).total
print(f"at t = {times[-1]:g}: change {change[-1]:.6e}, from the derivative {0.0005 * found.c[-1]:.6e}")

if __name__ == "__main__":
    plt.show()
