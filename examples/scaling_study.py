"""
Scaling laws predicted from a measured spectrum
===============================================

Networks of many widths, trained on training sets of many sizes, and the spectrum of the same network on the population.

Three tasks with squared loss and gradient descent (the middle of natural-image patches, a photograph from the places of
its pixels, handwritten digits), each in NTK and in maximal-update parametrisation, and a small transformer on source
text with AdamW. The spectrum predicts how the test loss falls with width, samples and time; the runs say how it does.
docs/validation/predictions.md shows and discusses what comes out.

``record`` trains, about twenty minutes of one core for all; ``status`` says what is there; ``judge`` fits exponents and
holds the predicted ones against them:

.. code-block:: bash

    python examples/scaling_study.py record runs/scaling
    python examples/scaling_study.py judge runs/scaling
"""

# sphinx_gallery_thumbnail_path = "images/predictions_regime.png"
import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

SEEDS = (0, 1, 2)
MOMENTUM = 0.9
WIDTHS = (8, 16, 32, 64, 128)
COUNTS = (50, 100, 200, 400, 800, 1600)
RIDGES = (1e-10, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # on K / n, in eigenvalue units
POOL = 2400  # samples that stand for the population
TESTS = 2000


class Kind(NamedTuple):
    """A task with a network for it.

    Attributes:
        task: "patches", "photograph", "digits" or "source".
        parametrisation: Of the layers; "standard" for the transformer.
        optimizer: "sgd" (heavy ball) or "adamw".
        loss: "half_mean" or "cross_entropy".
        rate: Learning rate.
        steps: Updates of the runs over samples, and of those over widths.
        counts: Training samples (sequences of "source") of the runs over samples.
        widths: Of the runs over widths.
        width: Of the runs over samples.
        samples: Of the runs over widths.
    """

    task: str
    parametrisation: str
    optimizer: str
    loss: str
    rate: float
    steps: tuple[int, int]
    counts: tuple[int, ...] = COUNTS
    widths: tuple[int, ...] = WIDTHS
    width: int = 128
    samples: int = 1000


def _gpt(optimizer: str, loss: str, rate: float, counts: tuple[int, ...], widths: tuple[int, ...]) -> Kind:
    return Kind("source", "standard", optimizer, loss, rate, (500, 500), counts, widths, 32, 4096)


DIGITS = (37, 75, 150, 300, 600, 1200)
KINDS: dict[str, Kind] = {
    "patches, lazy": Kind("patches", "ntk", "sgd", "half_mean", 0.4, (1000, 800)),
    "patches, rich": Kind("patches", "maximal_update", "sgd", "half_mean", 0.2, (1000, 800)),
    "photograph, lazy": Kind("photograph", "ntk", "sgd", "half_mean", 0.4, (1000, 800), COUNTS[:5]),
    "digits, lazy": Kind("digits", "ntk", "sgd", "half_mean", 0.4, (1000, 800), DIGITS),
    "digits, rich": Kind("digits", "maximal_update", "sgd", "half_mean", 0.2, (1000, 800), DIGITS),
    "source, adamw": _gpt("adamw", "cross_entropy", 0.002, (128, 256, 512, 1024, 2048, 4096), (8, 16, 32, 64)),
    "source, squares": _gpt("sgd", "half_mean", 0.01, (4096,), ())._replace(steps=(1000, 0)),
}

# Their networks are infinitely wide: kernels in closed form, and random features with a trained readout.
LIMITS = ("patches, limit", "photograph, limit", "digits, limit")
FEATURES = (8, 16, 32, 64, 128, 256, 512)

Samples = tuple[Any, Any]


def draw(kind: Kind, training: int, seed: int) -> tuple[Samples, Samples, Samples]:
    """Samples for training, for tests, and for the spectrum: inputs and targets each.

    Of the digits, which are few, those for the spectrum are all.
    """
    rng = np.random.default_rng(1000 + seed)
    if kind.task == "source":
        from eigenflow.lab.source_text import draw_sequences

        train, rest = draw_sequences(training, TESTS + 12, 9, 24, rng=rng)
        parts = (train, rest[12:], rest[:12])
        return tuple((part[:, :-1], part[:, 1:]) for part in parts)  # pyright: ignore[reportReturnType]
    if kind.task == "digits":
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        order = rng.permutation(len(pixels))
        inputs, targets = ((pixels - pixels.mean()) / pixels.std())[order], (np.eye(10) - 0.1)[labels[order]]
        return (inputs[:training], targets[:training]), (inputs[1200:], targets[1200:]), (inputs, targets)
    if kind.task == "patches":
        from eigenflow.lab.patches import draw_patches

        inputs, targets, _, _ = draw_patches(training + TESTS + POOL, 0, 7, 1, rng=rng)
    else:
        inputs, targets = _photograph(training + TESTS + POOL, rng)
    ends = training, training + TESTS
    return (
        (inputs[: ends[0]], targets[: ends[0]]),
        (inputs[ends[0] : ends[1]], targets[ends[0] : ends[1]]),
        (inputs[ends[1] :], targets[ends[1] :]),
    )


def _photograph(count: int, rng: np.random.Generator) -> Samples:
    """Pixels without replacement: place on a quarter of a torus, as two unit vectors, and grey value."""
    from eigenflow.lab.patches import grey_photographs

    image = grey_photographs()[0]
    row, column = np.unravel_index(rng.permutation(image.size)[:count], image.shape)
    angles = np.pi * row / image.shape[0], np.pi * column / image.shape[1]
    inputs = np.sqrt(2.0) * np.stack([f(angle) for angle in angles for f in (np.cos, np.sin)], axis=1)
    return inputs, ((image - image.mean()) / image.std())[row, column][:, None]


def network(kind: Kind, inputs: Any, outputs: int, width: int, seed: int) -> Any:
    """In single precision; a smooth activation has an exponential spectrum on the photograph's plane, a kink a power."""
    from eigenflow.lab.config import ModelConfig
    from eigenflow.lab.models import build_model

    if kind.task == "source":
        config = ModelConfig(name="gpt", width=width, depth=2, heads=2, activation="gelu", seed=100 + seed)
    else:
        activation = "relu" if kind.task == "photograph" else "tanh"
        config = ModelConfig(
            width=width, depth=2, activation=activation, parametrisation=kind.parametrisation, seed=100 + seed
        )  # pyright: ignore[reportArgumentType]
    return build_model(inputs.shape[1], outputs, config).float()


def _tensors(kind: Kind, samples: Samples) -> tuple[Any, Any]:
    import torch

    inputs, targets = (torch.from_numpy(np.ascontiguousarray(part)) for part in samples)
    if kind.task == "source":
        if kind.loss == "half_mean":
            targets = torch.eye(24)[targets] - 1.0 / 24
        return inputs, targets
    return inputs.float(), targets.float()


def _loss(kind: Kind, outputs: Any, targets: Any) -> Any:
    from torch.nn import functional

    if kind.loss == "cross_entropy":
        return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())
    return 0.5 * ((outputs - targets) ** 2).flatten(0, -2).sum(-1).mean()


