"""Attention: torch's modules with masks, and the hand-written kinds of today's language models."""

import math

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, tokens


def _series(n=3, length=4, size=4):
    return torch.randn(n, length, size)


def _multihead(call=None, x=None, **options):
    options = {"embed_dim": 4, "num_heads": 2, "batch_first": True, **options}
    call = call or (lambda s, x: s.attention(x, x, x)[0])
    net = Fn(
        lambda s, *inputs: s.head(torch.tanh(call(s, *inputs)).mean(1)),
        attention=nn.MultiheadAttention(**options),
        head=nn.Linear(4, 3),
    )
    return net, _series() if x is None else x


def _cross():
    def call(s, x):
        return s.attention(x[..., :4], x[..., 4:7], x[..., 7:], need_weights=False)[0]

    return _multihead(call, _series(size=9), kdim=3, vdim=2)


def _causal_mask(s, x):
    mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
    return s.attention(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)[0]


def _padding_mask():
    lengths = torch.tensor([[False] * 4, [False, False, False, True], [False, False, True, True]])
    return _multihead(lambda s, x, pad: s.attention(x, x, x, key_padding_mask=pad)[0], (_series(), lengths))


def _encoder(**options):
    layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, **options)
    net = Fn(lambda s, x: s.head(s.encoder(x).mean(1)), encoder=nn.TransformerEncoder(layer, 1), head=nn.Linear(4, 3))
    return net, _series()


def _encoder_masked():
    layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, dropout=0.0)

    def forward(s, ids):
        pad = ids == 0
        h = s.encoder(s.table(ids), src_key_padding_mask=pad)
        return s.head((h * ~pad[..., None]).sum(1) / (~pad).sum(1, keepdim=True))

    x = tokens() % 6 + 1
    x[0, 3:] = x[1, 2:] = 0
    return Fn(
        forward,
        table=nn.Embedding(7, 4, padding_idx=0),
        encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=True),
        head=nn.Linear(4, 3),
    ), x


def _decoder():
    layer = nn.TransformerDecoderLayer(4, 2, 6, batch_first=True)

    def forward(s, x):
        mask = torch.triu(torch.ones(2, 2, dtype=torch.bool), 1)
        return s.head(s.decoder(x[:, 2:], x[:, :2], tgt_mask=mask))

    return Fn(forward, decoder=nn.TransformerDecoder(layer, 1), head=nn.Linear(4, 3)), _series()


def _whole_transformer():
    net = Fn(
        lambda s, x: s.head(s.body(x[:, :2], x[:, 2:]).mean(1)),
        body=nn.Transformer(4, 2, 1, 1, 6, batch_first=True),
        head=nn.Linear(4, 3),
    )
    return net, _series(2)


class Attention(nn.Module):
    """Scaled dot products over a stream of size 4 in heads of 2, with what a variant adds."""

    def __init__(self, score, kv_heads=2):
        super().__init__()
        self.table, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.q, self.k, self.v = nn.Linear(4, 4), nn.Linear(4, 2 * kv_heads), nn.Linear(4, 2 * kv_heads)
        self.out, self.norm, self.score, self.kv_heads = nn.Linear(4, 4), nn.LayerNorm(4), score, kv_heads

    def forward(self, ids):
        x = self.table(ids)
        n, t, _ = x.shape
        h = self.norm(x)
        q = self.q(h).view(n, t, 2, 2).transpose(1, 2)
        k, v = (m(h).view(n, t, self.kv_heads, 2).transpose(1, 2) for m in (self.k, self.v))
        mixed = self.score(q, k, v).transpose(1, 2).reshape(n, t, 4)
        return self.head(x + self.out(mixed))


def _masked(logits, width=None):
    t = logits.shape[-1]
    i, j = torch.arange(t)[:, None], torch.arange(t)
    is_hidden = (j > i) | (False if width is None else i - j >= width)
    return logits.masked_fill(is_hidden, float("-inf"))


def _logits(q, k):
    return q @ k.mT / math.sqrt(q.shape[-1])


def _rotary(q, k, v):
    def turn(x):
        angle = torch.arange(x.shape[2], dtype=x.dtype)[:, None] * 0.5
        a, b = x.chunk(2, -1)
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)

    return torch.softmax(_masked(_logits(turn(q), turn(k))), -1) @ v


def _rotary_complex(q, k, v):
    def turn(x):
        angle = torch.arange(x.shape[2], dtype=x.dtype)[:, None] * 0.5
        turned = torch.view_as_complex(x.unsqueeze(-2).contiguous()) * torch.polar(torch.ones_like(angle), angle)
        return torch.view_as_real(turned).flatten(-2)

    return torch.softmax(_masked(_logits(turn(q), turn(k))), -1) @ v


def _alibi(q, k, v):
    t = q.shape[2]
    distance = (torch.arange(t) - torch.arange(t)[:, None]).to(q.dtype)
    slopes = torch.tensor([0.5, 0.25], dtype=q.dtype)[:, None, None]
    return torch.softmax(_masked(_logits(q, k) + slopes * distance), -1) @ v


