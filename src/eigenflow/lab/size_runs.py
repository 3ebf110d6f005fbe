"""Runs of many widths and training sets, the spectrum of the same network on the population, and the limit of both.

A run here is in single precision and measured by its losses alone: what is predicted for it comes from a spectrum taken
once. Samples are drawn without replacement and apart from each other: for training, for tests, and a pool that stands
for the population. Of the digits, which are few, the pool is all of them.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.linalg import eigh
from torch import Tensor, nn
from torch.nn import functional

from eigenflow.core.errors import NonFiniteError
from eigenflow.lab.config import ModelConfig
from eigenflow.lab.digits import load_digits
from eigenflow.lab.models import MLP, build_model
from eigenflow.lab.patches import draw_patches, grey_photographs
from eigenflow.lab.source_text import draw_sequences
from eigenflow.tangent import Probe

__all__ = ["RIDGES", "SizeTask", "kernel_spectrum", "layer_limits", "network_spectrum", "train_size"]

MOMENTUM = 0.9
RIDGES = (1e-10, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # beside a mean over samples, in eigenvalue units
COUNTS = (32, 64, 128, 256, 512, 1024)  # samples of regressions within the pool
POOL, TESTS, SEQUENCES = 2400, 2000, 12
CONTEXT, SYMBOLS = 8, 24
LOSSES = 25  # measured, log-spaced

Samples = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SizeTask:
    """A task, and how networks learn it.

    Attributes:
        name: "patches": the middle of a natural-image patch; "photograph": grey value from the place of a pixel;
            "digits"; "source": the next byte of Python's library.
        parametrisation: Of an mlp with two hidden layers; the transformer of "source" has its own.
        optimizer: "sgd" with momentum .9, or "adamw".
        loss: "half_mean" or "cross_entropy".
        learning_rate: Of either.
    """

    name: str
    parametrisation: str = "ntk"
    optimizer: str = "sgd"
    loss: str = "half_mean"
    learning_rate: float = 0.4

    @property
    def is_source(self) -> bool:
        """Whether inputs are bytes."""
        return self.name == "source"

    def draw(self, training: int, seed: int) -> tuple[Samples, Samples, Samples]:
        """Samples for training, for tests, and the pool: inputs and targets each."""
        rng = np.random.default_rng(1000 + seed)
        if self.is_source:
            train, rest = draw_sequences(training, TESTS + SEQUENCES, CONTEXT + 1, SYMBOLS, rng=rng)
            parts = train, rest[SEQUENCES:], rest[:SEQUENCES]
            one, two, three = ((part[:, :-1], part[:, 1:]) for part in parts)
            return one, two, three
        if self.name == "digits":
            pixels, labels = load_digits()
            order = rng.permutation(len(pixels))
            inputs, targets = ((pixels - pixels.mean()) / pixels.std())[order], (np.eye(10) - 0.1)[labels[order]]
            return (inputs[:training], targets[:training]), (inputs[1200:], targets[1200:]), (inputs, targets)
        count, ends = training + TESTS + POOL, (training, training + TESTS)
        inputs, targets = _patches(count, rng) if self.name == "patches" else _pixels(count, rng)
        one, two, three = zip(np.split(inputs, ends), np.split(targets, ends), strict=True)
        return one, two, three

    def network(self, inputs: int, outputs: int, width: int, seed: int) -> nn.Module:
        """In single precision. On a plane a smooth activation has an exponential spectrum, and a kink a power."""
        if self.is_source:
            more = {"name": "gpt", "heads": 2, "activation": "gelu"}
        else:
            activation = "relu" if self.name == "photograph" else "tanh"
            more = {"parametrisation": self.parametrisation, "activation": activation}
        config = ModelConfig.model_validate({"width": width, "depth": 2, "seed": 100 + seed, **more})
        return build_model(inputs, outputs, config).float()

    def tensors(self, samples: Samples) -> tuple[Tensor, Tensor]:
        """Inputs and targets as the network and the loss take them."""
        inputs, targets = (torch.from_numpy(np.ascontiguousarray(part)) for part in samples)
        if not self.is_source:
            return inputs.float(), targets.float()
        return inputs, targets if self.loss == "cross_entropy" else torch.eye(SYMBOLS)[targets] - 1.0 / SYMBOLS

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over samples (and positions) of half the squares, or of the cross-entropy."""
        if self.loss == "cross_entropy":
            return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())
        return 0.5 * ((outputs - targets) ** 2).flatten(0, -2).sum(-1).mean()


