"""The controls: systems of which it is known which assertions hold on them and which do not.

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
from eigenflow.theory.controls.motion import carried_modes, scaled_modes, turning_pairs

__all__ = ["CONTROLS", "Control", "Spectrum", "draw_spectrum"]


def _rows(names: str) -> frozenset[str]:
    return frozenset(names.split())


STEP = 0.08  # length of an update times the largest eigenvalue that is ever reached
STEPS = 20_000  # updates of controls with minibatches
END = 3000.0  # last time, in units of the inverse of the first largest eigenvalue

EXACT = _rows(
    "C1.identity C1.flow C1.rough C2.eigenvalues C2.coefficients C2.isolated C2.interval "
    "C3.closes C3.remainder C3.integrated"
)
AT_REST = _rows("C3.source C5.weak C5.kato C5.turned")
SELF_SIMILAR = _rows("C5.frontier C5.collapse C5.amplitude C5.dissipation")
EXPONENTS = _rows("C6.time C6.forecast C6.spectrum")
ONE_CLOCK = _rows("C7.operator C7.error C7.clock C7.regular")
DRIFT = _rows(
    "C3.single C3.source C3.closure C3.forward C4.form C4.alternatives C4.asymptotic C4.strength C4.regularity "
    "C5.local C8.equation"
)


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
        record: Makes the run where measuring the system will not do.
    """

    name: str
    is_positive: bool
    make: Maker
    holds: frozenset[str]
    fails: frozenset[str] = frozenset()
    largest: float = 1.0
    record: Callable[["Control", int, int, int], ControlRun] | None = None

    def run(self, modes: int, times: int, seed: int) -> ControlRun:
        """The control as a run.

        Args:
            modes: Its modes.
            times: Measured updates, evenly spread over log time.
            seed: Of exponents, drift and coefficients.

        Returns:
            A run in memory.
        """
        if self.record is not None:
            return self.record(self, modes, times, seed)
        rng = np.random.default_rng([seed, modes, times])
        spectrum = draw_spectrum(modes, rng)
        length = STEP / self.largest
        starts = log_steps(int(END / length), count=times) * length
        system = self.make(spectrum, rng, np.concatenate([starts, starts + length]))
        return ControlRun(measure(system, starts, length), self.name)


