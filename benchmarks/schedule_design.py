"""Does the designed schedule end below the best cosine and the best WSD when networks are really trained?

Small networks (`lab/schedule_trial.py`) are trained under constant, two-stage and shorter cosine and linear schedules;
the transport law (equations/loss_law.md#loss-law) is fitted to the mean curves of these runs alone; `design_schedule`
makes a schedule for the full number of steps. Then, with other seeds, the designed schedule is trained beside cosine
and WSD at several settings. All runs of a seed share network and batches, so differences are paired. The rival is the
best of all settings as measured, which favours the rival.

Run:  python benchmarks/schedule_design.py --seeds 10 --steps 4000
"""

import argparse
import json
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from scipy.optimize import least_squares

from _machine import RESULTS, write
from eigenflow.forecast import Schedule
from eigenflow.forecast.design import TransportFinalLoss, design_schedule
from eigenflow.lab.schedule_trial import ScheduleTrial, train_side_by_side

PEAKS = {"adam": 0.02, "sgd": 0.3}
WARMUP = 100
FIT_SEEDS = tuple(range(100, 110))
DRAWS = 12
POINTS = 60
NAMES = ("L_inf", "A", "a", "s0", "B", "C", "k", "alpha", "q")
POSITIVE = np.array([True] * 7 + [False, True])
# Internal bounds: logarithms of the positive ones; times in units of peak * steps.
LOWER = np.array([1e-3, 1e-3, 0.05, 1e-4, 1e-4, 1e-1, 0.3, -0.5, 0.3])
UPPER = np.array([10.0, 1e2, 3.0, 10.0, 1e4, 1e6, 4.0, 2.5, 2.0])
START = np.array([0.25, 0.8, 0.5, 0.02, 3.0, 100.0, 1.2, 0.5, 1.0])


