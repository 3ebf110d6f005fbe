"""What a run folder stores of one measured step, with units and meaning."""

from collections.abc import Mapping
from dataclasses import replace
from typing import SupportsFloat

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.store import Variable
from eigenflow.trajectory.lengths import UpdateLength
from eigenflow.trajectory.step import OneStep
from eigenflow.trajectory.sums import buffer_sums, coupling_matrix, shell_sums, transfer_matrix

__all__ = ["SHELLS", "as_stored", "scalar_variables", "step_variables", "update_variables"]

ENERGY = "loss"  # energies are twice a squared loss, and carry the unit of every loss
RATE = "1 / time"

SHELLS = {
    "energy": ("energy", ENERGY, "energy e'P e before the update", False),
    "energy_after": ("energy_after", ENERGY, "energy e'P e after the update", False),
    "dissipation": ("dissipation", ENERGY, "energy lost to the gradient-descent step (D)", False),
    "optimizer": ("optimizer", ENERGY, "energy gained beyond gradient descent (X)", False),
    "curvature": ("curvature", ENERGY, "energy gained as the loss's Hessian changes (C); 0 for squared losses", False),
    "transfer": ("transfer", ENERGY, "energy gained from other shells (T)", False),
    "remainder": ("remainder", ENERGY, "energy gained by the network's nonlinearity (N)", False),
    "buffers": ("buffers", ENERGY, "energy gained as buffers move after the update (U); 0 where none do", False),
    "buffers_transfer": ("buffers_transfer", ENERGY, "part of U that is gained from other shells", False),
    "transfer_drift": ("transfer_drift", ENERGY, "part of T by eigenvalues that cross an edge", True),
    "transfer_rotation": ("transfer_rotation", ENERGY, "part of T by eigenvectors that rotate", True),
    "mode_count": ("mode_count", "1", "eigenvalues in the shell", False),
    "eigenvalue_sum": ("eigenvalue_sum", RATE, "sum of the shell's eigenvalues, Tr(P M)", False),
    "rate_sum": ("rate_sum", "1 / time^2", "sum of lambda-dot over the shell, Tr(P Mdot)", False),
    "energy_rate": ("energy_rate", "loss / time^2", "(P e)' Mdot (P e)", False),
}


def step_variables(one: OneStep, edges: Float[np.ndarray, " edges"], *, time: float, modes: int) -> dict[str, Variable]:
    """Collect the stored variables of one measured step.

    Args:
        one: The measured step.
        edges: Shell edges of the run.
        time: Sum of learning rates before the update.
        modes: How many of the largest modes to store one by one. Shells hold all of them.
    """
    variables = _scalars(one, time)
    variables.update(_modes(one, modes))
    sums = {**shell_sums(one, edges), **buffer_sums(one, edges)}
    for key, (name, units, meaning, is_label_dependent) in SHELLS.items():
        variables[name] = Variable(("shell",), sums[key].numpy(), units, meaning, is_label_dependent)
    pair = ("shell", "shell_from")
    variables["transfer_matrix"] = Variable(
        pair,
        transfer_matrix(one, edges).numpy(),
        ENERGY,
        "energy carried from shell_from to shell, l'P'_a P_b l",
    )
    variables["coupling_matrix"] = Variable(
        pair, coupling_matrix(one, edges).numpy(), "1 / time^4", "||P_a Mdot P_b||_F^2"
    )
    return variables


SCALARS = {
    "time": ("time", "sum of learning rates before the update"),
    "step_size": ("time", "length dt of the update"),
    "probe_loss": ("loss", "probe loss before the update; ||e||^2 / 2 if it is squared"),
    "probe_loss_after": ("loss", "probe loss after the update"),
    "total_energy": (ENERGY, "||e||^2 before the update; twice the loss if it is squared"),
    "total_energy_after": (ENERGY, "||e||^2 after the update"),
    "trace": (RATE, "Tr M"),
    "operator_norm": (RATE, "Frobenius norm of M"),
    "rate_norm": ("1 / time^2", "Frobenius norm of Mdot"),
    "identity_residual": ("1", "||r' - r - (H J averaged) dtheta||, r the loss's gradient by outputs, relative (D1)"),
    "identity_error": ("1", "what identity_residual may be wrong by: error of the path average, and rounding"),
    "identity_share": ("1", "share of samples whose path average is known, of which identity_residual tells"),
    "flow_residual": ("1", "||e' - e + dt M e|| / ||e' - e||, at the buffers before the update"),
    "remainder_norm": ("loss^(1/2)", "||e' - l||, l the error of the linearised network; at the buffers before"),
    "buffers_norm": ("loss^(1/2)", "||e' - e*||, e* the error after the update at the buffers before it"),
    "updates": ("1", "updates that the measured change spans, as was said; 1 for a single one"),
    "length_along": ("1", "updates of this length that the change makes along the gradient of the probe loss"),
    "length_cosine": ("1", "cosine of the change with minus the gradient, in the norm of the preconditioner"),
    "length_entry": ("1", "root mean square of the parameters' change over the length of the update"),
    "is_far": ("1", "1 if the change is longer than single updates are, as between checkpoints"),
    "batch_miss": ("1", "what the update is beyond a step on a batch of the probe's samples, relative to its norm"),
    "batch_repeats": ("1", "how often that batch holds one sample at most"),
    "operator_error": ("1", "M by its rules against a product by automatic differentiation, relative"),
}


