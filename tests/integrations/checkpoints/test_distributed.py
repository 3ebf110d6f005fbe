"""Checkpoints of torch.distributed.checkpoint, written by two processes and read in one; and metadata of ill will."""

import json
import pickle
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata

from eigenflow.integrations.checkpoints.formats.distributed import read_distributed
from eigenflow.integrations.checkpoints.formats.weights import UnreadableError
from eigenflow.integrations.checkpoints.listing import list_checkpoints
from integrations.checkpoints.test_formats import loaded, same
from integrations.checkpoints.written import adam_after, make_net, trained, write_torch
from two_processes import on_two_processes

# torch 2.13's own: it saves in one process where there is no group, and says that of its private types.
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning"),
]


def write_from_both(rank: int, folder: str) -> None:
    """Run on each of two processes: DTensor shards in several layouts, as the trainers leave them."""
    from torch.distributed.checkpoint import HuggingFaceStorageWriter
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    root, state = Path(folder), trained(5).state_dict()
    sharded = {
        name: distribute_tensor(t, mesh, [Replicate() if t.ndim == 0 else Shard(t.ndim - 1)])
        for name, t in state.items()
    }
    # torchtitan: names of the model at the top, beside the optimizer's and objects.
    optimizer = {f"optimizer.state.{name}.exp_avg": torch.zeros_like(t) for name, t in sharded.items() if t.ndim}
    dcp.save(
        sharded | optimizer | {"train_state": {"step": 70, "x": object.__name__}}, checkpoint_id=root / "titan/step-70"
    )
    # accelerate: a folder inside, names below `model.`.
    dcp.save({"model": sharded}, checkpoint_id=root / "accelerate/checkpoint-70/pytorch_model_fsdp_0")
    # A real FSDP model after an update, and the same one gathered.
    torch.manual_seed(0)
    model = trained(5).eval()
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    model(torch.ones(2, 4)).square().sum().backward()
    optimizer.step()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_state_dict

    own, of_optimizer = get_state_dict(model, optimizer)
    dcp.save({"app": {"model": own, "optim": of_optimizer}}, checkpoint_id=root / "fsdp/step_70")
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:
        torch.save(whole, root / "whole.pt")
    # Parts of safetensors.
    writer = HuggingFaceStorageWriter(str(root / "hugging/step-70"), save_distributed=True)
    dcp.save({n: t for n, t in sharded.items() if t.ndim}, storage_writer=writer)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    on_two_processes(__file__, "write_from_both", folder)
    return folder


@pytest.mark.parametrize("layout", ["titan", "accelerate"])
def test_parts_of_two_processes_are_put_together(layout, written):
    assert len(list((written / layout).rglob("*.distcp"))) == 2  # a part of each rank
    state, notes, listed = loaded(written / layout)
    same(state, trained(5))
    assert listed.step == 70
    assert "distributed checkpoint, 2 files" in listed.format
    assert layout == "titan" or "prefix 'model.' taken off the names" in notes


def test_a_model_under_fsdp_after_an_update(written):
    state, notes, _ = loaded(written / "fsdp")
    expected = torch.load(written / "whole.pt", weights_only=True)
    assert not torch.equal(expected["head.weight"], trained(5).head.weight)
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert "prefix 'app.model.' taken off the names" in notes


def test_parts_of_safetensors(written):
    state, _, _ = loaded(written / "hugging")
    expected = trained(5).state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in state if expected[name].ndim)


