"""Lazy against rich, swept: output scale, width and depth, and the exact lazy prediction beside every network.

Networks f = alpha (h(theta) - h(theta0)) are trained by gradient flow for the same number of relaxation times of their
fastest untouched mode, which is time in units of 1 / alpha^2 ([@chizat2018lazy]). Beside each stands what the same
network does when it is linear in its parameters (`lazy_prediction`), on training and test samples at the same times.

In NTK parametrisation a unit moves by O(1 / (alpha sqrt(h))), h the width. The operator is a mean over units: what they
do to first order has random signs, what they do to second order adds up, so that where it moves little

    ||M - M0|| / ||M0|| = [A^2 + (B / alpha)^2]^(1/2) / (alpha h).

For alpha above B / A it falls as 1 / alpha ([@chizat2018lazy]) and 1 / h; below, it is a function of alpha sqrt(h), and
a threshold of some tenths is crossed at alpha* ~ h^(-1/2) ([@geiger2019disentangling]). A threshold that is crossed at
larger alpha gives an exponent nearer to -1.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.checks import check_number, check_whole
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.lab.config import ExperimentConfig, ModelConfig
from eigenflow.lab.gradient_flow import FlowPath, follow_flow
from eigenflow.lab.models import build_model
from eigenflow.lab.tasks import Task, load_task
from eigenflow.tangent.linearised.prediction import LazyPrediction, lazy_prediction
from eigenflow.tangent.loss.base import LOSS_FACTORS
from eigenflow.tangent.probe import Probe

__all__ = ["LazyRichRun", "LazyRichSweep", "SweepStatus", "lazy_rich_sweep"]

Progress = Callable[[int, int, "LazyRichRun"], None]
# The loss that speed is told by, as a share of the first.
LEARNED = 0.5


class SweepStatus(StrEnum):
    """Whether a network was followed to the end."""

    FINISHED = "finished"
    CUT = "cut off by the limit of gradients"


@dataclass(frozen=True)
class LazyRichRun:
    """One network of a sweep.

    Attributes:
        output_scale: alpha.
        width: Hidden width.
        depth: Hidden layers.
        seed: Of its weights.
        relative_change: ||M - M0|| / ||M0|| at the end, Frobenius norms, on the training samples.
        turn: S = 1 - <M, M0> / (||M|| ||M0||), blind to growth.
        growth: ||M|| / ||M0||.
        train_error: Outputs against the lazy prediction at the end: root mean square of the difference over that of
            what the prediction has learned.
        test_error: The same on test samples.
        log_loss_error: Root mean square over times of ln(lazy loss / loss).
        speed: Time at which the lazy network has half of its first loss over that of the network; below 1: slower.
        loss: At the end, over the first.
        lazy_loss: Of the prediction, likewise.
        test_loss: At the end.
        lazy_test_loss: Of the prediction.
        prediction_error: Bound of the prediction's own error on test samples, over the size of what it has learned.
        evaluations: Gradients taken.
        status: Whether it was followed to the end.
    """

    output_scale: float
    width: int
    depth: int
    seed: int
    relative_change: float
    turn: float
    growth: float
    train_error: float
    test_error: float
    log_loss_error: float
    speed: float
    loss: float
    lazy_loss: float
    test_loss: float
    lazy_test_loss: float
    prediction_error: float
    evaluations: int
    status: SweepStatus


@dataclass(frozen=True, repr=False)
class LazyRichSweep(AbstractPrinted):
    """Networks of a sweep.

    Attributes:
        runs: One a network.
        relaxations: Training time of each, times its largest untouched eigenvalue.
        samples: Training samples.
    """

    runs: tuple[LazyRichRun, ...]
    relaxations: float
    samples: int

    @property
    def table(self) -> pd.DataFrame:
        """One row a network."""
        rows = [asdict(run) for run in self.runs]
        return pd.DataFrame([{**row, "status": row["status"].value} for row in rows])

    def values(self, name: str, *, width: int, depth: int) -> tuple[np.ndarray, Float[np.ndarray, "seed scale"]]:
        """One quantity over output scales, increasing, and seeds, of the networks of one shape.

        Raises:
            ArgumentError: If there are no such networks.
        """
        chosen = [run for run in self.runs if run.width == width and run.depth == depth]
        if not chosen:
            shapes = sorted({(run.width, run.depth) for run in self.runs})
            raise ArgumentError(f"No network has `width` {width} and `depth` {depth}. There are {shapes}.")
        scales, seeds = sorted({run.output_scale for run in chosen}), sorted({run.seed for run in chosen})
        by_place = {(run.seed, run.output_scale): float(getattr(run, name)) for run in chosen}
        return np.array(scales), np.array([[by_place[seed, scale] for scale in scales] for seed in seeds])

    def _card(self) -> Card:
        changes = [run.relative_change for run in self.runs]
        errors = [run.test_error for run in self.runs]
        cut = sum(run.status is SweepStatus.CUT for run in self.runs)
        rows = [
            ("output scales", ", ".join(figure(s, 3) for s in sorted({run.output_scale for run in self.runs}))),
            ("widths", ", ".join(map(str, sorted({run.width for run in self.runs})))),
            ("depths", ", ".join(map(str, sorted({run.depth for run in self.runs})))),
            ("relative change", f"{figure(min(changes), 3)} to {figure(max(changes), 3)}"),
            ("lazy test error", f"{figure(min(errors), 3)} to {figure(max(errors), 3)}"),
            ("trained for", f"{figure(self.relaxations, 3)} relaxation times on {self.samples} samples"),
            ("cut off", str(cut)),
        ]
        return Card(f"LazyRichSweep of {len(self.runs)} networks", rows)


def lazy_rich_sweep(
    base: ExperimentConfig,
    *,
    output_scales: Sequence[float],
    widths: Sequence[int] = (),
    depths: Sequence[int] = (),
    seeds: Sequence[int] = (0, 1, 2),
    relaxations: float | int = 200.0,
    times: int = 16,
    most_evaluations: int = 50_000,
    progress: Progress | None = None,
) -> LazyRichSweep:
    """Train networks of every output scale, width, depth and seed, with their lazy predictions.

    Cost: about 2 * relaxations * growth of the operator gradients of the training set for each network, and two dense
    operators.

    Args:
        base: Task, loss and network; its train.learning_rate and train.steps are not used. In standard
            parametrisation the operator grows with the width; "ntk" is what alpha* ~ h^(-1/2) is about.
        output_scales: alpha, > 0.
        widths: Hidden widths; (): the base's.
        depths: Hidden layers; (): the base's.
        seeds: Of the weights.
        relaxations: Training time in units of 1 / (largest eigenvalue of the untouched operator).
        times: How many, log-spaced over the last three decades, outputs are compared at.
        most_evaluations: Gradients after which a network is cut off, with a status.
        progress: Called with (done, all, run) after each network.

    Raises:
        ArgumentError: If the loss is not squared, a list is empty, or a value is not allowed.
    """
    if base.train.loss not in LOSS_FACTORS:
        raise ArgumentError(
            f"`base` must have a squared train.loss (the sweep follows outputs), not {base.train.loss!r}."
        )
    relaxations = check_number("relaxations", relaxations, 1e-3, 1e9)
    count = check_whole("times", times, 2, 10_000, what="number of times")
    scales = [check_number("output_scales", scale, 1e-12, 1e12) for scale in output_scales]
    shapes = list(product(widths or (base.model.width,), depths or (base.model.depth,), seeds))
    if not scales or not shapes:
        raise ArgumentError("`output_scales` and `seeds` must hold at least one value each.")
    task = load_task(base.task)
    if not len(task.test_inputs):
        raise ArgumentError("`base` must have task.holdout >= 1: predictions are compared on test samples too.")
    marks = relaxations * np.geomspace(1e-3, 1.0, count)
    runs: list[LazyRichRun] = []
    for width, depth, seed in shapes:
        for scale in scales:
            model = _config(base.model, output_scale=scale, width=width, depth=depth, seed=seed, centred=True)
            runs.append(_run(model, task, base.train.loss, marks, most_evaluations))
            if progress is not None:
                progress(len(runs), len(shapes) * len(scales), runs[-1])
    return LazyRichSweep(tuple(runs), relaxations, task.probed)


def _config(base: ModelConfig, **changes: object) -> ModelConfig:
    try:
        return ModelConfig.model_validate({**base.model_dump(), **changes})
    except ValueError as error:
        raise ArgumentError(f"The sweep asks for a network that is none: {error}") from None


def _run(config: ModelConfig, task: Task, loss: str, marks: np.ndarray, most: int) -> LazyRichRun:
    model = build_model(*task.sizes, config)
    probe = task.probe(model, loss, holdout=True)
    first = probe.at().dense()
    norm, largest = float(torch.linalg.matrix_norm(first)), float(torch.linalg.eigvalsh(first)[-1])
    predicted = lazy_prediction(probe, marks / largest)
    train = (task.inputs[: task.probed], task.targets[: task.probed])
    path = follow_flow(model, train, task.test_inputs, probe.factor, marks / largest, most_evaluations=most)
    if not len(path.times):
        raise ArgumentError(
            f"`most_evaluations` = {most} gradients do not reach the first time of a network with alpha = "
            f"{config.output_scale:g} and width {config.width}. Allow more."
        )
    last = probe.at().dense()
    size = float(torch.linalg.matrix_norm(last))
    place = LazyRichRun(
        output_scale=config.output_scale,
        width=config.width,
        depth=config.depth,
        seed=config.seed,
        relative_change=float(torch.linalg.matrix_norm(last - first)) / norm,
        turn=_turn(first / norm, last / size),
        growth=size / norm,
        evaluations=path.evaluations,
        status=SweepStatus.FINISHED if path.is_whole else SweepStatus.CUT,
        **dict.fromkeys(_COMPARED, 0.0),
    )
    return replace(place, **_compared(probe, path, predicted))


_COMPARED = (
    "train_error", "test_error", "log_loss_error", "speed", "loss", "lazy_loss", "test_loss", "lazy_test_loss",
    "prediction_error",
)  # fmt: skip


def _turn(first: Tensor, last: Tensor) -> float:
    """1 - cosine from the distance of unit matrices, in which small angles do not cancel."""
    return 0.5 * float((last - first).square().sum())


def _compared(probe: Probe, path: FlowPath, predicted: LazyPrediction) -> dict[str, float]:
    """The network beside its prediction."""
    assert predicted.test_outputs is not None and predicted.test_error is not None and probe.holdout is not None
    at = len(path.times) - 1
    zero = float(probe.loss.value(torch.zeros_like(path.outputs[0]), probe.targets))  # centred networks begin at 0
    losses = np.array([float(probe.loss.value(z, probe.targets)) for z in path.outputs])
    test_losses = [
        float(probe.holdout_objective.value(z, probe.holdout[1]))
        for z in (path.test_outputs[at], predicted.test_outputs[at])
    ]
    tiny = np.finfo(np.float64).tiny
    ratios = np.log(np.maximum(predicted.loss[: at + 1], tiny)) - np.log(np.maximum(losses, tiny))
    learned = float(torch.linalg.vector_norm(predicted.test_outputs[at]))
    return {
        "train_error": _relative(path.outputs[at], predicted.outputs[at]),
        "test_error": _relative(path.test_outputs[at], predicted.test_outputs[at]),
        "log_loss_error": float(np.sqrt(np.mean(ratios**2))),
        "speed": _reached(path.times, predicted.loss[: at + 1] / zero) / _reached(path.times, losses / zero),
        "loss": float(losses[-1]) / zero,
        "lazy_loss": float(predicted.loss[at]) / zero,
        "test_loss": test_losses[0],
        "lazy_test_loss": test_losses[1],
        "prediction_error": float(predicted.test_error[at]) / max(learned, tiny),
    }


def _relative(outputs: Tensor, predicted: Tensor) -> float:
    size = float(torch.linalg.vector_norm(predicted))
    return float(torch.linalg.vector_norm(outputs - predicted)) / max(size, np.finfo(np.float64).tiny)


def _reached(times: np.ndarray, shares: np.ndarray) -> float:
    """Time at which a falling loss has come to the half, by powers; the last time if it never does."""
    below = np.flatnonzero(shares <= LEARNED)
    if not len(below):
        return float(times[-1])
    place = int(below[0])
    if place == 0:
        return float(times[0] * np.log(LEARNED) / np.log(shares[0]))
    x, y = np.log(times[place - 1 : place + 1]), np.log(shares[place - 1 : place + 1])
    return float(np.exp(x[0] + (np.log(LEARNED) - y[0]) / (y[1] - y[0]) * (x[1] - x[0])))
