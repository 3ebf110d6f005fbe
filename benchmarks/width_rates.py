"""Does the best learning rate stay where it is when a network becomes wider?

Networks of several widths learn the same digits for a fixed number of updates at every rate of a grid, in the standard
parametrisation and under maximal update, by SGD and by Adam. The best rate of a width and seed is the minimum of a
parabola through the best rate of the grid and its neighbours, in logarithms; where a neighbour diverges, the rate of
the grid itself, which is known to a factor of 2. What answers the question is the power of the width by which it moves,
with its standard error over seeds; 0 is a rate that can be tuned on a small network.

Run:  python benchmarks/width_rates.py                                                     (about three minutes of CPU)
"""

import argparse
import math

import numpy as np
import torch

from _machine import write
from eigenflow.lab import load_config
from eigenflow.lab.models import build_model
from eigenflow.lab.rates import parameter_groups
from eigenflow.lab.tasks import load_task
from eigenflow.lab.trainer import Trainer

SETTINGS = ["task.samples=60", "task.holdout=0", "model.depth=2", "model.output_scale=1.0", "model.base_width=64"]
# Rates, each twice the one before.
GRIDS = {
    ("sgd", "standard"): [2.0**k for k in range(-9, 4)],
    ("sgd", "maximal_update"): [2.0**k for k in range(-7, 4)],
    ("adam", "standard"): [2.0**k for k in range(-15, -4)],
    ("adam", "maximal_update"): [2.0**k for k in range(-12, -3)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, answers = [], {}
    for (optimizer, kind), grid in GRIDS.items():
        slopes = []
        for seed in range(arguments.seeds):
            best = []
            for width in arguments.widths:
                losses = [trained(optimizer, kind, width, seed, rate, arguments.steps) for rate in grid]
                best.append(minimum(grid, losses))
                told = [None if math.isinf(loss) else loss for loss in losses]
                rows.append({"optimizer": optimizer, "parametrisation": kind, "width": width, "seed": seed,
                             "best_rate": best[-1], "rates": grid, "losses": told})  # fmt: skip
            slopes.append(float(np.polyfit(np.log(arguments.widths), np.log(best), 1)[0]))
        error = float(np.std(slopes, ddof=1) / np.sqrt(len(slopes)))
        answers[f"{optimizer}, {kind}"] = {"power": float(np.mean(slopes)), "standard_error": error}
        print(f"{optimizer}, {kind}: best rate ~ width^{np.mean(slopes):+.2f} +- {error:.2f}", flush=True)
    print(f"Result: {write('width_rates', rows, answers=answers, settings=SETTINGS, steps=arguments.steps)}")


def trained(optimizer: str, kind: str, width: int, seed: int, rate: float, steps: int) -> float:
    """The last loss; infinite if it diverged."""
    changes = [f"train.optimizer={optimizer}", f"model.parametrisation={kind}", f"model.width={width}",
               f"model.seed={seed}", f"train.learning_rate={rate}", f"train.steps={steps}"]  # fmt: skip
    config = load_config("digits", [*SETTINGS, *changes])
    task = load_task(config.task)
    model = build_model(*task.sizes, config.model)
    trainer = Trainer(model, task.inputs, task.targets, config.train, parameter_groups(model, config))
    loss = math.inf
    for update in trainer.updates():
        loss = update.loss
        if not math.isfinite(loss) or loss > 1e6:
            return math.inf
    return loss


def minimum(rates: list[float], losses: list[float]) -> float:
    """Of a parabola of ln(loss) over ln(rate) through the best rate and its neighbours; the rate itself at an end."""
    place = int(np.argmin(losses))
    around = losses[place - 1 : place + 2]
    if len(around) < 3 or not np.isfinite(around).all():
        return rates[place]
    a, b, c = np.log(around)
    shift = 0.5 * (a - c) / (a - 2 * b + c)
    return float(np.exp(np.log(rates[place]) + shift * np.log(rates[place + 1] / rates[place])))


if __name__ == "__main__":
    main()
