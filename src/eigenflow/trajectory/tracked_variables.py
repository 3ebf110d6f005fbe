"""What a run folder stores of an update that was measured through k tracked modes and a tail.

Shells above the cut hold all of their modes, one by one; shell 0 holds everything below the cut as a whole, so every
sum over shells is exact. The cut is the lowest stored edge above the last tracked mode, before and after the update.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.core.grid import shell_floors, shell_index
from eigenflow.linalg import SpectralDensity, SpectralMeasure
from eigenflow.store import Variable
from eigenflow.trajectory.sums import block_sums
from eigenflow.trajectory.tracked import Parts, TrackedStep
from eigenflow.trajectory.variables import ENERGY, RATE, SHELLS, scalar_variables

__all__ = ["cut_above", "cut_index", "shells_of", "tail_variables", "tracked_variables", "unseen_bound"]


def tracked_variables(
    one: TrackedStep, edges: Float[np.ndarray, " edges"], *, time: float, nodes: int
) -> dict[str, Variable]:
    """Collect the stored variables of one tracked step.

    Args:
        one: The measured step.
        edges: Shell edges of the run.
        time: Sum of learning rates before the update.
        nodes: Length to which the quadrature of the tail's energy is padded.
    """
    cut = cut_index(one, edges)
    variables = _scalars(one, float(edges[cut]), time)
    variables.update(_modes(one))
    old, new, settled = (
        shells_of(pairs.pairs.eigenvalues, edges, cut) for pairs in (one.before, one.after, one.settled)
    )
    sums = _sums(one, old, new, settled, len(edges) + 1)
    for key, (name, units, meaning, is_label_dependent) in SHELLS.items():
        if key in sums:
            variables[name] = Variable(("shell",), sums[key].numpy(), units, meaning, is_label_dependent)
    matrix = _transfer(one, old, new, len(edges) + 1)
    meaning = "energy carried from shell_from to shell, l'P'_a P_b l"
    variables["transfer_matrix"] = Variable(("shell", "shell_from"), matrix.numpy(), ENERGY, meaning)
    squares = one.error_old.components.cpu() ** 2
    below = (one.tail_energy, one.tail_density)
    variables.update(tail_variables(one.before.pairs.eigenvalues, squares, *below, edges, cut, nodes))
    return variables


def cut_index(one: TrackedStep, edges: np.ndarray) -> int:
    """Index of the lowest edge above which every mode is tracked, before and after, at either buffers."""
    return cut_above(max(float(pairs.pairs.eigenvalues[-1]) for pairs in (one.before, one.after, one.settled)), edges)


def cut_above(lowest: float, edges: np.ndarray) -> int:
    """Index of the lowest edge above the lowest tracked eigenvalue."""
    return min(int(np.searchsorted(shell_floors(edges), lowest, side="left")), len(edges) - 1)


def shells_of(eigenvalues: Tensor, edges: np.ndarray, cut: int) -> Int[Tensor, " modes"]:
    """Shells of the tracked modes; those below the cut belong to shell 0 with the rest of the tail."""
    index = shell_index(eigenvalues.cpu().numpy(), edges)
    return torch.from_numpy(np.where(index <= cut, 0, index))


def _sums(one: TrackedStep, old: Tensor, new: Tensor, settled: Tensor, shells: int) -> dict[str, Tensor]:
    def total(index: Tensor, values: Tensor, whole: float | None = None) -> Tensor:
        """Sums over resolved shells; shell 0 gets what is left of the whole."""
        sums = torch.zeros(shells, dtype=torch.float64).index_add_(0, index, values.cpu().to(torch.float64))
        if whole is not None:
            sums[0] = 0.0
            sums[0] = whole - sums.sum()
        return sums

    def energy(index: Tensor, parts: Parts) -> Tensor:
        return total(index, parts.components**2, parts.square)

    values = one.before.pairs.eigenvalues.cpu()
    e, h0, h = (energy(old, parts) for parts in (one.error_old, one.gradient_old, one.frozen_old))
    linear, linear_new, e_new = energy(old, one.linear_old), energy(new, one.linear_new), energy(new, one.after_new)
    kept, e_settled = (energy(settled, parts) for parts in (one.carried_settled, one.after_settled))
    size = float(one.before.pairs.eigenvalues.numel() + (one.tail_density.dimension if one.tail_density else 0))
    is_same_shell = (old[:, None] == old[None, :]) & (old[:, None] > 0)
    g, rates = one.error_old.components.cpu(), one.rate_matrix.cpu()
    moved = g * ((rates * is_same_shell) @ g)
    carried = _carried(one, old)
    sums = {
        "energy": e,
        "energy_after": e_settled,
        "dissipation": e - h0,
        "optimizer": h - h0,
        "curvature": linear - h,
        "transfer": linear_new - linear,
        "remainder": e_new - linear_new,
        "buffers": e_settled - e_new,
        "buffers_transfer": kept - e_new,
        "transfer_drift": total(new, carried, one.linear_old.square) - linear,
        "transfer_rotation": linear_new - total(new, carried, one.linear_old.square),
        "mode_count": total(old, torch.ones_like(values), size),
        "eigenvalue_sum": total(old, values, one.trace[0]).clamp(min=0.0),
        "energy_rate": total(old, moved),
    }
    sums["rate_sum"] = total(old, rates.diagonal(), one.trace_rate)
    if one.trace_rate is None:
        sums["rate_sum"][0] = 0.0
    return sums


def _carried(one: TrackedStep, old: Tensor) -> Tensor:
    """Old energies under the labels of their successors."""
    squares = one.linear_old.components.cpu() ** 2
    return torch.zeros_like(squares).index_copy_(0, one.successor.cpu(), squares)


def _transfer(one: TrackedStep, old: Tensor, new: Tensor, shells: int) -> Float[Tensor, "shells shells"]:
    """l'P'_a P_b l; the row and the column of shell 0 are what the exact margins leave."""
    h_old, h_new = one.linear_old.components.cpu(), one.linear_new.components.cpu()
    moved = h_new[:, None] * one.overlap.cpu() * h_old[None, :]
    matrix = block_sums(moved, new, old, shells)
    rows, columns = torch.zeros(shells, dtype=torch.float64), torch.zeros(shells, dtype=torch.float64)
    rows.index_add_(0, new, h_new**2)
    columns.index_add_(0, old, h_old**2)
    matrix[0, :], matrix[:, 0] = 0.0, 0.0
    rows[0], columns[0] = 0.0, 0.0
    matrix[0, 1:] = columns[1:] - matrix[1:, 1:].sum(0)
    matrix[1:, 0] = rows[1:] - matrix[1:, 1:].sum(1)
    matrix[0, 0] = one.linear_old.square - matrix.sum()
    return matrix


def tail_variables(
    eigenvalues: Tensor,
    squares: Tensor,
    energy: SpectralMeasure,
    density: SpectralDensity | None,
    edges: np.ndarray,
    cut: int,
    length: int,
) -> dict[str, Variable]:
    """How shell 0 spreads over the shells below the cut: tracked modes there as they are, the rest by quadrature.

    Args:
        eigenvalues: Of the tracked modes.
        squares: Their energies, g^2.
        energy: Measure of e below them.
        density: Eigenvalues below them, or None if there are none.
        edges: Shell edges of the run.
        cut: As from `cut_index`.
        length: To which the nodes of the quadrature are padded.
    """
    g2, values = squares.cpu().numpy(), eigenvalues.cpu().numpy()
    below_cut = shell_index(values, edges) <= cut
    floors = shell_floors(edges)
    known = np.array([[(values[below_cut] < x) @ g2[below_cut], (values[below_cut] < x).sum()] for x in floors])
    lower, upper = energy.below(floors)
    # Whatever was not tracked lies below the cut.
    lower[cut:] = upper[cut:] = energy.mass
    energies = {"lower": lower, "upper": upper, "value": 0.5 * (lower + upper)}
    counts = {name: np.zeros(len(edges)) for name in energies}
    if density is not None:
        found = density.below(floors)
        counts = {"lower": found.lower, "upper": found.upper, "value": found.value}
        for below in counts.values():
            below[cut:] = density.dimension
    variables: dict[str, Variable] = {}
    for column, (quantity, units, found) in enumerate((("energy", ENERGY, energies), ("count", "1", counts))):
        for kind, values_below in found.items():
            name = f"tail_{quantity}_below" + ("" if kind == "value" else f"_{kind}")
            total = values_below + known[:, column]
            meaning = f"{quantity} of shell 0 on eigenvalues below the edge ({kind if kind != 'value' else 'estimate'})"
            variables[name] = Variable(("edge",), total, units, meaning)
    nodes, masses = energy.gauss()
    padding = (0, length - len(nodes))
    variables["tail_node"] = Variable(
        ("node",), np.pad(nodes, padding), RATE, "node of the energy below the tracked modes"
    )
    variables["tail_mass"] = Variable(("node",), np.pad(masses, padding), ENERGY, "energy at the node (Gauss rule)")
    return variables


def _scalars(one: TrackedStep, cut: float, time: float) -> dict[str, Variable]:
    pairs = one.before.pairs
    values = {
        "time": time,
        "step_size": one.step_size,
        "probe_loss": one.loss,
        "probe_loss_after": one.loss_after,
        "total_energy": one.error_old.square,
        "total_energy_after": one.after_settled.square,
        "trace": one.trace[0],
        "identity_residual": one.identity_residual,
        "identity_error": one.identity_error,
        "identity_share": one.identity_share,
        "flow_residual": one.flow_residual,
        "remainder_norm": one.remainder_norm,
        "buffers_norm": one.buffers_norm,
        "operator_error": one.operator_error,
    }
    variables = scalar_variables(values)
    own = {
        "trace_error": (one.trace[1], RATE, "standard error of Tr M; 0 if exact"),
        "cut": (cut, RATE, "edge above which every mode is tracked; shell 0 holds everything below it"),
        "complement_bound": (
            unseen_bound(pairs.complement_bound, one.trace[0]),
            RATE,
            "estimated bound of eigenvalues that were not seen; 0 if all were",
        ),
        "products": (float(_products(one)), "1", "products that tracking took"),
        "is_cold": (float(one.before.is_cold), "1", "1 if the modes were solved for anew, not tracked"),
    }
    for name, (value, units, meaning) in own.items():
        variables[name] = Variable((), np.asarray(value, dtype=np.float64), units, meaning)
    return variables


def _products(one: TrackedStep) -> int:
    solves = [one.before, one.after, *([] if one.settled is one.after else [one.settled])]
    return sum(solve.pairs.stats.products for solve in solves)


def unseen_bound(bound: float, trace: float) -> float:
    """A complement bound as a record holds it, finite.

    Minus infinity stands for nothing unseen, plus infinity for no Ritz value behind the modes.
    """
    return max(bound, 0.0) if bound < np.inf else trace


def _modes(one: TrackedStep) -> dict[str, Variable]:
    before, after, successor = one.before.pairs, one.after.pairs, one.successor
    labels = one.before.identity.labels[: len(before.eigenvalues)]  # guards have labels too
    overlap = one.overlap[successor, torch.arange(len(successor))]
    sign = torch.where(overlap < 0, -1.0, 1.0).to(overlap)
    linear, root = one.linear_old.components, "loss^(1/2)"
    values: dict[str, tuple[Tensor, str, str, bool]] = {
        "eigenvalue": (before.eigenvalues, RATE, "eigenvalue lambda before the update", False),
        "eigenvalue_bound": (before.eigenvalue_bounds, RATE, "the exact eigenvalue lies within this", False),
        "eigenvalue_rate": (one.rate_matrix.diagonal(), "1 / time^2", "exact lambda-dot along the update", True),
        "coefficient": (one.error_old.components, root, "g = <phi, e> before the update", True),
        "residual": (before.residuals, RATE, "||M phi - lambda phi||", False),
        "angle_bound": (before.angle_bounds, "1", "bound of the angle to the exact eigenvector or cluster", False),
        "cluster": (before.clusters, "1", "modes of one number cannot be told apart", False),
        "is_converged": (before.is_converged, "1", "1 if the eigenvalue is certified to the tolerance", False),
        "label": (
            labels,
            "1",
            "label that follows the eigenvector over the run",
            True,
        ),
        "gradient_step": (one.gradient_old.components, root, "<phi, h0>, after a gradient-descent step", True),
        "linear_step": (linear, root, "<phi, l>, after the update of the linearised network", True),
        "eigenvalue_after": (after.eigenvalues[successor], RATE, "eigenvalue of the mode's successor", True),
        "linear_after": (sign * one.linear_new.components[successor], root, "<phi', l> of the successor", True),
        "coefficient_after": (sign * one.after_new.components[successor], root, "<phi', e'> of the successor", True),
        "kato_after": (linear + one.kato, root, "coefficient after the update by the Kato mode equations", True),
        "kato_parameter": (one.kato_angle, "1", "angle by which Kato rotates the mode; the tail's part bounded", True),
        "successor_overlap": (overlap.abs(), "1", "|<phi', phi>| with the successor", True),
    }
    return {
        name: Variable(("mode",), tensor.cpu().to(torch.float64).numpy().copy(), units, meaning, is_label_dependent)
        for name, (tensor, units, meaning, is_label_dependent) in values.items()
    }
