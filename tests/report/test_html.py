"""The HTML report holds what the analysis and the run folder hold, and loads nothing."""

import dataclasses
import warnings

import numpy as np
import plotly.graph_objects
import pytest

from eigenflow.report import analyse, write_report
from eigenflow.report.mathematics import typeset
from eigenflow.store import open_run
from report.page_tags import figures
from report.recorded import (
    EDGES,
    GROWTH,
    MEASURED,
    MODES,
    SHORT,
    STEP_SIZE,
    STEPS,
    Page,
    coefficients_at,
    eigenvalues_at,
    holdout_at,
    loss_at,
    numbers,
    record_run,
)

pytestmark = pytest.mark.long

FIGURES = ["loss", "forecast", "eigenvalues", "energy", "flux", "terms", "velocity", "strength", "transfer"]
LATER = np.array(MEASURED[1:]) * STEP_SIZE  # measured times that a logarithmic axis can show
ENDS = (np.array(MEASURED) + 1) * STEP_SIZE


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "synthetic"
    record_run(folder)
    return analyse(open_run(folder))


@pytest.fixture(scope="module")
def page(analysis):
    return Page(write_report(analysis, train_s=12.5).read_text())


def page_of(analysis, path) -> Page:
    return Page(write_report(analysis, path).read_text())


def record_and_analyse(folder, **options):
    record_run(folder, **options)
    return analyse(open_run(folder))


def test_file_is_in_the_run_folder_or_where_it_was_asked_for(analysis, tmp_path):
    assert write_report(analysis) == analysis.run.path / "report.html"
    wanted = tmp_path / "page.html"
    assert write_report(analysis, wanted) == wanted
    assert wanted.stat().st_size < 6e6  # plotly.js takes 4.8 MB


