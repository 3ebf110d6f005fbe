"""Is double descent in time, and what a drift of eigenvalues does to its peaks, as predicted?

Predictions are means over samples by `finite_time_risk`, and `isotropic_noise` at the peak. What is measured are risks
of drawn inputs, exact in the noise of labels: eigenvalues of every draw decay by their own path. A network whose
eigenvectors turn stands beside: f = a w'x, trained on drawn samples.

Run:  python benchmarks/double_descent_transport.py [--draws 200]
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
from dataclasses import replace
from pathlib import Path
from time import process_time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

from _machine import write
from eigenflow.lab.exact import simulate_random_features
from eigenflow.theory.double_descent.in_time.finite_time import finite_time_risk
from eigenflow.theory.double_descent.in_time.gradient_flow import LeastSquaresFlow
from eigenflow.theory.double_descent.in_time.height import LAZY_HEIGHT, height_law, step_collapse
from eigenflow.theory.double_descent.in_time.marchenko_pastur import isotropic_noise
from eigenflow.theory.task_spectrum import TaskSpectrum
from eigenflow.transport import PowerDrift

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SAMPLES, NOISE = 400, 80.0
VARIANCES, COEFFICIENTS = np.repeat([1.0, 1e-4], 20), np.repeat([0.5, 60.0], 20)
TASK = TaskSpectrum(np.array([1.0, 1e-4]), np.array([5.0, 7.2]), NOISE, np.array([20.0, 20.0]))


def fast_clock(times: np.ndarray) -> np.ndarray:
    """tau of growth with b = 1 and strength -0.5 / (1 + t)."""
    return ((1.0 + times) ** 1.5 - 1.0) / 1.5


MOTIONS = {
    "at rest": {},
    "b = 1, growth": {"clock": fast_clock},
    "b = 1, arrest": {"drift": PowerDrift(0.01, 1.0)},
    "b = 1.5, arrest": {"drift": PowerDrift(0.5, 1.5)},
    "b = 3, growth": {"drift": PowerDrift(-0.5, 3.0)},
}
PEAKS = {
    "at rest": {},
    "b = 1, growth": {"clock": fast_clock},
    "b = 1.5, growth": {"drift": PowerDrift(-0.5, 1.5)},
    "b = 2, decay": {"drift": PowerDrift(0.5, 2.0)},
    "b = 1.5, arrest": {"drift": PowerDrift(0.5, 1.5)},
}
COLOURS = ("black", "tab:blue", "tab:red", "tab:green", "tab:purple")


def epochs(draws: int) -> dict:
    """Risk over time on the two-scale example, and its extrema."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((SAMPLES, 40)) * np.sqrt(VARIANCES) for _ in range(draws)]
    flows = [LeastSquaresFlow.of(X, COEFFICIENTS, covariance=VARIANCES, noise=NOISE) for X in inputs]
    times, fine = np.geomspace(0.02, 1e6, 48), np.geomspace(0.02, 1e6, 240)
    found = {}
    for name, motion in MOTIONS.items():
        moved = [replace(flow, motion=motion.get("clock", motion.get("drift"))) for flow in flows]
        risks = np.array([flow.risk(times).risk for flow in moved])
        mean, error = risks.mean(0), risks.std(0, ddof=1) / np.sqrt(draws)
        surface = finite_time_risk(TASK, SAMPLES, times, **motion)
        peaks = surface.peaks()
        off = surface.risk.values - mean
        found[name] = {
            "times": times.tolist(),
            "measured": mean.tolist(),
            "standard_error": error.tolist(),
            "predicted": surface.risk.values.tolist(),
            "curve": [fine.tolist(), surface.at(time=fine).risk.values.tolist()],
            "largest_relative_error": float(np.abs(off / mean).max()),
            "largest_error_in_standard_errors": float(np.abs(off / np.maximum(error, 1e-12)).max()),
            "maxima": peaks.table[["position", "height"]].values.tolist(),
            "minima": peaks.minima[["position", "risk"]].values.tolist(),
            "measured_extrema": extrema(moved, times),
            "end": float(surface.risk.values[-1]),
            "measured_end": [float(mean[-1]), float(error[-1])],
        }
        print(name, {key: value for key, value in found[name].items() if not isinstance(value, list) or len(value) < 9})
    return found


def extrema(flows: list[LeastSquaresFlow], times: np.ndarray) -> list[list[float]]:
    """Place, value and standard error of the extrema of the mean over draws, between 4,000 places in time."""
    fine = np.geomspace(times[0], times[-1], 4000)
    risks = np.array([flow.risk(fine).risk for flow in flows])
    mean = risks.mean(0)
    turns = np.flatnonzero(np.diff(np.sign(np.diff(mean))) != 0) + 1
    turns = [i for i in turns if abs(mean[i] - mean[-1]) > 1e-4]
    return [[float(fine[i]), float(mean[i]), float(risks[:, i].std(ddof=1) / np.sqrt(len(flows)))] for i in turns]