def train(kind: Kind, width: int, training: int, steps: int, seed: int) -> tuple[pd.DataFrame, Any]:
    """One run: training and test loss at 25 log-spaced steps, and the network that came out.

    Networks of the squared loss begin at zero: what the untouched one says is added to the targets.
    """
    import torch

    fit, tests, _ = (_tensors(kind, part) for part in draw(kind, training, seed))
    outputs = 24 if kind.task == "source" else fit[1].shape[-1]
    model = network(kind, fit[0], outputs, width, seed)
    if kind.loss == "half_mean":
        with torch.no_grad():
            fit, tests = ((x, y + model(x)) for x, y in (fit, tests))
    made = torch.optim.SGD(model.parameters(), lr=kind.rate, momentum=MOMENTUM)
    if kind.optimizer == "adamw":
        made = torch.optim.AdamW(model.parameters(), lr=kind.rate)
    measured = set(np.unique(np.geomspace(1, steps, 25).astype(int)).tolist())
    pace = kind.rate / (1.0 - MOMENTUM) if kind.optimizer == "sgd" else kind.rate
    rows = []
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps + 1):
        if step == 0 or step in measured:
            with torch.no_grad():
                held_out = float(_loss(kind, model(tests[0]), tests[1]))
        batch = slice(None)
        if kind.task == "source":
            batch = torch.randint(training, (64,), generator=generator)
        made.zero_grad()
        loss = _loss(kind, model(fit[0][batch]), fit[1][batch])
        if step == 0 or step in measured:
            rows.append({"step": step, "time": pace * step, "train": float(loss.detach()), "test": held_out})
        loss.backward()
        made.step()
    return pd.DataFrame(rows), model


