"""Digits with noisy labels, drawn so that sizes and noise levels of one seed can be compared pair by pair."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from eigenflow.lab.digits import load_digits
from eigenflow.lab.double_descent.config import TaskConfig

__all__ = ["Draw", "draw_digits", "whole_task"]


@dataclass(frozen=True)
class Draw:
    """The digits of one seed; a smaller training set is the beginning of a larger one.

    Attributes:
        inputs: Of the training samples.
        clean: Their true targets.
        random: Targets of labels drawn at random, one for each sample.
        uniform: In [0, 1): with a share p of noise, labels below p are random, so a higher share keeps those of a
            lower.
        test_inputs: Of the test samples, the same for every size.
        test_clean: Their true targets.
    """

    inputs: Float[np.ndarray, "sample input"]
    clean: Float[np.ndarray, "sample output"]
    random: Float[np.ndarray, "sample output"]
    uniform: Float[np.ndarray, " sample"]
    test_inputs: Float[np.ndarray, "tested input"]
    test_clean: Float[np.ndarray, "tested output"]

    def labels(self, samples: int, noise: float) -> Float[np.ndarray, "sample output"]:
        """Targets of the first samples, a share `noise` of them random: mean (1 - noise) times the true ones."""
        return np.where(self.is_random(noise)[:samples, None], self.random[:samples], self.clean[:samples])

    def is_random(self, noise: float) -> Bool[np.ndarray, " sample"]:
        """Whose labels are random at this share of noise."""
        return self.uniform < noise


def whole_task(config: TaskConfig) -> tuple[Float[np.ndarray, "digit input"], Float[np.ndarray, "digit output"]]:
    """All digits: each pixel with mean 0, all together with variance 1; and true targets, of one energy a sample."""
    pixels, labels = load_digits()
    side = 8 // config.pool
    squares = pixels.reshape(-1, side, config.pool, side, config.pool)
    inputs = squares.mean((2, 4)).reshape(len(squares), -1)
    inputs -= inputs.mean(axis=0)
    return inputs / inputs.std(), _targets(config)[labels]


def draw_digits(config: TaskConfig, seed: int) -> Draw:
    """Draw training and test samples without replacement, and the noise of the labels."""
    inputs, clean = whole_task(config)
    rng = np.random.default_rng([config.seed, seed])
    order = rng.permutation(len(inputs))
    largest = config.samples[-1]
    train, test = order[:largest], order[largest : largest + config.holdout]
    random = _targets(config)[rng.integers(0, 10, largest)]
    return Draw(inputs[train], clean[train], random, rng.random(largest), inputs[test], clean[test])


def _targets(config: TaskConfig) -> Float[np.ndarray, "digit output"]:
    """Targets of the ten digits, with mean zero over them: so random labels have mean zero."""
    if config.target == "parity":
        return np.where(np.arange(10) % 2 == 0, 1.0, -1.0)[:, None]
    return np.eye(10) - 0.1
