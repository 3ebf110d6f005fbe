"""The power form of the drift against other forms, on measured times that none of them was fitted to.

Forms are fitted to the earlier half of the measured times and scored on the later half, in scaled logarithmic velocity.
First the dependence on lambda alone, every form with a free factor at each time:

- "zero", "constant" (one v in all shells), "power" (the claim);
- "broken power": two exponents and a break;
- "log-periodic": a power times 1 + A cos(omega ln(lambda) + phase) (theory: bounds on moments of v allow it);
- "kernel": w at lambda is the energy around it, averaged with a kernel in ln(lambda) that is the same everywhere. A
  coupling that a shift of ln(lambda) leaves alone gives this, a power law only with further
  assumptions (equations/hypotheses.md#scale-covariance).

Then time as well, nothing free on the later half: the power form with c(t) continued as a power of time (fading, or of
any sign), as a piecewise and as a monotone curve, and "persistence": t w stays in every shell what it was over the last
quarter of earlier times.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.closure.joint import fit_drift_law
from eigenflow.closure.law import Scaled
from eigenflow.closure.velocities import MIN_TIMES, Velocities
from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import block_indices, correlated_quantiles
from eigenflow.core.rounding import EXACT

__all__ = ["FormComparison", "FormScore", "compare_forms"]

DECADE = float(np.log(10.0))
LAGS = np.arange(-4, 5)  # of the kernel, in decades
KERNEL_ROUNDS = 30
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class FormScore:
    """One form on the held-out times.

    Attributes:
        name: See the module.
        parameters: Numbers fitted to the earlier half, strengths that are free at each time not counted.
        error: Squared error relative to v = 0; 0 is perfect, 1 no better than no drift.
        skill: 1 - (squared error of the power form) / (that of this form): positive where the power form is better.
        interval: 90 % interval of `skill`, block bootstrap over held-out times.
    """

    name: str
    parameters: int
    error: float
    skill: float
    interval: tuple[float, float]


@dataclass(frozen=True, repr=False)
class FormComparison(FieldsPrinted):
    """Forms of the drift on held-out times.

    Attributes:
        power: The claim's form, b from the earlier half.
        simple: "zero" and "constant", without parameters.
        richer: Forms with more parameters; a true power law loses little or nothing to them.
        continued: The power form with c(t) continued, and "persistence"; nothing is free on the later half. Here
            `skill` is 1 - error, the gain over v = 0.
        b: Exponent from the earlier half.
        times: Held-out times.
    """

    power: FormScore
    simple: list[FormScore]
    richer: list[FormScore]
    continued: list[FormScore]
    b: float
    times: int

    @property
    def best_richer(self) -> FormScore:
        """The richer form with the least error on the held-out times, which favours it."""
        return min(self.richer, key=lambda one: one.error)


@dataclass(frozen=True)
class _Family:
    """Shapes of w over ln(lambda): a grid of parameters, and the shapes of some of its rows, (row, time, place)."""

    grid: Float[np.ndarray, "row parameter"]
    shapes: Callable[[np.ndarray, np.ndarray], np.ndarray]


def compare_forms(velocities: Velocities, *, seed: int = 0) -> FormComparison:
    """Fit all forms to the earlier half of the measured times and score them on the later half.

    Raises:
        ArgumentError: If there are fewer than 12 measured times.
    """
    count = len(velocities.times)
    if count < 2 * MIN_TIMES:
        raise ArgumentError(
            f"`velocities` has {count} measured times; half of them are held out, so {2 * MIN_TIMES} are needed. "
            f"Measure more steps."
        )
    data, half = Scaled.of(velocities), count // 2
    later = slice(half, count)
    zero = (data.scaled**2).sum(1)[later]
    errors = {"zero": zero, "constant": _errors(data, np.exp(-data.position), later)}
    families, b = _families(data), 1.0
    for name, family in families.items():
        best = _search(data, family, slice(0, half))
        errors[name] = _errors(data, family.shapes(data.position, best[None])[0], later)
        b = float(best[0]) if name == "power" else b
    errors["kernel"] = _errors(data, _kernel(data, half, velocities), later)
    sizes = {name: family.grid.shape[1] for name, family in families.items()}
    sizes |= {"zero": 0, "constant": 0, "kernel": len(LAGS)}
    errors = {name: np.maximum(error, EXACT**2) for name, error in errors.items()}
    draws = block_indices(count - half, np.random.default_rng(seed))

    def score(name: str, better: np.ndarray, worse: np.ndarray, error: np.ndarray) -> FormScore:
        drawn = 1.0 - better[draws].sum(1) / np.maximum(worse[draws].sum(1), TINY)
        skill = 1.0 - float(better.sum()) / max(float(worse.sum()), TINY)
        interval = correlated_quantiles(skill, drawn, (1.0 - skill) * worse - better, draws)
        return FormScore(name, sizes.get(name, 0), float(error.sum() / zero.sum()), skill, interval)

    scores = {name: score(name, errors["power"], error, error) for name, error in errors.items()}
    continued = _continued(data, velocities, half)
    sizes |= {name: size for name, (size, _) in continued.items()}
    return FormComparison(
        power=scores["power"],
        simple=[scores[name] for name in ("zero", "constant")],
        richer=[scores[name] for name in ("broken power", "log-periodic", "kernel")],
        continued=[score(name, error, zero, error) for name, (_, error) in continued.items()],
        b=b,
        times=count - half,
    )


def _families(data: Scaled) -> dict[str, _Family]:
    coarse, inside = np.linspace(-1.0, 4.0, 26), data.position[data.is_used]

    def power(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.exp((rows[:, 0, None, None] - 1.0) * x)

    def broken(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        low, high, at = (rows[:, i, None, None] for i in range(3))
        return np.exp((low - 1.0) * np.minimum(x - at, 0.0) + (high - 1.0) * np.maximum(x - at, 0.0))

    def periodic(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        b, size, period, phase = (rows[:, i, None, None] for i in range(4))
        return np.exp((b - 1.0) * x) * (1.0 + size * np.cos(2.0 * np.pi * x / period + phase))

    breaks = np.quantile(inside, np.linspace(0.125, 0.875, 7))
    periods = DECADE * np.array([0.75, 1.0, 1.5, 2.0, 3.0])
    phases = np.arange(8) * np.pi / 4
    return {
        "power": _Family(np.linspace(-1.0, 4.0, 501)[:, None], power),
        "broken power": _Family(_grid(coarse, coarse, breaks), broken),
        "log-periodic": _Family(_grid(coarse, np.array([0.25, 0.5, 1.0, 2.0]), periods, phases), periodic),
    }


def _grid(*axes: np.ndarray) -> Float[np.ndarray, "row parameter"]:
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def _search(data: Scaled, family: _Family, rows: slice) -> Float[np.ndarray, " parameter"]:
    """The grid's row with the least squared error on some times, with the best factor at each."""
    x, w, used = data.position[rows], data.scaled[rows], data.is_used[rows]
    found = []
    for start in range(0, len(family.grid), 256):
        shapes = family.shapes(x, family.grid[start : start + 256]) * used
        along, square = (shapes * w).sum(2), (shapes**2).sum(2)
        found.append((along**2 / np.maximum(square, TINY)).sum(1))
    return family.grid[np.concatenate(found).argmax()]


