"""To which update a logged rate belongs: simulated trainers log that of the next update, or of the one just done."""

import json

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.forecast import Schedule
from eigenflow.forecast.reading.rates.rate_alignment import aligned, entries_of

PEAK, TOTAL = 5e-5, 2000


def linear(warmup):
    """As `get_linear_schedule_with_warmup` of Hugging Face."""
    return Schedule.linear_to_zero(total=TOTAL, warmup=warmup, peak=PEAK).rates


def cosine(warmup, end=0.0):
    return Schedule.cosine(total=TOTAL, warmup=warmup, peak=PEAK, end=end).rates


def next_updates(rates, steps):
    """What a trainer logs that steps its scheduler first; after the last update 0."""
    return np.append(rates, 0.0)[steps]


def updates_done(rates, steps):
    """What it logs otherwise."""
    return rates[steps - 1]


def note_of(entries):
    return [note for note in entries.notes if "update just done" in note]


TOLD = {
    "warm-up and line": (linear(100), None),
    "warm-up and cosine": (cosine(100, 5e-6), None),
    "warm-up and constant": (Schedule.constant(total=TOTAL, warmup=60, peak=PEAK).rates, None),
    "line from a round number": (linear(0), None),
    "line to the planned end": (linear(7), TOTAL),
    "cosine over all that is planned": (cosine(0), TOTAL),
    "cosine to a rest": (cosine(0, 3e-6), TOTAL),
    "cosine behind a warm-up in the first gap": (cosine(7, 3e-6), TOTAL),
    "cosine behind one entry of the warm-up": (cosine(33), TOTAL),
    "line behind one entry of the warm-up": (linear(33), TOTAL),
}


@pytest.mark.parametrize("every", [1, 10, 25])
@pytest.mark.parametrize("name", TOLD)
def test_rates_of_updates_done_are_told_and_shifted(name, every):
    rates, planned = TOLD[name]
    steps = np.arange(every, TOTAL + 1, every)
    entries = aligned(steps, updates_done(rates, steps), planned=planned)
    np.testing.assert_array_equal(entries.steps, steps - 1)
    np.testing.assert_array_equal(entries.rates, rates[entries.steps])
    assert len(note_of(entries)) == 1


@pytest.mark.parametrize("every", [1, 10, 25])
@pytest.mark.parametrize("name", TOLD)
def test_rates_of_next_updates_stay_without_a_word(name, every):
    rates, planned = TOLD[name]
    steps = np.arange(every, TOTAL, every)
    entries = aligned(steps, next_updates(rates, steps), planned=planned)
    np.testing.assert_array_equal(entries.steps, steps)
    assert entries.notes == ()


def test_two_entries_on_the_warmup_tell_although_the_second_is_the_highest():
    """A log of the Hugging Face trainer as of 2025: a warm-up of 50, linear to 0 at 500, every 25 steps."""
    rates = Schedule.linear_to_zero(total=500, warmup=50, peak=1e-5).rates
    steps = np.arange(25, 401, 25)
    for logged, shift in ((updates_done(rates, steps), 1), (next_updates(rates, steps), 0)):
        np.testing.assert_array_equal(aligned(steps, logged).steps, steps - shift)


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize(
    ("rates", "planned"),
    [
        (np.full(TOTAL, PEAK), TOTAL),
        (Schedule.two_stage(total=TOTAL, peak=PEAK, end=5e-6, change=1000).rates, TOTAL),
        (linear(100)[150:], None),  # begins behind the warm-up, of an unknown length
        (cosine(0), None),
        (1e-3 * np.maximum(np.arange(TOTAL) + 1, 100) ** -0.5, None),
    ],
)
def test_what_cannot_be_told_is_left_as_it_is(rates, planned, shift):
    steps = np.arange(10, len(rates), 10)
    entries = aligned(steps, rates[steps - shift], planned=planned)
    np.testing.assert_array_equal(entries.steps, steps)
    assert entries.notes == ()


def test_a_warmup_that_counts_from_one_is_that_of_next_updates():
    """nanoGPT and llm.c: update k has the rate peak * (k + 1) / (warmup + 1), and step k logs it."""
    k = np.arange(400)
    rates = np.minimum(PEAK * (k + 1) / 101, PEAK)
    assert aligned(k[::10], rates[::10]).notes == ()


