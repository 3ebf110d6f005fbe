"""The scale of a study's errors: conjugate formulas against quadrature, and sets whose scales differ."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from eigenflow.forecast.intervals.calibration import HeldOut, calibrate, leave_out
from eigenflow.forecast.intervals.error_scale import COMPONENTS, Calibration, OwnError

SIZE, MISFIT, NOISE = (COMPONENTS.index(name) for name in ("size", "misfit", "noise"))
ONES = tuple(1.0 for _ in COMPONENTS)


def spread(points, *, misfit=1e-6, size=0.0, noise=0.0):
    found = np.zeros((points, len(COMPONENTS)))
    found[:, MISFIT], found[:, SIZE], found[:, NOISE] = misfit, size, noise
    return found


def calibration(freedom=6.0, own_freedom=2.0, factor=1.0):
    return Calibration("any", ONES, factor, freedom, own_freedom, 0, (), {})


def own(ratio, kind="rest", points=3, misfit=1e-6, size=0.0):
    """A backtest whose errors are `ratio` times what is expected, with either sign."""
    signs = np.where(np.arange(points) % 2, -1.0, 1.0)
    return OwnError(kind, ratio * signs * np.sqrt(misfit + size), spread(points, misfit=misfit, size=size))


def test_without_backtests_the_interval_is_a_quantile_of_students_law():
    half = calibration(freedom=3.0, factor=1.2).half_width(spread(2, misfit=9e-6))
    # 1e-7: the floor of 1e-12 beside a variance of 9e-6.
    np.testing.assert_allclose(half, 1.2 * stats.t.ppf(0.95, 3) * 3e-3, rtol=1e-7)


def predictive_quantile(freedom, count, mean_square):
    """The 95 % quantile of the error by quadrature over the scale: prior, likelihood of `count` errors, Gaussian."""

    def weight(log_scale):
        scale = np.exp(log_scale)
        prior = -0.5 * freedom * log_scale - 0.5 * freedom / scale
        return np.exp(prior - 0.5 * count * log_scale - 0.5 * count * mean_square / scale)

    ends = (-8.0, 12.0)
    total = integrate.quad(weight, *ends, epsabs=0, epsrel=1e-10, limit=200)[0]

    def below(x):
        mass = integrate.quad(
            lambda u: weight(u) * stats.norm.cdf(x * np.exp(-0.5 * u)), *ends, epsabs=0, epsrel=1e-10, limit=200
        )
        return mass[0] / total - 0.95

    return optimize.brentq(below, 0.1, 100.0, xtol=1e-9)


@pytest.mark.parametrize("ratios", [(2.0,), (0.3, 0.5, 0.2), (1.0, 4.0)])
def test_backtests_move_the_scale_as_bayes_formula_does(ratios):
    """Inverse chi-squared scale, each backtest worth 2 observations: the closed form against quadrature (1e-6)."""
    found = calibration(freedom=6.0, own_freedom=2.0).half_width(spread(1), [own(ratio) for ratio in ratios])
    wanted = predictive_quantile(6.0, 2.0 * len(ratios), np.mean(np.square(ratios)))
    assert found[0] == pytest.approx(wanted * 1e-3, rel=1e-6)


def test_the_scale_has_no_unit_and_no_order():
    backtests = [own(2.0), own(0.5), own(1.3)]
    first = calibration().half_width(spread(2), backtests)
    np.testing.assert_allclose(calibration().half_width(spread(2), backtests[::-1]), first, rtol=1e-14)
    larger = [OwnError(one.kind, 10 * one.errors, 100 * one.spread) for one in backtests]
    np.testing.assert_allclose(calibration().half_width(spread(2), larger), first, rtol=1e-5)  # but for the floor
    # If backtests count without bound, the width is in proportion to their errors.
    sure = calibration(own_freedom=1e9)
    ratio = sure.half_width(spread(1), [own(6.0)]) / sure.half_width(spread(1), [own(2.0)])
    assert ratio[0] == pytest.approx(3.0, rel=1e-6)


def test_the_size_keeps_its_scale_until_sizes_were_left_out():
    only_size = spread(1, misfit=0.0, size=1e-4)
    alone = calibration().half_width(only_size)
    np.testing.assert_allclose(calibration().half_width(only_size, [own(5.0)]), alone, rtol=1e-6)
    assert calibration().half_width(only_size, [own(5.0, "size")]) > 2 * alone
    # Without a share of the size the two kinds of backtest mean the same.
    same = [calibration().half_width(spread(1), [own(5.0, kind)])[0] for kind in ("rest", "size")]
    assert same[0] == pytest.approx(same[1], rel=1e-12)


def test_two_shares_add_up_to_nearly_the_quantile_of_their_sum():
    """Welch and Satterthwaite against a million draws of the sum of two scaled Student errors. The rule is a
    frequentist's: below the quantile of the sum (Behrens and Fisher), at six degrees by 7 %."""
    rng = np.random.default_rng(0)
    half = calibration().half_width(spread(1, misfit=1e-6, size=1e-6), [own(1.0), own(2.0), own(0.5)])
    degrees = 6.0 + 2.0 * 3
    scale = (6.0 + 2.0 * (1.0 + 4.0 + 0.25)) / degrees
    draws = np.sqrt(scale) * rng.standard_t(degrees, 1_000_000) + rng.standard_t(6.0, 1_000_000)
    assert half[0] == pytest.approx(1e-3 * np.quantile(draws, 0.95), rel=0.08)


