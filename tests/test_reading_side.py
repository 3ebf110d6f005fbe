"""One pass over everything that reads: without torch, too, it opens, judges, forecasts, reports, compares and solves.

`make test` runs this with torch hidden; the lane of `make test-slow` runs every test of the reading side so.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.special import beta

import eigenflow as ef
from eigenflow.report import analyse, write_report
from eigenflow.report.comparison import compare
from eigenflow.report.comparison_page import write_comparison
from eigenflow.store.exporting import export_run
from forecast.logs import SCHEDULES, csv_of, loss_of, study
from report.recorded import record_run

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    record_run(folder)
    return ef.open_run(folder)


def test_a_run_is_judged_and_reported(run, tmp_path):
    analysis = analyse(run)
    assert {claim.claim for claim in analysis.claims if "." not in claim.claim} == {f"C{k}" for k in range(1, 9)}
    assert analysis.summary()["kind"] == "updates"
    page = write_report(analysis, tmp_path / "report.html").read_text()
    assert "Lazy or rich" in page and page.rstrip().endswith("</html>")


def test_runs_are_compared_and_exported(run, tmp_path):
    other = tmp_path / "b"
    record_run(other)
    found = compare([run, ef.open_run(other)])
    assert write_comparison(found, tmp_path / "page.html").stat().st_size > 1e6
    export_run(run, tmp_path / "csv", kind="csv")
    assert len(pd.read_csv(tmp_path / "csv" / "losses.csv")) == len(run.losses)


def test_a_log_is_forecast(tmp_path):
    curves = ef.read_curves(csv_of(study(), tmp_path), schedules=SCHEDULES).select(size=25e6)
    fit = ef.fit_law(curves, starts=1)
    schedule = SCHEDULES["cosine"]
    path = fit.predict(schedule)
    truth = loss_of(schedule, np.array([schedule.total]), size=25)[0]
    assert path.loss[-1] == pytest.approx(truth, rel=0.02)


def test_the_equation_is_solved():
    """Scale-free decay: the loss is (c t)^(s - 1) B(1 - s, 2 / c - 1 + s) with s = 0.7 (equations/solutions.md)."""
    times = np.array([10.0, 100.0, 1000.0])
    problem = ef.TransportProblem(ef.PowerDrift(c=0.5, b=2.0), 2.0, lambda x: x**-0.3, (1e-40, 1e10))
    exact = (0.5 * times) ** -0.7 * beta(0.7, 4 - 0.7)
    np.testing.assert_allclose(ef.solve(problem, times, cells=50).total, exact, rtol=1e-12)
