"""Mixtures of experts, hypernetworks, capsules, sets, graphs, splines, ensembles under vmap."""

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, points, tokens


def _experts(count=3, size=4, out=3):
    return nn.ModuleList(nn.Sequential(nn.Linear(size, 5), nn.Tanh(), nn.Linear(5, out)) for _ in range(count))


def _soft_mixture():
    def forward(s, x):
        gate = torch.softmax(s.gate(x), -1)
        return sum(gate[:, k : k + 1] * expert(x) for k, expert in enumerate(s.experts))

    return Fn(forward, gate=nn.Linear(4, 3), experts=_experts()), points()


def _token_dispatch():
    """Each expert gets its tokens by nonzero and gives them back by index_add."""

    def forward(s, x):
        weight, chosen = torch.softmax(s.gate(x), -1).topk(2, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        out = torch.zeros(len(x), 3, dtype=x.dtype)
        for k, expert in enumerate(s.experts):
            where, slot = (chosen == k).nonzero(as_tuple=True)
            if len(where):
                out.index_add_(0, where, expert(x[where]) * weight[where, slot, None])
        return out

    return Fn(forward, gate=nn.Linear(4, 3), experts=_experts()), points()


def _switch():
    """Top-1 with boolean masks and index assignment."""

    def forward(s, x):
        probability, chosen = torch.softmax(s.gate(x), -1).max(-1)
        out = torch.empty(len(x), 3, dtype=x.dtype)
        for k, expert in enumerate(s.experts):
            mine = chosen == k
            out[mine] = expert(x[mine])
        return out * probability[:, None]

    return Fn(forward, gate=nn.Linear(4, 3), experts=_experts()), points()


def _sorted_dispatch():
    """Tokens sorted by expert, split by counts, and put back."""

    def forward(s, x):
        probability, chosen = torch.softmax(s.gate(x), -1).max(-1)
        order = chosen.argsort(stable=True)
        counts = torch.bincount(chosen, minlength=3).tolist()
        parts = [expert(part) for expert, part in zip(s.experts, x[order].split(counts), strict=True)]
        return torch.cat(parts)[order.argsort()] * probability[:, None]

    return Fn(forward, gate=nn.Linear(4, 3), experts=_experts()), points()


def _capacity():
    """Experts drop what exceeds their capacity: samples meet through the order in the batch."""

    def forward(s, x):
        gate = torch.softmax(s.gate(x), -1)
        chosen = functional.one_hot(gate.argmax(-1), 3)
        place = (chosen.cumsum(0) - 1) * chosen
        kept = chosen * (place < 2)
        dispatch = functional.one_hot(place, 5)[..., :2] * kept[..., None]
        boxes = torch.einsum("nec,nd->ecd", dispatch.to(x.dtype), x)
        outputs = torch.stack([expert(box) for expert, box in zip(s.experts, boxes, strict=True)])
        return torch.einsum("nec,eco->no", dispatch * gate[..., None], outputs) + s.skip(x)

    return Fn(forward, gate=nn.Linear(4, 3), experts=_experts(), skip=nn.Linear(4, 3)), points()


def _expert_choice():
    """Experts choose their tokens over the whole batch."""

    def forward(s, x):
        gate = torch.softmax(s.gate(x), -1)
        weight, where = gate.mT.topk(2, -1)
        out = s.skip(x)
        for k, expert in enumerate(s.experts):
            out = out.index_add(0, where[k], expert(x[where[k]]) * weight[k, :, None])
        return out

    return Fn(forward, gate=nn.Linear(4, 3), experts=_experts(), skip=nn.Linear(4, 3)), points()


def _stacked_experts():
    def forward(s, x):
        hidden = torch.tanh(torch.einsum("nd,edh->neh", x, s.up))
        return torch.einsum("ne,neh,eho->no", torch.softmax(s.gate(x), -1), hidden, s.down)

    return Fn(
        forward,
        gate=nn.Linear(4, 3),
        up=nn.Parameter(torch.randn(3, 4, 5) / 2),
        down=nn.Parameter(torch.randn(3, 5, 3) / 2),
    ), points()


def _gathered_experts():
    """Weights of the chosen expert are gathered per sample and applied by bmm."""

    def forward(s, x):
        probability, chosen = torch.softmax(s.gate(x), -1).max(-1)
        return torch.bmm(x[:, None], s.weights[chosen])[:, 0] * probability[:, None]

    return Fn(forward, gate=nn.Linear(4, 3), weights=nn.Parameter(torch.randn(3, 4, 3))), points()


def _hypernetwork():
    def forward(s, x):
        weights = s.make(x[:, :2])
        W, b = weights[:, :15].reshape(-1, 3, 5), weights[:, 15:]
        return torch.einsum("noh,nh->no", W, torch.tanh(s.inner(x))) + b

    return Fn(
        forward, make=nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 18)), inner=nn.Linear(4, 5)
    ), points()


