"""A task in its modes: sums that are known, and what is refused."""

import numpy as np
import pytest
from scipy.special import zeta

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.task_spectrum import TaskSpectrum


def test_tail_holds_what_zeta_says():
    """The tail ends after eight decades: k^-1.5 leaves 1e-4 of what stood at its start, 2000^-0.5 of the whole."""
    task = TaskSpectrum.power_law(1.5, 2.0, modes=2000, tail=True)
    assert task.energy == pytest.approx(zeta(2.0), rel=1e-8)
    assert task.trace == pytest.approx(zeta(1.5), rel=5e-6)


def test_tail_decays_as_the_law_does():
    """Sum of k^-2 exp(-2 k^-1.5 t) over all k, by a sum to 3e6 and the integral of the rest, whose rate is nothing.

    Groups are 2.9 % wide in rank; a mean rate for each leaves an error of their square, some 6e-5.
    """
    task, t = TaskSpectrum.power_law(1.5, 2.0, modes=300, tail=True), 1e4
    ranks = np.arange(1.0, 3e6)
    exact = (ranks**-2.0 * np.exp(-2.0 * ranks**-1.5 * t)).sum() + 1.0 / 3e6
    assert (task.target * np.exp(-2.0 * task.eigenvalues * t)).sum() == pytest.approx(exact, rel=1e-4)


def test_modes_left_out_become_noise():
    task = TaskSpectrum(np.array([3.0, 2.0, 1.0]), np.array([1.0, 0.5, 0.25]), 0.1)
    left = task.without([1])
    assert left.noise == pytest.approx(0.6)
    assert left.energy + left.noise == pytest.approx(task.energy + task.noise)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("eigenvalues", "target", "noise", "error", "words"),
    [
        ([1.0, 0.0], [1.0, 1.0], 0.0, ArgumentError, "`eigenvalues` must be > 0.*place 1.*rounding"),
        ([1.0, 2.0], [1.0, 1.0], 0.0, ArgumentError, "sorted from the largest down.*place 1 from 1 to 2"),
        ([2.0, np.nan], [1.0, 1.0], 0.0, NonFiniteError, "`eigenvalues` must be finite.*place 1"),
        ([2.0, 1.0], [1.0], 0.0, ShapeError, "`target` must have one value for each of the 2"),
        ([2.0, 1.0], [1.0, -1.0], 0.0, ArgumentError, "`target` holds squares"),
        ([2.0, 1.0], [1.0, 1.0], -1.0, ArgumentError, "`noise` must be a number from 0"),
        ([], [], 0.0, ShapeError, "at least one number"),
        ([[1.0]], [[1.0]], 0.0, ShapeError, "one row"),
    ],
)
def test_bad_spectra_are_named(eigenvalues, target, noise, error, words):
    with pytest.raises(error, match=words):
        TaskSpectrum(np.array(eigenvalues), np.array(target), noise)


@pytest.mark.rejects
@pytest.mark.parametrize(("capacity", "decay", "name"), [(1.0, 2.0, "capacity"), (1.5, 0.9, "target_decay")])
def test_divergent_tails_name_their_region(capacity, decay, name):
    with pytest.raises(ArgumentError, match=rf"`{name}` must be > 1 with `tail=True`: .*diverges"):
        TaskSpectrum.power_law(capacity, decay, tail=True)