def scalar_head(draws: int, samples: int = 60, start: float = 0.3, noise: float = 0.5) -> list[dict]:
    """f = a w'x on drawn samples at its own tau = int a^2 dt, beside flow at rest at that tau."""
    tau, rng, rows = np.geomspace(1e-2, 1e4, 240), np.random.default_rng(1), []
    for ratio in (0.5, 0.75, 1.0, 1.33, 2.0):
        pairs = np.array([one_head(samples, round(ratio * samples), noise, start, tau, rng) for _ in range(draws)])
        lazy, net = pairs.mean(0)
        at_rest, moved = int(lazy.argmin()), int(net.argmin())
        best = pairs.min(2)
        rows.append(
            {
                "ratio": ratio,
                "tau": tau.tolist(),
                "at_rest": lazy.tolist(),
                "network": net.tolist(),
                "largest_log_ratio": float(np.abs(np.log(net / lazy)).max()),
                "minimum_ratio": float(net[moved] / lazy[at_rest]),
                "mean_ratio_of_own_minima": float((best[:, 1] / best[:, 0]).mean()),
                "tau_ratio": float(tau[moved] / tau[at_rest]),
                "end_ratio": float(net[-1] / lazy[-1]),
            }
        )
        print({key: value for key, value in rows[-1].items() if not isinstance(value, list)})
    return rows


def one_head(n: int, p: int, noise: float, start: float, tau: np.ndarray, rng: np.random.Generator) -> tuple:
    """Risks over tau at rest and of the network, in the singular vectors of one draw; target of norm 1."""
    X, target = rng.standard_normal((n, p)), rng.standard_normal(p)
    target /= np.linalg.norm(target)
    labels = X @ target + np.sqrt(noise) * rng.standard_normal(n)
    left, roots, right = np.linalg.svd(X / np.sqrt(n), full_matrices=False)
    rates, pull, aim = roots**2, roots * (left.T @ labels) / np.sqrt(n), right @ target

    def move(_: float, w: np.ndarray) -> np.ndarray:
        a = np.sqrt(start**2 + w @ w)  # a^2 - |w|^2 is conserved
        return (pull - a * rates * w) / a

    options = {"method": "LSODA", "rtol": 1e-8, "atol": 1e-10}
    weights = solve_ivp(move, (0.0, tau[-1]), np.zeros(len(rates)), t_eval=tau, **options).y.T
    head = np.sqrt(start**2 + (weights**2).sum(1))
    learned = [-np.expm1(-np.outer(tau, rates)) * pull / rates, head[:, None] * weights]
    return tuple(((theta - aim) ** 2).sum(1) + 1.0 - aim @ aim for theta in learned)


def heights(draws: int, samples: int = 200) -> dict:
    """V(t) at p = n, and over p / n at one time, predicted and on drawn inputs."""
    rng = np.random.default_rng(2)
    times, ratios = np.geomspace(1.0, 1e3, 7), np.array([0.5, 0.7, 0.85, 0.95, 1.0, 1.05, 1.15, 1.4, 1.8])
    found = {}
    fine = np.linspace(0.5, 1.8, 53)
    spectra = {ratio: [drawn_rates(samples, ratio, rng) for _ in range(draws)] for ratio in ratios}
    for name, motion in PEAKS.items():
        over_time = np.array([gains(rates, times, motion) / samples for rates in spectra[1.0]])
        across = [np.array([gains(rates, times[4:5], motion)[0] / samples for rates in spectra[r]]) for r in ratios]
        measured = [over_time.mean(0), over_time.std(0, ddof=1) / np.sqrt(draws)]
        predicted = isotropic_noise(times, **motion)
        found[name] = {
            "times": times.tolist(),
            "measured": measured[0].tolist(),
            "standard_error": measured[1].tolist(),
            "predicted": predicted.tolist(),
            "ratios": ratios.tolist(),
            "measured_across": [float(one.mean()) for one in across],
            "standard_error_across": [float(one.std(ddof=1) / np.sqrt(draws)) for one in across],
            "predicted_across": [float(isotropic_noise(times[4:5], r, **motion)[0]) for r in ratios],
            "curve": [times.tolist(), predicted.tolist()],
            "curve_across": [fine.tolist(), [float(isotropic_noise(times[4:5], r, **motion)[0]) for r in fine]],
            "largest_relative_error": float(np.abs(predicted / measured[0] - 1.0).max()),
        }
        print(name, found[name]["largest_relative_error"], found[name]["predicted"][-1])
    return found


