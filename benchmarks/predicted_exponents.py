"""Do exponents that a spectrum predicts stand beside those that computed losses show, and do their intervals hold?

Systems of known rules, several draws each. Of each draw the modes are looked at (a thousand of the
population, or those of 300 samples), exponents are predicted from them, and then the loss of this very draw is computed
and a line is fitted to it. What is asked is how far both are apart, and how often the fitted lies in the predicted
interval. Then controls: how often an interval holds the exponent that made the spectrum, and how often spectra without
a power law are refused.

Run:  python benchmarks/predicted_exponents.py        (about 15 minutes; --draws 1 for a look)
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from _machine import write
from eigenflow.lab.exact import ScalarHeadNet
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.exponents import (
    ExponentRange,
    PredictedExponents,
    compute_phase,
    flow_risk,
    largest_stable_rate,
    predict_exponents,
    sgd_risk,
    width_risk,
)
from eigenflow.theory.task_spectrum import TaskSpectrum
from eigenflow.transport.selfsimilar import classify

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "theory" / "exponents"))
from spectra import broken, drawn_energies, power, sampled_power, seen_by_samples

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "predictions_exponents.png"
MODES = 20_000  # of a draw's population
LOOKED_AT = 1000

COSTLY = ("compute", "data, simulated")  # drawn a third as often

Outcome = tuple[ExponentRange, float]


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Minus the slope of a line through logarithms."""
    return -float(np.polyfit(np.log(x), np.log(y), 1)[0])


def drawn_task(
    capacity: float, source: float, rng: np.random.Generator, modes: int = MODES
) -> tuple[TaskSpectrum, PredictedExponents]:
    """A population with a random target and a tail of means, and what its first thousand modes predict."""
    whole = TaskSpectrum.power_law(capacity, capacity * source + 1.0, modes=modes, tail=True)
    target = whole.target.copy()
    target[:modes] = drawn_energies(target[:modes], rng)
    task = TaskSpectrum(whole.eigenvalues, target, 0.0, whole.counts)
    return task, predict_exponents(task.eigenvalues[:LOOKED_AT], target[:LOOKED_AT])


def window(capacity: float) -> np.ndarray:
    """Times over which the frontier sweeps ranks 30 to 3000."""
    return np.geomspace(30.0**capacity, 3000.0**capacity, 25)


def flow(rng: np.random.Generator, capacity: float, source: float, rate: float | None = None) -> Outcome:
    """Gradient flow or descent."""
    task, found = drawn_task(capacity, source, rng)
    times = window(capacity)
    return found.lazy.time, slope(times, flow_risk(task, times, learning_rate=rate))


def noise(rng: np.random.Generator, capacity: float) -> Outcome:
    """One-pass SGD on a target that is learned at once: its own noise is left."""
    values = np.arange(1.0, MODES * 50 + 1.0) ** -capacity
    task = TaskSpectrum(values, drawn_energies(values**4.0 / np.arange(1.0, len(values) + 1.0), rng))
    found = predict_exponents(values[:LOOKED_AT], task.target[:LOOKED_AT], has_gradient_noise=True)
    steps = np.unique(np.geomspace(2**14, 2**18, 12).astype(np.int64))
    return found.lazy.time, slope(steps, sgd_risk(task, steps, learning_rate=0.1, batch=1).risk)


def width(rng: np.random.Generator, capacity: float, source: float) -> Outcome:
    """Random features, drawn: what they leave of the target at infinite time."""
    task, found = drawn_task(capacity, source, rng)
    shown = 4000
    root, target = np.sqrt(task.eigenvalues[:shown]), np.sqrt(task.target[:shown])
    beyond = float(task.target[shown:].sum())
    widths, left = np.array([24, 48, 96, 192, 384]), []
    for count in widths:
        draws = []
        for _ in range(3):
            A = root[:, None] * rng.standard_normal((shown, count))
            part = np.linalg.lstsq(A, target, rcond=None)[0]
            draws.append(float(((target - A @ part) ** 2).sum()) + beyond)
        left.append(np.mean(draws))
    return found.lazy.width, slope(widths, np.array(left))


def data(rng: np.random.Generator, capacity: float, source: float) -> Outcome:
    """Kernel regression without ridge, simulated; predicted from the modes of 300 samples."""
    values, squares = sampled_power(capacity, source, 300, rng)
    found = predict_exponents(values, squares, samples=300)
    shown, ranks = 3000, np.arange(1.0, 3001.0)
    eigenvalues = ranks**-capacity
    target = np.sqrt(ranks ** -(capacity * source + 1.0)) * rng.standard_normal(shown)
    samples, errors = np.array([25, 50, 100, 200, 400]), []
    for count in samples:
        runs = []
        for _ in range(3):
            features = rng.standard_normal((count, shown)) * np.sqrt(eigenvalues)
            labels = features @ (target / np.sqrt(eigenvalues))
            weights = features.T @ np.linalg.solve(features @ features.T, labels)
            runs.append(float(((np.sqrt(eigenvalues) * weights - target) ** 2).sum()))
        errors.append(np.mean(runs))
    return found.lazy.data, slope(samples, np.array(errors))


