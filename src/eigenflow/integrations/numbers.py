"""The few numbers of a measurement that belong beside a loss curve, by the names that trackers show."""

from collections.abc import Mapping

from eigenflow.store import Variable

__all__ = ["measured_numbers"]

PREFIX = "eigenflow/"
# Variable of the record: name in a tracker.
NAMES = {
    "probe_loss": "probe_loss",
    "holdout_loss": "holdout_loss",
    "trace": "trace",
    "flow_residual": "flow_residual",
}


def measured_numbers(step: int, variables: Mapping[str, Variable], *, share: float | None) -> dict[str, float]:
    """Name a measurement's numbers for a tracker.

    Args:
        step: Completed updates of the measured network.
        variables: What the record holds of it.
        share: Of the time until now that measuring took; None: nobody counted.

    Returns:
        `eigenflow/measured_step`; `largest_eigenvalue`, a rate (1 / time); `edge`, the largest eigenvalue times the
        length of the update, at 2 of which gradient descent is unstable, and an optimizer that averages gradients with
        beta (Adam) at 2 (1 + beta) / (1 - beta), 38 for 0.9; `participation`, Tr M over the largest eigenvalue: how
        many modes of that size M amounts to; the probe's losses; `overhead`, where it is known.
    """
    found = {name: float(variables[key].values) for key, name in NAMES.items() if key in variables}
    largest = float(variables["eigenvalue"].values[0])
    found |= {
        "measured_step": float(step),
        "largest_eigenvalue": largest,
        "edge": largest * float(variables["step_size"].values),
    }
    if share is not None:
        found["overhead"] = share
    if largest > 0:
        found["participation"] = float(variables["trace"].values) / largest
    return {PREFIX + name: value for name, value in found.items()}
