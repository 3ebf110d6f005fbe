"""Reference data sets, as tensors ready for training."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from torch import Tensor

from eigenflow.lab.config import TaskConfig

__all__ = ["Task", "load_task"]


@dataclass(frozen=True)
class Task:
    """Training and test samples; targets are one-hot with mean zero over the classes, labels the classes' numbers."""

    inputs: Float[Tensor, "samples features"]
    targets: Float[Tensor, "samples classes"]
    test_inputs: Float[Tensor, "tests features"]
    test_targets: Float[Tensor, "tests classes"]
    labels: Int[Tensor, " samples"]
    test_labels: Int[Tensor, " tests"]

    def targets_of(self, loss: str) -> tuple[Tensor, Tensor]:
        """Training and test targets as a loss takes them: labels for "cross_entropy", else values."""
        return (self.labels, self.test_labels) if loss == "cross_entropy" else (self.targets, self.test_targets)


def load_task(config: TaskConfig) -> Task:
    """Draw the samples of a task without replacement.

    Pixels are shifted and scaled to mean 0 and variance 1 over the whole data set; targets are one-hot
    minus 1/10, so that the untouched network's mean error is not spent on a constant.
    """
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = np.asarray(pixels, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    pixels = (pixels - pixels.mean()) / pixels.std()
    one_hot = np.eye(10)[labels] - 0.1
    order = np.random.default_rng(config.seed).permutation(len(pixels))
    train, test = order[: config.samples], order[config.samples : config.samples + config.holdout]
    arrays = (pixels[train], one_hot[train], pixels[test], one_hot[test], labels[train], labels[test])
    return Task(*(torch.from_numpy(a) for a in arrays))
