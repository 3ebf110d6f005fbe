import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.exponents.finite_width import width_limit
from eigenflow.theory.exponents.kernel_flow import flow_risk
from eigenflow.theory.exponents.predicted import PowerStatus, predict_exponents
from eigenflow.theory.exponents.resources import resource_exponents
from eigenflow.theory.task_spectrum import TaskSpectrum
from theory.exponents.spectra import broken, drawn_energies, power, sampled_power, seen_by_samples


def coverage(draw, truth: tuple[float, float], draws: int, samples: int | None = None) -> tuple[float, float, float]:
    """Shares of intervals that hold capacity and source, and of spectra that are not refused as power laws."""
    held = []
    for seed in range(draws):
        found = predict_exponents(*draw(np.random.default_rng(seed)), samples=samples)
        right = (found.capacity.holds(truth[0]), found.source.holds(truth[1]))
        held.append((*right, found.status is not PowerStatus.NO_POWER_LAW))
    return tuple(np.mean(held, axis=0))


# 60 draws of a nominal .90: the standard error is .04. Draws of all truths share their seeds.
@pytest.mark.long
@pytest.mark.parametrize("modes", [100, 300, 1000])
@pytest.mark.parametrize("truth", [(1.5, 0.4), (1.2, 1.0), (2.0, 0.25), (1.5, 1.6)])
def test_intervals_of_whole_spectra_hold_the_truth(truth, modes):
    capacity, source, kept = coverage(lambda rng: power(*truth, modes, rng), truth, 60)
    assert capacity == 1.0
    assert source >= 0.8
    assert kept >= 0.93


@pytest.mark.long
@pytest.mark.parametrize(
    ("truth", "samples"),
    [
        ((1.5, 0.4), 100),
        *(pytest.param(truth, 150, marks=pytest.mark.slow) for truth in ((1.2, 0.4), (1.5, 1.0), (1.5, 1.6))),
    ],
)
def test_intervals_of_sampled_spectra_hold_the_population(truth, samples):
    """Of few samples intervals hold the truth in about .85 of draws, and some 10 % are refused."""
    capacity, source, kept = coverage(lambda rng: sampled_power(*truth, samples, rng), truth, 60, samples)
    assert capacity >= 0.78
    assert source >= 0.76
    assert kept >= 0.82


@pytest.mark.long
def test_samples_taken_for_a_population_are_biased_and_corrected():
    """What `samples` is for: sampled eigenvalues bend, and low modes hold a share of the high modes' target."""
    truth = (1.2, 1.6)
    off = {"raw": [], "read": []}
    for seed in range(12):
        modes = sampled_power(*truth, 200, np.random.default_rng(seed))
        off["raw"].append(predict_exponents(*modes, window=(4, 66)).source.value - truth[1])
        off["read"].append(predict_exponents(*modes, samples=200).source.value - truth[1])
    assert abs(np.median(off["raw"])) > 0.3
    assert abs(np.median(off["read"])) < 0.15


RANKS = np.arange(1.0, 401.0)
NO_POWERS = {
    "stretched": (np.exp(-3 * (RANKS**0.3 - 1)), RANKS**-1.6),
    "square root": (np.exp(-(RANKS**0.5)), RANKS**-1.6),
    "exponential": (np.exp(-RANKS / 10), RANKS**-1.6),
    "lognormal": (np.exp(-0.25 * np.log(RANKS) ** 2), RANKS**-1.6),
    "kink": (broken(RANKS, 100, 1.2, 2.0), RANKS**-1.6),
    "kink of energies": (RANKS**-1.5, broken(RANKS, 100, 1.2, 3.0)),
    "stretched energies": (RANKS**-1.5, np.exp(-(RANKS**0.4))),
}


@pytest.mark.long
@pytest.mark.parametrize(("values", "means"), NO_POWERS.values(), ids=NO_POWERS)
def test_what_is_no_power_is_refused(values, means):
    rng = np.random.default_rng(0)
    found = [predict_exponents(values, drawn_energies(means, rng)).status for _ in range(20)]
    assert found.count(PowerStatus.NO_POWER_LAW) >= 17


@pytest.mark.long
@pytest.mark.parametrize("name", ["square root", "kink"])
def test_what_is_no_power_is_refused_through_samples_too(name):
    rng = np.random.default_rng(0)
    ranks = np.arange(1.0, 2001.0)
    values = np.exp(-(ranks**0.5)) if name == "square root" else broken(ranks, 15, 1.2, 2.2)
    modes = (seen_by_samples(values, ranks**-1.6, 200, rng) for _ in range(8))
    found = [predict_exponents(*each, samples=200).status for each in modes]
    assert found.count(PowerStatus.NO_POWER_LAW) >= 7


def test_leading_modes_apart_move_the_window():
    values = np.append(np.full(3, 30.0), RANKS[3:] ** -1.5)
    found = predict_exponents(values, drawn_energies(RANKS**-1.6, np.random.default_rng(0)))
    assert found.first_rank > 3
    assert found.status is PowerStatus.POWER_LAW
    assert found.capacity.value == pytest.approx(1.5)


