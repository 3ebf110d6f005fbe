"""The two ways to measure an update for a run folder: all modes of a dense M, or k tracked modes and a tail."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_edges, shell_index
from eigenflow.linalg import ModeTracker
from eigenflow.store import Variable
from eigenflow.tangent import Probe
from eigenflow.trajectory.holdout_variables import holdout_variables
from eigenflow.trajectory.step import State, measure_step
from eigenflow.trajectory.tracked import TailSettings, measure_tracked_step
from eigenflow.trajectory.tracked_variables import cut_index, shells_of, tracked_variables
from eigenflow.trajectory.variables import step_variables

__all__ = ["DENSE_ROWS", "AbstractMethod", "DenseMethod", "MethodName", "TrackedMethod", "make_method"]

MethodName = Literal["auto", "dense", "tracked"]

# Up to here all eigenpairs of a dense M cost less than tracking some; for the pairs alone it is about 10^4 rows.
DENSE_ROWS = 4000

Edges = Float[np.ndarray, " edges"]


class AbstractMethod(ABC):
    """Measures one update and says what a run folder stores of it."""

    name: str
    modes: int

    @abstractmethod
    def variables(
        self, probe: Probe, before: State, after: State, step_size: float, *, edges: Edges | None, time: float
    ) -> tuple[dict[str, Variable], Edges]:
        """Measure, and collect the variables; `edges` None lays the shells by the largest eigenvalue."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the header of a run says about it."""

    def state(self) -> dict[str, Tensor]:
        """What it carries from one measurement to the next, as tensors by name."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        del state


class DenseMethod(AbstractMethod):
    """All modes of the dense operator; `modes` of them are stored one by one."""

    name = "dense"

    def __init__(self, modes: int):
        self.modes = modes

    def variables(
        self, probe: Probe, before: State, after: State, step_size: float, *, edges: Edges | None, time: float
    ) -> tuple[dict[str, Variable], Edges]:
        """As in `AbstractMethod`."""
        one = measure_step(probe, before, after, step_size)
        values = one.before.eigenvalues.numpy()
        edges = shell_edges(float(values[0])) if edges is None else edges
        variables = step_variables(one, edges, time=time, modes=self.modes)
        shells = torch.from_numpy(shell_index(values, edges))
        test_side = holdout_variables(
            probe, before, after, step_size, vectors=one.before.eigenvectors, shells=shells, count=len(edges) + 1
        )
        return {**variables, **test_side}, edges

    def describe(self) -> dict[str, Any]:
        """As in `AbstractMethod`."""
        return {"method": self.name, "modes": self.modes}


class TrackedMethod(AbstractMethod):
    """The largest `modes` pairs, tracked over the run, and the tail below them by Lanczos quadrature.

    Args:
        modes: How many.
        tail: How closely to look below them.
        tolerance: Relative accuracy of the eigenvalues, as certified.
        product_dtype: Type of the products with M; None takes the probe's.
    """

    name = "tracked"

    def __init__(self, modes: int, tail: TailSettings, tolerance: float, product_dtype: torch.dtype | None):
        self.modes, self.tail, self.tolerance, self.product_dtype = modes, tail, tolerance, product_dtype
        self.tracker = ModeTracker(modes, tolerance=tolerance)

    def variables(
        self, probe: Probe, before: State, after: State, step_size: float, *, edges: Edges | None, time: float
    ) -> tuple[dict[str, Variable], Edges]:
        """As in `AbstractMethod`."""
        one = measure_tracked_step(
            probe, self.tracker, before, after, step_size, tail=self.tail, product_dtype=self.product_dtype
        )
        pairs = one.before.pairs
        edges = shell_edges(float(pairs.eigenvalues[0])) if edges is None else edges
        variables = tracked_variables(one, edges, time=time, nodes=self.tail.steps)
        shells = shells_of(pairs.eigenvalues, edges, cut_index(one, edges))
        test_side = holdout_variables(
            probe, before, after, step_size, vectors=pairs.eigenvectors, shells=shells, count=len(edges) + 1
        )
        return {**variables, **test_side}, edges

    def describe(self) -> dict[str, Any]:
        """As in `AbstractMethod`."""
        dtype = None if self.product_dtype is None else str(self.product_dtype)
        tail = asdict(self.tail)
        return {
            "method": self.name,
            "modes": self.modes,
            "tail": tail,
            "tolerance": self.tolerance,
            "product_dtype": dtype,
        }

    def state(self) -> dict[str, Tensor]:
        """As in `AbstractMethod`."""
        return self.tracker.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """As in `AbstractMethod`."""
        self.tracker.load_state(state)


def make_method(
    name: MethodName,
    probe: Probe,
    modes: int | None,
    *,
    tail: TailSettings | None = None,
    tolerance: float = 1e-5,
    product_dtype: torch.dtype | None = None,
) -> AbstractMethod:
    """Choose how to measure.

    Args:
        name: "dense", "tracked", or "auto": tracked if `modes` is given and M has more than 4000 rows.
        probe: What is measured.
        modes: How many of the largest modes; None: all.
        tail: For "tracked".
        tolerance: For "tracked".
        product_dtype: For "tracked".

    Raises:
        ArgumentError: For an unknown name, `modes` out of range, or "tracked" without `modes`.
    """
    if modes is not None and not 1 <= modes <= probe.size:
        raise ArgumentError(f"`modes` must lie in [1, {probe.size}] (samples * outputs), but is {modes}.")
    if name not in ("auto", "dense", "tracked"):
        raise ArgumentError(f"`method` must be 'auto', 'dense' or 'tracked', but is {name!r}.")
    if name == "auto":
        name = "tracked" if modes is not None and probe.size > DENSE_ROWS else "dense"
    if name == "dense":
        return DenseMethod(probe.size if modes is None else modes)
    if modes is None:
        raise ArgumentError(
            f"method='tracked' needs `modes`, how many of the {probe.size} modes to track, for example modes=64."
        )
    return TrackedMethod(modes, tail or TailSettings(), tolerance, product_dtype)
