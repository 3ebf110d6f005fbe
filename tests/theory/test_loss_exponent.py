"""Loss exponents predicted from spectrum and drift, against power-law sums with known exponents.

See equations/exponents.md#lazy-exponent.
"""

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.claims import CLAIMS, Evidence
from eigenflow.theory.exponents.loss_exponent import loss_exponents
from synthetic_run import DatasetRun
from theory.self_similarity.test_frontier import FAST, history

TIMES = np.concatenate([np.linspace(0, 1, 40) ** 3, np.geomspace(1.05, 100, 80)])


@pytest.mark.long
@pytest.mark.parametrize(("b", "a", "exponent"), [(1.5, 1.6, 0.4), (2.0, 1.5, 0.25), (1.2, 2.2, 1.0)])
def test_power_law_sums(b, a, exponent):
    """lambda = k^-b, c^2 = k^-a: xi = (a - 1) / b.

    A finite spectrum lacks its tail, which steepens prediction and loss by the same. With the sum beyond mode 20,000
    added, the loss has the exponent to what is left of the first mode at t = 10: 3 per cent.
    """
    data = history(1.0, times=TIMES, nu=b, sigma=(a - 1) / b, count=20000)
    last = loss_exponents(data)[-1]
    assert last.predicted == pytest.approx(last.fitted, rel=1e-6)
    missing = 20000.0 ** (1 - a) / (a - 1)
    late = (last.start <= TIMES) & (last.end >= TIMES)
    whole = (data["coefficient"] ** 2).sum("mode").values[late] + missing
    assert -np.polyfit(np.log(TIMES[late]), np.log(whole), 1)[0] == pytest.approx(exponent, rel=0.03)


def test_sigma_is_that_of_the_spectrum_wherever_the_ends_are_far():
    """Far from either end the local exponent is (a - 1) / b: modes from 1 to 1e5, times at which 30 to 200 are learned.

    What is missing beyond mode 1e5 is 1e5^-.6 of 30^-.6, 0.8 per cent of the energy, and steepens sigma by as much.
    """
    times = np.concatenate([[0.0], np.geomspace(80.0, 1400.0, 24)])
    window = loss_exponents(history(1.0, times=times, nu=1.5, sigma=0.4, count=100000))[-1]
    assert window.source == pytest.approx(0.4, rel=0.03)


@pytest.mark.parametrize("rho", [0.7, 1.3])
def test_drift_enters_by_the_clock(rho):
    """x^rho - 1 instead of a power: 1 per cent at t = 10, in prediction and loss alike."""
    last = loss_exponents(history(rho, times=TIMES, count=2000))[-1]
    assert last.clock == pytest.approx(rho, rel=0.02)
    assert last.clock_before == pytest.approx(rho, rel=0.02)
    assert last.predicted == pytest.approx(rho * 0.8, rel=0.03)
    assert last.fitted == pytest.approx(rho * 0.8, rel=0.04)
    # Modes do not exchange energy here, so their sum is the loss.
    assert last.summed == pytest.approx(last.fitted, rel=0.01)


