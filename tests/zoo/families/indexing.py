"""Gathering, scattering, sorting, masking, assignment in place, control flow by values."""

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, points


def _between(function):
    def build():
        net = Fn(
            lambda s, x: s.outer(function(s, torch.tanh(s.inner(x)))),
            inner=nn.Linear(4, 6),
            outer=nn.LazyLinear(3),
            scale=nn.Parameter(torch.rand(6)),
        )
        x = points()
        net(x)
        return net, x

    return build


def _assign(s, h):
    out = torch.zeros_like(h)
    out[:, ::2] = h[:, :3]
    out[:, 1::2] = h[:, 3:].sin()
    return out


def _add_in_place(s, h):
    h = h * s.scale
    h += 0.5
    h[:, 0] += 3
    h *= 2.0
    return h


def _masked_assign(s, h):
    out = h.clone()
    out[out < 0] = 0.0
    return out * s.scale


def _copy(s, h):
    out = torch.empty(len(h), 6, dtype=h.dtype)
    out.copy_(h)
    out[:, 1].mul_(s.scale[1])
    return out


def _fill_row(s, h):
    out = torch.zeros(len(h), 4, dtype=h.dtype)
    for k in range(4):
        out[:, k] = (h * s.scale).roll(k, -1)[:, :3].prod(-1)
    return out


def _view_in_place(s, h):
    h = h.clone()
    left, right = h[:, :3], h[:, 3:]
    left.copy_(left + right)
    return h


def _scatter(s, h):
    index = torch.tensor([0, 2, 1, 0, 2, 3]).expand(len(h), -1)
    return torch.zeros(len(h), 4, dtype=h.dtype).scatter_add(1, index, h * s.scale)


def _scatter_in_place(s, h):
    index = torch.tensor([3, 1, 0, 2, 5, 4]).expand(len(h), -1)
    return torch.zeros_like(h).scatter_(1, index, h)


def _branch(s, h):
    return h.exp() if float(h.detach().mean()) > 0 else h * s.scale


def _branch_per_sample(s, h):
    return torch.stack([row.sin() if bool(row.detach()[0] > 0) else row * s.scale for row in h])


def _loop_until(s, h):
    while float(h.detach().norm()) > 1.0:
        h = h * 0.7 + 0.01 * s.scale
    return h


def _nonzero(s, h):
    out = torch.zeros_like(h)
    rows, columns = (h.detach() > 0).nonzero(as_tuple=True)
    return out.index_put((rows, columns), h[rows, columns] * s.scale[columns])


def _masked_select(s, h):
    mask = h > 0
    return torch.zeros_like(h).masked_scatter(mask, (h * s.scale).masked_select(mask))


def _unique(s, h):
    labels = (h.detach()[:, 0] > 0).long()
    _, inverse = labels.unique(return_inverse=True)
    return h * (1 + inverse[:, None].to(h.dtype))


def _item(s, h):
    return h * s.scale.detach().max().item() + s.scale


def _numpy_constant(s, h):
    import numpy as np

    return h * torch.from_numpy(np.linspace(1, 2, 6)).to(h.dtype) * s.scale


def _tolist(s, h):
    order = h.detach().mean(0).argsort().tolist()
    return torch.stack([h[:, k] for k in order], -1) * s.scale