def drawn_rates(samples: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    features = round(ratio * samples)
    X = rng.standard_normal((samples, features)) / np.sqrt(samples)
    return np.linalg.svd(X, compute_uv=False) ** 2


def gains(rates: np.ndarray, times: np.ndarray, motion: dict) -> np.ndarray:
    """Sum of (1 - exp(-Q))^2 / l, with Q in closed form for each of PEAKS, not by the package."""
    t = times[:, None]
    if "clock" in motion:
        exponents = fast_clock(t) * rates
    elif not motion:
        exponents = t * rates
    else:
        c, b = float(motion["drift"].c), motion["drift"].b
        if b == 2.0:
            exponents = np.log1p(c * rates * t) / c
        else:
            rest = 1.0 + 0.5 * c * np.sqrt(rates) * t
            exponents = np.where(rest > 0, rates * t / np.where(rest > 0, rest, 1.0), np.inf)
    return (np.expm1(-exponents) ** 2 / rates).sum(1)


def collapse() -> list[dict]:
    """Height times width, and the shape of the peak, over the clock T."""
    u, rows = np.linspace(0.0, 10.0, 41), []
    for name, motion, late in (
        ("b = 1, at rest", {}, (1e3, 1e5)),
        ("b = 1, growth", {"clock": fast_clock}, (1e2, 1e4)),
        ("b = 1.5, growth", {"drift": PowerDrift(-0.5, 1.5)}, (1e3, 1e5)),
    ):
        for t in late:
            T = t if not motion else float(fast_clock(np.array(t))) if "clock" in motion else (0.25 * t) ** 2
            height = isotropic_noise([t], **motion)[0]
            shape = [float(isotropic_noise([t], 1.0 + v / np.sqrt(T), **motion)[0] / height) for v in u]
            rows.append({"name": name, "t": t, "T": T, "height_over_root": float(height / np.sqrt(T)), "shape": shape})
            print(name, T, rows[-1]["height_over_root"], np.round(np.interp([1, 2, 4, 8], u, shape), 3))
    return [{"u": u.tolist()}, *rows]


def over_samples(draws: int) -> list[dict]:
    """Peak over samples of a task with a power-law spectrum, at one time: at rest, sped up and arrested."""
    task = TaskSpectrum.power_law(1.2, 2.0, modes=100, noise=0.5)
    rng, t, rows = np.random.default_rng(3), 1e3, []
    motions = {"at rest": {}, "b = 1.5, growth": PEAKS["b = 1.5, growth"], "b = 1.5, arrest": PEAKS["b = 1.5, arrest"]}
    for n in (25, 50, 75, 90, 100, 110, 130, 200):
        inputs = [rng.standard_normal((n, 100)) * np.sqrt(task.eigenvalues) for _ in range(draws)]
        theta = np.sqrt(task.target / task.eigenvalues)
        flows = [LeastSquaresFlow.of(X, theta, covariance=task.eigenvalues, noise=0.5) for X in inputs]
        for name, motion in motions.items():
            risks = [replace(flow, motion=motion.get("drift")).risk([t]).risk[0] for flow in flows]
            predicted = float(finite_time_risk(task, n, t, **motion).risk)
            error = float(np.std(risks, ddof=1) / np.sqrt(draws))
            row = {"samples": n, "motion": name, "measured": float(np.mean(risks)), "standard_error": error}
            rows.append({**row, "predicted": predicted})
            print(rows[-1])
    return rows


def over_features(draws: int) -> list[dict]:
    """Peak over the width of a random feature model on 60 samples, at three times of its training."""
    task, n, times = TaskSpectrum.power_law(1.5, 2.0, modes=300, noise=0.2), 60, np.array([10.0, 1e3, 1e5])
    rng, rows = np.random.default_rng(4), []
    for k in (8, 15, 30, 45, 54, 60, 66, 80, 120, 300):
        measured = simulate_random_features(task, n, k, 0.0, draws, rng, times=times)
        predicted = finite_time_risk(task, n, times, features=k)
        rows.append(
            {
                "features": k,
                "times": times.tolist(),
                "measured": (measured.mean - task.noise).tolist(),
                "standard_error": measured.standard_error.tolist(),
                "predicted": predicted.risk.values.tolist(),
                "numerical_error": predicted.data["error"].values.tolist(),
            }
        )
        print(rows[-1])
    return rows


def cost() -> dict:
    """CPU seconds of a surface of 50 samples x 100 times for 2,000 modes."""
    task = TaskSpectrum.power_law(1.5, 2.0, modes=2000, noise=0.05)
    begin = process_time()
    surface = finite_time_risk(task, np.geomspace(10, 3000, 50), np.geomspace(0.1, 1e5, 100))
    return {"cpu_s": process_time() - begin, "largest_error": float(surface.data["error"].max())}


def draw_epochs(found: dict, heads: list[dict]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.3), constrained_layout=True)
    for colour, (name, row) in zip(COLOURS, found.items(), strict=True):
        left.semilogx(*row["curve"], color=colour, lw=1.3, label=name)
        left.errorbar(row["times"][::2], row["measured"][::2], yerr=2 * np.array(row["standard_error"][::2]),
                      fmt="o", ms=3, color=colour)  # fmt: skip
    left.set_xlabel("time (sum of learning rates)")
    left.set_ylabel("excess risk")
    left.set_title("Two scales of features: lines predicted,\npoints measured on drawn samples", fontsize=10)
    left.legend(frameon=False, fontsize=8)
    for colour, row in zip(COLOURS, heads, strict=True):
        right.loglog(row["tau"], row["at_rest"], color=colour, lw=1.2, label=f"p/n = {row['ratio']:g}")
        right.loglog(row["tau"], row["network"], color=colour, lw=1.2, ls="--")
    right.set_xlabel("effective time of the network, ∫ a² dt")
    right.set_ylabel("excess risk")
    right.set_ylim(0.2, 60)
    right.set_title("f = a w'x on 60 samples (dashed)\nbeside eigenvalues at rest (solid)", fontsize=10)
    right.legend(frameon=False, fontsize=8)
    figure.savefig(IMAGES / "predictions_epochwise.png", dpi=110)


