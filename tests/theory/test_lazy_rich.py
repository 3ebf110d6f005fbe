"""The lazy-rich coordinate and the predictions of both limits, on systems whose operator is known at all times."""

from functools import cache

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.claims import CLAIMS, Evidence
from eigenflow.theory.lazy_rich import Regime, lazy_rich, predict_from_start
from synthetic_run import DatasetRun, budget_of, measure, power_law_modes, riccati

TIMES = np.append(0.0, np.geomspace(0.05, 300, 36))
LABELS = np.arange(1.0, 81) ** -1.5


def rows_of(data):
    return {row.claim: row for row in CLAIMS["C8"].judge(Evidence(DatasetRun(data)))}


@cache
def at_all_times(rho):
    return measure(power_law_modes(80, rho=rho, seed=0), TIMES, 0.01)


def scaling(rho, times=None):
    if times is None:
        return at_all_times(rho)
    return measure(power_law_modes(80, rho=rho, seed=0), times, 0.01)


@pytest.mark.long
@pytest.mark.parametrize(("rho", "regime"), [(1.0, "lazy"), (1.01, "lazy"), (1.05, "between"), (1.5, "rich")])
def test_scaling_modes_grow_without_turning(rho, regime):
    """M = (1 + t)^(rho - 1) M0: the distance is (1 + t)^(rho - 1) - 1, the alignment 1."""
    data = scaling(rho)
    place = lazy_rich(data, budget_of(data))
    scale = (1 + TIMES) ** (rho - 1)
    np.testing.assert_allclose(place.distance, scale - 1, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(place.growth, scale, rtol=1e-12)
    np.testing.assert_allclose(place.alignment, 1.0, rtol=1e-12)
    assert place.regime == regime and place.coordinate == place.distance[-1] and not place.is_lower_bound


def test_predictions_are_the_closed_forms():
    """Lazy: exp(-2 lambda t). Moving: exp(-2 lambda tau), which is the truth, to the quadrature's 0.2 % in tau."""
    data = scaling(1.5)
    found = predict_from_start(data)
    energies = data["coefficient"].values[0] ** 2
    lazy = 0.5 * (energies * np.exp(-2 * LABELS * TIMES[1:, None])).sum(1)
    np.testing.assert_allclose(found.lazy, lazy, rtol=1e-10)
    np.testing.assert_allclose(found.truth, data["probe_loss"].values[1:], rtol=1e-12)
    assert found.moving_score.rms_log_ratio <= 5e-3 < 1 < found.lazy_score.rms_log_ratio


def test_energy_that_is_not_stored_by_mode_stays():
    data = scaling(1.0).isel(mode=slice(0, 30))
    found = predict_from_start(data)
    energies = scaling(1.0)["coefficient"].values[0] ** 2
    assert found.lazy[-1] == pytest.approx(
        0.5 * energies[30:].sum() + 0.5 * (energies * np.exp(-2 * LABELS * TIMES[-1]))[:30].sum(), rel=1e-10
    )


@pytest.mark.long
def test_tail_of_a_tracked_run_decays_by_its_quadrature():
    """With a node for each eigenvalue that is not tracked, the lazy prediction is that of all modes."""
    whole = scaling(1.2)
    tail = whole.isel(mode=slice(30, None))
    some = whole.isel(mode=slice(0, 30)).assign(
        tail_node=(("step", "node"), tail["eigenvalue"].values),
        tail_mass=(("step", "node"), tail["coefficient"].values ** 2),
    )
    np.testing.assert_allclose(predict_from_start(some).lazy, predict_from_start(whole).lazy, rtol=1e-10)


@pytest.mark.long
def test_flux_share_is_nothing_at_rest_and_grows_with_the_drift():
    """Steps of 0.5, long enough for some of 80 eigenvalues to cross an edge in each."""
    shares, times = [], 0.5 * np.unique(np.geomspace(1, 600, 36).round() - 1)
    for rho in (1.0, 1.2, 1.5):
        data = measure(power_law_modes(80, rho=rho, seed=0), times, 0.5)
        place = lazy_rich(data, budget_of(data))
        assert np.all((place.flux_share >= 0) & (place.flux_share < 1))
        shares.append(place.flux_share[-1])
    assert shares[0] == 0.0 < shares[1] < shares[2]


def test_flux_share_of_a_rotating_system_is_all_rotation():
    """The balanced linear network turns; crossings of edges alone do not explain its transfer."""
    data = measure(riccati(4), np.linspace(0, 2, 30), 1e-3)
    place = lazy_rich(data, budget_of(data))
    assert place.flux_share[-1] > 0.01 and 0 < place.drift_share < 1 and place.alignment[-1] < 1


@pytest.mark.long
def test_sorted_eigenvalues_bound_the_distance_from_below():
    """Hoffman and Wielandt; with equality where nothing turns."""
    for data, is_equal in ((scaling(1.3), True), (measure(riccati(4), np.linspace(0, 2, 20), 1e-3), False)):
        whole = lazy_rich(data, budget_of(data))
        bound = lazy_rich(data.drop_vars("initial_distance"), budget_of(data))
        assert bound.is_lower_bound and bound.alignment is None
        assert np.all(bound.distance <= whole.distance * (1 + 1e-9) + 1e-14)
        assert np.allclose(bound.distance, whole.distance, rtol=1e-8) == is_equal


def test_a_lower_bound_never_makes_a_run_lazy():
    data = scaling(1.0).drop_vars("initial_distance")
    assert lazy_rich(data, budget_of(data)).regime is Regime.BETWEEN


@pytest.mark.rejects
def test_a_few_modes_do_not_bound_the_distance():
    data = scaling(1.3)
    some = data.drop_vars("initial_distance").isel(mode=slice(0, 3))
    with pytest.raises(ArgumentError, match="how far the operator has gone"):
        lazy_rich(some, budget_of(data))


@pytest.mark.long
def test_both_limits_are_one_equation_where_nothing_rotates():
    """b = 1 without rotation: the equation gives the loss, frozen it is right or wrong as the coordinate says."""
    for rho, row, forward in ((1.01, "C8.lazy", "C8.still"), (1.5, "C8.rich", "C8.moving")):
        rows = rows_of(scaling(rho))
        assert list(rows) == ["C8", "C8.equation", row, forward]
        assert {found.verdict for found in rows.values()} == {"supported"}, rows


def test_rotation_contradicts_the_equation_without_a_source():
    """The balanced linear network: its eigenvalues alone do not give the loss."""
    rows = rows_of(measure(riccati(4), np.linspace(0, 3, 8), 1e-3))
    assert rows["C8.equation"].verdict == "contradicted", rows


def test_nothing_moves_so_there_is_no_law_to_forecast_with():
    rows = rows_of(scaling(1.0))
    assert rows["C8.lazy"].verdict == "supported" and rows["C8.still"].verdict == "undecided"
    assert "eigenvalues move" in rows["C8.still"].would_change


def test_a_run_of_few_measurements_is_undecided_about_the_future():
    rows = rows_of(scaling(1.5, np.array([0, 1, 10, 100, 300.0])))
    assert rows["C8.moving"].verdict == "undecided" and "measured more often" in rows["C8.moving"].would_change
    assert rows["C8.equation"].verdict == rows["C8.limit"].verdict == "undecided"
    assert "4 measurements after the first" in rows["C8.equation"].reason


@pytest.mark.long
def test_between_the_limits_neither_is_claimed():
    rows = rows_of(scaling(1.05))
    assert rows["C8.limit"].verdict == "undecided" and "between the limits" in rows["C8.limit"].reason


@pytest.mark.long
def test_what_is_learned_to_rounding_is_no_error_of_the_equation():
    """All modes decay alike, to 1e-40 of the start; the energy that is measured ends at squares of rounding, 1e-31."""
    data = measure(power_law_modes(80, rho=1.0, seed=0), np.linspace(0.0, 6e4, 40), 0.01)
    lowest = 1e-31 * float(data["energy"][0].sum())
    found = predict_from_start(data.assign(energy=data["energy"] + lowest / data.sizes["shell"]))
    assert 0 < len(found.times) < 39
    np.testing.assert_allclose(found.lazy, found.truth, rtol=1e-4)  # 1e-31 / 1e-26