def _errors(data: Scaled, shape: np.ndarray, rows: slice) -> Float[np.ndarray, " held_out"]:
    shape, w = (shape * data.is_used)[rows], data.scaled[rows]
    factor = (shape * w).sum(1) / np.maximum((shape**2).sum(1), TINY)
    return ((w - factor[:, None] * shape) ** 2).sum(1)


def _kernel(data: Scaled, half: int, velocities: Velocities) -> Float[np.ndarray, "time place"]:
    """Fit kernel and strengths by turns; energies of all places, a hat a decade wide around each lag."""
    x = np.log(velocities.centres)
    hats = np.maximum(0.0, 1.0 - np.abs((x[None, None, :] - x[:, None, None]) / DECADE - LAGS[None, :, None]))
    around = np.einsum("plq,tq->tpl", hats, velocities.energy) * data.is_used[..., None]
    seen, w = around[:half], data.scaled[:half]
    shape = data.is_used[:half].astype(float)
    kernel = np.zeros(len(LAGS))
    for _ in range(KERNEL_ROUNDS):
        factor = (shape * w).sum(1) / np.maximum((shape**2).sum(1), TINY)
        design = (factor[:, None, None] * seen).reshape(-1, len(LAGS))
        kernel = np.linalg.lstsq(design, w.ravel(), rcond=1e-10)[0]
        shape = seen @ kernel
    return around @ kernel


def _continued(data: Scaled, velocities: Velocities, half: int) -> dict[str, tuple[int, np.ndarray]]:
    """Squared errors on the later half with nothing free there, and how many numbers were fitted."""
    rows = np.arange(len(data.times))
    earlier, times, used = velocities.select(rows < half), data.times[half:], data.is_used[half:]
    found = {}
    for form in ("fading", "power", "piecewise", "monotone"):
        law = fit_drift_law(earlier, form, draws=0)
        shape = np.exp((law.b - 1.0) * data.position[half:]) * used
        predicted = -(law.strength(times) / data.scale[half:])[:, None] * shape
        found[f"c(t) {form}"] = (1 + len(law.strength.parameters), ((data.scaled[half:] - predicted) ** 2).sum(1))
    last = earlier.select(earlier.times >= earlier.times[-(max(1, half // 4))])
    moved = (last.times[:, None] * last.value * last.is_used).sum(0) / np.maximum(last.is_used.sum(0), 1)
    predicted = moved / times[:, None] / data.scale[half:, None] * used
    found["persistence"] = (velocities.value.shape[1], ((data.scaled[half:] - predicted) ** 2).sum(1))
    return found
