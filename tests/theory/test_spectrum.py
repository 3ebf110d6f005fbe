"""The tail of a spectrum: against the package powerlaw, closed forms, and samples of known laws."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaincc
from scipy.stats import truncnorm

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.theory.modes import heavy_tail
from eigenflow.theory.modes.heavy_tail import TailVerdict, fit_tail, spectrum_tails
from rounding import SEEDS, last_bits
from synthetic_run import measure, power_law_modes


def fit(values, draws=5):
    return fit_tail(np.asarray(values), rng=np.random.default_rng(0), draws=draws)


def samples(kind, seed, count=1000):
    rng = np.random.default_rng(seed)
    if kind == "power law":
        return 1 + rng.pareto(1.2, count)
    if kind == "exponential":
        return rng.exponential(size=count)
    kept = 0.01 * (1 + rng.pareto(0.5, 8 * count))  # lambda^-1.5 exp(-lambda), by rejection
    return kept[rng.uniform(size=len(kept)) < np.exp(-kept)][:count]


def test_agrees_with_the_package_powerlaw():
    """Version 2.0.0 on the same numbers, at our smallest value; it prints four digits."""
    rng = np.random.default_rng(5)
    pareto = 1 + rng.pareto(1.2, 1000)
    found = fit(pareto)
    assert (found.exponent, found.distance) == pytest.approx((2.2624220177318515, 0.02482046481797545), rel=1e-12)
    assert (found.log_normal.ratio, found.log_normal.p_value) == pytest.approx((-0.366, 0.661), abs=6e-4)
    assert found.exponential.ratio == pytest.approx(484.8237, abs=6e-4)
    assert (found.cut_off.ratio, found.cut_off.p_value) == pytest.approx((-0.2696, 0.4628), abs=2e-4)


@pytest.mark.parametrize("nu", [1.0, 1.5, 2.0])
def test_power_law_of_the_rank_has_the_exponent_that_theory_says(nu):
    """lambda_k = k^-nu: density lambda^-(1 + 1/nu). The largest eigenvalues alone have a different exponent: 2 %."""
    assert fit(np.arange(1, 2001) ** -nu).exponent == pytest.approx(1 + 1 / nu, rel=0.02)


def test_exponent_scatters_as_the_likelihood_says():
    """(alpha - 1) / sqrt(n) for n draws, here all of 1000; the choice of the smallest value adds a little."""
    found = [heavy_tail._power_law(np.sort(np.log(samples("power law", seed))))[0] for seed in range(60)]
    expected = 1.2 / np.sqrt(1000)
    assert np.mean(found) == pytest.approx(2.2, abs=3 * expected / np.sqrt(60))
    assert 0.6 * expected < np.std(found) < 1.6 * expected
    low, high = fit(samples("power law", 0), draws=100).interval
    assert 2 * 1.3 * expected < high - low < 2 * 3.0 * expected  # 1.64 of them on either side


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "verdict", "wrong"),
    [
        ("power law", TailVerdict.POWER_LAW, TailVerdict.CUT_OFF),
        ("cut-off", TailVerdict.CUT_OFF, TailVerdict.POWER_LAW),
    ],
)
def test_laws_are_told_apart(kind, verdict, wrong):
    """Of ten samples of a thousand, at a level of one in ten: eight or more."""
    found = [fit(samples(kind, seed)).verdict for seed in range(10)]
    assert found.count(verdict) >= 8 and found.count(wrong) <= 2


@pytest.mark.long
def test_exponential_spectrum_is_not_heavy_tailed():
    """Its straightest piece is short and steep, so often nothing is decided."""
    found = [fit(samples("exponential", seed)) for seed in range(10)]
    assert TailVerdict.POWER_LAW not in {one.verdict for one in found}
    assert np.median([one.margin for one in found]) < 0 and np.median([one.exponent for one in found]) > 3.0


@pytest.mark.long
def test_wide_log_normal_is_no_power_law():
    """A parabola in log-log over six decades; its upper end alone is nearly straight, so the tail may be short."""
    found = [fit(np.exp(2 * np.random.default_rng(seed).normal(size=3000))) for seed in range(10)]
    assert np.median([one.margin for one in found]) < 0
    assert all(one.modes < 1500 for one in found)


@pytest.mark.long
def test_densities_are_normalised_and_the_likeliest():
    """Log-normal against scipy's truncated normal, cut-off against quadrature; both near their optimum."""
    tail = np.sort(np.log(samples("cut-off", 3) / 0.01))
    tail = tail[tail > 0]
    own = heavy_tail._log_normal(tail)
    fitted = [
        truncnorm.logpdf(tail, -m / s, np.inf, loc=m, scale=s).sum()
        for m in np.linspace(-3, 3, 25)
        for s in np.linspace(0.5, 4, 25)
    ]
    assert max(fitted) <= own.sum() + 1e-6
    assert own.sum() - max(fitted) < 2.0
    cut = heavy_tail._cut_off(tail, 1.5)
    assert cut.sum() >= own.sum()
    # exp(-a y - z e^y) up to a constant: two parameters and a norm from three points, then it must integrate to one.
    y = np.array([tail[0], tail[len(tail) // 2], tail[-1]])
    values = np.array([cut[0], cut[len(tail) // 2], cut[-1]])
    a, z, constant = np.linalg.solve(np.stack([-y, -np.exp(y), np.ones(3)], axis=1), values)
    whole, _ = quad(lambda x: np.exp(constant - a * x - z * np.exp(x)), 0, 30)
    assert whole == pytest.approx(1.0, abs=1e-8)
    assert 0 < a < 1 and gammaincc(1.0, z) < 1


def test_scale_and_rounding_do_not_matter():
    values = samples("power law", 1)
    plain, scaled = fit(values), fit(1e-7 * np.append(values, np.full(50, 1e-17)))
    assert scaled.exponent == pytest.approx(plain.exponent, rel=1e-10)
    assert scaled.log_normal.ratio == pytest.approx(plain.log_normal.ratio, abs=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_eigenvalues_are_no_tail_whatever_their_last_bits(seed):
    """A linear model with 40 outputs has every eigenvalue 40 times. The largest group has no exponent; were its
    rounding taken for a law, that would be 1e15."""
    values = np.repeat(np.arange(1, 31) ** -1.5, 40)
    exact, rounded = fit(values), fit(last_bits(values, seed))
    assert exact.exponent < 10
    assert (rounded.exponent, rounded.modes) == (pytest.approx(exact.exponent, rel=1e-9), exact.modes)
    np.testing.assert_allclose(rounded.exponent_draws, exact.exponent_draws, rtol=1e-9)


def test_tails_over_training():
    """Modes that all scale alike keep their exponent."""
    data = measure(power_law_modes(100, alpha=1.5, rho=1.5), np.geomspace(0.1, 10, 6), 1e-4)
    found = spectrum_tails(data, count=4, draws=20)
    assert len(found.fits) == 4 and found.steps[0] == 0
    np.testing.assert_allclose(found.exponent, found.exponent[0], rtol=1e-9)
    assert (found.interval[:, 0] < found.exponent).all() and (found.exponent < found.interval[:, 1]).all()


@pytest.mark.rejects
def test_too_few_eigenvalues():
    with pytest.raises(ArgumentError, match=r"at least 30 different positive numbers.*has 29 of 40"):
        fit(np.append(np.arange(1.0, 30.0), np.zeros(11)))
    with pytest.raises(ArgumentError, match="at least 30 different"):
        fit(np.ones(50))


@pytest.mark.rejects
def test_run_with_few_modes():
    with pytest.raises(RunFolderError, match=r"at least 30 modes, but the run stores 10\. Record with more"):
        spectrum_tails(measure(power_law_modes(10), np.array([0.1, 0.2]), 1e-4))
