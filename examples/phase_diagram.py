"""
What will the loss do in the end?
=================================

The drift law v = -c(t) lambda^b decides how the loss falls at late times. Here c(t) falls as t^-p, and the initial
density is lambda^(s - 1). `phase_diagram` decides for whole grids of b and p; `classify` decides for one point and
gives its reason.
"""

# %%
# One point
# ---------
# Modes sink (c0 is positive) as lambda squared, at constant strength. On this line drift and dissipation scale
# alike, so the spectrum keeps its shape.

import matplotlib.pyplot as plt
import numpy as np

import eigenflow as ef
from eigenflow.transport import SelfSimilar, classify, phase_diagram

phase = classify(b=2.0, c0=0.5, p=0.0, s=0.7)
print(phase.regime.value)
print(f"loss exponent {phase.loss_exponent}")
print(phase.reason)

# %%
# The whole plane
# ---------------
# Left, modes sink. Right, they grow. The colour is the exponent of the loss: where it is 0 the loss stops falling,
# and where it is white the loss falls faster than any power.

b, p = np.linspace(0.2, 3.0, 141), np.linspace(-1.0, 2.0, 151)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
for ax, sign, title in ((axes[0], 1, "modes sink"), (axes[1], -1, "modes grow")):
    diagram = phase_diagram(b, p, sign=sign, s=0.7)
    exponent = np.ma.masked_invalid(diagram.loss_exponent.T)
    image = ax.pcolormesh(b, p, exponent, cmap="viridis", vmin=0.0, vmax=2.0)
    ax.plot(b, 2 - b, "w--", linewidth=1)
    ax.set(title=title, xlabel="drift exponent b", ylim=(-1, 2))
axes[0].set_ylabel("decay exponent p of c(t)")
figure.colorbar(image, ax=axes, label="loss exponent")

# %%
# On the dashed line
# ------------------
# There p = 2 - b, and the solution is self-similar: one profile serves all times when lambda is multiplied by t.
# `SelfSimilar` has that profile in closed form. The solver, started from the profile at t = 1, keeps to it.

law = SelfSimilar(b=2.0, c0=0.5, s=0.7)
problem = ef.TransportProblem(
    drift=law.drift, dissipation=law.dissipation, initial=lambda lam: law.density(lam, 1.0), domain=(1e-8, 2.0)
)
times = np.array([1.0, 10.0, 100.0])
solution = ef.solve(problem, times - 1.0, cells=240)
edges = solution.edges
widths, centres = np.diff(edges), np.sqrt(edges[1:] * edges[:-1])

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
for row, time in enumerate(times):
    density = solution.mass[row] / widths
    left.loglog(centres, density, label=f"t = {time:g}")
    right.loglog(centres * time, density * time**-law.height_exponent, label=f"t = {time:g}")
scaled = np.geomspace(1e-6, 1.99, 400)
right.loglog(scaled, law.profile(scaled), "k:", label="closed profile")
left.set(xlim=(1e-5, 3), ylim=(1e-3, 1e3), xlabel="λ", ylabel="energy density", title="as it is")
right.set(xlim=(1e-4, 3), ylim=(1e-3, 1e3), xlabel="λ t", ylabel="density × t^-h", title="one profile for all times")
left.legend(frameon=False)
right.legend(frameon=False)

miss = float(np.abs(solution.total / (law.loss_constant * times**-law.loss_exponent) - 1).max())
print(f"largest difference from the closed law of the loss: {miss:.1e}")

if __name__ == "__main__":
    plt.show()
