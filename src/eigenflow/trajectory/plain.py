"""How far the plain operator J J^T has gone, in a record of J P^(-1) J^T.

An optimizer's P moves by itself: after a few updates of Adam most of the distance of J P^(-1) J^T from its start is
that of P, whatever the network does. What features are learned is told by J J^T. It is formed without its modes,
which costs a small part of a measurement.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.store import Variable
from eigenflow.tangent import Probe
from eigenflow.trajectory.update import Update

__all__ = ["PLAIN_ROWS", "PlainOperator"]

# Rows up to which it is recorded: its first matrix is kept in the folder, 12 MB at this size.
PLAIN_ROWS = 1200

SCALARS = {
    "plain_norm": ("1 / time", "Frobenius norm of J J^T, without the preconditioner"),
    "plain_distance": ("1", "||J J^T - its first||_F / ||its first||_F, without the preconditioner"),
    "plain_alignment": ("1", "<J J^T, its first> / (||.||_F ||.||_F), without the preconditioner"),
    "plain_target_alignment": ("1", "y'J J^T y / (||J J^T||_F |y|^2), y the targets as they stand"),
}
KEY = "plain.matrix"


class PlainOperator:
    """Compares J J^T with that of the first measurement of a run."""

    def __init__(self) -> None:
        self.initial: Float[Tensor, "size size"] | None = None

    def measure(self, probe: Probe, update: Update) -> dict[str, Variable]:
        """Its variables at the network before an update; none without a preconditioner, or for a large probe set."""
        if update.preconditioner is None or probe.size > PLAIN_ROWS:
            return {}
        matrix = probe.at(update.before).dense().to(device="cpu", dtype=torch.float64)
        initial = matrix if self.initial is None else self.initial
        self.initial = initial
        norm, first = (float(torch.linalg.matrix_norm(x)) for x in (matrix, initial))
        change, product = float(torch.linalg.matrix_norm(matrix - initial)), float((matrix * initial).sum())
        found = {
            "plain_norm": norm,
            "plain_distance": _ratio(change, first),
            "plain_alignment": _ratio(product, norm * first),
        }
        if probe.loss.is_quadratic:
            target = probe.targets.reshape(-1).to(matrix)
            found["plain_target_alignment"] = _ratio(float(target @ matrix @ target), norm * float(target @ target))
        return {name: Variable((), np.asarray(value), *SCALARS[name]) for name, value in found.items()}

    def origin(self) -> dict[str, Tensor]:
        """What it keeps of the first measurement."""
        return {} if self.initial is None else {KEY: self.initial}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take it from among them."""
        self.initial = tensors[KEY].clone() if KEY in tensors else self.initial


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
