"""What was measured of one state of a network: all that a record of states needs of it, in tensors and numbers.

It can be made in another process than the one that records: it is pickled between processes, and `to_bytes` gives a
safetensors file of it, which is safe to read from strangers.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import FileError
from eigenflow.linalg import SpectralDensity, SpectralMeasure

__all__ = ["HoldoutShares", "StateMeasurement", "StateTail"]

KIND = "eigenflow state 1"


@dataclass(frozen=True)
class StateTail:
    """What lies below the tracked modes.

    Attributes:
        energy: Measure of e there.
        density: Its eigenvalues, or None if there are none.
        complement_bound: Estimated bound of eigenvalues that were not seen.
    """

    energy: SpectralMeasure
    density: SpectralDensity | None
    complement_bound: float


@dataclass(frozen=True)
class HoldoutShares:
    """The test side.

    Attributes:
        loss: Loss on the holdout set.
        shares: Its rate under gradient flow that each mode's error drives.
        whole: The rate that all of the error drives.
    """

    loss: float
    shares: Float[Tensor, " modes"]
    whole: float


@dataclass(frozen=True, repr=False)
class StateMeasurement(AbstractPrinted):
    """The operator M = J J^T of a network at one state, and the error in its eigenbasis. Made by `measure_state`.

    Eigenvalues are in decreasing order, all of M's or the leading ones; vectors are rows over the stacked outputs (of a
    `ShardedProbe`, over those of this process's samples).

    Attributes:
        method: "dense" or "tracked".
        modes: How many of the largest modes are to be stored one by one.
        probe: Checksum of the probe's samples, or None if it was not asked for.
        eigenvalues: lambda, 1 / time.
        eigenvectors: phi.
        residuals: ||M phi - lambda phi||.
        eigenvalue_bounds: The exact eigenvalue lies within this of the computed one.
        angle_bounds: Bound of the angle to the exact eigenvector, or to the subspace of its cluster.
        clusters: Modes of one number cannot be told apart.
        is_converged: Whether the eigenvalue is certified to the tolerance.
        coefficients: g = <phi, e>.
        error: e, all of it.
        energy: ||e||^2.
        loss: Probe loss.
        trace: Tr M.
        trace_error: Its standard error; 0 if it is exact.
        operator_error: Largest relative difference of M as used to plain reverse mode.
        products: Products with M that were made; 0 if it was formed.
        parameters: As from `parameter_vector`.
        parameter_count: How many the network trains.
        tail: What lies below the modes; None for "dense", which has all.
        holdout: The test side, or None without a holdout set.
    """

    method: str
    modes: int
    probe: str | None
    eigenvalues: Float[Tensor, " modes"]
    eigenvectors: Float[Tensor, "modes size"]
    residuals: Float[Tensor, " modes"]
    eigenvalue_bounds: Float[Tensor, " modes"]
    angle_bounds: Float[Tensor, " modes"]
    clusters: Int[Tensor, " modes"]
    is_converged: Bool[Tensor, " modes"]
    coefficients: Float[Tensor, " modes"]
    error: Float[Tensor, " size"]
    energy: float
    loss: float
    trace: float
    trace_error: float
    operator_error: float
    products: int
    parameters: Float[Tensor, " entries"]
    parameter_count: int
    tail: StateTail | None = None
    holdout: HoldoutShares | None = None

    def _card(self) -> Card:
        rows = [
            ("loss", figure(self.loss)),
            ("eigenvalues", f"{span(self.eigenvalues.cpu().numpy())} [1 / time], Tr M = {figure(self.trace)}"),
            ("certified", f"{int(self.is_converged.sum())} of {len(self.is_converged)} eigenvalues"),
            ("operator error", figure(self.operator_error, 2)),
        ]
        if self.holdout is not None:
            rows.append(("holdout loss", figure(self.holdout.loss)))
        if self.products:
            rows.append(("products", str(self.products)))
        return Card(f"State: {len(self.eigenvalues)} modes of {self.error.numel()}, {self.method}", rows)

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        tensors = {name: getattr(self, name).detach().cpu().contiguous() for name in TENSORS}
        numbers: dict[str, Any] = {name: getattr(self, name) for name in NUMBERS}
        if self.tail is not None:
            density = self.tail.density
            measures = [self.tail.energy, *([] if density is None else density.measures)]
            for index, measure in enumerate(measures):
                tensors[f"tail.{index}.diagonal"] = torch.from_numpy(np.array(measure.diagonal))
                tensors[f"tail.{index}.offdiagonal"] = torch.from_numpy(np.array(measure.offdiagonal))
            bound = self.tail.complement_bound
            numbers["tail"] = {
                "masses": [measure.mass for measure in measures],
                "dimension": None if density is None else density.dimension,
                "complement_bound": bound if np.isfinite(bound) else ("inf" if bound > 0 else "-inf"),
            }
        if self.holdout is not None:
            tensors["holdout.shares"] = self.holdout.shares.detach().cpu().contiguous()
            numbers["holdout"] = {"loss": self.holdout.loss, "whole": self.holdout.whole}
        # One entry alone: safetensors writes several in an order that differs between two calls.
        return save(tensors, metadata={KIND: json.dumps(numbers)})

    @classmethod
    def from_bytes(cls, content: bytes) -> "StateMeasurement":
        """What `to_bytes` made.

        Raises:
            FileError: If it is no such file, or damaged.
        """
        try:
            metadata = _metadata(content)
            if KIND not in metadata:
                raise ValueError(f"its header has {', '.join(map(repr, metadata)) or 'nothing'}, not {KIND!r}")
            tensors, numbers = load(content), json.loads(metadata[KIND])
            own: dict[str, Any] = {name: tensors[name] for name in TENSORS}
            own |= {name: numbers[name] for name in NUMBERS}
            holdout = numbers.get("holdout")
            return cls(
                **own,
                tail=_tail(tensors, numbers.get("tail")),
                holdout=None if holdout is None else HoldoutShares(shares=tensors["holdout.shares"], **holdout),
            )
        except (SafetensorError, KeyError, ValueError, TypeError, struct.error) as error:
            raise FileError(
                f"The bytes are no state that was measured by eigenflow, or were damaged ({type(error).__name__}: "
                f"{error}). Measure it again."
            ) from None


TENSORS = (
    "eigenvalues",
    "eigenvectors",
    "residuals",
    "eigenvalue_bounds",
    "angle_bounds",
    "clusters",
    "is_converged",
    "coefficients",
    "error",
    "parameters",
)
NUMBERS = (
    "method",
    "modes",
    "probe",
    "energy",
    "loss",
    "trace",
    "trace_error",
    "operator_error",
    "products",
    "parameter_count",
)


def _metadata(content: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    found = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    return found if isinstance(found, dict) else {}


def _tail(tensors: dict[str, Tensor], told: dict[str, Any] | None) -> StateTail | None:
    if told is None:
        return None
    measures = [
        SpectralMeasure(
            tensors[f"tail.{index}.diagonal"].numpy(), tensors[f"tail.{index}.offdiagonal"].numpy(), float(mass)
        )
        for index, mass in enumerate(told["masses"])
    ]
    dimension = told["dimension"]
    density = None if dimension is None else SpectralDensity(measures[1:], int(dimension))
    return StateTail(measures[0], density, float(told["complement_bound"]))
