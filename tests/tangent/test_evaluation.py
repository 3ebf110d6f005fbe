"""The forward pass while it is measured: one precision, differentiable throughout, and no trace left of it."""

import random

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import eigenflow as ef
from eigenflow.core.errors import ModelError
from eigenflow.tangent.model.evaluation import evaluation
from problems import samples, tanh_net
from reference.kernel_rates import Flow, assert_measured

INPUTS, TARGETS = samples()


class Acts(nn.Module):
    """A network whose hidden layer goes through some Python."""

    def __init__(self, act):
        super().__init__()
        torch.manual_seed(5)
        self.inner, self.outer, self.act = nn.Linear(3, 4), nn.Linear(4, 2), act
        self.double()

    def forward(self, x):
        return self.outer(self.act(self.inner(x)))


def cos_sin(x):
    return torch.cos(x) * torch.sin(2.0 * x)


# Asked for in a lower precision, and the same written for float64.
PRECISIONS = {
    "float()": (lambda x: cos_sin(x.float()).to(x.dtype), cos_sin),
    "half()": (lambda x: cos_sin(x.half()).to(x.dtype), cos_sin),
    "bfloat16()": (lambda x: cos_sin(x.bfloat16()), cos_sin),
    "to(float32)": (lambda x: cos_sin(x.to(torch.float32)), cos_sin),
    "to(dtype=float32)": (lambda x: cos_sin(x.to(dtype=torch.float32)), cos_sin),
    "type(float32)": (lambda x: cos_sin(x.type(torch.float32)), cos_sin),
    "softmax in float32": (lambda x: functional.softmax(x, -1, dtype=torch.float32), lambda x: x.softmax(-1)),
    "zeros": (lambda x: torch.zeros(len(x), 4) + cos_sin(x), cos_sin),
    "zeros in float32": (
        lambda x: torch.cat([torch.zeros(len(x), 2, dtype=torch.float32), x[:, :2]], 1).sin(),
        lambda x: torch.cat([torch.zeros(len(x), 2, dtype=torch.float64), x[:, :2]], 1).sin(),
    ),
    "arange": (lambda x: x.sin() * torch.arange(4, dtype=torch.float32), lambda x: x.sin() * torch.arange(4)),
    "linspace": (
        lambda x: torch.matmul(x.sin(), torch.linspace(-1, 1, 16).reshape(4, 4)),
        lambda x: torch.matmul(x.sin(), torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(4, 4)),
    ),
    "tensor of floats": (
        lambda x: x.sin() @ torch.tensor([[0.1, 0.7, -0.3, 0.2]] * 4),
        lambda x: x.sin() @ torch.tensor([[0.1, 0.7, -0.3, 0.2]] * 4, dtype=torch.float64),
    ),
    "complex64": (lambda x: (x.to(torch.complex64) * 1j).exp().real, torch.cos),
    "autocast inside": (lambda x: _autocast(x), cos_sin),
    "mask": (lambda x: x.sin() * (torch.arange(4) > 1).float(), lambda x: x.sin() * (torch.arange(4) > 1)),
}


