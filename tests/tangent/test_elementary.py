"""Operations made of elementary ones: values and gradients are PyTorch's own, rates those of differences."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.core.errors import ModelError
from eigenflow.tangent.model.elementary import ELEMENTARY, constant
from eigenflow.tangent.model.evaluation import evaluation
from reference.kernel_rates import Flow, assert_measured


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(high, *shape, seed=0):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


F = functional
IMAGE, LINE, WEIGHT, TABLE = draw(4, 6, 3, 3), draw(4, 6, 5, seed=1), draw(6, seed=2) + 2.0, draw(7, 3, seed=3)
STATES = draw(6, seed=4), draw(6, seed=5).square() + 0.5
TOKENS, FLAT, OFFSETS = whole(7, 4, 5), whole(7, 9, seed=1), torch.tensor([0, 2, 2, 6])
NORMED = {"": None, " affine": WEIGHT}

# Function of floating-point tensors, and these tensors.
CASES: dict[str, tuple] = {
    "group norm": (lambda x: F.group_norm(x, 3), (IMAGE,)),
    "group norm affine": (lambda x, w, b: F.group_norm(x, 2, w, b, 1e-3), (LINE, WEIGHT, STATES[0])),
    "group norm on vectors": (lambda x, w: F.group_norm(x, 3, w), (draw(4, 6), WEIGHT)),
    "batch norm": (lambda x: F.batch_norm(x, None, None, training=True), (IMAGE,)),
    "batch norm affine": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, 1e-2),
        (LINE, WEIGHT, STATES[0]),
    ),
    "batch norm on vectors": (lambda x: F.batch_norm(x, None, None, training=True), (draw(4, 6),)),
    "batch norm eval": (lambda x, w: F.batch_norm(x, *STATES, w), (IMAGE, WEIGHT)),
    "instance norm": (lambda x: F.instance_norm(x), (IMAGE,)),
    "instance norm affine": (lambda x, w, b: F.instance_norm(x, None, None, w, b), (LINE, WEIGHT, STATES[0])),
    "instance norm on its states": (
        lambda x, w: F.instance_norm(x, *STATES, w, use_input_stats=False),
        (IMAGE, WEIGHT),
    ),
    "hardsigmoid": (lambda x: F.hardsigmoid(3.0 * x), (IMAGE,)),
    "pdist": (lambda x: F.pdist(x), (draw(5, 3),)),
    "detach": (lambda x: x * x.detach().sin(), (LINE,)),
    "torch.detach": (lambda x: x * torch.detach(x).sin(), (LINE,)),
    **{
        f"weight norm {dim}": (lambda v, g, dim=dim: torch._weight_norm(v, g, dim), (draw(4, 3, 2), size))
        for dim, size in ((0, draw(4, 1, 1, seed=1)), (2, draw(1, 1, 2, seed=1)))
    },
    **{
        f"cdist {p}": (lambda a, b, p=p: torch.cdist(a, b, p=p), (draw(2, 4, 3), draw(2, 5, 3, seed=1)))
        for p in (1.0, 1.5, 2.0, 3.0, float("inf"))
    },
    **{f"pdist {p}": (lambda x, p=p: F.pdist(x, p), (draw(5, 3),)) for p in (1.0, 1.5, 3.0, float("inf"))},
    **{
        f"cdist {mode}": (
            lambda a, b, mode=mode: torch.cdist(a, b, compute_mode=mode),
            (draw(30, 3), draw(26, 3, seed=1)),
        )
        for mode in ("use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    },
    **{
        f"grid sample {axes}d {mode} {padding} {corners}": (
            lambda x, g, mode=mode, padding=padding, corners=corners: F.grid_sample(x, g, mode, padding, corners),
            (draw(2, 3, *(4, 5, 3)[:axes]), 1.1 * draw(2, *(3, 2, 2)[:axes], axes, seed=6)),
        )
        for axes, mode, padding, corners in itertools.product(
            (2, 3), ("bilinear", "nearest"), ("zeros", "border", "reflection"), (True, False)
        )
    },
    "grid sample bicubic": (
        lambda x, g: F.grid_sample(x, g, "bicubic", align_corners=True),
        (draw(2, 3, 4, 5), draw(2, 3, 2, 2)),
    ),
    "embedding": (lambda w: F.embedding(TOKENS, w), (TABLE,)),
    "embedding padding": (lambda w: F.embedding(TOKENS, w, padding_idx=2), (TABLE,)),
    "embedding padding from the end": (lambda w: F.embedding(TOKENS, w, padding_idx=-1), (TABLE,)),
    "embedding sparse": (lambda w: F.embedding(TOKENS, w, sparse=True), (TABLE,)),
    "embedding by frequency": (lambda w: F.embedding(TOKENS, w, scale_grad_by_freq=True), (TABLE,)),
    **{
        f"bag {mode} {padding}": (
            lambda w, mode=mode, padding=padding: F.embedding_bag(TOKENS, w, mode=mode, padding_idx=padding),
            (TABLE,),
        )
        for mode in ("sum", "mean", "max")
        for padding in (None, 2, -3)
    },
    **{
        f"bag offsets {mode} {padding}": (
            lambda w, mode=mode, padding=padding: F.embedding_bag(FLAT, w, OFFSETS, mode=mode, padding_idx=padding),
            (TABLE,),
        )
        for mode in ("sum", "mean", "max")
        for padding in (None, 2)
    },
    "bag weights": (
        lambda w, s: F.embedding_bag(TOKENS, w, mode="sum", per_sample_weights=s),
        (TABLE, draw(4, 5, seed=8)),
    ),
    "bag weights, offsets": (
        lambda w, s: F.embedding_bag(FLAT, w, OFFSETS, mode="sum", per_sample_weights=s, padding_idx=3),
        (TABLE, draw(9, seed=8)),
    ),
    "bag last offset": (
        lambda w: F.embedding_bag(FLAT, w, torch.tensor([0, 2, 6, 9]), mode="sum", include_last_offset=True),
        (TABLE,),
    ),
    "bag sparse": (lambda w: F.embedding_bag(TOKENS, w, sparse=True, mode="sum"), (TABLE,)),
}


def value_and_gradients(function, tensors):
    leaves = [t.clone().requires_grad_() for t in tensors]
    value = function(*leaves)
    weights = draw(*value.shape, seed=9)
    found = torch.autograd.grad((value * weights).sum(), leaves, materialize_grads=True)
    return value.detach(), [g.to_dense() for g in found]


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_torch_s_own(name):
    """To rounding, of sums of some ten terms."""
    function, tensors = CASES[name]
    expected, gradients = value_and_gradients(function, tensors)
    with evaluation(torch.float64):
        found, own = value_and_gradients(function, tensors)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    for a, b in zip(own, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_distances_of_equal_points_have_the_derivative_that_torch_gives():
    x = draw(3, 2)
    for p in (1.0, 2.0, 3.0, float("inf")):

        def to_itself(a, p=p):
            return torch.cdist(a, a.detach().clone(), p=p)

        expected, gradients = value_and_gradients(to_itself, (x,))
        with evaluation(torch.float64):
            found, own = value_and_gradients(to_itself, (x,))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(own[0], gradients[0], rtol=1e-11, atol=1e-12)


def test_every_entry_has_a_case_here():
    """Grouped products know no float64 of PyTorch's own: against loops, below."""
    covered = {F.group_norm, F.batch_norm, F.instance_norm, F.hardsigmoid, F.pdist, F.grid_sample, F.embedding}
    covered |= {F.embedding_bag, Tensor.detach, torch.detach, torch._weight_norm, torch.cdist}
    left = {function.__name__ for function in set(ELEMENTARY) - covered}
    assert left <= {"_grouped_mm", "grouped_mm"}


