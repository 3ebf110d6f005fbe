"""A few networks of every family of the zoo are measured right, and the judge itself is judged."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from zoo.architecture import FAMILIES, Architecture, architectures, get
from zoo.harness import METHODS, compare, judge, make_probe, measure, right_values
from zoo.reference import reference

FAST = (
    "mlp-silu",
    "mlp-hardsigmoid",
    "mlp-prelu",
    "mlp-glu",
    "scalar-parameters",
    "frozen-parts",
    "unused-parameters",
    "conv2d-reflect",
    "segmentation-classes-on-axis-1",
    "upsample-bilinear",
    "grid-sample-bilinear",
    "instance-norm-affine",
    "weight-norm",
    "orthogonal-cayley",
    "batch-norm-eval",
    "batch-norm-batch-statistics",
    "embedding-scaled-by-frequency",
    "tied-head-padding",
    "two-paddings-on-one-table",
    "embedding-bag-mean",
    "gru",
    "packed-by-padding",
    "multihead-padding-mask",
    "sdpa-causal",
    "llama-with-attention-mask",
    "bert",
    "vit",
    "clip",
    "pinn-vmap-grad",
    "pinn-autograd-grad",
    "neural-ode-rk4",
    "mixture-token-dispatch",
    "graph-scatter",
    "kan",
    "linalg-solve",
    "linalg-logdet",
    "op-fft",
    "rbf-cdist",
    "in-place-arithmetic",
    "branch-by-value",
    "function-old-style",
    "sign-straight-through",
    "checkpoint-reentrant",
    "shared-in-sequence",
    "one-encoder-two-names",
    "compiled-in-place",
    "lora-by-hand",
    "inputs-mapping",
    "outputs-dict-logits",
    "conv-transpose-3d-strided",
    "weights-in-a-plain-list",
    "round-straight-through",
    "flat-parameter",
    "gpt2-last-logit",
    "patch-tst",
    "distributed-data-parallel",
    "custom-op-with-gradient",
    "dropout-train",
    "argmax-outputs",
)


@pytest.mark.long
@pytest.mark.parametrize("name", FAST)
def test_measured_right_or_refused_with_the_reason(name):
    """Against float64 Jacobians by plain reverse mode and sixth-order differences of M."""
    assert_right_or_refused(get(name))


def test_fast_part_covers_every_family():
    assert {get(name).family for name in FAST} == set(FAMILIES)


def test_zoo_is_large_and_names_are_unique():
    names = [a.name for a in architectures()]
    assert len(names) == len(set(names)) >= 170


def test_models_are_the_same_at_every_make():
    """The reference and the probe never share a model, so making it must not depend on anything but the seed."""
    for name in ("mlp-prelu", "gru", "kan"):
        first, second = get(name).make()[0], get(name).make()[0]
        assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


def test_reference_of_a_linear_model_is_the_product_of_its_inputs():
    """For f(x) = W x with the mean over n c entries, M = 2 / (n c) X X^T (x) I, and nothing moves."""
    architecture = get("linear-without-bias")
    _, x = architecture.make()
    right = reference(architecture, "mse")
    gram = torch.linalg.eigvalsh((x @ x.T).double()).flip(0) * 2 / 15
    torch.testing.assert_close(right.eigenvalues, gram.repeat_interleave(3).sort(descending=True).values)
    assert float(right.rates.abs().max()) <= 1e-12 * float(right.eigenvalues[0])


def test_reference_of_one_exponential_has_its_closed_rate():
    """z = exp(a x): lambda = 2 x^2 z^2 and da/dt = -2 (z - y) x z, so dlambda/dt = 4 x^3 z^2 da/dt."""

    class Exponential(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.tensor([0.3]))

        def forward(self, x):
            return torch.exp(self.a * x)

    x = 0.7
    architecture = Architecture("exponential", "dense", lambda: (Exponential(), torch.tensor([[x]])), losses=("mse",))
    right = reference(architecture, "mse")
    a, x = torch.tensor([0.3]).double(), torch.tensor([[x]]).double()
    z = torch.exp(a * x)
    y = torch.randn(1, 1, generator=torch.Generator().manual_seed(2000)).double()
    torch.testing.assert_close(right.eigenvalues, (2 * x**2 * z**2)[0])
    torch.testing.assert_close(right.rates, (4 * x**3 * z**2 * (-2 * (z - y) * x * z))[0], rtol=1e-9, atol=0)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("field", ["eigenvalues", "eigenvalue_rates", "coefficients", "trace", "loss"])
def test_judge_calls_a_wrong_number_wrong(field, loss):
    """A snapshot that is off by one part in a million is found, field by field; without it nothing is."""
    architecture = get("deep-tanh")
    snapshot = measure(make_probe(architecture, loss), "dense")
    right = right_values(architecture.name, loss)
    clean, _ = compare(snapshot, right, is_whole=True, limit=1e-7)
    assert max(clean.values()) <= 1e-7
    spoiled = replace(snapshot, **{field: getattr(snapshot, field) * (1 + 1e-6)})
    found, notes = compare(spoiled, right, is_whole=True, limit=1e-7)
    assert max(found.values()) > 1e-7
    assert not notes


def test_judge_calls_a_foreign_exception_foreign():
    broken = Architecture("broken-architecture", "dense", lambda: (nn.Linear(4, 3), torch.randn(5, 4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.harness.right_values", lambda *_: None)
        patch.setattr("zoo.harness.make_probe", lambda *_: {}["missing"])
        assert judge(broken, "mse", "dense").outcome == "foreign"


def assert_right_or_refused(architecture: Architecture) -> None:
    """Each loss, each method: right, or refused where the zoo says that it may be."""
    verdicts = [judge(architecture, loss, method) for loss in architecture.losses for method in METHODS]
    allowed = {"right", "refused"} if architecture.refusal else {"right"}
    bad = [v for v in verdicts if v.outcome not in allowed]
    assert not bad, "\n".join(f"{v.loss} {v.method}: {v.outcome}: {v.message}" for v in bad)
