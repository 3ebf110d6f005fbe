"""Event files of TensorBoard as trainers write them: texts among scalars, Keras, restarts, runs in one folder."""

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.rows.hidden_runs import HiddenRunWarning
from fuzz.records import to_records

pytest.importorskip("tensorboard")

COUNT = 20
LOSSES = np.float32(2.0 + 3.0 / np.arange(1, COUNT + 1))
RATES = np.float32(1e-3) * np.linspace(1, 0.5, COUNT, dtype=np.float32)


def records(streams, begin=0):
    """An event file: by step, the values of each tag; numbers as scalars, texts and arrays as tensors."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.util.tensor_util import make_tensor_proto

    made = [Event(file_version="brain.Event:2", wall_time=1.0).SerializeToString()]
    for step, tags in streams:
        values = [
            Summary.Value(tag=tag, simple_value=value)
            if isinstance(value, float)
            else Summary.Value(tag=tag, tensor=make_tensor_proto(value))
            for tag, value in tags.items()
        ]
        made.append(Event(step=step + begin, wall_time=1.0, summary=Summary(value=values)).SerializeToString())
    return to_records(made)


def run(loss="loss", every=10, first=0, last=COUNT):
    rows = [(every * (k + 1), {loss: float(LOSSES[k]), "lr": float(RATES[k])}) for k in range(first, last)]
    return [(0, {"args/text_summary": [b"--lr 1"], "weights": np.zeros(30, dtype=np.float32), "keras": b"{}"}), *rows]


def keras(phase):
    """Keras logs single precision as tensors, by the epoch from 0, in a folder a phase."""
    shift = np.float32(0.5 if phase == "validation" else 0)
    rows = []
    for k in range(COUNT):
        tags = {"epoch_loss": LOSSES[k] + shift}
        tags |= {"epoch_learning_rate": RATES[k]} if phase == "train" else {"evaluation_loss_vs_iterations": LOSSES[k]}
        rows.append((k, tags))
    return records([(0, {"keras": [b"{}"]}), *rows])


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def test_texts_and_arrays_among_scalars_are_passed_over(tmp_path):
    write(tmp_path / "r", "events.out.tfevents.1.host", records(run()))
    for source in (tmp_path, tmp_path / "r", tmp_path / "r" / "events.out.tfevents.1.host"):
        curve = ef.read_curves(source)["r"]
        np.testing.assert_array_equal(curve.steps, 10 * np.arange(1, COUNT + 1))
        np.testing.assert_array_equal(curve.losses, LOSSES.astype(float))


def test_an_event_file_is_known_by_its_first_record(tmp_path):
    write(tmp_path / "r", "download.bin", records(run()))
    assert len(ef.read_curves(tmp_path / "r" / "download.bin")["r"]) == COUNT


def test_a_run_of_keras_is_its_two_folders(tmp_path):
    for phase in ("train", "validation"):
        write(tmp_path / "exp" / phase, "events.out.tfevents.1.host.v2", keras(phase))
    for source in (tmp_path, tmp_path / "exp"):
        curve = ef.read_curves(source)["exp"]
        np.testing.assert_array_equal(curve.steps, np.arange(1, COUNT + 1))  # completed epochs
        np.testing.assert_array_equal(curve.losses, LOSSES.astype(float))
        assert curve.schedule.peak == pytest.approx(float(RATES[0]), rel=1e-12)
    curve = ef.read_curves(tmp_path / "exp", columns={"loss": "val_loss"})["exp"]
    np.testing.assert_array_equal(curve.losses, (LOSSES + np.float32(0.5)).astype(float))


def test_files_of_one_folder_are_pieces_if_they_go_on(tmp_path):
    write(tmp_path / "r", "events.out.tfevents.1", records(run(last=12)))
    write(tmp_path / "r", "events.out.tfevents.2", records(run(first=8)))
    curves = ef.read_curves(tmp_path / "r")
    assert curves.names == ["r"]
    np.testing.assert_array_equal(curves["r"].losses, LOSSES.astype(float))


def test_files_of_one_folder_are_runs_if_they_begin_anew(tmp_path):
    write(tmp_path / "r", "events.out.tfevents.1", records(run()))
    write(tmp_path / "r", "events.out.tfevents.2", records(run()))
    curves = ef.read_curves(tmp_path / "r")
    assert curves.names == ["r-1", "r-2"]
    assert any("2 runs, not pieces" in note for note in curves.notes)


def test_an_attempt_that_ended_early_is_no_run(tmp_path):
    write(tmp_path / "r", "events.out.tfevents.1", records(run(last=4)))
    write(tmp_path / "r", "events.out.tfevents.2", records(run()))
    with pytest.warns(HiddenRunWarning, match="goes back to 10"):
        curves = ef.read_curves(tmp_path / "r")
    np.testing.assert_array_equal(curves["r"].losses, LOSSES.astype(float))


def test_a_file_of_evaluations_beside_is_of_the_same_run(tmp_path):
    write(tmp_path / "r", "events.out.tfevents.1", records(run("train/loss")))
    write(tmp_path / "r", "events.out.tfevents.2", records([(200, {"eval/loss": 2.5})]))
    curve = ef.read_curves(tmp_path / "r")["r"]
    np.testing.assert_array_equal(curve.losses, LOSSES.astype(float))


def test_runs_in_folders_of_their_own(tmp_path):
    for name in ("lightning_logs/version_0", "lightning_logs/version_1", "x/tb", "y/tb"):
        write(tmp_path / name, "events.out.tfevents.1", records(run("train_loss")))
    assert ef.read_curves(tmp_path).names == ["version_0", "version_1", "x", "y"]


def test_phases_of_add_scalars_are_one_run(tmp_path):
    """PyTorch's `add_scalars` writes a folder for each key, beside an event file without scalars."""
    write(tmp_path / "exp", "events.out.tfevents.1", records([]))
    write(tmp_path / "exp" / "loss_train", "events.out.tfevents.2", records(run()))
    write(
        tmp_path / "exp" / "loss_val", "events.out.tfevents.3", records([(10 * k, {"loss": 2.5}) for k in range(1, 9)])
    )
    curve = ef.read_curves(tmp_path)["exp"]
    np.testing.assert_array_equal(curve.losses, LOSSES.astype(float))
    assert set(ef.read_curves(tmp_path, columns={"loss": "val_loss"})["exp"].losses) == {2.5}


def test_a_run_without_scalars_among_others_is_passed_over(tmp_path):
    write(tmp_path / "a", "events.out.tfevents.1", records(run()))
    write(tmp_path / "b", "events.out.tfevents.1", records([(0, {"args/text_summary": [b"x"]})]))
    curves = ef.read_curves(tmp_path)
    assert curves.names == ["a"]
    assert any("without a scalar in their event files: b" in note for note in curves.notes)


@pytest.mark.rejects
def test_a_file_without_scalars_is_refused(tmp_path):
    write(tmp_path, "events.out.tfevents.1", records([(0, {"args/text_summary": [b"x"]})]))
    with pytest.raises(ArgumentError, match="holds no scalars"):
        ef.read_curves(tmp_path)
