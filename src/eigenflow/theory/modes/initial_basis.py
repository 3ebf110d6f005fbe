"""Whether a run follows the error in the eigenbasis of its first measurement."""

import numpy as np
import xarray as xr

__all__ = ["why_initial_basis_is_unknown"]


def why_initial_basis_is_unknown(data: xr.Dataset) -> str | None:
    """Say why `initial_coefficient` is missing or does not belong to the first measurement; None if all is well."""
    if "initial_coefficient" not in data:
        return (
            "the run does not hold `initial_coefficient`, the error in the eigenbasis of the first measurement, which "
            "schema version 3 records"
        )
    if "initial_time" in data and bool(np.any(data["initial_time"].values != float(data["time"][0]))):
        return (
            "the eigenbasis of the first measurement was lost when the run was resumed, and a later one took its place"
        )
    return None
