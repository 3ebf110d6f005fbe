"""What trackers write, damaged: event files record by record, MLflow's metrics, the trainer's state."""

import json

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from forecast.logs import SCHEDULES, loss_of

pytest.importorskip("tensorboard")

STEPS = np.arange(104, 2401, 16)
LOSSES = loss_of(SCHEDULES["cosine"], STEPS)


def records(values=None, shape=()):
    """An event file as its bytes, record by record."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
    from tensorboard.util.tensor_util import make_tensor_proto

    made = [Event(file_version="brain.Event:2", wall_time=1.0)]
    for step, loss in zip(STEPS, LOSSES, strict=True):
        tags = [("loss", loss), ("lr", SCHEDULES["cosine"].rates[min(step, 2399)])]
        found = [Summary.Value(tag=tag, simple_value=value) for tag, value in tags]
        made.append(Event(step=step, wall_time=1.0, summary=Summary(value=found)))
    if values is not None:
        tensor = make_tensor_proto(values)
        for length in shape:
            tensor.tensor_shape.dim.add(size=length)
        made.append(Event(step=1, wall_time=1.0, summary=Summary(value=[Summary.Value(tag="extra", tensor=tensor)])))
    parts = []
    for event in made:
        data = event.SerializeToString()
        length = len(data).to_bytes(8, "little")
        sums = [masked_crc32c(part).to_bytes(4, "little") for part in (length, data)]
        parts.append(length + sums[0] + data + sums[1])
    return parts


def write(folder, content):
    path = folder / "events.out.tfevents.1.host"
    path.write_bytes(content)
    return path


@pytest.mark.rejects
def test_a_damaged_record_is_named(tmp_path):
    """TensorBoard ends there as if the file did, so that the later part of a run would be missing in silence."""
    parts = records()
    data = bytearray(b"".join(parts))
    data[len(b"".join(parts[:10])) + 20] ^= 1
    with pytest.raises(ArgumentError, match=r"record 11.*damaged"):
        ef.read_curves(write(tmp_path, bytes(data)))


def test_a_file_that_ends_within_a_record_is_read_up_to_there(tmp_path):
    """A run that is killed, or still going on, leaves such a file."""
    curves = ef.read_curves(write(tmp_path, b"".join(records())[:-5]))
    np.testing.assert_array_equal(curves[0].steps, STEPS[:-1])
    assert any("ends within a record" in note for note in curves.notes)


@pytest.mark.parametrize(
    ("values", "shape"), [("some text", ()), (1.0, (10**5, 10**5)), ([1.0, 2.0], ())], ids=["text", "claims", "vector"]
)
def test_what_is_no_scalar_is_passed_over(tmp_path, values, shape):
    """Text of notes, and a tensor of a few bytes that claims to hold 10^10 numbers."""
    curves = ef.read_curves(write(tmp_path, b"".join(records(values, shape))))
    np.testing.assert_allclose(curves[0].losses, LOSSES, rtol=1e-6)  # event files hold single precision


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("history", "message"),
    [(0, "`log_history` must be a list"), ({"step": 1}, "must be a list"), ([[1]], "entry 1"), ([], "is empty")],
)
def test_a_history_of_an_odd_kind_is_refused(tmp_path, history, message):
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": history}))
    with pytest.raises(ArgumentError, match=message):
        ef.read_curves(path)


@pytest.mark.rejects
@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"1 2", b"1 a 3", b"1 2 99999999999999999999"])
def test_a_metric_of_mlflow_that_is_broken_is_refused(tmp_path, content):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "loss").write_bytes(content)
    with pytest.raises(ArgumentError, match=r"row 1"):
        ef.read_curves(tmp_path)
