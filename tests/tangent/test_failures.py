"""Somebody else's exceptions, told with the layer, the line and what to do; and each remedy done."""

import warnings

import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ModelError
from eigenflow.tangent.model.failures import explained, require_memory_left
from problems import samples, tanh_net
from reference.kernel_rates import Flow, assert_measured

INPUTS, TARGETS = samples()


class Inner(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.linear, self.act = nn.Linear(4, 4), act

    def forward(self, x):
        return self.act(self.linear(x))


class Outer(nn.Module):
    """The layer that may fail is two levels down."""

    def __init__(self, act):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 4)
        self.blocks = nn.ModuleList([Inner(torch.tanh), Inner(act)])
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def refused(act, match, error=ArgumentError, **options):
    with pytest.raises(error, match=match) as caught:
        ef.Probe(Outer(act).double(), INPUTS, TARGETS, **options)
    return str(caught.value)


def fails(x):
    raise RuntimeError("first line\nsecond line " + 1000 * "x")


@pytest.mark.rejects
def test_the_message_names_layer_line_and_shapes():
    message = refused(fails, r"cannot be evaluated on inputs of shape \(6, 3\) and dtype torch.float64")
    assert "RuntimeError: first line, in layer 'blocks.1' (Inner)" in message
    assert "test_failures.py:" in message and "`raise RuntimeError(" in message
    assert "second line" not in message.partition("(at ")[0] and len(message) < 500


@pytest.mark.rejects
def test_a_wrong_width_is_explained():
    with pytest.raises(ArgumentError, match=r"mat1 and mat2 shapes cannot be multiplied.*in layer 'first' \(Linear\)"):
        ef.Probe(Outer(torch.tanh).double(), INPUTS[:, :2], TARGETS)


@pytest.mark.rejects
def test_an_error_of_the_model_itself_says_so():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, dtype=torch.float64))

        def forward(self, x):
            return x[:, :2] * self.weight + undefined  # noqa: F821

    with pytest.raises(ArgumentError, match=r"NameError.*'the model itself' \(Broken\).*`return x"):
        ef.Probe(Broken(), INPUTS, TARGETS)


def single_table(x):
    """float32 from numbers of Python's own, which no default type changes."""
    return torch.matmul(x, torch.frombuffer(bytearray(64), dtype=torch.float32).reshape(4, 4) + 1)


@pytest.mark.rejects
def test_float32_made_inside_names_the_line_and_both_remedies():
    message = refused(single_table, "make them like the inputs")
    assert "dtype=torch.float32" in message and "`return torch.matmul(x, torch.frombuffer(" in message
    model = Outer(lambda x: torch.matmul(x, torch.ones(4, 4).to(x))).double()
    assert_measured(ef.Probe(model, INPUTS, TARGETS).measure(), Flow(model, INPUTS, TARGETS))


@pytest.mark.rejects
def test_the_remedy_of_single_precision_works():
    """Float32 against float64: rounding of sums of four, some units of 6e-8, relative to the largest eigenvalue."""
    model = Outer(single_table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        snapshot = ef.Probe(model, INPUTS.float(), TARGETS.float(), dtype=torch.float32).measure(drift=False)
    exact = Outer(lambda x: torch.matmul(x, torch.ones(4, 4, dtype=torch.float64))).double()
    exact.load_state_dict({n: t.double() for n, t in model.state_dict().items()})
    M, *_ = Flow(exact, INPUTS, TARGETS).at()
    expected = torch.linalg.eigvalsh(M).flip(0)
    torch.testing.assert_close(snapshot.eigenvalues, expected, rtol=0, atol=3e-6 * float(expected[0]))


@pytest.mark.rejects
def test_a_precision_that_does_not_fit_the_model_says_what_to_convert():
    model = tanh_net()
    with pytest.raises(ArgumentError, match=r"`inputs` must have the dtype.*torch.float64.*inputs.to\(torch.float64\)"):
        ef.Probe(model, INPUTS.float(), TARGETS)
    ef.Probe(model, INPUTS.float().to(torch.float64), TARGETS)
    with pytest.raises(ArgumentError, match=r"`targets` must have the dtype.*model.to\(torch.float32\)"):
        ef.Probe(model, INPUTS, TARGETS.float())
    ef.Probe(model.to(torch.float32), INPUTS.float(), TARGETS.float())


class _Once(torch.autograd.Function):
    """The square, whose backward pass cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2.0 * ctx.saved_tensors[0] * gradient


@pytest.mark.long
def test_an_operation_without_second_derivatives_is_measured():
    """M needs the first derivative alone; the rate has central differences left."""
    model = Outer(lambda x: _Once.apply(x)).double()
    plain = Flow(Outer(torch.square).double(), INPUTS, TARGETS)
    assert_measured(ef.Probe(model, INPUTS, TARGETS).measure(drift=False), plain)
    assert_measured(ef.Probe(model, INPUTS, TARGETS).measure(), plain, rate_error=1e-6)


@pytest.mark.rejects
def test_outputs_without_any_gradient_are_refused_with_the_reason():
    class Rounds(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tanh_net()

        def forward(self, x):
            return self.net(x).detach()

    for method in ("dense", "products"):
        with pytest.raises(ModelError, match=r"receives a gradient.*detach\(\).*Return the scores"):
            ef.Probe(Rounds(), INPUTS, TARGETS).measure(2, method=method)


@pytest.mark.rejects
def test_memory_that_ran_out_is_said_in_the_user_s_words():
    for error in (
        MemoryError("Unable to allocate 3.00 GiB"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    ):
        with pytest.raises(ModelError, match=r"`memory_budget`, fewer samples.*method='products'"):
            require_memory_left(error)
    require_memory_left(RuntimeError("anything else"))


def test_an_exception_that_was_never_raised_is_explained_without_a_place():
    assert explained(ValueError("a reason."), tanh_net()) == "ValueError: a reason"
