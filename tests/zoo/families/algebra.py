"""Linear algebra, special functions, Fourier transforms and complex numbers inside the network."""

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, points


def _matrix(x):
    """Three by three, well conditioned."""
    return x.reshape(-1, 3, 3) + 3 * torch.eye(3, dtype=x.dtype)


def _definite(x):
    A = x.reshape(-1, 3, 3)
    return A @ A.mT + torch.eye(3, dtype=x.dtype)


def _symmetric(x):
    A = x.reshape(-1, 3, 3)
    return A + A.mT + torch.diag(torch.tensor([0.0, 3.0, 7.0], dtype=x.dtype))


L = torch.linalg
MATRIX_FUNCTIONS = {
    "det": lambda h, x: torch.tanh(L.det(h.reshape(-1, 3, 3)))[:, None],
    "logdet": lambda h, x: torch.logdet(_definite(h))[:, None],
    "slogdet": lambda h, x: L.slogdet(_matrix(h))[1][:, None],
    "solve": lambda h, x: L.solve(_matrix(h), x[:, :3, None])[..., 0],
    "solve-triangular": lambda h, x: L.solve_triangular(_matrix(h).tril(), x[:, :3, None], upper=False)[..., 0],
    "inv": lambda h, x: L.inv(_matrix(h)).flatten(1),
    "pinv": lambda h, x: L.pinv(h.reshape(-1, 3, 3)[:, :, :2] + torch.eye(3, 2, dtype=h.dtype)).flatten(1),
    "cholesky": lambda h, x: L.cholesky(_definite(h)).flatten(1),
    "cholesky-solve": lambda h, x: torch.cholesky_solve(x[:, :3, None], L.cholesky(_definite(h)))[..., 0],
    "qr": lambda h, x: L.qr(_matrix(h))[1].flatten(1),
    "eigvalsh": lambda h, x: L.eigvalsh(_symmetric(h)),
    "eigh-projector": lambda h, x: ((v := L.eigh(_symmetric(h))[1][..., :1]) @ v.mT).flatten(1),
    "svdvals": lambda h, x: L.svdvals(_matrix(h) + torch.diag(torch.tensor([0.0, 2, 5], dtype=h.dtype))),
    "svd-low-rank": lambda h, x: (lambda u, s, v: (u[..., :1] * s[:, None, :1] @ v[:, :1]).flatten(1))(
        *L.svd(_symmetric(h))
    ),
    "nuclear-norm": lambda h, x: L.matrix_norm(_matrix(h), "nuc")[:, None],
    "spectral-matrix-norm": lambda h, x: L.matrix_norm(_symmetric(h), 2)[:, None],
    "matrix-exp": lambda h, x: L.matrix_exp(0.3 * h.reshape(-1, 3, 3)).flatten(1),
    "matrix-power": lambda h, x: L.matrix_power(h.reshape(-1, 3, 3), 3).flatten(1),
    "multi-dot": lambda h, x: torch.stack([L.multi_dot([a, a.mT, a]) for a in h.reshape(-1, 3, 3)]).flatten(1),
    "lstsq": lambda h, x: L.lstsq(_matrix(h), x[:, :3, None]).solution[..., 0],
    "lu-solve": lambda h, x: L.lu_solve(*L.lu_factor(_matrix(h)), x[:, :3, None])[..., 0],
    "cross": lambda h, x: L.cross(h[:, :3], h[:, 3:6]),
    "kron-and-outer": lambda h, x: torch.einsum("ni,nj->nij", h[:, :3], h[:, 3:6]).flatten(1),
    "trace-and-tril": lambda h, x: torch.cat(
        [h.reshape(-1, 3, 3).diagonal(dim1=1, dim2=2).sum(-1, keepdim=True), h.reshape(-1, 3, 3).tril(-1).flatten(1)],
        -1,
    ),
    "householder-product": lambda h, x: L.householder_product(
        h.reshape(-1, 3, 3)[:, :, :2].tril(), torch.sigmoid(h[:, :2])
    ).flatten(1),
    "vander": lambda h, x: L.vander(h[:, :3], N=3).flatten(1),
}