def test_exponents_are_those_of_the_loss_that_follows():
    """Time and width by exact curves of the very task, far beyond the modes that were read."""
    task = TaskSpectrum.power_law(1.5, 1.6, modes=3000, tail=True)
    found = predict_exponents(task.eigenvalues[:3000], task.target[:3000])
    assert found.lazy is not None
    late = flow_risk(task, np.array([1e5, 1e6]))
    assert found.lazy.time.value == pytest.approx(np.log10(late[0] / late[1]), abs=2e-3)
    wide = [width_limit(task, width) for width in (1e4, 1e5)]
    assert found.lazy.width.value == pytest.approx(np.log10(wide[0] / wide[1]), abs=5e-3)


def test_exponents_are_those_of_capacity_and_source():
    found = predict_exponents(*power(1.5, 0.5, 500, np.random.default_rng(3)))
    for is_rich, ranges in ((False, found.lazy), (True, found.rich)):
        assert ranges is not None
        expected = resource_exponents(found.capacity.value, found.source.value, is_rich=is_rich)
        assert ranges.compute.value == expected.compute
        assert ranges.time.lower < ranges.time.value < ranges.time.upper


@pytest.mark.parametrize("scale", [1e-250, 1e-12, 1e200])
def test_units_do_not_matter(scale):
    values, squares = power(1.5, 0.5, 200, np.random.default_rng(3))
    here, there = predict_exponents(values, squares), predict_exponents(values * scale, squares / scale)
    assert there.source.value == pytest.approx(here.source.value, rel=1e-9)
    assert there.capacity.value == pytest.approx(here.capacity.value, rel=1e-9)


def test_flat_spectra_have_no_exponents_of_resources():
    found = predict_exponents(*power(0.7, 0.5, 300, np.random.default_rng(0)))
    assert found.lazy is None
    assert found.rich is None
    assert "out of the region" in repr(found)


def test_targets_that_grow_have_none_either():
    rng = np.random.default_rng(0)
    found = predict_exponents(RANKS**-1.5, drawn_energies(RANKS**0.2, rng))
    assert found.source.value < 0
    assert found.lazy is None


def test_card_fits():
    text = repr(predict_exponents(*sampled_power(1.5, 0.4, 150, np.random.default_rng(0)), samples=150))
    assert len(text.splitlines()) <= 15
    assert "ranks 1 to 50" in text


def test_thirty_modes_are_enough_and_told_to_be_few():
    found = predict_exponents(*power(1.5, 0.5, 30, np.random.default_rng(0)))
    assert found.modes == 30
    assert found.source.half_width > 0.2


def test_modes_that_are_not_given_count_as_zero():
    """A network with fewer parameters than samples has null modes; leading modes are read as if all were there."""
    values, squares = sampled_power(1.8, 0.4, 150, np.random.default_rng(1))
    whole = predict_exponents(values, squares, samples=150)
    part = predict_exponents(values[:120], squares[:120], samples=150, window=(1, 30))
    assert part.capacity.value == pytest.approx(whole.capacity.value, abs=0.1)


GOOD = power(1.5, 0.5, 60, np.random.default_rng(0))


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((GOOD[0][::-1], GOOD[1]), ArgumentError, "sorted from the largest down, but rise at place 1"),
        ((GOOD[0] - 0.1, GOOD[1]), ArgumentError, "`eigenvalues` must be > 0"),
        ((GOOD[0], GOOD[1][:-1]), ShapeError, "`energies` must be one row"),
        ((GOOD[0], -GOOD[1]), ArgumentError, "`energies` are squares"),
        ((GOOD[0], 0 * GOOD[1]), ArgumentError, "not all 0"),
        ((GOOD[0], np.where(np.arange(60) == 7, np.nan, GOOD[1])), NonFiniteError, "`energies`.*nan at place 7"),
        ((GOOD[0][:9], GOOD[1][:9]), ArgumentError, "at least 30 modes, but has 9"),
        ((np.ones(60), GOOD[1]), ArgumentError, "exponents need 30 over some range"),
        (([], []), ArgumentError, "at least 30 modes, but has 0"),
    ],
)
def test_refused_spectra(arguments, error, words):
    with pytest.raises(error, match=words):
        predict_exponents(*arguments)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 50}, "60 modes, more than `samples` = 50"),
        ({"samples": 80}, "26 modes to use.*Of 80 samples"),
        ({"samples": 1}, "`samples` must be a whole number"),
        ({"window": (1, 61)}, r"`window` must be ranks from 1 to 60.*is \(1, 61\)"),
        ({"window": (40, 20)}, "`window` must be ranks"),
        ({"window": (1, 20)}, "20 modes to use"),
    ],
)
def test_refused_options(options, words):
    with pytest.raises(ArgumentError, match=words):
        predict_exponents(*GOOD, **options)
