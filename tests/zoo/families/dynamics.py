"""Fixed points, differential equations, unrolled iterations, generative heads."""

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, points


def _field():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4))


def _euler():
    def forward(s, x):
        for _ in range(4):
            x = x + 0.25 * s.field(x)
        return s.head(x)

    return Fn(forward, field=_field(), head=nn.Linear(4, 3)), points()


def _rk4():
    def forward(s, x):
        h = 0.5
        for _ in range(2):
            k1 = s.field(x)
            k2 = s.field(x + h / 2 * k1)
            k3 = s.field(x + h / 2 * k2)
            k4 = s.field(x + h * k3)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return s.head(x)

    return Fn(forward, field=_field(), head=nn.Linear(4, 3)), points()


def _adaptive():
    """Step size by an error estimate: control flow by values."""

    def forward(s, x):
        t, h = 0.0, 0.5
        while t < 1.0 - 1e-9:
            h = min(h, 1.0 - t)
            k = s.field(x)
            full, mid = x + h * k, x + h / 2 * k
            double = mid + h / 2 * s.field(mid)
            if float((full - double).detach().abs().max()) > 0.05 and h > 0.1:
                h = h / 2
                continue
            x, t = double, t + h
        return s.head(x)

    return Fn(forward, field=_field(), head=nn.Linear(4, 3)), points()


def _deq():
    """Iterated to a fixed point, gradients through all iterations."""

    def forward(s, x):
        z = torch.zeros_like(s.inp(x))
        for _ in range(12):
            z = torch.tanh(0.3 * s.mix(z) + s.inp(x))
        return s.head(z)

    return Fn(forward, inp=nn.Linear(4, 5), mix=nn.Linear(5, 5), head=nn.Linear(5, 3)), points()


def _deq_one_step():
    """Jacobian-free: iterations without gradient, one step with."""

    def forward(s, x):
        u = s.inp(x)
        with torch.no_grad():
            z = torch.zeros_like(u)
            for _ in range(30):
                z = torch.tanh(0.3 * s.mix(z) + u)
        return s.head(torch.tanh(0.3 * s.mix(z) + u))

    return Fn(forward, inp=nn.Linear(4, 5), mix=nn.Linear(5, 5), head=nn.Linear(5, 3)), points()


def _deq_until_converged():
    def forward(s, x):
        u = s.inp(x)
        z = torch.zeros_like(u)
        for _ in range(60):
            new = torch.tanh(0.3 * s.mix(z) + u)
            change = float((new - z).detach().norm())
            z = new
            if change < 1e-13:
                break
        return s.head(z)

    return Fn(forward, inp=nn.Linear(4, 5), mix=nn.Linear(5, 5), head=nn.Linear(5, 3)), points()


def _backward_hook_deq():
    """Implicit gradient through a hook on the fixed point, as the deep-equilibrium tutorial has it."""

    def forward(s, x):
        u = s.inp(x)
        with torch.no_grad():
            z = torch.zeros_like(u)
            for _ in range(60):
                z = torch.tanh(0.3 * s.mix(z) + u)
        z = torch.tanh(0.3 * s.mix(z) + u)
        if not torch.is_grad_enabled() or not z.requires_grad:
            return s.head(z)
        z0 = z.detach().requires_grad_()
        f0 = torch.tanh(0.3 * s.mix(z0) + u.detach())

        def solve(g):
            v = g
            for _ in range(60):
                v = torch.autograd.grad(f0, z0, v, retain_graph=True)[0] + g
            return v

        z.register_hook(solve)
        return s.head(z)

    return Fn(forward, inp=nn.Linear(4, 5), mix=nn.Linear(5, 5), head=nn.Linear(5, 3)), points()


def _unrolled_ista():
    def forward(s, x):
        z = torch.zeros(len(x), 6, dtype=x.dtype)
        for step in s.steps:
            z = functional.softshrink(z - step * (z @ s.D.mT - x) @ s.D, 0.05)
        return s.head(z)

    return Fn(
        forward, D=nn.Parameter(torch.randn(4, 6) / 2), steps=nn.Parameter(torch.full((3,), 0.3)), head=nn.Linear(6, 3)
    ), points()


def _normalising_flow():
    def forward(s, x):
        a, b = x.chunk(2, -1)
        scale, shift = s.net(a).chunk(2, -1)
        b = b * torch.exp(torch.tanh(scale)) + shift
        logdet = torch.tanh(scale).sum(-1, keepdim=True)
        return torch.cat([a[:, :1], b, logdet - 0.5 * b.square().sum(-1, keepdim=True)], -1)

    return Fn(forward, net=nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4))), points()


def _vae_head():
    """The mean of the code decoded, beside both moments."""

    def forward(s, x):
        mean, log_var = s.encoder(x).chunk(2, -1)
        return torch.cat([s.decoder(mean), mean, log_var.exp()], -1)

    return Fn(
        forward, encoder=nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4)), decoder=nn.Linear(2, 3)
    ), points(4)


def _vae_fixed_noise():
    def forward(s, x):
        generator = torch.Generator().manual_seed(0)
        mean, log_var = s.encoder(x).chunk(2, -1)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        return s.decoder(mean + (0.5 * log_var).exp() * noise)

    return Fn(
        forward, encoder=nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4)), decoder=nn.Linear(2, 3)
    ), points(4)


