"""What a learning task is to a kernel: the eigenvalues of the population, the target in its modes, and label noise.

Every exponent and every risk of the theory follows from these three. Modes of one eigenvalue are held as one group with
a count, so that a degenerate kernel (a sphere's, random features' flat part) and the far tail of a power law cost one
number each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_number, check_whole, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError

__all__ = ["TaskSpectrum", "require_decreasing", "require_finite"]

# Groups a decade of ranks that stand for a power law's tail: a sum of smooth functions is then right to 1e-4.
TAIL_GROUPS = 80
TAIL_DECADES = 8


@dataclass(frozen=True, repr=False)
class TaskSpectrum(AbstractPrinted):
    """A task in the eigenmodes of a kernel over the population of inputs.

    With inputs x, the kernel K(x, x') = sum_i lambda_i phi_i(x) phi_i(x') with phi_i of unit mean square, the target
    f*(x) = sum_i w_i phi_i(x), and labels f*(x) + noise. The operator M of a probe of n samples, in the convention of
    half the mean over samples, has these eigenvalues up to sampling, and its energies g_u^2 those of the target that is
    left.

    Attributes:
        eigenvalues: lambda, > 0, decreasing; rates in 1 / time.
        target: Sum of w_i^2 over the modes of each group, >= 0, in the square of the output's unit.
        noise: Variance of the labels about the target, >= 0, same unit.
        counts: Modes that share each eigenvalue, > 0; not whole for a group that stands for a piece of a tail.
    """

    eigenvalues: Float[np.ndarray, " group"]
    target: Float[np.ndarray, " group"]
    noise: float = 0.0
    counts: Float[np.ndarray, " group"] | None = None

    def __post_init__(self) -> None:
        values, target = real_array("eigenvalues", self.eigenvalues), real_array("target", self.target)
        counts = np.ones(values.shape) if self.counts is None else real_array("counts", self.counts)
        for name, array in (("eigenvalues", values), ("target", target), ("counts", counts)):
            if array.ndim != 1 or array.size == 0:
                raise ShapeError(f"`{name}` must be one row of at least one number, but has shape {array.shape}.")
            if len(array) != len(values):
                raise ShapeError(
                    f"`{name}` must have one value for each of the {len(values)} eigenvalues, but has {len(array)}."
                )
            require_finite(name, array)
        require_decreasing(
            values,
            zero="Leave out modes that are rounding, and add what the target has in them to `noise`: they are never "
            "learned.",
            along="`target` and `counts`",
        )
        if (target < 0).any():
            raise ArgumentError(f"`target` holds squares and must be >= 0, but its least is {target.min():.3g}.")
        if not (counts > 0).all():
            raise ArgumentError(f"`counts` must be > 0, but its least is {counts.min():.3g}.")
        object.__setattr__(self, "eigenvalues", values)
        object.__setattr__(self, "target", target)
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "noise", check_number("noise", self.noise, 0.0))

    @classmethod
    def power_law(
        cls,
        capacity: float | int,
        target_decay: float | int,
        *,
        modes: int = 2000,
        noise: float | int = 0.0,
        tail: bool = False,
    ) -> "TaskSpectrum":
        """Give lambda_k = k^-capacity and w_k^2 = k^-target_decay.

        Args:
            capacity: Of the eigenvalues, > 0; with `tail`, > 1, or the trace is infinite.
            target_decay: Of the target's squares, > 0; with `tail`, > 1, or its energy is infinite.
            modes: Modes held one by one.
            noise: Variance of the labels.
            tail: Go on beyond the last mode, by 8 decades of ranks in groups.

        Raises:
            ArgumentError: If an exponent lies outside its region.
        """
        least = 1.0 if tail else 0.0
        reason = " with `tail=True`: the sum over all modes diverges" if tail else ""
        for name, value in (("capacity", capacity), ("target_decay", target_decay)):
            if not check_number(name, value) > least:
                raise ArgumentError(f"`{name}` must be > {least:g}{reason}, but is {value:g}.")
        ranks = np.arange(1.0, check_whole("modes", modes, 1, what="number of modes") + 1.0)
        values, target, counts = ranks**-capacity, ranks**-target_decay, np.ones(len(ranks))
        if tail:
            edges = (modes + 0.5) * np.logspace(0, TAIL_DECADES, TAIL_DECADES * TAIL_GROUPS + 1)
            sums = (edges[:-1] ** (1.0 - target_decay) - edges[1:] ** (1.0 - target_decay)) / (target_decay - 1.0)
            widths = np.diff(edges)
            means = (edges[:-1] ** (1.0 - capacity) - edges[1:] ** (1.0 - capacity)) / (capacity - 1.0) / widths
            values, target = np.append(values, means), np.append(target, sums)
            counts = np.append(counts, widths)
        return cls(values, target, float(noise), counts)

    @property
    def modes(self) -> float:
        """Number of modes of all groups."""
        return float(self.sizes.sum())

    @property
    def sizes(self) -> Float[np.ndarray, " group"]:
        """`counts`, always an array."""
        assert self.counts is not None  # set when it is made
        return self.counts

    @property
    def trace(self) -> float:
        """Sum of all eigenvalues."""
        return float(self.sizes @ self.eigenvalues)

    @property
    def energy(self) -> float:
        """Variance of the target: what is to be learned."""
        return float(self.target.sum())

    def without(self, groups: Sequence[int]) -> "TaskSpectrum":
        """Leave groups of modes out; what the target has in them becomes noise to a learner that lacks them."""
        kept = np.setdiff1d(np.arange(len(self.eigenvalues)), np.asarray(groups, dtype=np.int64))
        lost = self.energy - float(self.target[kept].sum())
        return TaskSpectrum(self.eigenvalues[kept], self.target[kept], self.noise + max(lost, 0.0), self.sizes[kept])

    def _card(self) -> Card:
        low, high = float(self.eigenvalues[-1]), float(self.eigenvalues[0])
        return Card(
            f"TaskSpectrum of {self.modes:.6g} modes in {len(self.eigenvalues)} groups",
            [
                ("eigenvalues", f"{figure(low)} to {figure(high)}, sum {figure(self.trace)}"),
                ("target", f"variance {figure(self.energy)}"),
                ("noise", f"variance {figure(self.noise)}"),
            ],
        )


def require_finite(name: str, values: Float[np.ndarray, " mode"]) -> None:
    """Refuse a row that holds NaN or infinity, with its place."""
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise NonFiniteError(f"`{name}` must be finite, but is {values[place]} at place {place}.")


def require_decreasing(eigenvalues: Float[np.ndarray, " mode"], *, zero: str, along: str) -> None:
    """Refuse eigenvalues that are not positive, or not sorted from the largest down.

    Args:
        eigenvalues: Finite.
        zero: What to do about one that is not positive, a sentence.
        along: The arguments that are to be sorted with them.
    """
    if not (eigenvalues > 0).all():
        place = int(np.flatnonzero(eigenvalues <= 0)[0])
        raise ArgumentError(f"`eigenvalues` must be > 0, but is {eigenvalues[place]:.3g} at place {place}. {zero}")
    if (np.diff(eigenvalues) > 0).any():
        place = int(np.flatnonzero(np.diff(eigenvalues) > 0)[0]) + 1
        raise ArgumentError(
            f"`eigenvalues` must be sorted from the largest down, but rise at place {place} from "
            f"{eigenvalues[place - 1]:.6g} to {eigenvalues[place]:.6g}. Sort them, and {along} with them."
        )