def spectrum(kind: Kind, model: Any, seed: int) -> dict[str, np.ndarray]:
    """Eigenvalues of the network's operator over the pool, and the target's energies in its modes.

    A network of ten outputs is taken as ten of one, as in the limit of large width: the operator is the mean of its ten
    diagonal blocks. For the transformer it is the whole operator of the pool's positions and symbols, and
    energies are those of its error.
    """
    import torch

    from eigenflow.tangent import Probe

    pool = _tensors(kind, draw(kind, 8 if kind.task == "source" else 1200, seed)[2])
    if kind.task == "source":
        axis = {"class_axis": 2} if kind.loss == "cross_entropy" else {}
        targets = pool[1] if axis else pool[1].double()
        point = Probe(model.double(), pool[0], targets, kind.loss, **axis).at()
        values, vectors = np.linalg.eigh(point.dense().numpy())
        squares = (vectors.T @ point.error.numpy()) ** 2
        return {"eigenvalues": values[::-1], "energies": squares[::-1]}
    inputs, targets = pool[0].double(), pool[1].double()
    blocks = []
    for output in range(min(targets.shape[1], 3)):  # three of ten outputs are enough for a mean
        one = _one_output(model.double(), output)
        blocks.append(Probe(one, inputs, targets[:, :1], "half_sum").at().dense().numpy())
    kernel = np.mean(blocks, axis=0)
    return kernel_spectrum(kernel, targets.numpy(), seed)


