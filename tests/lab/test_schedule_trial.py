"""Runs trained side by side are the runs that a plain loop makes, and schedules act as they must."""

import numpy as np
import pytest
import torch

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.lab.schedule_trial import ScheduleTrial, train_side_by_side

SMALL = {"inputs": 6, "width": 8, "teacher_width": 4, "batch_size": 4, "test_samples": 64}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_does_not_depend_on_its_neighbours(optimizer):
    """float32 with products of another shape: rounding grows over 60 updates, to well below 1e-3."""
    trial, steps = ScheduleTrial(optimizer=optimizer, **SMALL), np.array([0, 20, 60])
    rates = np.array([np.full(60, 0.02), np.linspace(0.05, 0.0, 60), np.full(60, 0.001)])
    together = train_side_by_side(trial, rates, (3, 4), steps).losses
    alone = np.stack([train_side_by_side(trial, rates[[row]], (3, 4), steps).losses[:, 0] for row in range(3)], axis=1)
    np.testing.assert_allclose(together, alone, rtol=1e-3)
    assert np.all(together[:, 0, 0] == together[:, 1, 0])  # one initial network


@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_scaled_unit_updates_are_the_optimizer_with_that_rate(optimizer, kind):
    """One network through torch's own optimizer with its rate set at every step, on the same random numbers."""
    from eigenflow.lab.schedule_trial import _outputs, _students, _Teacher

    trial, rates = ScheduleTrial(optimizer=optimizer, **SMALL), np.linspace(0.05, 0.01, 40)
    found = train_side_by_side(trial, rates[None], (7,), np.array([40])).losses[0, 0, 0]
    generator = torch.Generator().manual_seed(7)
    data = _Teacher(trial, generator)
    test_inputs, test_targets = data.draw(trial.test_samples)
    parameters = _students(trial, 1, generator)
    optimizer_object = kind(parameters, lr=1.0)
    for rate in rates:
        inputs, targets = data.draw(trial.batch_size)
        targets = targets + trial.label_noise * torch.randn(targets.shape, generator=generator)
        optimizer_object.zero_grad()
        (0.5 * (_outputs(parameters, inputs) - targets).square().mean()).backward()
        optimizer_object.param_groups[0]["lr"] = float(rate)
        optimizer_object.step()
    with torch.no_grad():
        expected = (_outputs(parameters, test_inputs) - test_targets).square().mean() + trial.label_noise**2
    assert found == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.long
def test_decay_to_zero_ends_below_a_constant_rate():
    """With noise of small batches the constant rate's floor is higher: 0.04 or more here, seeds differ by 0.01."""
    trial = ScheduleTrial(optimizer="adam", **SMALL)
    rates = np.array([np.full(600, 0.05), 0.05 * np.linspace(1, 0, 600)])
    final = train_side_by_side(trial, rates, (0, 1, 2), np.array([600])).losses[:, :, 0]
    assert np.all(final[:, 1] < final[:, 0])
    assert final.min() > trial.label_noise**2  # noise of fresh labels cannot be learned


@pytest.mark.rejects
def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ArgumentError, match="Unknown `optimizer` 'lion'"):
        ScheduleTrial(optimizer="lion")
    trial = ScheduleTrial(optimizer="sgd", **SMALL)
    with pytest.raises(ShapeError, match="at least 10 updates"):
        train_side_by_side(trial, np.full((1, 5), 0.1), (0,), np.array([10]))
    with pytest.raises(NonFiniteError, match="schedule 1 with seed 0 diverged before step"):
        train_side_by_side(trial, np.stack([np.full(200, 0.01), np.full(200, 1e4)]), (0,), np.array([50, 200]))
