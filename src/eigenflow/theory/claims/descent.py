"""Whether a run's updates are gradient descent in its own time, as rows about decay rates assume."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.rounding import EXACT, above_rounding
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.effective_time.clocks import power_integral

__all__ = ["curvature_note", "states_descend", "why_not_descent"]

# Between two states the rate of the loss is known if it changes by less than this factor.
KNOWN = 4.0
# Intervals in which it is, to say anything.
FEWEST = 3
# A loss that falls within this factor of what gradient descent makes of it. Finite steps fall short by eta lambda / 2.
ALIKE = 2.0


def why_not_descent(evidence: Evidence) -> str | None:
    """Say so if the optimizer, and not gradient descent at the logged learning rates, does most of the work.

    Of states alone it is told by how much the loss fell between them, see `states_descend`.

    Adam and its kin precondition the gradient: energies then fall by another operator's eigenvalues, on another
    clock. Batches and momentum add terms that are small or change their sign.
    """
    if evidence.is_of_states:
        return states_descend(evidence.data)
    gained, lost = _total(evidence, "optimizer"), _total(evidence, "dissipation")
    is_used = lost > 0
    ratio = float(np.median(gained[is_used] / lost[is_used])) if is_used.any() else 0.0
    if abs(ratio) <= 1.0:
        return None
    return (
        f"the optimizer changes energies by {ratio:.3g} times what gradient descent at the logged learning rates "
        f"dissipates (median), so the eigenvalues and this time do not set the decay"
    )


def states_descend(data: xr.Dataset) -> str | None:
    """Say so if the loss does not fall between states as it would by gradient descent in the record's time.

    For every loss, d loss / dt = -sum lambda g^2 under gradient flow. Its integral between two states, of a power of
    time, is held against the fall of the loss, where the rate at both ends is within a factor of 4.

    Args:
        data: Measurements of a record of states.
    """
    times, loss = data["time"].values, data["probe_loss"].values
    low, high = _rates(data)
    known = np.minimum(low[1:], low[:-1]) * KNOWN >= np.maximum(high[1:], high[:-1])
    known &= (np.diff(times) > 0) & above_rounding(loss)[1:] & (low[1:] > 0)
    if known.sum() < FEWEST:
        return (
            f"states alone tell by how the loss falls whether training was gradient descent in this time, and only "
            f"{int(known.sum())} of {len(known)} intervals between them are short enough, of {FEWEST} that are needed"
        )
    middle = 0.5 * (low + high)
    expected = np.diff(power_integral(times, middle[:, None])[:, 0])
    ratio = float(np.median((-np.diff(loss))[known] / expected[known]))
    if 1.0 / ALIKE <= ratio <= ALIKE:
        return None
    return (
        f"between states the loss falls by {ratio:.3g} times what gradient descent in this time would make it fall "
        f"(median over {int(known.sum())} intervals), so the eigenvalues and this time do not set the decay; Adam and "
        f"its kin do that, and momentum that the time does not count"
    )


def _rates(data: xr.Dataset) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, " step"]]:
    """Bounds of sum lambda g^2: what is not stored one by one lies below the last mode, or is known by its measure."""
    lam, squares = np.maximum(data["eigenvalue"].values, 0.0), data["coefficient"].values ** 2
    low = (lam * squares).sum(1)
    if "tail_node" in data:
        low = low + (data["tail_node"].values * data["tail_mass"].values).sum(1)
        return low, low
    whole = data["total_energy"].values
    rest = whole - squares.sum(1)
    return low, low + lam[:, -1] * np.where(rest > EXACT * whole, rest, 0.0)


def curvature_note(evidence: Evidence) -> str:
    """For losses that are not squared: how much of the energies' change is due to the loss's own curvature."""
    changed, lost = (np.abs(_total(evidence, name)) for name in ("curvature", "dissipation"))
    is_used = lost > 0
    share = float(np.median(changed[is_used] / lost[is_used])) if is_used.any() else 0.0
    return f"; the curvature of the loss changes energies by {share:.2g} of the dissipation" if share > 0.05 else ""


def _total(evidence: Evidence, name: str) -> Float[np.ndarray, " step"]:
    """A term of the budget over all shells; 0 where the run does not hold it."""
    data = evidence.data
    return data[name].sum("shell").values if name in data else np.zeros(data.sizes["step"])
