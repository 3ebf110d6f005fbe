"""How far units and outputs move in a few updates, over the width: what a parametrisation keeps fixed.

Under maximal update neither depends on the width; in NTK parametrisation outputs do not, and units stand still in the
limit; in the standard one both grow at a fixed rate. The check is the one of [@yang2022tensor], appendix D.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.special import stdtrit
from torch import nn

from eigenflow.core.checks import check_whole
from eigenflow.core.display import AbstractPrinted, Card, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.lab.config import ExperimentConfig
from eigenflow.lab.lazy_rich_crossover import Slope
from eigenflow.lab.models import Centred, build_model
from eigenflow.lab.rates import Layer, parameter_groups
from eigenflow.lab.tasks import load_task
from eigenflow.lab.trainer import Trainer

__all__ = ["CoordinateCheck", "coordinate_check"]

QUANTITIES = ("hidden", "output", "first_output", "operator")


@dataclass(frozen=True, repr=False)
class CoordinateCheck(AbstractPrinted):
    """Motion of networks of several widths.

    Attributes:
        table: A row a network: `width`, `seed`, and root mean squares over units and samples of what changed:
            `hidden` (what the output layer takes) and `output` in all updates, `first_output` in the first one, and the
            relative change of the `operator` if it was asked for.
        steps: Updates.
    """

    table: pd.DataFrame
    steps: int

    def slope(self, quantity: str) -> Slope:
        """d ln(motion) / d ln(width), with a 90 % interval over seeds.

        Raises:
            ArgumentError: If the quantity was not measured.
        """
        if quantity not in self.table:
            known = [name for name in QUANTITIES if name in self.table]
            raise ArgumentError(f"`quantity` must be one of {', '.join(known)}, but is {quantity!r}.")
        slopes = np.array(
            [
                np.polyfit(np.log(part["width"].to_numpy(float)), np.log(part[quantity].to_numpy(float)), 1)[0]
                for _, part in self.table.groupby("seed")
            ]
        )
        mean, count = float(slopes.mean()), len(slopes)
        half = float("inf")
        if count > 1:
            half = float(slopes.std(ddof=1) / np.sqrt(count) * stdtrit(count - 1, (1 + LEVEL) / 2))
        return Slope(mean, (mean - half, mean + half), count, len(set(self.table["width"])))

    def _card(self) -> Card:
        widths = sorted(set(self.table["width"]))
        rows = [("widths", ", ".join(map(str, widths))), ("seeds", str(len(set(self.table["seed"]))))]
        for name in QUANTITIES:
            if name in self.table:
                found = self.slope(name)
                rows.append((f"{name} ~ width^", interval(found.value, *found.interval)))
        return Card(f"CoordinateCheck of {len(self.table)} networks over {self.steps} updates", rows)


def coordinate_check(
    base: ExperimentConfig,
    widths: Sequence[int],
    *,
    seeds: Sequence[int] = (0, 1, 2, 3),
    steps: int = 5,
    operator: bool = False,
) -> CoordinateCheck:
    """Train networks of several widths for a few updates, and see how far they move.

    Args:
        base: Task, network, optimizer and rate; all but the width and the seed of the weights stay.
        widths: Two or more.
        seeds: Of the weights.
        steps: Updates.
        operator: Whether the relative change of the dense operator is measured too.

    Raises:
        ArgumentError: If there are fewer than two widths, or a network is not allowed at one of them.
    """
    steps = check_whole("steps", steps, 1, 10_000)
    if len(set(widths)) < 2:
        raise ArgumentError(f"`widths` must hold two or more different widths, but is {list(widths)}.")
    rows = []
    for width in widths:
        for seed in seeds:
            values = base.model_dump()
            values["model"] |= {"width": width, "seed": seed}
            values["train"]["steps"] = max(steps, values["measure"]["first"] + 2)
            try:
                config = ExperimentConfig.model_validate(values)
            except ValueError as error:
                raise ArgumentError(f"`widths` holds {width}, which makes no network: {error}") from None
            rows.append({"width": width, "seed": seed, **_moved(config, steps, operator)})
    return CoordinateCheck(pd.DataFrame(rows), steps)


def _moved(config: ExperimentConfig, steps: int, operator: bool) -> dict[str, float]:
    task = load_task(config.task)
    model = build_model(*task.sizes, config.model)
    inputs = task.inputs[: task.probed]
    probe = task.probe(model, config.train.loss, holdout=False) if operator else None
    before = probe.at().dense() if probe is not None else None
    hidden, outputs = _seen(model, inputs)
    groups = parameter_groups(model, config)
    trainer = Trainer(model, task.inputs, task.targets_of(config.train.loss)[0], config.train, groups)
    found: dict[str, float] = {}
    for update in trainer.updates():
        if update.step == 0:
            found["first_output"] = _rms(_seen(model, inputs)[1] - outputs)
        if update.step == steps - 1:
            break
    now = _seen(model, inputs)
    found |= {"hidden": _rms(now[0] - hidden), "output": _rms(now[1] - outputs)}
    if probe is not None and before is not None:
        found["operator"] = float((probe.at().dense() - before).norm() / before.norm())
    return found


def _seen(model: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the output layer takes, and what the network says."""
    network = model.network if isinstance(model, Centred) else model
    last = [module for module in network.modules() if isinstance(module, Layer)][-1]
    taken: list[torch.Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, arguments: taken.append(arguments[0].detach()))
    with torch.no_grad():
        outputs = network(inputs)
    handle.remove()
    return taken[0], outputs


def _rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())