def _gaussian_head():
    return Fn(
        lambda s, x: torch.cat([(h := torch.tanh(s.inner(x))) @ s.mean, functional.softplus(h @ s.spread) + 1e-3], -1),
        inner=nn.Linear(4, 5),
        mean=nn.Parameter(torch.randn(5, 2)),
        spread=nn.Parameter(torch.randn(5, 2)),
    ), points()


def _quantile_head():
    """Quantiles that cannot cross: cumulated positive steps."""
    return Fn(
        lambda s, x: torch.cat([(h := s.net(x))[:, :1], h[:, :1] + functional.softplus(h[:, 1:]).cumsum(-1)], -1),
        net=nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
    ), points()


def _mixture_density():
    def forward(s, x):
        weight, mean, spread = s.net(x).chunk(3, -1)
        grid = torch.linspace(-1, 1, 3, dtype=x.dtype)[:, None]
        normal = torch.distributions.Normal(mean[:, None], spread.exp()[:, None])
        return torch.logsumexp(weight.log_softmax(-1)[:, None] + normal.log_prob(grid), -1)

    return Fn(forward, net=nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6))), points()


def _diffusion_mlp():
    def forward(s, x, t):
        frequencies = torch.exp(torch.arange(2, dtype=x.dtype))
        embedded = torch.cat([(t[:, None] * frequencies).sin(), (t[:, None] * frequencies).cos()], -1)
        return s.out(functional.silu(s.inp(x) * (1 + s.scale(embedded)) + s.shift(embedded)))

    net = Fn(forward, inp=nn.Linear(4, 5), scale=nn.Linear(4, 5), shift=nn.Linear(4, 5), out=nn.Linear(5, 4))
    return net, (points(), torch.rand(5))


def _vector_quantised():
    def forward(s, x):
        z = s.encoder(x)
        nearest = torch.cdist(z, s.codes).argmin(-1)
        q = s.codes[nearest]
        return s.decoder(z + (q - z).detach()) + 0.1 * s.decoder(q)

    return Fn(
        forward, encoder=nn.Linear(4, 3), codes=nn.Parameter(torch.randn(4, 3)), decoder=nn.Linear(3, 3)
    ), points()


def _energy_argmin():
    """A quadratic minimised in closed form (OptNet-like)."""

    def forward(s, x):
        L = s.L.tril()
        A = L @ L.mT + torch.eye(3, dtype=x.dtype)
        return -torch.linalg.solve(A, s.b(x).mT).mT

    return Fn(forward, L=nn.Parameter(torch.randn(3, 3)), b=nn.Linear(4, 3)), points()


def _sinkhorn():
    def forward(s, x):
        logits = s.inner(x).reshape(-1, 3, 3)
        for _ in range(4):
            logits = logits - logits.logsumexp(-1, keepdim=True)
            logits = logits - logits.logsumexp(-2, keepdim=True)
        return logits.exp()[:, 0]

    return Fn(forward, inner=nn.Linear(4, 9)), points()


def _kalman():
    def forward(s, x):
        m, P = torch.zeros(2, dtype=x.dtype), torch.eye(2, dtype=x.dtype)
        means = m.expand(len(x), 2)
        Q = s.q.exp() * torch.eye(2, dtype=x.dtype)
        for t in range(x.shape[1]):
            P = s.A @ P @ s.A.mT + Q
            K = P @ s.H.mT @ torch.linalg.inv(s.H @ P @ s.H.mT + s.r.exp() * torch.eye(1, dtype=x.dtype))
            means = means @ s.A.mT
            means = means + (x[:, t : t + 1] - means @ s.H.mT) @ K.mT
            P = P - K @ s.H @ P
        return means

    net = Fn(
        forward,
        A=nn.Parameter(torch.eye(2) * 0.8 + 0.1 * torch.randn(2, 2)),
        H=nn.Parameter(torch.randn(1, 2)),
        q=nn.Parameter(torch.tensor(-1.0)),
        r=nn.Parameter(torch.tensor(-0.5)),
    )
    return net, points()


def _soft_sort():
    return Fn(
        lambda s, x: s.head(
            torch.softmax(-(x.sort(-1).values[:, :, None] - s.inner(x)[:, None, :]).abs(), -1).flatten(1)
        ),
        inner=nn.Linear(4, 4),
        head=nn.Linear(16, 3),
    ), points()


BUILDERS = {
    "neural-ode-euler": _euler,
    "neural-ode-rk4": _rk4,
    "neural-ode-adaptive": _adaptive,
    "fixed-point-unrolled": _deq,
    "fixed-point-one-step-gradient": _deq_one_step,
    "fixed-point-until-converged": _deq_until_converged,
    "unrolled-ista": _unrolled_ista,
    "normalising-flow": _normalising_flow,
    "vae-fixed-noise": _vae_fixed_noise,
    "quantile-head": _quantile_head,
    "mixture-density": _mixture_density,
    "vector-quantised": _vector_quantised,
    "quadratic-argmin": _energy_argmin,
    "sinkhorn": _sinkhorn,
    "soft-sort": _soft_sort,
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
for name, build in {
    "vae-head": _vae_head,
    "gaussian-head": _gaussian_head,
    "diffusion-mlp-two-inputs": _diffusion_mlp,
    "kalman-filter": _kalman,
}.items():
    add(name, build, family=__name__, losses=("mse",))
add(
    "fixed-point-gradient-by-hook",
    _backward_hook_deq,
    family=__name__,
    refusal="the backward pass is a hook that only training sees",
)
