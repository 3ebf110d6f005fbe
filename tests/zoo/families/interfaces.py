"""Inputs and outputs as people have them: tuples, dicts, masks, integers, several outputs, side effects."""

from collections import namedtuple

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, points, tokens

Pair = namedtuple("Pair", ["logits", "hidden"])


def _mlp_to(pack):
    def forward(s, x):
        h = torch.tanh(s.inner(x))
        return pack(s.outer(h), h)

    return lambda: (Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3)), points())


def _two_inputs(n=5):
    return Fn(
        lambda s, a, b: s.head(torch.tanh(s.left(a) * s.right(b))),
        left=nn.Linear(4, 6),
        right=nn.Linear(2, 6),
        head=nn.Linear(6, 3),
    ), (points(n), points(n, 2))


def _named_inputs():
    net = Fn(
        lambda s, image, text: s.head(torch.tanh(s.left(image) + s.table(text).mean(1))),
        left=nn.Linear(4, 6),
        table=nn.Embedding(7, 6),
        head=nn.Linear(6, 3),
    )
    return net, {"image": points(3), "text": tokens(3)}


def _masked_mean():
    def forward(s, x, mask):
        h = torch.tanh(s.inner(x)) * mask[..., None]
        return s.head(h.sum(1) / mask.sum(1, keepdim=True))

    mask = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
    return Fn(forward, inner=nn.Linear(4, 6), head=nn.Linear(6, 3)), {"x": torch.randn(3, 3, 4), "mask": mask}


def _bytes_inputs():
    """Pixels as uint8, scaled inside with the parameters' dtype."""
    net = Fn(lambda s, x: s.b(torch.tanh(s.a(x.to(s.a.weight.dtype) / 255))), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    return net, torch.randint(0, 255, (5, 4), dtype=torch.uint8)


def _float_cast():
    net = Fn(lambda s, x: s.b(torch.tanh(s.a(x.float() / 255))), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    return net, torch.randint(0, 255, (5, 4), dtype=torch.uint8)


def _float32_constant():
    net = Fn(lambda s, x: s.b(torch.tanh(s.a(x)) @ torch.eye(6)), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    return net, points()


def _float32_factory():
    net = Fn(lambda s, x: s.b(torch.tanh(s.a(x)) * torch.linspace(0.5, 1, 6)), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    return net, points()


def _float32_attribute():
    """A plain tensor attribute, no buffer: it is not converted with the module."""
    net = Fn(
        lambda s, x: s.b(torch.tanh(s.a(x @ s.rotation))),
        a=nn.Linear(4, 6),
        b=nn.Linear(6, 3),
        rotation=torch.eye(4) + 0.1,
    )
    return net, points()


def _float32_upcast():
    """Norm in float32 as language models have it."""

    def forward(s, x):
        h = s.a(x)
        wide = h.float()
        h = s.scale * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(h.dtype)
        return s.b(torch.tanh(h))

    return Fn(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3), scale=nn.Parameter(torch.ones(6))), points()


def _float32_softmax():
    return Fn(
        lambda s, x: s.b(functional.softmax(s.a(x), -1, dtype=torch.float32).to(x.dtype)),
        a=nn.Linear(4, 6),
        b=nn.Linear(6, 3),
    ), points()


def _remembering():
    """Keeps its last activations and counts its calls."""

    def forward(s, x):
        s.calls += 1
        s.last = torch.tanh(s.inner(x))
        return s.outer(s.last)

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3), calls=0, last=None), points()


def _caching():
    """Makes a table at the first call and keeps it."""

    def forward(s, x):
        if s.table is None or s.table.dtype != x.dtype:
            s.table = torch.linspace(0, 1, 6, dtype=x.dtype).sin()
        return s.outer(torch.tanh(s.inner(x)) * s.table)

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3), table=None), points()


def _input_dependent_cache():
    """Keeps a function of its weights until told otherwise."""

    def forward(s, x):
        if not s.cache:
            s.cache["weight"] = functional.softplus(s.inner.weight)
        weight = s.cache.pop("weight")
        return s.outer(torch.tanh(functional.linear(x, weight, s.inner.bias)))

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3), cache={}), points()


