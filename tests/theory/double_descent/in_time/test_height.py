"""The peak over time: how high, how narrow, and what caps it. Numbers of equations/double_descent.md#height-law on."""

import numpy as np
import pytest
from scipy.integrate import quad

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.in_time.height import (
    LAZY_HEIGHT,
    STEP_HEIGHT,
    HeightRegime,
    height_law,
    step_collapse,
)
from eigenflow.theory.double_descent.in_time.marchenko_pastur import MarchenkoPastur, advani_saxe, isotropic_noise
from eigenflow.transport import CallableDrift, PowerDrift, StateDrift


def slope(time, **options):
    """Of ln V in ln t, over a factor 1.21 of time."""
    values = isotropic_noise([time / 1.1, time * 1.1], **options)
    return np.log(values[1] / values[0]) / np.log(1.21)


@pytest.mark.parametrize("gamma", [1e-3, 0.4, 0.999999, 1.0, 2.5, 1e3])
def test_rule_has_the_moments_of_marchenko_and_pastur(gamma):
    """Mass, mean 1, mean square 1 + gamma, all known exactly."""
    rule = MarchenkoPastur.of(gamma)
    assert rule.weights.sum() + rule.null == pytest.approx(1.0, rel=1e-12)
    assert rule.weights @ rule.eigenvalues == pytest.approx(1.0, rel=1e-12)
    assert rule.weights @ rule.eigenvalues**2 == pytest.approx(1 + gamma, rel=1e-12)


def test_advani_saxe_has_the_table_of_the_page():
    np.testing.assert_allclose(
        advani_saxe([0.5, 2, 10, 100], 0.75, snr=5, initial=0.5), [1.1440, 0.8894, 0.8897, 1.154], atol=5e-4
    )


@pytest.mark.parametrize("alpha", [0.3, 0.75, 1.0, 1.7])
def test_advani_saxe_agrees_with_an_adaptive_quadrature(alpha):
    """scipy on the formula as it is written, with its own edges and null part; 1e-8 is what is asked for."""
    low, high = (1 - np.sqrt(alpha)) ** 2, (1 + np.sqrt(alpha)) ** 2
    snr, inr = 3.0, 0.2

    def density(rate):
        return np.sqrt(np.maximum((high - rate) * (rate - low), 0.0)) / (2 * np.pi * rate)

    for t in (0.0, 0.7, 30.0):

        def integrand(rate, t=t):
            return (1 + inr) * np.exp(-2 * rate * t) + np.expm1(-rate * t) ** 2 / (rate * snr)

        # rate = (edge) + (width) sin^2 takes the roots out of both ends.
        found, _ = quad(
            lambda u: integrand(low + (high - low) * np.sin(u) ** 2)
            * density(low + (high - low) * np.sin(u) ** 2) * (high - low) * np.sin(2 * u),
            1e-12, np.pi / 2, epsabs=1e-12, epsrel=1e-12, limit=400,
        )  # fmt: skip
        expected = found + max(0.0, 1 - alpha) * (1 + inr) + 1 / snr
        assert advani_saxe([t], alpha, snr=snr, initial=inr)[0] == pytest.approx(expected, rel=1e-8)


def test_advani_saxe_ends_as_least_squares_and_starts_at_its_weights():
    """Excess at the end: noise p / (n - p) for alpha > 1, and the unseen part with noise n / (p - n) below."""
    start, end = advani_saxe([0.0, 1e7], 2.0, snr=4.0, initial=0.5)
    assert start == pytest.approx(1.5 + 0.25, rel=1e-12)
    assert end == pytest.approx(0.25 * (1 + 1.0), rel=1e-9)
    assert advani_saxe([1e7], 0.5, snr=4.0, initial=0.5)[0] == pytest.approx(0.5 * 1.5 + 0.25 * (1 + 1.0), rel=1e-9)
    assert advani_saxe([1e7], 0.5, snr=np.inf)[0] == pytest.approx(0.5, rel=1e-12)


def test_lazy_height():
    assert pytest.approx(0.660989, abs=5e-7) == LAZY_HEIGHT
    found = isotropic_noise([100.0, 1e4])
    assert found[0] == pytest.approx(6.11901, abs=6e-6)
    assert found[1] == pytest.approx(65.600, abs=5e-4)
    late = isotropic_noise([1e8])[0]
    assert late == pytest.approx(LAZY_HEIGHT * 1e4 - 0.5, rel=1e-8)


