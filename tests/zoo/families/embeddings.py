"""Embedding tables in every mode."""

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, tokens


def _pooled(**options):
    return nn.Sequential(nn.Embedding(7, 5, **options), Fn(lambda s, h: h.mean(1)), nn.Tanh(), nn.Linear(5, 3))


def _with_padding(n=3):
    x = tokens(n)
    x[0, 0] = x[1, 2] = 2
    return x


def _max_norm(**options):
    net = nn.Sequential(
        nn.Embedding(7, 5, max_norm=1.0, **options), Fn(lambda s, h: h.mean(1)), nn.Tanh(), nn.Linear(5, 3)
    )
    x = tokens()
    net(x)
    return net, x


class Tied(nn.Module):
    """Embedding and head are one table."""

    def __init__(self, **options):
        super().__init__()
        self.table, self.mix, self.head = nn.Embedding(7, 5, **options), nn.Linear(5, 5), nn.Linear(5, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        return self.head(torch.tanh(self.mix(self.table(x))))


class TwoPaddings(nn.Module):
    """Encoder and decoder share a table, each with its own padding row."""

    def __init__(self):
        super().__init__()
        self.source, self.target = nn.Embedding(7, 5, padding_idx=0), nn.Embedding(7, 5, padding_idx=2)
        self.target.weight = self.source.weight
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.source(x)).mean(1) * self.target(x).mean(1))


def _bag(mode, **options):
    return nn.Sequential(nn.EmbeddingBag(7, 5, mode=mode, **options), nn.Tanh(), nn.Linear(5, 3)), _with_padding()


def _bag_weighted():
    net = Fn(
        lambda s, x: s.head(torch.tanh(s.bag(x, per_sample_weights=s.importance[x]))),
        bag=nn.EmbeddingBag(7, 5, mode="sum"),
        importance=nn.Parameter(torch.rand(7)),
        head=nn.Linear(5, 3),
    )
    return net, tokens()


def _bag_offsets():
    net = Fn(
        lambda s, x: s.head(torch.tanh(s.bag(x.reshape(-1), torch.arange(0, x.numel(), 4)))),
        bag=nn.EmbeddingBag(7, 5),
        head=nn.Linear(5, 3),
    )
    return net, tokens()


def _adaptive_inputs():
    net = Fn(
        lambda s, x: s.head(
            torch.tanh(
                torch.where((x < 3)[..., None], s.common(x.clamp(max=2)), s.up(s.rare((x - 3).clamp(min=0))))
            ).mean(1)
        ),
        common=nn.Embedding(3, 5),
        rare=nn.Embedding(4, 2),
        up=nn.Linear(2, 5),
        head=nn.Linear(5, 3),
    )
    return net, tokens()


def _pair(n=5):
    return torch.stack([torch.randint(0, 4, (n,)), torch.randint(0, 6, (n,))], 1)


BUILDERS = {
    "embedding": lambda: (_pooled(), tokens()),
    "embedding-padding": lambda: (_pooled(padding_idx=2), _with_padding()),
    "embedding-negative-padding": lambda: (_pooled(padding_idx=-5), _with_padding()),
    "embedding-scaled-by-frequency": lambda: (_pooled(scale_grad_by_freq=True), _with_padding()),
    "embedding-frequency-and-padding": lambda: (_pooled(scale_grad_by_freq=True, padding_idx=2), _with_padding()),
    "embedding-sparse": lambda: (_pooled(sparse=True), tokens()),
    "embedding-from-pretrained": lambda: (
        nn.Sequential(
            nn.Embedding.from_pretrained(torch.randn(7, 5)),
            Fn(lambda s, h: h.mean(1)),
            nn.Linear(5, 6),
            nn.Tanh(),
            nn.Linear(6, 3),
        ),
        tokens(),
    ),
    "functional-embedding": lambda: (
        Fn(
            lambda s, x: s.head(torch.tanh(functional.embedding(x, s.table, padding_idx=2)).mean(1)),
            table=nn.Parameter(torch.randn(7, 5)),
            head=nn.Linear(5, 3),
        ),
        _with_padding(),
    ),
    "indexed-table": lambda: (
        Fn(
            lambda s, x: s.head(torch.tanh(s.table[x]).mean(1)),
            table=nn.Parameter(torch.randn(7, 5)),
            head=nn.Linear(5, 3),
        ),
        tokens(),
    ),
    "one-hot-times-table": lambda: (
        Fn(
            lambda s, x: s.head(torch.tanh(functional.one_hot(x, 7).to(s.table.dtype) @ s.table).mean(1)),
            table=nn.Parameter(torch.randn(7, 5)),
            head=nn.Linear(5, 3),
        ),
        tokens(),
    ),
    "two-paddings-on-one-table": lambda: (TwoPaddings(), _with_padding()),
    "embedding-bag-mean": lambda: _bag("mean"),
    "embedding-bag-sum": lambda: _bag("sum"),
    "embedding-bag-max": lambda: _bag("max"),
    "embedding-bag-padding": lambda: _bag("mean", padding_idx=2),
    "embedding-bag-scaled-by-frequency": lambda: _bag("sum", scale_grad_by_freq=True),
    "embedding-bag-weighted": _bag_weighted,
    "embedding-bag-offsets": _bag_offsets,
    "adaptive-inputs": _adaptive_inputs,
    "matrix-factorisation": lambda: (
        Fn(
            lambda s, x: torch.stack(
                [(s.u(x[:, 0]) * s.v(x[:, 1])).sum(-1), s.bu(x[:, 0])[:, 0] + s.bv(x[:, 1])[:, 0]], -1
            ),
            u=nn.Embedding(4, 3),
            v=nn.Embedding(6, 3),
            bu=nn.Embedding(4, 1),
            bv=nn.Embedding(6, 1),
        ),
        _pair(),
    ),
    "collaborative-filtering-net": lambda: (
        Fn(
            lambda s, x: s.head(torch.relu(s.mix(torch.cat([s.u(x[:, 0]), s.v(x[:, 1])], -1)))),
            u=nn.Embedding(4, 3),
            v=nn.Embedding(6, 3),
            mix=nn.Linear(6, 5),
            head=nn.Linear(5, 3),
        ),
        _pair(),
    ),
}
BY_FREQUENCY = "a gradient scaled by frequency is no derivative of a function"
for name, build in BUILDERS.items():
    add(name, build, family=__name__, refusal=BY_FREQUENCY if "frequency" in name else "")
add("tied-head", lambda: (Tied(), tokens(2, 3)), family=__name__)
add("tied-head-padding", lambda: (Tied(padding_idx=2), _with_padding(2)), family=__name__)
add(
    "tied-head-scaled-by-frequency",
    lambda: (Tied(scale_grad_by_freq=True), _with_padding(2)),
    family=__name__,
    refusal=BY_FREQUENCY,
)
add("ignored-labels", lambda: (Tied(), tokens(2, 3)), family=__name__, losses=("cross_entropy",), ignored=2)
REASON = "the forward pass itself rescales rows of the table"
add("embedding-max-norm", _max_norm, family=__name__, refusal=REASON)
add("embedding-bag-max-norm", lambda: _bag("mean", max_norm=1.0), family=__name__, refusal=REASON)