def scalar_head(alpha, beta, count, times, *, start=0.1):
    """f(x) = a w.x on covariance k^-alpha, lambda_k w*_k^2 = k^(-alpha beta - 1), from w = 0.

    See equations/exponents.md#scalar-head.

    The operator a^2 Lambda + (Lambda^(1/2) w)(Lambda^(1/2) w)' grows and turns; a reference solver integrates the flow.
    """
    k = np.arange(1.0, count + 1)
    lam = k**-alpha
    target = np.sqrt(k ** (-alpha * beta - 1) / lam)

    def flow(_, y):
        miss = lam * (y[0] * y[1:] - target)
        return np.concatenate([[-(y[1:] @ miss)], -y[0] * miss])

    y0 = np.concatenate([[start], np.zeros(count)])
    states = solve_ivp(flow, (0.0, times[-1]), y0, t_eval=times, rtol=1e-8, atol=1e-11).y.T
    eigenvalue, coefficient, loss = [], [], []
    for a, *w in states:
        z, e = np.sqrt(lam) * w, np.sqrt(lam) * (a * np.array(w) - target)
        values, vectors = np.linalg.eigh(a**2 * np.diag(lam) + np.outer(z, z))
        eigenvalue.append(values[::-1])
        coefficient.append(vectors[:, ::-1].T @ e)
        loss.append(0.5 * (e @ e + (count + 0.5) ** (-alpha * beta) / (alpha * beta)))
    return xr.Dataset(
        {
            "time": ("step", times),
            "eigenvalue": (("step", "mode"), np.array(eigenvalue)),
            "coefficient": (("step", "mode"), np.array(coefficient)),
            "probe_loss": ("step", np.array(loss)),
        },
        coords={"step": np.arange(len(times))},
    )


@pytest.mark.long
@pytest.mark.parametrize(("alpha", "beta"), [(1.5, 0.4), pytest.param(2.0, 0.25, marks=pytest.mark.slow)])
def test_feature_learning_of_the_scalar_head_network(alpha, beta):
    """tau ~ t^(2 / (1 + beta)), so the loss falls as t^-(2 beta / (1 + beta)): .5714 and .4.

    See equations/exponents.md#scalar-head.

    The transient from a = 0.1 and 500 modes leave 5 per cent at t = 14 to 140.
    """
    times = np.concatenate([np.linspace(0, 1, 30) ** 2 * 13, np.geomspace(14.0, 140.0, 24)])
    last = loss_exponents(scalar_head(alpha, beta, 500, times))[-1]
    exponent = 2 * beta / (1 + beta)
    assert last.predicted == pytest.approx(exponent, rel=0.05)
    assert last.fitted == pytest.approx(exponent, rel=0.05)
    # The rank-one part turns, which no clock knows of.
    assert last.predicted == pytest.approx(last.fitted, rel=0.07)
    # A spectrum that stood still would give beta: 30 and 37 per cent too small.
    assert last.source < 0.75 * last.fitted


def rows_of(data):
    return {row.claim: row for row in CLAIMS["C6"].judge(Evidence(DatasetRun(data), knows_rates=False))}


def test_rows_of_a_power_law_run():
    rows = rows_of(history(1.3, times=TIMES, count=2000))
    assert rows["C6.time"].verdict == "supported", rows["C6.time"]
    assert rows["C6.spectrum"].verdict == "supported", rows["C6.spectrum"]


def test_a_clock_that_the_modes_do_not_follow_is_contradicted():
    """Eigenvalues said to grow as x^0.5, while the energies decay as if they stood still: 1.5 sigma for sigma."""
    data = history(1.0, times=TIMES, count=2000)
    grown = data["eigenvalue"].values * (1 + FAST * TIMES[:, None]) ** 0.5
    rows = rows_of(data.assign(eigenvalue=(("step", "mode"), grown)))
    for key in ("C6.time", "C6.spectrum"):
        assert rows[key].verdict == "contradicted", rows[key]


def test_a_preconditioned_optimizer_leaves_exponents_undecided():
    data = history(1.0, times=TIMES, count=500)
    terms = {"dissipation": 1.0, "optimizer": -5.0}
    for name, value in terms.items():
        data = data.assign({name: (("step", "shell"), np.full((len(TIMES), 3), value))})
    (row,) = rows_of(data).values()
    assert row.verdict == "undecided" and "-5 times" in row.reason


@pytest.mark.rejects
def test_runs_without_a_window_are_refused():
    with pytest.raises(ArgumentError, match="no window of a factor 4"):
        loss_exponents(history(1.0, times=TIMES, count=20))
    with pytest.raises(ArgumentError, match="no window"):
        loss_exponents(history(1.0, times=TIMES[:1]))