def test_a_constant_has_no_gradient_and_moves():
    x, tangent = draw(3), draw(3, seed=1)
    value, moved = torch.func.jvp(constant, (x,), (tangent,))
    assert torch.equal(value, x) and torch.equal(moved, tangent)
    assert torch.equal(torch.func.grad(lambda y: (constant(y) * y).sum())(x), x)
    assert torch.equal(torch.func.vmap(constant)(x), x)


class Uses(nn.Module):
    """A function with trainable tensors, between a layer that moves its inputs and one that mixes its results."""

    def __init__(self, function, width, out, **parameters):
        super().__init__()
        torch.manual_seed(6)
        self.inner, self.outer = nn.Linear(3, width), nn.Linear(out, 2)
        self.function = function
        self.free = nn.ParameterDict({name: nn.Parameter(value) for name, value in parameters.items()})
        self.double()

    def forward(self, x):
        return self.outer(torch.tanh(self.function(self.inner(x), **self.free).flatten(1)))


def weighed_bag(x, w):
    return F.embedding_bag(TOKENS, w, mode="sum", per_sample_weights=x)


def sampled(x, image, mode="bilinear", padding="zeros"):
    grid = 0.9 * torch.tanh(x).reshape(len(x), 2, 1, 2)
    return F.grid_sample(image.expand(len(x), -1, -1, -1), grid, mode, padding, align_corners=False)


def sampled_volume(x, image):
    return F.grid_sample(
        image.expand(len(x), -1, -1, -1, -1), 0.9 * torch.tanh(x).reshape(len(x), 2, 1, 1, 3), align_corners=True
    )


