"""C4.regularity on residuals that keep their regularity, and that do not."""

import numpy as np
import xarray as xr

from eigenflow.theory.claims import Evidence
from eigenflow.theory.claims.c4_drift_law import keeps_regularity
from synthetic_run import DatasetRun
from theory.self_similarity.test_frontier import history
from theory.test_regularity import TIMES


def row_of(data):
    evidence = Evidence(DatasetRun(data))
    return keeps_regularity.judge(evidence, evidence.rng())


def test_transport_that_preserves_regularity_is_supported():
    row = row_of(history(1.3, times=TIMES, seed=1, count=1000))
    assert row.verdict == "supported", row
    assert "fixed basis of the start it changed by" in row.reason


def test_a_residual_that_roughens_is_contradicted():
    """The source exponent falls by 0.1 an e-fold of 1 + t, 0.2 to 0.34 over the last decade."""
    data = history(1.0, times=TIMES, seed=1, count=1000)
    bend = data["eigenvalue"].values[0][None] ** (-0.05 * np.log1p(data["time"].values[:, None]))
    row = row_of(data.assign(coefficient=data["coefficient"] * xr.DataArray(bend, dims=("step", "mode"))))
    assert row.verdict == "contradicted", row
    assert -0.34 < row.estimate < -0.2


def test_too_few_modes_leave_it_undecided():
    row = row_of(history(1.0, times=TIMES, count=20))
    assert row.verdict == "undecided"
    assert "30 modes" in row.reason
    lacking = row_of(history(1.0, times=TIMES, seed=1, count=500).drop_vars("initial_coefficient"))
    assert "schema version 3" in lacking.reason
