"""Whether the measured changes of a record are those of single updates."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

__all__ = ["NO_CLOCK", "NO_UPDATES", "Spans", "has_unsaid_updates", "spans", "why_no_updates"]

# Fewer changes that are longer than updates are taken for chance.
FEWEST = 2
# Of the measured changes that were recorded as single updates.
SHARE = 0.5

# Of a record of states.
NO_UPDATES = (
    "this is a record of states: it has spectra, but not the updates between them. Record the training itself with a "
    "Recorder, or a callback of eigenflow.integrations, which measure the network before and after an update"
)
# Of one that counts updates.
NO_CLOCK = (
    "this record of states counts updates: the sums of learning rates at its states are not known, and eigenvalues are "
    "rates in 1 / time. Measure again into a new folder with the rates: `eigenflow measure --log FILE`, a log of the "
    "training with its learning rates, or in Python StateRecorder.record(step, time=...)"
)


@dataclass(frozen=True)
class Spans:
    """How many updates the measured changes of a record span.

    Attributes:
        measured: Measured changes.
        longest: The most updates that one was said to span.
        single: Changes that were recorded as single updates.
        far: Those among them that are longer than single updates are.
        length: How many updates along the gradient those go, the median; NaN without any.
    """

    measured: int
    longest: int
    single: int
    far: int
    length: float


def spans(data: xr.Dataset) -> Spans:
    """Read them from measurements. Records of schema versions before 4 do not tell, and count as single updates."""
    count = data.sizes["step"]
    if "updates" not in data or "is_far" not in data:
        return Spans(count, 1, count, 0, float("nan"))
    updates = data["updates"].values
    is_single = updates == 1
    is_far = is_single & (data["is_far"].values > 0)
    length = float(np.median(data["length_along"].values[is_far])) if is_far.any() else float("nan")
    return Spans(count, int(updates.max(initial=1)), int(is_single.sum()), int(is_far.sum()), length)


def has_unsaid_updates(found: Spans) -> bool:
    """Whether states far apart were recorded as neighbours, by what is likely."""
    return found.far >= FEWEST and found.far >= SHARE * found.single


def why_no_updates(found: Spans) -> str | None:
    """In words; None for a record of single updates."""
    if found.longest > 1:
        return f"the record was made from states up to {found.longest} updates apart, not of single updates"
    if has_unsaid_updates(found):
        return (
            f"{found.far} of {found.single} measured changes go farther than single updates at the logged learning "
            f"rates do (a median of {found.length:.3g} of them along the gradient), as between checkpoints, or with a "
            f"momentum or preconditioner that the recorder was not told of"
        )
    return None
