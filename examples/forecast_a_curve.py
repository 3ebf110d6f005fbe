"""
Forecast a run from three others
================================

Three short runs with different learning rates are known. The fourth is three times as long and has a schedule that none
of them has. Its loss is forecast, with a 90 % interval.

The runs are made here from another law, the functional scaling law: a power of time, and noise that fades after every
update. So the forecast can be compared with the truth.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import eigenflow as ef
from eigenflow.forecast import CurveSet, Forecast

PEAK, WARMUP = 3e-4, 500
RUNS = {
    "cosine": ef.Schedule.cosine(total=8000, warmup=WARMUP, peak=PEAK, end=3e-5),
    "constant": ef.Schedule.constant(total=8000, warmup=WARMUP, peak=PEAK),
    "two_stage": ef.Schedule.two_stage(total=6000, warmup=WARMUP, peak=PEAK, end=9e-5, change=3000),
}


def truth(schedule: ef.Schedule, steps: np.ndarray) -> np.ndarray:
    """L = 2.6 + 0.6 S^-0.5 + 3e4 sum over updates k of rate_k^2 (1 + 200 (S - S_k))^-1.5."""
    times, rates = schedule.times, schedule.rates
    since = np.maximum(times[steps][:, None] - times[None, 1:], 0.0)
    is_past = np.arange(schedule.total)[None, :] < steps[:, None]
    noise = (np.where(is_past, (1 + 200 * since) ** -1.5, 0.0) * rates**2).sum(axis=1)
    return 2.6 + 0.6 * times[steps] ** -0.5 + 3e4 * noise


def main() -> float:
    rng = np.random.default_rng(0)
    tables = []
    for name, schedule in RUNS.items():
        steps = np.arange(WARMUP, schedule.total + 1, 50)
        losses = truth(schedule, steps) * np.exp(1e-3 * rng.standard_normal(len(steps)))
        tables.append(pd.DataFrame({"curve": name, "step": steps, "loss": losses}))
    curves = ef.read_curves(pd.concat(tables), schedules=RUNS)
    for note in curves.notes:
        print(f"note: {note}")
    fit = ef.fit_law(curves, law="transport")
    print(f"{fit.law.name}: {fit.status.value}, noise {fit.noise:.1e}, {fit.certificate.cpu_s:.2f} CPU s")

    plan = ef.Schedule.wsd(total=24_000, warmup=WARMUP, peak=PEAK, decay_start=20_000, end=3e-5)
    forecast = fit.predict(plan, every=4000)
    true = truth(plan, forecast.steps)
    for step, loss, low, high, real in zip(
        forecast.steps, forecast.loss, forecast.lower, forecast.upper, true, strict=True
    ):
        print(f"step {step:6d}   forecast {loss:.4f}   90 % [{low:.4f}, {high:.4f}]   truth {real:.4f}")
    draw(curves, fit.predict(plan, every=100), plan)
    return float(np.abs(forecast.loss / true - 1).max())


def draw(curves: CurveSet, forecast: Forecast, plan: ef.Schedule) -> None:
    _, (top, bottom) = plt.subplots(2, 1, figsize=(8, 5.5), sharex=True, layout="constrained", height_ratios=(2.5, 1))
    for curve in curves:
        top.plot(curve.steps, curve.losses, ".", markersize=2, label=curve.name)
        bottom.plot(RUNS[curve.name].rates)
    top.fill_between(forecast.steps, forecast.lower, forecast.upper, color="k", alpha=0.2)
    top.plot(forecast.steps, forecast.loss, "k", label="forecast, 90 %")
    top.plot(forecast.steps, truth(plan, forecast.steps), "C3:", label="truth")
    bottom.plot(plan.rates, "k")
    top.set(ylabel="loss [nats]", ylim=(2.82, 3.4))
    bottom.set(xlabel="step", ylabel="learning rate")
    top.legend(frameon=False, markerscale=4)


if __name__ == "__main__":
    main()
    plt.show()
