"""`eigenflow measure`: from the command line to a record, and what it says when it cannot."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import eigenflow as ef
from cli.program import eigenflow

TRAIN = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3))

def broken():
    raise OSError("no data here")

NUMBER = 3
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own_training.py").write_text(TRAIN)
    generator = torch.Generator().manual_seed(1)
    for step in (0, 10, 5):
        torch.manual_seed(step)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3))
        (tmp_path / "out").mkdir(exist_ok=True)
        torch.save({"model": model.state_dict(), "step": step}, tmp_path / f"out/ckpt_{step}.pt")
    (tmp_path / "out/ckpt_7.pt").write_bytes(b"")
    probe = {
        "inputs": torch.randn(8, 4, generator=generator),
        "targets": torch.randint(0, 3, (8,), generator=generator),
    }
    save_file(probe, tmp_path / "probe.safetensors")
    return tmp_path


WORDS = ["measure", "--checkpoints", "out", "--model", "own_training.py:build", "--probe", "probe.safetensors"]


@pytest.mark.long
def test_a_record_comes_out(folder):
    done = eigenflow(*WORDS, "--modes", 8, "--out", "run", cwd=folder)
    assert done.code == 0, done.stderr
    assert "CheckpointRecord: run" in done.stdout
    assert "ckpt_7.pt (7): it is empty (0 bytes)" in done.stdout
    assert "3 checkpoints, 51 parameters, operator of 24 rows" in done.stderr  # the cost stands first
    assert done.stderr.index("GFLOP") < done.stderr.index("3 of 3 checkpoints, 3 measured")
    run = ef.open_run(folder / "run")
    assert list(run.measurements["step"].values) == [0, 5, 10]
    again = eigenflow(*WORDS, "--modes", 8, "--out", "run", "--json", cwd=folder)
    told = json.loads(again.stdout)
    assert (told["measured"], told["resumed"], told["steps"]) == (0, 3, [0, 5, 10])
    assert told["left_out"][0]["name"] == "ckpt_7.pt"


@pytest.mark.long
def test_a_dry_run_lists_and_writes_nothing(folder):
    done = eigenflow(*WORDS, "--out", "run", "--dry-run", cwd=folder)
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["0", "5", "10"]
    assert "left out  ckpt_7.pt (update 7): it is empty (0 bytes)" in done.stdout
    assert "the model is measured in eval mode" in done.stdout
    assert "loss: cross_entropy, as targets are torch.int64" in done.stdout
    assert not (folder / "run").exists()
    told = json.loads(eigenflow(*WORDS, "--dry-run", "--json", cwd=folder).stdout)
    assert [one["step"] for one in told["checkpoints"]] == [0, 5, 10]
    assert told["cost"]["rows"] == 24


def test_patterns_that_the_shell_has_spelled_out(folder):
    words = ["measure", "out/ckpt_0.pt", "out/ckpt_5.pt", *WORDS[3:], "--out", "run", "--json"]
    assert json.loads(eigenflow(*words, cwd=folder).stdout)["steps"] == [0, 5]


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"--model": "own_training.py:nothing"}, 2, ["`model`", "has no 'nothing'", "build, broken"]),
        ({"--model": "own_training.py:broken"}, 2, ["`model`: broken() fails with OSError: no data here"]),
        ({"--model": "own_training.py:NUMBER"}, 2, ["that is a int, not a function"]),
        ({"--model": "nowhere.py:build"}, 2, ["file 'nowhere.py', which does not exist"]),
        ({"--model": "no_such_module:build"}, 2, ["neither installed nor in the working folder"]),
        ({"--model": "build"}, 2, ["must be module:function or train.py:function"]),
        ({"--model": None}, 2, ["`model` is needed", "no config.json"]),
        ({"--probe": "none.npz"}, 1, ["`probe` is 'none.npz', which does not exist"]),
        ({"--probe": "out/ckpt_0.pt"}, 2, ["`probe`", "holds 'model', 'step'", "`inputs` and `targets`"]),
        ({"--probe": None}, 2, ["`--probe` is needed"]),
        ({"--checkpoints": None}, 2, ["`--checkpoints` is needed"]),
        ({"--checkpoints": "nowhere"}, 1, ["`checkpoints` has 'nowhere', which does not exist"]),
        ({"--checkpoints": "out/ckpt_7.pt"}, 2, ["holds none that can be read", "it is empty"]),
        ({"--loss": "nonesuch"}, 2, ["`loss` must be one of"]),
        ({"--method": "nonesuch"}, 2, ["--method"]),
        ({"--modes": "0"}, 2, ["--modes"]),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(change, code, words, folder):
    options = dict(zip(WORDS[1::2], WORDS[2::2], strict=True)) | {"--out": "run"} | change
    done = eigenflow("measure", *(w for pair in options.items() if pair[1] is not None for w in pair), cwd=folder)
    assert done.code == code, done
    text = " ".join(done.stderr.split())
    assert all(word in text for word in words), text
    assert not (folder / "run").exists()


@pytest.mark.rejects
def test_if_nothing_can_be_measured_the_exit_status_is_one(folder):
    (folder / "other").mkdir()
    torch.save(nn.Linear(7, 7).state_dict(), folder / "other/step_1.pt")
    done = eigenflow("measure", "-c", "other", *WORDS[3:], "--out", "run", cwd=folder)
    assert done.code == 1
    assert "step_1.pt (1): none of its 2 tensors has a name and shape of the model" in done.stdout