def test_what_is_measured_keeps_its_size_whatever_the_backtests_say():
    """The noise of points and the spread of runs are facts: a study that errs more, or less, has them as they are."""
    only_noise = spread(1, misfit=0.0, noise=1e-4)
    for ratios in ([], [0.1] * 6, [9.0] * 6):
        half = calibration().half_width(only_noise, [own(ratio) for ratio in ratios])
        # Nothing else is there: a normal quantile, but for the floor of 1e-12.
        np.testing.assert_allclose(half, stats.norm.ppf(0.95) * 1e-2, rtol=1e-4)


def test_a_weight_that_no_set_needs_keeps_what_was_likely():
    """Sets in which nothing departs from what was seen do not talk the weight of departures down to nothing."""
    rng = np.random.default_rng(4)
    cases = [HeldOut(f"set {k % 6}", 1e-3 * rng.normal(size=9), spread(9)) for k in range(60)]
    found = calibrate("any", cases).weights[COMPONENTS.index("departure")]
    assert 1e-4 < found < 0.1


def studies(rng, groups, scales, curves=12, backtests=3):
    """Curves of sets whose errors differ in scale; every curve, and every backtest, has one independent error."""
    found = []
    for group, scale in zip(groups, scales, strict=True):
        for _ in range(curves):
            # Errors of a curve go along with each other: one draw for all its points.
            tests = tuple(
                OwnError("rest", scale * 1e-3 * rng.normal() * np.ones(4), spread(4)) for _ in range(backtests)
            )
            found.append(HeldOut(group, scale * 1e-3 * rng.normal() * np.ones(5), spread(5), "rest", tests))
    return found


def coverage(cases, held, use_own):
    found = {}
    for case in cases:
        inside = np.abs(case.errors) <= held[case.group].half_width(case.spread, case.own if use_own else ())
        found.setdefault(case.group, []).append(inside.mean())
    return np.array([np.mean(values) for values in found.values()])


@pytest.mark.long
def test_sets_of_unlike_scale_are_covered_when_left_out():
    """Six sets, scales from 1/3 to 3. One interval for all covers the sets between 40 and 100 %; backtests
    (8 of every study) bring all of them near 90. 30 curves a set: coverage scatters by 0.055."""
    rng = np.random.default_rng(1)
    scales = np.geomspace(1 / 3, 3, 6)
    cases = studies(rng, [f"set {k}" for k in range(6)], scales, curves=30, backtests=8)
    plain = [HeldOut(case.group, case.errors, case.spread, case.kind) for case in cases]
    before = coverage(cases, leave_out("any", plain), use_own=False)
    after = coverage(cases, leave_out("any", cases), use_own=True)
    assert before.min() < 0.55 and before.max() > 0.99
    assert after.min() > 0.75 and after.mean() == pytest.approx(0.9, abs=0.05)


