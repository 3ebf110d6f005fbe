"""`eigenflow forecast` as a user runs it: fit, predict, score; files, JSON, exit codes. Without torch."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from cli.program import eigenflow as program
from eigenflow.cli.forecast.backtest import _table as backtest_table
from eigenflow.forecast import Schedule, load_study, recommend
from eigenflow.forecast.laws.registry import LAWS
from forecast.logs import SCHEDULES, csv_of, loss_of, rows, schedules_csv, study

pytestmark = pytest.mark.long


def eigenflow(*words, cwd, code=0):
    """A command of the group, in this process, with its exit code and what it printed."""
    # Tests share a folder, and the names of files in it.
    force = ["--force"] if words[0] in ("fit", "predict") and len(words) > 1 else []
    done = program("forecast", *words, *force, cwd=cwd)
    assert done.code == code, done
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three curves of two sizes, a table of their schedules and one of a run that was never made, and a joint fit."""
    path = tmp_path_factory.mktemp("forecast")
    csv_of(study(), path)
    table = schedules_csv(path)
    (path / "new.csv").write_text(table.read_text().splitlines()[0] + "\nnew,wsd_linear_decay,3000,100,3e-4,0,2400\n")
    eigenflow("fit", "curves.csv", "--schedules", "schedules.csv", "--out", "fit.json", cwd=path)
    return path


def test_fit_writes_a_file_and_says_how_it_ended(folder):
    done = eigenflow("fit", "curves.csv", "--schedules", "schedules.csv", "--json", "--out", "again.json", cwd=folder)
    told = json.loads(done.stdout)
    assert told["curves"] == 6 and told["sizes"] == [25e6, 1e8] and told["size_unit"] == 1e6
    (fit,) = told["fits"]
    assert fit["law"] == "transport" and fit["status"] and fit["certificate"]["starts"] == 4
    assert {"name", "value", "lower", "upper", "learned"} <= set(fit["parameters"][0])
    assert json.loads((folder / "again.json").read_text())["format"] == "eigenflow forecast"


def test_a_schedule_that_was_not_fitted_is_forecast_at_every_step(folder):
    done = eigenflow("predict", "fit.json", "--schedules", "new.csv", "--size", "25", "--json", cwd=folder)
    told = json.loads(done.stdout)
    assert told["size"] == 25e6 and told["final"][0]["curve"] == "new"
    table = pd.read_csv(folder / "predictions.csv")
    assert list(table.columns) == ["curve", "step", "loss", "lower", "upper"]
    assert table.step.iloc[0] == 100 and table.step.iloc[-1] == 3000 and set(np.diff(table.step)) == {1}
    assert (table.lower < table.loss).all() and (table.loss < table.upper).all()
    # The truth of these logs is no law of ours; a law with a power of time and noise must still come near it.
    truth = loss_of(Schedule.wsd(total=3000, warmup=100, peak=3e-4, decay_start=2400), np.array([2400, 3000]))
    np.testing.assert_allclose(table.set_index("step").loss[[2400, 3000]], truth, rtol=0.02)


@pytest.mark.parametrize("size", ["400", "400M", "0.4B"])
def test_a_size_that_was_not_fitted_is_forecast_from_a_joint_fit(folder, size):
    done = eigenflow("predict", "fit.json", "--schedules", "schedules.csv", "--size", size, "--every", 100, cwd=folder)
    assert "400M parameters (not a fitted size" in done.stderr
    table = pd.read_csv(folder / "predictions.csv").set_index(["curve", "step"])
    assert len(table) == 24 + 24 + 16
    truth = loss_of(SCHEDULES["cosine"], np.array([2400]), size=400)
    # Sizes 25 and 100 fix level and slope in the size; its curvature is left to the law's form.
    np.testing.assert_allclose(table.loss["cosine", 2400], truth, rtol=0.02)


