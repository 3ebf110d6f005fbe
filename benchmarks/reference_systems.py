"""Do measurements find what is known of systems that are solved?

Networks in closed form are measured by a `Probe`; one-pass training and learning curves are held against formulas.
Writes the picture `docs/images/predictions_systems.png` as well.

Run:  OMP_NUM_THREADS=1 python benchmarks/reference_systems.py
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from _machine import write
from eigenflow.lab.exact import (
    AlignedLinearNetwork,
    BalancedLinearNetwork,
    KernelTeacherStudent,
    MaternKernel,
    PowerLawFeatures,
    ScalarHeadNet,
    SphereKernel,
    expected_one_pass,
    largest_one_pass_rate,
    simulate_one_pass,
)
from eigenflow.tangent import Probe

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURE = Path(__file__).parents[1] / "docs/images/predictions_systems.png"


def row(system: str, quantity: str, exact: float, measured: float, error: float | None = None) -> dict[str, object]:
    found = {"system": system, "quantity": quantity, "exact": exact, "measured": measured, "standard_error": error}
    print(found)
    return found


def worst(found: np.ndarray, exact: np.ndarray) -> int:
    return int(np.argmax(np.abs(np.asarray(found) - np.asarray(exact))))


def networks(axis: plt.Axes) -> list[dict[str, object]]:
    rows = []
    for layers in (2, 3):
        net = AlignedLinearNetwork(np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.01, 0.02, 0.005, 0.01]), layers)
        snapshot = Probe(*net.network(0.8, generator=torch.Generator().manual_seed(0)), loss="half_sum").measure(
            drift=True
        )
        exact = np.sort(net.operator(0.8).ravel())[::-1]
        place = worst(snapshot.eigenvalues.numpy(), exact)
        name = f"aligned, {layers} layers, t = .8"
        rows.append(row(name, "eigenvalue farthest off", exact[place], float(snapshot.eigenvalues[place])))
        total = float(net.operator_rates(0.8).sum())
        rows.append(row(name, "d Tr M / dt", total, float(snapshot.eigenvalue_rates.sum())))
    net = BalancedLinearNetwork.draw(np.random.default_rng(0).standard_normal((3, 4)), 5, 0.1, np.random.default_rng(1))
    times, fine, found = np.geomspace(0.05, 20, 14), np.geomspace(0.05, 20, 120), []
    for time in times:
        found.append(Probe(*net.network(float(time)), loss="half_sum").measure().eigenvalues.numpy())
    lines = np.array([net.at(float(time)).eigenvalues for time in fine])
    axis.loglog(fine, np.maximum(lines, 1e-9), color="0.6", lw=1)
    axis.loglog(times, np.array(found), "k.", ms=4)
    axis.set(
        xlabel="time",
        ylabel="eigenvalue of M",
        ylim=(1e-4, 20),
        title="Balanced linear network: lines exact, points measured",
    )
    now = net.at(1.0)
    snapshot = Probe(*net.network(1.0), loss="half_sum").measure(drift=True)
    place = worst(snapshot.eigenvalues.numpy(), now.eigenvalues)
    rows.append(
        row("balanced, t = 1", "eigenvalue farthest off", now.eigenvalues[place], float(snapshot.eigenvalues[place]))
    )
    place = worst(snapshot.eigenvalue_rates.numpy(), now.eigenvalue_rates)
    rows.append(
        row(
            "balanced, t = 1", "rate farthest off", now.eigenvalue_rates[place], float(snapshot.eigenvalue_rates[place])
        )
    )
    rows.append(
        row("balanced, t = 1", "norm of couplings", np.linalg.norm(now.couplings), float(snapshot.couplings.norm()))
    )
    head = ScalarHeadNet(modes=30)
    path = head.flow(np.array([5.0]))
    snapshot = Probe(*head.network(path.head[0], path.weights[0]), loss="half_sum").measure()
    exact = head.operator_eigenvalues(path.head[0], path.weights[0])
    rows.append(row("scalar head, t = 5", "first eigenvalue", exact[0], float(snapshot.eigenvalues[0])))
    model = PowerLawFeatures(0.8, 0.6, 200, 40)
    snapshot = Probe(*model.network(np.random.default_rng(0)), loss="half_sum").measure()
    drawn = model.draw(np.random.default_rng(0))
    rows.append(
        row("random features 200 x 40", "last eigenvalue", drawn.eigenvalues[-1], float(snapshot.eigenvalues[39]))
    )
    kernel = SphereKernel(2, True)
    angles = 2 * np.pi * torch.arange(16, dtype=torch.float64) / 16
    inputs = torch.stack([angles.cos(), angles.sin()], dim=1)
    targets = torch.zeros(16, 1, dtype=torch.float64)
    first = np.sort(kernel.sampled_eigenvalues(16))[::-1][0]
    draws = [
        float(
            Probe(kernel.network(20_000, torch.Generator().manual_seed(s)), inputs, targets, loss="half_mean")
            .measure()
            .eigenvalues[0]
        )
        for s in range(8)
    ]
    error = float(np.std(draws, ddof=1) / 8**0.5)
    rows.append(row("ReLU network, 20,000 units, 16 points", "first eigenvalue", first, float(np.mean(draws)), error))
    return rows


def training(axis: plt.Axes) -> list[dict[str, object]]:
    rows = []
    drawn = PowerLawFeatures(1.0, 0.7, 20_000, 1_000, noise=1e-3).draw(np.random.default_rng(0))
    steps, most = np.unique(np.geomspace(1, 30_000, 25).astype(int)), largest_one_pass_rate(drawn)
    for share, colour in ((0.1, "C0"), (0.6, "C1")):
        rate = share * most
        runs = simulate_one_pass(drawn, steps, rate, np.random.default_rng(1), runs=12)
        risk = expected_one_pass(drawn, steps, rate)
        axis.loglog(risk.times, risk.loss, color=colour, label=f"{share:g} of the largest rate")
        axis.errorbar(runs.times, runs.mean, 2 * runs.standard_error, fmt=".", color=colour, ms=4, lw=1)
        name = f"one-pass training 20,000 x 1,000, {share:g} of the largest rate"
        for place in (len(steps) // 2, -1):
            rows.append(
                row(
                    name,
                    f"loss after {steps[place]} samples",
                    risk.loss[place],
                    runs.mean[place],
                    runs.standard_error[place],
                )
            )
    axis.set(xlabel="time", ylabel="loss", title="One-pass training: lines expected, points 12 runs")
    axis.legend(frameon=False, fontsize=8)
    for teacher, student in ((0.5, 0.5), (1.5, 0.5), (2.5, 0.5), (1.5, 1.5)):
        for dimension in (1, 2):
            kernels = KernelTeacherStudent(MaternKernel(teacher), MaternKernel(student), dimension)
            beta, error = kernels.simulate([75, 150, 300, 600], 6, np.random.default_rng(0)).exponent
            name = f"kernel teacher {teacher:g}, student {student:g}, d = {dimension}"
            rows.append(row(name, "exponent of the test error", kernels.exponent, beta, error))
    return rows


def main() -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained")
    for axis in axes:
        axis.title.set_fontsize(9)
    rows = [*networks(axes[0]), *training(axes[1])]
    for axis in axes:
        axis.title.set_fontsize(9)
    figure.savefig(PICTURE, dpi=110)
    print(write("reference_systems", rows, "scipy"))


if __name__ == "__main__":
    main()
