"""An operator and its motion, known exactly: modes, their rates, couplings, and the energy that rotation carries.

Everything of equations/identities.md#eq-t1 to T8 follows from M, Mdot and e.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from eigenflow.core.display import FieldsPrinted

__all__ = ["TurningOperator"]

# Eigenvalues closer than this share of the largest are one cluster: their couplings have no meaning.
TIE = 1e-9


@dataclass(frozen=True, repr=False)
class TurningOperator(FieldsPrinted):
    """M, Mdot and e at one instant.

    Attributes:
        operator: M, symmetric.
        rate: Mdot.
        error: e.
        eigenvalues: lambda_u, decreasing.
        eigenvectors: phi_u, a row each; inside a cluster those that make Mdot diagonal.
        coefficients: g_u = <phi_u, e>.
    """

    operator: Float[np.ndarray, "size size"]
    rate: Float[np.ndarray, "size size"]
    error: Float[np.ndarray, " size"]
    eigenvalues: Float[np.ndarray, " size"] = field(init=False)
    eigenvectors: Float[np.ndarray, "size size"] = field(init=False)
    coefficients: Float[np.ndarray, " size"] = field(init=False)

    def __post_init__(self) -> None:
        values, vectors = np.linalg.eigh(self.operator)
        values, vectors = values[::-1], vectors.T[::-1].copy()
        for cluster in self._clusters(values):
            inside = vectors[cluster] @ self.rate @ vectors[cluster].T
            vectors[cluster] = np.linalg.eigh(inside)[1].T[::-1] @ vectors[cluster]
        for name, array in (("eigenvalues", values), ("eigenvectors", vectors), ("coefficients", vectors @ self.error)):
            object.__setattr__(self, name, array)

    @staticmethod
    def _clusters(values: np.ndarray) -> list[np.ndarray]:
        breaks = np.flatnonzero(-np.diff(values) > TIE * np.abs(values).max(initial=0.0)) + 1
        return np.split(np.arange(len(values)), breaks)

    @property
    def rate_matrix(self) -> Float[np.ndarray, "size size"]:
        """<phi_u, Mdot phi_v>; the rates of eigenvalues on its diagonal."""
        return self.eigenvectors @ self.rate @ self.eigenvectors.T

    @property
    def eigenvalue_rates(self) -> Float[np.ndarray, " size"]:
        """d lambda_u / dt."""
        return np.diag(self.rate_matrix).copy()

    @property
    def couplings(self) -> Float[np.ndarray, "size size"]:
        """Omega_uv = <phi_v, Mdot phi_u> / (lambda_u - lambda_v); 0 inside a cluster."""
        gaps = self.eigenvalues[:, None] - self.eigenvalues
        apart = np.ones_like(gaps, dtype=bool)
        for cluster in self._clusters(self.eigenvalues):
            apart[np.ix_(cluster, cluster)] = False
        return np.where(apart, self.rate_matrix / np.where(apart, gaps, 1.0), 0.0)

    def rotation_flux(self, levels: Float[np.ndarray, " level"]) -> Float[np.ndarray, " level"]:
        """Energy a unit of time that rotation carries from modes at or above each level to those below.

        Phi_rot = 2 sum of g_u Omega_uv g_v over lambda_u < level <= lambda_v; it does not depend on signs of modes.

        Args:
            levels: Of lambda.
        """
        carried = 2.0 * self.coefficients[:, None] * self.couplings * self.coefficients
        below = self.eigenvalues < np.asarray(levels)[:, None]
        return np.einsum("lu,uv,lv->l", below, carried, ~below)