def test_fits_per_size_forecast_their_own_sizes(folder):
    words = ["curves.csv", "--schedules", "schedules.csv", "--per-size", "--law", "transport", "--law", "multi_power"]
    eigenflow("fit", *words, "--out", "own.json", "--picture", "fit.png", cwd=folder)
    predict = ["predict", "own.json", "--schedules", "schedules.csv"]
    for law in ("transport", "multi_power"):
        eigenflow(*predict, "--size", 100, "--law", law, "--every", 100, "--picture", "p.png", cwd=folder)
        loss = pd.read_csv(folder / "predictions.csv").set_index(["curve", "step"]).loss["constant", 2400]
        assert loss == pytest.approx(loss_of(SCHEDULES["constant"], np.array([2400]), size=100)[0], rel=0.01)
    assert (folder / "fit.png").stat().st_size > 10_000 and (folder / "p.png").stat().st_size > 10_000
    refused = eigenflow(*predict, "--size", 400, cwd=folder, code=2)
    assert "25M, 100M" in refused.stderr and "fitted on its own" in refused.stderr


def test_scores_tell_fitted_curves_from_new_ones(folder):
    """The score is computed again here from the predicted table."""
    held = rows("two_stage").assign(curve="other", role="test")
    csv_of(pd.concat([rows("cosine"), held]), folder, "truth.csv")
    done = eigenflow("score", "fit.json", "truth.csv", "--warmup", "100", "--json", cwd=folder)
    told = json.loads(done.stdout)
    assert [(row["curve"], row["is_fitted"]) for row in told["rows"]] == [("cosine", True), ("other", False)]
    assert told["means"]["transport"]["curves"] == 1 and told["means"]["transport"]["unseen"]
    words = ["predict", "fit.json", "--schedules", "schedules.csv", "--size", "25", "--curve", "two_stage"]
    eigenflow(*words, "--out", "p.csv", cwd=folder)
    predicted = pd.read_csv(folder / "p.csv").set_index("step").loss.reindex(held.step)
    mae = np.abs(predicted.to_numpy() - held.loss.to_numpy()).mean()
    assert told["rows"][1]["mae"] == pytest.approx(
        mae, abs=1e-4
    )  # the law cuts a schedule into blocks, finer or coarser
    shown = eigenflow("score", "fit.json", "truth.csv", cwd=folder).stdout
    assert "mean over 1 not fitted curves" in shown


def test_a_designed_schedule_is_one_that_predict_reads(folder):
    """Sizes are in the unit of the table here too; the design is no worse than the best cosine by its own law."""
    words = ["schedule", "fit.json", "--steps", 2000, "--peak", "3e-4", "--warmup", 100, "--size", 25]
    told = json.loads(eigenflow(*words, "--out", "designed.csv", "--json", cwd=folder).stdout)
    assert 1.5 < told["loss"][0] < 5 and all(rival["gain"] > -1e-3 for rival in told["rivals"].values())
    eigenflow("predict", "fit.json", "--schedules", "designed.csv", "--size", 25, "--every", 500, cwd=folder)
    last = pd.read_csv(folder / "predictions.csv").loss.iloc[-1]
    assert last == pytest.approx(told["loss"][0], rel=1e-3)  # blocks of the law are finer in a design


def test_a_designed_schedule_keeps_its_bounds_and_its_promise(folder):
    """The loss that it promises is the one that `predict` gives for the file, and below that of any cosine or WSD."""
    bounds = ["--steps", 2000, "--peak", "3e-4", "--warmup", 100, "--end", "3e-5"]
    words = ["schedule", "fit.json", *bounds, "--size", 25, "--blocks", 6, "--out", "kept.csv", "--picture", "kept.png"]
    told = json.loads(eigenflow(*words, "--json", cwd=folder).stdout)
    table = pd.read_csv(folder / "kept.csv")
    rates = table.lr.to_numpy()
    assert list(table.columns) == ["step", "lr"] and list(table.step) == list(range(2000))
    np.testing.assert_allclose(rates[:101], 3e-4 * np.arange(101) / 100, rtol=1e-7, atol=1e-12)  # 8 digits in the file
    assert (np.diff(rates[100:]) <= 1e-12).all() and rates[100:].min() >= 3e-5 - 1e-12
    assert (folder / "kept.png").read_bytes().startswith(b"\x89PNG")
    rivals = {
        "wsd": Schedule.wsd(total=2000, warmup=100, peak=3e-4, end=3e-5, decay_start=1600),
        "cosine": Schedule.cosine(total=2000, warmup=100, peak=3e-4, end=3e-5),
    }
    made = {"designed": Schedule.table(rates, warmup=100)} | rivals
    losses = {name: load_study(folder / "fit.json").predict(one, size=25e6).loss[-1] for name, one in made.items()}
    # Both follow the law within 5e-5 of ln(loss).
    assert told["loss"][0] == pytest.approx(losses["designed"], rel=1e-4)
    for name in rivals:
        assert losses["designed"] < losses[name] and told["rivals"][name]["gain"] >= -1e-4
        low, high = told["rivals"][name]["interval"]
        assert low <= told["rivals"][name]["gain"] <= high