def _patches(count: int, rng: np.random.Generator) -> Samples:
    inputs, targets, _, _ = draw_patches(count, 0, 7, 1, rng=rng)
    return inputs, targets


def _pixels(count: int, rng: np.random.Generator) -> Samples:
    """Places on a quarter of a torus, as two unit vectors, and grey values."""
    image = grey_photographs()[0]
    row, column = np.unravel_index(rng.permutation(image.size)[:count], image.shape)
    angles = np.pi * row / image.shape[0], np.pi * column / image.shape[1]
    inputs = np.sqrt(2.0) * np.stack([f(angle) for angle in angles for f in (np.cos, np.sin)], axis=1)
    return inputs, ((image - image.mean()) / image.std())[row, column][:, None]


def train_size(task: SizeTask, width: int, training: int, steps: int, seed: int) -> tuple[pd.DataFrame, nn.Module]:
    """Train one network.

    Networks of squared losses begin at zero: what the untouched one says is added to all targets.

    Args:
        task: What is learned, and how.
        width: Of the network.
        training: Samples (sequences).
        steps: Updates, by full batches; by 64 sequences of "source".
        seed: Of samples, weights and batches.

    Returns:
        Columns step, time (sum of learning rates, by heavy ball's 1 / (1 - momentum)), train and test, at 25 log-spaced
        steps; and the network.

    Raises:
        NonFiniteError: If training diverges.
    """
    fit, tests, _ = (task.tensors(part) for part in task.draw(training, seed))
    model = task.network(fit[0].shape[1], SYMBOLS if task.is_source else fit[1].shape[-1], width, seed)
    if task.loss == "half_mean":
        with torch.no_grad():
            fit, tests = ((inputs, targets + model(inputs)) for inputs, targets in (fit, tests))
    optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), task.learning_rate, momentum=MOMENTUM)
    pace = task.learning_rate / (1.0 - MOMENTUM)
    if task.optimizer == "adamw":
        optimizer, pace = torch.optim.AdamW(model.parameters(), task.learning_rate), task.learning_rate
    measured = {0, *np.unique(np.geomspace(1, steps, LOSSES).astype(int)).tolist()}
    generator, rows = torch.Generator().manual_seed(seed), []
    for step in range(steps + 1):
        batch = torch.randint(training, (64,), generator=generator) if task.is_source else slice(None)
        optimizer.zero_grad()
        loss = task.loss_of(model(fit[0][batch]), fit[1][batch])
        if step in measured:
            with torch.no_grad():
                test = float(task.loss_of(model(tests[0]), tests[1]))
            rows.append({"step": step, "time": pace * step, "train": float(loss.detach()), "test": test})
            if not np.isfinite(test):
                raise NonFiniteError(
                    f"The test loss is {test} after {step} updates at width {width}. Give a smaller `learning_rate` "
                    f"than {task.learning_rate:g}."
                )
        loss.backward()
        optimizer.step()
    return pd.DataFrame(rows), model


def network_spectrum(task: SizeTask, model: nn.Module, seed: int) -> dict[str, np.ndarray]:
    """Modes of a network's operator over the pool, and the target's energies in them.

    A network of ten outputs is taken as ten of one, as it is in the limit of large width: the operator is the mean of
    the blocks of three of its outputs. For the transformer it is the whole operator of all positions and symbols, and
    energies are those of its first error, which for squares is the target.

    Returns:
        As of `kernel_spectrum`; of the transformer, `eigenvalues` and `energies` alone.
    """
    inputs, targets = task.tensors(task.draw(SEQUENCES if task.is_source else 1200, seed)[2])
    model = copy.deepcopy(model).double()
    if task.is_source:
        has_labels = task.loss == "cross_entropy"
        held = targets if has_labels else targets.double()
        point = Probe(model, inputs, held, task.loss, class_axis=2 if has_labels else None).at()
        values, vectors = np.linalg.eigh(point.dense().numpy())
        # Of squares training begins at zero, whatever the untouched network says.
        error = point.error if has_labels else held.flatten() / len(held) ** 0.5
        return {"eigenvalues": values[::-1], "energies": ((vectors.T @ error.numpy()) ** 2)[::-1]}
    held = inputs.double()
    count = min(targets.shape[1], 3)
    blocks = [
        Probe(_one_output(model, k), held, targets[:, :1].double(), "half_sum").at().dense() for k in range(count)
    ]
    return kernel_spectrum(torch.stack(blocks).mean(0).numpy(), targets.double().numpy(), seed)


