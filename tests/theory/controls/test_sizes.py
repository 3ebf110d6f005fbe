"""Sweeps of known truth: rows about width and data are right about them, with fixed seeds."""

import numpy as np
import pytest

from eigenflow.theory.controls.sizes import SIZE_CONTROLS, judge_size_controls

SEEDS = range(6)


@pytest.fixture(scope="module")
def verdicts():
    return {one.control: one for one in judge_size_controls(SEEDS, sizes=8, repeats=3, scatter=0.01)}


def test_none_is_decided_wrongly(verdicts):
    """Of 54 sweeps; the page has the rates of many more."""
    assert sum(one.wrong for one in verdicts.values()) == 0


@pytest.mark.parametrize("control", [one.name for one in SIZE_CONTROLS if not one.is_true])
def test_what_breaks_the_theory_is_seen(verdicts, control: str):
    """In two draws of three: the others may lie within the band by chance, as an exponent near another does."""
    assert verdicts[control].contradicted >= 4


def test_what_obeys_the_theory_is_seen(verdicts):
    """Half of the draws or more, but where all is floor: there no one can tell."""
    for control in SIZE_CONTROLS:
        if control.is_true and "all but a tenth" not in control.name:
            assert verdicts[control.name].supported >= 3
    assert verdicts["kernel, all but a tenth is a floor"].undecided == len(SEEDS)


def test_a_sweep_has_what_was_asked_for():
    sweep, told = SIZE_CONTROLS[0].sweep(5, 4, 0.02, seed=0)
    assert len(sweep) == 20 and len(sweep.places) == 5
    assert np.diff(np.log2(sweep.places)) == pytest.approx(np.ones(4))
    assert told.lower < told.value < told.upper
    assert sweep.scatter()[0] == pytest.approx(0.02, rel=0.5)
