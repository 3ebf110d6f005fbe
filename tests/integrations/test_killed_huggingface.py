"""Trainings through Trainer, killed at random moments: one record, as if nobody had."""

import numpy as np

import eigenflow as ef
from integrations.killing import assert_same_record, killed_again_and_again

FREE = ("eigenvalue", "trace", "probe_loss", "energy", "dissipation", "transfer", "optimizer", "remainder", "time")


def test_a_killed_training_has_the_record_of_one_that_was_not(tmp_path):
    """One thread, no cap on the time, M formed: bit for bit."""
    report = killed_again_and_again("integrations.killed_huggingface:train", tmp_path, 10, seed=0, share=0.7)
    assert report.kills == 10
    for folder in report.finished:
        assert_same_record(folder / "run", report.whole / "run")


def test_with_a_tracker_that_begins_cold_to_ten_digits(tmp_path):
    """Of all that does not depend on the signs of eigenvectors; 1e-10 of the largest entry."""
    report = killed_again_and_again("integrations.killed_huggingface:train_tracked", tmp_path, 3, seed=1)
    assert report.kills == 3
    whole = ef.open_run(report.whole / "run")
    for folder in report.finished:
        run = ef.open_run(folder / "run")
        assert run.measured_steps == whole.measured_steps and run.losses.equals(whole.losses) and not run.gaps
        for name in FREE:
            ours, theirs = run.measurements[name], whole.measurements[name]
            scale = float(np.abs(theirs).max())
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * scale, err_msg=name)