def _hypernetwork_functional():
    """A net whose weights come from a code, called by functional_call."""

    def forward(s, x):
        flat = s.make(s.code)
        weights = {"weight": flat[:12].reshape(3, 4), "bias": flat[12:]}
        return functional_call(s.target[0], weights, (torch.tanh(s.inner(x)),))

    net = Fn(forward, make=nn.Linear(3, 15), code=nn.Parameter(torch.randn(3)), inner=nn.Linear(4, 4))
    object.__setattr__(net, "target", [nn.Linear(4, 3)])
    return net, points()


def _film():
    return Fn(
        lambda s, x: s.head(torch.relu(s.scale(x[:, 2:]) * s.inner(x[:, :2]) + s.shift(x[:, 2:]))),
        scale=nn.Linear(2, 5),
        shift=nn.Linear(2, 5),
        inner=nn.Linear(2, 5),
        head=nn.Linear(5, 3),
    ), points()


def _capsules():
    def forward(s, x):
        votes = torch.einsum("nid,ijde->nije", x.reshape(-1, 2, 2), s.W)
        logits = torch.zeros(votes.shape[:3], dtype=x.dtype)
        for _ in range(3):
            v = (torch.softmax(logits, -1)[..., None] * votes).sum(1)
            square = v.square().sum(-1, keepdim=True)
            v = square / (1 + square) * v / (square + 1e-9).sqrt()
            logits = logits + (votes * v[:, None]).sum(-1)
        return v.norm(dim=-1)

    return Fn(forward, W=nn.Parameter(torch.randn(2, 3, 2, 3))), points()


def _deep_sets(pool):
    return lambda: (
        Fn(
            lambda s, x: s.rho(pool(torch.tanh(s.phi(x)))),
            phi=nn.Linear(2, 5),
            rho=nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)),
        ),
        torch.randn(4, 3, 2),
    )


EDGES = torch.tensor([[0, 1, 2, 3, 0, 2], [1, 2, 3, 0, 2, 1]])


def _graph_scatter():
    """Four nodes a sample, messages added by scatter."""

    def forward(s, x):
        source, target = EDGES
        for layer in s.layers:
            messages = torch.tanh(layer(torch.cat([x[:, source], x[:, target]], -1)))
            x = x + torch.zeros_like(x).index_add(1, target, messages)
        return s.head(x.mean(1))

    return Fn(forward, layers=nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 2)]), head=nn.Linear(2, 3)), torch.randn(
        4, 4, 2
    )


def _graph_scatter_reduce():
    def forward(s, x):
        source, target = EDGES
        messages = s.message(x[:, source])
        index = target[None, :, None].expand_as(messages)
        most = torch.zeros_like(x).scatter_reduce(1, index, messages, "amax", include_self=False)
        mean = torch.zeros_like(x).scatter_reduce(1, index, messages, "mean", include_self=False)
        return s.head((most + mean).sum(1))

    return Fn(forward, message=nn.Linear(2, 2), head=nn.Linear(2, 3)), torch.randn(4, 4, 2)


