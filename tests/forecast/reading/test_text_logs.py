"""What training programs print gives back the run that was printed, whatever stands around it."""

import gzip

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.files.one_file import load_file
from eigenflow.forecast.reading.files.programs import PATTERNS
from forecast.reading.printed_lines import FORMS, STEPS, losses, printed, rates


def column(table, name, count="step"):
    """Steps and values of the rows that show a quantity."""
    values = pd.to_numeric(table.frame[name], errors="coerce").to_numpy(dtype=float)
    shown = np.isfinite(values)
    return table.frame[count].to_numpy()[shown], values[shown]


@pytest.mark.parametrize("form", FORMS, ids=[f"{k}-{form.program.split(' ')[0]}" for k, form in enumerate(FORMS)])
def test_lines_of_a_program_give_its_run(tmp_path, form):
    path = tmp_path / "run.out"
    path.write_text(f"loading the model\nconfig: {{'lr': 1}}\n{printed(form)}done\n")
    (table,) = load_file(path)
    assert f"lines of {form.program}" in table.notes[0]
    expected = np.array(losses(), dtype=float) * form.factor
    steps, values = column(table, form.loss)
    np.testing.assert_array_equal(steps, STEPS)
    np.testing.assert_allclose(values, expected, rtol=1e-15)  # the text's own digits; bits are multiplied once
    if form.rate is not None:
        steps, values = column(table, form.rate)
        np.testing.assert_array_equal(steps, STEPS)
        np.testing.assert_array_equal(values, np.array(rates(), dtype=float))
    if form.valid:
        steps, values = column(table, form.validation)
        np.testing.assert_array_equal(steps, STEPS[4::5])
        np.testing.assert_allclose(values, np.array(losses(0.1), dtype=float)[4::5] * form.factor, rtol=1e-15)
    assert table.planned == form.planned
    assert table.is_converted == (form.factor != 1.0)


def test_every_entry_has_lines_here():
    others = {
        "icefall", "ESPnet", "WeNet", "YOLOv5 (results.txt)", "Keras' progress lines", "PyTorch's MNIST example",
        "printed dicts, as of Hugging Face's trainer",
    }  # fmt: skip
    assert {entry.name for entry in PATTERNS} == {
        form.program for form in FORMS if "lines with" not in form.program
    } | others


def of_program(name):
    return printed(next(form for form in FORMS if form.program == name))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: gzip.compress(text.encode()),
        lambda text: text.encode("utf-16"),
        lambda text: "".join(f"[2024-05-01 12:00:00] rank0: {line}\n" for line in text.splitlines()).encode(),
        lambda text: "".join(f"\x1b[2K\x1b[1;32m{line}\x1b[0m\n" for line in text.splitlines()).encode(),
        lambda text: "".join(f"\r 12%|xx  | 12/99 [00:01<00:09]\r{line}\n" for line in text.splitlines()).encode(),
        lambda text: b"\xff\xfa not text \xc3\n" + text.encode(),
    ],
    ids=["crlf", "gzip", "utf-16", "stamps", "colours", "bars", "bytes"],
)
def test_what_stands_around_a_line_does_not_matter(tmp_path, wrap):
    path = tmp_path / "run.log"
    path.write_bytes(wrap(of_program("nanoGPT")))
    steps, values = column(load_file(path)[0], "loss")
    np.testing.assert_array_equal(steps, STEPS)
    np.testing.assert_array_equal(values, np.array(losses(), dtype=float))


def test_rows_are_the_lines_of_the_file(tmp_path):
    path = tmp_path / "run.log"
    path.write_text("first\n\n" + "".join(f"iter {k}: loss 2.5, time 1ms\nnoise {k}\n" for k in range(3)))
    assert load_file(path)[0].rows.tolist() == [3, 5, 7]


