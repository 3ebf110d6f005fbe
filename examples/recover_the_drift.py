"""
Recover the drift from energies
===============================

The inverse problem: shell energies are measured at some times, and the velocity behind them is wanted. `recover` fits
v = -c(t) lambda^b to the energies and says where they determine it.

Here the energies come from a known drift, with noise, so that the answer can be checked.
"""

import matplotlib.pyplot as plt
import numpy as np

import eigenflow as ef
from eigenflow.transport import recover

c, b = 0.3, 1.6
problem = ef.TransportProblem(
    drift=ef.PowerDrift(c=c, b=b),
    dissipation=2.0,
    initial=lambda lam: lam**-0.4 * np.exp(-lam),
    domain=(1e-4, 10.0),
)
times = np.geomspace(0.05, 200.0, 25)
solution = ef.solve(problem, times, cells=120)

# Twenty shells, each of six cells, with five per cent of noise.
edges = solution.edges[::6]
rng = np.random.default_rng(0)
energies = solution.mass.reshape(len(times), -1, 6).sum(axis=2) * np.exp(0.05 * rng.standard_normal((len(times), 20)))

# The strength is known not to change here. Left alone, `recover` also tries one that varies in time.
found = recover(times, edges, energies, strength="constant")
print(f"b = {found.b:.3f}, 90 % interval [{found.b_interval[0]:.3f}, {found.b_interval[1]:.3f}], true {b}")
print(f"c = {found.c[0]:.3f}, 90 % interval [{found.c_low[0]:.3f}, {found.c_high[0]:.3f}], true {c}")
print(f"status: {found.status.value}")

# %%
# The band holds the whole velocity curve with 90 % probability. Shells that hold hardly any energy are left out.

shown = found.has_energy[0]
where = found.eigenvalues[shown]
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
true = -c * where ** (b - 1)
ax.fill_between(where, found.velocity_high[0, shown] / true, found.velocity_low[0, shown] / true, alpha=0.3)
ax.plot(where, found.velocity[0, shown] / true, label="recovered, with its 90 % band")
ax.axhline(1, color="k", linestyle=":", label="true")
ax.set(xscale="log", xlabel="eigenvalue λ [1 / time]", ylabel="velocity / true velocity")
ax.legend(frameon=False)

if __name__ == "__main__":
    plt.show()
