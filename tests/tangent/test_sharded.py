"""A probe set spread over processes: products, tracker, drift and budget of one process, to rounding."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_edges
from eigenflow.linalg import ModeTracker
from eigenflow.tangent import sketched
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory import TailSettings, measure_tracked_step
from eigenflow.trajectory.tracked_variables import tracked_variables
from problems import samples, tanh_net
from two_processes import on_two_processes, told

COUNT, MODES, STEP = 13, 6, 0.05
LOSSES = ("mse", "half_sum", "cross_entropy", "function", "function_sum")
# Two thirds of the labels of the first process are ignored, a fifth of those of the second.
IGNORED = (0, 2, 3, 9)


def problem(name):
    model, (inputs, targets) = tanh_net(3, hidden=9), samples(3, count=COUNT)
    if name == "cross_entropy":
        labels = targets.argmax(1)
        labels[list(IGNORED)] = -100
        return model, inputs, labels, name
    if name.startswith("function"):
        reduction = "sum" if name.endswith("sum") else "mean"

        def logistic(outputs, wanted):
            return functional.binary_cross_entropy_with_logits(outputs, wanted, reduction=reduction)

        return model, inputs, (targets > 0).to(inputs), logistic
    return model, inputs, targets, name


def measure(make_probe, select, name="mse"):
    """One update by the gradient of the whole loss, measured; the numbers that must not depend on the processes."""
    model, inputs, targets, loss = problem(name)
    whole = ef.Probe(model, inputs, targets, loss)
    gradient = whole.at().gradient()
    probe = make_probe(model, inputs[select], targets[select], loss)
    before, step = probe.state(), STEP / COUNT if name.endswith("sum") else STEP
    after = ({n: p - step * gradient[n] for n, p in before[0].items()}, before[1])
    settings = {"tail": TailSettings(steps=20, probes=2)}
    one = measure_tracked_step(probe, ModeTracker(MODES, tolerance=1e-14), before, after, step, **settings)
    edges = shell_edges(float(one.before.pairs.eigenvalues[0]))
    variables = tracked_variables(one, edges, time=0.0, nodes=20)
    kept = ("eigenvalue", "eigenvalue_rate", "energy", "dissipation", "optimizer", "curvature", "transfer", "remainder")
    kept += ("rate_sum", "eigenvalue_sum", "trace", "probe_loss", "probe_loss_after", "total_energy", "mode_count")
    kept += ("tail_energy_below", "kato_parameter", "energy_rate")
    found = {name: variables[name].values for name in kept}
    found["identity"] = np.asarray(one.identity_residual)
    return found


def assert_same(found, expected, case=""):
    """1e-8 of the largest: pairs are certified to 1e-14, which leaves 1e-7 of the vectors at first order, and these
    square or cancel in all that is compared. Differences of energies are compared with the energies."""
    for name, values in expected.items():
        if name == "identity":
            continue
        is_change = name in ("optimizer", "curvature", "transfer", "remainder")
        scale = max(np.abs(expected["energy"] if is_change else values).max(), 1e-300)
        np.testing.assert_allclose(found[name] / scale, values / scale, rtol=0, atol=1e-8, err_msg=f"{case} {name}")
    assert found["identity"] <= 1e-13


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.long
@pytest.mark.parametrize("loss", LOSSES)
def test_one_process_is_the_plain_probe(alone, loss):
    assert_same(measure(ShardedProbe, slice(None), loss), measure(ef.Probe, slice(None), loss))


def test_products_are_those_of_the_dense_operator(alone):
    model, (inputs, targets) = tanh_net(3, hidden=9), samples(3, count=COUNT)
    plain, sharded = ef.Probe(model, inputs, targets), ShardedProbe(model, inputs, targets)
    point = plain.at()
    direction = {name: -g for name, g in point.gradient().items()}
    matrix, rate = point.dense_and_rate(direction)
    rows = torch.randn(3, plain.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    jacobian = sharded.jacobian(sharded.at(), direction)
    torch.testing.assert_close(jacobian.product(rows), rows @ matrix, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(jacobian.rate_product(rows), rows @ rate, rtol=1e-11, atol=1e-13)
    assert jacobian.trace() == pytest.approx(float(matrix.trace()), rel=1e-12)
    assert jacobian.trace_rate() == pytest.approx(float(rate.trace()), rel=1e-11)


def test_description_is_that_of_one_process(alone):
    model, inputs, targets, loss = problem("cross_entropy")
    expected = ef.Probe(model, inputs, targets, loss).describe()
    found = ShardedProbe(model, inputs, targets, loss).describe()
    assert found.pop("samples_by_process") == [COUNT] and found.pop("method").endswith("automatic differentiation")
    assert found == {name: value for name, value in expected.items() if name not in ("cost", "method")}


def overflowing(rank):
    """Samples of the second process alone overflow after the update."""
    model = nn.Linear(2, 1).double()
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    inputs = torch.full((3, 2), 1e200 if rank else 1.0, dtype=torch.float64)
    probe = ShardedProbe(model, inputs, torch.zeros(3, 1, dtype=torch.float64))
    before = probe.state()
    after = ({name: p + 1e200 for name, p in before[0].items()}, before[1])
    measure_tracked_step(probe, ModeTracker(2), before, after, STEP)


def refusals(rank):
    """What both processes are told where something is wrong on one of them."""
    mine = slice(0, 5) if rank == 0 else slice(5, None)
    model, inputs, targets, _ = problem("mse")
    labels = targets.argmax(1)
    labels[5:] = -100
    bad = inputs.clone()
    bad[7] = np.nan
    sketch = sketched("mse", chosen=[0])
    plain = ShardedProbe(model, inputs[mine], targets[mine])
    return {
        "empty": told(lambda: ShardedProbe(model, inputs[: 4 * rank], targets[: 4 * rank])),
        "not finite": told(lambda: ShardedProbe(model, bad[mine], targets[mine])),
        "ignored": told(lambda: ShardedProbe(model, inputs[mine], labels[mine], "cross_entropy")),
        "loss": told(lambda: ShardedProbe(model, inputs[mine], targets[mine], ("mse", "half_mean")[rank])),
        "sketch": told(lambda: ShardedProbe(model, inputs[mine], targets[mine], sketch)),
        "weights": told(lambda: ShardedProbe(tanh_net(3 + rank, hidden=9), inputs[mine], targets[mine])),
        "overflow": told(lambda: overflowing(rank)),
        "product": told(lambda: product_of_nan(plain, rank)),
        "image": told(lambda: plain.jacobian(plain.at()).product(infinite_row(plain, rank))),
    }


def product_of_nan(probe, rank):
    """NaN weights that only the second process has."""
    parameters, rest = probe.state()
    name = next(iter(parameters))
    parameters[name] = parameters[name] * (np.nan if rank else 1.0)
    ModeTracker(2).update(probe.jacobian(probe.at((parameters, rest))).operator())


def infinite_row(probe, rank):
    row = torch.ones(1, probe.space.local_size, dtype=torch.float64)
    row[0, 0] = np.inf if rank else 1.0
    return row


def work(rank, folder):
    """On both processes: 13 samples as 5 and 8."""
    mine = slice(0, 5) if rank == 0 else slice(5, None)
    for loss in LOSSES:
        np.savez(f"{folder}/{loss}.{rank}.npz", **measure(ShardedProbe, mine, loss))
    model, inputs, targets, loss = problem("cross_entropy")
    described = ShardedProbe(model, inputs[mine], targets[mine], loss).describe()
    Path(f"{folder}/{rank}.json").write_text(json.dumps({"probe": described, "told": refusals(rank)}))


@pytest.mark.slow
def test_two_processes_agree_with_one_and_refuse_together(tmp_path):
    """All but what is told of bad input is compared with one process that has all samples."""
    on_two_processes(__file__, "work", tmp_path)
    for loss in LOSSES:
        expected = measure(ef.Probe, slice(None), loss)
        for rank in (0, 1):
            assert_same(dict(np.load(tmp_path / f"{loss}.{rank}.npz")), expected, f"{loss}, rank {rank}:")
    model, inputs, targets, loss = problem("cross_entropy")
    whole = ef.Probe(model, inputs, targets, loss).describe()
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["probe"]["checksum"] == whole["checksum"] and found["probe"]["samples"] == COUNT
        assert found["probe"]["factor"] == pytest.approx(whole["factor"], rel=1e-15)
        where = "" if rank == 1 else "On rank 1: "
        words = found["told"]
        assert words["empty"].startswith("ArgumentError: `inputs` must hold at least one sample on every process, but")
        assert words["not finite"].startswith(f"NonFiniteError: {where}`inputs`")
        assert words["ignored"].startswith(f"ArgumentError: {where}`targets` must have at least one label")
        assert words["loss"].startswith("ArgumentError: `loss` must be the same on every process, but is 'mse' on")
        assert words["sketch"].startswith("ArgumentError: `loss` 'mse, 1 chosen outputs' is a sketch")
        assert words["weights"].startswith("ArgumentError: `model` must have the same parameters on every process")
        assert words["overflow"].startswith(f"NonFiniteError: {where}")
        assert words["product"].startswith(f"NonFiniteError: {where}The network's outputs")
        assert words["image"].startswith("NonFiniteError: A product with the operator M is NaN")


@pytest.mark.rejects
def test_no_process_group():
    with pytest.raises(ArgumentError, match=r"needs a process group.*torchrun.*use Probe"):
        ShardedProbe(tanh_net(), *samples())


@pytest.mark.rejects
def test_loss_that_does_not_say_how_parts_add_up(alone):
    model, inputs, targets, _ = problem("function")
    weights = torch.arange(1.0, COUNT + 1, dtype=torch.float64)[:, None]

    def weighted(outputs, wanted):
        return (weights[: len(outputs)] * (outputs - wanted) ** 2).sum() / weights[: len(outputs)].sum()

    with pytest.raises(ArgumentError, match="neither a plain sum nor a plain mean"):
        ShardedProbe(model, inputs, targets, weighted)


def test_a_function_of_one_sample_is_held_against_the_samples_of_another_process(alone):
    model, inputs, targets, _ = problem("mse")
    expected = ef.Probe(model, inputs[:1], targets[:1])
    found = ShardedProbe(model, inputs[:1], targets[:1], lambda z, y: functional.mse_loss(z, y))
    assert found.at().loss == pytest.approx(expected.at().loss, rel=1e-14)