def kernel_spectrum(kernel: np.ndarray, targets: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Modes of a kernel over the pool, the target's energies in them, and losses of regression with it."""
    values, vectors = np.linalg.eigh(kernel)
    squares = ((vectors.T @ targets) ** 2).sum(1)
    count = len(targets)
    regression = pd.DataFrame(list(_regressions(kernel, targets, seed)))
    return {
        "eigenvalues": values[::-1] / count,
        "energies": squares[::-1] / count,
        **{f"regression_{name}": regression[name].to_numpy() for name in regression},
    }


def _one_output(model: Any, output: int) -> Any:
    """The same network with one of its outputs."""
    import copy

    import torch

    made = copy.deepcopy(model)
    last = made.body[-1]
    last.out_features = 1
    last.weight = torch.nn.Parameter(last.weight[output : output + 1].detach().clone())
    last.bias = torch.nn.Parameter(last.bias[output : output + 1].detach().clone())
    return made


def _regressions(kernel: np.ndarray, targets: np.ndarray, seed: int) -> Iterator[dict[str, float]]:
    """Test loss of regression with the kernel on parts of the pool, over samples and ridges."""
    from scipy.linalg import eigh

    pool = len(kernel)
    order = np.random.default_rng(seed).permutation(pool)
    for count in (32, 64, 128, 256, 512, 1024):
        fit, rest = order[:count], order[count:]
        values, vectors = eigh(kernel[np.ix_(fit, fit)] / count)
        turned, across = vectors.T @ targets[fit], kernel[np.ix_(rest, fit)] @ vectors / count
        for ridge in RIDGES:
            guess = across @ (turned / (np.maximum(values, 0.0) + ridge)[:, None])
            loss = 0.5 * float(((guess - targets[rest]) ** 2).sum(1).mean())
            yield {"samples": float(count), "ridge": ridge, "loss": loss}


def limit(task: str, seed: int) -> tuple[dict[str, dict[str, np.ndarray]], pd.DataFrame]:
    """Spectra of two kernels of a layer of infinitely many ReLUs, and losses of finitely many.

    "ntk" is that of a network with both layers trained, "features" that of its readout alone. Inputs have a constant coordinate
    more, the biases. The losses are those of a readout of N random units, fitted to training samples almost without
    ridge.
    """
    kind = KINDS[f"{task}, lazy"]
    (fit, labels), (tests, test_labels), (pool, targets) = draw(kind, max(kind.counts), seed)
    fit, tests, pool = (np.column_stack([part, np.ones(len(part))]) for part in (fit, tests, pool))
    lengths = np.linalg.norm(pool, axis=1)
    cosine = np.clip(pool @ pool.T / np.outer(lengths, lengths), -1.0, 1.0)
    angle = np.pi - np.arccos(cosine)
    scale = np.outer(lengths, lengths) / pool.shape[1]
    features = scale * (cosine * angle + np.sqrt(1.0 - cosine**2)) / np.pi
    tangent = features + scale * cosine * angle / np.pi
    found = {name: kernel_spectrum(one, targets, seed) for name, one in (("features", features), ("ntk", tangent))}
    rng = np.random.default_rng(seed)
    rows = []
    for count in FEATURES:
        weights = rng.standard_normal((fit.shape[1], count))
        units, test_units = (np.sqrt(2.0 / count / fit.shape[1]) * np.maximum(x @ weights, 0.0) for x in (fit, tests))
        gram = units.T @ units / len(fit)
        readout = np.linalg.solve(gram + 1e-10 * np.trace(gram) * np.eye(count), units.T @ labels / len(fit))
        loss = 0.5 * float(((test_units @ readout - test_labels) ** 2).sum(1).mean())
        rows.append({"width": count, "samples": len(fit), "seed": seed, "test": loss})
    return found, pd.DataFrame(rows)


def record_limits(out: Path, names: list[str]) -> None:
    """Spectra and losses of infinitely wide networks."""
    for seed in SEEDS:
        for name in names:
            folder = folder_of(out, name)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"width-s{seed}.csv"
            if not path.exists():
                start = time.process_time()
                spectra, table = limit(name.split(", ")[0], seed)
                for which, one in spectra.items():
                    np.savez(folder / f"{which}-s{seed}.npz", **one)  # pyright: ignore[reportArgumentType]
                spent = time.process_time() - start
                table.assign(resource="width", cpu_s=spent).to_csv(path, index=False)
                print(f"{name}, seed {seed}: {spent:.1f} s", flush=True)


def jobs(names: list[str]) -> Iterator[tuple[str, str, int, int, int]]:
    """What is trained: kind, "samples" or "width", width, training samples, seed; one seed after the other."""
    for seed in SEEDS:
        for name in names:
            kind = KINDS[name]
            yield from ((name, "samples", kind.width, count, seed) for count in kind.counts)
            yield from ((name, "width", width, kind.samples, seed) for width in kind.widths)


def folder_of(out: Path, name: str) -> Path:
    return out / name.replace(", ", "-")


def record(out: Path, names: list[str]) -> None:
    """Train what is not there yet: a CSV a run, and spectra of the first and of the trained network."""
    import torch

    torch.set_num_threads(1)
    for name, resource, width, count, seed in jobs(names):
        kind, folder = KINDS[name], folder_of(out, name)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{resource}-w{width}-n{count}-s{seed}.csv"
        if path.exists():
            continue
        start = time.process_time()
        table, model = train(kind, width, count, kind.steps[resource == "width"], seed)
        if resource == "samples" and count == max(kind.counts):
            fit = draw(kind, 8 if kind.task == "source" else 40, seed)[0]
            outputs = 24 if kind.task == "source" else fit[1].shape[-1]
            first = network(kind, fit[0], outputs, width, seed)
            np.savez(folder / f"first-s{seed}.npz", **spectrum(kind, first, seed))  # pyright: ignore[reportArgumentType]
            if seed == SEEDS[0]:
                np.savez(folder / f"trained-s{seed}.npz", **spectrum(kind, model, seed))  # pyright: ignore[reportArgumentType]
        spent = time.process_time() - start
        table.assign(resource=resource, width=width, samples=count, seed=seed, cpu_s=spent).to_csv(path, index=False)
        print(f"{name}, {path.stem}: test {table['test'].iloc[-1]:.4g}, {spent:.1f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["record", "status", "judge"])
    parser.add_argument("out", nargs="?", default="runs/scaling")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), metavar="NAME", help=f"Some of: {'; '.join(KINDS)}")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    record(Path(given.out), given.kinds or list(KINDS))
