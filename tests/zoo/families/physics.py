"""Physics-informed networks and other models that differentiate inside forward."""

import torch
from torch import nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from zoo.architecture import add
from zoo.families.parts import Fn, points


def _field(inputs=2):
    return nn.Sequential(nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, 1))


def _pinn(residual, size=2, **scalars):
    def build():
        parameters = {name: nn.Parameter(torch.tensor(value)) for name, value in scalars.items()}
        return Fn(residual, u=_field(size), **parameters), torch.randn(4, size)

    return build


def _vmap_grad(s, x):
    """u and its gradient at every point."""
    u = lambda p: s.u(p)[0]  # noqa: E731
    return torch.cat([s.u(x), vmap(grad(u))(x)], -1)


def _jacrev(s, x):
    return vmap(jacrev(s.u))(x)[:, 0]


def _jacfwd(s, x):
    return vmap(jacfwd(s.u))(x)[:, 0]


def _laplacian(s, x):
    H = vmap(hessian(lambda p: s.u(p)[0]))(x)
    return torch.stack([H.diagonal(dim1=1, dim2=2).sum(-1), s.u(x)[:, 0]], -1)


def _wave(s, x):
    first = grad(lambda p: s.u(p)[0])
    second = grad(lambda p: first(p)[0])
    return torch.stack([vmap(lambda p: second(p)[0])(x), s.c * vmap(first)(x)[:, 1]], -1)


def _autograd_grad(s, x):
    """The classical form: autograd.grad with create_graph."""
    with torch.enable_grad():
        x = x.clone().requires_grad_(True)
        u = s.u(x)
        (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (ddu,) = torch.autograd.grad(du[:, 0].sum(), x, create_graph=True)
    return torch.stack([u[:, 0], du[:, 1], ddu[:, 0]], -1)


def _autograd_grad_bare(s, x):
    """The same without enable_grad, as most write it."""
    x = x.clone().requires_grad_(True)
    u = s.u(x)
    (du,) = torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)
    return torch.cat([u, du], -1)


def _in_place_requires_grad(s, x):
    x = x.detach()
    x.requires_grad_()
    u = s.u(x)
    return torch.cat([u, torch.autograd.grad(u.sum(), x, create_graph=True)[0]], -1)


def _burgers(s, x):
    def residual(t, p):
        u = lambda t, p: s.u(torch.stack([t, p]))[0]  # noqa: E731
        u_t, u_x = grad(u, 0)(t, p), grad(u, 1)(t, p)
        return u_t + u(t, p) * u_x - s.nu * grad(grad(u, 1), 1)(t, p)

    return torch.stack([vmap(residual)(x[:, 0], x[:, 1]), s.u(x)[:, 0]], -1)


def _hamiltonian(s, x):
    dH = vmap(grad(lambda p: s.u(p)[0]))(x)
    q, p = dH.chunk(2, -1)
    return torch.cat([p, -q], -1)


def _hamiltonian_autograd(s, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        (dH,) = torch.autograd.grad(s.u(x).sum(), x, create_graph=True)
    q, p = dH.chunk(2, -1)
    return torch.cat([p, -q], -1)


def _lagrangian(s, x):
    L = lambda q, v: s.u(torch.stack([q, v]))[0] + 2 * v**2  # noqa: E731

    def acceleration(q, v):
        mixed = jvp(lambda q: grad(L, 1)(q, v), (q,), (v,))[1]
        return (grad(L, 0)(q, v) - mixed) / grad(grad(L, 1), 1)(q, v)

    return torch.stack([vmap(acceleration)(x[:, 0], x[:, 1]), s.u(x)[:, 0]], -1)


def _forces(s, x):
    """Energy and forces of three particles on a line."""

    def energy(r):
        d = (r[:, None] - r)[[0, 0, 1], [1, 2, 2]].square()
        return s.u(torch.exp(-d)[:, None]).sum()

    return torch.cat([vmap(energy)(x)[:, None], -vmap(grad(energy))(x)], -1)


def _score(s, x):
    """Hutchinson-free divergence of a vector field."""
    J = vmap(jacrev(s.v))(x)
    return torch.stack([J.diagonal(dim1=1, dim2=2).sum(-1), s.v(x)[:, 0]], -1)


def _inner_step(s, x):
    """MAML: one gradient step of an inner loss, then the outputs."""
    start = dict(s.u.named_parameters())
    loss = lambda w: functional_call(s.u, w, (x,)).square().mean()  # noqa: E731
    gradient = grad(loss)(start)
    return functional_call(s.u, {k: w - 0.1 * gradient[k] for k, w in start.items()}, (x,))


def _inner_step_autograd(s, x):
    with torch.enable_grad():
        names, weights = zip(*s.u.named_parameters(), strict=True)
        gradient = torch.autograd.grad(s.u(x).square().mean(), weights, create_graph=True)
        moved = {k: w - 0.1 * g for k, w, g in zip(names, weights, gradient, strict=True)}
    return functional_call(s.u, moved, (x,))


def _vjp_inside(s, x):
    u, pull = vjp(s.u, x)
    return torch.cat([u, pull(torch.ones_like(u))[0]], -1)


def _jvp_inside(s, x):
    u, du = jvp(s.u, (x,), (torch.ones_like(x),))
    return torch.cat([u, du], -1)


def _hard_boundary(s, x):
    return torch.cat([x[:, :1] * (1 - x[:, :1]) * s.u(x), s.u(x)], -1)


def _deeponet():
    net = Fn(
        lambda s, x: s.branch(x[:, :3])[:, None, :].mul(s.trunk(s.where)).sum(-1) + s.bias,
        branch=nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)),
        trunk=nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 4)),
        bias=nn.Parameter(torch.zeros(1)),
        where=nn.Buffer(torch.linspace(0, 1, 3)[:, None]),
    )
    return net, points(5, 3)