def _one_output(model: nn.Module, output: int) -> nn.Module:
    """The same network with one of its outputs."""
    made = copy.deepcopy(model)
    assert isinstance(made, MLP)
    last = made.body[-1]
    assert isinstance(last, nn.Linear)
    last.out_features = 1
    for name in ("weight", "bias"):
        setattr(last, name, nn.Parameter(getattr(last, name)[output : output + 1].detach().clone()))
    return made


def kernel_spectrum(
    kernel: Float[np.ndarray, "sample sample"], targets: Float[np.ndarray, "sample output"], seed: int
) -> dict[str, np.ndarray]:
    """Modes of a kernel over a pool, energies, and losses of regression within it.

    Args:
        kernel: K of all pairs.
        targets: Of all samples.
        seed: Of the order in which regressions take samples; all others test.

    Returns:
        `eigenvalues` of K / n, `energies` over n, and columns `regression_samples`, `regression_ridge`,
        `regression_loss`.
    """
    values, vectors = np.linalg.eigh(kernel)
    squares, count = ((vectors.T @ targets) ** 2).sum(1), len(targets)
    table = pd.DataFrame(list(_regressions(kernel, targets, seed)))
    columns = {f"regression_{name}": table[name].to_numpy() for name in table}
    return {"eigenvalues": values[::-1] / count, "energies": squares[::-1] / count, **columns}


def _regressions(kernel: np.ndarray, targets: np.ndarray, seed: int) -> Iterator[dict[str, float]]:
    order = np.random.default_rng(seed).permutation(len(kernel))
    for count in (count for count in COUNTS if count < len(kernel)):
        fit, rest = order[:count], order[count:]
        values, vectors = eigh(kernel[np.ix_(fit, fit)] / count)
        turned, across = vectors.T @ targets[fit], kernel[np.ix_(rest, fit)] @ vectors / count
        for ridge in RIDGES:
            guess = across @ (turned / (np.maximum(values, 0.0) + ridge)[:, None])
            loss = 0.5 * float(((guess - targets[rest]) ** 2).sum(1).mean())
            yield {"samples": float(count), "ridge": ridge, "loss": loss}


def layer_limits(
    task: SizeTask, training: int, features: tuple[int, ...], seed: int
) -> tuple[Mapping[str, dict[str, np.ndarray]], pd.DataFrame]:
    """Spectra of one layer of infinitely many ReLUs, and losses of finitely many.

    Args:
        task: Of squares.
        training: Samples that finitely many are fitted to.
        features: How many.
        seed: Of samples and weights.

    Returns:
        Spectra by name, "ntk" with both layers trained and "features" with the readout alone, from kernels in closed
        form (equations/known_cases.md#ntk-spectra); and a table of the test loss of a readout of N random units, almost
        without ridge. Inputs have one coordinate more, a constant for the biases.
    """
    (fit, labels), (tests, test_labels), (pool, targets) = task.draw(training, seed)
    fit, tests, pool = (np.column_stack([part, np.ones(len(part))]) for part in (fit, tests, pool))
    lengths = np.linalg.norm(pool, axis=1)
    scale = np.outer(lengths, lengths)
    cosine = np.clip(pool @ pool.T / scale, -1.0, 1.0)
    angle, scale = np.pi - np.arccos(cosine), scale / pool.shape[1] / np.pi
    kernels = {"features": scale * (cosine * angle + np.sqrt(1.0 - cosine**2))}
    kernels["ntk"] = kernels["features"] + scale * cosine * angle
    spectra = {name: kernel_spectrum(one, targets, seed) for name, one in kernels.items()}
    rng, rows = np.random.default_rng(seed), []
    for count in features:
        weights = rng.standard_normal((fit.shape[1], count)) * np.sqrt(2.0 / count / fit.shape[1])
        units, test_units = (np.maximum(part @ weights, 0.0) for part in (fit, tests))
        gram = units.T @ units / training
        gram += 1e-10 * np.trace(gram) * np.eye(count)
        readout = np.linalg.solve(gram, units.T @ labels / training)
        loss = 0.5 * float(((test_units @ readout - test_labels) ** 2).sum(1).mean())
        rows.append({"width": count, "samples": training, "seed": seed, "test": loss})
    return spectra, pd.DataFrame(rows)