def _graph_convolution():
    def forward(s, x, adjacency):
        A = adjacency + torch.eye(4, dtype=adjacency.dtype)
        d = A.sum(-1).rsqrt()
        A = d[..., :, None] * A * d[..., None, :]
        return s.head((A @ torch.relu(s.inner(A @ x))).mean(1))

    adjacency = (torch.rand(4, 4, 4) > 0.5).float()
    return Fn(forward, inner=nn.Linear(2, 5), head=nn.Linear(5, 3)), (
        torch.randn(4, 4, 2),
        ((adjacency + adjacency.mT) > 0).float(),
    )


def _graph_attention():
    def forward(s, x):
        source, target = EDGES
        h = s.inner(x)
        score = functional.leaky_relu((s.a(h)[:, source] + s.b(h)[:, target])[..., 0], 0.2).exp()
        total = torch.zeros(len(x), 4, dtype=x.dtype).index_add(1, target, score)
        mixed = torch.zeros_like(h).index_add(1, target, score[..., None] * h[:, source]) / (total[..., None] + 1e-9)
        return s.head(functional.elu(mixed).mean(1))

    return Fn(forward, inner=nn.Linear(2, 4), a=nn.Linear(4, 1), b=nn.Linear(4, 1), head=nn.Linear(4, 3)), torch.randn(
        4, 4, 2
    )


def _graph_sparse():
    def forward(s, x):
        source, target = EDGES
        A = torch.sparse_coo_tensor(torch.stack([target, source]), s.weights, (4, 4))
        h = torch.sparse.mm(A, x.transpose(0, 1).reshape(4, -1)).reshape(4, len(x), 2).transpose(0, 1)
        return s.head(torch.tanh(s.inner(h)).mean(1))

    return Fn(forward, weights=nn.Parameter(torch.rand(6)), inner=nn.Linear(2, 5), head=nn.Linear(5, 3)), torch.randn(
        4, 4, 2
    )


def _nodes_as_samples():
    """Transductive: nodes are the samples, and they meet."""
    adjacency = (
        torch.tensor([[1.0, 1, 0, 0, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [1, 0, 0, 1, 1]]) / 3
    )
    net = Fn(
        lambda s, x: s.A @ s.b(torch.relu(s.A @ s.a(x))), a=nn.Linear(4, 5), b=nn.Linear(5, 3), A=nn.Buffer(adjacency)
    )
    return net, points()


class Kan(nn.Module):
    """One layer of a Kolmogorov-Arnold network: B-splines of order three by the recursion, with a SiLU base."""

    def __init__(self, size_in, size_out, cells=3, order=3):
        super().__init__()
        grid = torch.arange(-order, cells + order + 1) * (2.0 / cells) - 1
        self.register_buffer("grid", grid.expand(size_in, -1).contiguous())
        self.base = nn.Parameter(torch.randn(size_out, size_in) / 2)
        self.spline = nn.Parameter(torch.randn(size_out, size_in, cells + order) / 2)
        self.order = order

    def forward(self, x):
        bases = self._bases(x)
        return functional.linear(functional.silu(x), self.base) + torch.einsum("nib,oib->no", bases, self.spline)

    def _bases(self, x):
        x, grid = x[..., None], self.grid
        bases = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            left = (x - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)])
            right = (grid[:, k + 1 :] - x) / (grid[:, k + 1 :] - grid[:, 1:(-k)])
            bases = left * bases[..., :-1] + right * bases[..., 1:]
        return bases


def _ensemble():
    """Members stacked and called by vmap inside forward."""
    members = [nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)) for _ in range(2)]
    stacked, _ = stack_module_state(members)

    def forward(s, x):
        weights = {name.replace("_", "."): p for name, p in s.stacked.items()}
        return vmap(lambda w: functional_call(s.skeleton[0], w, (x,)))(weights).mean(0)

    net = Fn(
        forward,
        stacked=nn.ParameterDict({name.replace(".", "_"): nn.Parameter(p.detach()) for name, p in stacked.items()}),
    )
    object.__setattr__(net, "skeleton", [members[0].to("meta")])
    return net, points()