@pytest.mark.long
def test_height_is_that_of_simulated_samples():
    """n = p = 150, 300 draws, exact in the noise: the formula is the limit of many samples, off by about 1 / n."""
    rng = np.random.default_rng(0)
    t, n = np.array([1.0, 10.0, 100.0]), 150
    drift = PowerDrift(0.5, 1.5)
    lazy, sinking = [], []
    for _ in range(300):
        rate = np.linalg.svd(rng.standard_normal((n, n)) / np.sqrt(n), compute_uv=False) ** 2
        lazy.append((np.expm1(-np.outer(t, rate)) ** 2 / rate).sum(1) / n)
        exponent = np.outer(t, rate) / (1 + 0.25 * np.outer(t, np.sqrt(rate)))
        sinking.append((np.expm1(-exponent) ** 2 / rate).sum(1) / n)
    for values, options in ((lazy, {}), (sinking, {"drift": drift})):
        mean, error = np.mean(values, 0), np.std(values, 0) / np.sqrt(300)
        assert (np.abs(isotropic_noise(t, **options) - mean) <= 4 * error + mean / n).all()


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "time", "law", "within"),
    [
        ({"clock": lambda t: t**1.5}, 1e8, height_law(1.0, -0.5, p=1.0), 1e-5),
        ({"clock": np.sqrt}, 1e8, height_law(1.0, 0.5, p=1.0), 2e-3),
        ({"drift": PowerDrift(-1.0, 1.8)}, 1e8, height_law(1.8, -1.0), 3e-4),
        ({"drift": PowerDrift(-1.0, 1.5)}, 1e6, height_law(1.5, -1.0), 1e-5),
        ({"drift": PowerDrift(1.0, 2.0)}, 1e8, height_law(2.0, 1.0), 1e-4),
        ({"drift": PowerDrift(-1.0, 2.0)}, 1e8, height_law(2.0, -1.0), 1e-4),
        ({"drift": PowerDrift(1.0, 3.0)}, 1e8, height_law(3.0, 1.0), 1e-4),
        ({"drift": PowerDrift(lambda t: -1 / np.sqrt(1 + t), 1.2, lambda t: 2 - 2 * np.sqrt(1 + t))}, 1e6,
         height_law(1.2, -1.0, p=0.5), 2e-2),
    ],
    ids=["clock 1.5", "clock 0.5", "1.8 up", "1.5 up", "2 down", "2 up", "3 down", "1.2 up, weaker"],
)  # fmt: skip
def test_height_grows_by_its_law(options, time, law, within):
    """Slopes at a finite time are off by 1 / (4 K sqrt(T)) or so: `within` is that, or the drift's own correction."""
    assert slope(time, **options) == pytest.approx(law.exponent, abs=within)
    if law.factor is not None and "drift" in options:
        assert isotropic_noise([time], **options)[0] == pytest.approx(
            law.factor * time**law.exponent, rel=2 * max(within, 0.005)
        )


def test_exponents_of_the_page():
    assert [height_law(1.8, -0.3).exponent, height_law(1.5, -2.0).exponent] == pytest.approx([0.625, 1.0])
    assert height_law(1.9, 0.5).exponent == pytest.approx(1 / 3)
    assert slope(1e11, drift=PowerDrift(0.5, 1.9)) == pytest.approx(0.4085, abs=5e-4)


@pytest.mark.parametrize(
    ("b", "c", "limit", "within"),
    [(1.5, 0.1, 17.157, 5e-4), (1.5, 0.5, 3.0603, 5e-5), (1.5, 1.0, 1.3277, 5e-5), (1.0, 0.01, 6.119014, 5e-7)],
)
def test_arrest_caps_the_peak(b, c, limit, within):
    law = height_law(b, c)
    assert law.regime is HeightRegime.CAPPED
    assert law.limit == pytest.approx(limit, abs=within)
    assert isotropic_noise([1e14], drift=PowerDrift(c, b))[0] == pytest.approx(law.limit, rel=1e-5)


@pytest.mark.parametrize("b", [0.5, 1.3, 1.6, 1.74])
def test_limit_agrees_with_an_adaptive_quadrature(b):
    """scipy over ln l, with the power law below e^-60 by hand; at b = 1.74 a third of the limit lies there."""

    def integrand(x):
        rate = np.exp(x)
        return np.sqrt(4 - rate) / (2 * np.pi) * np.expm1(-(rate ** (2 - b)) / (0.5 * (2 - b))) ** 2 * rate**-0.5

    power = 3.5 - 2 * b
    below = (2 / (2 - b)) ** 2 / np.pi * np.exp(-60 * power) / power
    pieces = [quad(integrand, -60 + 5 * i, min(-55 + 5 * i, np.log(4.0)), epsabs=0, epsrel=1e-11)[0] for i in range(13)]
    assert height_law(b, 0.5).limit == pytest.approx(sum(pieces) + below, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "regime", "exponent"),
    [
        ((1.75, 0.5), HeightRegime.LOGARITHMIC, 0.0),
        ((1.0, 1.0, 1.0), HeightRegime.LOGARITHMIC, 0.0),
        ((1.0, 0.3, 1.0), HeightRegime.POWER, 0.35),
        ((1.0, 2.0, 1.0), HeightRegime.CAPPED, 0.0),
        ((1.0, -0.3), HeightRegime.FASTER, np.inf),
        ((0.5, -0.3), HeightRegime.AT_ONCE, np.inf),
        ((0.5, 0.3), HeightRegime.CAPPED, 0.0),
        ((1.5, 0.0), HeightRegime.POWER, 0.5),
        ((1.5, 0.3, 0.5), HeightRegime.POWER, 0.5),
        ((1.5, -0.3, 0.7), HeightRegime.POWER, 0.5),
        ((1.5, -0.3, 0.3), HeightRegime.POWER, 0.7),
        ((1.5, 0.3, 0.45), HeightRegime.POWER, 0.35),
        ((1.5, 0.3, 0.3), HeightRegime.CAPPED, 0.0),
        ((3.0, -0.3, -2.0), HeightRegime.CAPPED, 0.0),
    ],
)
def test_regimes_and_their_borders(arguments, regime, exponent):
    b, c, p = (*arguments, 0.0)[:3]
    law = height_law(b, c, p=p)
    assert law.regime is regime
    assert law.exponent == pytest.approx(exponent)
    assert str(regime.value) in repr(law)


