"""
Forecast a run while it trains
==============================

A classifier is trained by a loop of its own. After every step the loop says its loss. At shares of the run `eigenflow`
forecasts how it will end, and an alarm says when something is wrong. Here a tenth of the labels is
wrong from 70 % of the run on, as in a bad shard of the data.
"""

import tempfile
from pathlib import Path

import numpy as np

from eigenflow.forecast.live import LiveForecast
from eigenflow.integrations.trackers import tracker_of

STEPS, BATCH, INPUTS, BAD_SHARD = 4000, 64, 200, 2800


def rate(step: int) -> float:
    """A cosine to a tenth."""
    return 0.05 + 0.45 * (1 + np.cos(np.pi * step / STEPS)) / 2


def train_step(step: int, weights: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> float:
    """One step of gradient descent on the logistic loss; the later an input, the smaller it is."""
    inputs = rng.standard_normal((BATCH, INPUTS)) * np.arange(1, INPUTS + 1) ** -0.7
    labels = rng.random(BATCH) < 1 / (1 + np.exp(-inputs @ truth))
    if step >= BAD_SHARD:
        labels ^= rng.random(BATCH) < 0.1
    margins = inputs @ weights
    weights -= rate(step) * inputs.T @ (1 / (1 + np.exp(-margins)) - labels) / BATCH
    return float(np.mean(np.logaddexp(0.0, margins) - labels * margins))


def main(folder: str | None = None) -> LiveForecast:
    """Train, forecast, and print what was said on the way."""
    rng = np.random.default_rng(0)
    weights, truth = np.zeros(INPUTS), 3.0 * rng.standard_normal(INPUTS)
    tracker = tracker_of(Path(folder or tempfile.mkdtemp()) / "log.jsonl")  # or W&B, TensorBoard, MLflow, a function
    with LiveForecast(STEPS, max_share=None, background=False) as live:  # steps are faster than a process starts
        for step in range(1, STEPS + 1):
            loss = train_step(step, weights, truth, rng)
            if news := live.add(step, loss, rate(step)):
                tracker.log(news.metrics(), step)
                print(news.headline, *(f"\n  {alarm.kind}: {alarm.sentence}" for alarm in news.new_alarms))
    return live


if __name__ == "__main__":
    main()