def draw_peak(found: dict, shapes: list[dict]) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 4.1), constrained_layout=True)
    for colour, (name, row) in zip(COLOURS, found.items(), strict=True):
        for axes, x, kind in ((left, "times", ""), (middle, "ratios", "_across")):
            axes.plot(*row[f"curve{kind}"], color=colour, lw=1.3, label=name)
            errors = 2 * np.array(row[f"standard_error{kind}"])
            axes.errorbar(row[x], row[f"measured{kind}"], yerr=errors, fmt="o", ms=3, color=colour)
    left.set_xscale("log")
    left.set_xlabel("time")
    left.set_ylabel("risk from noise at p = n, per σ²")
    left.set_title("Height of the peak", fontsize=10)
    left.legend(frameon=False, fontsize=8)
    middle.set_xlabel("features per sample, p / n")
    middle.set_ylabel("risk from noise, per σ²")
    middle.set_title("The peak at t = 100", fontsize=10)
    for axes in (left, middle):
        axes.set_yscale("log")
    u = np.array(shapes[0]["u"])
    marks = {"b = 1, at rest": "black", "b = 1, growth": "tab:blue", "b = 1.5, growth": "tab:red"}
    for row in shapes[1:]:
        right.plot(u, row["shape"], color=marks[row["name"]], lw=1.2, ls="-" if row["t"] > 1e3 else ":",
                   label=f"{row['name']}, T = {row['T']:.0e}")  # fmt: skip
    right.plot(u[::4], step_collapse(u[::4]), "x", color="grey", label="sharp frontier, closed form")
    right.set_xlabel("u = (p / n − 1) √T")
    right.set_ylabel("risk from noise / its peak")
    right.set_title("Collapse of the peak", fontsize=10)
    right.legend(frameon=False, fontsize=8)
    figure.savefig(IMAGES / "predictions_transport_peak.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200, help="Drawn samples behind every mean.")
    draws = parser.parse_args().draws
    by_epoch, heads = epochs(draws), scalar_head(min(draws, 60))
    peaks, shapes = heights(draws), collapse()
    draw_epochs(by_epoch, heads)
    draw_peak(peaks, shapes)
    laws = {name: height_law(*one) for name, one in LAWS.items()}
    rows = [{"law": name, "exponent": law.exponent, "limit": law.limit} for name, law in laws.items()]
    more = {"epochs": by_epoch, "scalar_head": heads, "peaks": peaks, "collapse": shapes}
    path = write("double_descent_transport", rows, "scipy", lazy_height=LAZY_HEIGHT, samples=over_samples(draws),
                 features=over_features(draws), cost=cost(), draws=draws, **more)  # fmt: skip
    print(path)


LAWS = {
    "b = 1.5, c = 0.1": (1.5, 0.1),
    "b = 1.5, c = 0.5": (1.5, 0.5),
    "b = 1.5, c = 1": (1.5, 1.0),
    "b = 1, c = 0.01": (1.0, 0.01),
    "b = 1.8, growth": (1.8, -0.5),
    "b = 1.5, growth": (1.5, -0.5),
    "b = 2, decay": (2.0, 0.5),
    "b = 1.9, decay": (1.9, 0.5),
}


if __name__ == "__main__":
    main()
