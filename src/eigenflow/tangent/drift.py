"""How the leading modes move: Mdot in their basis, their rates and couplings, each with its certificate."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.display import FieldsPrinted
from eigenflow.linalg import AbstractRowSpace, CertifiedPairs, turn_clusters, turn_rows

__all__ = ["ModeDrift", "mode_drift"]


@dataclass(frozen=True, repr=False)
class ModeDrift(FieldsPrinted):
    """Mdot seen from k modes.

    Attributes:
        rotation: Orthogonal, inside clusters only: the modes to which everything here belongs are `rotation @
            eigenvectors`, chosen so that Mdot is diagonal inside every cluster.
        rate_matrix: <phi_u, Mdot phi_v>.
        rate_bounds: Bound of the error of each eigenvalue's rate from that of its eigenvector, to first order.
        couplings: Omega_uv = <phi_v, Mdot phi_u> / (lambda_u - lambda_v); 0 inside clusters.
        coupling_bounds: Bound of the couplings' errors, to first order; infinite inside clusters.
        outflow: ||(1 - P) Mdot phi_u||: how strongly each mode is coupled to what lies outside the k modes.
    """

    rotation: Float[Tensor, "modes modes"]
    rate_matrix: Float[Tensor, "modes modes"]
    rate_bounds: Float[Tensor, " modes"]
    couplings: Float[Tensor, "modes modes"]
    coupling_bounds: Float[Tensor, "modes modes"]
    outflow: Float[Tensor, " modes"]


@torch.no_grad()
def mode_drift(pairs: CertifiedPairs, images: Float[Tensor, "modes local"], space: AbstractRowSpace) -> ModeDrift:
    """Rates and couplings from the products of Mdot with the eigenvectors.

    An eigenvector that is off by a small angle changes <phi_v, Mdot phi_u> by at most ||Mdot phi|| times that angle on
    either side, and a coupling by its share of the error of the gap.

    Args:
        pairs: Eigenpairs of M.
        images: Mdot times each eigenvector.
        space: The rows' space.
    """
    vectors, values, clusters = pairs.eigenvectors, pairs.eigenvalues, pairs.clusters
    rates = space.inner(vectors, images)
    gram = _gram_outside(vectors, images, rates, space)
    rates = 0.5 * (rates + rates.T)
    rotation = turn_clusters(rates, clusters)
    rates = turn_rows(rotation, turn_rows(rotation, rates, clusters).T, clusters)
    outflow = torch.zeros_like(values)
    if gram is not None:
        gram = turn_rows(rotation, turn_rows(rotation, gram, clusters).T, clusters)
        outflow = gram.diagonal().clamp(min=0).sqrt()
    # The rotation mixes angles inside clusters, where they are those of the subspace, the same for all.
    angles = pairs.angle_bounds
    sizes = (rates.square().sum(1) + outflow.square()).sqrt()
    gaps = values[:, None] - values[None, :]
    is_apart = clusters[:, None] != clusters[None, :]
    couplings = torch.where(is_apart, rates, 0.0) / torch.where(is_apart, gaps, 1.0)
    numerator = sizes[:, None] * angles[None, :] + sizes[None, :] * angles[:, None]
    gap_error = pairs.eigenvalue_bounds[:, None] + pairs.eigenvalue_bounds[None, :]
    bounds = (numerator + couplings.abs() * gap_error) / torch.where(is_apart, gaps.abs(), 1.0)
    return ModeDrift(
        rotation=rotation,
        rate_matrix=rates,
        rate_bounds=2.0 * sizes * angles,
        couplings=couplings,
        coupling_bounds=torch.where(is_apart, bounds, torch.inf),
        outflow=outflow,
    )


def _gram_outside(vectors: Tensor, images: Tensor, rates: Tensor, space: AbstractRowSpace) -> Tensor | None:
    """Inner products of the images' parts outside the modes; None where the modes are a whole basis."""
    if len(vectors) == space.size:
        return None
    outside = images - rates.T @ vectors
    return space.inner(outside, outside)
