"""Custom autograd functions of every style, straight-through estimators, checkpoints, hooks."""

import torch
from torch import nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from zoo.architecture import add
from zoo.families.parts import Fn, points


class OldCube(Function):
    """Old style: forward takes ctx."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class NewCube(Function):
    """New style, without a vmap rule."""

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class VmapCube(NewCube):
    """New style, with a generated vmap rule."""

    generate_vmap_rule = True


class JvpCube(NewCube):
    """With a forward derivative as well."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * tangent


class WrittenVmapCube(NewCube):
    """With a vmap rule written by hand."""

    @staticmethod
    def vmap(info, in_dims, x):
        return WrittenVmapCube.apply(x), in_dims[0]


class OnceCube(OldCube):
    """Backward that cannot be differentiated again."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class SignSte(Function):
    """Sign forward, clipped identity backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1).to(grad.dtype)


class Reversal(Function):
    """Gradient reversal of domain-adversarial training."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -0.5 * grad


class OldLinear(Function):
    """The tutorial's linear layer."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return x.mm(weight.t()) + bias

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad.mm(weight), grad.t().mm(x), grad.sum(0)


class NumpySine(Function):
    """Through numpy, as the tutorial does."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(__import__("numpy").sin(x.detach().numpy()))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.from_numpy(__import__("numpy").cos(x.detach().numpy()))


class SurrogateSpike(Function):
    """Step forward, fast-sigmoid slope backward, of spiking nets."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / (1 + 5 * x.abs()) ** 2


