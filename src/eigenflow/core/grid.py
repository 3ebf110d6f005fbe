"""Logarithmic grids: in training steps, and in the eigenvalue."""

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.checks import check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.core.limits import within
from eigenflow.core.rounding import WHOLE

__all__ = [
    "ON_EDGE",
    "STORED_SHELLS_PER_DECADE",
    "coarsen_edges",
    "first_steps",
    "log_steps",
    "shell_edges",
    "shell_floors",
    "shell_index",
]

STORED_SHELLS_PER_DECADE = 16
# What is less than this share below an edge counts as lying on it. Eigenvalues of 1 or 0.1 are common (whitened inputs,
# orthonormal features); they lie on edges and are known only to rounding, so their shell must not go by it. In double
# precision this covers rounding down to some 1e-9 of the largest eigenvalue; a stored shell is 155,000 times as wide.
ON_EDGE = 1e-6


def log_steps(total: int, *, count: int = 60) -> Int[np.ndarray, " count"]:
    """Choose the training steps to measure, evenly spread over log(step).

    Args:
        total: Number of updates of the run, at least 1.
        count: How many measurements are wanted, at least 1. Early steps are whole numbers, so
            fewer may come back.

    Returns:
        Increasing steps in [0, total - 1]: how many updates precede the measurement. The first is
        0, the untouched network; the last is `total - 1`, from which the last update is made.

    Raises:
        ArgumentError: If `total` or `count` is no whole number, or below 1.
        LimitError: If `count` is above the limit `steps`.

    Examples:
        >>> log_steps(1000, count=4).tolist()
        [0, 9, 99, 999]
        >>> log_steps(3).tolist()
        [0, 1, 2]
    """
    total = check_whole("total", total, 1, what="number of updates")
    # More measurements than updates are all updates.
    count = min(check_whole("count", count, 1, what="number of measurements"), total)
    within("steps", count, "`count`")
    last = total - 1
    if count == 1 or last == 0:
        return np.zeros(1, dtype=np.int64)
    # Asking for more points than wanted makes up for those that fall on the same whole number.
    asked = count
    while True:
        steps = np.unique(np.round(np.geomspace(1, last + 1, asked)).astype(np.int64) - 1)
        if len(steps) >= min(count, total) or asked > 4 * count + 8:
            return steps
        asked += 1


def shell_edges(largest: float, *, decades_below: int = 12, decades_above: int = 3) -> Float[np.ndarray, " edges"]:
    """Lay the logarithmic shells of a run, from its first largest eigenvalue.

    The edges are whole powers of 10^(1/16), so the shells of different runs fall on each other and
    can be merged when read. What lies outside belongs to an open shell at either end. A `largest` that is a power of
    ten up to a millionth counts as that power.

    Args:
        largest: Largest eigenvalue at the start, positive, in 1 / time.
        decades_below: Decades covered below `largest`.
        decades_above: Decades covered above it; eigenvalues often grow.

    Returns:
        Increasing finite edges. `n` of them bound `n + 1` shells: the first holds everything below
        `edges[0]`, the last everything from `edges[-1]` on.

    Raises:
        ArgumentError: If `largest` is not positive and finite.

    Examples:
        Every fourth edge of a decade is a factor of 10^(1/4) above the last:

        >>> shell_edges(1.0, decades_below=1, decades_above=0)[::4].round(4).tolist()
        [0.1, 0.1778, 0.3162, 0.5623, 1.0]
    """
    if not (np.isfinite(largest) and largest > 0):
        raise ArgumentError(
            f"`largest` must be a positive finite eigenvalue, but is {largest}. "
            f"An operator without a positive eigenvalue cannot learn; check the model."
        )
    decade = int(np.ceil(np.log10(largest * (1.0 - ON_EDGE))))
    top, bottom = decade + decades_above, decade - decades_below
    exponents = np.arange(bottom * STORED_SHELLS_PER_DECADE, top * STORED_SHELLS_PER_DECADE + 1)
    return 10.0 ** (exponents / STORED_SHELLS_PER_DECADE)


def coarsen_edges(edges: Float[np.ndarray, " edges"], shells_per_decade: int) -> Int[np.ndarray, " coarse_edges"]:
    """Pick the stored edges that bound coarser shells.

    Args:
        edges: The stored edges, 16 a decade.
        shells_per_decade: A divisor of 16: 1, 2, 4, 8 or 16.

    Returns:
        Indices into `edges`, always with both ends.

    Raises:
        ArgumentError: If `shells_per_decade` does not divide 16.
    """
    if shells_per_decade not in (1, 2, 4, 8, 16) or STORED_SHELLS_PER_DECADE % shells_per_decade:
        raise ArgumentError(
            f"`shells_per_decade` must be 1, 2, 4, 8 or 16, but is {shells_per_decade}. "
            f"Runs store {STORED_SHELLS_PER_DECADE} shells a decade, and whole shells are merged."
        )
    exponents = np.round(np.log10(edges) * STORED_SHELLS_PER_DECADE).astype(np.int64)
    kept = np.flatnonzero(exponents % (STORED_SHELLS_PER_DECADE // shells_per_decade) == 0)
    return np.unique(np.concatenate([[0], kept, [len(edges) - 1]]))


def shell_index(
    eigenvalues: Float[np.ndarray, " modes"], edges: Float[np.ndarray, " edges"]
) -> Int[np.ndarray, " modes"]:
    """Find the shell of each eigenvalue: 0 lies below `edges[0]`, `len(edges)` from `edges[-1]` on.

    An eigenvalue on an edge, or less than a millionth of it below, belongs to the shell above.

    Examples:
        >>> shell_index(np.array([0.05, 0.1, 0.5, 1.0]), np.array([0.1, 1.0])).tolist()
        [0, 1, 1, 2]
    """
    return np.searchsorted(shell_floors(edges), eigenvalues, side="right")


def shell_floors(edges: Float[np.ndarray, " edges"]) -> Float[np.ndarray, " edges"]:
    """The values from which on an eigenvalue counts as lying on an edge or above it."""
    return edges * (1.0 - ON_EDGE)


def first_steps(share: float, total: int) -> int:
    """How many steps the first `share` of `total` holds: 29 of 100 for 0.29, though 0.29 * 100 rounds below 29."""
    return int(np.floor(share * total * (1.0 + WHOLE)))
