"""Parametrisations of an MLP: what the width changes, against the limits that are known of wide networks."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from eigenflow.core.errors import ConfigError
from eigenflow.lab import load_config
from eigenflow.lab.models import build_model
from eigenflow.lab.tasks import load_task
from eigenflow.lab.trainer import Trainer
from eigenflow.tangent import Probe
from reference import dense_jacobian as oracle

SMALL = ["task.samples=12", "task.holdout=0", "model.output_scale=1.0", "train.steps=20"]
SEEDS = range(4)


def make(kind, width, seed=0, *changes):
    changes = [f"model.parametrisation={kind}", f"model.width={width}", f"model.seed={seed}", *changes]
    config = load_config("digits", [*SMALL, *changes])
    task = load_task(config.task)
    return config, build_model(*task.sizes, config.model), task


def slope(widths, values):
    return np.polyfit(np.log(widths), np.log(values), 1)[0]


def arc_cosine_kernel(x, bias=1.0):
    """The limit of a ReLU network with one hidden layer, Cho and Saul (2009): no width in it. `bias`: 0 without."""
    x = x / x.shape[1] ** 0.5
    inner, norms = x @ x.T, np.linalg.norm(x, axis=1)
    lengths = np.outer(norms, norms)
    angle = np.arccos(np.clip(inner / lengths, -1, 1))
    values = lengths * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    return values + (np.pi - angle) / (2 * np.pi) * (inner + bias) + bias


def test_ntk_parametrisation_is_the_formula_and_the_standard_function():
    _, standard, task = make("standard", 8)
    _, model, _ = make("ntk", 8)
    weights = list(model.parameters())
    x = task.inputs
    for w, b in zip(weights[0:4:2], weights[1:4:2], strict=True):
        x = torch.tanh(functional.linear(x, w) / x.shape[1] ** 0.5 + b)
    expected = functional.linear(x, weights[4]) / 8**0.5 + weights[5]
    torch.testing.assert_close(model(task.inputs), expected, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(model(task.inputs), standard(task.inputs), rtol=1e-12, atol=1e-14)


def test_maximal_update_is_the_ntk_network_at_a_smaller_output_and_larger_rates():
    """One over sqrt(width) on the outputs, width times the rate of everything before them: the same functions."""
    width = 16
    config, maximal, task = make("maximal_update", width)
    _, ntk, _ = make("ntk", width, 0, f"model.output_scale={width**-0.5}")
    rate = config.train.learning_rate
    # The output's bias stands behind the factor that its weights are smaller by.
    groups = [
        {"params": [p for p in ntk.parameters() if p.shape != (10,)], "lr": rate * width},
        {"params": [p for p in ntk.parameters() if p.shape == (10,)], "lr": rate * width},
    ]
    optimizer = torch.optim.SGD(groups, lr=rate)
    for update in Trainer(maximal, task.inputs, task.targets, config.train).updates():
        loss = functional.mse_loss(ntk(task.inputs), task.targets)
        assert update.loss == pytest.approx(float(loss.detach()), rel=1e-10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.long
def test_operator_in_ntk_parametrisation_converges_to_the_arc_cosine_kernel():
    """A sample mean over the width: the miss falls as width^-0.5. Four seeds at three widths leave 0.1 of a slope."""
    widths, missed = (128, 512, 2048), []
    for width in widths:
        found = []
        for seed in SEEDS:
            _, model, task = make("ntk", width, seed, "model.depth=1", "model.activation=relu")
            kernel = oracle.kernel(model, task.inputs, 1.0).numpy()
            limit = np.kron(arc_cosine_kernel(task.inputs.numpy()), np.eye(10))
            found.append(np.linalg.norm(kernel - limit) / np.linalg.norm(limit))
        missed.append(np.mean(found))
    assert missed[-1] < 0.1
    assert slope(widths, missed) == pytest.approx(-0.5, abs=0.2)


def hidden(model, inputs):
    """Units of the second hidden layer before their activation."""
    return model.body[:3](inputs).detach()


def moved(kind, width, seed):
    """Relative motion of the operator, and RMS motion of hidden units by the first update and by all twenty."""
    config, model, task = make(kind, width, seed, "model.depth=2", "model.centred=true")
    probe = Probe(model, task.inputs, task.targets)
    operator, units, steps = probe.at().dense(), hidden(model.network, task.inputs), []
    for _ in Trainer(model, task.inputs, task.targets, config.train).updates():
        steps.append(float((hidden(model.network, task.inputs) - units).square().mean().sqrt()))
    distance = (probe.at().dense() - operator).norm() / operator.norm()
    return float(distance), steps[0], steps[-1]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "expected"), [("ntk", (-1.0, -0.5, -0.5)), ("maximal_update", (None, 0.0, 0.0))])
def test_how_far_wide_networks_move(kind, expected):
    """Coordinate check: units move by width^-0.5 under the NTK and by a constant under maximal update.

    The first-order changes of M have no preferred sign and average out over units, which leaves 1 / width under the NTK
    (the bound in the literature is width^-0.5); under maximal update M moves by more than half of what it does at the
    smallest width. Corrections are of relative order width^-0.5, 0.13 at 64: 0.06 of a slope over a factor of 8.
    """
    widths = (64, 128, 256, 512)
    found = np.array([np.mean([moved(kind, width, seed) for seed in SEEDS], axis=0) for width in widths])
    for values, exponent in zip(found.T, expected, strict=True):
        if exponent is not None:
            assert slope(widths, values) == pytest.approx(exponent, abs=0.1)
    if kind == "maximal_update":
        assert found[-1, 0] > 0.5 * found[0, 0]


def test_operator_of_a_parametrised_network_is_formed_by_rules():
    for kind in ("ntk", "maximal_update"):
        config, model, task = make(kind, 6, 0, "model.depth=3", "model.residual=true")
        probe = Probe(model, task.inputs, task.targets, loss=config.train.loss)
        assert probe.describe()["method"] == "dense, layer rules for all parameters"
        expected = torch.linalg.eigvalsh(oracle.kernel(model, task.inputs, 2.0 / 120)).flip(0)
        found = probe.measure().eigenvalues
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * float(expected[0]))


@pytest.mark.rejects
@pytest.mark.parametrize("changes", [["model.name=cnn", "model.depth=2"], ["model.depth=0"]])
def test_only_an_mlp_with_hidden_layers_has_parametrisations(changes):
    with pytest.raises(ConfigError, match="parametrisation must be 'standard' without a hidden layer"):
        load_config("digits", ["model.parametrisation=ntk", *changes])
