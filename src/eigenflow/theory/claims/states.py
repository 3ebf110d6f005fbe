"""Which states of a record the claims use: all between which time passes, or fewer to see what their spacing does."""

import numpy as np
import xarray as xr
from jaxtyping import Int

__all__ = ["thinned_places", "used_states"]


def used_states(data: xr.Dataset, kept: tuple[int, ...] | None) -> xr.Dataset:
    """The states at some places, or, for None, those that are later in time than all before."""
    times = data["time"].values
    if kept is None:
        later = np.append(True, times[1:] > np.maximum.accumulate(times)[:-1])
        kept = tuple(np.flatnonzero(later).tolist())
    return data if len(kept) == len(times) else data.isel(step=list(kept))


def thinned_places(data: xr.Dataset, used: xr.Dataset) -> list[Int[np.ndarray, " kept"]]:
    """Places of the states used, with every second one left out in both ways that keep the first and the last."""
    places = np.flatnonzero(np.isin(data["step"].values, used["step"].values))
    last = len(places) - 1
    return [places[np.unique([0, last, *range(first, last, 2)])] for first in (2, 1)]
