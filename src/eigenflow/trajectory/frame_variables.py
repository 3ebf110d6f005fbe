"""What a run folder stores of how the eigenbasis moves between measurements and since the first one.

Overlaps with the frame of the measurement before let a reader carry mode labels in parallel over an interval, and give
the principal angles between shells. `frame_time` and `initial_time` say with whose frames: a measurement that has no
frame before it, the first of a run or one after a state was lost, has `frame_time` equal to its own time. Its
`frame_overlap` is the identity and its `shell_overlap` zero.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.store import Variable
from eigenflow.tangent import Probe
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.frames import Frame, Frames
from eigenflow.trajectory.sums import block_sums
from eigenflow.trajectory.variables import ENERGY, RATE

__all__ = ["DEFAULT_COUPLINGS", "frame_variables"]

# Leading modes whose couplings and overlaps are stored one by one: 2 * 64^2 numbers a measurement.
DEFAULT_COUPLINGS = 64


@torch.no_grad()
def frame_variables(
    probe: Probe | ShardedProbe,
    now: Frame,
    frames: Frames,
    couplings: Float[Tensor, "modes modes"] | None,
    error: Float[Tensor, " size"],
    *,
    leading: int,
    modes: int,
    shells: int,
) -> dict[str, Variable]:
    """Collect the variables of one measurement; frames of fewer modes than M has leave out what needs all of them.

    Args:
        probe: What is measured.
        now: The frame at this measurement.
        frames: Those before it; this one has not been added yet.
        couplings: Omega_uv along the update; None where there is none, as in a record of states.
        error: e, stacked by samples.
        leading: How many of the largest modes get full couplings and overlaps.
        modes: How many of the largest modes are stored one by one.
        shells: Number of shells.
    """
    previous, initial = frames.previous or now, frames.initial or now
    error = error.to(now.vectors)
    space = probe.space
    is_whole = len(now.vectors) == space.size
    before = space.inner(now.vectors, previous.vectors.to(now.vectors))
    since = before if initial is previous else space.inner(now.vectors, initial.vectors.to(now.vectors))
    nothing = torch.zeros(shells, shells, dtype=torch.float64)
    moved = nothing if frames.previous is None else _shell_overlap(space.size, before, now, previous, shells)
    turned = nothing if frames.initial is None else _shell_overlap(space.size, since, now, initial, shells)
    variables = _scalars({"frame_time": previous.time, "initial_time": initial.time})
    pair, shell_pair, mode = ("leading", "leading_from"), ("shell", "shell_from"), ("mode",)
    values: dict[str, tuple[tuple[str, ...], Tensor, str, str, bool]] = {
        "frame_overlap": (pair, before[:leading, :leading], "1", "<phi_u, phi_v of the measurement before>", True),
        "shell_overlap": (shell_pair, moved, "1", "||P_a P_b||_F^2, P_b of the measurement before", False),
        "shell_overlap_initial": (shell_pair, turned, "1", "||P_a P_b||_F^2, P_b of the first measurement", False),
        "initial_coefficient": (
            mode,
            space.inner(initial.vectors[:modes].to(error), error[None])[:, 0],
            "loss^(1/2)",
            "<phi_u of the first measurement, e>",
            True,
        ),
        "sample_energy": (
            mode,
            _sample_energy(probe, now.vectors[:modes], error),
            ENERGY,
            "n sum_i (sum_c phi_u,ic e_ic)^2 over samples i and outputs c (S1)",
            True,
        ),
    }
    if couplings is not None:
        kept = couplings[:leading, :leading]
        values = {"coupling": (pair, kept, RATE, "Omega_uv along the update; 0 inside clusters", True)} | values
    if is_whole:
        squares = since.square()
        variables |= _scalars(_since_start(now, initial, squares) | _alignment(probe, now))
        rayleigh = (now.eigenvalues @ squares)[:modes]
        values["initial_rayleigh"] = (mode, rayleigh, RATE, "phi_u'M phi_u, phi_u of the first measurement", True)
    for name, (dims, tensor, units, meaning, is_label_dependent) in values.items():
        variables[name] = Variable(dims, tensor.cpu().numpy().copy(), units, meaning, is_label_dependent)
    return variables


SCALARS = {
    "frame_time": ("time", "time of the measurement before; its own where there is none"),
    "initial_time": ("time", "time of the first measurement"),
    "initial_distance": ("1", "||M - M0||_F / ||M0||_F, M0 of the first measurement"),
    "initial_alignment": ("1", "<M, M0> / (||M||_F ||M0||_F), M0 of the first measurement"),
    "target_alignment": ("1", "y'M y / (||M||_F |y|^2), y the targets as they stand"),
}


def _scalars(values: Mapping[str, float]) -> dict[str, Variable]:
    return {name: Variable((), np.asarray(float(value)), *SCALARS[name]) for name, value in values.items()}


def _sample_energy(probe: Probe | ShardedProbe, vectors: Tensor, error: Tensor) -> Tensor:
    """Each sample's share of g_u, squared: what a batch's noise is made of."""
    outputs = probe.space.size // probe.samples
    shares = (vectors * error).reshape(len(vectors), -1, outputs).sum(2)
    return probe.samples * probe.space.sum(shares.square().sum(1))


def _since_start(now: Frame, initial: Frame, squares: Float[Tensor, "now initial"]) -> dict[str, float]:
    """How far M has come, from the squared overlaps of all modes."""
    first, last = initial.eigenvalues, now.eigenvalues
    norm, first_norm = float(torch.linalg.vector_norm(last)), float(torch.linalg.vector_norm(first))
    # <phi, (M - M0) phi0> = (lambda - lambda0) <phi, phi0>: no cancellation between nearly equal operators.
    change = float((squares * (last[:, None] - first[None, :]).square()).sum().sqrt())
    product = float(last @ squares @ first)
    return {
        "initial_distance": _ratio(change, first_norm),
        "initial_alignment": _ratio(product, norm * first_norm),
    }


def _alignment(probe: Probe | ShardedProbe, now: Frame) -> dict[str, float]:
    """How much of M acts along the targets. Other losses than squared ones have none in the space of e."""
    if not probe.loss.is_quadratic:
        return {}
    target = probe.targets.reshape(1, -1).to(now.vectors)
    along = float(now.eigenvalues @ probe.space.inner(now.vectors, target)[:, 0].square())
    square = float(probe.space.inner(target, target))
    return {"target_alignment": _ratio(along, float(torch.linalg.vector_norm(now.eigenvalues)) * square)}


def _shell_overlap(size: int, overlap: Tensor, now: Frame, then: Frame, shells: int) -> Float[Tensor, "shells shells"]:
    """||P_a P_b||_F^2; what no vector of a frame holds belongs to its shell 0, as the ranks of the others require."""
    matrix = block_sums(overlap.cpu().square(), now.shells, then.shells, shells)
    if len(now.vectors) == len(then.vectors) == size:
        return matrix
    ranks_now, ranks_then = (torch.bincount(frame.shells, minlength=shells).to(matrix) for frame in (now, then))
    matrix[0, :], matrix[:, 0] = 0.0, 0.0
    matrix[0, 1:] = (ranks_then - matrix.sum(0))[1:].clamp(min=0.0)
    matrix[1:, 0] = (ranks_now - matrix[:, 1:].sum(1))[1:].clamp(min=0.0)
    matrix[0, 0] = size - matrix.sum()
    return matrix


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
