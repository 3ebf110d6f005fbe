"""Which files are checkpoints, of which step, in which order; and what is said of the others."""

import json
from pathlib import Path

import pytest
import torch

from eigenflow.core.errors import ArgumentError, FileError
from eigenflow.integrations.checkpoints.clock import clock_of_log
from eigenflow.integrations.checkpoints.listing import list_checkpoints
from eigenflow.integrations.checkpoints.steps import step_in_file, step_in_name
from integrations.checkpoints.written import adam_after, make_net, trained, write_shards, write_torch

# Names as other programs write them: updates, epochs.
NAMES = {
    "checkpoint-500": (500, None),
    "step_000500.pt": (500, None),
    "epoch=3-step=1000.ckpt": (1000, 3),
    "epoch=3-step=1000-v1.ckpt": (1000, 3),
    "epoch=03-val_loss=0.25.ckpt": (None, 3),
    "iter_0000500": (500, None),
    "ckpt_500.pt": (500, None),
    "ckpt-500.pth": (500, None),
    "model-00500.safetensors": (500, None),
    "model_0004999.pth": (4999, None),
    "global_step500": (500, None),
    "step=1000.ckpt": (1000, None),
    "500.pt": (500, None),
    "step_0.pt": (0, None),
    "checkpoint-0": (0, None),
    "epoch=0-step=0.ckpt": (0, 0),
    "checkpoint_3_500.pt": (500, 3),
    "checkpoint12.pt": (12, None),
    "ep0-ba500-rank0.pt": (500, 0),
    "step-00001000": (1000, None),
    "iter-001000-ckpt.pth": (1000, None),
    "state_step001000.pt": (1000, None),
    "model010000.pt": (10000, None),
    "ema_0.9999_010000.pt": (10000, None),
    "epoch_12.pth": (None, 12),
    "10epoch.pth": (None, 10),
    "snapshot.ep.10": (None, 10),
    "step_10k.pt": (10000, None),
    "ckpt_1.5M_step_3000.pt": (3000, None),
    "checkpoint_1000.pth": (1000, None),
    "name-step00000500.safetensors": (500, None),
    "step1000-unsharded": (1000, None),
    "hf_model_0001_3.pt": (None, 3),
    "step100-00001-of-00002.safetensors": (100, None),
    "model-00001-of-00002.safetensors": None,
    "resnet50.pth": None,
    "last.ckpt": None,
    "best.pt": None,
    "model.safetensors": None,
    "2024-01-31_12-30-05.pt": None,
    "run_20240131.pt": None,
    "model-acc-0.95.pt": None,
    "epoch=2-acc=0.95.ckpt": (None, 2),
    "gpt2-124M-it12000.pt": (12000, None),
    "steps_500_loss_2.31.pt": (500, None),
    "model.0003.pth": (3, None),
}


@pytest.mark.parametrize(("name", "expected"), NAMES.items(), ids=NAMES)
def test_steps_in_names(name, expected):
    found = step_in_name(Path("/some/where") / name)
    assert (None if found is None else (found.updates, found.epochs)) == expected


def test_a_folder_tells_the_step_only_in_words():
    assert step_in_name(Path("/runs/2024/weights.pt")) is None
    assert step_in_name(Path("/runs/step_7/weights.pt")).updates == 7
    assert step_in_name(Path("/runs/width-64/weights.pt")) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"global_step": 5, "epoch": 1}, (5, 1)),
        ({"iter_num": 5}, (5, None)),
        ({"step": torch.tensor(5)}, (5, None)),
        ({"step": 5.0}, (5, None)),
        ({"step": 5.5}, None),
        ({"step": True}, None),
        ({"step": -1}, None),
        ({"step": "5"}, None),
        ({"step": {"a": 1}}, None),
        ({"epoch": 3}, (None, 3)),
        ({"meta": {"iter": 5, "epoch": 2}}, (5, 2)),
        ({"state": {"timestamp": {"Timestamp": {"batch": 5}}}}, (5, None)),
        ({"optimizer_history": [{"num_updates": 2}, {"num_updates": 5}]}, (5, None)),
        ({"optimizer": {"state": {0: {"step": torch.tensor(5.0)}}}, "epoch": 1}, (5, 1)),
        ({"optimizer_states": [{"state": {0: {"step": 5}}}]}, (5, None)),
        ({}, None),
    ],
)
def test_steps_in_files(content, expected):
    found = step_in_file(content)
    assert (None if found is None else (found.updates, found.epochs)) == expected


