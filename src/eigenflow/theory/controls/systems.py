"""The systems behind the controls: what each begins with, and how its modes move.

Positive controls obey the equation exactly: modes at rest, growing and sinking at one rate (b = 1), and moving by
b = 1.5 on the self-similar line, with as many modes and times as a run has. Negative controls break one thing each. The
rest of a negative control is as in a positive one, so that it also says what must not be contradicted.

Spectra are lambda_k = k^-nu with energies whose sum below lambda goes as lambda^sigma; exponents, drift and Gaussian
coefficients are drawn for each seed. Time is in units of the inverse of the largest eigenvalue, and ends where some
thousands of them have passed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from eigenflow.core.grid import log_steps
from eigenflow.theory.controls.measuring import ControlRun, Instant, System, measure, resting_modes
from eigenflow.theory.controls.motion import carried_modes, powers_of_time, scaled_modes, still_modes, turning_pairs

__all__ = [
    "END",
    "STEP",
    "Control",
    "Spectrum",
    "aligned_network",
    "at_rest",
    "broken_power",
    "draw_spectrum",
    "ended_clock",
    "narrow_spectrum",
    "own_powers",
    "power_clock",
    "self_similar_drift",
    "several_clocks",
    "smooth_target",
    "stretched_exponential",
    "swinging_clock",
    "three_quarter_power",
    "turning_modes",
]


STEP = 0.08  # length of an update times the largest eigenvalue that is ever reached
END = 3000.0  # last time, in units of the inverse of the first largest eigenvalue


@dataclass(frozen=True)
class Spectrum:
    """What a control begins with.

    Attributes:
        eigenvalues: lambda_k = k^-nu.
        coefficients: Gaussian, with energies whose sum below lambda goes as lambda^sigma.
        nu: Capacity exponent.
        sigma: Source exponent.
    """

    eigenvalues: Float[np.ndarray, " mode"]
    coefficients: Float[np.ndarray, " mode"]
    nu: float
    sigma: float


def draw_spectrum(modes: int, rng: np.random.Generator) -> Spectrum:
    """Draw exponents and coefficients: nu from 1.1 to 1.6, sigma from 0.35 to 0.9."""
    nu, sigma = rng.uniform(1.1, 1.6), rng.uniform(0.35, 0.9)
    rank = np.arange(1.0, modes + 1.0)
    size = rank ** (-0.5 * (nu * sigma + 1.0))
    return Spectrum(rank**-nu, size * rng.normal(size=modes), float(nu), float(sigma))


Maker = Callable[[Spectrum, np.random.Generator, np.ndarray], System]


@dataclass(frozen=True)
class Control:
    """A system with a known truth.

    Attributes:
        name: In words.
        is_positive: Whether it obeys the equation exactly.
        largest: Factor by which the largest eigenvalue has grown at the end, or ever, by the generator's draw.
        make: The system, from a spectrum, a generator, and the times that will be asked for.
        holds: Assertions that are true of it.
        fails: Assertions that are false.
        record: Makes the run from modes, times and seed, where measuring the system will not do.
    """

    name: str
    is_positive: bool
    make: Maker
    holds: frozenset[str]
    fails: frozenset[str] = frozenset()
    largest: float = 1.0
    record: Callable[[int, int, int], ControlRun] | None = None

    def run(self, modes: int, times: int, seed: int, *, is_even: bool = False) -> ControlRun:
        """The control as a run.

        Args:
            modes: Its modes.
            times: Measured updates, evenly spread over log time.
            seed: Of exponents, drift and coefficients.
            is_even: Spread them evenly over time instead, as kept checkpoints are; not where `record` makes the run.

        Returns:
            A run in memory.
        """
        if self.record is not None:
            return self.record(modes, times, seed)
        rng = np.random.default_rng([seed, modes, times])
        spectrum = draw_spectrum(modes, rng)
        length = STEP / self.largest
        total = int(END / length)
        steps = np.linspace(0, total - 1, times).round() if is_even else log_steps(total, count=times)
        starts = steps * length
        system = self.make(spectrum, rng, np.concatenate([starts, starts + length]))
        return ControlRun(measure(system, starts, length), self.name)


def at_rest(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """Every eigenvalue stands still: v = 0."""
    return still_modes(spectrum.eigenvalues, spectrum.coefficients)


def power_clock(low: float, high: float) -> Maker:
    """All eigenvalues scale as (1 + t)^gamma, gamma drawn from a range."""

    def make(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
        gamma = rng.uniform(low, high)
        return powers_of_time(spectrum.eigenvalues, spectrum.coefficients, gamma)

    return make


def self_similar_drift(low: float, high: float, b: float = 1.5) -> Maker:
    """v = -c0 (1 + t)^(b - 2) lambda^b, c0 drawn from a range."""

    def make(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
        c0 = rng.uniform(low, high)

        def speed(lam: np.ndarray, t: float) -> np.ndarray:
            return -c0 * (1 + t) ** (b - 2) * lam ** (b - 1)

        return carried_modes(spectrum.eigenvalues, spectrum.coefficients, speed, float(times.max()))

    return make


def aligned_network(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """Aligned two-layer linear network: lambda = 2 a, a' = 2 a (s - a), e = a - s; v depends on the strength s.

    Strengths are those of a power law times a log-normal factor, all modes start small
    (equations/known_cases.md#aligned-networks).
    """
    strengths = 0.5 * spectrum.eigenvalues * np.exp(1.2 * rng.normal(size=len(spectrum.eigenvalues)))
    strengths /= max(1.0, 2.0 * float(strengths.max()))
    start = 0.02 * strengths * rng.uniform(0.5, 2.0, len(strengths))

    def at(time: float) -> Instant:
        a = strengths * expit(np.log(start / (strengths - start)) + 2 * strengths * time)
        return resting_modes(2 * a, 4 * a * (strengths - a), a - strengths)

    return at


def broken_power(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """Growth with w ~ lambda^.5 below a break and lambda^-.5 above it."""
    at, gamma = float(np.exp(np.log(spectrum.eigenvalues).mean())), rng.uniform(0.25, 0.4)

    def speed(lam: np.ndarray, t: float) -> np.ndarray:
        return gamma / (1 + t) * np.exp(-0.5 * np.abs(np.log(lam / at)))

    return carried_modes(spectrum.eigenvalues, spectrum.coefficients, speed, float(times.max()))


def several_clocks(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """Every mode scales as its own power of 1 + t, by chance: -.5, 0 or .35."""
    gamma = rng.choice([-0.5, 0.0, 0.35], len(spectrum.eigenvalues))
    return powers_of_time(spectrum.eigenvalues, spectrum.coefficients, gamma)


def ended_clock(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """All eigenvalues sink as exp(-c t), so that the clock ends: b = 1 with a constant c."""
    c = rng.uniform(5.0, 20.0) / END
    return scaled_modes(
        spectrum.eigenvalues,
        spectrum.coefficients,
        lambda t: np.exp(-c * t),
        lambda t: -np.expm1(-c * t) / c,
        lambda t: -c,
    )


def swinging_clock(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """tau ~ (1 + t)^.8 (1 + .3 sin(2 ln(1 + t))): a clock whose L does not vary slowly."""
    power, size, pitch = 0.8, 0.3, 2.0
    unit = power + size * pitch  # tau' at t = 0

    def clock(t: float) -> float:
        return float(((1 + t) ** power * (1 + size * np.sin(pitch * np.log1p(t))) - 1) / unit)

    def scale(t: float) -> float:
        angle = pitch * np.log1p(t)
        inner = power * (1 + size * np.sin(angle)) + size * pitch * np.cos(angle)
        return float((1 + t) ** (power - 1) * inner / unit)

    def speed(t: float) -> float:
        angle = pitch * np.log1p(t)
        inner = power * (1 + size * np.sin(angle)) + size * pitch * np.cos(angle)
        change = power * size * pitch * np.cos(angle) - size * pitch**2 * np.sin(angle)
        return float((power - 1 + change / inner) / (1 + t))

    return scaled_modes(spectrum.eigenvalues, spectrum.coefficients, scale, clock, speed)


def stretched_exponential(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """At rest, with energies whose Laplace transform is exp(-(2 scale t)^.5): a loss that is no power of time.

    Their density is that of the one-sided stable law of index 1/2, scale^.5 lambda^-1.5 exp(-scale / (4 lambda)).
    """
    lam = spectrum.eigenvalues
    scale = rng.uniform(0.03, 0.1)
    per_log = np.sqrt(scale / (4 * np.pi * lam)) * np.exp(-scale / (4 * lam))
    coefficients = np.sqrt(per_log * np.abs(np.gradient(np.log(lam)))) * rng.normal(size=len(lam))
    return still_modes(lam, coefficients)


def smooth_target(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """At rest, with energies that fall exponentially in the rank: no finite regularity, and no power of time."""
    count = len(spectrum.eigenvalues)
    coefficients = np.exp(-np.arange(count) / (0.1 * count)) * rng.normal(size=count)
    return still_modes(spectrum.eigenvalues, coefficients)


def narrow_spectrum(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """At rest, with eigenvalues of an exponential law: no heavy tail, no power law of the loss."""
    lam = np.sort(rng.exponential(size=len(spectrum.eigenvalues)))[::-1]
    return still_modes(lam / lam[0], rng.normal(size=len(lam)))


def own_powers(powers: Callable[[np.ndarray], np.ndarray]) -> Maker:
    """Every mode scales as its own power of 1 + t, by its first eigenvalue."""

    def make(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
        gamma = powers(spectrum.eigenvalues)
        return powers_of_time(spectrum.eigenvalues, spectrum.coefficients, gamma)

    return make


def three_quarter_power(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """Growth with b = 3/4: small eigenvalues grow faster than large ones, so exponents of the spectrum change."""
    size = rng.uniform(0.04, 0.06)

    def speed(lam: np.ndarray, t: float) -> np.ndarray:
        return size / (1 + t) * lam**-0.25

    return carried_modes(spectrum.eigenvalues, spectrum.coefficients, speed, float(times.max()))


def turning_modes(distance: float, low: float, high: float, gamma: float = 0.0) -> Maker:
    """Eigenvalues scale as (1 + t)^gamma; pairs of modes that lie `distance` decades apart turn into one another."""

    def make(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
        lam = spectrum.eigenvalues
        first, second = _partners(lam, distance)
        turn = rng.uniform(low, high, len(first)) * rng.choice([-1.0, 1.0], len(first))
        return turning_pairs(lam, spectrum.coefficients, first, second, turn, times, gamma)

    return make


def _partners(lam: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of modes about `distance` decades apart, each mode in one pair at most."""
    taken = np.zeros(len(lam), dtype=bool)
    first, second = [], []
    for i in range(len(lam)):
        j = int(np.searchsorted(-np.log10(lam), -np.log10(lam[i]) + distance))
        while j < len(lam) and taken[j]:
            j += 1
        if not taken[i] and j < len(lam) and j != i:
            taken[[i, j]] = True
            first.append(i)
            second.append(j)
    return np.array(first), np.array(second)
