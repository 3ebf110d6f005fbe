"""Networks trained side by side, and their kernels: autograd, and gradient descent by hand in double precision."""

import numpy as np
import pytest
import torch

from eigenflow.core.errors import NonFiniteError
from eigenflow.lab.double_descent.config import NetworksConfig, load_double_descent
from eigenflow.lab.double_descent.measuring import measure_networks, recorded_steps
from eigenflow.lab.double_descent.networks import (
    Weights,
    initial_weights,
    network_outputs,
    parameter_count,
    tangent_kernel,
    train_networks,
)

pytestmark = pytest.mark.measure


def settings(**changes):
    return NetworksConfig.model_validate({"learning_rate": 0.2, "output_scale": 0.7, **changes})


def function(flat, x, width, outputs, config):
    """The same network by torch, from all of its parameters in one row."""
    inputs = x.shape[-1]
    sizes = [inputs * width, width, width * outputs, outputs]
    W, b, a, c = torch.split(flat, sizes)
    active = {"tanh": torch.tanh, "relu": torch.relu}[config.activation](x @ W.reshape(inputs, width) / inputs**0.5 + b)
    return config.output_scale * (active @ a.reshape(width, outputs) / width**0.5 + c)


def flat(weights, index):
    parts = (weights.hidden, weights.bias, weights.readout, weights.constant)
    return torch.from_numpy(np.concatenate([part[index].ravel() for part in parts]))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_kernel_and_outputs_are_those_of_autograd(activation, outputs):
    config, rng = settings(activation=activation), np.random.default_rng(0)
    weights = initial_weights([0, 1], 5, 4, outputs)
    weights = Weights(
        weights.hidden, rng.standard_normal((2, 1, 5)), weights.readout, rng.standard_normal((2, 1, outputs))
    )
    x, y = rng.standard_normal((2, 6, 4)), rng.standard_normal((2, 3, 4))
    kernel, made = tangent_kernel(weights, x, y, config), network_outputs(weights, x, config)
    for index in range(2):
        parameters = flat(weights, index)
        assert len(parameters) == parameter_count(5, 4, outputs)
        J, J_other = (
            torch.func.jacrev(function)(parameters, torch.from_numpy(z[index]), 5, outputs, config) for z in (x, y)
        )
        expected = torch.einsum("icp,jkp->icjk", J, J_other)
        np.testing.assert_allclose(kernel[index], expected, atol=1e-12)
        by_torch = function(parameters, torch.from_numpy(x[index]), 5, outputs, config)
        np.testing.assert_allclose(made[index], by_torch, atol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_training_is_gradient_descent(activation, outputs):
    """By hand with autograd in double precision. Training is in single precision: 1e-7 a step, over 200 steps."""
    config, rng = settings(activation=activation), np.random.default_rng(1)
    weights = initial_weights([3, 4], 6, 4, outputs)
    x, y = rng.standard_normal((2, 8, 4)), rng.standard_normal((2, 8, outputs))
    path = train_networks(weights, x, y, config, np.array([0, 1, 20, 200]))
    for index in range(2):
        parameters, inputs = flat(weights, index), torch.from_numpy(x[index])
        labels = torch.from_numpy(y[index]) + function(parameters, inputs, 6, outputs, config)

        def loss(p, inputs=inputs, labels=labels):
            return 0.5 * ((function(p, inputs, 6, outputs, config) - labels) ** 2).sum() / 8

        kept = [parameters]
        for step in range(1, 201):
            parameters = parameters - 0.2 * torch.func.grad(loss)(parameters)
            if step in (1, 20, 200):
                kept.append(parameters)
        for found, expected in zip(path, kept, strict=True):
            np.testing.assert_allclose(flat(found, index), expected, atol=2e-5)
        assert loss(parameters) < 0.5 * loss(kept[0])


def test_networks_side_by_side_do_not_touch_each_other():
    config, rng = settings(), np.random.default_rng(2)
    weights = initial_weights([0, 1, 2], 4, 3, 1)
    x, y = rng.standard_normal((3, 5, 3)), rng.standard_normal((3, 5, 1))
    together = train_networks(weights, x, y, config, np.array([0, 50]))[-1]
    one = Weights(*(part[1:2] for part in (weights.hidden, weights.bias, weights.readout, weights.constant)))
    alone = train_networks(one, x[1:2], y[1:2], config, np.array([0, 50]))[-1]
    np.testing.assert_allclose(together.hidden[1], alone.hidden[0], atol=1e-6)


@pytest.mark.rejects
def test_divergence_names_the_rate():
    rng = np.random.default_rng(3)
    weights = initial_weights([0], 4, 3, 1)
    with pytest.raises(NonFiniteError, match=r"width 4 has diverged by update \d+. Lower networks.learning_rate.*50"):
        train_networks(
            weights,
            rng.standard_normal((1, 5, 3)),
            rng.standard_normal((1, 5, 1)),
            settings(learning_rate=50.0, activation="relu"),
            np.array([0, 10, 400]),
        )


def small(*changes):
    common = ["task.samples=[20]", "task.holdout=40", "task.seeds=2", "task.noise=[0.3]", "networks.steps=400"]
    return load_double_descent(None, [*common, "features.counts=[]", "networks.widths=[3]", *changes])


@pytest.mark.long
@pytest.mark.parametrize("target", ["parity", "classes"])
def test_kernels_give_the_network_back_with_the_square_of_the_intervals(target):
    """What the full prediction misses is quadrature: four times less with twice the records, until single precision."""
    errors = []
    for count in (12, 24, 48):
        data = measure_networks(small(f"task.target={target}", f"networks.count={count}"), 3, 20)
        assert len(data["time"]) == len(recorded_steps(small(f"networks.count={count}")))
        errors.append(float(np.abs(np.log(data["risk"] / data["risk_full"])).max()))
    assert errors[0] / errors[2] > 6 and errors[2] < 0.01
    lazy = float(np.abs(np.log(data["risk"] / data["risk_lazy"])).max())
    assert lazy > 10 * errors[2]


def test_a_lazy_network_is_what_its_first_kernel_says():
    """At alpha = 60 and rates divided by its square the kernel moves by some 1/60."""
    data = measure_networks(small("networks.output_scale=60.0", "networks.learning_rate=1e-4"), 40, 20)
    for name in ("lazy", "drift", "full"):
        np.testing.assert_allclose(data[f"risk_{name}"], data["risk"], rtol=0.05)
    assert float(data["train_error"].isel(time=-1).mean()) < 0.5 * float(data["train_error"].isel(time=0).mean())


def test_errors_are_those_of_the_outputs():
    """Before training every network answers 0, so risks are energies, known beforehand."""
    data = measure_networks(small("task.noise=[0.0, 0.3]"), 3, 20).isel(time=0)
    np.testing.assert_allclose(data["risk"], [[1.0] * 2, [0.49] * 2])
    np.testing.assert_allclose(data["clean_error"], 1.0)
    np.testing.assert_allclose(data["train_error"], 1.0)
    np.testing.assert_array_equal(data["resolved"], 0.0)