def steps(path):
    return [one.step for one in list_checkpoints(path).checkpoints]


def state(seed, path, **more):
    return write_torch(path, {"model": trained(seed).state_dict()} | more)


def test_sorted_by_number_with_folders_files_and_patterns(tmp_path):
    for step in (2, 10, 1000, 9):
        write_torch(tmp_path / f"files/step_{step}.pt", trained(step).state_dict())
        write_torch(
            tmp_path / f"deep/lightning_logs/version_0/checkpoints/epoch=0-step={step}.ckpt", trained(step).state_dict()
        )
        write_torch(tmp_path / f"folders/checkpoint-{step}/pytorch_model.bin", trained(step).state_dict())
    for place in ("files", "deep", "folders"):
        assert steps(tmp_path / place) == [2, 9, 10, 1000]
    assert steps(str(tmp_path / "files/step_1*.pt")) == [10, 1000]
    assert steps([tmp_path / "files/step_9.pt", str(tmp_path / "folders/checkpoint-10")]) == [9, 10]
    assert steps(str(tmp_path / "folders/*")) == [2, 9, 10, 1000]
    assert steps(tmp_path / "files/step_9.pt") == [9]


def test_what_lies_beside_weights_is_no_checkpoint(tmp_path):
    folder = tmp_path / "checkpoint-5"
    write_shards(folder, trained(5))
    for name in (
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "training_args.bin",
        "scaler.pt",
        "random_states_0.bin",
    ):
        write_torch(folder / name, {"x": torch.ones(2)})
    for name in ("tokenizer.json", "config.json", "merges.txt", ".DS_Store", "README.md"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "logs").mkdir()
    listing = list_checkpoints(tmp_path)
    assert [one.step for one in listing.checkpoints] == [5]
    assert listing.left_out == ()


def test_copies_are_named_once(tmp_path):
    state(1, tmp_path / "step_500.pt", step=500)
    state(1, tmp_path / "last.pt", step=500, more=torch.ones(1))
    state(1, tmp_path / "a_copy_500.pt", step=500)
    state(2, tmp_path / "best.pt", step=400)
    (tmp_path / "latest.pt").symlink_to(tmp_path / "step_500.pt")
    listing = list_checkpoints(tmp_path)
    assert [(one.step, one.found.path.name) for one in listing.checkpoints] == [
        (400, "best.pt"),
        (500, "a_copy_500.pt"),
    ]
    told = {path.name: reason for path, _, reason in listing.left_out}
    assert told["step_500.pt"] == "the same weights as 'a_copy_500.pt'"
    assert told["latest.pt"] == "the same weights as 'a_copy_500.pt'"
    assert "step 500 again, with other weights" in told["last.pt"]


def test_averages_beside_the_weights_give_way(tmp_path):
    state(1, tmp_path / "model010000.pt")
    state(2, tmp_path / "ema_0.9999_010000.pt")
    write_torch(tmp_path / "opt010000.pt", adam_after(make_net(), 2))
    listing = list_checkpoints(tmp_path)
    assert [one.found.path.name for one in listing.checkpoints] == ["model010000.pt"]
    ((path, step, reason),) = listing.left_out
    assert (path.name, step) == ("ema_0.9999_010000.pt", 10000)
    assert "with other weights than 'model010000.pt'" in reason
    assert steps(str(tmp_path / "ema*")) == [10000]


