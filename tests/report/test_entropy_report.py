"""A run whose loss is not squared says which of its numbers are losses and which energies."""

import json

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.report import analyse, write_report
from eigenflow.store import RunWriter, Variable
from eigenflow.theory.forecasts.observed import observe_until
from report import recorded

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    """The formulas of `recorded` under the header of a cross-entropy run, whose loss is not half the energy."""
    squared = tmp_path_factory.mktemp("entropy") / "squared"
    recorded.record_run(squared)
    run = ef.open_run(squared)
    data = run.measurements
    header = {key: run.header[key] for key in ("config", "probe") if key in run.header}
    header["probe"] = {**header.get("probe", {"samples": 1}), "loss": "cross_entropy", "is_quadratic": False}
    folder = squared.parent / "entropy"
    with RunWriter.create(folder, header=header) as writer:
        for row in run.losses.to_dict("records"):
            writer.log({**row, "loss": 0.3 * row["loss"]})
        for index, step in enumerate(data["step"].values):
            one = data.isel(step=index)
            found = {
                str(name): Variable(tuple(map(str, v.dims)), v.values, "1", str(name))
                for name, v in one.data_vars.items()
            }
            energy = Variable((), np.asarray(one["energy"].sum("shell").values), "loss", "total_energy")
            curvature = Variable(("shell",), 0.1 * one["energy"].values, "loss", "curvature")
            loss = Variable((), np.asarray(0.3 * one["probe_loss"].values), "loss", "probe_loss")
            edge = {"edge": Variable(("edge",), data["edge"].values, "1 / time", "edge")}
            added = {"total_energy": energy, "curvature": curvature, "probe_loss": loss}
            writer.append(int(step), {**found, **added}, constants=edge if index == 0 else None)
        writer.set_status("complete")
    return analyse(ef.open_run(folder))


def test_forecasts_are_of_the_energy_and_say_so(analysis):
    """Scored on half the total energy, never on the loss, which is 0.3 of it here."""
    observed = observe_until(analysis.run, 0.25)
    data = analysis.run.measurements
    assert observed.quantity == "energy" and observed.source == "measured"
    later = data["total_energy"].sel(step=observed.later_steps)
    np.testing.assert_allclose(observed.later_losses, 0.5 * later, rtol=1e-15)
    lazy = next(f for f in analysis.forecasts if f.method == "lazy" and f.observed.cut == 0.25)
    last = data.isel(step=int((data["step"] + 1 <= observed.cut_step).sum()) - 1)
    spans = observed.later_times - float(last["time"])
    carried = 0.5 * (last["coefficient"].values ** 2 * np.exp(-2 * last["eigenvalue"].values * spans[:, None])).sum(1)
    np.testing.assert_allclose(lazy.loss, carried, rtol=1e-6)
    assert {score["quantity"] for score in analysis.summary()["forecast"]["scores"]} == {"energy"}


def test_page_keeps_loss_and_energy_apart(analysis, tmp_path):
    page = write_report(analysis, tmp_path / "page.html").read_text()
    for told in ("is not squared", "Best of three for the energy, not the loss", "energy = ‖e‖² of the symmetrised"):
        assert told in page, told
    for told in ("Energy is twice the loss", "energy = ‖e‖² = 2 × loss"):
        assert told not in page, told


def test_curvature_is_a_term_of_figures_and_summary(analysis, tmp_path):
    from eigenflow.report.figures.shells import terms_figure

    assert "curvature" in {trace["name"] for trace in terms_figure(analysis.budget).data}
    assert analysis.summary()["budget"]["median_shares"]["curvature"] > 0
    recorded.record_run(tmp_path / "squared")
    squared = analyse(ef.open_run(tmp_path / "squared"))
    assert "curvature" not in {trace["name"] for trace in terms_figure(squared.budget).data}
    assert json.loads(json.dumps(squared.summary()["budget"]["median_shares"]["curvature"])) == 0.0
