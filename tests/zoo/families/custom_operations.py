"""Operations of one's own by torch.library, higher-order operators, autograd.functional, backward by hand."""

import torch
from torch import nn
from torch.autograd import Function

from zoo.architecture import add
from zoo.families.parts import Fn, points


@torch.library.custom_op("zoo::cube", mutates_args=())
def cube(x: torch.Tensor) -> torch.Tensor:
    """An opaque operation with a gradient only."""
    return x**3


@cube.register_fake
def _(x):
    return torch.empty_like(x)


def _keep(ctx, inputs, output):
    ctx.save_for_backward(inputs[0])


cube.register_autograd(lambda ctx, grad: 3 * ctx.saved_tensors[0] ** 2 * grad, setup_context=_keep)


@torch.library.custom_op("zoo::opaque_sine", mutates_args=())
def opaque_sine(x: torch.Tensor) -> torch.Tensor:
    """Its gradient is an opaque operation too, without one of its own."""
    return torch.sin(x)


@torch.library.custom_op("zoo::opaque_cosine", mutates_args=())
def opaque_cosine(x: torch.Tensor) -> torch.Tensor:
    """The gradient of the sine."""
    return torch.cos(x)


opaque_sine.register_autograd(lambda ctx, grad: opaque_cosine(ctx.saved_tensors[0]) * grad, setup_context=_keep)


class Recomputed(Function):
    """A checkpoint by hand: runs its layers again in backward."""

    @staticmethod
    def forward(ctx, run, h, *weights):
        ctx.run = run
        ctx.save_for_backward(h, *weights)
        with torch.no_grad():
            return run(h, *weights)

    @staticmethod
    def backward(ctx, grad):
        inputs = [t.detach().requires_grad_() for t in ctx.saved_tensors]
        with torch.enable_grad():
            out = ctx.run(*inputs)
        return None, *torch.autograd.grad(out, inputs, grad)


class Implicit(Function):
    """A fixed point whose gradient comes from the implicit function theorem."""

    @staticmethod
    def forward(ctx, weight, u):
        z = torch.zeros_like(u)
        for _ in range(60):
            z = torch.tanh(0.3 * z @ weight.mT + u)
        ctx.save_for_backward(weight, z)
        return z

    @staticmethod
    def backward(ctx, grad):
        weight, z = ctx.saved_tensors
        slope = 1 - z.square()
        A = torch.eye(z.shape[-1], dtype=z.dtype) - 0.3 * slope[..., None] * weight
        v = torch.linalg.solve(A.mT, grad[..., None])[..., 0] * slope
        return 0.3 * v.mT @ z, v


class GradientOnly(Function):
    """Backward returns what the numbers were in forward (a policy-gradient-like surrogate)."""

    @staticmethod
    def forward(ctx, h, advantage):
        ctx.save_for_backward(advantage)
        return h.clone()

    @staticmethod
    def backward(ctx, grad):
        (advantage,) = ctx.saved_tensors
        return grad * (1 + 0.1 * advantage), None


class Clipped(Function):
    """Identity whose backward pass clips: not linear in the incoming gradient."""

    @staticmethod
    def forward(ctx, h):
        return h.view_as(h)

    @staticmethod
    def backward(ctx, grad):
        return grad.clamp(-0.01, 0.01)


def _mlp(function):
    return lambda: (
        Fn(lambda s, x: s.outer(function(s.inner(x))), inner=nn.Linear(4, 6), outer=nn.Linear(6, 3)),
        points(),
    )


def _recomputed():
    def run(h, weight, bias):
        return torch.tanh(nn.functional.linear(h, weight, bias))

    def forward(s, x):
        return s.outer(Recomputed.apply(run, s.inner(x), s.mid.weight, s.mid.bias))

    return Fn(forward, inner=nn.Linear(4, 6), mid=nn.Linear(6, 6), outer=nn.Linear(6, 3)), points()


def _implicit():
    net = Fn(
        lambda s, x: s.outer(Implicit.apply(s.mix.weight, s.inp(x))),
        inp=nn.Linear(4, 5),
        mix=nn.Linear(5, 5, bias=False),
        outer=nn.Linear(5, 3),
    )
    return net, points()


def _functional_jacobian():
    """The older way to differentiate inside forward."""

    def forward(s, x):
        J = torch.autograd.functional.jacobian(lambda p: s.u(p).sum(0), x, create_graph=True)
        return torch.cat([s.u(x), J[0]], -1)

    return Fn(forward, u=nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))), points(4, 2)


def _functional_hvp():
    def forward(s, x):
        _, product = torch.autograd.functional.hvp(lambda p: s.u(p).sum(), x, torch.ones_like(x), create_graph=True)
        return torch.cat([s.u(x), product], -1)

    return Fn(forward, u=nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))), points(4, 2)


def _cond():
    def forward(s, x):
        h = s.inner(x)
        return s.outer(torch.cond(h.sum() > 0, lambda h: h.sin(), lambda h: h.cos(), (h,)))

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3)), points()


def _segment_reduce():
    def forward(s, x):
        h = torch.tanh(s.inner(x)).reshape(-1)
        lengths = torch.full((len(x) * 2,), 3)
        return s.outer(torch.segment_reduce(h, "mean", lengths=lengths).reshape(len(x), 2))

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(2, 3)), points()


def _sparse_weight():
    def forward(s, x):
        weight = (s.inner.weight * s.mask).to_sparse()
        return s.outer(torch.tanh(torch.sparse.mm(weight, x.mT).mT + s.inner.bias))

    return Fn(
        forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3), mask=nn.Buffer((torch.rand(6, 4) > 0.5).float())
    ), points()


def _nested():
    """Rows of different lengths as a nested tensor."""

    def forward(s, x):
        rows = torch.nested.nested_tensor([r[: 2 + k % 3] for k, r in enumerate(x)], layout=torch.jagged)
        padded = torch.nested.to_padded_tensor(rows, 0.0)
        return s.outer(torch.tanh(s.inner(padded)))

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3)), points()


BUILDERS = {
    "custom-op-with-gradient": _mlp(lambda h: cube(0.7 * h)),
    "implicit-function-gradient": _implicit,
    "gradient-only-function": _mlp(lambda h: GradientOnly.apply(torch.tanh(h), h.detach())),
    "sparse-weight": _sparse_weight,
    "nested-rows": _nested,
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
for name, build in {"functional-jacobian": _functional_jacobian, "functional-hvp": _functional_hvp}.items():
    add(name, build, family=__name__, losses=("mse",))
for name, build, reason in (
    ("custom-op-of-one-derivative", _mlp(lambda h: opaque_sine(h)), "its gradient has no derivative"),
    ("gradient-clipped-in-backward", _mlp(lambda h: Clipped.apply(torch.tanh(h))), "the backward pass is not linear"),
    ("recomputed-in-backward", _recomputed, "its backward pass cuts the graph"),
    ("segment-reduce", _segment_reduce, "torch lacks the second derivative"),
    ("cond", _cond, "a higher-order operator"),
):
    add(name, build, family=__name__, refusal=reason)