def test_epochs_count_where_nothing_tells_updates(tmp_path):
    for epoch in (1, 2, 10):
        state(epoch, tmp_path / f"a/epoch_{epoch}.pth")
        state(epoch, tmp_path / f"b/epoch_{epoch}.pth", optimizer=adam_after(make_net(), epoch * 3))
    listing = list_checkpoints(tmp_path / "a")
    assert [one.step for one in listing.checkpoints] == [1, 2, 10]
    assert listing.unit == "epochs"
    assert any("steps are epochs: no checkpoint tells its updates" in note for note in listing.notes)
    listing = list_checkpoints(tmp_path / "a", updates_per_epoch=7)
    assert [one.step for one in listing.checkpoints] == [7, 14, 70]
    assert listing.unit == "updates"
    assert listing.checkpoints[0].source == "name 'epoch_1', 7 updates an epoch"
    listing = list_checkpoints(tmp_path / "b")  # Adam counts
    assert [one.step for one in listing.checkpoints] == [3, 6, 30]
    assert listing.unit == "updates"
    assert listing.checkpoints[0].learning_rate == 3e-3
    state(11, tmp_path / "b/epoch_11.pth")
    ((path, _, reason),) = list_checkpoints(tmp_path / "b").left_out
    assert path.name == "epoch_11.pth"
    assert "it tells its epoch (11), but not its updates, as the others do" in reason


def test_final_weights_beside_checkpoints(tmp_path):
    for step in (5, 10):
        write_torch(tmp_path / f"checkpoint-{step}/pytorch_model.bin", trained(step).state_dict())
    write_torch(tmp_path / "pytorch_model.bin", trained(10).state_dict())
    listing = list_checkpoints(tmp_path)
    assert [one.step for one in listing.checkpoints] == [5, 10]
    ((path, _, reason),) = listing.left_out
    assert path == tmp_path
    assert "neither its name nor its content tells a step" in reason
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 10}))
    assert [reason for _, _, reason in list_checkpoints(tmp_path).left_out] == ["the same weights as 'checkpoint-10'"]


def test_weights_of_other_programs_are_named(tmp_path):
    state(1, tmp_path / "step_1.pt")
    for name in ("model_2.h5", "flax_3.msgpack", "m_4.gguf", "n_5.nemo"):
        (tmp_path / name).write_bytes(b"x")
    listing = list_checkpoints(tmp_path)
    assert [path.name for path, _, _ in listing.left_out] == ["flax_3.msgpack", "m_4.gguf", "model_2.h5", "n_5.nemo"]


def test_two_forms_in_one_folder_and_parts_of_a_pipeline(tmp_path):
    """Safetensors come first; a pipeline of diffusers has a folder a part, and averages of it."""
    folder = write_shards(tmp_path / "a/checkpoint-5", trained(5))
    write_torch(folder / "pytorch_model.bin", trained(6).state_dict())
    (one,) = list_checkpoints(tmp_path / "a").checkpoints
    assert one.format == "safetensors in 3 shards"
    for part, seed in (("unet", 5), ("unet_ema", 6)):
        write_torch(tmp_path / f"b/checkpoint-7/{part}/diffusion_pytorch_model.bin", trained(seed).state_dict())
    listing = list_checkpoints(tmp_path / "b")
    assert [(one.step, one.found.path.name) for one in listing.checkpoints] == [(7, "unet")]
    assert [path.name for path, _, _ in listing.left_out] == ["unet_ema"]
    missing = write_shards(tmp_path / "c/checkpoint-9", trained(5), kind="bin", stem="pytorch_model")
    (missing / "pytorch_model-00003-of-00003.bin").unlink()
    ((_, step, reason),) = list_checkpoints(tmp_path / "c").left_out
    assert (step, reason) == (9, "1 of 3 shards are missing: pytorch_model-00003-of-00003.bin")


