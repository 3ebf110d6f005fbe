"""A recorder over several processes: the folder is that of one process with all samples, and no process is left alone.

13 samples as 5 and 8; six modes tracked to 1e-14 of their eigenvalues.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.store import RecordGapWarning
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory import TailSettings
from problems import samples, tanh_net
from two_processes import on_two_processes, told

COUNT, RATE, CUT, STEPS = 13, 0.05, 4, 9
OPTIONS = {"modes": 6, "method": "tracked", "tolerance": 1e-14, "tail": TailSettings(steps=20, probes=2)}
SCHEDULE = (0, 2, 3, 5, 8)


def problem(make_probe, select):
    model, (inputs, targets) = tanh_net(3, hidden=9), samples(3, count=COUNT)
    labels = targets.argmax(1)
    labels[[0, 2, 3, 9]] = -100
    whole = ef.Probe(model, inputs, labels, "cross_entropy")
    return model, whole, make_probe(model, inputs[select], labels[select], "cross_entropy")


def descend(model, whole, start, stop):
    """Full-batch gradient descent on the whole loss, the same on every process."""
    for step in range(start, stop):
        point = whole.at()
        loss, gradient = point.loss, point.gradient()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter -= RATE * gradient[name]
        yield step, loss


def record(path, make_probe, select):
    """Recorded up to a cut, resumed there with new objects, and ended."""
    model, whole, probe = problem(make_probe, select)
    recorder = ef.Recorder(path, probe, SCHEDULE, **OPTIONS)
    for step, loss in descend(model, whole, 0, CUT):
        recorder.step(step, loss=loss, learning_rate=RATE)
    recorder.close("interrupted")
    model, whole, probe = problem(make_probe, select)
    for _ in descend(model, whole, 0, CUT):
        pass
    with ef.Recorder(path, probe, SCHEDULE, resume_from=CUT, **OPTIONS) as recorder:
        for step, loss in descend(model, whole, CUT, STEPS):
            recorder.step(step, loss=loss, learning_rate=RATE)


# What shows nothing but rounding; what tells of the solver's work, which at a tolerance of 1e-14 rounding decides; and
# nodes of a Gauss rule, which move once Lanczos has found the whole space (what they say is `tail_energy_below`).
NOT_COMPARED = ("identity_residual", "operator_error", "residual", "eigenvalue_bound", "angle_bound", "products")
NOT_COMPARED += ("is_cold", "is_converged", "complement_bound", "tail_node", "tail_mass")


def assert_same_run(path, expected_path):
    """As in tests/tangent/test_sharded.py: 1e-8 where vectors enter by their squares. They enter at first order in what
    depends on labels (up to sign), and in the random directions that count the tail's modes."""
    found, expected = ef.open_run(path), ef.open_run(expected_path)
    assert found.status == expected.status and found.measured_steps == expected.measured_steps == SCHEDULE
    np.testing.assert_allclose(found.losses["loss"], expected.losses["loss"], rtol=1e-12)
    assert set(found.measurements.data_vars) == set(expected.measurements.data_vars)
    energy = expected.measurements["energy"].values.max()
    worst = {}
    for name in set(expected.measurements.data_vars) - set(NOT_COMPARED):
        a, b = (data.measurements[name].values.astype(float) for data in (found, expected))
        is_labelled = expected.measurements[name].attrs.get("label_dependent", False)
        a, b = (np.abs(a), np.abs(b)) if is_labelled else (a, b)
        scale = energy if expected.measurements[name].attrs["units"] == "loss" else max(np.abs(b).max(), 1e-300)
        is_first_order = is_labelled or name.startswith("tail_count")
        worst[name] = np.abs(a - b).max() / scale / (1e-6 if is_first_order else 1e-8)
    assert {name: value for name, value in worst.items() if value > 1} == {}
    a, b = (json.loads((folder / "run.json").read_text()) for folder in (path, expected_path))
    assert a["probe"]["checksum"] == b["probe"]["checksum"] and a["probe"]["samples"] == COUNT
    assert {**a["probe"], "factor": 0} == {
        **{name: value for name, value in b["probe"].items() if name != "cost"},
        "method": a["probe"]["method"],
        "samples_by_process": a["probe"]["samples_by_process"],
        "factor": 0,
    }


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.long
def test_one_process_writes_the_folder_of_the_plain_probe(alone, tmp_path):
    for name, make in (("plain", ef.Probe), ("sharded", ShardedProbe)):
        record(tmp_path / name, make, slice(None))
    assert_same_run(tmp_path / "sharded", tmp_path / "plain")


