"""A measurement leaves the model, its optimizer and the process bit for bit as they were, also when it fails."""

import contextlib
import itertools

import pytest
import torch
from torch.nn.parameter import is_lazy

import eigenflow as ef
from eigenflow.core.errors import EigenflowError
from zoo.architecture import Architecture, architectures, get, quiet
from zoo.fingerprint import differences, fingerprint
from zoo.harness import make_probe, measure

FAST = (
    "mlp-silu",
    "frozen-parts",
    "unused-parameters",
    "scalar-parameters",
    "shared-in-sequence",
    "one-encoder-two-names",
    "embedding-of-encoder-and-decoder",
    "tied-head-padding",
    "tied-two-embeddings-and-head",
    "batch-norm-eval",
    "batch-norm-batch-statistics",
    "instance-norm-running",
    "spectral-norm-eval",
    "weight-norm",
    "weight-norm-old",
    "gru",
    "checkpoint",
    "compiled-in-place",
    "data-parallel",
    "hook-forward",
    "remembers-activations",
    "counts-calls-in-a-buffer",
    "makes-a-table-once",
    "embedding-max-norm",
    "dropout-eval",
    "llama-gradient-checkpointing",
    "bert-masked-lm",
)
FAILING = ("shared-in-sequence", "tied-head-padding", "batch-norm-eval", "weight-norm", "checkpoint", "gru")


class _Stop(BaseException):
    """Like a keyboard interrupt: nobody may swallow it."""


@pytest.mark.long
@pytest.mark.parametrize("name", FAST)
def test_probe_measurement_and_record_leave_everything_as_it_was(name, tmp_path):
    check_untouched(get(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [a.name for a in architectures() if a.name not in FAST])
def test_every_architecture_is_left_as_it_was(name, tmp_path):
    check_untouched(get(name), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("kind", [RuntimeError, _Stop])
@pytest.mark.parametrize("name", FAILING)
def test_measurement_that_fails_halfway_leaves_everything_as_it_was(name, kind):
    check_untouched_by_failure(get(name), kind, calls=(1, 2, 3, 4, 6, 9))


@pytest.mark.slow
@pytest.mark.parametrize("name", [a.name for a in architectures() if a.name not in FAILING])
def test_every_architecture_is_left_as_it_was_by_a_failure(name):
    check_untouched_by_failure(get(name), RuntimeError, calls=(1, 3))


def test_model_trains_on_after_a_measurement():
    """What a fingerprint cannot say: the same updates with and without a probe give the same weights."""
    architecture = get("one-encoder-two-names")
    trained = []
    for is_measured in (False, True):
        model, x = architecture.make()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        probe = ef.Probe(model, x, torch.ones(5, 3)) if is_measured else None
        for _ in range(3):
            optimizer.zero_grad()
            (model(x) - 1).square().mean().backward()
            optimizer.step()
            if probe is not None:
                probe.measure()
        trained.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(p, q) for p, q in zip(*trained, strict=True))


def test_fingerprint_sees_what_it_is_for():
    """A negative control: each change is seen, and no change is not."""
    model, _ = get("one-encoder-two-names").make()
    model.query[0].weight.grad = torch.ones(5, 2)
    before = fingerprint(model)
    assert not differences(before, fingerprint(model))
    changes = (
        lambda: model.query[0].weight.data.add_(1e-7),
        lambda: setattr(model.key[0], "bias", torch.nn.Parameter(model.key[0].bias.detach().clone())),
        lambda: model.head.requires_grad_(False),
        lambda: model.key[1].train(),
        lambda: model.query[0].weight.grad.mul_(2),
        lambda: model.head.register_forward_hook(lambda *_: None),
        lambda: setattr(model, "added", 1),
        lambda: torch.rand(1),
    )
    for change in changes:
        before = fingerprint(model)
        change()
        assert differences(before, fingerprint(model))


def check_untouched(architecture: Architecture, folder) -> None:
    """Fingerprints around making a probe, measuring by both methods, and a measured step of a recorder."""
    loss = architecture.losses[0]
    model, optimizer = _in_training(architecture)
    before = fingerprint(model, optimizer)
    with quiet():
        try:
            probe = make_probe(architecture, loss, model=model)
        except EigenflowError:
            probe = None
    assert not differences(before, fingerprint(model, optimizer)), "by the probe"
    if probe is None:
        return
    for method in ("dense", "products"):
        with quiet(), contextlib.suppress(EigenflowError):
            measure(probe, method)
        assert not differences(before, fingerprint(model, optimizer)), f"by measure, {method}"
    with quiet():
        try:
            recorder = ef.Recorder(folder / "run", probe, [0])
        except EigenflowError:
            return
        _update(model, optimizer)
        before = fingerprint(model, optimizer)
        with contextlib.suppress(EigenflowError):
            recorder.step(0, loss=1.0, learning_rate=0.01)
        recorder.close()
    assert not differences(before, fingerprint(model, optimizer)), "by the recorder"


def check_untouched_by_failure(architecture: Architecture, kind: type[BaseException], calls: tuple[int, ...]) -> None:
    """A layer raises at its k-th call, while the probe is made or measures: nothing is left behind."""
    loss = architecture.losses[0]
    for method, call in itertools.product(("dense", "products"), calls):
        model, optimizer = _in_training(architecture)
        trap = _Trap(model, kind)
        before = fingerprint(model, optimizer)
        trap.left = call
        with quiet(), contextlib.suppress(EigenflowError, kind):
            measure(make_probe(architecture, loss, model=model), method)
        trap.left = None
        changed = differences(before, fingerprint(model, optimizer))
        assert not changed, f"{method}, call {call}"


class _Trap:
    """Raises when the model's last layer is called for the n-th time."""

    def __init__(self, model: torch.nn.Module, kind: type[BaseException]):
        self.left: int | None = None
        self.kind = kind
        leaves = [m for m in model.modules() if not list(m.children())]
        leaves[-1].register_forward_pre_hook(self._count)

    def _count(self, module, args):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise self.kind("the layer fails, as the test wants it")


def _in_training(architecture: Architecture) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A model with gradients and an optimizer that has a state."""
    model, _ = architecture.make()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-3)
    for number, p in enumerate(model.parameters()):
        if p.requires_grad and not is_lazy(p):
            p.grad = torch.full_like(p, 0.01 * (number + 1))
    _update(model, optimizer)
    return model, optimizer


def _update(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    with quiet():
        optimizer.step()
