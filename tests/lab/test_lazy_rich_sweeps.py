"""Sweeps between lazy and rich: slopes in the output scale, the crossover's exponent, flow against Runge-Kutta."""

import numpy as np
import pytest
import torch
from torch import nn

from eigenflow.core.errors import ArgumentError
from eigenflow.lab.config import load_config
from eigenflow.lab.gradient_flow import follow_flow
from eigenflow.lab.lazy_rich_crossover import crossover, slope
from eigenflow.lab.lazy_rich_sweeps import LazyRichRun, LazyRichSweep, SweepStatus, lazy_rich_sweep
from problems import samples, tanh_net
from reference import dense_jacobian as oracle

pytestmark = pytest.mark.long

SMALL = ["task.samples=8", "task.holdout=8", "model.width=32", "model.depth=1", "model.parametrisation=ntk"]
BASE = load_config("digits", [*SMALL, "train.loss=half_mean"])


@pytest.fixture(scope="module")
def lazy_side():
    return lazy_rich_sweep(BASE, output_scales=[100.0, 10.0, 30.0], seeds=[0, 1], relaxations=30, times=6)


def test_slopes_at_large_output_scales(lazy_side):
    """||dM|| / ||M|| ~ 1 / alpha and S ~ 1 / alpha^2 (equations/known_cases.md#lazy-to-rich), S being quadratic.

    The next order is smaller by 1 / alpha, so that slopes from alpha = 10 on are off by some percent. Outputs miss the
    lazy ones as the operator moves.
    """
    for name, expected in (("relative_change", -1), ("turn", -2), ("train_error", -1), ("test_error", -1)):
        found = slope(lazy_side, name, width=32)
        assert found.value == pytest.approx(expected, abs=0.08 * abs(expected)), name
        assert (found.seeds, found.points) == (2, 3) and found.interval[0] <= found.value <= found.interval[1]


def test_the_lazy_network_is_its_prediction(lazy_side):
    """At alpha = 100 everything that is told of a network agrees with what is told of its prediction, to 1 %."""
    for run in lazy_side.runs:
        assert run.status is SweepStatus.FINISHED and run.prediction_error <= 1e-8
        if run.output_scale == 100.0:
            assert run.relative_change <= 0.01 and run.growth == pytest.approx(1, abs=0.01)
            assert run.loss == pytest.approx(run.lazy_loss, rel=0.01)
            assert run.test_loss == pytest.approx(run.lazy_test_loss, rel=0.01)
            assert run.speed == pytest.approx(1, abs=0.01) and run.log_loss_error <= 0.01


def test_a_run_against_an_oracle():
    """One small rich network by classical Runge-Kutta and plain autograd Jacobians: change, turn and growth of M."""
    base = load_config("digits", [*SMALL, "task.samples=4", "model.width=6", "train.loss=half_mean"])
    sweep = lazy_rich_sweep(base, output_scales=[0.3], seeds=[5], relaxations=5, times=4)
    from eigenflow.lab.models import build_model
    from eigenflow.lab.tasks import load_task

    task = load_task(base.task)
    model = build_model(64, 10, base.model.model_copy(update={"output_scale": 0.3, "seed": 5, "centred": True}))
    first = oracle.kernel(model, task.inputs, 1 / 4)
    time = 5 / float(torch.linalg.eigvalsh(first)[-1])
    oracle.flow_step(_Trained(model), task.inputs, task.targets, 1 / 4, time, steps=40)
    last = oracle.kernel(model, task.inputs, 1 / 4)
    (run,) = sweep.runs
    assert run.relative_change == pytest.approx(float((last - first).norm() / first.norm()), rel=1e-4)
    assert run.growth == pytest.approx(float(last.norm() / first.norm()), rel=1e-4)
    alignment = float((first * last).sum() / first.norm() / last.norm())
    assert run.turn == pytest.approx(1 - alignment, rel=1e-3)
    errors = oracle.error(model, task.inputs, task.targets, 1 / 4)
    start = oracle.error(model, task.inputs, task.targets, 0.0) - 0.5 * task.targets.reshape(-1)
    assert run.loss == pytest.approx(float(errors @ errors / (start @ start)), rel=1e-4)


class _Trained(nn.Module):
    """Only what trains, for an oracle that counts all parameters."""

    def __init__(self, model):
        super().__init__()
        self.all = [model]
        self.trained = nn.ParameterList([p for p in model.parameters() if p.requires_grad])

    def forward(self, inputs):
        return self.all[0](inputs)


