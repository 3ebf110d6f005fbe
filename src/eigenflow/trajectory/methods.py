"""The two ways to measure an update for a run folder: all modes of a dense M, or k tracked modes and a tail."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_edges, shell_index
from eigenflow.linalg import ModeTracker
from eigenflow.store import Variable
from eigenflow.tangent import Probe, TangentPoint
from eigenflow.tangent.checks import modes_there_are
from eigenflow.tangent.cost import require_memory
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.frame_variables import DEFAULT_COUPLINGS, frame_variables
from eigenflow.trajectory.frames import Frame, Frames
from eigenflow.trajectory.holdout_variables import holdout_variables
from eigenflow.trajectory.lengths import UpdateLength
from eigenflow.trajectory.plain import PlainOperator
from eigenflow.trajectory.step import measure_step
from eigenflow.trajectory.tracked import (
    TailSettings,
    measure_tracked_step,
    mode_couplings,
)
from eigenflow.trajectory.tracked_variables import cut_index, shells_of, tracked_variables
from eigenflow.trajectory.update import Update
from eigenflow.trajectory.variables import step_variables, update_variables

__all__ = ["DENSE_ROWS", "AbstractMethod", "DenseMethod", "MethodName", "TrackedMethod", "make_method", "point_like"]

MethodName = Literal["auto", "dense", "tracked"]

# Up to here all eigenpairs of a dense M cost less than tracking some; for the pairs alone it is about 10^4 rows.
DENSE_ROWS = 4000
# A measured update holds those of both its ends at once.
SNAPSHOTS = 2

Edges = Float[np.ndarray, " edges"]


class AbstractMethod(ABC):
    """Measures one update and says what a run folder stores of it."""

    name: str
    modes: int
    couplings: int
    frames: Frames

    @abstractmethod
    def variables(
        self, probe: Probe | ShardedProbe, update: Update, *, edges: Edges | None
    ) -> tuple[dict[str, Variable], Edges]:
        """Measure, and collect the variables; `edges` None lays the shells by the largest eigenvalue."""

    @abstractmethod
    def require_possible(self, probe: Probe | ShardedProbe, *, is_preconditioned: bool) -> None:
        """Refuse, before a run begins, what its first measurement would refuse."""

    @abstractmethod
    def require_possible_state(self, probe: Probe | ShardedProbe) -> None:
        """Refuse, before a record of states begins, what the measurement of one would refuse."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the header of a run says about it."""

    def copy(self) -> "AbstractMethod":
        """The same as it is now, to go back to if a measurement fails halfway."""
        twin = copy.copy(self)
        twin.frames = copy.copy(self.frames)
        return twin

    def _frame_variables(
        self, probe: Probe | ShardedProbe, frame: Frame, couplings: Tensor, error: Tensor, *, shells: int
    ) -> dict[str, Variable]:
        """Compare with the frames before, and go on to this one."""
        variables = frame_variables(
            probe, frame, self.frames, couplings, error, leading=self.couplings, modes=self.modes, shells=shells
        )
        self.frames.advance(frame)
        return variables

    def state(self) -> dict[str, Tensor]:
        """What it carries from one measurement to the next, as tensors by name."""
        return self.frames.state()

    def origin(self) -> dict[str, Tensor]:
        """What it keeps of its first measurement."""
        return self.frames.origin()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` or `origin` returned."""
        self.frames.load(state)


class DenseMethod(AbstractMethod):
    """All modes of the dense operator; `modes` of them are stored one by one, `couplings` with their couplings."""

    name = "dense"

    def __init__(self, modes: int, couplings: int):
        self.modes, self.couplings, self.frames = modes, couplings, Frames()
        self.plain = PlainOperator()

    def variables(
        self, probe: Probe | ShardedProbe, update: Update, *, edges: Edges | None
    ) -> tuple[dict[str, Variable], Edges]:
        """As in `AbstractMethod`."""
        assert isinstance(probe, Probe)
        told = {"preconditioner": update.preconditioner, "batch_size": update.batch_size}
        one = measure_step(probe, update.before, update.after, update.step_size, **told)
        values = one.before.eigenvalues.numpy()
        edges = shell_edges(float(values[0])) if edges is None else edges
        variables = step_variables(one, edges, time=update.time, modes=self.modes)
        shells = torch.from_numpy(shell_index(values, edges))
        test_side = holdout_variables(
            probe, update, vectors=one.before.eigenvectors, shells=shells, count=len(edges) + 1
        )
        assert one.before.couplings is not None
        frame = Frame(update.time, one.before.eigenvalues, one.before.eigenvectors, shells)
        moved = self._frame_variables(probe, frame, one.before.couplings, one.before.error, shells=len(edges) + 1)
        plain = self.plain.measure(probe, update)
        return {**variables, **_lengths(one.length, update), **test_side, **moved, **plain}, edges

    def copy(self) -> "DenseMethod":
        """As in `AbstractMethod`."""
        twin = cast("DenseMethod", super().copy())
        twin.plain = copy.copy(self.plain)
        return twin

    def origin(self) -> dict[str, Tensor]:
        """As in `AbstractMethod`."""
        return {**super().origin(), **self.plain.origin()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """As in `AbstractMethod`."""
        super().load_state(state)
        self.plain.load(state)

    def require_possible(self, probe: Probe | ShardedProbe, *, is_preconditioned: bool) -> None:
        """As in `AbstractMethod`. Two snapshots, before and after an update, are held at once."""
        assert isinstance(probe, Probe)
        cost = probe.cost(drift=True)
        both = replace(cost, peak_bytes=SNAPSHOTS * cost.peak_bytes)
        require_memory(both, probe.size, probe.memory_budget)
        point = point_like(probe, is_preconditioned)
        point.dense_plan(drift=True)
        _try_product(point)

    def require_possible_state(self, probe: Probe | ShardedProbe) -> None:
        """As in `AbstractMethod`. One snapshot without drift; a network that has diverged may be followed by others."""
        assert isinstance(probe, Probe)
        require_memory(probe.cost(drift=False), probe.size, probe.memory_budget)
        probe.at().dense_plan(drift=False)

    def describe(self) -> dict[str, Any]:
        """As in `AbstractMethod`."""
        return {"method": self.name, "modes": self.modes, "couplings": self.couplings}


class TrackedMethod(AbstractMethod):
    """The largest `modes` pairs, tracked over the run, and the tail below them by Lanczos quadrature.

    Args:
        modes: How many.
        tail: How closely to look below them.
        tolerance: Relative accuracy of the eigenvalues, as certified.
        product_dtype: Type of the products with M; None takes the probe's.
        couplings: How many of the modes are stored with their couplings.
    """

    name = "tracked"

    def __init__(
        self, modes: int, tail: TailSettings, tolerance: float, product_dtype: torch.dtype | None, couplings: int
    ):
        self.modes, self.tail, self.tolerance, self.product_dtype = modes, tail, tolerance, product_dtype
        self.couplings, self.frames = couplings, Frames()
        self.tracker = ModeTracker(modes, tolerance=tolerance)

    def variables(
        self, probe: Probe | ShardedProbe, update: Update, *, edges: Edges | None
    ) -> tuple[dict[str, Variable], Edges]:
        """As in `AbstractMethod`."""
        one = measure_tracked_step(
            probe,
            self.tracker,
            update.before,
            update.after,
            update.step_size,
            tail=self.tail,
            product_dtype=self.product_dtype,
            preconditioner=update.preconditioner,
        )
        pairs = one.before.pairs
        edges = shell_edges(float(pairs.eigenvalues[0])) if edges is None else edges
        variables = tracked_variables(one, edges, time=update.time, nodes=self.tail.steps)
        shells = shells_of(pairs.eigenvalues, edges, cut_index(one, edges))
        test_side = holdout_variables(probe, update, vectors=pairs.eigenvectors, shells=shells, count=len(edges) + 1)
        frame = Frame(update.time, pairs.eigenvalues, pairs.eigenvectors, shells)
        couplings = mode_couplings(one.rate_matrix, pairs.eigenvalues, pairs.clusters)
        moved = self._frame_variables(probe, frame, couplings, probe.at(update.before).error, shells=len(edges) + 1)
        return {**variables, **_lengths(one.length, update), **test_side, **moved}, edges

    def require_possible(self, probe: Probe | ShardedProbe, *, is_preconditioned: bool) -> None:
        """As in `AbstractMethod`."""
        if isinstance(probe, Probe):
            _try_product(point_like(probe, is_preconditioned))

    def require_possible_state(self, probe: Probe | ShardedProbe) -> None:
        """As in `AbstractMethod`: the settings were checked, and products hold little."""

    def copy(self) -> "TrackedMethod":
        """As in `AbstractMethod`; an update of the tracker replaces its state as a whole."""
        twin = cast("TrackedMethod", super().copy())
        twin.tracker = copy.copy(self.tracker)
        return twin

    def describe(self) -> dict[str, Any]:
        """As in `AbstractMethod`."""
        dtype = None if self.product_dtype is None else str(self.product_dtype)
        tail = asdict(self.tail)
        return {
            "method": self.name,
            "modes": self.modes,
            "couplings": self.couplings,
            "tail": tail,
            "tolerance": self.tolerance,
            "product_dtype": dtype,
        }

    def state(self) -> dict[str, Tensor]:
        """As in `AbstractMethod`."""
        return {**self.tracker.state(), **super().state()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """As in `AbstractMethod`."""
        super().load_state(state)
        own = {key: tensor for key, tensor in state.items() if "." not in key}
        if own:
            self.tracker.load_state(own)


def _lengths(length: UpdateLength, update: Update) -> dict[str, Variable]:
    return update_variables(length, update.updates, direction_is_known=update.follows_gradient)


def point_like(probe: Probe, is_preconditioned: bool, *, is_uniform: bool = False) -> TangentPoint:
    """The network as it is now, and a P^(-1) that costs what that of training will: uniform, or each entry its own."""
    state = probe.state()
    if not is_preconditioned:
        return probe.at(state)
    ones = {name: torch.ones_like(p) for name, p in state[0].items()}
    if not is_uniform:
        ones = {name: 1.0 + torch.arange(p.numel()).to(p).reshape(p.shape) / p.numel() for name, p in ones.items()}
    return probe.at(state, preconditioner=ones)


def _try_product(point: TangentPoint) -> None:
    """One product with M, which every measurement is held against."""
    point.product(point.error[None])


def make_method(
    name: MethodName,
    probe: Probe | ShardedProbe,
    modes: int | None,
    *,
    tail: TailSettings | None = None,
    tolerance: float = 1e-5,
    product_dtype: torch.dtype | None = None,
    couplings: int | None = None,
) -> AbstractMethod:
    """Choose how to measure.

    Args:
        name: "dense", "tracked", or "auto": tracked if `modes` is given and M has more than 4000 rows, or its rows are
            spread over processes.
        probe: What is measured.
        modes: How many of the largest modes; None: all. Where M has fewer, all are taken, with a warning.
        tail: For "tracked".
        tolerance: For "tracked".
        product_dtype: For "tracked".
        couplings: How many of the modes are stored with all of their couplings; None: 64, or all if they are fewer.

    Raises:
        ArgumentError: For an unknown name, an option of the wrong kind, `modes` or `couplings` out of range, "tracked"
            without `modes`, or "dense" for a `ShardedProbe`.
    """
    _require_types(modes=modes, couplings=couplings, tail=tail, product_dtype=product_dtype)
    modes = None if modes is None else modes_there_are(modes, probe.size)
    if name not in ("auto", "dense", "tracked"):
        raise ArgumentError(f"`method` must be 'auto', 'dense' or 'tracked', but is {name!r}.")
    stored = probe.size if modes is None else modes
    couplings = min(DEFAULT_COUPLINGS, stored) if couplings is None else couplings
    if not 1 <= couplings <= stored:
        raise ArgumentError(
            f"`couplings` must lie in [1, {stored}], the modes that are stored one by one, but is {couplings}."
        )
    is_spread = isinstance(probe, ShardedProbe)
    if name == "auto":
        name = "tracked" if is_spread or (modes is not None and probe.size > DENSE_ROWS) else "dense"
    if is_spread and name == "dense":
        raise ArgumentError(
            "`method` must be 'tracked' or 'auto' for a ShardedProbe, but is 'dense': M is formed in one process only. "
            "Give `modes`, how many to track, or use Probe."
        )
    if name == "dense":
        return DenseMethod(stored, couplings)
    if modes is None:
        raise ArgumentError(
            f"method='tracked' needs `modes`, how many of the {probe.size} modes to track, for example modes=64."
        )
    return TrackedMethod(modes, tail or TailSettings(), tolerance, product_dtype, couplings)


def _require_types(*, modes: Any, couplings: Any, tail: Any, product_dtype: Any) -> None:
    """Refuse here what would fail in the middle of the first measurement."""
    for name, value in (("modes", modes), ("couplings", couplings)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
            raise ArgumentError(f"`{name}` must be a whole number or None, but is {value!r}.")
    if not (tail is None or isinstance(tail, TailSettings)):
        raise ArgumentError(f"`tail` must be a TailSettings or None, but is {tail!r}. Use TailSettings(steps=40).")
    is_float = isinstance(product_dtype, torch.dtype) and product_dtype.is_floating_point
    if product_dtype is not None and not is_float:
        raise ArgumentError(
            f"`product_dtype` must be a floating-point type such as torch.float32, or None, but is {product_dtype!r}."
        )