def test_modes_that_grow_from_zero_fit_noise_at_once():
    assert list(isotropic_noise([0.0, 1e-9], drift=PowerDrift(-1.0, 0.5))) == [0.0, np.inf]
    assert np.isfinite(isotropic_noise([0.0, 1.0], 1.2, drift=PowerDrift(-1.0, 0.5))).all()


def test_peaks_of_one_clock_collapse():
    """V(1 + u / sqrt T) / V(1) at b = 1 whatever the clock; the shape is reached as 1 / sqrt T."""
    u, T = np.array([1.0, 2.0, 4.0, 8.0]), 1e8
    for rho in (0.7, 1.5):
        t = T ** (1 / rho)
        found = [isotropic_noise([t], 1 + v / np.sqrt(T), clock=lambda s, rho=rho: s**rho)[0] for v in u]
        height = isotropic_noise([t], clock=lambda s, rho=rho: s**rho)[0]
        np.testing.assert_allclose(np.array(found) / height, [0.894, 0.680, 0.378, 0.189], atol=1e-3)
        assert height / np.sqrt(T) == pytest.approx(LAZY_HEIGHT, rel=1e-3)


def test_growth_collapses_onto_the_peak_of_a_sharp_frontier():
    """b = 1.5: T = (c t / 2)^2. The closed shape is pi / (2 u) beyond u = 2, and 2 / pi is the height over sqrt T."""
    u, t, c = np.array([1.0, 2.0, 4.0, 8.0]), 1e5, 1.0
    T, drift = (c * t / 2) ** 2, PowerDrift(-c, 1.5)
    height = isotropic_noise([t], drift=drift)[0]
    found = np.array([isotropic_noise([t], 1 + v / np.sqrt(T), drift=drift)[0] for v in u]) / height
    np.testing.assert_allclose(step_collapse(u), [0.957, 0.784, 0.392, 0.196], atol=2e-3)
    np.testing.assert_allclose(found, step_collapse(u), atol=1e-4)
    assert height / np.sqrt(T) == pytest.approx(STEP_HEIGHT, rel=1e-4)
    np.testing.assert_allclose(step_collapse(np.array([0.0, 2.0, 10.0])), [1.0, np.pi / 4, np.pi / 20], rtol=1e-14)


def test_width_times_height_stays():
    """u at half the height, over four decades of T: the product moves by the 1 / sqrt T of both."""
    products = []
    for T in (1e4, 1e6, 1e8):
        height = isotropic_noise([T])[0]
        u = np.linspace(2.0, 4.0, 81)
        shape = np.array([isotropic_noise([T], 1 + v / np.sqrt(T))[0] for v in u]) / height
        products.append(np.interp(-0.5, -shape, u) / np.sqrt(T) * height)
    np.testing.assert_allclose(products, products[-1], rtol=0.02)
    np.testing.assert_allclose(products[1], products[-1], rtol=0.002)


def test_any_drift_is_taken():
    t = [0.5, 3.0]
    exact = isotropic_noise(t, 1.4, drift=PowerDrift(0.3, 1.5))
    traced = isotropic_noise(t, 1.4, drift=CallableDrift(lambda rates, _: -0.3 * rates**1.5))
    np.testing.assert_allclose(traced, exact, rtol=1e-8)
    state = isotropic_noise(t, 1.4, drift=StateDrift(kappa=0.0))
    np.testing.assert_allclose(state, isotropic_noise(t, 1.4), rtol=1e-7)


@pytest.mark.rejects
def test_bad_input_is_named():
    with pytest.raises(ArgumentError, match="`ratio`"):
        isotropic_noise([1.0], -1.0)
    with pytest.raises(ArgumentError, match="Only one of `drift` and `clock`"):
        isotropic_noise([1.0], drift=PowerDrift(1.0, 1.0), clock=np.sqrt)
    with pytest.raises(ArgumentError, match="`load`"):
        advani_saxe([1.0], 0.0, snr=1.0)
    with pytest.raises(ArgumentError, match="`snr`"):
        advani_saxe([1.0], 1.0, snr=0.0)
    with pytest.raises(ArgumentError, match="t0"):
        height_law(1.5, 0.1, t0=0.0)