def _buffer_counter():
    """A buffer counts the calls: harmless, but it moves."""

    def forward(s, x):
        s.count += 1
        return s.outer(torch.tanh(s.inner(x)))

    net = Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3))
    net.register_buffer("count", torch.zeros((), dtype=torch.long))
    return net, points()


def _moving_average():
    """Observes the range of its activations in a buffer, and uses it."""

    def forward(s, x):
        h = s.inner(x)
        s.peak.mul_(0.9).add_(0.1 * h.detach().abs().max())
        return s.outer(torch.tanh(h / s.peak))

    net = Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3))
    net.register_buffer("peak", torch.ones(()))
    return net, points()


def _weights_as_inputs():
    """Buffers used as inputs: the answer at fixed places besides that at the sample."""

    def forward(s, x):
        anchor = torch.tanh(s.inner(s.places)).mean(0)
        return s.outer(torch.tanh(s.inner(x)) - anchor)

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3), places=nn.Buffer(torch.randn(3, 4))), points()


def _non_contiguous():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), torch.randn(4, 5).t()


def _keyword_only():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, *, features, scale=None, return_dict=True):
            out = self.outer(torch.tanh(self.inner(features)))
            return {"logits": out if scale is None else out * scale[:, None]}

    return Net(), {"features": points(), "scale": torch.rand(5)}


def _strings_in_state():
    """Outputs in a list, one head a task."""
    return Fn(
        lambda s, x: [head(torch.tanh(s.inner(x))) for head in s.heads],
        inner=nn.Linear(4, 6),
        heads=nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 2)]),
    ), points()


def _dict_of_heads():
    return Fn(
        lambda s, x: {name: head(torch.tanh(s.inner(x))) for name, head in s.heads.items()},
        inner=nn.Linear(4, 6),
        heads=nn.ModuleDict({"kind": nn.Linear(6, 3), "age": nn.Linear(6, 1)}),
    ), points()


SINGLE = {
    "outputs-tuple": (_mlp_to(lambda out, h: (out, h)), {}),
    "outputs-tuple-second": (_mlp_to(lambda out, h: (h, out)), {"output": 1}),
    "outputs-dict-logits": (_mlp_to(lambda out, h: {"hidden": h, "logits": out}), {}),
    "outputs-dict-named": (_mlp_to(lambda out, h: {"a": h, "b": out}), {"output": "b"}),
    "outputs-by-function": (
        _mlp_to(lambda out, h: {"nested": [{"x": out}]}),
        {"output": lambda out: out["nested"][0]["x"]},
    ),
    "outputs-namedtuple": (_mlp_to(lambda out, h: Pair(out, h)), {}),
    "outputs-list-of-heads": (_strings_in_state, {"output": 0}),
    "outputs-dict-of-heads": (_dict_of_heads, {"output": "kind"}),
    "inputs-tuple": (_two_inputs, {}),
    "inputs-mapping": (_named_inputs, {}),
    "inputs-masked": (_masked_mean, {}),
    "inputs-keyword-only": (_keyword_only, {}),
    "inputs-bytes": (_bytes_inputs, {}),
    "inputs-transposed": (_non_contiguous, {}),
    "buffers-as-inputs": (_weights_as_inputs, {}),
    "remembers-activations": (_remembering, {}),
    "makes-a-table-once": (_caching, {}),
    "caches-weights": (_input_dependent_cache, {}),
    "counts-calls-in-a-buffer": (_buffer_counter, {}),
    "norm-in-float32": (_float32_upcast, {"tolerance": 1e-6}),
    "softmax-in-float32": (_float32_softmax, {"tolerance": 1e-6}),
    "float32-factory": (_float32_factory, {"tolerance": 1e-6}),
}
for name, (build, options) in SINGLE.items():
    add(name, build, family=__name__, **options)
add(
    "moving-average-in-a-buffer",
    _moving_average,
    family=__name__,
    refusal="every call moves a buffer that outputs depend on",
)
for name, build in {
    "float32-cast": _float_cast,
    "float32-constant": _float32_constant,
    "float32-attribute": _float32_attribute,
}.items():
    add(name, build, family=__name__, refusal="float32 made inside forward")
    add(f"{name}-in-float32", build, family=__name__, dtype=torch.float32)
