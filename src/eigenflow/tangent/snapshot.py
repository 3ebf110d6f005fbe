"""What one measurement of the operator returns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.linalg import ModeIdentity, SolveStatus

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["Snapshot"]


@dataclass(frozen=True, repr=False)
class Snapshot(AbstractPrinted):
    """The operator M = J J^T of a network on a probe set at one instant, in its own eigenbasis.

    With a squared loss written as ||e||^2 / 2 (others: `tangent.losses`), an eigenvalue is a rate in 1 / time and time
    is the sum of learning rates. All numbers are float64. Eigenvalues are in decreasing order; vectors are rows
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
        error: e, all of it, also outside the modes kept; sqrt(f) (network - targets) for squared losses.
        loss: The loss itself; ||e||^2 / 2 if it is squared.
        factor: f, the loss's own normalisation.
        eigenvalue_rates: d lambda_u / dt = <phi_u, Mdot phi_u> along the direction, or None without drift.
        rate_matrix: <phi_u, Mdot phi_v>, or None.
        couplings: Omega_uv = <dphi_u/dt, phi_v> = <phi_v, Mdot phi_u> / (lambda_u - lambda_v); 0 inside a
            cluster, where it has no meaning; or None.
        operator_error: Largest relative difference between M, Mdot and J^T e as used and as plain reverse mode finds
            them in the probe's own precision (`tangent.audit`). What rounding does not explain of it is in the bounds.
        audit: What was held against what, in words.
        method: How M was formed, in words; names the parameters that no layer rule covered.
        eigenvalue_bounds: The exact eigenvalue lies within this of the computed one.
        angle_bounds: Bound of sin(angle) between the computed and the exact eigenvector; in a cluster, of its subspace.
        is_converged: Per mode, whether the eigenvalue's bound is within the tolerance asked for.
        status: How the eigensolver ended.
        rate_bounds: Bound of the rates' errors that come from the eigenvectors', to first order, or None.
        coupling_bounds: The same of the couplings; infinite inside clusters, or None.
        outflow: ||(1 - P) Mdot phi_u||, each mode's coupling to what lies outside the modes kept, or None.
        trace: Tr M, where it is known exactly.
        trace_rate: Tr Mdot, where it is known exactly.
        position: Spectral position of the error, the Rayleigh quotient e' M e / e' e: where in the spectrum it lies.
        identity: How the modes continue those of the instant before, if a tracker was used.
        products: Products with M that were made; 0 if M was formed.
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
    audit: str
    method: str
    eigenvalue_bounds: Float[Tensor, " modes"]
    angle_bounds: Float[Tensor, " modes"]
    is_converged: Bool[Tensor, " modes"]
    status: SolveStatus
    rate_bounds: Float[Tensor, " modes"] | None
    coupling_bounds: Float[Tensor, "modes modes"] | None
    outflow: Float[Tensor, " modes"] | None
    trace: float | None
    trace_rate: float | None
    position: float
    identity: ModeIdentity | None = None
    products: int = 0

    def _card(self) -> Card:
        energy = float(self.error.square().sum())
        share = f"{float(self.coefficients.square().sum()) / energy:.1%}" if energy > 0 else "-"
        known = f", {float(self.eigenvalues.sum()) / self.trace:.1%} of the trace" if self.trace else ""
        rows = [
            ("loss", f"{figure(self.loss)} (factor {figure(self.factor, 3)})"),
            ("eigenvalues", f"{span(_array(self.eigenvalues))} [1 / time]{known}"),
            ("energy in them", f"{share} of ||e||^2 = {figure(energy)}; Rayleigh quotient {figure(self.position, 3)}"),
            (
                "certified",
                f"{int(self.is_converged.sum())} of {len(self.is_converged)} eigenvalues ({self.status.value})",
            ),
            ("largest bound", figure(float(self.eigenvalue_bounds.max()), 2) if len(self.eigenvalue_bounds) else "-"),
            ("operator error", f"{figure(self.operator_error, 2)}: {self.audit}"),
            ("method", self.method),
        ]
        if self.eigenvalue_rates is not None:
            grows = int((self.eigenvalue_rates > 0).sum())
            rows.append(("drift", f"{grows} of {len(self.eigenvalue_rates)} eigenvalues grow along the direction"))
        if self.products:
            rows.append(("products", str(self.products)))
        return Card(f"Snapshot: {len(self.eigenvalues)} modes of {len(self.error)}", rows)

    def to_dataframe(self) -> "pd.DataFrame":
        """One row a mode, largest eigenvalue first; what was not measured has no column."""
        import pandas as pd

        columns = {
            "eigenvalue": self.eigenvalues,
            "eigenvalue_bound": self.eigenvalue_bounds,
            "is_converged": self.is_converged,
            "cluster": self.clusters,
            "coefficient": self.coefficients,
            "residual": self.residuals,
            "angle_bound": self.angle_bounds,
            "eigenvalue_rate": self.eigenvalue_rates,
            "rate_bound": self.rate_bounds,
            "outflow": self.outflow,
        }
        held = {name: _array(value) for name, value in columns.items() if value is not None}
        return pd.DataFrame(held, index=pd.RangeIndex(len(self.eigenvalues), name="mode"))

    def to_dataset(self) -> "xr.Dataset":
        """Modes, eigenvectors, error and, with drift, rates and couplings; units in `attrs`."""
        found = self.to_dataframe().to_xarray()
        for name in ("eigenvalue", "eigenvalue_bound", "residual"):
            found[name].attrs["units"] = "1 / time"
        found["eigenvector"] = (("mode", "row"), _array(self.eigenvectors))
        found["error"] = ("row", _array(self.error))
        if self.couplings is not None:
            found["eigenvalue_rate"].attrs["units"] = "1 / time^2"
            found["coupling"] = (("mode", "mode_from"), _array(self.couplings), {"units": "1 / time"})
        return found.assign_attrs(loss=self.loss, factor=self.factor, method=self.method, status=self.status.value)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the energy of each mode over its eigenvalue; into new axes if none are given."""
        from eigenflow.plots.axes import axes_or_new
        from eigenflow.plots.measured import plot_spectrum

        energies = _array(self.coefficients) ** 2
        is_converged = _array(self.is_converged)
        return plot_spectrum(_array(self.eigenvalues), energies, ax=axes_or_new(ax), is_converged=is_converged)


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