@pytest.mark.long
def test_calibration_learns_how_much_backtests_count():
    """Scales drawn from an inverse chi-squared law of 5 degrees, a set for each study: backtests of one independent
    error count one degree each. 1000 studies: degrees are known to about a sixth."""
    rng = np.random.default_rng(2)
    scales = np.sqrt(5.0 / rng.chisquare(5.0, 1000))
    found = calibrate("any", studies(rng, [f"set {k}" for k in range(1000)], scales, curves=1, backtests=4))
    assert found.freedom == pytest.approx(5.0, rel=0.35)
    assert found.own_freedom == pytest.approx(1.0, rel=0.3)
    assert found.weights[MISFIT] == pytest.approx(1.0, rel=0.2)
    assert found.factor == pytest.approx(1.0, abs=0.1)


def test_every_kind_of_forecast_has_one_vote():
    """Ninety small errors of one kind and ten large ones of another: half of the votes are large ones', so the interval
    holds 80 % of those, and all of the small."""
    rng = np.random.default_rng(3)
    small = [HeldOut("a", 1e-4 * rng.normal(size=9), spread(9), "rest") for _ in range(90)]
    large = [HeldOut("a", 1e-2 * rng.normal(size=9), spread(9), "size") for _ in range(10)]
    half = calibrate("any", small + large).half_width(spread(1))[0]
    assert np.mean([np.mean(np.abs(case.errors) <= half) for case in large]) == pytest.approx(0.8, abs=0.02)
    assert np.mean([np.mean(np.abs(case.errors) <= half) for case in small]) == 1.0


@pytest.mark.parametrize("count", [10, 20, 30, 70])
def test_equal_votes_reach_the_level_whole(count):
    """Nine of ten errors lie inside, though sums of equal votes round to either side of 0.9."""
    errors = 1e-3 * np.linspace(0.5, 2.0, count)
    half = calibrate("any", [HeldOut("a", np.array([error]), spread(1), "rest") for error in errors]).half_width(
        spread(1)
    )
    assert (errors <= half * (1 + 1e-9)).sum() == 9 * count // 10


def test_a_kind_that_is_asked_often_is_held_as_well():
    """Ninety curves of one kind and one of each of nine others with small errors: by kinds nine tenths of the votes are
    small, by curves nine tenths are large. The interval holds 90 % of all curves' points."""
    rng = np.random.default_rng(4)
    many = [HeldOut("a", 1e-2 * rng.normal(size=9), spread(9), "rest") for _ in range(90)]
    few = [HeldOut("a", 1e-4 * rng.normal(size=9), spread(9), f"kind {k}") for k in range(9)]
    half = calibrate("any", many + few).half_width(spread(1))[0]
    assert np.mean([np.mean(np.abs(case.errors) <= half) for case in many + few]) == pytest.approx(0.9, abs=0.01)


def test_what_is_measured_is_not_corrected():
    """A factor of a half is of what is modelled: noise of known size keeps its own quantile."""
    half = calibration(freedom=1e9, factor=0.5).half_width(np.vstack([spread(1), spread(1, misfit=0.0, noise=4e-6)]))
    np.testing.assert_allclose(half, 1.6448536269514722 * np.array([0.5e-3, 2e-3]), rtol=1e-5)


@pytest.mark.long
def test_noise_is_held_beside_a_law_that_errs_less_than_was_expected():
    """Errors of the law a tenth of what was expected, beside noise that is what was measured: 90 % of noisy points lie
    inside. 60 curves of 12 points, independent: coverage scatters by 0.011."""
    rng = np.random.default_rng(5)
    cases = [
        HeldOut(f"set {k % 4}", 1e-4 * rng.normal() + 2e-3 * rng.normal(size=12), spread(12, noise=4e-6), "rest")
        for k in range(60)
    ]
    found = calibrate("any", cases)
    inside = [np.abs(case.errors) <= found.half_width(case.spread) for case in cases]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.025)


def test_a_forecast_that_ran_away_moves_no_interval():
    """Of 40 forecasts two are off by e^3 and e^20: what is learned from the others stays as it was."""
    rng = np.random.default_rng(6)
    sound = [HeldOut("a", 1e-3 * rng.normal(size=9), spread(9), "rest") for _ in range(38)]
    wild = [HeldOut("a", np.full(9, far), spread(9), "rest") for far in (3.0, -20.0)]
    assert calibrate("any", sound + wild) == calibrate("any", sound)
