"""Files with bytes changed, cut and repeated at random: every one is read, or named as unreadable, and nothing else."""

import random

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from eigenflow.integrations.checkpoints.folder import find_checkpoints
from eigenflow.integrations.checkpoints.formats.weights import UnreadableError
from eigenflow.integrations.checkpoints.loading import load_weights
from eigenflow.integrations.checkpoints.reading import open_weights, step_of
from integrations.checkpoints.written import adam_after, make_net, trained, write_shards, write_torch

# torch 2.13's own, where there is no group of processes.
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
ROUNDS = 150


def torch_file(folder):
    return write_torch(folder / "step_5.pt", {"model": trained(5).state_dict(), "optimizer": adam_after(make_net(), 1)})


def legacy_file(folder):
    torch.save(trained(5).state_dict(), folder / "step_5.pt", _use_new_zipfile_serialization=False)
    return folder / "step_5.pt"


def safetensors_file(folder):
    save_file(trained(5).state_dict(), folder / "step_5.safetensors")
    return folder / "step_5.safetensors"


def index(folder):
    return write_shards(folder / "step_5", trained(5)) / "model.safetensors.index.json"


def metadata(folder):
    dcp.save(trained(5).state_dict(), checkpoint_id=folder / "step_5")
    return folder / "step_5/.metadata"


def part(folder):
    dcp.save(trained(5).state_dict(), checkpoint_id=folder / "step_5")
    return folder / "step_5/__0_0.distcp"


def state(folder):
    write_torch(folder / "checkpoint-5/pytorch_model.bin", trained(5).state_dict())
    path = folder / "checkpoint-5/trainer_state.json"
    path.write_text('{"global_step": 5, "log_history": [{"step": 5, "learning_rate": 1e-3, "loss": 2.0}]}')
    return path


def changed(content, rng):
    content = bytearray(content)
    kind = rng.randrange(5)
    for _ in range(rng.choice((1, 1, 3, 30))):
        place = rng.randrange(len(content))
        if kind == 0:
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[place] = rng.choice((0, 0xFF, 0x80, 0x2E, 0x52))
        elif kind == 2:
            content[place : place + rng.randrange(64)] = b""
        elif kind == 3:
            content[place:place] = content[place : place + rng.randrange(64)]
        else:
            del content[place:]
        if not content:
            break
    return bytes(content)


@pytest.mark.parametrize(
    "write", [torch_file, legacy_file, safetensors_file, index, metadata, part, state], ids=lambda one: one.__name__
)
def test_whatever_bytes_there_are(write, tmp_path):
    path = write(tmp_path)
    original, rng, refused = path.read_bytes(), random.Random(7), 0
    for _ in range(ROUNDS):
        path.write_bytes(changed(original, rng))
        found, _ = find_checkpoints(tmp_path)
        assert len(found) == 1
        model = make_net()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        try:
            weights = open_weights(found[0])
            step_of(found[0], weights)
            load_weights(model, weights)
        except UnreadableError:
            refused += 1
            is_untouched = all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        else:
            is_untouched = True
        assert is_untouched
    # A changed digit of a weight is a weight too; logs are read where they can be, and are no reason to refuse.
    assert refused > ROUNDS / 4 or write is state