def test_the_curve_of_a_printed_log_is_that_of_the_run(tmp_path):
    path = tmp_path / "main.log"
    path.write_text(of_program("llm.c (main.log)"))
    curve = ef.read_curves(path)["main"]
    np.testing.assert_array_equal(curve.steps, STEPS)
    np.testing.assert_array_equal(curve.losses, np.array(losses(), dtype=float))
    np.testing.assert_allclose(
        curve.schedule.rates[100], float(rates()[9]), rtol=1e-3
    )  # rates are printed to 4 decimals


@pytest.mark.rejects
def test_bits_are_not_converted_twice(tmp_path):
    path = tmp_path / "run.log"
    path.write_text(of_program("fairseq"))
    with pytest.raises(ArgumentError, match=r"`unit` is 'bits'.*converted to nats already"):
        ef.read_curves(path, unit="bits")


def dicts(every=10, bars=True, digits=2):
    """Hugging Face's output: a dict after every tenth update, and the bar before and after it."""
    parts = ["Map: 100%|xx| 99/99 [00:00<00:00]\n"]
    for k, (loss, rate) in enumerate(zip(losses(), rates(), strict=True), start=1):
        bar = f"\r {k}%|x   | {k * every}/400 [00:01<00:09, 9.7it/s]" if bars else ""
        parts.append(
            f"{bar}\r{{'loss': {loss}, 'learning_rate': {rate}, 'epoch': {k * every / 150:.{digits}f}}}\n{bar}"
        )
        if k == 20:
            parts.append("\n  0%|   | 0/7 [00:00<?]\r100%|xx| 7/7 [00:00<00:00]\r{'eval_loss': 3.5, 'epoch': 1.33}\n")
    parts.append("{'train_runtime': 12.0, 'train_loss': 3.3, 'epoch': 2.67}\n")
    return "".join(parts)


