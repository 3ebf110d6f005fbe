"""Forecasts of a run that obeys b = 1 transport exactly, by the protocol of the cuts."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.theory import observe_until
from eigenflow.theory.forecasts.ahead import forecast_ahead
from eigenflow.theory.forecasts.rest_of_run import forecast_rest
from report.recorded import MEASURED, STEP_SIZE, STEPS, loss_at, record_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("forecast") / "run"
    record_run(path)
    return ef.open_run(path)


@pytest.mark.parametrize("cut", [0.1, 0.25, 0.5])
def test_a_forecast_is_given_what_was_known_and_nothing_else(run, cut):
    observed = observe_until(run, cut)
    known = cut * STEPS
    assert observed.cut_step == known and observed.steps.max() <= known < observed.later_steps.min()
    # A measured update that starts at step k is known only once it is made.
    assert list(observed.measured["step"].values) == [k for k in MEASURED if k + 1 <= known]
    np.testing.assert_allclose(observed.later_losses, [loss_at(t) for t in observed.later_times], rtol=1e-12)
    assert observed.source == "logged" and observed.later_steps[-1] == STEPS - 1


def test_transport_beats_the_lazy_limit_where_eigenvalues_move(run):
    """lambda ~ (1 + t)^0.1: gamma = -0.1 t / (1 + t) on the last decade; the lazy limit misses the growth."""
    forecasts, problems = forecast_rest(run)
    assert not problems and len(forecasts) == 9
    for cut in (0.1, 0.25, 0.5):
        scores = {f.method: f for f in forecasts if f.observed.cut == cut}
        assert scores["transport"].parameter == pytest.approx(-0.1, abs=0.02)
        assert scores["transport"].score.rms_log_ratio < 0.3 * scores["lazy"].score.rms_log_ratio
        for forecast in scores.values():
            assert np.all(forecast.lower <= forecast.loss) and np.all(forecast.loss <= forecast.upper)
            final = np.log(forecast.loss[-1] / loss_at((STEPS - 1) * STEP_SIZE))
            assert forecast.score.final_log_ratio == pytest.approx(final, abs=1e-9)


def test_a_run_too_short_says_so_and_goes_on(tmp_path):
    record_run(tmp_path / "run", measured=(0, 100, 120, 150, 300))
    forecasts, problems = forecast_rest(ef.open_run(tmp_path / "run"))
    assert len(problems) == 2 and all("measurements before" in line for line in problems)
    assert {f.observed.cut for f in forecasts} == {0.5}


@pytest.mark.rejects
@pytest.mark.parametrize("cut", [0.0, 1.0, -1.0])
def test_cut_out_of_range(run, cut):
    with pytest.raises(ArgumentError, match="`cut` must lie between 0 and 1"):
        observe_until(run, cut)


def test_a_run_is_carried_on_beyond_its_end(run):
    """The run's equation goes on: eigenvalues grow as (1 + t)^0.1, so transport is chosen and holds the truth."""
    found = forecast_ahead(run, forecast_rest(run)[0])
    assert found is not None and found.method == "transport" and found.cuts == (0.25, 0.5)
    assert found.steps[0] == STEPS and found.steps[-1] == 2 * STEPS
    truth = np.array([loss_at(step * STEP_SIZE) for step in found.steps])
    # 1 + t is not t: what the law misses by is smaller, the later it starts.
    assert np.abs(np.log(found.loss / truth)).max() < found.missed < 0.1
    assert np.all((found.lower < truth) & (truth < found.upper))


@pytest.mark.parametrize("changed", ["minibatches", "no scores", "rates at zero"])
def test_a_run_whose_modes_do_not_make_its_loss_is_not_carried_on(run, changed):
    forecasts = forecast_rest(run)[0]
    if changed == "minibatches":
        forecasts = [replace(one, observed=replace(one.observed, source="measured")) for one in forecasts]
    if changed == "no scores":
        forecasts = [one for one in forecasts if one.observed.cut < 0.2]
    if changed == "rates at zero":
        losses = run.losses.assign(time=np.minimum(run.losses["time"], 0.9 * run.losses["time"].iloc[-1]))
        run = SimpleNamespace(path=run.path, losses=losses, measurements=run.measurements, header=run.header,
                              first_step=run.first_step, has_squared_loss=True)  # fmt: skip
    assert forecast_ahead(run, forecasts) is None