def data_by_formula(rng: np.random.Generator, capacity: float, source: float) -> Outcome:
    """The same by the deterministic equivalent at 1e3 to 1e5 samples; predicted from a thousand modes."""
    task, found = drawn_task(capacity, source, rng)
    samples = np.geomspace(1e3, 1e5, 9)
    return found.lazy.data, slope(samples, random_features_risk(task, samples).risk.values)


def compute(rng: np.random.Generator, capacity: float, source: float) -> Outcome:
    """The best width at each compute, by the deterministic equivalent of flow on random features."""
    task, found = drawn_task(capacity, source, rng, 4000)
    budgets, best = np.geomspace(1e5, 1e7, 5), []
    for budget in budgets:
        widths = np.geomspace(budget**0.25, budget**0.8, 16).astype(int)
        best.append(min(float(width_risk(task, np.array([budget / w]), int(w)).risk[0]) for w in widths))
    return found.lazy.compute, slope(budgets, np.array(best))


def stochastic_compute(rng: np.random.Generator, alpha: float, beta: float) -> Outcome:
    """One-pass SGD on drawn features: the best width at each compute; predicted by its phase from the modes."""
    ranks = np.arange(1.0, 2001.0)
    root, target = ranks**-alpha, ranks ** -(alpha + beta)
    found = predict_exponents(root**2, drawn_energies(target**2, rng), window=(1, 1000), has_gradient_noise=True)
    widths, budgets = np.round(2 ** np.arange(3.0, 8.51, 0.5)).astype(int), np.logspace(3.5, 6.25, 12)
    losses = np.empty((len(widths), len(budgets)))
    for row, count in enumerate(widths):
        steps, total = np.unique((budgets / count).astype(np.int64)), 0.0
        for _ in range(3):
            A = root[:, None] * rng.standard_normal((len(ranks), count)) / np.sqrt(count)
            values, vectors = np.linalg.eigh(A.T @ A)
            values, vectors = values[::-1], vectors[:, ::-1]
            energies = (vectors.T @ (A.T @ target)) ** 2 / values
            outside = float(target @ target - energies.sum())
            task = TaskSpectrum(values, energies, noise=outside)
            curve = sgd_risk(task, steps, learning_rate=0.5 * largest_stable_rate(task, 1), batch=1)
            total = total + np.log(curve.risk + outside)
        losses[row] = np.interp(np.log(budgets / count), np.log(steps), total / 3)
    best = []
    for column in losses.T:
        least = int(np.clip(column.argmin(), 2, len(widths) - 3))
        near = slice(least - 2, least + 3)
        fit = np.polyfit(np.log(widths[near]), column[near], 2)
        best.append(np.exp(np.polyval(fit, -fit[1] / 2 / fit[0])))
    return found.lazy.compute, slope(budgets, np.array(best))


def rich(rng: np.random.Generator, capacity: float, source: float) -> Outcome:
    """The scalar-head network, a kernel that grows with what is learned."""
    net = ScalarHeadNet(decay=capacity, source=source, head=0.1, modes=60_000)
    means = net.variances * net.target**2
    found = predict_exponents(net.variances[:LOOKED_AT], drawn_energies(means[:LOOKED_AT], rng))
    return found.rich.time, rich_slope(net)


@lru_cache
def rich_slope(net: ScalarHeadNet) -> float:
    """Of the network's loss; its target is the mean one."""
    times = np.geomspace(150, 1400, 12)
    return slope(times, net.flow(times, tolerance=1e-4).loss)


def moving(rng: np.random.Generator, b: float, c0: float, p: float, capacity: float, source: float) -> Outcome:
    """Eigenvalues that move by v = -c(t) lambda^b; predicted by the phase of (b, p) at the source that is seen."""
    task, found = drawn_task(capacity, source, rng)
    values = [classify(b, c0, p, s).loss_exponent for s in (found.source.value, found.source.lower, found.source.upper)]
    times, start = np.geomspace(1e4, 1e6, 15), task.eigenvalues
    losses = [float(np.exp(-2.0 * passed(start, b, c0, p, t)) @ task.target) for t in times]
    return ExponentRange(values[0], min(values), max(values)), slope(times, np.array(losses))


