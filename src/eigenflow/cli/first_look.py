"""What a run does to the loss, before anything is measured: its first updates, made once more, and a forecast."""

from typing import TYPE_CHECKING

import numpy as np

from eigenflow.cli.console import err
from eigenflow.cli.plot import print_curve

if TYPE_CHECKING:
    from eigenflow.forecast.live import RestForecast
    from eigenflow.lab import ExperimentConfig
    from eigenflow.lab.trainer import Update

__all__ = ["first_look"]

# Updates are quick and measurements are not: so long a training shows much of most runs.
SECONDS = 2.0
# Fewer losses are no log.
LEAST = 20
POINTS = 60


def first_look(config: "ExperimentConfig") -> None:
    """Train for two seconds, forecast the rest of that, and show both; the run itself begins anew afterwards."""
    from eigenflow.lab import first_updates

    updates = first_updates(config, SECONDS)
    loss = f"loss {updates[0].loss:.3g} to {updates[-1].loss:.3g}"
    told = f"first look: {len(updates):,} of {config.train.steps:,} updates, {loss}"
    found = _rest(updates, config)
    if found is not None:
        told += f"; the last one is forecast at {found.told}"
    err.print(told, markup=False, highlight=False, soft_wrap=True)
    known = np.arange(1, len(updates) + 1), np.array([one.loss for one in updates])
    if found is None:
        return
    ahead = np.linspace(len(updates), found.total, POINTS).round()
    middle, half = found.at(ahead)
    coming = (ahead, *(np.exp(one) for one in (middle, middle - half, middle + half)))
    print_curve(known, coming, x="completed updates")


def _rest(updates: "list[Update]", config: "ExperimentConfig") -> "RestForecast | None":
    """None where nothing is left to forecast, or too little was seen to say."""
    if not LEAST <= len(updates) < config.train.steps:
        return None
    from eigenflow.forecast.live import LiveForecast

    live = LiveForecast(config.train.steps, background=False, max_share=0.0)
    for update in updates:
        live.add(update.step + 1, update.loss, config.train.learning_rate)
    return live.forecast_now()
