"""A whole measurement: cell by cell, cut off and gone on with, and refused where it does not belong."""

import json

import numpy as np
import pytest
import xarray as xr

from eigenflow.core.errors import NonFiniteError, RunFolderError
from eigenflow.lab.double_descent import estimate_study, load_double_descent, measure_surfaces
from eigenflow.lab.double_descent import study as module
from eigenflow.lab.double_descent.digits import whole_task
from eigenflow.lab.double_descent.features import arc_cosine_kernel
from eigenflow.lab.double_descent.measuring import measure_features, measure_networks
from eigenflow.theory.double_descent.measured.comparison import compare_measured, population_task

pytestmark = [pytest.mark.measure, pytest.mark.long]

TINY = [
    "task.samples=[10, 16, 24]",
    "task.holdout=30",
    "task.seeds=2",
    "task.noise=[0.0, 0.3]",
    "features.counts=[5, 10, 16, 40]",
    "features.draws=3",
    "features.count=4",
    "networks.widths=[1, 3, 8]",
    "networks.steps=120",
    "networks.count=6",
]


def tiny(*changes):
    return load_double_descent(None, [*TINY, *changes])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured") / "whole"
    return (*measure_surfaces(tiny(), folder), folder)


def test_surfaces_hold_every_cell_once(measured):
    networks, features, _ = measured
    assert dict(networks["risk"].sizes) == {"width": 3, "samples": 3, "noise": 2, "seed": 2, "time": 6}
    assert dict(features["risk"].sizes) == {"features": 4, "samples": 3, "noise": 2, "draw": 3, "time": 4}
    one = measure_networks(tiny(), 3, 16)
    whole, alone = networks["risk"].sel(width=3, samples=16, drop=True), one["risk"].drop_vars(["width", "samples"])
    xr.testing.assert_allclose(whole, alone)
    one = measure_features(tiny(), 16, 24)
    whole = features["risk_end"].sel(features=16, samples=24, drop=True)
    xr.testing.assert_allclose(whole, one["risk_end"].drop_vars(["features", "samples"]))
    assert all(np.isfinite(data[name]).all() for data in (networks, features) for name in data.data_vars)


def test_spectrum_of_the_population_is_that_of_all_digits(measured):
    """Trace and energy of the target are known without eigenvectors; and the target is in its modes."""
    features = measured[1]
    inputs, targets = whole_task(tiny().task)
    kernel = arc_cosine_kernel(inputs, inputs)
    found = population_task(features, 0.3)
    assert found.trace == pytest.approx(np.trace(kernel) / len(inputs), rel=1e-9)
    assert found.energy == pytest.approx(0.49 * (targets**2).sum() / len(inputs), rel=1e-6)
    assert found.noise == pytest.approx(0.51)
    through = float(targets[:, 0] @ kernel @ targets[:, 0]) / len(inputs) ** 2
    assert float(found.eigenvalues @ found.target) == pytest.approx(0.49 * through, rel=1e-9)


def test_a_measurement_cut_off_goes_on_and_ends_the_same(measured, tmp_path, monkeypatch):
    calls, measure = [], module.measure_networks

    def fails_at_the_fourth(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(module, "measure_networks", fails_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        measure_surfaces(tiny(), tmp_path / "cut")
    told = []
    resumed = measure_surfaces(tiny(), tmp_path / "cut", resume=True, progress=lambda *state: told.append(state))
    assert len(calls) == 4 + 6  # the three that were done are not measured again
    for data, whole in zip(resumed, measured, strict=False):
        xr.testing.assert_identical(data, whole)
    assert told[-1] == (9 * 120, 9 * 120, 9 + 12)
    assert not list((tmp_path / "cut").glob(".tmp*"))


def test_progress_rises_to_all_of_the_work(tmp_path):
    told = []
    config = tiny("features.counts=[]", "task.samples=[10]")
    measure_surfaces(config, tmp_path / "new", progress=lambda *state: told.append(state))
    updates, totals, cells = np.array(told).T
    assert (np.diff(updates) >= 0).all() and (np.diff(cells) >= 0).all() and set(totals) == {360}
    cost = estimate_study(config)
    shares = [cost.share_done(done, cell, total) for done, total, cell in told]
    assert shares[-1] == pytest.approx(1.0) and 0 < shares[0] < 1 and cost.networks == 12 and cost.cells == 3


@pytest.mark.rejects
def test_folders_that_hold_something_else_are_refused(measured, tmp_path):
    folder = measured[2]
    with pytest.raises(RunFolderError, match="is not empty"):
        measure_surfaces(tiny(), folder)
    with pytest.raises(RunFolderError, match="of other settings"):
        measure_surfaces(tiny("task.seed=1"), folder, resume=True)
    with pytest.raises(RunFolderError, match="holds no measurement of double descent"):
        measure_surfaces(tiny(), tmp_path, resume=True)
    (tmp_path / module.HEADER).write_text("{")
    with pytest.raises(RunFolderError, match="cannot be read"):
        measure_surfaces(tiny(), tmp_path, resume=True)


@pytest.mark.rejects
def test_a_damaged_cell_is_named(measured, tmp_path):
    config = tiny("networks.widths=[]")
    measure_surfaces(config, tmp_path / "new")
    path = next((tmp_path / "new" / module.PARTS).iterdir())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RunFolderError, match=rf"{path.name}.*Delete it"):
        measure_surfaces(config, tmp_path / "new", resume=True)


@pytest.mark.rejects
def test_divergence_keeps_what_was_measured(tmp_path):
    config = tiny("networks.learning_rate=1e5", "networks.activation=relu")
    with pytest.raises(NonFiniteError, match=r"has diverged.*Lower networks.learning_rate"):
        measure_surfaces(config, tmp_path / "new")
    assert len(list((tmp_path / "new" / module.PARTS).iterdir())) == 12


def test_theory_beside_it_is_complete_and_json(measured):
    networks, features, _ = measured
    found = compare_measured(networks, features)
    assert [sum(row.axis == axis for row in found.networks) for axis in ("width", "samples", "time")] == [6, 6, 18]
    # Parameters equal training outputs: 18 w + 1 = n.
    for row in found.networks:
        if row.axis == "width":
            assert row.threshold == pytest.approx((row.where["samples"] - 1) / 18)
        elif row.axis == "samples":
            assert row.threshold == 18 * row.where["width"] + 1
        assert row.moves is not None
        parts = [row.moves.height[name][0] for name in ("drift", "rotation", "quadrature")]
        assert sum(parts) == pytest.approx(row.moves.height["all"][0], abs=1e-9)
    summary = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert len(summary["networks"]) == 30 and len(summary["features"]) == 2 * 3 * (3 + 4)
    assert len(repr(found).splitlines()) <= 15
    assert compare_measured(networks, None).features == [] and compare_measured(None, features).closure is None


def test_a_prediction_that_diverges_is_a_reason_and_not_a_number(measured):
    networks = measured[0].copy(deep=True)
    networks["risk_lazy"][{"width": 1, "seed": 0, "time": -1}] = np.inf
    rows = compare_measured(networks, None).networks
    bad = [row for row in rows if row.moves is None]
    assert bad and all("lazy not finite" in row.reason for row in bad)
    assert all(row.axis != "samples" or row.where["width"] == 3 for row in bad)