def test_links_that_lead_back_are_not_followed(tmp_path):
    state(1, tmp_path / "runs/step_1.pt")
    (tmp_path / "runs/again").symlink_to(tmp_path / "runs")
    (tmp_path / "runs/above").symlink_to(tmp_path)
    listing = list_checkpoints(tmp_path)
    assert [one.step for one in listing.checkpoints] == [1]
    assert listing.left_out == ()


@pytest.mark.rejects
def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(FileError, match=r"`checkpoints` has '.*nowhere', which does not exist"):
        list_checkpoints(tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match=r"`checkpoints` has the pattern '.*\*.pt', which nothing matches"):
        list_checkpoints(str(tmp_path / "*.pt"))
    (tmp_path / "gone.pt").symlink_to(tmp_path / "nothing")
    with pytest.raises(FileError, match="a link to what is not there"):
        list_checkpoints(tmp_path / "gone.pt")
    assert "cannot be opened" in list_checkpoints(tmp_path).left_out[0][2]


def log(rate, steps):
    return [{"step": step, "learning_rate": rate(step), "loss": 1.0 / step} for step in steps]


def warmup_cosine(step, total=1000, warmup=100, peak=1e-3):
    import math

    return peak * min(1.0, step / warmup) * (0.5 + 0.5 * math.cos(math.pi * step / total))


def test_time_is_the_sum_of_logged_rates():
    """Against the sum over all updates, of which the log shows every tenth."""
    clock = clock_of_log(log(warmup_cosine, range(10, 1001, 10)), [0, 100, 500, 1000])
    for step in (0, 100, 500, 1000):
        exact = sum(warmup_cosine(k) for k in range(1, step + 1))
        # Chords of ten updates lie below the curve; of the warm-up's end they cut the most, 1e-4.
        assert clock.times[step] == pytest.approx(exact, rel=1e-3, abs=1e-12)
    assert "sum of 100 logged learning rates" in clock.told
    exact = clock_of_log(log(warmup_cosine, range(1, 1001)), [500])
    assert exact.times[500] == pytest.approx(sum(warmup_cosine(k) for k in range(1, 501)), rel=1e-12)


