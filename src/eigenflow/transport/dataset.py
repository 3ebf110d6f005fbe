"""A solution as an `xarray.Dataset`, with units, for files and for analysis."""

import numpy as np
import xarray as xr

from eigenflow.transport.solution import TransportSolution

__all__ = ["solution_dataset"]


def solution_dataset(solution: TransportSolution) -> xr.Dataset:
    """Put masses, totals, frontier and budget on named axes.

    Args:
        solution: As from `solve`.

    Returns:
        Dimensions `time`, `cell` and `edge`; status, method and reason are attributes. A frontier that no
        mode has reached is inf, as in the solution.
    """
    budget = solution.budget
    series = {
        "total": (solution.total, "mass", "integral of g over the domain"),
        "frontier": (solution.frontier, "1 / time", "lowest eigenvalue that has lost the share 1 - 1/e"),
        "error": (solution.error, "mass", "estimated error of the masses, summed over cells"),
        "dissipated": (budget.dissipated, "mass", "lost to dissipation since t = 0"),
        "outflow_below": (budget.outflow_below, "mass", "gone through the lower end since t = 0"),
        "outflow_above": (budget.outflow_above, "mass", "gone through the upper end since t = 0"),
        "source": (budget.source, "mass", "gained from the source since t = 0"),
        "residual": (budget.residual, "mass", "initial + source - total - dissipated - outflow"),
    }
    edges = solution.edges
    return xr.Dataset(
        {
            "mass": (("time", "cell"), solution.mass, {"units": "mass", "long_name": "integral of g over the cell"}),
            **{n: ("time", v, {"units": units, "long_name": name}) for n, (v, units, name) in series.items()},
        },
        coords={
            "time": ("time", solution.times, {"long_name": "sum of learning rates"}),
            "cell": ("cell", np.sqrt(edges[:-1] * edges[1:]), {"units": "1 / time", "long_name": "eigenvalue"}),
            "edge": ("edge", edges, {"units": "1 / time", "long_name": "cell edges"}),
        },
        attrs={
            "initial_mass": budget.initial,
            "status": solution.status.value,
            "method": solution.method,
            "reason": solution.reason,
        },
    )