def _linear_attention(q, k, v):
    q, k = functional.elu(q) + 1, functional.elu(k) + 1
    state, norm = (k[..., :, None] * v[..., None, :]).cumsum(2), k.cumsum(2)
    return (q[..., None, :] @ state)[..., 0, :] / (q * norm).sum(-1, keepdim=True)


SCORES = {
    "sdpa-causal": (lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True), 2),
    "sdpa-boolean-mask": (
        lambda q, k, v: functional.scaled_dot_product_attention(
            q, k, v, attn_mask=torch.tril(torch.ones(3, 3, dtype=torch.bool))
        ),
        2,
    ),
    "sdpa-grouped-queries": (
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        1,
    ),
    "sdpa-scaled": (lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, scale=1.0), 2),
    "multi-query": (lambda q, k, v: torch.softmax(_masked(_logits(q, k)), -1) @ v, 1),
    "rotary": (_rotary, 2),
    "rotary-complex": (_rotary_complex, 2),
    "alibi": (_alibi, 2),
    "sliding-window": (lambda q, k, v: torch.softmax(_masked(_logits(q, k), 2), -1) @ v, 2),
    "soft-capped": (lambda q, k, v: torch.softmax(_masked(5 * torch.tanh(_logits(q, k) / 5)), -1) @ v, 2),
    "linear-attention": (_linear_attention, 2),
    "sigmoid-attention": (lambda q, k, v: torch.tril(torch.sigmoid(_logits(q, k))) @ v, 2),
    "query-key-norm": (
        lambda q, k, v: (
            torch.softmax(_masked(3 * functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).mT), -1) @ v
        ),
        2,
    ),
    "attention-sink": (
        lambda q, k, v: torch.softmax(functional.pad(_masked(_logits(q, k)), (1, 0)), -1)[..., 1:] @ v,
        2,
    ),
    "einsum-attention": (
        lambda q, k, v: torch.einsum(
            "bhij,bhjd->bhid", torch.softmax(_masked(torch.einsum("bhid,bhjd->bhij", q, k)), -1), v
        ),
        2,
    ),
    "top-2-attention": (
        lambda q, k, v: (
            torch.softmax(torch.where((a := _logits(q, k)) >= a.topk(2, -1).values[..., -1:], a, float("-inf")), -1) @ v
        ),
        2,
    ),
    "baddbmm-attention": (
        lambda q, k, v: (
            torch.softmax(
                torch.baddbmm(
                    torch.zeros(1, 1, 1, dtype=q.dtype), q.flatten(0, 1), k.flatten(0, 1).mT, beta=0.5, alpha=0.7
                ),
                -1,
            )
            .bmm(v.flatten(0, 1))
            .view_as(v)
        ),
        2,
    ),
}
for name, (score, kv_heads) in SCORES.items():
    add(name, lambda score=score, kv_heads=kv_heads: (Attention(score, kv_heads), tokens(2, 3)), family=__name__)


def _relative_bias():
    def forward(s, x):
        t = x.shape[1]
        where = torch.arange(t)[:, None] - torch.arange(t) + t - 1
        logits = s.q(x) @ s.k(x).mT / 2 + s.bias(where)[..., 0]
        return s.head((torch.softmax(logits, -1) @ x).mean(1))

    return Fn(forward, q=nn.Linear(4, 4), k=nn.Linear(4, 4), bias=nn.Embedding(7, 1), head=nn.Linear(4, 3)), _series()


def _perceiver():
    def forward(s, x):
        latents = s.latents.expand(len(x), -1, -1)
        return s.head(s.attention(latents, x, x, need_weights=False)[0].flatten(1))

    return Fn(
        forward,
        latents=nn.Parameter(torch.randn(1, 2, 4)),
        attention=nn.MultiheadAttention(4, 2, batch_first=True),
        head=nn.Linear(8, 3),
    ), _series()


BUILDERS = {
    "multihead-attention": _multihead,
    "multihead-without-bias": lambda: _multihead(bias=False),
    "multihead-time-first": lambda: _multihead(
        lambda s, x: s.attention(*[x.transpose(0, 1)] * 3)[0].transpose(0, 1), batch_first=False
    ),
    "multihead-bias-kv-and-zero": lambda: _multihead(add_bias_kv=True, add_zero_attn=True),
    "multihead-cross-dimensions": _cross,
    "multihead-causal": lambda: _multihead(_causal_mask),
    "multihead-padding-mask": _padding_mask,
    "multihead-weights-as-outputs": lambda: (
        Fn(
            lambda s, x: s.attention(x, x, x, average_attn_weights=False)[1][:, :, :, :3].mean(1),
            attention=nn.MultiheadAttention(4, 2, batch_first=True),
        ),
        _series(2, 4),
    ),
    "transformer-encoder": _encoder,
    "transformer-encoder-norm-first-gelu": lambda: _encoder(norm_first=True, activation="gelu", dropout=0.0),
    "transformer-encoder-padding": _encoder_masked,
    "transformer-decoder": _decoder,
    "transformer": _whole_transformer,
    "relative-position-bias": _relative_bias,
    "perceiver": _perceiver,
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
