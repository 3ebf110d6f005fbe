"""What one measurement of the operator returns."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """The operator M = J J^T of a network on a probe set at one instant, in its own eigenbasis.

    With the loss written as ||e||^2 / 2, an eigenvalue is a rate in 1 / time and time is the sum of
    learning rates. All numbers are float64. Eigenvalues are in decreasing order; vectors are rows
    over the stacked outputs (index = sample * outputs + output).

    What has the index of a single mode depends on that mode's label: signs are arbitrary, and
    inside a cluster (equal `clusters` label) so is any rotation; with drift, the one that makes Mdot
    diagonal there is taken. Sums over clusters, or over shells, do not depend on it.

    Attributes:
        eigenvalues: lambda_u, the rates at which error along a mode decays.
        eigenvectors: phi_u.
        residuals: ||M phi - lambda phi||, the eigensolver's certificate.
        clusters: Group of eigenvalues that cannot be told apart, per mode.
        coefficients: g_u = <phi_u, e>.
        error: e = sqrt(f) (network - targets), all of it, also outside the modes kept.
        loss: ||e||^2 / 2.
        factor: f, the loss's own normalisation.
        eigenvalue_rates: d lambda_u / dt = <phi_u, Mdot phi_u> along the direction, or None without drift.
        rate_matrix: <phi_u, Mdot phi_v>, or None.
        couplings: Omega_uv = <dphi_u/dt, phi_v> = <phi_v, Mdot phi_u> / (lambda_u - lambda_v); 0 inside a
            cluster, where it has no meaning; or None.
        operator_error: Relative difference between the dense operator and one matrix-free product.
        method: How M was formed, in words; names the parameters that no layer rule covered.
    """

    eigenvalues: Float[Tensor, " modes"]
    eigenvectors: Float[Tensor, "modes size"]
    residuals: Float[Tensor, " modes"]
    clusters: Int[Tensor, " modes"]
    coefficients: Float[Tensor, " modes"]
    error: Float[Tensor, " size"]
    loss: float
    factor: float
    eigenvalue_rates: Float[Tensor, " modes"] | None
    rate_matrix: Float[Tensor, "modes modes"] | None
    couplings: Float[Tensor, "modes modes"] | None
    operator_error: float
    method: str
