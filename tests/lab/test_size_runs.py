"""Runs over sizes: samples that are apart, spectra that are the operator's, kernels in closed form."""

import numpy as np
import pytest
import torch

from eigenflow.core.errors import NonFiniteError
from eigenflow.lab import size_runs
from eigenflow.lab.size_runs import SizeTask, kernel_spectrum, layer_limits, network_spectrum, train_size

pytestmark = pytest.mark.measure


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(size_runs, "POOL", 60)
    monkeypatch.setattr(size_runs, "TESTS", 40)
    monkeypatch.setattr(size_runs, "SEQUENCES", 2)


@pytest.mark.parametrize("name", ["patches", "photograph"])
def test_samples_are_apart(name: str):
    parts = SizeTask(name).draw(50, seed=0)
    assert [len(inputs) for inputs, _ in parts] == [50, 40, 60]
    rows = np.concatenate([np.column_stack(part) for part in parts])
    assert len(np.unique(rows, axis=0)) == 150


def test_larger_training_sets_of_digits_hold_the_smaller_ones_and_no_tests():
    (few, _), (tests, _), _ = SizeTask("digits").draw(50, seed=1)
    (many, _), (same, _), _ = SizeTask("digits").draw(1200, seed=1)
    assert (many[:50] == few).all() and (tests == same).all() and len(tests) == 597


def test_spectrum_is_that_of_the_jacobian():
    """K of a one-output network, from its gradients sample by sample."""
    task = SizeTask("photograph")
    model = task.network(4, 1, 6, seed=0)
    inputs, targets = (part.double() for part in task.tensors(task.draw(1200, 3)[2]))
    double = model.double()
    rows = []
    for one in inputs:
        grads = torch.autograd.grad(double(one[None]).sum(), list(double.parameters()))
        rows.append(torch.cat([g.ravel() for g in grads]))
    J = torch.stack(rows).numpy()
    found = network_spectrum(task, model, 3)
    count = len(J)
    expected = np.linalg.svd(J, compute_uv=False) ** 2 / count
    assert found["eigenvalues"][: len(expected)] == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert found["energies"].sum() == pytest.approx(float((targets**2).mean()), rel=1e-6)


def test_regressions_are_those_of_the_normal_equations():
    rng = np.random.default_rng(0)
    features, targets = rng.standard_normal((80, 200)), rng.standard_normal((80, 2))
    found = kernel_spectrum(features @ features.T, targets, seed=5)
    order = np.random.default_rng(5).permutation(80)
    fit, rest = order[:32], order[32:]
    weights = np.linalg.solve(features[fit].T @ features[fit] + 32e-2 * np.eye(200), features[fit].T @ targets[fit])
    expected = 0.5 * ((features[rest] @ weights - targets[rest]) ** 2).sum(1).mean()
    at = (found["regression_samples"] == 32) & (found["regression_ridge"] == 1e-2)
    assert found["regression_loss"][at] == pytest.approx([expected], rel=1e-8)


def test_limits_are_those_of_many_units():
    """The spectrum of 20,000 random units is that of the closed form, to 1 / sqrt(20,000) times a few."""
    spectra, table = layer_limits(SizeTask("photograph"), 50, (5, 10), seed=0)
    (_, _), (_, _), (pool, _) = SizeTask("photograph").draw(50, seed=0)
    pool = np.column_stack([pool, np.ones(len(pool))])
    rng = np.random.default_rng(9)
    weights, readout = rng.standard_normal((5, 20_000)), rng.standard_normal(20_000)
    on = (pool @ weights > 0).astype(float)
    units = np.sqrt(2.0 / 20_000 / 5) * on * (pool @ weights)
    moved = 2.0 / 20_000 / 5 * ((on * readout**2) @ on.T) * (pool @ pool.T)
    for name, kernel in (("features", units @ units.T), ("ntk", units @ units.T + moved)):
        values = np.linalg.eigvalsh(kernel / len(pool))[::-1]
        assert spectra[name]["eigenvalues"][:5] == pytest.approx(values[:5], rel=0.04)
    assert table["width"].tolist() == [5, 10] and (table["test"] > 0).all()


@pytest.mark.parametrize("name", ["patches", "digits"])
def test_training_learns_and_starts_at_zero(name: str):
    task = SizeTask(name, learning_rate=0.2)
    table, _ = train_size(task, 8, 40, 30, seed=0)
    targets = task.draw(40, seed=0)[0][1]
    assert table["train"][0] == pytest.approx(0.5 * float((targets**2).sum(1).mean()), rel=1e-4)
    assert table["test"].iloc[-1] < table["test"][0]
    assert table["time"].iloc[-1] == pytest.approx(30 * 0.2 / 0.1)


def test_a_transformer_learns_bytes():
    task = SizeTask("source", optimizer="adamw", loss="cross_entropy", learning_rate=0.005)
    table, model = train_size(task, 8, 80, 20, seed=0)
    assert table["test"].iloc[-1] < table["test"][0]
    assert len(network_spectrum(task, model, 0)["eigenvalues"]) == 2 * 8 * 24


def test_energies_of_squares_are_the_target_s():
    """One-hot minus 1/24: each of 8 positions has a square of 23/24, summed over a sequence."""
    task = SizeTask("source")
    found = network_spectrum(task, task.network(8, 24, 8, 0), 0)
    assert found["energies"].sum() == pytest.approx(8 * 23 / 24, rel=1e-6)


def test_divergence_is_said():
    with pytest.raises(NonFiniteError, match=r"Give a smaller `learning_rate` than 50"):
        train_size(SizeTask("patches", learning_rate=50.0), 8, 40, 200, seed=0)