def fitted_schedules(steps: int, peak: float) -> dict[str, Schedule]:
    half = steps // 2
    return {
        "constant": Schedule.constant(total=steps, peak=peak, warmup=WARMUP),
        "short cosine": Schedule.cosine(total=half, peak=peak, warmup=WARMUP),
        "short linear": Schedule.linear_to_zero(total=7 * steps // 10, peak=peak, warmup=WARMUP),
        "two-stage 0.3": Schedule.two_stage(total=steps, peak=peak, end=0.3 * peak, change=half, warmup=WARMUP),
        "two-stage 0.1": Schedule.two_stage(
            total=steps, peak=peak, end=0.1 * peak, change=7 * steps // 10, warmup=WARMUP
        ),
    }


def rival_schedules(steps: int, peak: float) -> dict[str, Schedule]:
    found = {
        f"cosine to {end:g}": Schedule.cosine(total=steps, peak=peak, end=end * peak, warmup=WARMUP)
        for end in (0.0, 0.1)
    }
    for decay, share in (
        ("linear", 0.1),
        ("linear", 0.2),
        ("linear", 0.4),
        ("linear", 0.7),
        ("linear", 1.0),
        ("sqrt", 0.2),
        ("sqrt", 0.5),
    ):
        start = WARMUP + round((1 - share) * (steps - WARMUP))
        found[f"wsd {decay} {share:.0%}"] = Schedule.wsd(
            total=steps, peak=peak, decay_start=start, warmup=WARMUP, decay=decay
        )
    return found


def padded(schedules: list[Schedule], steps: int) -> np.ndarray:
    """Rates of every update; short schedules go on at their last rate and are not looked at there."""
    return np.array([np.pad(s.rates, (0, steps - s.total), mode="edge") for s in schedules])


class Observed:
    """One schedule's blocks and observation times, in units of peak * steps."""

    def __init__(self, schedule: Schedule, steps: np.ndarray, unit: float, peak: float):
        blocks = schedule.blocks_within(0.03)
        self.rates = blocks.rates[blocks.rates > 0] / peak
        keep = np.concatenate([[True], blocks.rates > 0])
        self.edges = blocks.times[keep] / unit
        self.times = schedule.times[steps] / unit


def predicted(values: np.ndarray, curve: Observed) -> np.ndarray:
    """The transport law at every observation of a curve; blocks behind an observation count nothing."""
    L_inf, A, a, s0, B, C, k, alpha, q = values

    def tau(s):
        return s0 * (np.log1p(s / s0) if abs(alpha) < 1e-8 else np.expm1(alpha * np.log1p(s / s0)) / alpha)

    left = np.maximum(tau(curve.times)[:, None] - tau(curve.edges), 0.0)
    log = np.log1p(C * left)
    area = (log if abs(k - 1) < 1e-8 else np.expm1((1 - k) * log) / (1 - k)) / C
    return L_inf + A * (1 + curve.times / s0) ** -a + B * (area[:, :-1] - area[:, 1:]) @ curve.rates**q


def fit(curves: list[Observed], losses: list[np.ndarray], rng: np.random.Generator, start=None, starts: int = 4):
    """Least squares of ln(loss), soft-L1, from several starts; parameters in internal units."""

    def inward(v):
        return np.where(POSITIVE, np.log(np.maximum(v, 1e-300)), v)

    def outward(t):
        return np.where(POSITIVE, np.exp(t), t)

    def residual(t):
        return np.concatenate([np.log(predicted(outward(t), c) / y) for c, y in zip(curves, losses, strict=True)])

    low, high = inward(LOWER), inward(UPPER)
    begin = [inward(START if start is None else start)]
    begin += [np.clip(begin[0] + rng.normal(0, 0.7, len(NAMES)), low + 1e-6, high - 1e-6) for _ in range(starts - 1)]
    ends = [
        least_squares(
            residual,
            np.clip(t, low + 1e-6, high - 1e-6),
            bounds=(low, high),
            loss="soft_l1",
            f_scale=0.01,
            max_nfev=100,
        )
        for t in begin
    ]
    best = min(ends, key=lambda end: end.cost)
    return outward(best.x), float(np.sqrt(np.mean(residual(best.x) ** 2))), [end.cost for end in ends]


def to_design(draws: np.ndarray, unit: float, peak: float) -> TransportFinalLoss:
    """Take draws to the units of the schedule: time in sums of rates, rates as they are."""
    named = dict(zip(NAMES, draws.T.copy(), strict=True))
    named["s0"] = named["s0"] * unit
    named["B"] = named["B"] / unit / peak ** named["q"]
    named["C"] = named["C"] / unit
    return TransportFinalLoss(**named)


def trial_of(optimizer: str, steps: int, seeds: int) -> dict:
    rng, start_s = np.random.default_rng(0), time.process_time()
    peak, trial = PEAKS[optimizer], ScheduleTrial(optimizer=optimizer)
    unit = peak * steps
    basis = fitted_schedules(steps, peak)
    points = np.unique(np.geomspace(2 * WARMUP, steps, POINTS).astype(int))
    trained = train_side_by_side(trial, padded(list(basis.values()), steps), FIT_SEEDS, points)
    curves, losses = [], []
    for row, schedule in enumerate(basis.values()):
        kept = points <= schedule.total
        curves.append(Observed(schedule, points[kept], unit, peak))
        losses.append(trained.losses[:, row, kept])
    best, rms, costs = fit(curves, [y.mean(axis=0) for y in losses], rng)
    draws = [best]
    for _ in range(DRAWS - 1):
        picked = rng.integers(0, len(FIT_SEEDS), len(FIT_SEEDS))
        draws.append(fit(curves, [y[picked].mean(axis=0) for y in losses], rng, start=best, starts=1)[0])
    law = to_design(np.array(draws), unit, peak)
    design = design_schedule(law, steps=steps, peak=peak, warmup=WARMUP)
    print(
        f"{optimizer}: fit rms {rms:.4f}; {dict(zip(NAMES, np.round(best, 3).tolist(), strict=True))}; {design.status}",
        flush=True,
    )

    rivals = rival_schedules(steps, peak)
    every = {"designed": design.schedule, **rivals}
    result = train_side_by_side(trial, padded(list(every.values()), steps), tuple(range(seeds)), np.array([steps]))
    final = dict(zip(every, result.losses[:, :, 0].T, strict=True))
    rows = []
    for name, schedule in every.items():
        blocks = schedule.blocks_within(0.004)
        used = blocks.rates > 0
        forecast = law(np.diff(blocks.edges)[used], blocks.rates[used])[0]
        difference = final[name] - final["designed"]
        half = stats.t.ppf(0.95, seeds - 1) * difference.std(ddof=1) / np.sqrt(seeds)
        rows.append({
            "optimizer": optimizer, "schedule": name, "mean_loss": float(final[name].mean()),
            "predicted_loss": float(np.median(forecast)),
            "minus_designed": float(difference.mean()), "lower": float(difference.mean() - half),
            "upper": float(difference.mean() + half), "wins_of_designed": int((difference > 0).sum()), "seeds": seeds,
        })  # fmt: skip
        print(f"  {name:16} {rows[-1]['mean_loss']:.4f} predicted {rows[-1]['predicted_loss']:.4f}  minus designed "
              f"{difference.mean():+.4f} [{rows[-1]['lower']:+.4f}, {rows[-1]['upper']:+.4f}]", flush=True)  # fmt: skip
    best_rival = min(rows[1:], key=lambda row: row["mean_loss"])
    return {
        "rows": rows, "best_rival": best_rival, "fit_rms": rms, "fit_costs": costs, "status": design.status,
        "agreeing_starts": design.agreeing_starts, "parameters": dict(zip(NAMES, best.tolist(), strict=True)),
        "predicted_gain": {r.name: [r.gain_lower, r.gain, r.gain_upper, r.setting] for r in design.rivals},
        "cpu_s": time.process_time() - start_s,
        "rates": {name: (s.rates / peak)[:: steps // 200].round(4).tolist() for name, s in every.items()},
    }  # fmt: skip


def draw(trials: dict[str, dict], steps: int) -> None:
    figure, axes = plt.subplots(len(trials), 2, figsize=(10, 3.6 * len(trials)), layout="constrained", squeeze=False)
    for (optimizer, trial), (left, right) in zip(trials.items(), axes, strict=True):
        rival = trial["best_rival"]["schedule"]
        for name, colour in (("designed", "C3"), (rival, "C0"), ("cosine to 0", "C2")):
            line = trial["rates"][name]
            left.plot(np.arange(len(line)) * (steps // 200), line, color=colour, label=name)
        left.set_xlabel("update")
        left.set_ylabel("learning rate / peak")
        left.set_title(f"{optimizer}: schedules")
        left.legend(frameon=False)
        rows = trial["rows"][1:]
        place = np.arange(len(rows))
        middle = np.array([r["minus_designed"] for r in rows])
        error = np.array([[r["minus_designed"] - r["lower"], r["upper"] - r["minus_designed"]] for r in rows]).T
        right.errorbar(middle, place, xerr=error, fmt="o", color="C0", capsize=3)
        right.axvline(0.0, color="C3", lw=1)
        right.set_yticks(place, [r["schedule"] for r in rows])
        right.set_xlabel("final loss minus designed (90 %, paired seeds)")
        right.set_title(f"{optimizer}: measured after training")
    figure.savefig(RESULTS / "schedule_design.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--optimizers", nargs="+", default=list(PEAKS))
    parser.add_argument("--redraw", action="store_true", help="only draw the stored results again")
    args = parser.parse_args()
    if args.redraw:
        redraw()
        return
    trials = {optimizer: trial_of(optimizer, args.steps, args.seeds) for optimizer in args.optimizers}
    rows = [row for trial in trials.values() for row in trial["rows"]]
    details = {name: {k: v for k, v in trial.items() if k != "rows"} for name, trial in trials.items()}
    print(write("schedule_design", rows, "torch", trials=details, steps=args.steps))
    draw(trials, args.steps)


def redraw() -> None:
    """Draw the stored results again."""
    stored = json.loads((RESULTS / "schedule_design.json").read_text(encoding="utf-8"))
    trials = {
        name: trial | {"rows": [row for row in stored["rows"] if row["optimizer"] == name]}
        for name, trial in stored["trials"].items()
    }
    draw(trials, stored["steps"])


if __name__ == "__main__":
    main()