def _vmapped_over_samples():
    return Fn(lambda s, x: vmap(lambda p: s.b(torch.tanh(s.a(p))))(x), a=nn.Linear(4, 5), b=nn.Linear(5, 3)), points()


def _soft_tree():
    def forward(s, x):
        right = torch.sigmoid(s.split(x))
        paths = torch.stack(
            [
                (1 - right[:, 0]) * (1 - right[:, 1]),
                (1 - right[:, 0]) * right[:, 1],
                right[:, 0] * (1 - right[:, 2]),
                right[:, 0] * right[:, 2],
            ],
            -1,
        )
        return paths @ s.leaves

    return Fn(forward, split=nn.Linear(4, 3), leaves=nn.Parameter(torch.randn(4, 3))), points()


def _factorisation_machine():
    def forward(s, x):
        v = s.v(x)
        return s.head(torch.stack([v.sum(1).square().sum(-1) - v.square().sum((1, 2)), s.w(x).sum((1, 2))], -1))

    return Fn(forward, v=nn.Embedding(7, 3), w=nn.Embedding(7, 1), head=nn.Linear(2, 3)), tokens(5, 4)


def _memory_network():
    def forward(s, x):
        q = s.q(x)
        for _ in range(2):
            q = q + torch.softmax(q @ s.keys.mT, -1) @ s.values
        return s.head(q)

    return Fn(
        forward,
        q=nn.Linear(4, 3),
        keys=nn.Parameter(torch.randn(5, 3)),
        values=nn.Parameter(torch.randn(5, 3)),
        head=nn.Linear(3, 3),
    ), points()


def _halting():
    """Adaptive computation: samples that are sure stop."""

    def forward(s, x):
        h, done, out = (
            torch.tanh(s.inp(x)),
            torch.zeros(len(x), dtype=torch.bool),
            torch.zeros(len(x), 5, dtype=x.dtype),
        )
        for _ in range(4):
            h = torch.tanh(s.step(h))
            p = torch.sigmoid(s.halt(h))[:, 0]
            out = out + torch.where(done, 0.0, p)[:, None] * h
            done = done | (p > 0.5)
            if done.all():
                break
        return s.head(out)

    return Fn(forward, inp=nn.Linear(4, 5), step=nn.Linear(5, 5), halt=nn.Linear(5, 1), head=nn.Linear(5, 3)), points()


BUILDERS = {
    "mixture-soft": _soft_mixture,
    "mixture-token-dispatch": _token_dispatch,
    "mixture-switch": _switch,
    "mixture-sorted-dispatch": _sorted_dispatch,
    "mixture-capacity": _capacity,
    "mixture-expert-choice": _expert_choice,
    "mixture-stacked": _stacked_experts,
    "mixture-gathered-weights": _gathered_experts,
    "hypernetwork": _hypernetwork,
    "hypernetwork-functional-call": _hypernetwork_functional,
    "film": _film,
    "capsules": _capsules,
    "deep-sets-sum": _deep_sets(lambda h: h.sum(1)),
    "deep-sets-max": _deep_sets(lambda h: h.amax(1)),
    "deep-sets-logsumexp": _deep_sets(lambda h: h.logsumexp(1)),
    "deep-sets-median": _deep_sets(lambda h: h.median(1).values),
    "graph-scatter": _graph_scatter,
    "graph-scatter-reduce": _graph_scatter_reduce,
    "graph-convolution-two-inputs": _graph_convolution,
    "graph-attention": _graph_attention,
    "graph-nodes-as-samples": _nodes_as_samples,
    "kan": lambda: (nn.Sequential(Kan(4, 3), Kan(3, 3)), 0.5 * torch.tanh(points())),
    "ensemble-by-vmap": _ensemble,
    "vmapped-over-samples": _vmapped_over_samples,
    "soft-tree": _soft_tree,
    "factorisation-machine": _factorisation_machine,
    "memory-network": _memory_network,
    "adaptive-halting": _halting,
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
add("graph-sparse", _graph_sparse, family=__name__, refusal="sparse tensors know one derivative")