def test_a_page_is_written_once_and_replaced_only_when_told_so(folder):
    csv_of(study(sizes=(25,)), folder, "one.csv")
    eigenflow("fit", "one.csv", "--schedules", "schedules.csv", "--law", "momentum", "--out", "one.json", cwd=folder)
    words = ["report", "one.json", "--schedules", "new.csv", "--out", "page.html"]
    told = json.loads(eigenflow(*words, "--json", cwd=folder).stdout)
    assert told["out"] == "page.html" and set(told["not_identified"]) <= {"L0", "A", "C", "a"}
    text = (folder / "page.html").read_text(encoding="utf-8")
    # plotly.js itself names addresses that nothing asks for.
    around = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "new" in around and 'data-spec="spec-' in around and "http" not in around.replace("http-equiv", "")
    again = eigenflow(*words, cwd=folder, code=2)
    assert "exists already" in again.stderr and (folder / "page.html").read_text(encoding="utf-8") == text
    eigenflow(*words, "--force", cwd=folder)
    missing = eigenflow("report", "fit.json", "--out", "no/page.html", cwd=folder, code=2)
    assert "there is no folder 'no'" in missing.stderr


def test_backtest_says_which_laws_have_priors(folder):
    csv_of(study(sizes=(25,)), folder, "one.csv")
    words = ["one.csv", "--schedules", "schedules.csv", "--law", "transport", "--law", "power_time"]
    shown = eigenflow("backtest", *words, cwd=folder).stdout
    assert "fitted with its learned priors, the other laws have none" in shown


