"""What has no operator: outputs that no parameter moves, that are not finite, or that are not there."""

import torch
from torch import nn

from zoo.architecture import add
from zoo.families.parts import Fn, points


def _argmax():
    return Fn(
        lambda s, x: s.outer(torch.tanh(s.inner(x))).argmax(-1, keepdim=True).to(x.dtype),
        inner=nn.Linear(4, 6),
        outer=nn.Linear(6, 3),
    ), points()


def _sign():
    return Fn(lambda s, x: torch.sign(s.inner(x)), inner=nn.Linear(4, 3)), points()


def _detached():
    return Fn(lambda s, x: s.inner(x).detach(), inner=nn.Linear(4, 3)), points()


def _no_grad():
    def forward(s, x):
        with torch.no_grad():
            return s.inner(x)

    return Fn(forward, inner=nn.Linear(4, 3)), points()


def _zero_head():
    """A head of zeros on a dead layer: M = 0 but for the head's bias, which is absent."""
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3, bias=False))
    with torch.no_grad():
        net[2].weight.zero_()
        net[0].weight.zero_()
        net[0].bias.fill_(-1.0)
    return net, points()


def _zero_initialised_head():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        net[2].weight.zero_()
        net[2].bias.zero_()
    return net, points()


def _whole_batch_output():
    return Fn(lambda s, x: s.inner(x).mean(), inner=nn.Linear(4, 3)), points()


def _other_count():
    return Fn(lambda s, x: s.inner(x)[::2], inner=nn.Linear(4, 3)), points(6)


def _infinite():
    return Fn(lambda s, x: torch.log(torch.relu(s.inner(x)) * 0), inner=nn.Linear(4, 3)), points()


def _all_frozen():
    return nn.Linear(4, 3).requires_grad_(False), points()


def _complex_output():
    return Fn(lambda s, x: torch.fft.rfft(s.inner(x)), inner=nn.Linear(4, 4)), points()


def _integer_output():
    return Fn(lambda s, x: s.inner(x).argmax(-1), inner=nn.Linear(4, 3)), points()


def _bernoulli():
    return Fn(lambda s, x: torch.bernoulli(torch.sigmoid(s.inner(x))), inner=nn.Linear(4, 3)), points()


ONLY = ("mse",)
add("zero-initialised-head", _zero_initialised_head, family=__name__)
for name, build, reason in (
    ("argmax-outputs", _argmax, "outputs are constant"),
    ("sign-outputs", _sign, "outputs are constant"),
    ("outputs-detached", _detached, "outputs are cut off"),
    ("outputs-under-no-grad", _no_grad, "outputs are cut off"),
    ("dead-network", _zero_head, "M = 0"),
    ("bernoulli-outputs", _bernoulli, "random outputs"),
):
    add(name, build, family=__name__, losses=ONLY, refusal=reason)