def _fourier_operator():
    def forward(s, x):
        h = s.lift(x[..., None]).mT
        spectrum = torch.fft.rfft(h)
        mixed = torch.zeros_like(spectrum)
        mixed[..., :2] = torch.einsum("nik,iok->nok", spectrum[..., :2], torch.view_as_complex(s.modes))
        return s.drop(torch.tanh(torch.fft.irfft(mixed, n=x.shape[-1]) + s.skip(h)).mT)[..., 0]

    net = Fn(
        forward,
        lift=nn.Linear(1, 3),
        modes=nn.Parameter(torch.randn(3, 3, 2, 2) / 3),
        skip=nn.Conv1d(3, 3, 1),
        drop=nn.Linear(3, 1),
    )
    return net, torch.randn(3, 6)


class Siren(nn.Module):
    """Sine activations with frequency 30, as in the paper."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 6), nn.Linear(6, 6)])
        self.head = nn.Linear(6, 3)
        with torch.no_grad():
            self.layers[0].weight.uniform_(-0.5, 0.5)
            self.layers[1].weight.uniform_(-((6 / 6) ** 0.5) / 30, (6 / 6) ** 0.5 / 30)

    def forward(self, x):
        for layer in self.layers:
            x = torch.sin(30 * layer(x))
        return self.head(x)


def _fourier_features():
    net = Fn(
        lambda s, x: s.head(torch.tanh(s.inner(torch.cat([(x @ s.B).sin(), (x @ s.B).cos()], -1)))),
        B=nn.Buffer(2 * torch.randn(2, 3)),
        inner=nn.Linear(6, 5),
        head=nn.Linear(5, 3),
    )
    return net, points(5, 2)


def _vector_field():
    return lambda: (Fn(_score, v=nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2))), points(4, 2))


ONE = ("mse",)
BUILDERS = {
    "pinn-vmap-grad": _pinn(_vmap_grad),
    "pinn-jacrev": _pinn(_jacrev),
    "pinn-jacfwd": _pinn(_jacfwd),
    "pinn-laplacian": _pinn(_laplacian),
    "pinn-wave-scalar-parameter": _pinn(_wave, c=0.7),
    "pinn-autograd-grad": _pinn(_autograd_grad),
    "pinn-autograd-grad-bare": _pinn(_autograd_grad_bare),
    "pinn-inputs-made-leaves": _pinn(_in_place_requires_grad),
    "pinn-burgers": _pinn(_burgers, nu=0.1),
    "pinn-hard-boundary": _pinn(_hard_boundary),
    "hamiltonian-net": _pinn(_hamiltonian),
    "hamiltonian-net-autograd": _pinn(_hamiltonian_autograd),
    "lagrangian-net": _pinn(_lagrangian),
    "interatomic-forces": lambda: (Fn(_forces, u=_field(1)), torch.randn(4, 3)),
    "divergence-of-a-field": _vector_field(),
    "maml-inner-step": _pinn(_inner_step),
    "maml-inner-step-autograd": _pinn(_inner_step_autograd),
    "vjp-inside": _pinn(_vjp_inside),
    "jvp-inside": _pinn(_jvp_inside),
    "deeponet": _deeponet,
    "fourier-neural-operator": _fourier_operator,
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__, losses=ONE)
for name, build in {"siren": lambda: (Siren(), points(5, 2)), "random-fourier-features": _fourier_features}.items():
    add(name, build, family=__name__)