def test_backtest_recommends_by_held_out_scores(folder):
    csv_of(study(sizes=(25,)), folder, "one.csv")
    words = ["one.csv", "--schedules", "schedules.csv", "--law", "power_time", "--law", "momentum"]
    told = json.loads(eigenflow("backtest", *words, "--json", cwd=folder).stdout)
    scores = pd.DataFrame(told["rows"])
    assert set(scores.law) == {"power_time", "momentum"} and scores.protocol.nunique() >= 2
    # The loss of these logs falls with the rate itself, which a power of time cannot follow to another schedule.
    unseen = scores[scores.protocol == "leave one schedule out"].groupby("law").mae.mean()
    assert unseen["momentum"] < 0.7 * unseen["power_time"]
    assert recommend(scores, np.random.default_rng(0), score="mae").law == "momentum"
    # Every curve was forecast by both laws, so the ranking is by the geometric means of all rows.
    ranking = np.exp(np.log(scores.winkler).groupby(scores.law).mean()).sort_values()
    chosen = ranking.index[0]
    assert told["recommendation"]["law"] == chosen
    assert told["recommendation"]["ranking"] == pytest.approx(ranking.to_dict(), rel=1e-9)
    shown = eigenflow("backtest", *words, cwd=folder).stdout
    assert f"recommended: {chosen}" in shown and "inside" in shown
    assert "…" not in shown  # nothing is cut off, also where the terminal has only 80 columns


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["fit", "curves.csv", "--law", "magic"], 2, "Unknown law 'magic'. Available: 'transport'"),
        (["fit", "none.csv"], 2, "none.csv does not exist"),
        (["fit", "curves.csv", "--column", "loss"], 2, "WHAT=NAME"),
        (["fit", "curves.csv", "--role", "final"], 2, "No curve has"),
        (["fit", "bad.csv"], 1, "bad.csv, curve 'cosine' of size 25, row 12: the loss is nan"),
        (["fit"], 2, "CURVES"),
        (["predict", "curves.csv", "--schedules", "schedules.csv"], 2, "is not JSON"),
        (["predict", "other.json", "--schedules", "schedules.csv"], 2, "is not a fit of eigenflow"),
        (["predict", "newer.json", "--schedules", "schedules.csv"], 2, "Update eigenflow"),
        (["predict", "damaged.json", "--schedules", "schedules.csv"], 2, "is damaged"),
        (["predict", "fit.json", "--schedules", "none.csv"], 2, "none.csv does not exist"),
        (["predict", "fit.json", "--schedules", "schedules.csv"], 2, "the fit has sizes 25M, 100M"),
        (["predict", "fit.json", "--schedules", "schedules.csv", "--size", "big"], 2, "such as 400, 400M or 1.3B"),
        (["predict", "fit.json", "--schedules", "schedules.csv", "--size", "400000000"], 2, "write 400M or 1.3B"),
        (["predict", "fit.json", "--schedules", "schedules.csv", "--size", "25", "--curve", "x"], 2, "names x"),
        (
            ["predict", "fit.json", "--schedules", "schedules.csv", "--size", "25", "--law", "power_time"],
            2,
            "not fitted",
        ),
        (["score", "fit.json", "curves.csv", "--schedules", "short.csv"], 2, "lies beyond its schedule"),
    ],
)
def test_wrong_usage_and_bad_data_end_with_their_code_and_a_message(folder, words, code, message):
    bad = rows("cosine").assign(loss=lambda f: f.loss.astype(object).where(f.index != 10, "nan"))
    csv_of(bad, folder, "bad.csv")
    (folder / "short.csv").write_text((folder / "schedules.csv").read_text().replace("2400", "1200"))
    (folder / "other.json").write_text('{"format": "something"}')
    (folder / "newer.json").write_text('{"format": "eigenflow forecast", "version": 99}')
    (folder / "damaged.json").write_text('{"format": "eigenflow forecast", "version": 1, "curves": []}')
    done = eigenflow(*words, cwd=folder, code=code)
    assert message in " ".join((done.stderr + done.stdout).split())


@pytest.mark.parametrize("command", ["fit", "predict", "score", "backtest", "plan", "schedule", "report"])
def test_help_has_an_example(folder, command):
    assert f"Example: eigenflow forecast {command}" in eigenflow(command, "--help", cwd=folder).stdout.replace("`", "")


def test_the_report_takes_a_table_of_runs_as_plan_does_and_checks_it_first(folder):
    """Column, rows, budgets and law as in `plan`; a wrong one is refused before profiles are computed."""
    size = np.repeat(np.geomspace(1e8, 3e9, 6), 4)
    tokens = size * np.tile([5.0, 15.0, 45.0, 135.0], 6)
    loss = 1.69 + 406.4 * size**-0.34 + 410.7 * tokens**-0.28
    runs = pd.DataFrame({"params": size, "tokens": tokens, "wiki": loss, "set": "a"})
    pd.concat([runs, runs.assign(wiki=9.0, set="b")]).to_csv(folder / "runs.csv", index=False)
    words = ["report", "fit.json", "--plan", "runs.csv", "--out", "planned.html"]
    ours = ["--column", "loss=wiki", "--where", "set=a", "--plan-law", "approach3", "--flops", "1e22"]
    for wrong, message in (
        ([], "--column loss=wiki"),
        (["--column", "loss=wiki", "--where", "set=c"], "no row has set = c"),
        (["--column", "loss=wiki", "--where", "set=a", "--plan-law", "apriori"], "apriori"),
        (["--column", "loss=wiki", "--flops", "1e21PF"], "`--flops` must be a positive number"),
    ):
        done = eigenflow(*words, *wrong, cwd=folder, code=2)
        assert message in " ".join(done.stderr.split()) and "Profiles" not in done.stderr
    alone = eigenflow("report", "fit.json", "--out", "planned.html", *ours[:2], cwd=folder, code=2)
    assert "`--column`" in alone.stderr and "`--plan TABLE` is missing" in alone.stderr
    eigenflow(*words, *ours, cwd=folder)
    text = (folder / "planned.html").read_text(encoding="utf-8")
    assert re.search(r"24 finished runs; \w+: L = ", text) and text.count("1 × 10²²</td>") == 1


