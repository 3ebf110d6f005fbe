"""A tiny GPT-2 and a residual CNN with batch norm, their losses and sketches, against dense float64 autograd."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.tangent.loss.sketch import sketched
from reference import dense_jacobian as oracle

POSITIONS, TOKENS, COUNT = 4, 11, 3


class Logits(nn.Module):
    """Only the logits of a language model, which is what the loss sees."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model(input_ids=tokens, use_cache=False).logits


def gpt2(attention):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=TOKENS,
        n_positions=POSITIONS,
        n_embd=8,
        n_layer=2,
        n_head=2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        attn_implementation=attention,
    )
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    tokens = torch.randint(0, TOKENS, (COUNT, POSITIONS + 1), generator=torch.Generator().manual_seed(1))
    return Logits(model).double().eval(), tokens[:, :-1], tokens[:, 1:].contiguous()


class Block(nn.Module):
    def __init__(self, ins, outs, stride):
        super().__init__()
        self.first = nn.Conv2d(ins, outs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outs)
        self.second = nn.Conv2d(outs, outs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outs)
        self.relu = nn.ReLU(inplace=True)
        self.skip = nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))

    def forward(self, x):
        inner = self.relu(self.first_norm(self.first(x)))
        inner = self.second_norm(self.second(inner))
        inner += self.skip(x)
        return self.relu(inner)


def residual_net():
    """ResNet-like: stem, two residual blocks, global pooling; statistics as after some training."""
    torch.manual_seed(3)
    stem = [nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU()]
    model = nn.Sequential(*stem, Block(3, 4, 1), Block(4, 5, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    inputs = torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(4)).double()
    model = model.double().train()
    for _ in range(5):
        model(torch.randn(16, 1, 6, 6, dtype=torch.float64))
    return model.eval(), inputs, torch.arange(5) % 3


def cross_entropy_operator(model, inputs, labels):
    """B^T J J^T B with B = H^(1/2) from autograd's Hessian of torch's own cross-entropy."""
    logits = model(inputs).detach()
    flat = logits.reshape(-1, logits.shape[-1]).requires_grad_(True)
    H = torch.autograd.functional.hessian(lambda z: functional.cross_entropy(z, labels.reshape(-1)), flat)
    H = H.reshape(flat.numel(), flat.numel())
    values, columns = torch.linalg.eigh(H)
    root = columns @ torch.diag(values.clamp(min=0).sqrt()) @ columns.T
    return root @ oracle.kernel(model, inputs, 1.0) @ root


@pytest.mark.long
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_gpt2_with_tied_tokens_by_rules_alone(attention):
    model, tokens, labels = gpt2(attention)
    probe = ef.Probe(model, tokens, labels, loss="cross_entropy")
    assert probe.method == "dense, layer rules for all parameters"
    snapshot = probe.measure(modes=20, drift=True)
    expected = torch.linalg.eigvalsh(cross_entropy_operator(model, tokens, labels)).flip(0)
    # The square root of H's null eigenvalues carries rounding of 1e-16^(1/2) into the oracle, squared again in M.
    torch.testing.assert_close(snapshot.eigenvalues, expected[:20], rtol=0, atol=1e-11 * float(expected[0]))
    assert snapshot.operator_error <= 1e-12
    loss = functional.cross_entropy(model(tokens).reshape(-1, TOKENS), labels.reshape(-1))
    assert snapshot.loss == pytest.approx(float(loss.detach()), rel=1e-13)


def test_gpt2_attention_implementations_agree_in_the_rates():
    rates = []
    for attention in ("eager", "sdpa"):
        model, tokens, labels = gpt2(attention)
        point = ef.Probe(model, tokens, labels, loss="cross_entropy").at()
        rates.append(point.dense_and_rate({n: -g for n, g in point.gradient().items()})[1])
    torch.testing.assert_close(rates[0], rates[1], rtol=1e-10, atol=1e-12 * float(rates[0].abs().max()))


def test_gpt2_rate_agrees_with_differences():
    """Over +-1e-5 along the gradient; their own error is about 1e-8 relative."""
    model, tokens, labels = gpt2("sdpa")
    probe = ef.Probe(model, tokens, labels, loss="cross_entropy")
    point = probe.at()
    direction = {n: -g for n, g in point.gradient().items()}
    _, rate = point.dense_and_rate(direction)
    ends = []
    for sign in (1, -1):
        moved = {n: p + sign * 1e-5 * direction[n] for n, p in point.parameters.items()}
        ends.append(probe.at((moved, point.rest)).dense())
    expected = (ends[0] - ends[1]) / 2e-5
    assert float((rate - expected).norm()) <= 1e-6 * float(expected.norm())


def test_chosen_tokens_are_a_principal_block():
    model, tokens, labels = gpt2("sdpa")
    whole = ef.Probe(model, tokens, labels, loss="cross_entropy").at()
    chosen = [0, 5, 2 * TOKENS + 3, 3 * TOKENS + 1]
    part = ef.Probe(model, tokens, labels, loss=sketched("cross_entropy", chosen=chosen)).at()
    width = POSITIONS * TOKENS
    index = torch.tensor([i * width + c for i in range(COUNT) for c in chosen])
    torch.testing.assert_close(part.dense(), whole.dense()[index][:, index], rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(part.error, whole.error[index], rtol=1e-13, atol=1e-15)
    assert part.loss == pytest.approx(whole.loss, rel=1e-14)
    basis = torch.eye(part.size, dtype=torch.float64)
    torch.testing.assert_close(part.product(basis), part.dense(), rtol=1e-10, atol=1e-14)


def test_residual_net_with_batch_norm_in_eval_mode():
    model, inputs, labels = residual_net()
    probe = ef.Probe(model, inputs, labels, loss="cross_entropy")
    assert probe.method == "dense, layer rules for all parameters"
    snapshot = probe.measure(drift=True)
    expected = torch.linalg.eigvalsh(cross_entropy_operator(model, inputs, labels)).flip(0)
    torch.testing.assert_close(snapshot.eigenvalues, expected, rtol=0, atol=1e-11 * float(expected[0]))
    assert snapshot.operator_error <= 1e-12


@pytest.mark.long
def test_random_sketches_are_unbiased_in_the_kernel_of_samples_and_the_energy():
    """The mean of many sketched sample kernels lies within five standard errors of the exact one."""
    model, inputs, labels = residual_net()
    exact = ef.Probe(model, inputs, labels, loss="cross_entropy").at()
    kernel = exact.dense().reshape(5, 3, 5, 3).diagonal(dim1=1, dim2=3).sum(-1)
    generator = torch.Generator().manual_seed(0)
    draws, energies = [], []
    for _ in range(60):
        point = ef.Probe(model, inputs, labels, loss=sketched("cross_entropy", count=2, generator=generator)).at()
        draws.append(point.dense().reshape(5, 2, 5, 2).diagonal(dim1=1, dim2=3).sum(-1))
        energies.append(point.error.square().sum())
    draws, energies = torch.stack(draws), torch.stack(energies)
    spread = draws.std(0) / len(draws) ** 0.5
    assert float(((draws.mean(0) - kernel).abs() / spread).max()) <= 5.0
    assert float(draws.std(0).max()) > 0.01 * float(kernel.max())  # the sketch is a real one
    energy = float(exact.error.square().sum())
    assert abs(float(energies.mean()) - energy) <= 5.0 * float(energies.std()) / len(energies) ** 0.5
