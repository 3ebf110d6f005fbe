"""The leading modes of a run, and how the mode equations carry their coefficients from one measurement to another.

The equations are dg_u/dt = -lambda_u g_u + sum_v Omega_uv g_v (equations/identities.md#eq-t1). Eigenvalues
and couplings are measured at the ends only. Two ways to fill the time between:

- "transported": the leading eigenvectors are carried in parallel, so Omega moves into the operator. In that frame the
  leading block of M has at either end the value diag(lambda) and the derivative diag(lambda-dot) +
  Omega_uv (lambda_u - lambda_v), both exact, and cubic Hermite interpolation joins the ends. The far end is turned into
  the frame of the near one by the orthogonal factor of the measured overlap of the eigenvectors. No label enters, so
  crossings and clusters do no harm; fourth order in the spacing.
- "matched": the equations as they are written, mode by mode. Labels are matched by the overlap, lambda is a cubic
  Hermite curve and Omega a straight line. Second order at best, and wrong where Omega peaks between measurements
  (equations/hypotheses.md#velocity-and-labels) or eigenvalues are degenerate.

Modes beyond the leading ones enter as a source, sum_v Omega_uv g_v over them: measured at the ends (the one-step
prediction by all couplings, less that by the leading ones), and joined by a straight line, so of second order.

A step of gradient descent multiplies by 1 - eta lambda, so its rate is -ln(1 - eta lambda) / eta
(equations/identities.md#eq-d5); beyond eta lambda = 1/2, where a mode is gone after a few updates, that is continued by
its tangent.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy.linalg import expm
from scipy.optimize import linear_sum_assignment

from eigenflow.core.errors import ArgumentError, RunFolderError

__all__ = ["Labels", "LeadingModes", "Step", "read_leading_modes"]

Labels = Literal["transported", "matched"]

NEEDED = ("coupling", "frame_overlap", "eigenvalue_rate", "coefficient", "linear_step", "kato_after")
# Commutator-free Magnus integrator of fourth order: two exponentials of sums over the Gauss points of a substep
# [@blanes2006fourth].
GAUSS = 0.5 - np.sqrt(3.0) / 6.0, 0.5 + np.sqrt(3.0) / 6.0
WEIGHTS = 0.25 + np.sqrt(3.0) / 6.0, 0.25 - np.sqrt(3.0) / 6.0
# A substep for each time that the operator changes by this much over it, within these limits.
SUBSTEPS = (2, 8)
# Of eta lambda, up to which the rate of gradient descent is used as it is.
STEP_LIMIT = 0.5


@dataclass(frozen=True)
class Step:
    """From coefficients at one measurement to those at another: linear, and a response to the modes beyond."""

    propagator: Float[np.ndarray, "modes modes"]
    response: Float[np.ndarray, " modes"]

    def __call__(self, g: Float[np.ndarray, " modes"], *, closed: bool = False) -> Float[np.ndarray, " modes"]:
        """Carry coefficients over; `closed` leaves out the modes beyond."""
        return self.propagator @ g if closed else self.propagator @ g + self.response


@dataclass(frozen=True)
class LeadingModes:
    """The leading modes at every measurement.

    Attributes:
        times: Sums of learning rates.
        rates: Rate at which each mode's amplitude decays, flow-equivalent.
        slopes: Their derivatives in time.
        couplings: Omega_uv.
        sources: sum_v Omega_uv g_v over the modes beyond.
        overlaps: <phi_u here, phi_v at the measurement before>.
        is_linked: Whether the overlap is with the measurement that stands before in the data.
        coefficients: g_u.
        labels: How to fill the time between.
    """

    times: Float[np.ndarray, " times"]
    rates: Float[np.ndarray, "times modes"]
    slopes: Float[np.ndarray, "times modes"]
    couplings: Float[np.ndarray, "times modes modes"]
    sources: Float[np.ndarray, "times modes"]
    overlaps: Float[np.ndarray, "times modes modes"]
    is_linked: Bool[np.ndarray, " times"]
    coefficients: Float[np.ndarray, "times modes"]
    labels: Labels
    _steps: dict[tuple[int, int], Step] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """Number of modes."""
        return self.rates.shape[1]

    def is_joined(self, i: int, k: int) -> bool:
        """Whether overlaps join measurement i to k without a gap."""
        return bool(self.is_linked[i + 1 : k + 1].all())

    def overlap(self, i: int, k: int) -> Float[np.ndarray, "modes modes"]:
        """<phi at k, phi at i>, through the span at every measurement between."""
        product = self.overlaps[i + 1]
        for step in range(i + 2, k + 1):
            product = self.overlaps[step] @ product
        return product

    def turn(self, i: int, k: int) -> Float[np.ndarray, "modes modes"]:
        """The orthogonal matrix nearest to the overlap: components at i, carried in parallel to k."""
        left, _, right = np.linalg.svd(self.overlap(i, k))
        return left @ right

    def step(self, i: int, k: int) -> Step:
        """Integrate from measurement i to k, components in the modes of either."""
        if (i, k) not in self._steps:
            self._steps[i, k] = self._transported(i, k) if self.labels == "transported" else self._matched(i, k)
        return self._steps[i, k]

    def _transported(self, i: int, k: int) -> Step:
        turn, length = self.turn(i, k), float(self.times[k] - self.times[i])
        values = [np.diag(self.rates[i]), (turn.T * self.rates[k]) @ turn]
        slopes = [self._slope(i), turn.T @ self._slope(k) @ turn]
        ends = [self.sources[i], turn.T @ self.sources[k]]
        state = np.eye(self.count, self.count + 1)
        substeps = _substeps(length * float(np.linalg.norm(values[1] - values[0])))
        for points, h in _gauss_points(substeps, length):
            first, second = ((_hermite(values, slopes, s, length), _line(ends, s)) for s in points)
            for a, b in (WEIGHTS, WEIGHTS[::-1]):
                decay, vectors = np.linalg.eigh(a * first[0] + b * second[0])
                decay = h * np.maximum(decay, 0.0)  # M has no negative eigenvalue; an interpolated one may
                turned = np.exp(-decay)[:, None] * (vectors.T @ state)
                source = vectors.T @ (a * first[1] + b * second[1])
                turned[:, -1] += (
                    h * np.where(decay > 0, -np.expm1(-decay) / np.where(decay > 0, decay, 1.0), 1.0) * source
                )
                state = vectors @ turned
        state = turn @ state
        return Step(state[:, :-1], state[:, -1])

    def _matched(self, i: int, k: int) -> Step:
        overlap, length = self.overlap(i, k), float(self.times[k] - self.times[i])
        rows, columns = linear_sum_assignment(-(overlap**2))
        turn = np.zeros_like(overlap)
        turn[rows, columns] = np.where(overlap[rows, columns] < 0, -1.0, 1.0)
        values = [self.rates[i], np.abs(turn).T @ self.rates[k]]
        slopes = [self.slopes[i], np.abs(turn).T @ self.slopes[k]]
        omega = [self.couplings[i], turn.T @ self.couplings[k] @ turn]
        ends = [self.sources[i], turn.T @ self.sources[k]]
        state = np.eye(self.count + 1)  # the last row is the constant 1 that the source multiplies
        change = float(np.linalg.norm(values[1] - values[0]) + max(np.linalg.norm(x) for x in omega))
        for points, h in _gauss_points(_substeps(length * change), length):
            generators = []
            for s in points:
                block = np.zeros_like(state)
                block[:-1, :-1] = _line(omega, s) - np.diag(np.maximum(_hermite(values, slopes, s, length), 0.0))
                block[:-1, -1] = _line(ends, s)
                generators.append(block)
            for a, b in (WEIGHTS, WEIGHTS[::-1]):
                state = expm(h * (a * generators[0] + b * generators[1])) @ state
        return Step(turn @ state[:-1, :-1], turn @ state[:-1, -1])

    def _slope(self, i: int) -> Float[np.ndarray, "modes modes"]:
        """The derivative of the operator in its own modes: rates by their slopes, rotation by Omega."""
        return np.diag(self.slopes[i]) + self.couplings[i] * (self.rates[i][:, None] - self.rates[i][None, :])


def read_leading_modes(data: xr.Dataset, *, modes: int | None = None, labels: Labels = "transported") -> LeadingModes:
    """Read the leading modes of a run.

    Args:
        data: `run.measurements`.
        modes: How many; None takes all whose couplings are stored.
        labels: See the module.

    Raises:
        RunFolderError: If the run holds no couplings.
        ArgumentError: If `modes` is out of range, or `labels` unknown.
    """
    missing = [name for name in NEEDED if name not in data]
    if missing:
        raise RunFolderError(
            f"The run does not hold {', '.join(missing)}, which the mode equations over an interval need: it was "
            f"recorded by an older version. Record it again."
        )
    stored = data.sizes["leading"]
    count = stored if modes is None else modes
    if not 1 <= count <= stored:
        raise ArgumentError(
            f"`modes` must lie in [1, {stored}], the modes whose couplings are stored, but is {modes}. "
            f"Recorder(..., couplings=) stores more."
        )
    if labels not in ("transported", "matched"):
        raise ArgumentError(f"`labels` must be 'transported' or 'matched', but is {labels!r}.")
    times = data["time"].values
    before = data["frame_time"].values if "frame_time" in data else np.append(times[:1], times[:-1])
    # A measurement that was lost leaves an overlap with one that is not here.
    is_linked = np.append(False, np.isclose(before[1:], times[:-1], rtol=1e-12, atol=0) & (np.diff(times) > 0))
    step_size = data["step_size"].values[:, None]
    eigenvalues, speeds, g, moved, kato = (
        data[name].values[:, :count]
        for name in ("eigenvalue", "eigenvalue_rate", "coefficient", "linear_step", "kato_after")
    )
    couplings = data["coupling"].values[:, :count, :count]
    rates, factors = _flow_rates(eigenvalues, step_size)
    whole = (kato - moved) / step_size
    return LeadingModes(
        times=times,
        rates=rates,
        slopes=factors * speeds,
        couplings=couplings,
        sources=whole - np.einsum("tuv,tv->tu", couplings, moved),
        overlaps=data["frame_overlap"].values[:, :count, :count],
        is_linked=is_linked,
        coefficients=g,
        labels=labels,
    )


def _flow_rates(eigenvalues: np.ndarray, step_size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-ln(1 - eta lambda) / eta and its derivative in lambda, by its tangent beyond the limit."""
    limit = STEP_LIMIT / step_size
    inside = np.minimum(np.maximum(eigenvalues, 0.0), limit)
    factors = 1.0 / (1.0 - step_size * inside)
    return -np.log1p(-step_size * inside) / step_size + factors * (eigenvalues - inside), factors


def _substeps(change: float) -> int:
    return int(np.clip(np.ceil(change), *SUBSTEPS))


def _gauss_points(substeps: int, length: float) -> list[tuple[tuple[float, float], float]]:
    """The two points of each substep, as shares of the whole, and its length."""
    return [
        ((float((n + GAUSS[0]) / substeps), float((n + GAUSS[1]) / substeps)), length / substeps)
        for n in range(substeps)
    ]


def _line(ends: list[np.ndarray], s: float) -> np.ndarray:
    return (1.0 - s) * ends[0] + s * ends[1]


def _hermite(values: list[np.ndarray], slopes: list[np.ndarray], s: float, length: float) -> np.ndarray:
    rest = 1.0 - s
    ends = rest**2 * (1 + 2 * s) * values[0] + s**2 * (3 - 2 * s) * values[1]
    return ends + length * (s * rest**2 * slopes[0] - s**2 * rest * slopes[1])
