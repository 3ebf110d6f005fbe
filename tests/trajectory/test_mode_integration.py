"""The mode equations between measurements of a real network under gradient descent."""

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.theory.modes.integration import integrate_modes
from problems import samples, tanh_net

pytestmark = pytest.mark.long


def descent(path, rate, end=0.8, count=9):
    """Full-batch gradient descent, measured at the same times whatever the rate."""
    model, (inputs, targets) = tanh_net(0, hidden=8), samples(0, count=8)
    probe = ef.Probe(model, inputs, targets)
    steps = np.round(np.linspace(0, end, count) / rate).astype(int)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    with ef.Recorder(path, probe, steps) as recorder:
        for step in range(int(steps[-1]) + 1):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=float(loss.detach()), learning_rate=rate)
    return ef.open_run(path).measurements


def test_equations_reproduce_the_error_of_a_network(tmp_path):
    """All modes: what is left is of first order in the learning rate, the spacing being of fourth."""
    found = [integrate_modes(descent(tmp_path / str(rate), rate)) for rate in (0.05, 0.025)]
    errors = np.array([run.chained_error[-1] for run in found])
    # The spacing's part does not fall with the rate, so the order is a little below one.
    assert np.log2(errors[:-1] / errors[1:]) == pytest.approx(1.0, abs=0.15)
    assert np.median(found[-1].error) < 0.1 * np.median(found[-1].frozen_error)


def test_few_modes_with_the_source_of_the_rest(tmp_path):
    data = descent(tmp_path / "run", 0.025)
    some = integrate_modes(data, modes=4)
    assert np.median(some.error) < 0.5 * np.median(some.closed_error)
    assert np.median(integrate_modes(data).error) < np.median(some.error)