@pytest.mark.parametrize(("peak", "factor"), [("3e-3", "10"), ("3e-5", "0.1"), ("3.03e-4", None), ("3e-4", None)])
def test_a_peak_outside_the_fitted_ones_is_cautioned_of(folder, peak, factor):
    """All fitted runs have 3e-4; 1 % more is the same peak."""
    words = ["schedule", "fit.json", "--steps", 500, "--peak", peak, "--warmup", 50, "--size", 25, "--blocks", 3]
    told = json.loads(eigenflow(*words, "--json", cwd=folder).stdout)
    assert len(told["cautions"]) == (factor is not None)
    (folder / "peak.csv").write_text(
        (folder / "new.csv").read_text().splitlines()[0] + f"\nnew,wsd_linear_decay,3000,100,{peak},0,2400\n"
    )
    forecast = ["predict", "fit.json", "--schedules", "peak.csv", "--size", 25, "--every", 500]
    predicted = json.loads(eigenflow(*forecast, "--json", cwd=folder).stdout)
    assert len(predicted["cautions"]) == (factor is not None)
    design = Schedule.wsd(total=3000, warmup=100, peak=float(peak), decay_start=2400)
    found = load_study(folder / "fit.json").predict(design, size=25e6, every=500)
    assert len(found.cautions) == (factor is not None)
    if factor is not None:
        message = f"{factor} times the peak of the fitted runs, 0.0003"
        assert message in told["cautions"][0] and message in predicted["cautions"][0]
        shown = [eigenflow(*one, cwd=folder).stdout for one in (words, forecast)]
        assert all("caution: " in one and message in one for one in shown) and message in " ".join(str(found).split())


def test_no_number_of_a_backtest_is_cut_at_80_characters():
    """The longest names of protocols and laws; what the short headers mean stands below the table."""
    protocols = ("rest of a curve", "leave one schedule out", "two sizes to a larger one")
    row = {"final_error": 0.01234, "mae": 0.02345, "coverage": 1.0, "winkler": 123.45678}
    rows = [{"protocol": p, "law": law, **row} for p in protocols for law in LAWS]
    printed = io.StringIO()
    Console(width=80, file=printed).print(backtest_table(pd.DataFrame(rows)))
    text = printed.getvalue()
    assert "…" not in text and "..." not in text and "score" in text
    for shown in ("0.01234", "0.02345", "100%", "123.45678"):
        assert text.count(shown) == len(rows), shown
    assert all(len(line) <= 80 for line in text.splitlines())


def test_slopes_are_told_in_words(folder):
    """Two sizes and a prior with slopes: the law's positive parameters move by their logarithm."""
    again = ["--law", "transport", "--starts", 1, "--out", "slopes.json"]
    shown = eigenflow("fit", "curves.csv", "--schedules", "schedules.csv", *again, cwd=folder).stdout
    fit = load_study(folder / "slopes.json").fits[0]
    own = len(fit.law.parameters)
    assert fit.covariates.meaning(0) == fit.law.parameters[0].meaning
    for k, slope in enumerate(fit.covariates.slopes, own):
        parameter = fit.law.parameters[slope.parameter]
        assert parameter.name in fit.covariates.meaning(k) and "per e-fold of the" in fit.covariates.meaning(k)
        assert ("ln " in fit.covariates.meaning(k)) == (parameter.scale == "log")
    assert fit.covariates.meaning(own) in " ".join(shown.split())