def scalar_variables(values: Mapping[str, SupportsFloat]) -> dict[str, Variable]:
    """Numbers of which there is one a step, with their units."""
    return {name: Variable((), np.asarray(float(value)), *SCALARS[name]) for name, value in values.items()}


def _scalars(one: OneStep, time: float) -> dict[str, Variable]:
    first, last = one.before, one.last
    assert first.rate_matrix is not None
    remainder = one.after_new - one.linear_new
    return scalar_variables(
        {
            "time": time,
            "step_size": one.step_size,
            "probe_loss": first.loss,
            "probe_loss_after": last.loss,
            "total_energy": first.error @ first.error,
            "total_energy_after": last.error @ last.error,
            "trace": first.eigenvalues.sum(),
            "operator_norm": torch.linalg.vector_norm(first.eigenvalues),
            "rate_norm": torch.linalg.matrix_norm(first.rate_matrix),
            "identity_residual": one.identity_residual,
            "identity_error": one.identity_error,
            "identity_share": one.identity_share,
            "flow_residual": one.flow_residual,
            "remainder_norm": torch.linalg.vector_norm(remainder),
            "buffers_norm": torch.linalg.vector_norm(last.error - one.after.error),
            "batch_miss": one.batch.miss,
            "batch_repeats": one.batch.repeats,
            "operator_error": first.operator_error,
        }
    )


def update_variables(length: UpdateLength, updates: int, *, direction_is_known: bool) -> dict[str, Variable]:
    """What says whether a measured change is a single update.

    Args:
        length: The change, counted in updates.
        updates: As many as it was said to span.
        direction_is_known: As for `UpdateLength.is_far`.
    """
    return scalar_variables(
        {
            "updates": updates,
            "length_along": length.along,
            "length_cosine": length.cosine,
            "length_entry": length.entry,
            "is_far": length.is_far(direction_is_known=direction_is_known),
        }
    )


def as_stored(variables: dict[str, Variable], names: frozenset[str] | None) -> dict[str, Variable]:
    """The variables that a folder of an older version has, None for a new one, with budgets that still add up.

    What moving buffers do was not told from the remainder before schema version 4.
    """
    if names is None or not names < set(variables):
        return variables
    found = dict(variables)
    for term, whole in (("buffers", "remainder"), ("holdout_buffers", "holdout_remainder")):
        if term in found and term not in names:
            kept = found[whole]
            found[whole] = replace(kept, values=kept.values + found[term].values)
    return {name: variable for name, variable in found.items() if name in names}


def _modes(one: OneStep, modes: int) -> dict[str, Variable]:
    first, second = one.before, one.after
    assert first.eigenvalue_rates is not None and first.couplings is not None
    successor = one.successor
    overlap = one.overlap[successor, torch.arange(len(successor))]
    sign = torch.where(overlap < 0, -1.0, 1.0).to(overlap)
    rotation = one.step_size * first.couplings
    values: dict[str, tuple[Tensor, str, str, bool]] = {
        "eigenvalue": (first.eigenvalues, RATE, "eigenvalue lambda before the update", False),
        "eigenvalue_rate": (first.eigenvalue_rates, "1 / time^2", "exact lambda-dot along the update", True),
        "coefficient": (first.coefficients, "loss^(1/2)", "g = <phi, e> before the update", True),
        "residual": (first.residuals, RATE, "||M phi - lambda phi||", False),
        "gradient_step": (one.gradient_old, "loss^(1/2)", "<phi, h0>, after a gradient-descent step", True),
        "linear_step": (one.linear_old, "loss^(1/2)", "<phi, l>, after the update of the linearised network", True),
        "eigenvalue_after": (second.eigenvalues[successor], RATE, "eigenvalue of the mode's successor", True),
        "linear_after": (sign * one.linear_new[successor], "loss^(1/2)", "<phi', l> of the successor", True),
        "coefficient_after": (
            sign * one.after_new[successor],
            "loss^(1/2)",
            "<phi', e'> of the successor",
            True,
        ),
        "kato_after": (
            one.linear_old + rotation @ one.linear_old,
            "loss^(1/2)",
            "coefficient after the update predicted by the Kato mode equations",
            True,
        ),
        "kato_parameter": (
            torch.linalg.vector_norm(rotation, dim=1),
            "1",
            "angle by which Kato rotates the mode, ||dt Omega_u||",
            True,
        ),
        "successor_overlap": (overlap.abs(), "1", "|<phi', phi>| with the successor", True),
    }
    return {
        name: Variable(("mode",), tensor[:modes].numpy().copy(), units, meaning, is_label_dependent)
        for name, (tensor, units, meaning, is_label_dependent) in values.items()
    }