MODELS = {
    "group norm": lambda: Uses(lambda x, w: F.group_norm(x, 2, w), 6, 6, w=WEIGHT),
    "batch norm": lambda: Uses(lambda x, w: F.batch_norm(x, None, None, w, training=True), 6, 6, w=WEIGHT),
    "instance norm": lambda: Uses(lambda x, w: F.instance_norm(x.reshape(4, 2, 3), weight=w), 6, 6, w=WEIGHT[:2]),
    "hardsigmoid": lambda: Uses(F.hardsigmoid, 4, 4),
    "weight norm": lambda: Uses(
        lambda x, v, g: x @ torch._weight_norm(v, g, 0), 4, 4, v=draw(4, 4), g=draw(4, 1, seed=1)
    ),
    "cdist": lambda: Uses(lambda x, c: torch.cdist(x[:, None], c[None].expand(4, -1, -1)), 3, 4, c=draw(4, 3)),
    "cdist to the third": lambda: Uses(lambda x, c: torch.cdist(x, c, p=3.0), 3, 4, c=draw(4, 3)),
    "pdist": lambda: Uses(lambda x: torch.stack([F.pdist(one.reshape(3, 2)) for one in x]), 6, 3),
    "grid sample": lambda: Uses(sampled, 4, 4, image=draw(1, 2, 4, 4)),
    "grid sample border": lambda: Uses(
        lambda x, image: sampled(3 * x, image, padding="border"), 4, 4, image=draw(1, 2, 4, 4)
    ),
    "grid sample volume": lambda: Uses(sampled_volume, 6, 4, image=draw(1, 2, 3, 4, 3)),
    "bag": lambda: Uses(lambda x, w: x * F.embedding_bag(TOKENS, w, mode="mean", padding_idx=2), 3, 3, w=TABLE),
    "bag max": lambda: Uses(lambda x, w: x * F.embedding_bag(TOKENS, w, mode="max"), 3, 3, w=TABLE),
    "bag weights": lambda: Uses(weighed_bag, 5, 3, w=TABLE),
    "detach": lambda: Uses(lambda x: x * x.detach().sin(), 4, 4),
}


@pytest.mark.parametrize("method", ["dense", "products"])
@pytest.mark.parametrize("name", MODELS)
def test_networks_of_them_are_measured_right(name, method):
    """Outputs, J and M of PyTorch's own operations, and Mdot as M moves on the path of the parameters."""
    model, x, y = MODELS[name](), draw(4, 3, seed=10), draw(4, 2, seed=11)
    snapshot = ef.Probe(model, x, y).measure(8, method=method)
    assert_measured(snapshot, Flow(model, x, y), step=3e-4, rate_error=1e-7)


class Tables(nn.Module):
    """Tokens in, a tied table at both ends, paddings, rows that are scaled in place."""

    def __init__(self, *, padding=None, second=None, max_norm=None, tied=True, spoken=True):
        super().__init__()
        torch.manual_seed(7)
        self.table = nn.Embedding(6, 3, padding_idx=padding, max_norm=max_norm)
        self.inner, self.head = nn.Linear(3, 3), nn.Linear(3, 6, bias=False)
        self.second, self.spoken = second, spoken
        with torch.no_grad():
            self.table.weight.copy_(torch.randn(6, 3))  # also the row of the padding
        if tied:
            self.head.weight = self.table.weight
        self.double()

    def forward(self, tokens):
        hidden = self.table(tokens).mean(1)
        if self.second is not None:
            hidden = hidden * F.embedding(tokens, self.table.weight, padding_idx=self.second).sum(1)
        return self.head(torch.tanh(self.inner(hidden)))


TABLES = {
    "padding": {"padding": 1, "tied": False},
    "padding and a tied head": {"padding": 1},
    "two paddings": {"padding": 1, "second": 2},
    "two paddings, a head of its own": {"padding": 0, "second": 3, "tied": False},
    "rows scaled in place": {"max_norm": 1.2, "tied": False},
    "rows scaled in place, padding": {"max_norm": 1.2, "padding": 1, "tied": False},
}


@pytest.mark.parametrize("method", ["dense", "products"])
@pytest.mark.parametrize("name", TABLES)
def test_rates_follow_the_path_of_the_parameters(name, method):
    """A row of padding gets no gradient from the table, but moves with a tied head; M along that path decides."""
    model, tokens, y = Tables(**TABLES[name]), whole(6, 3, 4, seed=12), draw(3, 6, seed=13)
    kept = model.table.weight.detach().clone()
    snapshot = ef.Probe(model, tokens, y).measure(18, method=method)
    assert torch.equal(model.table.weight, kept)
    assert_measured(snapshot, Flow(model, tokens, y), step=3e-4, rate_error=1e-7)


@pytest.mark.rejects
def test_rows_that_are_scaled_in_place_and_used_again_are_refused():
    """What the head sees depends on the tokens; with a head of its own, as above, the remedy."""
    model, tokens, y = Tables(max_norm=1.2), whole(6, 3, 4, seed=12), draw(3, 6, seed=13)
    with pytest.raises(ModelError, match=r"cannot be measured: M differs.*max_norm on a table that is used twice"):
        ef.Probe(model, tokens, y).measure(3, drift=False)


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="this PyTorch has no grouped products")
def test_grouped_products_are_those_of_each_group():
    ends, weights = torch.tensor([1, 3, 4], dtype=torch.int32), draw(3, 5, 2, seed=1)

    def loop(a, b):
        return torch.cat([a[:1] @ b[0], a[1:3] @ b[1], a[3:] @ b[2]])

    expected, gradients = value_and_gradients(loop, (draw(4, 5), weights))
    with evaluation(torch.float64):
        found, own = value_and_gradients(lambda a, b: F.grouped_mm(a, b, offs=ends), (draw(4, 5), weights))
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-14)
    for a, b in zip(own, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
