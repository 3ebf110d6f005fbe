"""Reference networks: shortcuts, and the centred network whose output scale leads to the lazy limit."""

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

SMALL = ["task.samples=10", "task.holdout=0", "model.width=6", "model.depth=3", "train.batch_size=0"]


def make(*changes, name="digits"):
    config = load_config(name, [*SMALL, *changes])
    return config, build_model(64, 10, config.model), load_task(config.task)


def test_residual_mlp_is_the_formula():
    """x1 = tanh(W1 x), x2 = x1 + tanh(W2 x1) / sqrt(2), x3 alike, written out."""
    _, model, task = make("model.residual=true")
    (w1, b1), (w2, b2), (w3, b3), (w4, b4) = zip(*[iter(model.parameters())] * 2, strict=True)
    x = torch.tanh(task.inputs @ w1.T + b1)
    for w, b in ((w2, b2), (w3, b3)):
        x = x + torch.tanh(x @ w.T + b) / 2**0.5
    torch.testing.assert_close(model(task.inputs), 0.3 * (x @ w4.T + b4), rtol=1e-13, atol=1e-15)


def test_residual_cnn_is_the_formula():
    """The shortcut takes every second pixel, and the new channels start from zero."""
    _, model, task = make("model.residual=true", "model.width=2", name="digits-cnn")
    weights = list(model.parameters())
    x = torch.tanh(functional.conv2d(task.inputs.reshape(-1, 1, 8, 8), weights[0], weights[1], padding=1))
    for w, b in (weights[2:4], weights[4:6]):
        branch = torch.tanh(functional.conv2d(x, w, b, padding=1, stride=2))
        shortcut = torch.zeros_like(branch)
        shortcut[:, : x.shape[1]] = x[:, :, ::2, ::2]
        x = shortcut + branch / 2**0.5
    expected = 0.3 * (x.flatten(1) @ weights[6].T + weights[7])
    torch.testing.assert_close(model(task.inputs), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ["digits", "digits-cnn"])
def test_plain_and_residual_networks_start_from_the_same_weights(name):
    plain, residual = (make(f"model.residual={value}", name=name)[1] for value in ("false", "true"))
    for a, b in zip(plain.parameters(), residual.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["digits", "digits-cnn"])
@pytest.mark.parametrize("centred", ["false", "true"])
def test_operator_of_a_residual_network_is_formed_by_rules(name, centred):
    config, model, task = make("model.residual=true", f"model.centred={centred}", "model.width=3", name=name)
    probe = Probe(model, task.inputs, task.targets, loss=config.train.loss)
    assert probe.describe()["method"] == "dense, layer rules for all parameters"
    expected = torch.linalg.eigvalsh(oracle.kernel(model, task.inputs, 2.0 / 100)).flip(0)
    found = probe.measure().eigenvalues
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * float(expected[0]))


def test_centred_network_starts_at_zero_and_trains_like_the_shifted_problem():
    """alpha (h - h0) against y is h alpha against y + alpha h0: the same weights after any number of updates."""
    config, centred, task = make("model.centred=true", "train.steps=25")
    _, plain, _ = make()
    assert float(centred(task.inputs).detach().abs().max()) == 0.0
    with torch.no_grad():
        shifted = task.targets + plain(task.inputs)
    for model, targets in ((centred, task.targets), (plain, shifted)):
        for _ in Trainer(model, task.inputs, targets, config.train).updates():
            pass
    trained = [p for p in centred.parameters() if p.requires_grad]
    for a, b in zip(trained, plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.long
def test_operator_moves_as_one_over_the_output_scale():
    """Chizat's lazy limit: ||M - M0|| / ||M0|| ~ 1 / alpha at equal time, and 1 - cos angle ~ 1 / alpha^2.

    The first correction is relative O(1 / alpha) = 0.03 at alpha = 30, so slopes are -1 and -2 within 0.05.
    """
    moved, turned = [], []
    for alpha in (30.0, 100.0):
        config, model, task = make(
            "model.centred=true",
            f"model.output_scale={alpha}",
            f"train.learning_rate={0.045 / alpha**2}",  # at 0.5, stable at alpha = 0.3, divided like alpha^2
            "train.steps=300",
        )
        before = oracle.kernel(model, task.inputs, 1.0)
        for _ in Trainer(model, task.inputs, task.targets, config.train).updates():
            pass
        after = oracle.kernel(model, task.inputs, 1.0)
        moved.append(float((after - before).norm() / before.norm()))
        turned.append(1 - float((after * before).sum() / (after.norm() * before.norm())))
    slopes = [np.log(x[1] / x[0]) / np.log(100 / 30) for x in (moved, turned)]
    assert slopes == [pytest.approx(-1.0, abs=0.05), pytest.approx(-2.0, abs=0.05)]


@pytest.mark.rejects
def test_shortcuts_need_a_second_hidden_layer():
    with pytest.raises(ConfigError, match="depth must be 2 or more for residual = true"):
        load_config("digits", ["model.depth=1", "model.residual=true"])