def _inner(function):
    def build():
        net = Fn(
            lambda s, x: s.outer(function(torch.tanh(s.inner(x)), x)), inner=nn.Linear(4, 9), outer=nn.LazyLinear(3)
        )
        x = points()
        net(x)
        return net, x

    return build


for name, function in MATRIX_FUNCTIONS.items():
    add(f"linalg-{name}", _inner(function), family=__name__)

POINTWISE = {
    "fft": lambda h: torch.fft.fft(h).abs().square() / 9,
    "fft-phase": lambda h: torch.fft.rfft(h)[:, 1:].angle(),
    "rfft-irfft": lambda h: torch.fft.irfft(torch.fft.rfft(h) * 0.5j, n=9),
    "fft2": lambda h: torch.fft.fft2(h.reshape(-1, 3, 3)).real.flatten(1),
    "fft-abs": lambda h: torch.fft.rfft(h).abs(),
    "stft": lambda h: torch.view_as_real(
        torch.stft(h, 4, 2, window=torch.ones(4, dtype=h.dtype), center=False, return_complex=True)
    ).flatten(1),
    "complex-product": lambda h: torch.view_as_real(torch.complex(h[:, :4], h[:, 4:8]) * (1 + 2j)).flatten(1),
    "complex-exp": lambda h: torch.exp(torch.complex(h[:, :4], h[:, 4:8])).imag,
    "polar": lambda h: torch.polar(functional.softplus(h[:, :4]), h[:, 4:8]).real,
    "complex-modrelu": lambda h: (
        lambda z: torch.view_as_real(functional.relu(z.abs() - 0.1) * z / (z.abs() + 1e-6)).flatten(1)
    )(torch.complex(h[:, :4], h[:, 4:8])),
    "atan2": lambda h: torch.atan2(h[:, :4], h[:, 4:8]),
    "hypot": lambda h: torch.hypot(h[:, :4], h[:, 4:8]),
    "xlogy": lambda h: torch.xlogy(torch.sigmoid(h), torch.sigmoid(h)),
    "cumsum": lambda h: torch.tanh(h.cumsum(-1)),
    "cumprod": lambda h: (1 + 0.3 * h).cumprod(-1),
    "cummax": lambda h: h.cummax(-1).values,
    "logcumsumexp": lambda h: h.logcumsumexp(-1),
    "prod": lambda h: (1 + h).prod(-1, keepdim=True),
    "prod-with-zeros": lambda h: functional.pad(h[:, :7], (0, 2)).reshape(-1, 3, 3).prod(-1),
    "var-std": lambda h: torch.cat([h.var(-1, keepdim=True), h.std(-1, keepdim=True, unbiased=False)], -1),
    "renorm": lambda h: h.renorm(2, 0, 1.0),
    "diff-gradient": lambda h: torch.cat([h.diff(), torch.gradient(h, dim=-1)[0]], -1),
    "trapezoid": lambda h: torch.cumulative_trapezoid(h, dx=0.5),
    "sinc": lambda h: torch.sinc(h),
    "sinc-at-zero": lambda h: torch.sinc(torch.cat([h[:, :4], 0 * h[:, 4:6]], -1)),
    "bessel": lambda h: torch.special.bessel_j0(h.detach()) + h,
    "erfinv-ndtri": lambda h: torch.erfinv(0.9 * h) + torch.special.ndtri(0.5 + 0.4 * h),
    "entr-logit": lambda h: torch.special.entr(torch.sigmoid(h)) + torch.logit(0.5 + 0.4 * h),
    "remainder-frac": lambda h: torch.remainder(3 * h, 1.0) + h.frac(),
    "floor-round-steps": lambda h: h + torch.floor(2 * h) + torch.round(3 * h),
    "lerp-addcmul": lambda h: (
        torch.lerp(h, h.flip(-1), 0.3) + torch.addcmul(h, h, h.sin(), value=0.5) + torch.addcdiv(h, h, 2 + h)
    ),
    "tensordot": lambda h: torch.tensordot(h.reshape(-1, 3, 3), h.reshape(-1, 3, 3)[0].detach(), 1).flatten(1),
    "sqrt-safe-where": lambda h: torch.where(h > 0.0, torch.where(h > 0.0, h, 1.0).sqrt(), 0.1 * h),
    "max-min-fused": lambda h: torch.maximum(h[:, :4], h[:, 4:8]) - torch.fmin(h[:, :4], h[:, 4:8].tanh()),
    "pdist-like": lambda h: (lambda p: (p[:, :, None] - p[:, None]).square().sum(-1).add(1e-3).sqrt().flatten(1))(
        h.reshape(-1, 3, 3)
    ),
    "cosine-similarity": lambda h: functional.cosine_similarity(h[:, :3], h[:, 3:6], dim=-1)[:, None] * h[:, 6:],
    "pairwise-distance": lambda h: functional.pairwise_distance(h[:, :3], h[:, 3:6])[:, None] * h[:, 6:],
}
for name, function in POINTWISE.items():
    add(f"op-{name}", _inner(lambda h, x, function=function: function(h)), family=__name__)


