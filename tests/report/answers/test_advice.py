"""What a run says should be changed: runs that must get each advice, and runs that must not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from eigenflow.report.answers import Next, advice, answers, what_next
from eigenflow.store import RunWriter, Variable, open_run
from eigenflow.theory.claims import Evidence
from eigenflow.theory.forecasts.rest_of_run import forecast_rest
from eigenflow.theory.verdicts import Claim, Verdict
from report.recorded import EDGES, MEASURED, STEP_SIZE, STEPS, _variables, loss_at, record_run


def record(path, *, held=None, steps=STEPS, measured=tuple(MEASURED), rate=STEP_SIZE, planned=STEPS, loss=loss_at,
           complete=True, learning_rate=None):  # fmt: skip
    """The run of `recorded` with another held-out loss (of the step), length, rate or plan."""
    config = {"name": "synthetic", "train": {"optimizer": "sgd", "steps": planned}}
    writer = RunWriter.create(path, header={"config": config, "probe": {"samples": 40, "outputs": 1}})
    with writer:
        for step in range(steps):
            if step in measured:
                variables = _variables(step * STEP_SIZE, held is not None, 1.0)
                variables["step_size"] = Variable((), np.asarray(rate), "time", "length")
                if held is not None:
                    variables["holdout_loss"] = Variable((), np.asarray(float(held(step))), "1", "holdout")
                writer.append(step, variables, constants={"edge": Variable(("edge",), EDGES, "1 / time", "edges")})
            row = {"step": step, "time": step * STEP_SIZE, "loss": loss(step * STEP_SIZE)}
            writer.log({**row, "learning_rate": rate if learning_rate is None else learning_rate(step)})
        writer.set_status("complete" if complete else "interrupted")
    return open_run(path)


VERDICTS = (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.UNDECIDED, Verdict.CONTRADICTED)
CLAIMS = tuple(Claim(f"C{k}", "", None, None, (None, None), v, "", "") for k, v in enumerate(VERDICTS, 1))
NOTHING = Next(None, "not asked", None, False)


def told(run):
    """Advice by kind, without forecasts and claims, which take seconds and which no rule below asks for."""
    return {one.key: one for one in advice(SimpleNamespace(run=run, claims=()), NOTHING)}


def test_a_held_out_loss_that_turned_says_where_to_stop(tmp_path):
    found = told(record(tmp_path / "run", held=lambda step: 1.0 + 0.01 * abs(step - 130) ** 0.5))
    assert "130" in found["overfit"].what and "data" not in found
    assert "1.16" in found["overfit"].why  # 1 + 0.01 sqrt(399 - 130)


@pytest.mark.long
@pytest.mark.parametrize(("height", "is_told"), [(0.01, False), (0.03, True)])
def test_a_rise_within_its_threshold_is_no_turn(tmp_path, height, is_told):
    found = told(record(tmp_path / "run", held=lambda step: 1.0 + height * (step > 130) + 1e-6 * (step < 130)))
    assert ("overfit" in found) == is_told


@pytest.mark.long
def test_a_held_out_loss_that_stopped_asks_for_samples(tmp_path):
    found = told(record(tmp_path / "run", held=lambda step: 1.0 + 10.0 * np.exp(-step / 20)))
    assert found["data"].what.startswith("More training samples")
    assert "length" not in found


def test_a_held_out_loss_that_falls_asks_for_neither(tmp_path):
    found = told(record(tmp_path / "run", held=lambda step: 1.0 / (1 + step)))
    assert not {"data", "overfit"} & set(found)


def test_without_a_held_out_set_nothing_is_said_of_it(tmp_path):
    assert not {"data", "overfit"} & set(told(record(tmp_path / "run")))


@pytest.mark.long
@pytest.mark.parametrize(("rate", "kind"), [(0.1, "rate"), (0.8, None), (1.9, "stability")])
def test_rate_times_the_largest_eigenvalue_says_whether_it_is_stable(tmp_path, rate, kind):
    """The largest eigenvalue is (1 + t)^0.1, 1.7 at the end: 0.17 of 2 leaves room, 1.4 does not, 3.2 is over it."""
    found = told(record(tmp_path / "run", rate=rate))
    assert {"rate", "stability"} & set(found) == ({kind} if kind else set())
    if kind:
        assert f"{rate * (1 + MEASURED[-1] * STEP_SIZE) ** 0.1:.3g}" in found[kind].why


@pytest.mark.long
def test_few_measurements_are_said_to_be_few(tmp_path):
    assert "measurements" in told(record(tmp_path / "run", measured=(0, 10, 50, 399)))
    assert "measurements" not in told(record(tmp_path / "other"))


def five(run):
    coming, analysis = what_next(run), SimpleNamespace(run=run, claims=CLAIMS, evidence=Evidence(run))
    return {one.key: one for one in answers(analysis, coming, advice(analysis, coming))}


@pytest.mark.long
def test_five_questions_are_answered_with_the_run_s_numbers(tmp_path):
    found = five(record(tmp_path / "run", held=lambda step: 1.0 + 10.0 * np.exp(-step / 20)))
    assert list(found) == ["done", "regime", "next", "claims", "change"]
    assert found["done"].headline == "Yes: 400 updates"
    # Eigenvalues grow as (1 + t)^0.1 alike, and nothing says that M itself was followed: a lower bound.
    distance = (1 + MEASURED[-1] * STEP_SIZE) ** 0.1 - 1
    assert f"at least {distance:.3g}" in found["regime"].text
    assert found["change"].headline.startswith("More training samples")
    assert "800 updates" in found["next"].headline  # as many again
    assert found["claims"].headline == "1 hold, 2 fail, 1 undecided" and "Contradicted: C2, C4." in found["claims"].text


@pytest.mark.long
def test_a_run_that_was_cut_off_is_not_done_and_is_forecast_to_its_plan(tmp_path):
    found = five(record(tmp_path / "run", steps=200, measured=tuple(m for m in MEASURED if m < 200), complete=False))
    assert found["done"].headline.startswith("No, interrupted: 200 of 400 updates")
    assert "400 updates" in found["next"].headline and "in all" not in found["next"].headline


@pytest.mark.long
def test_rates_that_came_to_zero_leave_nothing_to_forecast(tmp_path):
    run = record(tmp_path / "run", learning_rate=lambda step: STEP_SIZE * (1 - (step + 1) / STEPS))
    assert five(run)["next"].headline.startswith("Not under these rates")


@pytest.mark.long
def test_the_forecast_of_a_power_holds_it(tmp_path):
    """Loss 2 + 5 (1 + step)^-0.5 with a constant rate: what comes is known."""

    def loss(time):
        return 2.0 + 5.0 * (1 + time / STEP_SIZE) ** -0.5

    coming = what_next(record(tmp_path / "run", loss=loss))
    truth = loss(800 * STEP_SIZE)
    assert coming.is_longer and coming.found.end.step == 800
    assert coming.found.end.lower <= truth <= coming.found.end.upper
    assert abs(coming.found.end.loss / truth - 1) < 0.02


def test_no_forecast_says_why(tmp_path):
    run = record(tmp_path / "run", loss=lambda time: -1.0)
    coming = what_next(run)
    assert coming.found is None and coming.why_not
    assert coming.why_not.rstrip(".") in five(run)["next"].text


@pytest.mark.long
def test_modes_speak_where_they_knew_the_past_better_than_the_law(tmp_path):
    """The same run, with the scores of its own modes: they are nearer, and give the loss that is to come."""
    record_run(tmp_path / "run")
    run = open_run(tmp_path / "run")
    coming = what_next(run, forecast_rest(run)[0])
    assert coming.ahead is not None and coming.law is None
    headline = answers(SimpleNamespace(run=run, claims=CLAIMS, evidence=Evidence(run)), coming, [])[2].headline
    assert headline.startswith("Yes: ") and headline.endswith("after 800 updates in all, at its last rate")
    told = float(coming.ahead.loss[-1])
    assert abs(np.log(told / loss_at(800 * STEP_SIZE))) < 0.1


def test_the_law_speaks_where_it_knew_the_past_better(tmp_path):
    """Loss 2 + 5 (1 + step)^-0.5 is the law's own form, whatever modes may say."""
    run = record(tmp_path / "run", loss=lambda time: 2.0 + 5.0 * (1 + time / STEP_SIZE) ** -0.5)
    far = SimpleNamespace(missed=0.5)
    coming = replace(what_next(run), carried=far)
    assert coming.ahead is None and coming.law is coming.found
    assert replace(coming, carried=SimpleNamespace(missed=0.0)).ahead is not None
    assert "800 updates" in five(run)["next"].headline  # as many again


@pytest.mark.parametrize(
    ("parts", "is_refuted"),
    [((), False), (((1.0, True), (1.0, False)), False), (((0.1, False),), False), (((1.0, False),), True),
     (((0.1, False), (0.1, False)), True)],
)  # fmt: skip
def test_a_law_is_refuted_by_what_was_hidden_from_it(parts, is_refuted):
    """By two parts of which no interval held, or by one that it missed by a factor of more than two."""
    found = SimpleNamespace(checks=[SimpleNamespace(error=error, holds=holds) for error, holds in parts])
    coming = replace(NOTHING, found=found)
    assert coming.is_refuted is is_refuted and (coming.law is None) is is_refuted


@pytest.mark.parametrize(("missed", "speaks"), [(0.6, True), (0.8, False)])
def test_modes_that_missed_by_a_factor_of_two_are_not_believed_even_alone(missed, speaks):
    """ln 2 = 0.69; no law stands beside them here."""
    coming = replace(NOTHING, is_longer=True, carried=SimpleNamespace(missed=missed))
    assert (coming.ahead is not None) is speaks
