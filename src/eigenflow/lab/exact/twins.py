"""Networks that are controls of the claims: what `theory.controls` has in numpy, as modules that a recorder measures.

Each output belongs to one sample and one mode, so M is diagonal and nothing turns. A `FrozenTwin` is linear in its
parameters: the operator stands still, the control "at rest". An `AlignedTwin` is a two-layer linear network whose
layers are aligned and balanced: lambda = 2 a with a' = 2 a (s - a), the control "aligned linear network"
(equations/known_cases.md#aligned-networks). Both are trained with the loss "half_sum".
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eigenflow.core.errors import ArgumentError

__all__ = ["AlignedTwin", "FrozenTwin"]


@dataclass(frozen=True)
class FrozenTwin:
    """Outputs sqrt(lambda_k) theta_k, from theta = 0.

    Attributes:
        eigenvalues: lambda_k, positive, 1 / time.
        coefficients: e_k at the start.
    """

    eigenvalues: Float[np.ndarray, " mode"]
    coefficients: Float[np.ndarray, " mode"]

    def __post_init__(self) -> None:
        _check("eigenvalues", self.eigenvalues)
        if np.shape(self.coefficients) != np.shape(self.eigenvalues):
            raise ArgumentError(
                f"`coefficients` must be one for each of the {len(self.eigenvalues)} eigenvalues, but have shape "
                f"{np.shape(self.coefficients)}. Pass as many."
            )

    def network(self) -> tuple[nn.Module, Tensor, Tensor]:
        """The module, its inputs and its targets, in double precision."""
        inputs = torch.diag(torch.from_numpy(np.sqrt(self.eigenvalues)))
        model = nn.Linear(len(self.eigenvalues), 1, bias=False, dtype=torch.float64)
        nn.init.zeros_(model.weight)
        return model, inputs, -torch.from_numpy(np.asarray(self.coefficients, dtype=np.float64))[:, None]


@dataclass(frozen=True)
class AlignedTwin:
    """Outputs u_k v_k with u_k = v_k = sqrt(a_k) at the start.

    Attributes:
        strengths: s_k, what each mode learns, positive.
        start: a_k at the start, positive.
    """

    strengths: Float[np.ndarray, " mode"]
    start: Float[np.ndarray, " mode"]

    def __post_init__(self) -> None:
        _check("strengths", self.strengths)
        _check("start", self.start)
        if np.shape(self.start) != np.shape(self.strengths):
            raise ArgumentError(
                f"`start` must be one for each of the {len(self.strengths)} strengths, but has shape "
                f"{np.shape(self.start)}. Pass as many."
            )

    def network(self) -> tuple[nn.Module, Tensor, Tensor]:
        """The module, its inputs and its targets, in double precision."""
        inputs = torch.eye(len(self.strengths), dtype=torch.float64)
        targets = torch.from_numpy(np.asarray(self.strengths, dtype=np.float64))[:, None]
        return _TwoLayers(torch.from_numpy(np.sqrt(self.start))), inputs, targets


class _TwoLayers(nn.Module):
    """x (u v): two diagonal layers of one size."""

    def __init__(self, start: Tensor):
        super().__init__()
        self.first, self.second = nn.Parameter(start.clone()), nn.Parameter(start.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        return ((inputs * self.first) * self.second).sum(1, keepdim=True)


def _check(name: str, values: np.ndarray) -> None:
    array = np.asarray(values)
    if array.ndim != 1 or len(array) == 0 or not (np.isfinite(array).all() and (array > 0).all()):
        raise ArgumentError(f"`{name}` must be a row of positive numbers, but is {values!r}. Pass one for each mode.")