def mine(rank):
    return slice(0, 5) if rank == 0 else slice(5, None)


def refusals(rank, folder):
    """What both processes are told where something is wrong on one of them."""
    model, whole, probe = problem(ShardedProbe, mine(rank))

    def going_on():
        """The same two troubles, passed over: every process knows of them, and the record has the gaps."""
        with (
            ef.Recorder(f"{folder}/skipped", probe, [1, 2], **OPTIONS) as recorder,
            warnings.catch_warnings(record=True) as found,
        ):
            warnings.simplefilter("always", RecordGapWarning)
            append = recorder._folder.writer.append if rank == 0 else None
            for step, loss in descend(model, whole, 0, 3):
                if rank == 0:
                    recorder._folder.writer.append = no_space if step == 1 else append
                recorder.step(step, loss=float("nan") if (rank, step) == (1, 0) else loss, learning_rate=RATE)
        return sum(issubclass(one.category, RecordGapWarning) for one in found)

    def failing_disk():
        with ef.Recorder(f"{folder}/disk", probe, [1], on_error="raise", **OPTIONS) as recorder:
            if rank == 0:
                recorder._folder.writer.append = no_space
            for step, loss in descend(model, whole, 0, 3):
                recorder.step(step, loss=loss, learning_rate=RATE)

    def one_step(loss=1.0, rate=RATE, name="steps"):
        with ef.Recorder(f"{folder}/{name}", probe, [5], on_error="raise", **OPTIONS) as recorder:
            recorder.step(0, loss=loss, learning_rate=rate)

    return {
        "exists": told(lambda: ef.Recorder(f"{folder}/two", probe, [0], **OPTIONS)),
        "dense": told(lambda: ef.Recorder(f"{folder}/new", probe, [0], modes=3, method="dense")),
        "modes": told(lambda: ef.Recorder(f"{folder}/new", probe, [0], modes=3 + rank)),
        "loss": told(lambda: one_step(loss=(1.0, np.nan)[rank], name="diverged")),
        "rate": told(lambda: one_step(rate=RATE * (1 + rank), name="rates")),
        "disk": told(failing_disk),
        "warnings": going_on(),
    }


def no_space(*args, **kwargs):
    raise OSError("no space left on device")


def work(rank, folder):
    """On both processes. The second one is told of a folder that it cannot make: only the first writes."""
    path = Path(folder) / "two" if rank == 0 else Path("/proc/nowhere")
    record(path, ShardedProbe, mine(rank))
    dist.barrier()
    Path(f"{folder}/{rank}.json").write_text(json.dumps(refusals(rank, folder)))


