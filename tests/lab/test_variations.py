"""Variations of an experiment: one thing changed, and the learning rate with the operator."""

import numpy as np
import pytest
import torch

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.lab import lazy_rich_variations, load_config, run_experiment
from eigenflow.lab.models import build_model
from eigenflow.lab.tasks import load_task
from eigenflow.theory.lazy_rich import lazy_rich
from reference import dense_jacobian as oracle

SMALL = ["task.samples=10", "task.holdout=0", "model.width=8", "train.steps=400"]
BASE = load_config("digits", SMALL)


def largest(config):
    task = load_task(config.task)
    model = build_model(64, 10, config.model)
    return float(torch.linalg.eigvalsh(oracle.kernel(model, task.inputs, 2 / 100))[-1])


@pytest.mark.long
def test_each_variation_changes_one_thing_and_keeps_the_stability():
    found = lazy_rich_variations(BASE, output_scales=[0.3, 30.0], widths=[16], depths=[3], residual=True)
    assert list(found) == [
        "digits", "digits-scale-0.3", "digits-scale-30", "digits-width-16", "digits-depth-3", "digits-residual"
    ]  # fmt: skip
    assert found["digits"] == BASE
    for name, config in found.items():
        assert config.name == name and config.task == BASE.task and config.measure == BASE.measure
        assert config.train.steps == BASE.train.steps
        stability = config.train.learning_rate * largest(config)
        assert stability == pytest.approx(BASE.train.learning_rate * largest(BASE), rel=1e-10)
    wide = found["digits-width-16"].model
    assert wide == BASE.model.model_copy(update={"width": 16})


def test_output_scale_divides_the_learning_rate_by_its_square():
    """Chizat's rule comes out of equal stability, because M is proportional to alpha^2."""
    found = lazy_rich_variations(BASE, output_scales=[0.3, 3.0, 30.0])
    rates = np.array([found[f"digits-scale-{scale:g}"].train.learning_rate for scale in (0.3, 3.0, 30.0)])
    np.testing.assert_allclose(rates, BASE.train.learning_rate * np.array([1, 0.1, 0.01]) ** 2, rtol=1e-10)


def test_learning_rates_keep_the_total_time():
    found = lazy_rich_variations(BASE, learning_rates=[0.25, 1.0])
    assert [found[f"digits-rate-{rate:g}"].train.steps for rate in (0.25, 1.0)] == [800, 200]


@pytest.mark.slow
def test_variations_move_the_coordinate(tmp_path):
    """Recorded runs: the distance falls as 1 / scale once it is small (10 % at a distance of 0.1), and with width."""
    base = load_config("digits", [*SMALL, "measure.count=12", "measure.threads=1", "train.steps=1000"])
    found = {}
    for name, config in lazy_rich_variations(base, output_scales=[0.1, 3.0, 30.0], widths=[64]).items():
        run = run_experiment(config, tmp_path / name)
        found[name] = lazy_rich(run.measurements, ef.shell_budget(run))
    distances = {name: place.coordinate for name, place in found.items()}
    assert distances["digits-scale-0.1"] > distances["digits"] > distances["digits-width-64"]
    assert distances["digits-scale-3"] / distances["digits-scale-30"] == pytest.approx(10, rel=0.1)
    assert found["digits-scale-30"].regime == "lazy" and distances["digits-scale-0.1"] > 0.5
    assert found["digits-scale-0.1"].flux_share[-1] > found["digits-scale-30"].flux_share[-1]


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"learning_rates": [0.0]}, "`learning_rates` must be positive"),
        ({"learning_rates": [1e4]}, "digits-rate-10000"),
        ({"widths": [0]}, "width"),
        ({"output_scales": [0.0]}, "scale-0"),
    ],
)
def test_variations_that_are_no_experiments(wrong, words):
    with pytest.raises(ArgumentError, match=words):
        lazy_rich_variations(BASE, **wrong)


@pytest.mark.rejects
def test_a_shallow_network_has_no_residual_variation():
    shallow = load_config("digits", ["model.depth=1"])
    with pytest.raises(ArgumentError, match="depth must be 2 or more"):
        lazy_rich_variations(shallow, residual=True)
