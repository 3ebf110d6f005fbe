"""What people have on several processes: test sets, mappings, optimizers, weighted losses, buffers, float32 products.

All rows of M are asked for, so that a solve ends with the whole space and the numbers of one process come out to
rounding: 1e-10 of the largest.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.tangent import CrossEntropyLoss, holdout_step, lazy_holdout
from eigenflow.tangent.sharded import ShardedProbe
from problems import samples, tanh_net
from two_processes import on_two_processes, told

COUNT, TESTS, STEP = 13, 7, 0.05
SYMBOLS, LENGTH = 5, 4


class Masked(nn.Module):
    """Named arguments, a mask, a flag that all samples share, and a dictionary of outputs."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(SYMBOLS, 6)
        self.head = nn.Linear(6, SYMBOLS)

    def forward(self, tokens, mask, doubled=False):
        scores = self.head(torch.tanh(self.table(tokens) * mask[..., None].to(self.table.weight)))
        return {"logits": scores * (2.0 if doubled else 1.0)}


class Two(nn.Module):
    """Two arguments by position."""

    def __init__(self):
        super().__init__()
        self.net = tanh_net(3, hidden=9)

    def forward(self, left, right):
        return self.net(left + right**2)


class AnyNames(nn.Module):
    """Arguments by name, of which one may be missing."""

    def __init__(self):
        super().__init__()
        self.net = tanh_net(3, hidden=9)

    def forward(self, left, right=None):
        return self.net(left if right is None else left + right)


class Doubled(torch.autograd.Function):
    """An operation without forward mode and batching rule: plain reverse mode is left."""

    @staticmethod
    def forward(ctx, x):
        return 2.0 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2.0 * gradient