@pytest.mark.slow
def test_two_processes_write_the_folder_of_one_and_fail_together(tmp_path):
    on_two_processes(__file__, "work", tmp_path)
    record(tmp_path / "one", ef.Probe, slice(None))
    assert_same_run(tmp_path / "two", tmp_path / "one")
    for rank in (0, 1):
        words = json.loads((tmp_path / f"{rank}.json").read_text())
        elsewhere = ("", "On rank 0: ") if rank else ("On rank 1: ", "")
        assert words["exists"].startswith(f"RunFolderError: {elsewhere[1]}Folder")
        assert words["dense"].startswith("ArgumentError: `method` must be 'tracked' or 'auto' for a ShardedProbe")
        assert words["modes"].startswith("ArgumentError: `modes` must be the same on every process, but is 3 on rank 0")
        assert words["loss"].startswith(f"NonFiniteError: {elsewhere[0]}`loss` is nan at step 0")
        assert words["rate"].startswith("ArgumentError: `learning_rate` must be the same on every process")
        assert words["disk"] == ("EigenflowError: On rank 0: " if rank else "") + "OSError: no space left on device"
        assert words["warnings"] == 2
    skipped = ef.open_run(tmp_path / "skipped")
    assert skipped.status == "complete with gaps" and skipped.measured_steps == (2,)
    assert [(gap.kind, gap.step) for gap in skipped.gaps] == [("loss", 0), ("measurement", 1)]
    for name in ("disk", "diverged", "rates"):
        assert ef.open_run(tmp_path / name).status == "failed"
    # On one process again: the frames and the tracker's vectors are whole in the folder.
    for name in ("two", "one"):
        model, whole, probe = problem(ef.Probe, slice(None))
        for _ in descend(model, whole, 0, STEPS):
            pass
        with ef.Recorder(tmp_path / name, probe, (*SCHEDULE, STEPS), resume_from=STEPS, **OPTIONS) as recorder:
            for step, loss in descend(model, whole, STEPS, STEPS + 1):
                recorder.step(step, loss=loss, learning_rate=RATE)
    two, one = (ef.open_run(tmp_path / name).measurements.isel(step=-1) for name in ("two", "one"))
    assert int(two["step"]) == STEPS and float(two["frame_time"]) == pytest.approx(RATE * SCHEDULE[-1])
    np.testing.assert_array_equal(two["label"], one["label"])
    np.testing.assert_allclose(np.abs(two["frame_overlap"]), np.abs(one["frame_overlap"]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(two["shell_overlap"], one["shell_overlap"], rtol=0, atol=1e-8)


def adam_problem(make_probe, select, select_tests):
    """Adam on a squared loss, with a test set that one process may have none of."""
    model, (inputs, targets) = tanh_net(3, hidden=9), samples(3, count=COUNT)
    tests = samples(8, count=7)
    whole = ef.Probe(model, inputs, targets)
    holdout = tuple(side[select_tests] for side in tests)
    return model, whole, make_probe(model, inputs[select], targets[select], holdout=holdout)


def record_adam(path, make_probe, select, select_tests):
    """All 26 modes: the solve ends with the whole space."""
    model, whole, probe = adam_problem(make_probe, select, select_tests)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    options = {**OPTIONS, "modes": 2 * COUNT, "preconditioner": optimizer}
    with ef.Recorder(path, probe, SCHEDULE[:3], **options) as recorder:
        for step in range(SCHEDULE[3]):
            point = whole.at()
            for name, parameter in model.named_parameters():
                parameter.grad = point.gradient()[name]
            optimizer.step()
            recorder.step(step, loss=point.loss, learning_rate=0.01)


FREE_OF_GAUGE = ("eigenvalue", "energy", "dissipation", "optimizer", "transfer", "remainder", "eigenvalue_sum")
FREE_OF_GAUGE += ("rate_sum", "trace", "probe_loss", "probe_loss_after", "total_energy", "holdout_loss", "holdout_rate")
FREE_OF_GAUGE += ("holdout_gradient", "holdout_optimizer", "holdout_remainder", "update_along", "update_cosine")


def assert_same_numbers(path, expected_path):
    """1e-10 of the largest: a whole space is solved for to rounding."""
    found, expected = (ef.open_run(folder).measurements for folder in (path, expected_path))
    assert set(found.data_vars) == set(expected.data_vars)
    assert list(found["step"]) == list(SCHEDULE[:3])
    energy = float(np.abs(expected["energy"].values).max())
    compared = [name for name in FREE_OF_GAUGE if name in expected]
    assert len(compared) >= len(FREE_OF_GAUGE) - 2
    for name in compared:
        a, b = found[name].values, expected[name].values
        scale = energy if expected[name].attrs["units"] == "loss" else np.abs(b).max()
        np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=1e-10, err_msg=name)
    assert float(found["holdout_residual"].max()) < 1e-12


def adam_work(rank, folder):
    """The test set is on the first process alone."""
    tests = slice(0, 7) if rank == 0 else slice(7, 7)
    record_adam(Path(folder) / "two", ShardedProbe, mine(rank), tests)


@pytest.mark.long
def test_an_optimizer_and_a_test_set_on_one_process(alone, tmp_path):
    for name, make in (("plain", ef.Probe), ("sharded", ShardedProbe)):
        record_adam(tmp_path / name, make, slice(None), slice(None))
    assert_same_numbers(tmp_path / "sharded", tmp_path / "plain")


@pytest.mark.slow
def test_an_optimizer_and_a_test_set_on_two_processes(tmp_path):
    on_two_processes(__file__, "adam_work", tmp_path)
    record_adam(tmp_path / "one", ef.Probe, slice(None), slice(None))
    assert_same_numbers(tmp_path / "two", tmp_path / "one")


@pytest.mark.rejects
def test_only_tracked_modes_are_recorded(alone, tmp_path):
    model, whole, probe = problem(ShardedProbe, slice(None))
    with pytest.raises(ArgumentError, match=r"`method` must be 'tracked' or 'auto' for a ShardedProbe"):
        ef.Recorder(tmp_path / "run", probe, [0], modes=3, method="dense")
    with pytest.raises(ArgumentError, match=r"method='tracked' needs `modes`, how many of the 26"):
        ef.Recorder(tmp_path / "run", probe, [0])
    assert not (tmp_path / "run").exists()