FUNCTIONS = {
    "index-assignment": _assign,
    "in-place-arithmetic": _add_in_place,
    "masked-assignment": _masked_assign,
    "copy-into-empty": _copy,
    "column-by-column": _fill_row,
    "view-in-place": _view_in_place,
    "gather": lambda s, h: h.gather(1, torch.tensor([[2, 0, 5, 1]]).expand(len(h), -1)) * s.scale[:4],
    "gather-by-own-order": lambda s, h: (h * s.scale).gather(1, h.detach().argsort(-1)),
    "take-along": lambda s, h: torch.take_along_dim(h, h.argmax(-1, keepdim=True), -1) * s.scale,
    "index-select": lambda s, h: h.index_select(1, torch.tensor([0, 0, 3])) * s.scale[:3],
    "scatter-add": _scatter,
    "scatter-in-place": _scatter_in_place,
    "index-fill-masked-fill": lambda s, h: (
        (h * s.scale).masked_fill(h > 0.5, 0.5).index_fill(1, torch.tensor([1]), 0.2)
    ),
    "sort": lambda s, h: (h * s.scale).sort(-1).values,
    "topk": lambda s, h: (h * s.scale).topk(3, -1).values,
    "max-with-indices": lambda s, h: (h * s.scale).reshape(-1, 2, 3).max(-1)[0],
    "kthvalue-median": lambda s, h: torch.stack([h.kthvalue(2, -1).values, (h * s.scale).median(-1).values], -1),
    "quantile": lambda s, h: torch.quantile(h * s.scale, torch.tensor([0.25, 0.6], dtype=h.dtype), dim=-1).mT,
    "searchsorted-lookup": lambda s, h: (
        s.scale[torch.searchsorted(torch.linspace(-1, 1, 5, dtype=h.dtype), h.detach().contiguous())] * h
    ),
    "bucketize": lambda s, h: h * s.scale[torch.bucketize(h.detach(), torch.linspace(-1, 1, 5, dtype=h.dtype))],
    "where-condition": lambda s, h: torch.where(h > h.mean(-1, keepdim=True), h * s.scale, h.square()),
    "nonzero-index-put": _nonzero,
    "masked-select-scatter": _masked_select,
    "unique-inverse": _unique,
    "branch-by-value": _branch,
    "branch-per-sample": _branch_per_sample,
    "loop-until": _loop_until,
    "item": _item,
    "numpy-constant": _numpy_constant,
    "tolist": _tolist,
    "chunk-cat-stack": lambda s, h: torch.stack(
        [a * b for a, b in zip(h.chunk(2, -1), s.scale.chunk(2), strict=True)], -1
    ).flatten(1),
    "repeat-interleave-tile": lambda s, h: h.repeat_interleave(2, -1) * s.scale.tile(2),
    "as-strided": lambda s, h: (h * s.scale).contiguous().as_strided((len(h), 4, 3), (6, 1, 1)).flatten(1),
    "expand-sum-broadcast": lambda s, h: (h[:, None, :] * s.scale[:, None]).sum(-1).expand(-1, 6),
    "meshgrid-outer": lambda s, h: torch.einsum(
        "ni,j->nij", h[:, :2], torch.meshgrid(s.scale, s.scale, indexing="ij")[0][:, 0]
    ).flatten(1),
    "detached-part": lambda s, h: h * s.scale + h.detach().sin(),
    "stop-gradient-target": lambda s, h: h - (h * s.scale).detach(),
    "clone-contiguous-permute": lambda s, h: (
        h.reshape(-1, 2, 3).permute(0, 2, 1).contiguous().view(len(h), 6).clone() * s.scale
    ),
    "one-hot-of-argmax": lambda s, h: h + functional.one_hot(h.argmax(-1), 6).to(h.dtype) * s.scale,
    "block-diagonal": lambda s, h: h[:, :4] @ torch.block_diag(s.scale[:4].reshape(2, 2), s.scale[2:].reshape(2, 2)),
    "triu-indices": lambda s, h: (
        lambda m, i: (lambda W: h[:, :3] @ (W + W.mT))(torch.zeros(3, 3, dtype=h.dtype).index_put((i[0], i[1]), m))
    )(s.scale, torch.triu_indices(3, 3)),
    "diag-embed": lambda s, h: (torch.diag_embed(h[:, :3]) @ s.scale[:3, None])[..., 0],
    "combinations": lambda s, h: torch.stack([h[:, i] * h[:, j] * s.scale[i] for i in range(4) for j in range(i)], -1),
    "map-over-list": lambda s, h: torch.stack(list(map(torch.sin, h.unbind(-1))), -1) * s.scale,
    "pad-sequence": lambda s, h: (
        nn.utils.rnn.pad_sequence([row[: 2 + k % 4] for k, row in enumerate(h)], batch_first=True) * s.scale[:5]
    ),
}
for name, function in FUNCTIONS.items():
    add(name, _between(function), family=__name__)
