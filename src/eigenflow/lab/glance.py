"""The first seconds of an experiment: its losses, and where its modes carry them."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.lab.config import ExperimentConfig
from eigenflow.lab.experiment import build_experiment
from eigenflow.tangent import Snapshot

__all__ = ["FirstLook", "first_look"]

# States that are kept on the way: after a power of this many updates.
SPACING = 1.2
POINTS = 60
# Eigenvalues of a larger operator take longer than a look.
MOST_ROWS = 1000


@dataclass(frozen=True)
class FirstLook:
    """What a short training showed.

    Attributes:
        losses: Trained loss of each update.
        steps: Completed updates to come, up to the end of the experiment; empty where the modes do not make the loss.
        carried: Loss there if the operator stood still from the last update on.
        missed: |ln(carried / true)| of the last loss here, carried likewise from about half of the updates.
    """

    losses: Float[np.ndarray, " update"]
    steps: Float[np.ndarray, " later"]
    carried: Float[np.ndarray, " later"]
    missed: float


def first_look(config: ExperimentConfig, seconds: float) -> FirstLook:
    """Train for some seconds without writing anything: the updates that `run_experiment` makes, once more.

    Full-batch gradient descent on a squared loss is carried on by the modes of the operator at the last update,
    (1 - rate * eigenvalue)^(2 steps) each; of other trainings only the losses are known.

    Args:
        config: The experiment.
        seconds: How long to train; at most all of its updates.
    """
    trainer, probe, _ = build_experiment(config)
    losses: list[float] = []
    states: dict[int, list[Tensor]] = {}
    made = 0
    end, wanted = perf_counter() + seconds, 1
    for update in trainer.updates():
        losses.append(update.loss)
        made = len(losses)
        if made == wanted:
            states[made] = [p.detach().clone() for p in trainer.model.parameters()]
            wanted = max(wanted + 1, int(SPACING * wanted))
        if perf_counter() > end:
            break
    found = np.array(losses)
    if made == config.train.steps or not _modes_make_the_loss(config) or probe.size > MOST_ROWS or len(states) < 3:
        return FirstLook(found, np.zeros(0), np.zeros(0), np.inf)
    rate, now = config.train.learning_rate, probe.measure(drift=False)
    steps = np.geomspace(made, config.train.steps, POINTS)
    half = max((step for step in states if 2 * step <= made), default=min(states))
    with torch.no_grad():
        for parameter, then in zip(trainer.model.parameters(), states[half], strict=True):
            parameter.copy_(then)
    before = _carried(probe.measure(drift=False), rate, np.array([made - 1.0 - half]))[0]
    missed = abs(np.log(before / found[-1])) if found[-1] > 0 and before > 0 else np.inf
    return FirstLook(found, steps, _carried(now, rate, steps - made), float(missed))


def _modes_make_the_loss(config: ExperimentConfig) -> bool:
    train = config.train
    is_plain = train.optimizer == "sgd" and train.momentum == 0 and train.weight_decay == 0
    return is_plain and train.batch_size == 0 and not config.task.training and train.loss != "cross_entropy"


def _carried(state: Snapshot, rate: float, steps: Float[np.ndarray, " later"]) -> Float[np.ndarray, " later"]:
    """The loss so many updates of gradient descent later, if the operator stands still."""
    kept: Tensor = (1.0 - rate * state.eigenvalues).abs()
    powers = kept[None] ** (2.0 * torch.from_numpy(steps).to(kept)[:, None])
    return (0.5 * powers @ state.coefficients.square()).numpy()
