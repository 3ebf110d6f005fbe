"""What a fit says of what it cannot know, on cases built so that it cannot."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Schedule, fit_law
from eigenflow.forecast.fitting.identification import Profile, prior_conflicts, profiles, worth_of_runs
from forecast.synthetic_runs import SCHEDULES, TOTAL, WARMUP, curve, three

PEAK = 3e-4


@pytest.fixture(scope="module")
def constant_only():
    known = [curve("constant", np.random.default_rng(3))]
    return known, fit_law(known, starts=1)


def test_one_constant_rate_cannot_separate_alpha_from_b(constant_only):
    """Without a change of rate H appears at one elapsed time only: alpha, b, r and q are all open, q entirely so."""
    known, fit = constant_only
    found = {profile.name: profile for profile in profiles(fit, known, ["q", "alpha", "b", "L_inf"])}
    assert not found["alpha"].is_identified
    assert not found["b"].is_identified
    assert not found["q"].is_identified
    # No warm-up point is fitted: nothing changes with q but what warm-up left behind.
    assert found["q"].rise.max() < 0.5


@pytest.mark.long
def test_three_schedules_identify_what_a_constant_rate_does_not():
    known = three(0)
    found = {profile.name: profile for profile in profiles(fit_law(known, starts=1), known, ["L_inf", "a", "q"])}
    for name, truth in (("L_inf", 2.6), ("a", 0.5), ("q", 0.65)):
        assert found[name].is_identified, name
        assert found[name].lower < truth < found[name].upper


def test_a_decay_is_worth_more_than_a_longer_constant_rate(constant_only):
    """To forecast a cosine from a constant rate one must see the rate fall; more of the same tells little."""
    _, fit = constant_only
    candidates = {
        "the same again": SCHEDULES["constant"],
        "decay": Schedule.wsd(total=TOTAL // 2, peak=PEAK, decay_start=TOTAL // 3, warmup=WARMUP),
    }
    ranked = worth_of_runs(fit, candidates, SCHEDULES["cosine"])
    assert [run.name for run in ranked] == ["decay", "the same again"]
    assert ranked[0].share > 0.8
    assert ranked[1].share < 0.5
    assert all(0.0 <= run.share <= 1.0 and run.sd_after <= run.sd_before for run in ranked)


def test_worth_is_what_a_fit_with_that_run_finds(constant_only):
    """The predicted standard deviation after the candidate agrees with a real fit of both, within a factor of 2.

    A factor, because the real fit's optimum, and with it the Jacobian, is another.
    """
    known, fit = constant_only
    ranked = worth_of_runs(fit, {"two stage": SCHEDULES["two stage"]}, SCHEDULES["cosine"])
    both = fit_law([*known, curve("two stage", np.random.default_rng(4))], starts=1)
    target = worth_of_runs(both, {"none": SCHEDULES["constant"]}, SCHEDULES["cosine"])[0].sd_before
    assert 0.5 < ranked[0].sd_after / target < 2.0


@pytest.mark.rejects
def test_unknown_parameter_is_refused(constant_only):
    known, fit = constant_only
    with pytest.raises(ArgumentError, match="`names` holds 'gamma', which is no parameter"):
        profiles(fit, known, ["gamma"])


@pytest.mark.parametrize(
    ("shift", "is_disjoint"), [((2.0, 3.0), True), ((-3.0, -2.0), True), ((0.5, 3.0), False), ((-3.0, -0.5), False)]
)
def test_intervals_with_and_without_the_prior_that_do_not_touch_are_told(constant_only, shift, is_disjoint):
    """Ends of the curves-alone interval in half-widths of the one with the prior, from its middle, in ln."""
    _, fit = constant_only
    row = next(row for row in fit.parameters if row["name"] == "b")
    middle, half = np.log(row["value"]), np.log(row["upper"] / row["value"])
    ends = [float(np.exp(middle + one * half)) for one in shift]
    profile = Profile("b", np.array(ends), np.zeros(2), *ends)
    told = prior_conflicts(fit, [profile])
    assert len(told) == is_disjoint
    assert all(line.startswith("b: ") and "disjoint" in line for line in told)
    # An open end towards the other interval touches it.
    opened = Profile("b", np.array(ends), np.zeros(2), *((None, ends[1]) if shift[0] > 0 else (ends[0], None)))
    assert prior_conflicts(fit, [opened]) == []
    without = fit_law(constant_only[0], "power_time", prior=None, starts=1)
    assert prior_conflicts(without, [Profile("b", np.array(ends), np.zeros(2), *ends)]) == []


def test_fit_and_profile_say_by_which_criterion_a_parameter_is_open(constant_only):
    """The two differ: one is Laplace's with the prior, one the likelihood's without."""
    known, fit = constant_only
    assert fit.not_identified and "Laplace's approximation" in " ".join(str(fit).split())
    (profile,) = profiles(fit, known, ["q"])
    assert "not identified by the curves alone" in str(profile)
    assert "profile likelihood of the curves, without prior" in " ".join(str(profile).split())