def test_rates_that_are_rounded_tell_nothing_that_is_wrong():
    """Rounded to 2 digits, a step of the warm-up is below the rounding: no shift of either log."""
    steps = np.arange(10, TOTAL, 10)
    for logged in (next_updates(linear(1000), steps), updates_done(linear(1000), steps)):
        rounded = np.array([float(f"{rate:.1e}") for rate in logged])
        assert aligned(steps, rounded).notes == ()


def test_a_skipped_update_in_mixed_precision_is_no_shift():
    """A scaler that overflowed later than the first entry: the scheduler stands still for one step."""
    steps = np.arange(10, TOTAL, 10)
    lags = next_updates(linear(0), steps - (steps > 500))
    assert aligned(steps, lags, planned=TOTAL).notes == ()


def trainer_state(folder, shift):
    rates = np.append(linear(50), 0.0)
    steps = np.arange(10, TOTAL + 1, 10)
    history = [
        {"step": int(s), "loss": 2.0 + 3.0 * float(s) ** -0.4, "learning_rate": float(rates[s - shift])} for s in steps
    ]
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({"log_history": history, "max_steps": TOTAL}))
    return path


def test_both_versions_of_a_trainer_give_the_same_schedule(tmp_path):
    """The corner of the warm-up lies on an entry of the one, and between two of the other, where its lines meet."""
    made = [ef.read_curves(trainer_state(tmp_path, shift))[0] for shift in (0, 1)]
    for curve in made:
        np.testing.assert_allclose(curve.schedule.rates, linear(50), rtol=0, atol=1e-6 * PEAK)
    assert not any("update just done" in line for line in made[0].changes)
    assert any("update just done" in line and "step 1" in line for line in made[1].changes)


def test_rates_beside_epochs_are_those_of_the_epoch():
    """A log of Keras: its epochs count from 0, and show the rate that they had."""
    rates = np.array([1e-3] * 10 + [1e-4] * 10 + [1e-5] * 10)
    frame = pd.DataFrame({"epoch": np.arange(30), "loss": 0.5 + 1 / (1 + np.arange(30)), "lr": rates})
    curve = ef.read_curves(frame)[0]
    np.testing.assert_array_equal(curve.steps, np.arange(1, 31))
    np.testing.assert_allclose(curve.schedule.rates, rates, rtol=1e-12)
    assert any("beside an epoch" in line for line in curve.changes)


def test_a_last_rate_of_zero_behind_a_constant_rate_is_that_after_the_end():
    steps = np.arange(50, 1001, 50)
    constant = aligned(steps, np.where(steps < 1000, PEAK, 0.0))
    assert constant.rates[-1] == PEAK and "after the last update" in constant.notes[0]
    # A line and a cosine that lead to 0 are left.
    for rates in (linear(0)[::100], cosine(0)[::100]):
        assert aligned(np.arange(21) * 50, np.append(rates, 0.0)).notes == ()


def test_of_a_restarted_run_the_rates_of_the_later_piece_hold():
    """The first piece went on for 500 steps behind the checkpoint, on another grid and with a higher rate."""
    first, second = np.arange(0, 1500, 7), np.arange(1000, 2000, 10)
    steps, rates = entries_of(np.concatenate([first, second]), np.concatenate([0 * first + 2.0, 0 * second + 1.0]))
    assert np.all(np.diff(steps) > 0)
    np.testing.assert_array_equal(rates, np.where(steps < 1000, 2.0, 1.0))
    frame = pd.DataFrame(
        {
            "step": np.concatenate([first, second]) + 1,
            "loss": 3.0 - 1e-4 * np.concatenate([first, second]),
            "lr": np.concatenate([0 * first + 2e-3, 0 * second + 1e-3]),
        }
    )
    schedule = ef.read_curves(frame)[0].schedule
    assert set(np.round(schedule.rates, 12)) == {2e-3, 1e-3}
    assert schedule.rates[:990].min() == 2e-3 and schedule.rates[1001:].max() == 1e-3
