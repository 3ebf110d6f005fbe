"""What the inverse problem gives back."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Bool, Float

from eigenflow.core.display import AbstractPrinted, Card, figure, interval, span

__all__ = ["RecoverStatus", "Recovered"]


class RecoverStatus(Enum):
    """How a recovery ended.

    CONVERGED: the law fits the energies within their noise. POOR_FIT: it does not; intervals are
    widened by the misfit, but the model may be wrong. UNDERDETERMINED: too few data to say anything;
    the velocity is 0 with an infinite interval. NOT_CONVERGED: the search ended before it settled.
    """

    CONVERGED = "converged"
    POOR_FIT = "poor fit"
    UNDERDETERMINED = "underdetermined"
    NOT_CONVERGED = "not converged"


@dataclass(frozen=True, repr=False)
class Recovered(AbstractPrinted):
    """The velocity and the source that shell energies show, with 90 % intervals.

    Attributes:
        times: Measured times, shape (time,).
        eigenvalues: Geometric centres of the shells, shape (shell,).
        velocity: Logarithmic velocity w = v / lambda, 1 / time; positive upwards.
        velocity_low: Lower end of its band, given the form of the law: the whole of the true velocity
            lies in the band, wherever there is energy, with 90 % probability.
        velocity_high: Upper end.
        has_energy: Where a shell holds at least a thousandth of the energy of the time. Elsewhere
            the velocity is an extrapolation: of the power law, or of its bending, whose interval
            widens.
        resolution: Share of the uncertainty of ln|w| left by the prior that the data removed, in
            [0, 1], shape (shell,).
        strength: kappa(t) = c(t) reference^(b - 1), 1 / time; positive: eigenvalues fall.
        strength_low: Lower ends of its intervals.
        strength_high: Upper ends.
        reference: Eigenvalue at which `strength` is the velocity's size.
        b: Exponent of the drift v = -c(t) lambda^b; with a bent law its mean.
        b_interval: Its interval; that of the prior, 1 +- 2.5, where nothing moves.
        c: c(t), shape (time,), in eigenvalue^(1 - b) / time.
        c_low: Lower ends of its intervals.
        c_high: Upper ends.
        flux: Downward energy flux of the drift through each shell edge, shape (time, edge).
        flux_low: Lower ends of its intervals.
        flux_high: Upper ends.
        source: S, energy per time gained in each shell at each time beyond what drifts; rows add up
            to zero. All zero unless asked for.
        source_low: Lower ends of its intervals.
        source_high: Upper ends.
        fitted: Shell energies of the fit, shape (time, shell).
        misfit: Root mean square of ln(fitted / measured), of the data above the floor.
        noise: Relative error of the energies, as given or as found.
        effective: Number of parameters that the data determine, by part: "start", "strength", "b",
            "bending", "source".
        points: Number of data above the floor.
        strength_functions: Number of functions of time in the strength; 1 is a constant.
        status: See `RecoverStatus`.
    """

    times: Float[np.ndarray, " time"]
    eigenvalues: Float[np.ndarray, " shell"]
    velocity: Float[np.ndarray, "time shell"]
    velocity_low: Float[np.ndarray, "time shell"]
    velocity_high: Float[np.ndarray, "time shell"]
    has_energy: Bool[np.ndarray, "time shell"]
    resolution: Float[np.ndarray, " shell"]
    strength: Float[np.ndarray, " time"]
    strength_low: Float[np.ndarray, " time"]
    strength_high: Float[np.ndarray, " time"]
    reference: float
    b: float
    b_interval: tuple[float, float]
    c: Float[np.ndarray, " time"]
    c_low: Float[np.ndarray, " time"]
    c_high: Float[np.ndarray, " time"]
    flux: Float[np.ndarray, "time edge"]
    flux_low: Float[np.ndarray, "time edge"]
    flux_high: Float[np.ndarray, "time edge"]
    source: Float[np.ndarray, "time shell"]
    source_low: Float[np.ndarray, "time shell"]
    source_high: Float[np.ndarray, "time shell"]
    fitted: Float[np.ndarray, "time shell"]
    misfit: float
    noise: float
    effective: dict[str, float]
    points: float
    strength_functions: int
    status: RecoverStatus

    def _card(self) -> Card:
        first, last = (interval(float(self.c[k]), float(self.c_low[k]), float(self.c_high[k])) for k in (0, -1))
        determined = ", ".join(f"{name} {value:.1f}" for name, value in self.effective.items() if value > 0)
        rows = [
            ("status", self.status.value),
            ("law", "v = -c(t) lambda^b" if self.strength_functions > 1 else "v = -c lambda^b"),
            ("b", interval(self.b, *self.b_interval)),
            ("c, first", first),
            ("c, last", last),
            ("time", span(self.times)),
            ("eigenvalues", span(self.eigenvalues)),
            ("resolution", f"{figure(float(self.resolution.min()), 2)} to {figure(float(self.resolution.max()), 2)}"),
            ("misfit", f"{figure(self.misfit, 2)}, noise {figure(self.noise, 2)}, of {figure(self.points)} data"),
            ("determined", determined or "nothing"),
        ]
        title = f"Recovered: {len(self.times)} times, {len(self.eigenvalues)} shells; 90 % intervals"
        return Card(title, rows)
