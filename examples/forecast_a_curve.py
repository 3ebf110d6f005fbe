"""Fit a loss law to three short runs and forecast a fourth one, of another schedule and three times the length.

The runs are made here from another law, the functional scaling law (a power of time, and noise that fades after every
update), with point noise, so the forecast can be compared with the truth. No PyTorch, no network.

Run:  python examples/forecast_a_curve.py
"""

import numpy as np
import pandas as pd

import eigenflow as ef

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
    return float(np.abs(forecast.loss / true - 1).max())


if __name__ == "__main__":
    main()
