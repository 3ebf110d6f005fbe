"""Which law tells the losses of the largest sizes from those of the others.

The theory's law has its predicted exponent, and floor and amplitude free. Its rivals have as many free numbers or one
more: corrections of 1 / x to a limit, which need no theory of the spectrum; an exponential approach to a limit; a fall
with ln x; and no further fall.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.theory.over_sizes.size_law import two_terms
from eigenflow.theory.over_sizes.sweep import SizeSweep

__all__ = ["Contest", "contest"]

HELD_OUT_SHARE = 3  # one size in three, the largest ones,
MOST_HELD_OUT = 2  # and no more than two: an exponent is no better than its reach
SCALES = 40


@dataclass(frozen=True)
class Contest:
    """Errors of laws on the largest sizes, which they did not see.

    Attributes:
        sizes: Held out.
        errors: Root mean square of ln(told / mean loss) by law; "theory" is the one with the predicted exponent.
        chance: What a mean loss of these sizes scatters by.
    """

    sizes: tuple[float, ...]
    errors: dict[str, float]
    chance: float

    @property
    def ours(self) -> float:
        """Error of the theory's law."""
        return self.errors["theory"]

    @property
    def best_rival(self) -> tuple[str, float]:
        """Name and error of the best other law."""
        return min(((name, error) for name, error in self.errors.items() if name != "theory"), key=lambda one: one[1])

    @property
    def is_won(self) -> bool:
        """Whether no rival is better by more than chance."""
        return self.ours <= self.best_rival[1] + self.chance

    @property
    def is_lost(self) -> bool:
        """Whether a rival is better, and clearly."""
        return self.ours > 2.0 * self.best_rival[1] + 3.0 * self.chance

    def told(self) -> str:
        """In words."""
        name, error = self.best_rival
        largest = " and ".join(f"{size:g}" for size in self.sizes)
        return (
            f"from the smaller sizes the predicted exponent tells the loss at {largest} to {self.ours:.2g} in ln, the "
            f"best rival ({name}) to {error:.2g}; chance is {self.chance:.2g}"
        )


def contest(sweep: SizeSweep, exponent: float) -> Contest:
    """Fit every law to the smaller sizes, and compare on the largest.

    Args:
        sweep: At least 4 sizes.
        exponent: The predicted one.
    """
    sizes, means = sweep.places, sweep.means
    held = min(MOST_HELD_OUT, max(1, len(sizes) // HELD_OUT_SHARE))
    x = np.log(sizes / sizes[-1])
    laws = {
        "theory": np.exp(-exponent * x)[None],
        "1 / size": np.exp(-x)[None],
        "exponential": np.exp(-np.geomspace(0.3, 300.0, SCALES)[:, None] * (sizes / sizes[-1])),
        "logarithm": -x[None],
        "no further fall": np.zeros((1, len(x))),
    }
    seen = len(sizes) - held
    weights = (sweep.counts / sweep.counts.mean())[:seen]
    errors = {name: _error(shapes, means, weights, seen) for name, shapes in laws.items()}
    errors["no further fall"] = float(np.sqrt((np.log(means[seen - 1] / means[seen:]) ** 2).mean()))
    scatter, freedom = sweep.scatter()
    chance = scatter / np.sqrt(sweep.counts[seen:].mean()) if freedom else 0.0
    return Contest(tuple(float(size) for size in sizes[seen:]), errors, float(chance))


def _error(
    shapes: Float[np.ndarray, "law size"], means: Float[np.ndarray, " size"], weights: np.ndarray, seen: int
) -> float:
    """Of the member that fits the seen sizes best."""
    floors, amplitudes = two_terms(shapes[:, :seen], means[:seen], weights)
    told = np.log(np.maximum(floors[:, None] + amplitudes[:, None] * shapes, 1e-300))
    misses = told - np.log(means)
    best = int((weights * misses[:, :seen] ** 2).sum(1).argmin())
    return float(np.sqrt((misses[best, seen:] ** 2).mean()))