def _lazy(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    one, zero = (lambda t: 1.0), (lambda t: 0.0)
    return scaled_modes(spectrum.eigenvalues, spectrum.coefficients, one, lambda t: t, zero)


def _powers(low: float, high: float) -> Maker:
    """All eigenvalues scale as (1 + t)^gamma, gamma drawn from a range."""

    def make(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
        gamma = rng.uniform(low, high)
        return scaled_modes(
            spectrum.eigenvalues,
            spectrum.coefficients,
            lambda t: (1 + t) ** gamma,
            lambda t: ((1 + t) ** (1 + gamma) - 1) / (1 + gamma),
            lambda t: gamma / (1 + t),
        )

    return make


def _self_similar(low: float, high: float, b: float = 1.5) -> Maker:
    """v = -c0 (1 + t)^(b - 2) lambda^b, c0 drawn from a range."""

    def make(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
        c0 = rng.uniform(low, high)

        def speed(lam: np.ndarray, t: float) -> np.ndarray:
            return -c0 * (1 + t) ** (b - 2) * lam ** (b - 1)

        return carried_modes(spectrum.eigenvalues, spectrum.coefficients, speed, float(times.max()))

    return make


def _saxe(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
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


def _broken(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """Growth with w ~ lambda^.5 below a break and lambda^-.5 above it."""
    at, gamma = float(np.exp(np.log(spectrum.eigenvalues).mean())), rng.uniform(0.25, 0.4)

    def speed(lam: np.ndarray, t: float) -> np.ndarray:
        return gamma / (1 + t) * np.exp(-0.5 * np.abs(np.log(lam / at)))

    return carried_modes(spectrum.eigenvalues, spectrum.coefficients, speed, float(times.max()))


def _several_clocks(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """Every mode scales as its own power of 1 + t: -.5, 0 or .6 (.35 for the first ones)."""
    gamma = rng.choice([-0.5, 0.0, 0.35], len(spectrum.eigenvalues))
    return scaled_modes(
        spectrum.eigenvalues,
        spectrum.coefficients,
        lambda t: (1 + t) ** gamma,
        lambda t: ((1 + t) ** (1 + gamma) - 1) / (1 + gamma),
        lambda t: gamma / (1 + t),
    )


def _exponential_clock(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """All eigenvalues sink as exp(-c t), so that the clock ends: b = 1 with a constant c."""
    c = rng.uniform(5.0, 20.0) / END
    return scaled_modes(
        spectrum.eigenvalues,
        spectrum.coefficients,
        lambda t: np.exp(-c * t),
        lambda t: -np.expm1(-c * t) / c,
        lambda t: -c,
    )


def _swinging_clock(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
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


def _stretched(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """At rest, with energies whose Laplace transform is exp(-(2 t / 10)^.5): a loss that is no power of time.

    Their density is that of the one-sided stable law of index 1/2, scale^.5 lambda^-1.5 exp(-scale / (4 lambda)).
    """
    lam = spectrum.eigenvalues
    scale = rng.uniform(0.03, 0.1)
    per_log = np.sqrt(scale / (4 * np.pi * lam)) * np.exp(-scale / (4 * lam))
    coefficients = np.sqrt(per_log * np.abs(np.gradient(np.log(lam)))) * rng.normal(size=len(lam))
    one, zero = (lambda t: 1.0), (lambda t: 0.0)
    return scaled_modes(lam, coefficients, one, lambda t: t, zero)


def _smooth(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """At rest, with energies that fall exponentially in the rank: no finite regularity, and no power of time."""
    count = len(spectrum.eigenvalues)
    coefficients = np.exp(-np.arange(count) / (0.1 * count)) * rng.normal(size=count)
    one, zero = (lambda t: 1.0), (lambda t: 0.0)
    return scaled_modes(spectrum.eigenvalues, coefficients, one, lambda t: t, zero)


def _noisy(control: "Control", modes: int, times: int, seed: int) -> ControlRun:
    """Plain SGD on a linear model: a mode is a sample, and each update sees a tenth of them."""
    return _sampled(modes, times, seed, noise=1.0)


def _too_noisy(control: "Control", modes: int, times: int, seed: int) -> ControlRun:
    """The same with twice the noise that its batches have: another process than it says."""
    return _sampled(modes, times, seed, noise=2.0)


def _sampled(modes: int, times: int, seed: int, noise: float) -> ControlRun:
    rng = np.random.default_rng([seed, modes, times])
    # A flat spectrum, in which the noise of one batch is that of many samples.
    lam, batch = np.arange(1.0, modes + 1.0) ** -0.3, max(2, modes // 10)
    length = STEP * batch / modes  # a sample's own step is as long as elsewhere
    steps = log_steps(STEPS, count=times)
    error, states, updates = rng.normal(size=modes), {}, {}
    wanted = set(steps.tolist()) | set((steps + 1).tolist())
    for step in range(int(steps[-1]) + 2):
        if step in wanted:
            states[step] = error
        chosen = np.zeros(modes)
        chosen[rng.choice(modes, batch, replace=False)] = modes / batch
        drawn = 1.0 + noise * (chosen - 1.0)
        error = error * (1.0 - length * lam * drawn)
        if step in wanted:
            updates[step] = error

    def at(time: float) -> Instant:
        return resting_modes(lam, np.zeros(modes), states[round(time / length)])

    def update(instant: Instant, time: float, step_size: float) -> np.ndarray:
        return updates[round(time / length)]

    data = measure(at, steps * length, length, update=update)
    return ControlRun(data, "minibatches", batch_size=batch)


def _narrow(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """At rest, with eigenvalues of an exponential law: no heavy tail, no power law of the loss."""
    lam = np.sort(rng.exponential(size=len(spectrum.eigenvalues)))[::-1]
    one, zero = (lambda t: 1.0), (lambda t: 0.0)
    return scaled_modes(lam / lam[0], rng.normal(size=len(lam)), one, lambda t: t, zero)


def _single_powers(powers: Callable[[np.ndarray], np.ndarray]) -> Maker:
    """Every mode scales as its own power of 1 + t, by its first eigenvalue."""

    def make(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
        gamma = powers(spectrum.eigenvalues)
        return scaled_modes(
            spectrum.eigenvalues,
            spectrum.coefficients,
            lambda t: (1 + t) ** gamma,
            lambda t: ((1 + t) ** (1 + gamma) - 1) / (1 + gamma),
            lambda t: gamma / (1 + t),
        )

    return make


def _slow_power(spectrum: Spectrum, rng: np.random.Generator, times: np.ndarray) -> System:
    """Growth with b = 3/4: small eigenvalues grow faster than large ones, so exponents of the spectrum change."""
    size = rng.uniform(0.04, 0.06)

    def speed(lam: np.ndarray, t: float) -> np.ndarray:
        return size / (1 + t) * lam**-0.25

    return carried_modes(spectrum.eigenvalues, spectrum.coefficients, speed, float(times.max()))


def _turning(distance: float, low: float, high: float, gamma: float = 0.0) -> Maker:
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


_LAZY = AT_REST | SELF_SIMILAR | ONE_CLOCK | {"C4.regularity", "C8.equation", "C8.lazy"}
_STILL = EXACT - {"C2.eigenvalues"}  # of eigenvalues that stand still there is no rate to predict
_TURNING = (EXACT - {"C2.eigenvalues", "C2.isolated"}) | {"C1.heavy_tail", "C7.operator"}

CONTROLS: tuple[Control, ...] = (
    Control("at rest", True, _lazy, _STILL | _LAZY | EXPONENTS | {"C1.heavy_tail"}, _rows("C1.basis")),
    Control(
        "nearly at rest, b = 1",
        True,
        _powers(0.003, 0.006),
        EXACT | _LAZY | (DRIFT - {"C3.closure"}) | EXPONENTS | {"C1.heavy_tail", "C8.still"},
        _rows("C1.basis C4.sign"),
        largest=1.05,
    ),
    Control(
        "growth, b = 1",
        True,
        _powers(0.2, 0.4),
        EXACT
        | AT_REST
        | SELF_SIMILAR
        | EXPONENTS
        | ONE_CLOCK
        | DRIFT
        | {"C1.heavy_tail", "C4.forward", "C5.shift", "C8.rich", "C8.moving"},
        _rows("C1.basis C4.sign"),
        largest=(1.0 + END) ** 0.4,
    ),
    Control(
        "decay, b = 1",
        True,
        _powers(-0.4, -0.2),
        EXACT
        | AT_REST
        | SELF_SIMILAR
        | EXPONENTS
        | ONE_CLOCK
        | DRIFT
        | {"C1.heavy_tail", "C4.forward", "C4.sign", "C5.shift", "C8.moving"},
        _rows("C1.basis"),
    ),
    Control(
        "decay, b = 1.5, self-similar",
        True,
        _self_similar(0.6, 1.2),
        EXACT | AT_REST | SELF_SIMILAR | (DRIFT - {"C4.regularity"}) | {"C4.forward", "C4.sign", "C8.moving"},
        _rows("C1.basis C7.operator C7.error"),
    ),
    Control(
        "growth, b = 3/4",
        True,
        _slow_power,
        EXACT | AT_REST | (DRIFT - {"C3.closure", "C4.regularity"}),
        _rows("C1.basis C4.regularity C4.sign"),
        largest=2.0,
    ),
    Control(
        "aligned linear network",
        False,
        _saxe,
        (EXACT - {"C1.rough"}) | AT_REST | {"C1.heavy_tail"},
        _rows("C1.basis C3.single C4.sign C7.operator C7.error"),
        largest=2.0,
    ),
    Control(
        "broken power",
        False,
        _broken,
        EXACT | AT_REST | {"C1.heavy_tail", "C3.single", "C8.equation"},
        _rows("C1.basis C4.alternatives C4.sign"),
        largest=2.0,
    ),
    Control(
        "several clocks",
        False,
        _several_clocks,
        EXACT | AT_REST,
        _rows("C1.basis C3.single C4.form C4.asymptotic C5.collapse C7.operator C7.error C7.clock C8.equation"),
        largest=(1.0 + END) ** 0.35,
    ),
    Control(
        "exponential clock",
        False,
        _exponential_clock,
        EXACT
        | AT_REST
        | {"C1.heavy_tail", "C3.single", "C4.asymptotic", "C7.operator", "C7.error", "C7.clock", "C8.equation"},
        _rows("C1.basis C5.frontier C5.collapse C5.dissipation C5.amplitude C7.regular"),
    ),
    Control(
        "swinging clock",
        False,
        _swinging_clock,
        EXACT
        | AT_REST
        | {"C1.heavy_tail", "C3.single", "C4.asymptotic", "C7.operator", "C7.error", "C7.clock", "C8.equation"},
        _rows("C1.basis C4.strength C5.frontier C5.dissipation C7.regular"),
        largest=1.3,
    ),
    Control(
        "stretched exponential",
        False,
        _stretched,
        (_STILL - {"C1.rough"}) | AT_REST | ONE_CLOCK | {"C1.heavy_tail", "C5.frontier", "C8.equation", "C8.lazy"},
        _rows("C1.basis C1.rough C5.amplitude C5.dissipation C6.time"),
    ),
    Control(
        "smooth target",
        False,
        _smooth,
        (_STILL - {"C1.rough"}) | AT_REST | {"C1.heavy_tail", "C5.frontier", "C8.equation", "C8.lazy"},
        _rows("C1.basis C1.rough"),
    ),
    Control(
        "narrow spectrum",
        False,
        _narrow,
        (_STILL - {"C1.rough"}) | AT_REST | {"C7.operator", "C7.error", "C7.clock", "C8.equation", "C8.lazy"},
        _rows("C1.heavy_tail C1.basis"),
    ),
    Control(
        "turning between distant modes",
        False,
        _turning(1.5, 0.5, 1.0),
        _TURNING | {"C1.basis"},
        _rows("C3.source C5.local C5.weak C5.kato C5.turned C5.collapse C7.error C7.clock C8.equation"),
    ),
    Control(
        "decay and turning between distant modes",
        False,
        _turning(1.5, 0.5, 1.0, gamma=-0.1),
        (_TURNING - {"C2.interval"}) | _rows("C1.basis C2.eigenvalues C3.single"),
        _rows("C3.closure C3.source C5.local C5.weak C5.kato C5.turned C7.error C7.clock C8.equation"),
    ),
    Control(
        "only small modes grow",
        False,
        _single_powers(lambda lam: np.where(lam < 0.02, 0.25, 0.0)),
        EXACT | AT_REST | _rows("C1.heavy_tail C8.equation"),
        _rows("C1.basis C8.lazy"),
        largest=1.5,
    ),
    Control(
        "only the largest mode grows",
        False,
        _single_powers(lambda lam: np.where(lam == lam.max(), 0.2, 0.0)),
        EXACT | AT_REST | _rows("C8.equation"),
        _rows("C1.basis C8.rich"),
        largest=(1.0 + END) ** 0.2,
    ),
    Control(
        "turning between neighbours",
        False,
        _turning(0.1, 0.3, 0.6),
        _TURNING | {"C5.local", "C5.weak"},
    ),
    Control(
        "minibatches",
        False,
        _lazy,
        AT_REST | {"C1.identity", "C3.closes", "C5.noise"},
        _rows("C1.basis C1.flow"),
        record=_noisy,
    ),
    Control(
        "minibatches with twice their noise",
        False,
        _lazy,
        AT_REST | {"C1.identity", "C3.closes"},
        _rows("C1.basis C1.flow C5.noise"),
        record=_too_noisy,
    ),
)