def passed(start: np.ndarray, b: float, c0: float, p: float, t: float) -> np.ndarray:
    """Integral of lambda along the path: closed forms of equations/solutions.md#closed-solutions."""
    if b == 1.0:  # c0 (1 + t)^-1
        rho = 1.0 - c0
        return start * ((1.0 + t) ** rho - 1.0) / rho
    if b == 2.0 and p == 0.0:
        if c0 > 0:
            return np.log1p(c0 * start * t) / c0
        left = 1.0 + c0 * start * t
        return np.where(left > 0, np.log(np.maximum(left, 1e-300)) / c0, np.inf)
    assert p == 0.0
    power = start ** (1.0 - b) + (b - 1.0) * c0 * t
    ends = np.maximum(power, 1e-300) ** ((2.0 - b) / (1.0 - b))
    return np.where(power > 0, (start ** (2.0 - b) - ends) / (c0 * (2.0 - b)), np.inf)


SYSTEMS: list[tuple[str, str, Callable[[np.random.Generator], Outcome]]] = [
    ("flow", "1.5, 0.4", lambda rng: flow(rng, 1.5, 0.4)),
    ("flow", "2, 0.25", lambda rng: flow(rng, 2.0, 0.25)),
    ("flow", "1.2, 1", lambda rng: flow(rng, 1.2, 1.0)),
    ("flow", "1.5, 1.6", lambda rng: flow(rng, 1.5, 1.6)),
    ("gradient descent", "1.5, 0.4", lambda rng: flow(rng, 1.5, 0.4, 1.0)),
    ("SGD's own noise", "1.6, 3", lambda rng: noise(rng, 1.6)),
    ("width, drawn", "1.5, 0.4", lambda rng: width(rng, 1.5, 0.4)),
    ("width, drawn", "1.2, 2.5", lambda rng: width(rng, 1.2, 2.5)),
    ("data, simulated", "1.5, 0.4", lambda rng: data(rng, 1.5, 0.4)),
    ("data, simulated", "1.5, 1", lambda rng: data(rng, 1.5, 1.0)),
    ("data, formula", "1.5, 0.4", lambda rng: data_by_formula(rng, 1.5, 0.4)),
    ("compute, flow", "1.5, 0.4", lambda rng: compute(rng, 1.5, 0.4)),
    ("compute, flow", "1.5, 1.3", lambda rng: compute(rng, 1.5, 1.3)),
    ("compute, SGD (Ia)", "2, 0.8", lambda rng: stochastic_compute(rng, 1.0, 0.3)),
    ("compute, SGD (II)", "2, 1.2", lambda rng: stochastic_compute(rng, 1.0, 0.7)),
    ("rich, scalar head", "1.5, 0.4", lambda rng: rich(rng, 1.5, 0.4)),
    ("rich, scalar head", "2, 0.25", lambda rng: rich(rng, 2.0, 0.25)),
    ("moving, b = 1, clock t^1.5", "1.5, 0.4", lambda rng: moving(rng, 1.0, -0.5, 1.0, 1.5, 0.4)),
    ("moving, b = 1, clock t^.5", "1.5, 0.4", lambda rng: moving(rng, 1.0, 0.5, 1.0, 1.5, 0.4)),
    ("moving, b = 2, sinking", "1.5, 0.6", lambda rng: moving(rng, 2.0, 0.5, 0.0, 1.5, 0.6)),
    ("moving, b = 2, growing", "1.5, 0.6", lambda rng: moving(rng, 2.0, -0.5, 0.0, 1.5, 0.6)),
    ("moving, b = 2, front", "1.5, 0.6", lambda rng: moving(rng, 2.0, 5.0, 0.0, 1.5, 0.6)),
    ("moving, b = 1.5, escape", "1.5, 0.6", lambda rng: moving(rng, 1.5, -0.5, 0.0, 1.5, 0.6)),
]