def test_a_log_with_gaps_gives_no_time():
    assert clock_of_log(log(warmup_cosine, (100, 500, 1000)), [1000]).told == "updates (the log has 3 learning rates)"
    jumps = clock_of_log(log(lambda k: 1e-3 if (k // 50) % 2 else 1e-6, range(50, 1001, 50)), [1000])
    assert not jumps.times
    assert "too far apart" in jumps.told
    short = clock_of_log(log(warmup_cosine, range(10, 501, 10)), [1000])
    assert "the log ends at step 500, the checkpoints at 1000" in short.told


def test_the_trainers_log_gives_rates_losses_and_times(tmp_path):
    rows = log(warmup_cosine, range(10, 101, 10))
    for step in (50, 100):
        write_torch(tmp_path / f"checkpoint-{step}/pytorch_model.bin", trained(step).state_dict())
        history = [row for row in rows if row["step"] <= step] + [{"step": step, "eval_loss": 3.0}]
        content = {"global_step": step, "epoch": 1.5, "log_history": history}
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text(json.dumps(content))
    listing = list_checkpoints(tmp_path)
    assert [one.learning_rate for one in listing.checkpoints] == [warmup_cosine(50), warmup_cosine(100)]
    assert [one.loss for one in listing.checkpoints] == [1 / 50, 1 / 100]
    # A warm-up times a slow cosine, between logs of ten updates.
    assert listing.checkpoints[1].time == pytest.approx(sum(warmup_cosine(k) for k in range(1, 101)), rel=1e-3)
    assert listing.checkpoints[0].source == "trainer_state.json"


def saved_by_lightning(folder, steps, rate):
    """Checkpoints as Lightning writes them, with the optimizer's rate, which is that of the next update already."""
    for step in steps:
        net = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=rate(step + 1))
        path = folder / f"epoch=0-step={step}.ckpt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(
            {"global_step": step, "state_dict": net.state_dict(), "optimizer_states": [optimizer.state_dict()]}, path
        )


def test_time_is_the_sum_of_rates_in_checkpoints(tmp_path):
    """Against the sum over all updates: chords of ten updates, and rates that are one update late, make 1 % at most."""
    steps = [0, 1, 2, 4, 8, *range(10, 1001, 10)]
    saved_by_lightning(tmp_path, steps, warmup_cosine)
    listing = list_checkpoints(tmp_path)
    assert listing.clock == f"sum of the learning rates that {len(steps)} checkpoints hold"
    whole = sum(warmup_cosine(k) for k in range(1, 1001))
    for one in listing.checkpoints:
        exact = sum(warmup_cosine(k) for k in range(1, one.step + 1))
        assert one.time == pytest.approx(exact, abs=0.01 * whole), one.step


def test_rates_in_checkpoints_that_do_not_tell_all(tmp_path):
    """The first checkpoint after the warm-up, too few of them, and so short a run that one update matters."""
    saved_by_lightning(tmp_path / "late", range(200, 1001, 20), warmup_cosine)
    listing = list_checkpoints(tmp_path / "late")
    assert "of rates before the checkpoint of step 200 nothing is known" in listing.clock
    assert all(one.time is None and one.learning_rate is not None for one in listing.checkpoints)
    saved_by_lightning(tmp_path / "few", (0, 500, 1000), warmup_cosine)
    assert "3 checkpoints hold learning rates" in list_checkpoints(tmp_path / "few").clock
    saved_by_lightning(tmp_path / "short", range(21), lambda step: warmup_cosine(step, total=20, warmup=2))
    assert not any(one.time for one in list_checkpoints(tmp_path / "short").checkpoints)


def test_time_from_a_log_that_is_named(tmp_path):
    """A table of every update beside three checkpoints without any rate; its losses come too.

    To which update a rate belongs that stands beside a step is judged by the reader: two updates at the peak rate.
    """
    for step in (0, 500, 1000):
        state(step, tmp_path / f"c/step_{step}.pt")
    rows = log(warmup_cosine, range(1, 1001))
    lines = [f"{row['step']},{row['loss'] + 1},{row['learning_rate']}" for row in rows]
    (tmp_path / "log.csv").write_text("\n".join(["step,loss,lr", *lines]))
    listing = list_checkpoints(tmp_path / "c", log=tmp_path / "log.csv")
    assert listing.clock == "sum of the learning rates of 'log.csv'"
    exact = [sum(warmup_cosine(k) for k in range(1, step + 1)) for step in (0, 500, 1000)]
    assert [one.time for one in listing.checkpoints] == pytest.approx(exact, abs=2e-3)
    assert listing.checkpoints[1].loss == pytest.approx(1.002)


@pytest.mark.rejects
def test_logs_that_give_no_time(tmp_path):
    for step in (0, 500):
        state(step, tmp_path / f"c/step_{step}.pt")
    short, two = tmp_path / "short.csv", tmp_path / "two.csv"
    short.write_text("\n".join(["step,loss,lr", *(f"{k},{1 + 1 / k},0.001" for k in range(1, 101))]))
    with pytest.raises(ArgumentError, match=r"`log` must reach the last checkpoint, step 500, but .* ends at step 100"):
        list_checkpoints(tmp_path / "c", log=short)
    rows = [f"{name},{k},{1 + 1 / k},0.001" for name in "ab" for k in range(1, 601)]
    two.write_text("\n".join(["run,step,loss,lr", *rows]))
    with pytest.raises(ArgumentError, match=r"`log` must hold one run, but .* holds 2: a, b"):
        list_checkpoints(tmp_path / "c", log=two)
    state(3, tmp_path / "e/epoch_3.pt")
    with pytest.raises(ArgumentError, match=r"the checkpoints tell epochs. Give `updates_per_epoch`"):
        list_checkpoints(tmp_path / "e", log=short)
