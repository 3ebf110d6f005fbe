"""Fits on the engine that the user has chosen in joblib: taken as it is, and with the same results on every one."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from eigenflow.core.parallel import map_calls
from eigenflow.forecast.evaluation.backtests import backtest, pooled_fitter
from eigenflow.forecast.evaluation.protocols import LeaveOneSchedule, RestOfRun
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from eigenflow.scaling.backtest import backtest_table, compute_cuts
from eigenflow.scaling.table import make_table
from forecast.synthetic_curves import synthetic

joblib = pytest.importorskip("joblib")
LAWS = {"power_steps": pooled_fitter(PUBLISHED_LAWS["power_steps"], starts=1)}


@pytest.fixture
def counting():
    """A backend of the user's own, which counts what it is given."""
    from joblib._parallel_backends import ThreadingBackend

    class Counting(ThreadingBackend):
        begun: ClassVar[list[int]] = []

        def submit(self, func, callback=None):
            self.begun.append(1)
            return super().submit(func, callback)

    joblib.register_parallel_backend("counting", Counting)
    return Counting.begun


def square(number):
    return number**2


def test_items_keep_their_order_on_every_engine(counting):
    expected = [square(number) for number in range(20)]
    assert map_calls(square, iter(range(20))) == expected
    for backend, jobs in (("counting", 3), ("threading", 2), ("sequential", 1), ("loky", 2)):
        with joblib.parallel_config(backend, n_jobs=jobs):
            assert map_calls(lambda number: number**2, range(20)) == expected
    assert len(counting) > 0


def test_without_a_choice_calls_are_made_here_one_after_another():
    order = []

    def items():
        for number in range(5):
            order.append(f"take {number}")
            yield number

    map_calls(lambda number: order.append(f"call {number}"), items())
    assert order == [word for number in range(5) for word in (f"take {number}", f"call {number}")]


@pytest.mark.long
def test_a_backtest_of_curves_goes_where_it_is_told_to(counting):
    """As many calls as there are splits, and the same forecasts to the last bit, but for seconds."""
    curves, protocols, lines = (
        synthetic(rng=np.random.default_rng(0), sd=5e-4),
        [RestOfRun(0.5), LeaveOneSchedule()],
        [],
    )
    splits = sum(len(list(protocol.splits(curves))) for protocol in protocols)
    alone = backtest(curves, LAWS, protocols)
    with joblib.parallel_config("counting", n_jobs=2):
        told = backtest(curves, LAWS, protocols, progress=lines.append)
    # Calls of a few milliseconds may go in batches.
    assert 0 < len(counting) <= splits and len(lines) == splits
    drop = ["cpu_s"]
    pd.testing.assert_frame_equal(told.scores().drop(columns=drop), alone.scores().drop(columns=drop), check_exact=True)
    assert told.problems == alone.problems


@pytest.mark.long
def test_a_backtest_of_a_table_goes_where_it_is_told_to(counting):
    sizes, tokens = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e8, 6), np.geomspace(1e8, 1e10, 6)))
    table = make_table(sizes, tokens, 1.7 + 400 * sizes**-0.34 + 400 * tokens**-0.28)
    alone = backtest_table(table, laws=("approach3",))
    with joblib.parallel_config("counting", n_jobs=2):
        told = backtest_table(table, laws=("approach3",))
    assert 0 < len(counting) <= len(list(compute_cuts(table)))
    assert told == alone
