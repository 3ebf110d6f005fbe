"""Half-widths of loss exponents are those of 90 % intervals of a straight line, by scipy."""

import numpy as np
import pytest
from scipy.stats import linregress, t

from eigenflow.theory.exponents.loss_exponent import loss_exponents
from theory.self_similarity.test_frontier import history

TIMES = np.concatenate([np.linspace(0, 1, 40) ** 3, np.geomspace(1.05, 100, 80)])


def test_half_widths_of_the_whole_energy_are_those_of_linear_regression():
    windows = loss_exponents(history(1.0, times=TIMES, nu=1.5, sigma=0.4, count=400))
    data = history(1.0, times=TIMES, nu=1.5, sigma=0.4, count=400)
    total = (data["total_energy"] if "total_energy" in data else 2.0 * data["probe_loss"]).values
    for window in windows:
        rows = (window.start <= TIMES) & (window.end >= TIMES)
        line = linregress(np.log(TIMES[rows]), np.log(total[rows]))
        assert window.fitted == pytest.approx(-line.slope, rel=1e-9)
        assert window.fitted_half_width == pytest.approx(line.stderr * t.ppf(0.95, rows.sum() - 2), rel=1e-9)