class MutableScale(Function):
    """Keeps a python number on ctx and marks an output as not differentiable."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale = scale
        peak = x.argmax(-1)
        ctx.mark_non_differentiable(peak)
        return x * scale, peak

    @staticmethod
    def backward(ctx, grad, _):
        return grad * ctx.scale, None


def _applied(function):
    return lambda: (
        Fn(lambda s, x: s.outer(function(s.inner(x))), inner=nn.Linear(4, 6), outer=nn.Linear(6, 3)),
        points(),
    )


def _spiking():
    def forward(s, x):
        v, out = 0, 0
        for _ in range(3):
            v = 0.8 * v + s.inner(x)
            spike = SurrogateSpike.apply(v - 0.5)
            v = v - spike.detach() * 0.5
            out = out + s.outer(spike)
        return out / 3

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3)), points()


def _quantised():
    """Fake quantisation of weights by detach."""

    def forward(s, x):
        w = s.inner.weight
        scale = w.detach().abs().max() / 7
        w = w + ((w / scale).round() * scale - w).detach()
        return s.outer(torch.relu(nn.functional.linear(x, w, s.inner.bias)))

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3)), points()


def _binary_weights():
    def forward(s, x):
        w = SignSte.apply(s.inner.weight) * s.inner.weight.abs().mean(1, keepdim=True)
        return s.outer(torch.tanh(nn.functional.linear(x, w, s.inner.bias)))

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3)), points()


def _fake_quantize():
    return Fn(
        lambda s, x: s.outer(torch.fake_quantize_per_tensor_affine(s.inner(x), 0.1, 0, -20, 20)),
        inner=nn.Linear(4, 6),
        outer=nn.Linear(6, 3),
    ), points()


def _checkpointed(reentrant):
    def forward(s, x):
        h = torch.tanh(s.first(x))
        h = checkpoint(s.block, h, use_reentrant=reentrant)
        return s.outer(h)

    return lambda: (
        Fn(forward, first=nn.Linear(4, 6), block=nn.Sequential(nn.Linear(6, 6), nn.GELU()), outer=nn.Linear(6, 3)),
        points(),
    )


def _checkpointed_lambda():
    def forward(s, x):
        return checkpoint(lambda h: s.b(torch.tanh(h)), s.a(x), use_reentrant=False, preserve_rng_state=False)

    return Fn(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), points()


def _checkpoint_sequential():
    layers = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh())
    return Fn(
        lambda s, x: s.outer(checkpoint_sequential(s.layers, 2, s.first(x), use_reentrant=False)),
        first=nn.Linear(4, 6),
        layers=layers,
        outer=nn.Linear(6, 3),
    ), points()


def _imported_checkpoint():
    import torch.utils.checkpoint as cp

    return Fn(
        lambda s, x: cp.checkpoint(s.b, torch.tanh(s.a(x)), use_reentrant=False), a=nn.Linear(4, 6), b=nn.Linear(6, 3)
    ), points()


def _hooked(kind):
    def build():
        net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
        if kind == "forward":
            net[0].register_forward_hook(lambda module, args, output: output * 1.5)
        elif kind == "pre":
            net[2].register_forward_pre_hook(lambda module, args: (args[0] - 0.1 * args[0].square(),))
        elif kind == "watching":
            seen = []
            net[1].register_forward_hook(lambda module, args, output: seen.append(float(output.detach().mean())))
        elif kind == "backward":
            net[2].register_full_backward_hook(lambda module, grad_in, grad_out: None)
        elif kind == "scaling-backward":
            net[2].register_full_backward_hook(lambda module, grad_in, grad_out: (0.5 * grad_in[0],))
        elif kind == "gradient":
            net[0].weight.register_hook(lambda grad: 0.5 * grad)
        elif kind == "gradient-mask":
            mask = (torch.arange(24).reshape(6, 4) % 3 > 0).float()
            net[0].weight.register_hook(lambda grad: grad * mask.to(grad.dtype))
        return net, points()

    return build


def _saved_tensor_hooks():
    def forward(s, x):
        with torch.autograd.graph.save_on_cpu():
            return s.b(torch.tanh(s.a(x)))

    return Fn(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), points()


def _no_grad_part():
    def forward(s, x):
        with torch.no_grad():
            features = torch.tanh(s.frozen(x))
        return s.head(torch.tanh(s.inner(features)))

    return Fn(forward, frozen=nn.Linear(4, 5), inner=nn.Linear(5, 5), head=nn.Linear(5, 3)), points()


@torch.jit.ignore
def _ignored(x):
    return x


def _scripted():
    return torch.jit.script(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))), points()


def _traced():
    return torch.jit.trace(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), points()), points()


BUILDERS = {
    "function-old-style": _applied(OldCube.apply),
    "function-new-style": _applied(NewCube.apply),
    "function-generated-vmap": _applied(VmapCube.apply),
    "function-with-jvp": _applied(JvpCube.apply),
    "function-written-vmap": _applied(WrittenVmapCube.apply),
    "function-linear-of-the-tutorial": lambda: (
        Fn(
            lambda s, x: s.outer(torch.tanh(OldLinear.apply(x, s.inner.weight, s.inner.bias))),
            inner=nn.Linear(4, 6),
            outer=nn.Linear(6, 3),
        ),
        points(),
    ),
    "function-two-outputs": _applied(lambda h: MutableScale.apply(h.tanh(), 1.7)[0]),
    "gradient-reversal": _applied(lambda h: Reversal.apply(torch.tanh(h))),
    "sign-straight-through": _applied(SignSte.apply),
    "round-straight-through": _applied(lambda h: h + (h.round() - h).detach()),
    "hard-softmax-straight-through": _applied(
        lambda h: (lambda p: nn.functional.one_hot(p.argmax(-1), 6).to(p.dtype) + p - p.detach())(h.softmax(-1))
    ),
    "spiking-net": _spiking,
    "weights-quantised": _quantised,
    "weights-binary": _binary_weights,
    "fake-quantize": _fake_quantize,
    "checkpoint": _checkpointed(False),
    "checkpoint-reentrant": _checkpointed(True),
    "checkpoint-lambda": _checkpointed_lambda,
    "checkpoint-sequential": _checkpoint_sequential,
    "checkpoint-imported-module": _imported_checkpoint,
    "saved-tensor-hooks": _saved_tensor_hooks,
    "no-grad-part": _no_grad_part,
    **{f"hook-{kind}": _hooked(kind) for kind in ("forward", "pre", "watching", "backward")},
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
for name, build, reason in (
    ("function-once-differentiable", _applied(OnceCube.apply), "its backward pass has no derivative"),
    ("function-through-numpy", _applied(NumpySine.apply), "numpy inside"),
    ("hook-scaling-backward", _hooked("scaling-backward"), "a backward hook changes the gradient"),
    ("hook-gradient", _hooked("gradient"), "a hook on a parameter changes its gradient"),
    ("hook-gradient-mask", _hooked("gradient-mask"), "a hook on a parameter changes its gradient"),
    ("jit-script", _scripted, "compiled to TorchScript"),
    ("jit-trace", _traced, "compiled to TorchScript"),
):
    add(name, build, family=__name__, refusal=reason)