def _rbf(distance):
    return lambda: (
        Fn(
            lambda s, x: s.out(torch.exp(-s.width.exp() * distance(x, s.centres))),
            centres=nn.Parameter(torch.randn(6, 4)),
            width=nn.Parameter(torch.zeros(6)),
            out=nn.Linear(6, 3),
        ),
        points(),
    )


def _complex_parameters():
    net = Fn(
        lambda s, x: torch.view_as_real(torch.tanh(x.to(s.W.dtype) @ s.W)).flatten(1)[:, :3],
        W=nn.Parameter(torch.randn(4, 2, dtype=torch.complex64)),
        b=nn.Parameter(torch.zeros(3)),
    )
    return net, points()


def _complex_buffer():
    def forward(s, x):
        z = torch.view_as_complex(s.inner(x).reshape(len(x), 3, 2)) * s.freqs
        return s.outer(torch.view_as_real(z).flatten(1))

    net = Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3))
    net.register_buffer("freqs", torch.polar(torch.ones(3), torch.tensor([0.3, 1.0, 2.0])))
    return net, points()


BUILDERS = {
    "rbf-cdist": _rbf(torch.cdist),
    "rbf-cdist-without-mm": _rbf(lambda x, c: torch.cdist(x, c, compute_mode="donot_use_mm_for_euclid_dist")),
    "rbf-cdist-l1": _rbf(lambda x, c: torch.cdist(x, c, p=1.0)),
    "rbf-by-hand": _rbf(lambda x, c: (x[:, None] - c).square().sum(-1)),
    "complex-buffer": _complex_buffer,
    "einsum-mlp": lambda: (
        Fn(
            lambda s, x: torch.einsum("nh,ho->no", torch.tanh(torch.einsum("nd,dh->nh", x, s.u)), s.v),
            u=nn.Parameter(torch.randn(4, 6) / 2),
            v=nn.Parameter(torch.randn(6, 3) / 2),
        ),
        points(),
    ),
    "tensor-train": lambda: (
        Fn(
            lambda s, x: torch.einsum("nab,aic,bjc->nij", x.reshape(-1, 2, 2), s.g1, s.g2).flatten(1)[:, :3],
            g1=nn.Parameter(torch.randn(2, 2, 3)),
            g2=nn.Parameter(torch.randn(2, 2, 3)),
        ),
        points(),
    ),
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
add("complex-parameters", _complex_parameters, family=__name__, refusal="complex parameters")