def test_torch_itself_reads_the_same(written, tmp_path):
    """PyTorch's own conversion to one file is the oracle."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    dcp_to_torch_save(written / "accelerate/checkpoint-70/pytorch_model_fsdp_0", tmp_path / "whole_70.pt")
    state, _, _ = loaded(tmp_path)
    ours, _, _ = loaded(written / "accelerate")
    assert all(torch.equal(state[name], ours[name]) for name in state)


def saved(path, model=None, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": (model or trained(5)).state_dict()} | more, checkpoint_id=path)
    return path


def test_one_process_optimizer_objects_and_lightning(tmp_path):
    folder = saved(tmp_path / "epoch=1-step=70.ckpt", optim=adam_after(make_net(), 2))
    write_torch(folder / "meta.pt", {"global_step": 71, "epoch": 1})
    state, _, listed = loaded(tmp_path)
    same(state, trained(5))
    assert listed.step == 71  # Lightning keeps the number itself beside the weights


def test_olmo_keeps_the_model_in_a_folder_inside(tmp_path):
    saved(tmp_path / "step70/model_and_optim")
    write_torch(tmp_path / "step70/train/rank0.pt", {"global_step": 70})
    state, _, listed = loaded(tmp_path)
    same(state, trained(5))
    assert listed.step == 70


def reason(folder):
    with pytest.raises(UnreadableError) as caught:
        read_distributed(folder)
    return str(caught.value)


@pytest.mark.rejects
def test_files_that_are_missing_or_cut_off(tmp_path):
    folder = saved(tmp_path / "step_5")
    (part,) = folder.glob("*.distcp")
    whole = part.read_bytes()
    part.write_bytes(whole[:-100])
    assert "truncated" in reason(folder)
    damaged = bytearray(whole)
    damaged[40:400] = bytes(360)
    part.write_bytes(damaged)
    weights = read_distributed(folder)
    with pytest.raises(UnreadableError, match="corrupt"):
        [weights.tensor(name) for name in weights.entries]
    part.unlink()
    assert "1 of 1 files of parts are missing: __0_0.distcp" in reason(folder)
    part.write_bytes(whole)
    (folder / ".metadata").rename(folder / ".metadata.tmp")
    assert "no .metadata: the writing was cut off" in reason(folder)
    ((path, step, told),) = list_checkpoints(tmp_path).left_out
    assert (path.name, step) == ("step_5", 5)
    assert "no .metadata" in told


class Hostile:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.place}",)


@pytest.mark.rejects
@pytest.mark.parametrize("protocol", range(2, 6))
def test_metadata_that_asks_for_other_classes_is_refused_by_name(protocol, tmp_path):
    folder = saved(tmp_path / "step_5")
    original = pickle.loads((folder / ".metadata").read_bytes())
    for where in ("planner_data", "storage_meta", "state_dict_metadata"):
        content = pickle.loads(pickle.dumps(original))
        value = Hostile(tmp_path / "ran")
        setattr(content, where, {"x": value} if where == "state_dict_metadata" else value)
        (folder / ".metadata").write_bytes(pickle.dumps(content, protocol))
        told = reason(folder)
        assert "posix.system" in told, told
        assert "could run code" in told
    (folder / ".metadata").write_bytes(pickle.dumps(Hostile(tmp_path / "ran"), protocol))
    assert "posix.system" in reason(folder)
    assert not (tmp_path / "ran").exists()


GADGETS = [
    b"cbuiltins\neval\n(S'1'\ntR.",
    b"c__builtin__\ngetattr\n(S'1'\nS'x'\ntR.",
    b"ctorch.distributed.checkpoint.metadata\nos.system\n(S'true'\ntR.",
    b"ctorch\nload\n(S'x'\ntR.",
    b"ctorch.distributed.checkpoint.metadata\nMetadata.__init__.__globals__\n.",
    b"\x80\x04\x8c\x05torch\x8c\x04hub.\x93.",
    b"Pfoo\n.",
    b"ctorch\nSize\n((I1\nI-5\nltR.",
    b"ctorch\nSize\n(S'abc'\ntR.",
    b"(lp0\n.",
    b"",
    b"\x80\x05garbage",
    b"r\xff\xff\xff\x7fN.",
]


@pytest.mark.rejects
@pytest.mark.parametrize("content", GADGETS)
def test_no_pickle_of_ill_will_gets_anywhere(content, tmp_path):
    (tmp_path / ".metadata").write_bytes(content)
    assert ".metadata" in reason(tmp_path)


@pytest.mark.rejects
def test_metadata_that_points_elsewhere_or_lies_about_sizes(tmp_path):
    folder = saved(tmp_path / "step_5")
    original = (folder / ".metadata").read_bytes()

    def changed(change):
        content = pickle.loads(original)
        change(content)
        (folder / ".metadata").write_bytes(pickle.dumps(content))
        return reason(folder)

    def point(name):
        return lambda content: [setattr(info, "relative_path", name) for info in content.storage_data.values()]

    for name in ("../../../etc/passwd", "/etc/passwd", "a/../../b", "C:\\x"):
        assert "points outside of the folder" in changed(point(name))
    name = "model.head.weight"
    assert "lists 18 of the" in changed(
        lambda content: setattr(content.state_dict_metadata[name], "size", torch.Size([2**40, 2**20]))
    )
    assert "does not tell where" in changed(lambda content: content.storage_data.clear())
    assert "only objects" in changed(
        lambda content: content.state_dict_metadata.update(
            dict.fromkeys(content.state_dict_metadata, BytesStorageMetadata())
        )
    )
    (folder / ".metadata").write_bytes(pickle.dumps(Metadata({}, None, None)))
    assert "lists no tensors" in reason(folder)


@pytest.mark.rejects
def test_layouts_of_other_programs_are_named_with_what_to_do(tmp_path):
    zero = tmp_path / "a/global_step5"
    write_torch(zero / "mp_rank_00_model_states.pt", {"module": {}})
    write_torch(zero / "zero_pp_rank_0_mp_rank_00_optim_states.pt", {"x": 1})
    trainer = tmp_path / "b/checkpoint-5"
    write_torch(trainer / "global_step5/zero_pp_rank_0_mp_rank_00_model_states.pt", {"module": {}})
    (trainer / "trainer_state.json").write_text(json.dumps({"global_step": 5}))
    megatron = tmp_path / "c/iter_0000005"
    write_torch(megatron / "mp_rank_00/model_optim_rng.pt", {"x": 1})
    neox = tmp_path / "d/global_step5"
    write_torch(neox / "layer_00-model_00-model_states.pt", {"x": 1})
    ranks = tmp_path / "e"
    for rank in range(2):
        write_torch(ranks / f"step_5_rank{rank}.pt", {"x": torch.ones(1)})
    for folder, words in zip(
        "abcde",
        ("zero_to_fp32.py", "zero_to_fp32.py", "torch_dist", "convert_neox_to_hf", "2 files of ranks"),
        strict=True,
    ):
        listing = list_checkpoints(tmp_path / folder)
        ((_, step, told),) = listing.left_out
        assert step == 5
        assert words in told, told
        assert not listing.checkpoints
