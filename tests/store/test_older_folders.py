"""Run folders that the releases of schema versions 1 to 5 wrote, packed as they were: they open and are analysed.

`folders/schema-1`, `schema-2`, `schema-3`: 18 updates of full-batch gradient descent (rate 0.1) of
`problems.tanh_net(0)` on `problems.samples(0)`, mean square, all modes at steps 0, 3, 8, 15 and 16. `schema-2-tracked`:
20 samples, six modes and a tail; `schema-3-tracked` the same, with a holdout set; `schema-4`, `schema-5` and theirs as
those of schema 3.
"""

import json

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.store import SCHEMA_VERSION
from store.packed import unpack

NAMES = ("schema-1", "schema-2", "schema-2-tracked", "schema-3", "schema-3-tracked", "schema-4", "schema-4-tracked")
NAMES += ("schema-5", "schema-5-tracked")

pytestmark = pytest.mark.filterwarnings("ignore:.*no checksums:eigenflow.store.RunFolderWarning")


@pytest.fixture(params=NAMES)
def folder(request, tmp_path):
    return unpack(request.param, tmp_path)


def test_folder_is_of_an_older_schema_and_opens(folder):
    version = json.loads((folder / "run.json").read_text())["schema_version"]
    assert version == int(folder.name.split("-")[1]) < SCHEMA_VERSION
    run = ef.open_run(folder)  # warnings are errors
    assert run.status == "complete" and run.measured_steps == (0, 3, 8, 15, 16) and len(run.losses) == 18
    np.testing.assert_allclose(run.measurements["time"], 0.1 * np.array(run.measured_steps), rtol=1e-14)


def test_budget_closes_with_no_curvature_and_energy_is_twice_the_loss(folder):
    run = ef.open_run(folder)
    version = int(run.path.name.split("-")[1])
    assert ("curvature" in run.measurements) == (version >= 3)
    assert ("buffers" in run.measurements) == (version >= 4)
    budget = ef.shell_budget(run)
    whole = budget.energy.sum("shell").values
    for term in (budget.curvature, budget.buffers, budget.buffers_transfer):
        assert not term.values.any() and term.dims == ("step", "shell")
    np.testing.assert_allclose(whole, 2 * run.losses["loss"].values[list(run.measured_steps)], rtol=1e-10)
    assert np.abs(budget.residual.values).max() <= 1e-12 * whole.max()


@pytest.mark.long
def test_claims_and_closure_read_them(folder):
    rows = {row.claim: row for row in ef.claims(ef.open_run(folder))}
    assert rows["C1.identity"].verdict == "supported" and rows["C3.closes"].verdict == "supported"


def test_they_have_no_gaps_and_count_as_records_of_single_updates(folder):
    run = ef.open_run(folder)
    assert run.gaps == () and run.first_step == 0 and run.why_no_updates is None
