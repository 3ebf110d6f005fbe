"""A fit file of version 0.1, from before a fit owned its intervals, opens and forecasts what it forecast then."""

import json
from pathlib import Path

import numpy as np
import pytest

from eigenflow.forecast import load_study, read_fit
from forecast.logs import SCHEDULES

DATA = Path(__file__).parent / "data"
FORECASTS = json.loads((DATA / "fit_of_0_1_forecasts.json").read_text())


@pytest.mark.parametrize("size", FORECASTS)
def test_forecasts_of_an_old_file_are_those_of_its_day(size):
    """Up to the last bits, which other processors round in another way. Intervals are of today's calibration, and hold
    the forecast."""
    found = load_study(DATA / "fit_of_0_1.json").predict(SCHEDULES["cosine"], size=float(size), every=400)
    assert found.steps.tolist() == FORECASTS[size]["steps"]
    np.testing.assert_allclose(found.loss, FORECASTS[size]["loss"], rtol=1e-11)
    assert (found.lower < found.loss).all() and (found.loss < found.upper).all()


def test_an_old_fit_has_its_intervals():
    fit = read_fit(DATA / "fit_of_0_1.json")
    found = fit.predict(SCHEDULES["cosine"], size=4e8, every=400)
    assert (found.upper > found.loss).all()
    assert len(fit.known) == 6
