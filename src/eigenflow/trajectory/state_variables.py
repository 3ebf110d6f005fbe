"""What a run folder stores of one state without an update, and of how it differs from the state before.

Names, units and meanings are those of a record of updates. What needs an update (transfer, the linearised step,
lambda-dot, couplings, the batch, the identity) is not there. In their place stands what two neighbouring states say:
`eigenvalue_change`, from the eigenvalue of the mode's predecessor, with `predecessor_overlap` as the certificate of the
match, and the distance of the parameters. A first state is its own predecessor.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eigenflow.core.grid import shell_index
from eigenflow.linalg import match_modes
from eigenflow.store import Variable
from eigenflow.tangent import Probe
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.frames import Frame
from eigenflow.trajectory.state_measurement import StateMeasurement
from eigenflow.trajectory.state_parameters import parameter_distance, sketch_error
from eigenflow.trajectory.tracked_variables import cut_above, shells_of, tail_variables, unseen_bound
from eigenflow.trajectory.variables import ENERGY, RATE, SCALARS, SHELLS

__all__ = ["motion_variables", "state_shells", "state_variables"]

ROOT = "loss^(1/2)"
OWN_SCALARS = {
    "trace_error": (RATE, "standard error of Tr M; 0 if exact"),
    "products": ("1", "products with M that the measurement took; 0 if M was formed"),
    "holdout_loss": ("loss", "loss on the holdout set"),
    "parameter_distance": ("1", "norm of the change of the parameters since the state before"),
    "initial_parameter_distance": ("1", "norm of the change of the parameters since the first state"),
    "parameter_distance_error": ("1", "relative standard error of these distances; 0 if exact"),
    "cut": (RATE, "edge above which every mode is tracked; shell 0 holds everything below it"),
    "complement_bound": (RATE, "estimated bound of eigenvalues that were not seen; 0 if all were"),
}


def state_shells(one: StateMeasurement, edges: Float[np.ndarray, " edges"]) -> Int[Tensor, " modes"]:
    """Shell of every measured mode; tracked ones below the cut belong to shell 0, with what was not tracked."""
    if one.tail is None:
        return torch.from_numpy(shell_index(one.eigenvalues.cpu().numpy(), edges))
    return shells_of(one.eigenvalues, edges, cut_above(float(one.eigenvalues[-1]), edges))


def state_variables(
    one: StateMeasurement, edges: Float[np.ndarray, " edges"], *, time: float, time_units: str, nodes: int
) -> dict[str, Variable]:
    """Collect what a single state has.

    Args:
        one: The measured state.
        edges: Shell edges of the run.
        time: Of the state, on the record's clock.
        time_units: "time", or "update" where the record counts updates.
        nodes: Length to which the quadrature of the tail's energy is padded.
    """
    clock = "sum of learning rates before the state" if time_units == "time" else "completed updates"
    variables = {"time": Variable((), np.asarray(float(time)), time_units, clock)}
    variables |= _scalars(_numbers(one, edges))
    variables |= _modes(one)
    variables |= _sums(one, edges)
    if one.tail is not None:
        cut = cut_above(float(one.eigenvalues[-1]), edges)
        below = (one.tail.energy, one.tail.density)
        variables |= tail_variables(one.eigenvalues, one.coefficients.square(), *below, edges, cut, nodes)
    return variables


def motion_variables(
    probe: Probe | ShardedProbe,
    one: StateMeasurement,
    now: Frame,
    previous: Frame | None,
    parameters: Mapping[str, Tensor],
) -> dict[str, Variable]:
    """Collect what differs from the state before and from the first one.

    Args:
        probe: What is measured.
        one: The measured state.
        now: Its frame.
        previous: That of the state before; None for a first state.
        parameters: Of the states "previous" and "initial", as from `parameter_vector`; neither for a first state.
    """
    previous = previous or now
    overlap = probe.space.inner(now.vectors, previous.vectors.to(now.vectors)).cpu()
    predecessor = match_modes(overlap.T)
    certificate = overlap[torch.arange(len(predecessor)), predecessor].abs().clamp(max=1.0)
    change = now.eigenvalues.cpu() - previous.eigenvalues.cpu()[predecessor]
    kept = slice(0, one.modes)
    variables = {
        "eigenvalue_change": Variable(
            ("mode",), change[kept].numpy().copy(), RATE, "eigenvalue less that of the mode's predecessor", True
        ),
        "predecessor_overlap": Variable(
            ("mode",), certificate[kept].numpy().copy(), "1", "|<phi, phi'>| with the predecessor phi'", True
        ),
    }
    names = {"parameter_distance": "previous", "initial_parameter_distance": "initial"}
    return variables | _scalars(
        {name: parameter_distance(one.parameters, parameters.get(of, one.parameters)) for name, of in names.items()}
    )


def _scalars(values: Mapping[str, float]) -> dict[str, Variable]:
    told = {**SCALARS, **OWN_SCALARS}
    return {name: Variable((), np.asarray(float(value)), *told[name]) for name, value in values.items()}


def _numbers(one: StateMeasurement, edges: np.ndarray) -> dict[str, float]:
    found = {
        "probe_loss": one.loss,
        "total_energy": one.energy,
        "trace": one.trace,
        "operator_error": one.operator_error,
        "trace_error": one.trace_error,
        "products": float(one.products),
        "parameter_distance_error": sketch_error(one.parameter_count),
    }
    if one.holdout is not None:
        found["holdout_loss"] = one.holdout.loss
    if one.tail is None:
        return found | {"operator_norm": float(torch.linalg.vector_norm(one.eigenvalues))}
    return found | {
        "cut": float(edges[cut_above(float(one.eigenvalues[-1]), edges)]),
        "complement_bound": unseen_bound(one.tail.complement_bound, one.trace),
    }


def _modes(one: StateMeasurement) -> dict[str, Variable]:
    values: dict[str, tuple[Tensor, str, str, bool]] = {
        "eigenvalue": (one.eigenvalues, RATE, "eigenvalue lambda", False),
        "eigenvalue_bound": (one.eigenvalue_bounds, RATE, "the exact eigenvalue lies within this", False),
        "coefficient": (one.coefficients, ROOT, "g = <phi, e>", True),
        "residual": (one.residuals, RATE, "||M phi - lambda phi||", False),
        "angle_bound": (one.angle_bounds, "1", "bound of the angle to the exact eigenvector or cluster", False),
        "cluster": (one.clusters, "1", "modes of one number cannot be told apart", False),
        "is_converged": (one.is_converged, "1", "1 if the eigenvalue is certified to the tolerance", False),
    }
    return {
        name: Variable(
            ("mode",), tensor[: one.modes].cpu().to(torch.float64).numpy().copy(), units, meaning, is_label_dependent
        )
        for name, (tensor, units, meaning, is_label_dependent) in values.items()
    }


def _sums(one: StateMeasurement, edges: np.ndarray) -> dict[str, Variable]:
    """Sums over shells. Of tracked modes shell 0 gets what is left of the whole."""
    index, count = state_shells(one, edges), len(edges) + 1
    size = float(one.eigenvalues.numel())
    if one.tail is not None and one.tail.density is not None:
        size += one.tail.density.dimension

    def total(values: Tensor, whole: float) -> Tensor:
        sums = torch.zeros(count, dtype=torch.float64).index_add_(0, index, values.cpu().to(torch.float64))
        if one.tail is not None:
            sums[0] = 0.0
            sums[0] = whole - sums.sum()
        return sums

    found = {
        "energy": total(one.coefficients.square(), one.energy),
        "mode_count": total(torch.ones_like(one.eigenvalues), size),
        "eigenvalue_sum": total(one.eigenvalues, one.trace),
    }
    if one.tail is not None:  # an estimated trace may fall short of what was tracked
        found["eigenvalue_sum"] = found["eigenvalue_sum"].clamp(min=0.0)
    told = {key: (name, units, meaning) for key, (name, units, meaning, _) in SHELLS.items()}
    told["energy"] = ("energy", ENERGY, "energy e'P e")
    variables = {
        told[key][0]: Variable(("shell",), sums.numpy(), told[key][1], told[key][2]) for key, sums in found.items()
    }
    if one.holdout is not None:
        rate = torch.zeros(count, dtype=torch.float64).index_add_(0, index, one.holdout.shares.cpu().to(torch.float64))
        rate[0] += one.holdout.whole - float(one.holdout.shares.sum())
        meaning = "rate of the holdout loss under gradient flow that the shell's error drives, -<K(X, x) e_x, P_B e>"
        variables["holdout_rate"] = Variable(("shell",), rate.numpy(), "loss / time", meaning)
    return variables
