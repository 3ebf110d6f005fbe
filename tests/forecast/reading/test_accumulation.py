"""Losses that were multiplied or divided by accumulation steps: a jump that stays is refused, the rest is said."""

import json

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Schedule
from eigenflow.forecast.reading.columns.quantities import quantity_of
from eigenflow.forecast.reading.judging.accumulation import against_validation
from eigenflow.forecast.reading.rows.cleaning import Points

RNG = np.random.default_rng(0)
STEPS = np.arange(10, 2010, 10)
LOSSES = (1.5 + 6.0 * STEPS**-0.4) * np.exp(0.01 * RNG.standard_normal(200))
RATES = Schedule.cosine(total=2010, warmup=100, peak=1e-3).rates[STEPS]


def log(losses, rates=RATES):
    return pd.DataFrame({"step": STEPS, "loss": losses, "lr": rates})


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("factor", "is_later_higher"),
    [(2, True), (3, True), (4, True), (8, True), (16, True), (4, False), (8, False), (16, False)],
)
def test_a_jump_by_a_whole_factor_that_stays_is_refused(factor, is_later_higher):
    losses = LOSSES * np.where((STEPS > 1000) == is_later_higher, factor, 1)
    way = "high.*Divide" if is_later_higher else "low.*Multiply"
    with pytest.raises(ArgumentError, match=rf"row 101: the loss jumps .*{factor} times as {way} the later part by"):
        ef.read_curves(log(losses))


def test_the_jump_is_kept_if_its_owner_says_so():
    curve = ef.read_curves(log(LOSSES * np.where(STEPS > 1000, 1, 4)), check_units=False)[0]
    assert len(curve) == 200 and any("jumps by a factor of 4 at step 1010" in line for line in curve.cautions)


def test_a_fall_to_a_half_or_a_third_gets_a_caution():
    """So do losses fall where an epoch begins that shows data again."""
    (line,) = ef.read_curves(log(LOSSES / np.where(STEPS > 1000, 2, 1)))[0].cautions
    assert "jumps by a factor of 2 at step 1010" in line and "border of an epoch" in line


@pytest.mark.parametrize("factor", [2.5, 1.6, 10.5])
def test_other_factors_are_no_accumulation(factor):
    assert ef.read_curves(log(LOSSES / np.where(STEPS > 1000, factor, 1)))[0].cautions == ()


def test_a_fall_where_the_rate_changes_is_no_jump():
    """Losses near 0 fall fourfold as the rate does tenfold."""
    rates = np.where(STEPS > 1000, 1e-4, 1e-3)
    assert ef.read_curves(log(LOSSES / np.where(STEPS > 1000, 4, 1), rates))[0].cautions == ()


@pytest.mark.parametrize("scatter", [0.03, 0.3, 1.0])
def test_noise_is_no_jump(scatter):
    rng = np.random.default_rng(1)
    for _ in range(20):
        curve = ef.read_curves(log((2.0 + 30.0 / STEPS) * np.exp(scatter * rng.standard_normal(200))))[0]
        assert not any("jump" in line for line in curve.cautions)


def trainer_state(folder, factor):
    history = []
    for step, loss, rate in zip(STEPS, LOSSES, RATES, strict=True):
        history.append({"step": int(step), "loss": float(loss * factor), "learning_rate": float(rate)})
        if step % 500 == 0:
            history.append({"step": int(step), "eval_loss": float(loss + 0.05), "eval_runtime": 1.0})
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({"log_history": history, "max_steps": 2000}))
    return path


@pytest.mark.parametrize(("factor", "said"), [(8, "8 times"), (1 / 4, "1/4 times"), (1, None), (2, None)])
def test_training_losses_beside_validation_losses_show_a_factor(tmp_path, factor, said):
    """Twice is no sign: dropout and augmentation do that."""
    lines = ef.read_curves(trainer_state(tmp_path, factor))[0].cautions
    assert len(lines) == (said is not None)
    assert said is None or f"are {said} the values of 'eval_loss' beside them" in lines[0]


def test_validation_losses_that_leave_the_training_ones_are_over_fitting_and_no_factor():
    shown = STEPS % 500 == 0
    frame = pd.DataFrame({"loss": LOSSES, "eval_loss": np.where(shown, LOSSES * (2 + STEPS / 500), np.nan)})
    points = Points(np.arange(200), STEPS, LOSSES)
    assert against_validation(points, frame, STEPS, quantity_of("loss", ["loss", "eval_loss"], "a")) == ()


def test_sums_over_tokens_are_said_where_the_tokens_are_known():
    tokens = 524_288
    frame = log(LOSSES * tokens).assign(tokens=STEPS * tokens)
    (line,) = ef.read_curves(frame)[0].cautions
    assert f"is {LOSSES[0]:.3g} for each of the 524288 tokens of a step" in line
    assert ef.read_curves(frame.assign(loss=LOSSES))[0].cautions == ()


@pytest.mark.parametrize(("factor", "vocabulary"), [(4, 32_000), (8, 50_257), (16, 128_256)])
def test_the_first_loss_of_a_new_language_model_shows_a_factor(factor, vocabulary):
    losses = np.log(vocabulary) * factor * (np.maximum(STEPS, 11) / 11.0) ** -0.25
    (line,) = (line for line in ef.read_curves(log(losses))[0].cautions if "first loss" in line)
    assert f"is {factor} times ln({vocabulary})" in line
    assert ef.read_curves(log(losses / factor))[0].cautions == ()