def test_steps_of_printed_dicts_are_those_of_the_bar(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(dicts(), newline="")
    (table,) = load_file(path)
    steps, values = column(table, "loss")
    np.testing.assert_array_equal(steps, STEPS)
    np.testing.assert_array_equal(values, np.array(losses(), dtype=float))
    assert column(table, "eval_loss")[0].tolist() == [200]
    assert table.planned == 400 and any("progress bar" in note for note in table.notes)


@pytest.mark.parametrize("shifts", [(-3, 0), (0, 1)], ids=["bars lag", "bars run ahead"])
def test_of_two_bars_the_one_in_step_is_right(tmp_path, shifts):
    """A bar is drawn at most ten times a second: the one before a row may be of an earlier update."""
    rng = np.random.default_rng(0)
    parts = ["  0%|   | 0/400 [00:00<?]\n"]
    for step, loss in zip(STEPS, losses(), strict=True):
        lag = rng.integers(shifts[0], 1) if shifts[0] else 0
        parts.append(f"\r 1%|x   | {step + lag}/400 [0]\n{{'loss': {loss}, 'epoch': {step / 150:.2f}}}\n")
        parts.append(f"\r 1%|x   | {step + shifts[1]}/400 [0]")
    path = tmp_path / "train.log"
    path.write_text("".join(parts), newline="")
    np.testing.assert_array_equal(column(load_file(path)[0], "loss")[0], STEPS)


def test_bars_that_contradict_the_epochs_are_not_believed(tmp_path):
    """Two streams of one program that are buffered apart stand in disorder: all dicts come after the last bar."""
    path = tmp_path / "train.log"
    whole = dicts()
    lines = whole.replace("\r", "\n").split("\n")
    bars, others = [line for line in lines if "%|" in line], [line for line in lines if "{" in line]
    path.write_text("\n".join(bars + others))
    (table,) = load_file(path)
    epochs, values = column(table, "loss", "epoch")
    np.testing.assert_allclose(epochs, STEPS / 150, atol=0.005)  # printed with two decimals
    np.testing.assert_array_equal(values, np.array(losses(), dtype=float))
    assert "step" not in table.frame


def test_dicts_without_bars_or_epochs_are_counted(tmp_path):
    path = tmp_path / "train.log"
    path.write_text("".join(f"{{'loss': {loss}, 'epoch': 0.0}}\n" for loss in losses()))
    (table,) = load_file(path)
    assert table.frame["step"].tolist() == list(range(1, len(STEPS) + 1))
    assert any("one printed row" in note for note in table.notes)


KERAS = {
    "bars": "\r 1/25 [.....] - ETA: 1:02 - loss: 9.5\b\b\b\b\r25/25 [=====] - 24s 96ms/step - loss: {l} - lr: {r}\n",
    "version 3": "\x1b[1m25/25\x1b[0m \x1b[32m━━━━\x1b[0m \x1b[1m3s\x1b[0m 1ms/step - acc: 0.9 - loss: {l} - lr: {r}\n",
    "verbose 2": "25/25 - 3s - loss: {l} - acc: 0.9 - lr: {r} - 3s/epoch - 2ms/step\n",
    "old": " - 3s - loss: {l} - acc: 0.9 - lr: {r}\n\nEpoch 00001: val_loss improved from 9 to 8, saving\n",
    "callback": "\nEpoch 1: LearningRateScheduler setting learning rate to {r}.\n25/25 [=] - 3s 2s/step - loss: {l}\n",
}


@pytest.mark.parametrize("kind", KERAS)
def test_progress_lines_of_keras_count_completed_epochs(tmp_path, kind):
    path = tmp_path / "keras.log"
    rows = enumerate(zip(losses(), rates(), strict=True), start=1)
    text = "".join(f"Epoch {k}/40\n" + KERAS[kind].format(l=loss, r=rate) for k, (loss, rate) in rows)
    path.write_text(text + "Epoch 41/50\n 13/25 [==>...] - ETA: 3s - loss: 1.05\n", newline="")
    (table,) = load_file(path)
    epochs, values = column(table, "loss", "epoch")
    np.testing.assert_array_equal(epochs, np.arange(1, 41))
    np.testing.assert_array_equal(values, np.array(losses(), dtype=float))
    name = "learning_rate" if kind == "callback" else "lr"
    np.testing.assert_array_equal(column(table, name, "epoch")[1], np.array(rates(), dtype=float))


@pytest.mark.parametrize(
    ("line", "count", "expected"),
    [
        ("Epoch {k}/40\n----------\ntrain Loss: {l} Acc: 0.7\nval Loss: 9.5 Acc: 0.9\n", "epoch", range(40)),
        ("Epoch {q}/40, Train Loss: {l}, Validation Loss: 9.5", "epoch", range(1, 41)),
        ("Step {s}:\n  train_loss: {l}\n  lr: 1e-3", "step", STEPS),
        ("ep: 0, batch: {s}, time: 9.17, train_loss: {l}", "step", STEPS),
    ],
    ids=["below the epoch", "by the epoch", "below the step", "batches of one epoch"],
)
def test_lines_of_no_known_program(tmp_path, line, count, expected):
    path = tmp_path / "run.log"
    rows = enumerate(zip(STEPS, losses(), strict=True))
    path.write_text("".join(line.format(k=k, q=k + 1, s=step, l=loss) + "\n" for k, (step, loss) in rows))
    (table,) = load_file(path)
    counts, values = column(table, "train_loss", count)
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(values, np.array(losses(), dtype=float))
    if "9.5" in line:
        assert set(column(table, "val_loss", count)[1]) == {9.5}


def test_results_of_yolo_and_lines_of_samples(tmp_path):
    path = tmp_path / "results.txt"
    path.write_text(
        "".join(f"     {k}/39    0.833G    0.1  0.06    0.1    {loss}    9    640\n" for k, loss in enumerate(losses()))
    )
    epochs, values = column(load_file(path)[0], "loss", "epoch")
    np.testing.assert_array_equal(epochs, np.arange(40))
    np.testing.assert_array_equal(values, np.array(losses(), dtype=float))
    path = tmp_path / "mnist.log"
    path.write_text(
        "".join(f"Train Epoch: {k // 5 + 1} [{k % 5 * 64}/320 (1%)]\tLoss: {loss}\n" for k, loss in enumerate(losses()))
    )
    (table,) = load_file(path)
    np.testing.assert_array_equal(column(table, "train_loss")[0], 64 * np.arange(40))
    assert any("a step is one sample" in note for note in table.notes)


@pytest.mark.parametrize(
    "line",
    [
        "INFO (0/8) Epoch {e}, batch {b}, loss[loss=9], tot_loss[loss={l}, over 5 frames.], batch size: 30, lr: 3e-3",
        "{e}epoch:train:1-{b}batch: iter_time=1, loss={l}, acc=0.5, optim0_lr0=3e-3, train_time=1",
        "DEBUG TRAIN Batch {f}/{b} loss {l} loss_att 20 loss_ctc 50 lr 0.0001 rank 0",
    ],
    ids=["icefall", "ESPnet", "WeNet"],
)
def test_an_epoch_of_unknown_length_is_assumed_and_said(tmp_path, line):
    """Batches 0, 10, ... 40 are shown, so an epoch is taken to have 50."""
    path = tmp_path / "run.log"
    rows = zip(STEPS - 10, losses(), strict=True)
    path.write_text(
        "".join(line.format(e=step // 50 + 1, f=step // 50, b=step % 50, l=loss) + "\n" for step, loss in rows)
    )
    (table,) = load_file(path)
    np.testing.assert_array_equal(column(table, "train_loss")[0], STEPS - 10)
    assert any("50 are assumed" in note for note in table.notes)


def test_rows_of_several_ranks_are_one(tmp_path):
    path = tmp_path / "run.log"
    path.write_text(
        "".join(f"step: {k}  loss: {2.0 + shift}  tps: 1\n" for k in range(5) for shift in (0.0, 0.5, 0.25))
    )
    (table,) = load_file(path)
    assert table.frame["step"].tolist() == [0, 1, 2, 3, 4]
    assert table.frame["train_loss"].tolist() == [2.25] * 5
    assert any("5 steps show train_loss several times in a row (row 1 first)" in note for note in table.notes)


def test_a_loss_that_was_printed_as_nan_is_not_lost(tmp_path):
    path = tmp_path / "run.log"
    path.write_text("iter 0: loss 2.5, t\niter 1: loss 2.4, t\niter 2: loss nan, t\n")
    assert load_file(path)[0].frame["loss"].tolist() == [2.5, 2.4, "nan"]


@pytest.mark.long
def test_memory_grows_with_the_rows_and_not_with_the_file(tmp_path):
    """40 MB of noise around ten rows: what is held at once is a block of 1 MB, its lines and their text."""
    import tracemalloc

    path = tmp_path / "run.log"
    noise = "2024-05-01 12:00:00 INFO worker fetched a shard and waits for the next one, queue 12\n" * 50_000
    with path.open("w") as file:
        for k in range(10):
            file.write(f"{noise}iter {k}: loss {3 - k / 10}, time 1ms\n")
    tracemalloc.start()
    (table,) = load_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(table.frame) == 10 and path.stat().st_size > 4e7
    assert peak < 1.2e7


@pytest.mark.long
def test_lines_that_do_not_match_cost_little(tmp_path):
    """200 MB are to take no more than 10 CPU seconds; here 40 MB, with some room for a busy machine."""
    import time

    path = tmp_path / "run.log"
    noise = "2024-05-01 12:00:00 INFO worker fetched a shard and waits for the next one, queue 12\n" * 100_000
    path.write_text((noise + "iter 5: loss 2.5, time 1ms\niter 6: loss 2.5, time 1ms\n") * 5)
    begin = time.process_time()
    load_file(path)
    assert time.process_time() - begin < path.stat().st_size / 20e6