def test_flow_is_followed_to_its_tolerance():
    """Against classical Runge-Kutta with 60 steps; and to the limit of gradients, with what was reached until then."""
    train, tests = samples(0), samples(50, count=4)[0]
    times = np.array([0.5, 2.0])
    path = follow_flow(model := tanh_net(0), train, tests, 1 / 6, times, tolerance=1e-8)
    other = tanh_net(0)
    for row, time in enumerate((0.5, 1.5)):
        oracle.flow_step(other, *train, 1 / 6, time, steps=60)
        torch.testing.assert_close(path.outputs[row], other(train[0]).detach(), rtol=0, atol=1e-6)
        torch.testing.assert_close(path.test_outputs[row], other(tests).detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(model(train[0]).detach(), path.outputs[-1])
    assert path.is_whole
    cut = follow_flow(tanh_net(0), train, tests, 1 / 6, np.array([1e-3, 1e3]), most_evaluations=40)
    assert not cut.is_whole and len(cut.times) == 1 and cut.evaluations <= 50


def test_a_network_that_is_cut_off_says_so():
    sweep = lazy_rich_sweep(BASE, output_scales=[1.0], seeds=[0], relaxations=100, times=6, most_evaluations=60)
    assert sweep.runs[0].status is SweepStatus.CUT and "cut off" in repr(sweep)
    assert sweep.table["status"][0] == SweepStatus.CUT.value and len(sweep.table) == 1


def made(change, widths=(16, 64, 256), scales=np.geomspace(0.01, 100, 17), seeds=6, scatter=0.0, rng=None):
    """A sweep of which the relative change is a known function of alpha and width."""
    runs = []
    for width in widths:
        for seed in range(seeds):
            factor = np.exp(scatter * (0.0 if rng is None else rng.normal()))
            for scale in scales:
                rest = dict.fromkeys(
                    ("turn", "growth", "train_error", "test_error", "log_loss_error", "speed", "loss", "lazy_loss",
                     "test_loss", "lazy_test_loss", "prediction_error"), 1.0
                )  # fmt: skip
                value = float(factor * change(scale, width))
                done = {"evaluations": 1, "status": SweepStatus.FINISHED}
                runs.append(LazyRichRun(scale, width, 2, seed, relative_change=value, **done, **rest))
    return LazyRichSweep(tuple(runs), 1.0, 1)


@pytest.mark.parametrize("threshold", [0.1, 1.0])
@pytest.mark.parametrize("power", [0.5, 1.0])
def test_crossover_of_a_known_law(threshold, power):
    """3 / (alpha h^power): alpha* = 3 / (threshold h^power), to rounding, as powers are interpolated exactly."""
    found = crossover(made(lambda alpha, h: 3 / (alpha * h**power)), threshold=threshold)
    np.testing.assert_allclose(found.scales, 3 / threshold / np.array([16, 64, 256.0]) ** power, rtol=1e-9)
    assert found.exponent.value == pytest.approx(-power, abs=1e-9)
    assert found.widths == (16, 64, 256) and found.outside == ()
    assert "exponent" in repr(found) and len(repr(found).splitlines()) <= 15


def test_crossover_saturates_and_widths_that_do_not_cross_are_named():
    """min(0.5, 1 / (alpha sqrt h)): never 1; at 0.3 no width but those inside the output scales."""
    sweep = made(lambda alpha, h: min(0.5, 1 / (alpha * h**0.5)), widths=(4, 16, 10**6))
    with pytest.raises(ArgumentError, match="crossed by every seed at no width"):
        crossover(sweep, threshold=1.0)
    found = crossover(sweep, threshold=0.3)
    assert found.widths == (4, 16) and found.outside == (10**6,)
    assert found.exponent.value == pytest.approx(-0.5, abs=0.02)


def test_intervals_cover():
    """Seeds that scatter by 30 %: nine of ten intervals hold the exponent -1/2; 400 sweeps give 1.5 % of it."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        sweep = made(lambda alpha, h: 1 / (alpha * h**0.5), scales=(0.001, 100.0), seeds=4, scatter=0.3, rng=rng)
        low, high = crossover(sweep, threshold=0.2).exponent.interval
        inside.append(low <= -0.5 <= high)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.045)


@pytest.mark.slow
def test_the_crossover_falls_as_the_root_of_the_width():
    """[@geiger2019disentangling]: alpha* ~ h^(-1/2), one hidden layer in NTK parametrisation, at a change of 0.3.

    It lies at alpha below 0.1, where units move to second order; at 0.03 the first order counts, of random signs and
    so of 1 / (alpha h), and the exponent is on its way to -1. 0.12: two seeds, and widths of 64 to 1024.
    """
    base = load_config("digits", [*SMALL, "task.samples=16", "train.loss=half_mean"])
    scales = [0.005, 0.0125, 0.03, 0.08, 0.2, 0.6, 2.0]
    sweep = lazy_rich_sweep(base, output_scales=scales, widths=[64, 256, 1024], seeds=[0, 1], relaxations=60, times=4)
    assert crossover(sweep, threshold=0.3).exponent.value == pytest.approx(-0.5, abs=0.12)
    assert -1.05 <= crossover(sweep, threshold=0.03).exponent.value <= -0.75


@pytest.mark.rejects
class TestRejects:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"output_scales": []}, "`output_scales` and `seeds` must hold"),
            ({"output_scales": [1.0], "seeds": []}, "`output_scales` and `seeds` must hold"),
            ({"output_scales": [0.0]}, "`output_scales` must be a number from 1e-12"),
            ({"output_scales": [1.0], "widths": [0]}, r"network that is none[\s\S]*width"),
            ({"output_scales": [1.0], "relaxations": -1}, "`relaxations` must be a number"),
            ({"output_scales": [1.0], "times": 1}, "`times` must be a whole number of times"),
            ({"output_scales": [1.0], "most_evaluations": 1}, "do not reach the first time"),
        ],
    )
    def test_sweeps(self, arguments, message):
        with pytest.raises(ArgumentError, match=message):
            lazy_rich_sweep(BASE, **{"relaxations": 1e3, **arguments})

    def test_losses_and_tasks_that_have_no_outputs_to_compare(self):
        with pytest.raises(ArgumentError, match=r"squared train\.loss"):
            lazy_rich_sweep(load_config("digits", ["train.loss=cross_entropy"]), output_scales=[1.0])
        with pytest.raises(ArgumentError, match=r"task\.holdout >= 1"):
            lazy_rich_sweep(load_config("digits", ["task.holdout=0"]), output_scales=[1.0])

    def test_slopes_and_shapes_that_are_not_there(self):
        sweep = made(lambda alpha, h: 1 / alpha, scales=(0.1, 1.0))
        with pytest.raises(ArgumentError, match="leaves 0 output scales of 2"):
            slope(sweep, "relative_change", width=16)
        with pytest.raises(ArgumentError, match="No network has `width` 7"):
            slope(sweep, "relative_change", width=7)