def _autocast(x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return cos_sin(functional.linear(x, torch.eye(4, dtype=x.dtype)))


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_lower_precision_inside_is_raised_to_the_probe_s(name):
    low, high = PRECISIONS[name]
    snapshot = ef.Probe(Acts(low), INPUTS, TARGETS).measure()
    assert_measured(snapshot, Flow(Acts(high), INPUTS, TARGETS))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_a_measurement_changes_nothing(dtype):
    model = tanh_net()
    with torch.autocast("cpu", dtype=dtype):
        probe = ef.Probe(model, INPUTS, TARGETS)
        snapshot = probe.measure()
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == dtype
    assert_measured(snapshot, Flow(model, INPUTS, TARGETS))
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("low", [torch.float32, torch.bfloat16, torch.float16])
def test_a_model_in_low_precision_is_measured_in_float64(low):
    """At the values that its parameters have."""
    model = tanh_net().to(low)
    snapshot = ef.Probe(model, INPUTS.to(low), TARGETS.to(low)).measure()
    assert_measured(snapshot, Flow(model, INPUTS.to(low).double(), TARGETS.to(low).double()))


def checkpointed(reentrant):
    return lambda x: checkpoint(cos_sin, x, use_reentrant=reentrant)


CHECKPOINTS = ("CheckpointFunction", "_checkpoint_without_reentrant_generator")


@pytest.mark.parametrize("method", ["dense", "products"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_are_the_function_inside(reentrant, method):
    before = [getattr(torch.utils.checkpoint, name) for name in CHECKPOINTS]
    probe = ef.Probe(Acts(checkpointed(reentrant)), INPUTS, TARGETS)
    snapshot = probe.measure(12 if method == "dense" else 4, method=method)
    if method == "dense":
        assert_measured(snapshot, Flow(Acts(cos_sin), INPUTS, TARGETS))
    else:
        expected = ef.Probe(Acts(cos_sin), INPUTS, TARGETS).measure(4)
        torch.testing.assert_close(snapshot.eigenvalue_rates, expected.eigenvalue_rates, rtol=1e-7, atol=1e-9)
    assert all(getattr(torch.utils.checkpoint, n) is was for n, was in zip(CHECKPOINTS, before, strict=True))


def test_checkpoints_work_in_training_between_measurements():
    model = Acts(checkpointed(False))
    probe = ef.Probe(model, INPUTS, TARGETS)
    probe.measure(2)
    calls = []
    model.act = lambda x: checkpoint(lambda y: calls.append(1) or cos_sin(y), x, use_reentrant=False)
    model(INPUTS).sum().backward()
    assert len(calls) == 2  # once forward, once again in the backward pass


def settings():
    return (
        *(getattr(torch.utils.checkpoint, name) for name in CHECKPOINTS),
        torch.get_default_dtype(),
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        len(torch.overrides._get_current_function_mode_stack()),
    )


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_settings_are_put_back_also_after_an_error(default, monkeypatch):
    kept = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        before = settings()
        inside = []
        with pytest.raises(KeyboardInterrupt), evaluation(torch.float64):  # noqa: PT012 - the body is what is left
            inside.append(settings())
            raise KeyboardInterrupt
        assert inside[0] != before and torch.float64 in inside[0]
        assert settings() == before
        ef.Probe(tanh_net(), INPUTS, TARGETS).measure()
        assert settings() == before
    finally:
        torch.set_default_dtype(kept)


def drawn():
    """The next numbers of all three generators, taken without moving them."""
    state, python, numbers = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    found = float(torch.rand(())), random.random(), float(np.random.rand())  # noqa: NPY002
    torch.set_rng_state(state), random.setstate(python), np.random.set_state(numbers)  # noqa: NPY002
    return found


def draws(x):
    torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
    return x.sin()


@pytest.mark.parametrize("method", ["dense", "products"])
def test_random_numbers_go_on_as_if_nothing_had_been_measured(method):
    model, noisy = Acts(draws), Acts(functional.dropout)
    before = drawn()
    probe = ef.Probe(model, INPUTS, TARGETS)
    assert drawn() == before
    probe.measure(3, method=method)
    assert drawn() == before
    with pytest.raises(ModelError):
        ef.Probe(noisy, INPUTS, TARGETS)
    assert drawn() == before


NOISES = {
    "torch": functional.dropout,
    "torch, a seed of its own": lambda x: x + torch.randn(4),
    "python": lambda x: x * random.random(),
    "numpy": lambda x: x * float(np.random.rand()),  # noqa: NPY002
}


@pytest.mark.rejects
@pytest.mark.parametrize("name", NOISES)
def test_outputs_that_are_drawn_are_refused(name):
    with pytest.raises(ModelError, match=r"different outputs on two calls.*model\.eval\(\)"):
        ef.Probe(Acts(NOISES[name]), INPUTS, TARGETS)


def test_one_draw_is_measured_where_the_user_knows_better():
    """Every evaluation starts from the same state, so M is that of one fixed mask."""
    model = Acts(functional.dropout)
    torch.manual_seed(11)
    snapshot = ef.Probe(model, INPUTS, TARGETS, check_determinism=False).measure()
    mask = functional.dropout(torch.ones(6, 4, dtype=torch.float64))
    assert_measured(snapshot, Flow(Acts(lambda x: x * mask), INPUTS, TARGETS))


def test_operations_are_torch_s_own_outside():
    """Elementary ones stand in only while a network is evaluated."""
    with evaluation(torch.float64):
        assert "Constant" in type(torch.ones(2, requires_grad=True).detach().grad_fn).__name__
    assert torch.ones(2, requires_grad=True).detach().grad_fn is None
    assert torch.ones(2, dtype=torch.float64).float().dtype == torch.float32


def test_numbers_that_leave_torch_are_read_as_they_are():
    """Also from what has a gradient here and has none outside: float(), int(), numpy, lists, conditions."""

    def reads(x):
        fixed = x.detach()
        order = np.argsort(fixed.sum(0).numpy())
        scale = 1.0 + (float(fixed[0, 0]) > -1e9) + int(fixed.abs().sum() < 0) + len(np.asarray(fixed[0]))
        return x[:, torch.as_tensor(order.copy())] * (scale + (fixed.sum().item() > 1e9) + len(fixed[0].tolist()))

    model = Acts(lambda x: torch.tanh(reads(x)))
    assert_measured(ef.Probe(model, INPUTS, TARGETS).measure(), Flow(model, INPUTS, TARGETS))
