import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.exponents import flow_risk, predicted_loss, sgd_risk, width_limit
from eigenflow.theory.task_spectrum import TaskSpectrum

TASK = TaskSpectrum.power_law(1.5, 1.6, modes=400, noise=0.1)
TIMES = np.geomspace(1.0, 1e4, 9)


def test_over_time_it_is_flow_or_descent():
    assert predicted_loss(TASK, time=TIMES).risk.values == pytest.approx(flow_risk(TASK, TIMES))
    found = predicted_loss(TASK, time=TIMES, learning_rate=0.5)
    assert found.risk.values == pytest.approx(flow_risk(TASK, TIMES, learning_rate=0.5))
    assert (found.data["from_noise"] == 0).all()  # the population's mean loss does not see the labels' noise


def test_over_time_with_batches_noise_adds_its_part():
    found = predicted_loss(TASK, time=TIMES, learning_rate=0.1, batch=4)
    steps = np.round(TIMES / 0.1).astype(int)
    assert found.risk.values == pytest.approx(sgd_risk(TASK, steps, learning_rate=0.1, batch=4).risk, rel=1e-9)
    assert (np.diff(found.data["from_noise"].values) > 0).all()
    assert (np.diff(found.data["from_target"].values) < 0).all()


def test_time_and_width_end_where_statics_begin():
    """Two formulas that share no code: the Laplace inversion, late, and regression on infinitely many samples."""
    late = predicted_loss(TASK, time=np.array([1e7]), features=np.array([20.0, 80.0])).risk.values[0]
    statics = predicted_loss(TASK, features=np.array([20.0, 80.0])).risk.values
    assert late == pytest.approx(statics, rel=1e-7)
    assert statics == pytest.approx([width_limit(TASK, 20), width_limit(TASK, 80)], rel=1e-10)


def test_one_number_of_each_is_a_point():
    assert predicted_loss(TASK, time=3.0).risk.shape == ()
    assert predicted_loss(TASK, time=3.0, features=10).risk.shape == ()
    assert predicted_loss(TASK, time=TIMES, features=10).axes == ("time",)


def test_without_time_it_is_regression():
    found = predicted_loss(TASK, samples=np.array([10.0, 30.0]), features=50, ridge=0.01)
    expected = random_features_risk(TASK, np.array([10.0, 30.0]), 50, 0.01)
    assert found.risk.values == pytest.approx(expected.risk.values)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"time": 1.0, "samples": 30}, "`time` cannot be joined with `samples`"),
        ({"time": 1.0, "ridge": 0.1}, "`time` cannot be joined with `samples` or `ridge`"),
        ({"time": 1.0, "batch": 2}, "`batch` needs a `learning_rate`"),
        ({"time": 1.0, "features": 5, "learning_rate": 0.1}, "`features` cannot be joined"),
        ({"samples": 5, "learning_rate": 0.1}, "belong to training"),
        ({"time": [2.0, 1.0]}, "`time` must increase"),
        ({"time": 1.0, "features": 2.5}, "`features` must be a whole number"),
        ({"time": 1.0, "learning_rate": 9.0, "batch": 2}, "largest stable rate"),
    ],
)
def test_what_has_no_formula_is_refused(options, words):
    with pytest.raises(ArgumentError, match=words):
        predicted_loss(TASK, **options)
