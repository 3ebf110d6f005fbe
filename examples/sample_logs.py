"""
Write the sample logs
=====================

Writes the sample logs in `examples/logs`, with which every command of the README and the guides can be tried.

The losses are made up: the functional scaling law (a power of time, and noise that fades after every update) for two
sizes of a model, with point noise of 0.1 %; and the losses of finished runs from a law in size and tokens.

Run:  python examples/sample_logs.py examples/logs
"""

# sphinx_gallery_thumbnail_path = "images/loss_curves.png"
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import eigenflow as ef

PEAK, WARMUP = 3e-4, 500
COLUMNS = ["curve", "schedule", "total_steps", "warmup_steps_linear_from_0", "peak_lr", "end_lr", "change_step"]
ROWS = [
    ("constant_8000", "constant", 8000, WARMUP, PEAK, PEAK, None),
    ("cosine_8000", "cosine", 8000, WARMUP, PEAK, 3e-5, None),
    ("two_stage_6000", "two_stage", 6000, WARMUP, PEAK, 9e-5, 3000),
    ("cosine_16000", "cosine", 16_000, WARMUP, PEAK, 3e-5, None),
]
SCHEDULES = {
    "constant_8000": ef.Schedule.constant(total=8000, warmup=WARMUP, peak=PEAK),
    "cosine_8000": ef.Schedule.cosine(total=8000, warmup=WARMUP, peak=PEAK, end=3e-5),
    "two_stage_6000": ef.Schedule.two_stage(total=6000, warmup=WARMUP, peak=PEAK, end=9e-5, change=3000),
    "cosine_16000": ef.Schedule.cosine(total=16_000, warmup=WARMUP, peak=PEAK, end=3e-5),
}
# Of the loss that is never reached, by size in millions of parameters.
FLOORS = {25: 2.9, 100: 2.6}


def true_loss(schedule: ef.Schedule, steps: np.ndarray, size: float) -> np.ndarray:
    """L = E + 0.6 S^-0.5 + 3e4 sum over updates k of rate_k^2 (1 + 200 (S - S_k))^-1.5."""
    times, rates = schedule.times, schedule.rates
    noise = np.array([(rates[:k] ** 2 * (1 + 200 * (times[k] - times[1 : k + 1])) ** -1.5).sum() for k in steps])
    return FLOORS[int(size)] + 0.6 * times[steps] ** -0.5 + 3e4 * noise


def curves(rng: np.random.Generator) -> pd.DataFrame:
    """One row a logged step; the longest schedule is there to test on."""
    tables = []
    for size in FLOORS:
        for name, schedule in SCHEDULES.items():
            steps = np.arange(WARMUP, schedule.total + 1, 100)
            losses = true_loss(schedule, steps, size) * np.exp(1e-3 * rng.standard_normal(len(steps)))
            role = "test" if name == "cosine_16000" else "fit"
            columns = {"model_size_M": size, "curve": name, "step": steps, "loss": losses.round(5), "role": role}
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables)


def finished_runs(rng: np.random.Generator) -> pd.DataFrame:
    """Sizes, tokens and final losses, of a law whose two frontiers meet sharply (gamma = 0.5)."""
    size = np.repeat(np.geomspace(5e7, 2e9, 8), 6)
    tokens = size * np.tile(np.geomspace(5, 160, 6), 8)
    losses = 1.75 + ((2.0e2 * size**-0.30) ** 2 + (2.4e3 * tokens**-0.36) ** 2) ** 0.5
    losses *= np.exp(0.003 * rng.normal(size=len(size)))
    return pd.DataFrame({"params": size.round(), "tokens": tokens.round(), "loss": losses.round(5)})


def main(folder: str) -> None:
    target = Path(folder)
    rng = np.random.default_rng(0)
    curves(rng).to_csv(target / "curves.csv", index=False)
    pd.DataFrame(ROWS, columns=COLUMNS).to_csv(target / "schedules.csv", index=False, float_format="%g")
    finished_runs(rng).to_csv(target / "runs.csv", index=False)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "examples/logs")
