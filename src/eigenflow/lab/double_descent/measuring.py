"""One cell of a measurement: all seeds and noise levels of one size and number of samples, with what kernels predict.

Errors are excess risks: the mean over test samples of (prediction - target)^2, summed over outputs, where the target is
the mean of a noisy label, (1 - noise) times the true one. Test errors on noisy labels are larger by their variance.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from eigenflow.core.grid import log_steps
from eigenflow.lab.double_descent.config import DoubleDescentConfig, TaskConfig
from eigenflow.lab.double_descent.digits import Draw, draw_digits
from eigenflow.lab.double_descent.features import ReadoutRisk, random_features, readout_risk
from eigenflow.lab.double_descent.networks import (
    Weights,
    initial_weights,
    network_outputs,
    parameter_count,
    tangent_kernel,
    train_networks,
)
from eigenflow.theory.double_descent.measured.beside import PREDICTIONS, KernelPath, predict_residuals, resolved_share

__all__ = ["flow_times", "label_variance", "measure_features", "measure_networks", "recorded_steps"]


def label_variance(config: TaskConfig, noise: float) -> float:
    """Variance of labels about (1 - noise) times the true one, summed over outputs."""
    energy = 1.0 if config.target == "parity" else 0.9
    return energy * (1.0 - (1.0 - noise) ** 2)


def recorded_steps(config: DoubleDescentConfig) -> Int[np.ndarray, " record"]:
    """Numbers of updates after which networks are looked at, from 0 to all of them."""
    return log_steps(config.networks.steps + 1, count=config.networks.count)


def flow_times(config: DoubleDescentConfig) -> Float[np.ndarray, " time"]:
    """Times at which random features are looked at."""
    return np.geomspace(config.features.times[0], config.features.times[1], config.features.count)


def measure_features(config: DoubleDescentConfig, features: int, samples: int) -> xr.Dataset:
    """Random features of one number: `risk` and `train` over (noise, draw, time), their ends over (noise, draw, ridge).

    `expected` is the mean of the risk over the noise of labels, exactly, for the samples and features of a draw.
    """
    task, times, ridge = config.task, flow_times(config), np.array(config.features.ridge)
    drawn = [draw_digits(task, seed) for seed in range(config.features.draws)]
    made = [_features(draw, config, features, samples, seed) for seed, draw in enumerate(drawn)]
    found = [
        [_readout(draw, pair, noise, config) for pair, draw in zip(made, drawn, strict=True)] for noise in task.noise
    ]
    held = {
        "risk": np.array([[one.excess for one in row] for row in found]),
        "expected": np.array([[one.expected for one in row] for row in found]),
        "train_error": np.array([[one.train for one in row] for row in found]),
    }
    variables = {}
    for name, values in held.items():
        variables[name] = (("noise", "draw", "time"), values[..., : len(times)])
        variables[f"{name}_end"] = (("noise", "draw", "ridge"), values[..., len(times) :])
    variables["resolved"] = (("draw", "time"), np.array([one.resolved for one in found[0]]))
    places = {"noise": task.noise, "draw": np.arange(config.features.draws), "time": times, "ridge": ridge}
    return xr.Dataset(variables, {**places, "features": features, "samples": samples})


def _features(
    draw: Draw, config: DoubleDescentConfig, features: int, samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([config.task.seed, seed, features])
    weights = rng.standard_normal((config.task.inputs + 1, features))
    return random_features(draw.inputs[:samples], weights), random_features(draw.test_inputs, weights)


def _readout(draw: Draw, made: tuple[np.ndarray, np.ndarray], noise: float, config: DoubleDescentConfig) -> ReadoutRisk:
    samples = len(made[0])
    return readout_risk(
        *made,
        draw.labels(samples, noise),
        (1.0 - noise) * draw.clean[:samples],
        (1.0 - noise) * draw.test_clean,
        noise=label_variance(config.task, noise),
        times=flow_times(config),
        ridge=np.array(config.features.ridge),
    )


def measure_networks(
    config: DoubleDescentConfig, width: int, samples: int, progress: Callable[[int], None] | None = None
) -> xr.Dataset:
    """Networks of one width: what was measured, over (noise, seed, time), and what their kernels predict beside it.

    `risk` and `train_error` are measured; `risk_lazy`, `risk_drift`, `risk_full` and likewise `train_error_...` are
    predicted. `clean_error` is the mean square distance to true
    targets, `class_error` the share of test samples put into a wrong class. `resolved` is the share of modes with
    2 int lambda > 1 among those that can be learned, `largest` the largest eigenvalue.
    """
    task, noises, seeds = config.task, config.task.noise, range(config.task.seeds)
    drawn = [draw_digits(task, seed) for seed in seeds]
    # The network of a seed, its samples and its noise are the same at every noise level.
    start = initial_weights(
        [task.seed * 1_000_003 + seed for _ in noises for seed in seeds], width, task.inputs, task.outputs
    )
    inputs = np.array([draw.inputs[:samples] for _ in noises for draw in drawn])
    labels = np.array([draw.labels(samples, noise) for noise in noises for draw in drawn])
    steps = recorded_steps(config)
    path = train_networks(start, inputs, labels, config.networks, steps, progress)
    cells = [
        _one_network(
            [_network(weights, index) for weights in path], drawn[index % len(drawn)], labels[index], noise, config
        )
        for index, noise in enumerate(np.repeat(noises, len(drawn)))
    ]
    shape = (len(noises), len(drawn), len(steps))
    variables = {name: (("noise", "seed", "time"), np.reshape([c[name] for c in cells], shape)) for name in cells[0]}
    places = {"noise": noises, "seed": np.arange(len(drawn)), "time": steps * config.networks.learning_rate}
    return xr.Dataset(variables, {**places, "width": width, "samples": samples})


def _network(weights: Weights, index: int) -> Weights:
    return Weights(*(w[index : index + 1] for w in (weights.hidden, weights.bias, weights.readout, weights.constant)))


def _one_network(
    path: list[Weights], draw: Draw, labels: np.ndarray, noise: float, config: DoubleDescentConfig
) -> dict[str, np.ndarray]:
    """Everything that is said of one network, over its recorded steps."""
    samples, settings = len(labels), config.networks
    inputs, tested = draw.inputs[None, :samples], draw.test_inputs[None]
    over_time = Weights(*(np.concatenate(parts) for parts in zip(*map(_arrays, path), strict=True)))
    outputs, answers = (network_outputs(over_time, x, settings) for x in (inputs, tested))
    learned, answers = outputs - outputs[0], answers - answers[0]
    target = (1.0 - noise) * draw.test_clean
    kernels = KernelPath(
        times=recorded_steps(config) * settings.learning_rate,
        train=_flat(tangent_kernel(over_time, inputs, inputs, settings)) / samples,
        test=_flat(tangent_kernel(over_time, tested, inputs, settings)) / samples,
        residual=-labels.ravel(),
        test_residual=-target.ravel(),
        learning_rate=settings.learning_rate,
    )
    predicted = predict_residuals(kernels)
    most = min(labels.size, parameter_count(path[0].bias.shape[-1], config.task.inputs, config.task.outputs))
    found = {
        "risk": _mean_square(answers - target),
        "train_error": _mean_square(learned - labels),
        "clean_error": _mean_square(answers - draw.test_clean),
        "class_error": _wrong(answers, draw.test_clean),
        "resolved": resolved_share(kernels.eigenvalues, kernels.times) * labels.size / most,
        "largest": kernels.eigenvalues[:, -1],
    }
    for name in PREDICTIONS:
        found[f"risk_{name}"] = (predicted[name].test ** 2).sum(axis=1) / len(target)
        found[f"train_error_{name}"] = (predicted[name].train ** 2).sum(axis=1) / samples
    return found


def _mean_square(values: Float[np.ndarray, "time sample output"]) -> Float[np.ndarray, " time"]:
    return (values**2).sum(axis=2).mean(axis=1)


def _wrong(answers: Float[np.ndarray, "time tested output"], clean: Float[np.ndarray, "tested output"]) -> np.ndarray:
    if clean.shape[1] == 1:
        return (np.sign(answers) != np.sign(clean)).mean((1, 2))
    return (answers.argmax(2) != clean.argmax(1)).mean(1)


def _flat(kernel: Float[np.ndarray, "time a c b k"]) -> Float[np.ndarray, "time row column"]:
    times, rows, outputs, columns, _ = kernel.shape
    return kernel.reshape(times, rows * outputs, columns * outputs)


def _arrays(weights: Weights) -> tuple[np.ndarray, ...]:
    return weights.hidden, weights.bias, weights.readout, weights.constant