def measure(most: int) -> list[dict[str, Any]]:
    rows = []
    for name, exponents, run in SYSTEMS:
        start, draws = time.process_time(), max(1, most // 3) if name.startswith(COSTLY) else most
        found = [run(np.random.default_rng(seed)) for seed in range(draws)]
        predicted = np.array([(r.value, r.half_width) for r, _ in found])
        fitted = np.array([value for _, value in found])
        inside = float(np.mean([r.holds(value) for r, value in found]))
        rows.append(
            {
                "system": name,
                "capacity, source": exponents,
                "predicted": float(predicted[:, 0].mean()),
                "half_width": float(predicted[:, 1].mean()),
                "fitted": float(fitted.mean()),
                "fitted_spread": float(fitted.std()),
                "inside": inside,
                "draws": draws,
                "cpu_s": time.process_time() - start,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def controls(draws: int) -> list[dict[str, Any]]:
    """Coverage of both intervals and how often a power law is refused, over spectra with and without one."""
    rows = []
    for truth in ((1.5, 0.4), (1.2, 1.0), (2.0, 0.25), (1.5, 1.6)):
        for modes in (100, 300, 1000, 2000):
            makes = [power(*truth, modes, np.random.default_rng(seed)) for seed in range(draws * 10)]
            rows.append(judged(f"{modes} modes", truth, makes, None))
        for samples in (100, 300):
            makes = [sampled_power(*truth, samples, np.random.default_rng(seed)) for seed in range(draws * 3)]
            rows.append(judged(f"{samples} samples", truth, makes, samples))
    ranks = np.arange(1.0, 3001.0)
    without = {
        "exp(-3 k^.3)": (np.exp(-3 * (ranks**0.3 - 1)), ranks**-1.6),
        "exp(-k^.5)": (np.exp(-(ranks**0.5)), ranks**-1.6),
        "lognormal": (np.exp(-0.25 * np.log(ranks) ** 2), ranks**-1.6),
        "kink 1.2 to 2 at n / 12": (None, ranks**-1.6),
        "energies' kink 1.2 to 3 at n / 12": (ranks**-1.5, None),
        "energies exp(-k^.4)": (ranks**-1.5, np.exp(-(ranks**0.4))),
    }
    for name, (values, means) in without.items():
        for count in (150, 400, 1000):
            kink = count / 12
            v = broken(ranks, kink, 1.2, 2.0) if values is None else values
            m = broken(ranks, kink, 1.2, 3.0) if means is None else means
            rng = np.random.default_rng(0)
            makes = [(v[:count], drawn_energies(m[:count], rng)) for _ in range(draws * 4)]
            rows.append(judged(f"{name}, {count} modes", None, makes, None))
            if count < 1000:
                makes = [seen_by_samples(v, m, count, rng) for _ in range(draws)]
                rows.append(judged(f"{name}, {count} samples", None, makes, count))
    return rows


def judged(name: str, truth: tuple[float, float] | None, makes: list[Any], samples: int | None) -> dict[str, Any]:
    found = [predict_exponents(*modes, samples=samples) for modes in makes]
    row: dict[str, Any] = {"spectrum": name, "truth": truth, "draws": len(found)}
    for word in ("power law", "undecided", "no power law"):
        row[word] = float(np.mean([each.status.value == word for each in found]))
    if truth is not None:
        row["capacity_held"] = float(np.mean([each.capacity.holds(truth[0]) for each in found]))
        row["source_held"] = float(np.mean([each.source.holds(truth[1]) for each in found]))
        row["source_half_width"] = float(np.mean([each.source.half_width for each in found]))
    print(row, file=sys.stderr)
    return row


def draw(rows: list[dict[str, Any]]) -> None:
    figure, ax = plt.subplots(figsize=(9, 4.5))
    kinds = ["flow", "gradient", "SGD's", "width", "data", "compute", "rich", "moving"]
    words = ["flow", "gradient descent", "SGD's own noise", "width", "data", "compute", "rich", "moving eigenvalues"]
    ax.plot([0.1, 2.1], [0.1, 2.1], color="0.6", lw=1, zorder=0)
    for place, (kind, word) in enumerate(zip(kinds, words, strict=True)):
        chosen = [row for row in rows if row["system"].startswith(kind)]
        ax.errorbar(
            [row["fitted"] for row in chosen],
            [row["predicted"] for row in chosen],
            xerr=[1.645 * row["fitted_spread"] for row in chosen],
            yerr=[row["half_width"] for row in chosen],
            fmt="osD^vP*X"[place],
            color=f"C{place}",
            label=word,
            ms=6,
            lw=1,
            capsize=2,
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = [0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        axis.set_minor_locator(plt.NullLocator())
    ax.set_xlabel("exponent fitted to the loss (mean of draws, 90 % of their spread)")
    ax.set_ylabel("exponent predicted from the modes (90 %)")
    ax.legend(frameon=False, ncols=2, fontsize=9)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10)
    draws = parser.parse_args().draws
    rows = measure(draws)
    draw(rows)
    phases = [{"alpha": a, "beta": b, "phase": compute_phase(a, b).phase, "loss": compute_phase(a, b).loss_exponent}
              for a, b in ((1.0, 0.3), (1.0, 0.7))]  # fmt: skip
    print(write("predicted_exponents", rows, controls=controls(draws), phases=phases))


if __name__ == "__main__":
    main()