class OnlyReverse(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = tanh_net(3, hidden=5)

    def forward(self, x):
        return Doubled.apply(self.net(x))


@dataclass
class Case:
    """A model and its samples; the loss on all of them."""

    model: nn.Module
    inputs: Any
    targets: torch.Tensor
    loss: Any = "mse"
    options: dict = field(default_factory=dict)
    tests: tuple[Any, torch.Tensor] | None = None
    share: tuple[int, int] = (5, 3)  # of the samples and of the test set, on the first process


def tokens(count, seed):
    """Sequences with padding, of which the first ones have more."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, SYMBOLS, (count, LENGTH), generator=generator)
    labels = torch.randint(0, SYMBOLS, (count, LENGTH), generator=generator)
    mask = torch.arange(LENGTH)[None] < torch.randint(1, LENGTH + 1, (count, 1), generator=generator)
    labels[~mask] = -100
    return {"tokens": drawn, "mask": mask.to(torch.float64), "doubled": True}, labels


def by_row_weight(outputs, wanted):
    """A mean in which every sample weighs what its first target says."""
    weights = wanted[:, 0].abs() + 0.1
    return (weights * (outputs - wanted).square().sum(1)).sum() / weights.sum()


def make(name):
    torch.manual_seed(4)
    inputs, targets = samples(3, count=COUNT)
    tests = samples(8, count=TESTS)
    labels, test_labels = targets.argmax(1), tests[1].argmax(1)
    labels[[0, 2, 3, 9]] = -100
    named, token_labels = tokens(6, 1)
    cases = {
        "holdout": lambda: Case(tanh_net(3, hidden=9), inputs, targets, tests=tests),
        "holdout of one process": lambda: Case(
            tanh_net(3, hidden=9), inputs, labels, "cross_entropy", tests=(tests[0], test_labels), share=(5, 0)
        ),
        "mapping": lambda: Case(
            Masked().double(), named, token_labels, "cross_entropy", {"class_axis": 2}, tokens(5, 2), (2, 3)
        ),
        "tuple": lambda: Case(Two(), (inputs, 0.5 * inputs.flip(0)), targets, share=(4, 0)),
        "class weights": lambda: Case(
            tanh_net(3, hidden=9), inputs, labels, CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
        ),
        "weighted function": lambda: Case(tanh_net(3, hidden=9), inputs, targets, by_row_weight, tests=tests),
        "one sample": lambda: Case(tanh_net(3, hidden=9), inputs, targets, functional_mean, share=(1, 0)),
        "only reverse mode": lambda: Case(OnlyReverse(), inputs[:6], targets[:6], share=(2, 0)),
    }
    return cases[name]()


def functional_mean(outputs, wanted):
    return functional.mse_loss(outputs, wanted)


NAMES = (
    *("holdout", "holdout of one process", "mapping", "tuple", "class weights", "weighted function", "one sample"),
    "only reverse mode",
)


def cut(values, part):
    if isinstance(values, torch.Tensor):
        return values[part]
    if isinstance(values, dict):
        return {key: cut(value, part) if isinstance(value, torch.Tensor) else value for key, value in values.items()}
    return tuple(cut(value, part) for value in values)


def probe_of(case, make_probe, rank=None):
    """With all samples, or those of a process."""
    own, test = ((slice(None),) * 2 if rank is None else (slice(0, n), slice(n, None))[rank] for n in case.share)
    own, test = (slice(None), slice(None)) if rank is None else (own, test)
    tests = None if case.tests is None else tuple(cut(side, test) for side in case.tests)
    options = {**case.options, "holdout": tests}
    return make_probe(case.model, cut(case.inputs, own), cut(case.targets, own), case.loss, **options)


def optimizer_after_steps(case):
    """Adam after three steps on the whole loss, the same on every process."""
    optimizer = torch.optim.Adam(case.model.parameters(), lr=0.01)
    for _ in range(3):
        whole = probe_of(case, ef.Probe).at()
        for name, parameter in case.model.named_parameters():
            parameter.grad = whole.gradient()[name]
        optimizer.step()
    return optimizer


def numbers(name, make_probe, rank=None):
    """What must not depend on the processes."""
    case = make(name)
    optimizer = optimizer_after_steps(case)
    whole, probe = probe_of(case, ef.Probe), probe_of(case, make_probe, rank)
    found = {}
    for label, scaled in (("plain", None), ("adam", optimizer)):
        point = probe.at(preconditioner=scaled)
        method = {} if rank is not None or make_probe is ShardedProbe else {"method": "products"}
        shot = probe.measure(whole.size, at=point, tolerance=1e-13, **method)
        keep = shot.eigenvalues > 1e-6 * shot.eigenvalues[0]
        found[f"{label} eigenvalues"] = shot.eigenvalues.numpy()
        found[f"{label} energies"] = shot.coefficients.square()[keep].numpy()
        assert shot.eigenvalue_rates is not None
        found[f"{label} rates"] = shot.eigenvalue_rates[keep].numpy()
        found[f"{label} error"] = shot.error.numpy()
        found[f"{label} scalars"] = np.array([shot.loss, shot.position, shot.factor])
        found[f"{label} traces"] = np.array([shot.trace or 0.0, shot.trace_rate or 0.0])
    if probe.holdout is not None:
        before = probe.state()
        gradient = whole.at().gradient()
        after = ({n: p - STEP * gradient[n] + 1e-3 for n, p in before[0].items()}, before[1])
        step = holdout_step(probe, before, after, STEP)
        assert step.identity_residual < 1e-12
        found["test step"] = np.array([step.loss, step.loss_after, step.gradient, step.optimizer, step.remainder])
        point = probe.holdout_at()
        rows = torch.randn(2, whole.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        found["K"] = point.test_space.whole(point.product(probe.space.part(rows))).numpy()
        found["drive"] = probe.space.whole(point.loss_gradient()[None]).numpy()
        found["column"] = point.test_space.whole(point.columns([3])).numpy()
        if case.loss == "mse":
            found["lazy"] = lazy_holdout(point, [0.5, 3.0]).loss
    return found


def assert_same(found, expected, case):
    """1e-10 of the largest: rounding of products, and of eigenpairs that are solved for to the end."""
    assert set(found) == set(expected)
    for name, values in expected.items():
        scale = np.abs(values).max() if len(values) else 1.0
        np.testing.assert_allclose(
            found[name], values, rtol=0, atol=1e-10 * max(scale, 1e-300), err_msg=f"{case} {name}"
        )


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_one_process_is_the_plain_probe(alone, name):
    assert_same(numbers(name, ShardedProbe), numbers(name, ef.Probe), name)


def single_products(make_probe, rank=None):
    """Leading modes by products in float32, and in float64."""
    case = make("holdout")
    probe = probe_of(case, make_probe, rank)
    return probe.measure(4, product_dtype=torch.float32), probe.measure(4, tolerance=1e-12)


def assert_certified(rounded, exact):
    """The bounds say what float32 did: with them the eigenvalues hold those of float64, and they are no empty ones."""
    distance = (rounded.eigenvalues - exact.eigenvalues).abs()
    assert bool((distance <= rounded.eigenvalue_bounds).all())
    assert float(rounded.eigenvalue_bounds.max()) < 1e-4 * float(rounded.eigenvalues[0])
    assert 1e-9 < rounded.operator_error < 1e-5 and "float32" in rounded.method
    assert bool(rounded.is_converged.all())


def test_products_in_float32_are_certified(alone):
    assert_certified(*single_products(ShardedProbe))


def normalised(rank=None, shift=0.0):
    """A network with batch norm, whose running statistics have gone apart."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)).double()
    net(samples(3, count=COUNT)[0])
    net[1].running_mean += shift
    return net.eval()


def troubles(rank):
    """What both processes are told where something differs between them."""
    case = make("holdout")
    probe = probe_of(case, ShardedProbe, rank)
    state = probe.state()
    drifted = ({n: p + 1e-3 * rank for n, p in state[0].items()}, state[1])
    scales = {n: torch.full_like(p, 1.0 + rank) for n, p in state[0].items()}
    inputs, targets = cut(case.inputs, (slice(0, 5), slice(5, None))[rank]), case.targets[: (5, 8)[rank]]
    none, named = (inputs[:0], targets[:0]), {"left": inputs}
    return {
        "parameters": told(lambda: probe.measure(2, at=probe.at(drifted))),
        "preconditioner": told(lambda: probe.measure(2, at=probe.at(state, preconditioner=scales))),
        "no modes": told(lambda: probe.measure()),
        "holdout": told(lambda: ShardedProbe(case.model, inputs, targets, holdout=none if rank else None)),
        "no tests": told(lambda: ShardedProbe(case.model, inputs, targets, holdout=none)),
        "no pair": told(lambda: ShardedProbe(case.model, inputs, targets, holdout=inputs)),
        "names": told(lambda: ShardedProbe(AnyNames(), (named, {**named, "right": inputs})[rank], targets)),
    }


def work(rank, folder):
    for name in NAMES:
        np.savez(f"{folder}/{name}.{rank}.npz", **numbers(name, ShardedProbe, rank))
    assert_certified(*single_products(ShardedProbe, rank))
    inputs, targets = samples(3, count=COUNT)
    mine = (slice(0, 5), slice(5, None))[rank]
    probe = ShardedProbe(normalised(shift=0.1 * rank), inputs[mine], targets[mine])
    np.save(f"{folder}/buffers.{rank}.npy", probe.measure(6, tolerance=1e-13).eigenvalues.numpy())
    Path(f"{folder}/{rank}.json").write_text(json.dumps(troubles(rank)))


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    """Every kind of `NAMES`, and what both are told of differences between them."""
    on_two_processes(__file__, "work", tmp_path)
    for name in NAMES:
        expected = numbers(name, ef.Probe)
        for rank in (0, 1):
            assert_same(dict(np.load(tmp_path / f"{name}.{rank}.npz")), expected, f"{name}, rank {rank}")
    expected = ef.Probe(normalised(), *samples(3, count=COUNT)).measure(6).eigenvalues
    for rank in (0, 1):
        found = np.load(tmp_path / f"buffers.{rank}.npy")
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        words = json.loads((tmp_path / f"{rank}.json").read_text())
        assert "must have the same parameters on every process" in words["parameters"]
        assert "trained apart" in words["parameters"]
        assert words["preconditioner"].startswith("ArgumentError: `preconditioner` must be the same on every process")
        assert words["no modes"].startswith("ArgumentError: `modes` must be given for a ShardedProbe")
        assert words["holdout"].startswith(
            "ArgumentError: `holdout` must be the same on every process, but is 'None' on"
        )
        assert words["no tests"].startswith("ArgumentError: `holdout` must hold at least one sample on some process")
        assert "`holdout` must be a pair" in words["no pair"]
        assert words["names"].startswith("ArgumentError: `inputs` must be the same on every process, but is [")
