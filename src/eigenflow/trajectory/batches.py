"""Was an update a step of plain SGD on some of the probe's samples? Found from the update itself.

Such an update is dtheta = -dt (n / m) sum_i k_i G_i, with G_i = J_i' e_i the part of the probe loss's gradient that
sample i makes, and k_i how often it is in the batch. With A_ij = <G_i, G_j> = e_i' M_ij e_j and b_i = -<G_i, dtheta> /
dt = -e_i' (J dtheta)_i / dt, all known from M, least squares give k; rounded to whole numbers they either make the
update or they do not. Batches of other samples, momentum, weight decay, preconditioners, and losses that are sums over
the batch leave a miss of the order of the update.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.tangent.model.network import Parameters

__all__ = ["BatchFit", "fit_batch"]

# Of the largest eigenvalue of the scaled Gram matrix: what a sample adds beyond the others has to stand above it.
RIDGE = 1e-13


@dataclass(frozen=True)
class BatchFit:
    """The best batch of the probe's samples.

    Attributes:
        miss: ||dtheta + dt (n / m) sum_i k_i G_i|| / ||dtheta||: rounding if the update was made so. With parameters in
            float32 it is that of their change.
        repeats: Largest k_i: more than 1 for batches that are drawn with replacement.
    """

    miss: float
    repeats: int


def fit_batch(
    eigenvalues: Float[Tensor, " size"],
    vectors: Float[Tensor, "size size"],
    error: Float[Tensor, " size"],
    moved: Float[Tensor, " size"],
    update: Parameters,
    *,
    step_size: float,
    samples: int,
    batch_size: int,
    preconditioner: Parameters | None = None,
) -> BatchFit:
    """Find the batch that an update was made of.

    Args:
        eigenvalues: Of M, all of them.
        vectors: Its eigenvectors, rows.
        error: e, sample-major.
        moved: J dtheta.
        update: dtheta, by name.
        step_size: dt, > 0.
        samples: n.
        batch_size: m.
        preconditioner: Diagonal of P^(-1) by name, that of M; None: the identity. The step is P^(-1) times that above,
            and norms are those of P.
    """
    square = _square(update, preconditioner)
    shares = (vectors * error).reshape(len(vectors), samples, -1).sum(2)
    gram = shares.T @ (eigenvalues.clamp(min=0)[:, None] * shares)
    along = -(error * moved).reshape(samples, -1).sum(1) / step_size
    size = gram.diagonal().clamp(min=0).sqrt()
    is_there = size > RIDGE**0.5 * size.max()
    if square <= 0 or not bool(is_there.any()):
        return BatchFit(1.0, 0)
    weight = samples / batch_size
    scaled = gram[is_there][:, is_there] / size[is_there, None] / size[is_there]
    ridge = RIDGE * len(scaled) * torch.eye(len(scaled)).to(scaled)
    found = torch.linalg.solve(scaled + ridge, along[is_there] / size[is_there])
    counts = torch.zeros_like(size)
    counts[is_there] = (found / size[is_there] / weight).round().clamp(min=0, max=batch_size)
    step = weight * counts
    square = square / step_size**2
    left = square - 2.0 * float(step @ along) + float(step @ gram @ step)
    return BatchFit((max(left, 0.0) / square) ** 0.5, int(counts.max()))


def _square(update: Parameters, preconditioner: Parameters | None) -> float:
    """||dtheta||^2, or dtheta' P dtheta over the entries that P^(-1) moves."""
    if preconditioner is None:
        return sum(float(change.double().square().sum()) for change in update.values())
    parts = ((change.double(), preconditioner[name].to(change).double()) for name, change in update.items())
    return sum(float((c.square() / p.clamp(min=1e-300))[p > 0].sum()) for c, p in parts)
