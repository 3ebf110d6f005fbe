"""Reference data sets, as tensors ready for training."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eigenflow.lab.config import TaskConfig
from eigenflow.lab.digits import load_digits
from eigenflow.lab.patches import draw_patches
from eigenflow.lab.source_text import draw_sequences
from eigenflow.tangent import Probe

__all__ = ["Task", "load_task"]


@dataclass(frozen=True)
class Task:
    """Training and test samples.

    Attributes:
        inputs: Features of the training samples; of "source" the numbers of the bytes.
        targets: Values to fit: one-hot with mean zero over the classes, or grey values.
        test_inputs: Likewise of the test samples.
        test_targets: Likewise.
        labels: Numbers of the classes, one a sample or one a position; None for grey values.
        test_labels: Likewise.
        probed: How many of the training samples, the first ones, are the probe set.
    """

    inputs: Float[Tensor, "samples features"] | Int[Tensor, "samples features"]
    targets: Float[Tensor, "samples ..."]
    test_inputs: Float[Tensor, "tests features"] | Int[Tensor, "tests features"]
    test_targets: Float[Tensor, "tests ..."]
    labels: Int[Tensor, "samples ..."] | None
    test_labels: Int[Tensor, "tests ..."] | None
    probed: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Inputs and outputs of a network for this task, as `build_model` takes them."""
        return self.inputs.shape[1], self.targets.shape[-1]

    def targets_of(self, loss: str) -> tuple[Tensor, Tensor]:
        """Training and test targets as a loss takes them: labels for "cross_entropy", else values."""
        if loss != "cross_entropy":
            return self.targets, self.test_targets
        assert self.labels is not None and self.test_labels is not None
        return self.labels, self.test_labels

    def probe(self, model: nn.Module, loss: str, *, holdout: bool) -> Probe:
        """The probe of a network on the first training samples, with the test samples if wanted and there are any."""
        targets, test_targets = self.targets_of(loss)
        # In a sequence, positions could be taken for classes.
        class_axis = self.targets.ndim - 1 if loss == "cross_entropy" and self.targets.ndim > 2 else None
        held_out = (self.test_inputs, test_targets) if holdout and len(self.test_inputs) else None
        return Probe(model, self.inputs[: self.probed], targets[: self.probed], loss, held_out, class_axis=class_axis)


def load_task(config: TaskConfig) -> Task:
    """Draw the samples of a task without replacement."""
    return _TASKS[config.name](config)


def _digits(config: TaskConfig) -> Task:
    """Pixels with mean 0 and variance 1 over the whole data set; targets one-hot minus 1/10.

    So the untouched network's mean error is not spent on a constant.
    """
    pixels, labels = load_digits()
    pixels = (pixels - pixels.mean()) / pixels.std()
    order = np.random.default_rng(config.seed).permutation(len(pixels))
    train, test = order[: config.trained], order[config.trained : config.trained + config.holdout]
    return _classes(config, (pixels[train], labels[train]), (pixels[test], labels[test]), 10)


def _patches(config: TaskConfig) -> Task:
    """Pixels around the middle, which is hidden, and the middle itself as target."""
    drawn = draw_patches(
        config.trained, config.holdout, config.patch, config.centre, rng=np.random.default_rng(config.seed)
    )
    inputs, targets, test_inputs, test_targets = (torch.from_numpy(array) for array in drawn)
    return Task(inputs, targets, test_inputs, test_targets, None, None, config.samples)


def _source(config: TaskConfig) -> Task:
    """Bytes of a sequence, and the one that follows each of them."""
    rng = np.random.default_rng(config.seed)
    train, test = draw_sequences(config.trained, config.holdout, config.context + 1, config.symbols, rng=rng)
    return _classes(config, (train[:, :-1], train[:, 1:]), (test[:, :-1], test[:, 1:]), config.symbols)


_TASKS = {"digits": _digits, "patches": _patches, "source": _source}

Samples = tuple[np.ndarray, np.ndarray]


def _classes(config: TaskConfig, train: Samples, test: Samples, classes: int) -> Task:
    one_hot = np.eye(classes) - 1.0 / classes
    inputs, labels, test_inputs, test_labels = (torch.from_numpy(np.ascontiguousarray(a)) for a in (*train, *test))
    values = torch.from_numpy(one_hot)
    return Task(inputs, values[labels], test_inputs, values[test_labels], labels, test_labels, config.samples)
