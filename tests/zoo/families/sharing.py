"""Modules and parameters under two names: shared blocks, siamese towers, tied weights."""

import torch
from torch import nn
from torch.nn.utils import parametrizations

from zoo.architecture import add
from zoo.families.parts import Fn, points, tokens


def _shared_in_sequence():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(4, 3)), points()


def _shared_activation():
    act = nn.PReLU()
    return nn.Sequential(nn.Linear(4, 6), act, nn.Linear(6, 6), act, nn.Linear(6, 3)), points()


def _module_list_repeated():
    block = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.LayerNorm(4))

    def forward(s, x):
        for layer in s.layers:
            x = x + layer(x)
        return s.head(x)

    return Fn(forward, layers=nn.ModuleList([block] * 3), head=nn.Linear(4, 3)), points()


def _two_names():
    encoder = nn.Sequential(nn.Linear(2, 5), nn.Tanh())
    return Fn(
        lambda s, x: s.head(torch.cat([s.query(x[:, :2]), s.key(x[:, 2:])], -1)),
        query=encoder,
        key=encoder,
        head=nn.Linear(10, 3),
    ), points()


def _siamese_two_inputs():
    tower = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    return Fn(lambda s, a, b: (s.tower(a) - s.tower(b)).abs(), tower=tower, alias=tower), (points(), points())


def _embedding_shared():
    table = nn.Embedding(7, 4)
    encoder, decoder = nn.Module(), nn.Module()
    encoder.embed, decoder.embed = table, table
    net = Fn(
        lambda s, x: s.head(torch.tanh(s.encoder.embed(x).mean(1) + s.decoder.embed(x)[:, -1])),
        encoder=encoder,
        decoder=decoder,
        head=nn.Linear(4, 3),
    )
    return net, tokens()


def _tied_autoencoder():
    def forward(s, x):
        return nn.functional.linear(torch.tanh(s.encoder(x)), s.encoder.weight.t(), s.bias)

    return Fn(forward, encoder=nn.Linear(4, 3), bias=nn.Parameter(torch.zeros(4))), points()


def _tied_parameters():
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    return nn.Sequential(a, nn.Tanh(), b, nn.Tanh(), nn.Linear(4, 3)), points()


def _tied_bias_and_weight():
    a, b, c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
    b.weight, b.bias = a.weight, a.bias
    return nn.Sequential(a, nn.Tanh(), b, nn.Sigmoid(), c), points()


def _tied_conv_linear():
    """One matrix as convolution of width one and as linear layer."""

    def forward(s, x):
        h = torch.tanh(nn.functional.conv1d(x, s.weight[:, :, None]))
        return s.head(torch.tanh(h.mT @ s.weight.mT).mean(1))

    return Fn(forward, weight=nn.Parameter(torch.randn(3, 3)), head=nn.Linear(3, 3)), torch.randn(4, 3, 5)


def _tied_two_embeddings_and_head():
    a, b, head = nn.Embedding(7, 4), nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
    b.weight = head.weight = a.weight
    return Fn(lambda s, x: s.head(torch.tanh(s.a(x) * s.b(x.flip(1)))), a=a, b=b, head=head), tokens(2, 3)


def _tied_rnn():
    rnn = nn.GRU(4, 4, batch_first=True)
    return Fn(
        lambda s, x: s.head(s.second(s.first(x)[0])[0][:, -1]), first=rnn, second=rnn, head=nn.Linear(4, 3)
    ), torch.randn(4, 3, 4)


def _shared_batch_norm():
    norm = nn.BatchNorm1d(4)
    net = nn.Sequential(nn.Linear(4, 4), norm, nn.Tanh(), nn.Linear(4, 4), norm, nn.Tanh(), nn.Linear(4, 3))
    for _ in range(3):
        net(points(8))
    return net, points()


def _shared_parametrized():
    layer = parametrizations.weight_norm(nn.Linear(4, 4))
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(4, 3)), points()


def _same_module_called_thrice():
    return Fn(
        lambda s, x: s.head(s.step(s.step(s.step(x).tanh()).tanh()).tanh()), step=nn.Linear(4, 4), head=nn.Linear(4, 3)
    ), points()


def _shared_conv():
    conv = nn.Conv2d(2, 2, 3, padding=1)
    return nn.Sequential(conv, nn.ReLU(), conv, nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)), torch.randn(3, 2, 4, 4)


def _frozen_twin():
    """A frozen copy gives the residual's zero (random network distillation)."""
    net = Fn(
        lambda s, x: s.learner(x) - s.teacher(x),
        learner=nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
        teacher=nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
    )
    net.teacher.requires_grad_(False)
    return net, points()


def _module_outside():
    """A layer hidden in a plain list: its parameters belong to no module."""
    hidden = [nn.Linear(4, 6).double()]
    net = Fn(lambda s, x: s.head(torch.tanh(hidden[0](x))), head=nn.Linear(6, 3))
    return net.double(), points().double()


def _linearised():
    """A net linearised about its start by jvp: lazy training."""
    inner = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    net = Fn(
        None, moved=nn.ParameterList([nn.Parameter(0.1 * torch.randn_like(p)) for p in inner.parameters()]), inner=inner
    )
    inner.requires_grad_(False)
    names = [name for name, _ in inner.named_parameters()]

    def forward(s, x):
        start = dict(s.inner.named_parameters())
        out, change = torch.func.jvp(
            lambda w: torch.func.functional_call(s.inner, w, (x,)), (start,), (dict(zip(names, s.moved, strict=True)),)
        )
        return out + change

    net.function = forward
    return net, points()


BUILDERS = {
    "shared-in-sequence": _shared_in_sequence,
    "shared-prelu": _shared_activation,
    "shared-block-in-module-list": _module_list_repeated,
    "one-encoder-two-names": _two_names,
    "siamese-two-inputs": _siamese_two_inputs,
    "embedding-of-encoder-and-decoder": _embedding_shared,
    "tied-autoencoder": _tied_autoencoder,
    "tied-weight": _tied_parameters,
    "tied-weight-and-bias": _tied_bias_and_weight,
    "tied-convolution-and-linear": _tied_conv_linear,
    "tied-two-embeddings-and-head": _tied_two_embeddings_and_head,
    "shared-gru": _tied_rnn,
    "shared-batch-norm": _shared_batch_norm,
    "shared-parametrized": _shared_parametrized,
    "called-thrice": _same_module_called_thrice,
    "shared-convolution": _shared_conv,
    "frozen-twin": _frozen_twin,
    "linearised-by-jvp": _linearised,
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
add(
    "layer-in-a-plain-list",
    _module_outside,
    family=__name__,
    refusal="a trainable parameter that the model does not hold",
)
