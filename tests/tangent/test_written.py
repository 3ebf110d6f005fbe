"""Forward passes that write: into parameters, into buffers, into generators of their own."""

import numpy as np
import torch
from torch import nn

import eigenflow as ef


class Unit(nn.Module):
    """Normalises its weight in place before it uses it, as weight clipping does."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 6), nn.Linear(6, 3)
        self.torch_numbers, self.numpy_numbers = torch.Generator().manual_seed(0), np.random.default_rng(0)

    def forward(self, x):
        with torch.no_grad():
            self.inner.weight.div_(self.inner.weight.norm())
            self.outer.weight.data.clamp_(-0.3, 0.3)
        torch.rand(2, generator=self.torch_numbers), self.numpy_numbers.normal()
        return self.outer(torch.tanh(self.inner(x)))


def test_states_and_generators_stay_as_they_are():
    """A state that is measured twice gives the same numbers, and neither it nor the model has moved."""
    torch.manual_seed(0)
    model, inputs, targets = Unit().double(), torch.randn(5, 4).double(), torch.randn(5, 3).double()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    numbers = model.torch_numbers.get_state(), model.numpy_numbers.bit_generator.state
    probe = ef.Probe(model, inputs, targets)
    state = probe.state()
    copies = [{name: t.clone() for name, t in side.items()} for side in state]
    first, second = (probe.measure(drift=False, at=probe.at(state)) for _ in range(2))
    assert torch.equal(first.eigenvalues, second.eigenvalues)
    for side, copy in zip(state, copies, strict=True):
        assert all(torch.equal(t, copy[name]) for name, t in side.items())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert torch.equal(model.torch_numbers.get_state(), numbers[0])
    assert model.numpy_numbers.bit_generator.state == numbers[1]