def test_nothing_is_loaded_from_elsewhere(page):
    loading = {"src", "srcset", "data", "action", "poster", "background"}
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert not loading & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
    policies = [a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies[0].startswith("default-src 'none'")


def test_links_of_the_contents_lead_somewhere(page):
    ids = {attributes.get("id") for _, attributes in page.elements}
    for _, attributes in page.elements:
        if "href" in attributes:
            assert attributes["href"][1:] in ids


def test_plotly_stands_in_the_file_once(page):
    from plotly.offline import get_plotlyjs

    assert page.scripts["code"].count(get_plotlyjs()[:200]) == 1
    assert "showSendToCloud: false" in page.scripts["code"]


@pytest.mark.parametrize("key", FIGURES)
def test_every_figure_has_title_caption_and_labelled_axes(page, key):
    layout = page.figure(key)["layout"]
    assert layout["title"]["text"]
    x_titles = [axis["title"].get("text") for name, axis in layout.items() if name.startswith("xaxis")]
    assert all("time" in (title or "") for title in x_titles)  # λ is labelled in 1 / time
    assert layout["yaxis"]["title"]["text"]


def test_plotly_knows_every_setting_of_every_figure(page):
    """plotly's own objects refuse a name or a value that plotly.js does not know."""
    found = figures(page)
    assert len(found) >= 19
    for figure in found.values():
        plotly.graph_objects.Figure(figure)


def test_claims_are_those_of_the_analysis(analysis, page):
    rows = {attributes["data-claim"]: cells for attributes, cells in page.rows if "data-claim" in attributes}
    assert sorted(rows) == sorted(claim.claim for claim in analysis.claims)
    for claim in analysis.claims:
        cells = rows[claim.claim]
        assert cells[1]["text"] == typeset(claim.statement)
        value = cells[2]["attributes"].get("data-value")  # an undecided row may have no estimate, and shows none
        assert (None if value is None else float(value)) == claim.estimate
        assert claim.verdict.value in cells[4]["text"]
        is_part = "." in claim.claim
        change = f"Would change: {claim.would_change}." if is_part else ""
        assert cells[5]["text"] == typeset(claim.reason + change) + claim.controls


def test_claims_as_a_whole_stand_out_from_their_assertions(page):
    kinds = {a["data-claim"]: a["class"] for a, _ in page.rows if "data-claim" in a}
    assert kinds["C1"] == kinds["C4"] == "whole"
    assert kinds["C1.flow"] == kinds["C4.form"] == "part"


def test_rows_beside_a_claim_stand_after_those_that_decide_and_the_decider_is_named(analysis, tmp_path):
    """Whatever the analysis says of it: here the flow decides on C1, and the identity stands beside it."""
    words = "of 24 controls 92 % right"
    changed = [
        dataclasses.replace(
            row,
            decides=row.claim != "C1.identity",
            decided_by="C1.flow" if row.claim == "C1" else "",
            controls=words if row.claim == "C1.flow" else "",
        )
        for row in analysis.claims
    ]
    page = page_of(dataclasses.replace(analysis, claims=changed), tmp_path / "report.html")
    rows = [(attributes, cells) for attributes, cells in page.rows if attributes.get("data-claim", "").startswith("C1")]
    assert rows[0][0]["data-claim"] == "C1"
    assert rows[-1][0]["data-claim"] == "C1.identity" and rows[-1][0]["class"] == "part beside"
    assert "by C1.flow" in rows[0][1][0]["text"]
    told = {a["data-claim"]: cells[5]["text"] for a, cells in rows}
    assert told["C1.flow"].endswith(words)
    groups = [cells[0]["text"] for a, cells in page.rows if a.get("class") == "group"]
    assert groups == ["beside the claim: its verdict does not depend on these rows"]


def test_scores_are_those_of_the_forecasts(analysis, page):
    rows = [(attributes, cells) for attributes, cells in page.rows if "data-method" in attributes]
    assert len(rows) == len(analysis.forecasts) == 9
    for (attributes, cells), forecast in zip(rows, analysis.forecasts, strict=True):
        assert attributes["data-method"] == forecast.method
        assert float(attributes["data-cut"]) == forecast.observed.cut
        assert float(cells[2]["attributes"]["data-value"]) == forecast.score.rms_log_ratio
        assert float(cells[3]["attributes"]["data-value"]) == forecast.score.final_log_ratio


def test_learning_times_are_those_of_the_analysis(analysis, page):
    rows = [cells for attributes, cells in page.rows if "data-group" in attributes]
    learned = analysis.learned
    assert len(rows) == len(learned.shares) > 1
    for place, cells in enumerate(rows):
        told = [cell["text"] for cell in cells[3:]]
        assert told == [column[place] for column in learned.columns().values()]
        assert cells[2]["text"] == f"{100 * learned.shares[place]:.1f} %"
    assert analysis.summary()["learning_times"]["groups"] == learned.to_dict()["groups"]


def test_bold_marks_the_best_forecast_of_each_cut(page):
    rows = [(a, float(cells[2]["attributes"]["data-value"])) for a, cells in page.rows if "data-method" in a]
    for cut in {a["data-cut"] for a, _ in rows}:
        of_cut = [(value, a.get("class")) for a, value in rows if a["data-cut"] == cut]
        assert [kind for value, kind in sorted(of_cut)] == ["best", None, None]


def test_losses_drawn_are_the_recorded_ones(page):
    traces = page.traces("loss")
    (probe,), (holdout,), (logged,) = traces["probe loss"], traces["holdout loss"], traces["trained loss, logged"]
    np.testing.assert_array_equal(numbers(probe["x"])[1:], LATER)
    np.testing.assert_array_equal(numbers(probe["y"])[1:], [loss_at(t) for t in LATER])
    np.testing.assert_array_equal(numbers(holdout["y"])[1:], [holdout_at(t) for t in LATER])
    np.testing.assert_allclose(numbers(logged["x"]), STEP_SIZE * np.arange(1, STEPS), rtol=SHORT)
    np.testing.assert_allclose(numbers(logged["y"]), [loss_at(t) for t in STEP_SIZE * np.arange(1, STEPS)], rtol=SHORT)
    assert np.isnan(numbers(probe["x"])[0])  # time 0


def test_forecasts_and_intervals_drawn_are_those_of_the_analysis(analysis, page):
    traces = page.traces("forecast")
    for forecast in analysis.forecasts:
        column = sorted({f.observed.cut for f in analysis.forecasts}).index(forecast.observed.cut)
        title = {"lazy": "lazy (v = 0)", "transport": "transport (b = 1)", "power_law": "power law in t"}
        np.testing.assert_array_equal(numbers(traces[title[forecast.method]][column]["y"]), forecast.loss)
        np.testing.assert_array_equal(numbers(traces[f"{forecast.method} lower"][column]["y"]), forecast.lower)
        np.testing.assert_array_equal(numbers(traces[f"{forecast.method} upper"][column]["y"]), forecast.upper)


def test_eigenvalues_frontier_and_stability_line_are_right(page):
    traces = page.traces("eigenvalues")
    ranks = {int(name.split()[1]): trace for name, (trace, *_) in traces.items() if name.startswith("rank")}
    assert min(ranks) == 1 and max(ranks) == MODES
    for rank, trace in ranks.items():
        np.testing.assert_allclose(numbers(trace["y"])[1:], [eigenvalues_at(t)[rank - 1] for t in LATER], rtol=1e-15)
    np.testing.assert_allclose(numbers(traces["1 / (2t)"][0]["y"])[1:], 0.5 / LATER, rtol=1e-15)
    np.testing.assert_allclose(numbers(traces["2 / η"][0]["y"]), 2 / STEP_SIZE, rtol=1e-15)


def test_cells_of_the_energy_map_hold_all_energy(page):
    """Summed over the drawn shells, energy is that of the formula, because transfer sums to zero."""
    (cells,) = page.traces("energy")["energy"]
    shown = numbers(cells["customdata"])  # (shell, step, value and time)
    np.testing.assert_array_equal(shown[0, :, 1], ENDS)
    expected = [(coefficients_at(t) ** 2).sum() for t in ENDS]
    np.testing.assert_allclose(np.nansum(shown[..., 0], axis=0), expected, rtol=SHORT)
    # A logarithm of single precision, down to -300, is a colour and no number.
    np.testing.assert_allclose(10 ** numbers(cells["z"]), shown[..., 0], rtol=1e-4)
    bounds, x = numbers(cells["y"]), numbers(cells["x"])
    assert len(bounds) == len(shown) + 1 and len(x) == len(ENDS) + 1
    assert set(bounds) <= set(EDGES)
    assert ((x[:-1] < ENDS) & (x[1:] > ENDS)).all()


def test_flux_is_positive_where_energy_moves_to_smaller_eigenvalues(page):
    """The formula moves energy from each mode to the next smaller one, with the sign of sin(mode + t)."""
    (cells,) = page.traces("flux")["flux"]
    shown, colour = numbers(cells["customdata"])[..., 0], numbers(cells["z"])
    bounds = numbers(cells["y"])
    edges = [edge for edge in EDGES[::4] if bounds[0] < edge < bounds[-1]]
    time = MEASURED[10] * STEP_SIZE
    lam, g = eigenvalues_at(time), coefficients_at(time)
    assert len(edges) == len(shown)
    for row, edge in enumerate(edges):
        above = np.flatnonzero(lam >= edge)
        last = above[-1] if len(above) and len(above) < MODES else None  # it crosses the edge
        moved = 0.0 if last is None else 1e-3 * np.sin(last + time) * g[last] ** 2
        np.testing.assert_allclose(shown[row, 10], moved / STEP_SIZE, rtol=SHORT, atol=1e-18)
    assert (np.sign(colour) * np.sign(shown) >= 0).all()


def test_terms_are_drawn_in_their_size(page):
    dissipation = page.traces("terms")["dissipation"]
    lost = [(coefficients_at(t - STEP_SIZE) ** 2 - coefficients_at(t) ** 2).sum() for t in ENDS]
    np.testing.assert_allclose(numbers(dissipation[0]["y"]), lost, rtol=1e-9)
    np.testing.assert_allclose(numbers(dissipation[1]["y"]), np.array(lost) / STEP_SIZE, rtol=1e-9)


def test_velocities_are_the_growth_of_the_formula(page):
    """Every eigenvalue grows as (1 + t)^GROWTH, so lambda-dot / lambda is the same in all shells."""
    layout, shells = page.figure("velocity")["layout"], page.traces("velocity")["mean over a shell's eigenvalues"]
    times = [float(note["text"].removeprefix("t = ")) for note in layout["annotations"]]
    assert len(times) == len(shells) == 4
    for end, trace in zip(times, shells, strict=True):
        np.testing.assert_allclose(numbers(trace["y"]), GROWTH / (1 + end - STEP_SIZE), rtol=1e-9)


def test_strength_is_drawn_with_its_interval(analysis, page):
    law, traces = analysis.closure, page.traces("strength")
    np.testing.assert_allclose(numbers(traces["t κ(t), low"][0]["y"]), law.times * law.strength_low)
    np.testing.assert_allclose(numbers(traces["t κ(t), high"][0]["y"]), law.times * law.strength_high)
    drawn = numbers(traces["t κ(t), 90 % interval from the scatter over shells"][0]["y"])
    np.testing.assert_allclose(drawn, -GROWTH * law.times / (1 + law.times - STEP_SIZE), rtol=1e-6)


def test_transfer_shows_what_passes_between_shells(page):
    """The formula couples neighbours only, from the larger to the smaller eigenvalue."""
    for trace in page.traces("transfer")["transfer"]:
        shares = numbers(trace["customdata"])
        assert np.isnan(np.diag(shares)).all()
        assert np.nanmax(np.abs(np.tril(np.nan_to_num(shares), -1))) == 0
        assert np.nanmax(np.abs(shares)) > 0


def test_setup_seeds_and_timings_are_listed(page):
    cells = {row[0]["text"]: row[1]["text"] for _, row in page.rows if len(row) == 2}
    assert cells["config.task.seed"] == "7"
    assert cells["checksum"] == "abc"
    assert cells["train_s"] == "12.5 s"
    assert "analyse_s" in cells


def test_text_of_the_run_is_escaped(tmp_path):
    attack = "<script>alert('no')</script>"
    analysis = record_and_analyse(tmp_path / "<img src=x>", name=attack, measured=(0, 5))
    problem = f"drift law: {attack}"
    analysis = dataclasses.replace(analysis, problems=[problem], closure=None)
    path = write_report(analysis, tmp_path / "page.html")
    found = Page(path.read_text())
    assert attack not in path.read_text()
    assert attack in found.text and problem in found.text
    assert analysis.run.path.name in found.text  # and not the folders above it
    assert "img" not in {tag for tag, _ in found.elements}


def missing_from(page) -> set[str]:
    return {a["id"] for _, a in page.elements if a.get("class") == "missing" and "id" in a}


def test_without_law_or_forecasts_the_reasons_are_given(analysis, page, tmp_path):
    problems = ["drift law: too few shells", "forecast from 10%: too few measurements"]
    bare = dataclasses.replace(analysis, closure=None, forecasts=[], problems=problems)
    without = page_of(bare, tmp_path / "page.html")
    assert missing_from(without) - missing_from(page) == {"missing-forecast", "missing-strength"}
    assert all(without.text.count(problem) == 2 for problem in problems)  # in its section, and under problems


def test_without_holdout_the_caption_says_so(tmp_path):
    page = page_of(record_and_analyse(tmp_path / "run", holdout=False, measured=(0, 5)), tmp_path / "page.html")
    assert "holdout loss" not in page.traces("loss")
    assert "No holdout set was measured" in page.text


@pytest.mark.parametrize("measured", [(0,), (3,)])
def test_runs_of_few_measurements_have_a_report(tmp_path, measured):
    analysis = record_and_analyse(tmp_path / "run", measured=measured)
    assert analysis.closure is None and not analysis.forecasts
    page = page_of(analysis, tmp_path / "page.html")
    assert ("spec-loss" in page.scripts) == (max(measured) > 0)
    assert "missing-strength" in {attributes.get("id") for _, attributes in page.elements}


def test_values_that_a_logarithmic_axis_cannot_show_leave_gaps(analysis, tmp_path):
    """Zero or negative eigenvalues (rounding) and dead forecasts are left out, not drawn at random."""
    run = open_run(analysis.run.path)
    eigenvalue = run.measurements["eigenvalue"]
    eigenvalue[5:, -1] = -1e-18
    dead = [dataclasses.replace(f, lower=np.zeros_like(f.loss)) for f in analysis.forecasts]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = page_of(dataclasses.replace(analysis, run=run, forecasts=dead), tmp_path / "page.html")
    smallest = numbers(page.traces("eigenvalues")[f"rank {MODES}"][0]["y"])
    assert np.isnan(smallest[5:]).all() and (smallest[:5] > 0).all()
    assert np.isnan(numbers(page.traces("forecast")["lazy lower"][0]["y"])).all()


def test_no_motion_at_all_is_said_not_drawn(analysis, tmp_path):
    budget = analysis.budget
    still = dataclasses.replace(
        budget, flux=0 * budget.flux, dissipation=0 * budget.dissipation, transfer_matrix=0 * budget.transfer_matrix
    )
    page = page_of(dataclasses.replace(analysis, budget=still), tmp_path / "page.html")
    assert "Flux and dissipation are zero" in page.text
    assert "Nothing is carried between shells" in page.text


def test_header_without_config_has_a_report(tmp_path):
    analysis = record_and_analyse(
        tmp_path / "run", measured=(0, 5), header={"probe": {"samples": MODES, "checksum": "abc"}}
    )
    page = page_of(analysis, tmp_path / "page.html")
    assert "The recorder was given no task, model or training set-up." in page.text
    assert "<h1>run</h1>" in (tmp_path / "page.html").read_text()  # the folder's name
