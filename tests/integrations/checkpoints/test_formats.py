"""The same weights in every form that people have: bit for bit the same tensors, the step, and what is said."""

import argparse
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from eigenflow.integrations.checkpoints import measure_checkpoints
from eigenflow.integrations.checkpoints.bench import Bench, Recipe
from eigenflow.integrations.checkpoints.formats.weights import UnreadableError
from eigenflow.integrations.checkpoints.listing import list_checkpoints
from integrations.checkpoints.written import (
    Net,
    adam_after,
    data,
    make_net,
    prefixed,
    trained,
    write_shards,
    write_torch,
)


def bench(path, **options):
    found = list_checkpoints(path)
    recipe = {"model": make_net, "folder": path, "adapter": None, "probe": data(), "loss": None, "output": None}
    recipe |= {"entry": None, "dtype": torch.float64, "memory_budget": None}
    return Bench(Recipe(**recipe | options)), found


def loaded(path, **options):
    """The state of the model after the only checkpoint below a path was put into it; notes, and what was listed."""
    made, listing = bench(path, **options)
    assert len(listing.checkpoints) == 1, listing
    notes = made.load(listing.checkpoints[0].found)
    return made.model.state_dict(), notes, listing.checkpoints[0]


def same(state, model):
    expected = model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def plain(path, model):
    write_torch(path / "step_70.pt", model.state_dict())


def nanogpt(path, model):
    content = {"model": prefixed(model, "_orig_mod."), "optimizer": adam_after(make_net(), 2), "iter_num": 70}
    write_torch(path / "ckpt.pt", content | {"best_val_loss": torch.tensor(1e9), "config": {"a": 1}, "model_args": {}})


def timm(path, model):
    content = {"epoch": 7, "arch": "net", "state_dict": prefixed(model, "module."), "metric": 0.5, "version": 2}
    write_torch(path / "checkpoint-7.pth.tar", content | {"state_dict_ema": trained(99).state_dict()})


def fairseq(path, model):
    content = {"args": None, "model": model.state_dict(), "optimizer_history": [{"num_updates": 70, "x": "y"}]}
    write_torch(path / "checkpoint_3_70.pt", content | {"last_optimizer_state": adam_after(make_net(), 2)})


def lightning(path, model):
    content = {"epoch": 3, "global_step": 70, "pytorch-lightning_version": "2.6.0", "loops": {"fit_loop": {}}}
    state = prefixed(model, "net.") | {"criterion.weight": torch.ones(3)}
    content |= {"state_dict": state, "optimizer_states": [adam_after(make_net(), 2)], "lr_schedulers": []}
    write_torch(path / "epoch=3-step=70.ckpt", content | {"callbacks": {"ModelCheckpoint": {"best_model_path": "x"}}})


def compiled_ddp_lightning(path, model):
    write_torch(path / "last.ckpt", {"state_dict": prefixed(model, "model._orig_mod.module."), "global_step": 70})


def fsdp_inside(path, model):
    names = {
        name: f"_fsdp_wrapped_module.{name.replace('body.', 'body._fsdp_wrapped_module._checkpoint_wrapped_module.')}"
        for name in model.state_dict()
    }
    state = {names[name]: tensor for name, tensor in model.state_dict().items()}
    write_torch(path / "model_step70.pt", {"model_state_dict": state, "step": torch.tensor(70)})


def ddp_of_a_part(path, model):
    state = {name.replace("body.", "body.module."): tensor for name, tensor in model.state_dict().items()}
    write_torch(path / "iter_0000070.pth", {"meta": {"iter": 70, "epoch": 1}, "state_dict": state})


def detectron(path, model):
    write_torch(path / "model_0000070.pth", {"model": model.state_dict(), "iteration": 70, "optimizer": {}})


def composer(path, model):
    state = {"state": {"model": prefixed(model, "module."), "timestamp": {"Timestamp": {"batch": 70, "epoch": 0}}}}
    write_torch(path / "ep0-ba70-rank0.pt", state | {"rng": [{"python": [1]}]})


def parts(path, model):
    body = {n.removeprefix("body."): t for n, t in model.state_dict().items() if n.startswith("body.")}
    head = {n.removeprefix("head."): t for n, t in model.state_dict().items() if n.startswith("head.")}
    write_torch(path / "checkpoint70.tar", {"body": body, "head": head, "step": 70})


def legacy(path, model):
    torch.save({"net": model.state_dict(), "global_step": 70}, path / "x.pth", _use_new_zipfile_serialization=False)


def parameters(path, model):
    state = {name: nn.Parameter(t) if t.is_floating_point() else t for name, t in model.state_dict().items()}
    write_torch(path / "70.pt", state)


def one_safetensors(path, model):
    save_file(model.state_dict(), path / "model-00070.safetensors")


def safetensors_with_step(path, model):
    save_file(model.state_dict(), path / "final.safetensors", metadata={"format": "pt", "step": "70"})


def trainer(path, model):
    (path / "checkpoint-70").mkdir()
    save_file(model.state_dict(), path / "checkpoint-70/model.safetensors")
    (path / "checkpoint-70/trainer_state.json").write_text(json.dumps({"global_step": 70, "log_history": []}))
    write_torch(path / "checkpoint-70/optimizer.pt", adam_after(make_net(), 2))
    write_torch(path / "checkpoint-70/training_args.bin", {"x": 1})
    write_torch(path / "checkpoint-70/rng_state.pth", {"cpu": torch.zeros(4, dtype=torch.uint8)})


def bins(path, model):
    write_torch(path / "checkpoint-70/pytorch_model.bin", model.state_dict())


def sharded(path, model):
    write_shards(path / "step_70", model)


def sharded_bins(path, model):
    write_shards(path / "checkpoint-70", model, kind="bin", stem="pytorch_model")


def shards_in_one_folder(path, model):
    write_shards(path, model, stem="step70")
    next(path.glob("*.json")).unlink()


def torchtune(path, model):
    state = list(model.state_dict().items())
    for index in range(2):
        write_torch(path / f"hf_model_{index + 1:04d}_70.pt", dict(state[index::2]))


def litgpt(path, model):
    write_torch(path / "step-00000070/lit_model.pth", {"model": model.state_dict()})


def nanochat(path, model):
    write_torch(path / "model_000070.pt", prefixed(model, "_orig_mod."))
    write_torch(path / "optim_000070.pt", adam_after(make_net(), 3))
    (path / "meta_000070.json").write_text(json.dumps({"step": 70, "val_bpb": 1.0}))


def guided_diffusion(path, model):
    write_torch(path / "model000070.pt", model.state_dict())
    write_torch(path / "opt000070.pt", adam_after(make_net(), 3))


def adam_counts(path, model):
    write_torch(
        path / "weights.pth", {"model": model.state_dict(), "optimizer": adam_after(make_net(), 70), "epoch": 2}
    )


FORMS = [
    plain, nanogpt, timm, fairseq, lightning, compiled_ddp_lightning, fsdp_inside, ddp_of_a_part, detectron, composer,
    parts, legacy, parameters, one_safetensors, safetensors_with_step, trainer, bins, sharded, sharded_bins,
    shards_in_one_folder, torchtune, litgpt, nanochat, guided_diffusion, adam_counts,
]  # fmt: skip


@pytest.mark.parametrize("write", FORMS, ids=lambda one: one.__name__)
def test_every_form_gives_the_same_tensors_and_its_step(write, tmp_path):
    model = trained(5)
    write(tmp_path, model)
    state, _, listed = loaded(tmp_path)
    same(state, model)
    assert listed.step == (7 if write is timm else 70)


def test_spectra_are_the_same_bit_for_bit_whatever_the_form(tmp_path):
    """On one thread the same weights make the same numbers."""
    model, found = trained(5), []
    for write in (plain, nanogpt, sharded, trainer, lightning):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(folder, model)
        record = measure_checkpoints(folder, make_net, data(), tmp_path / f"{write.__name__}-run", modes=None)
        assert record.steps == (70,)
        from eigenflow import open_run

        found.append(open_run(record.path).measurements["eigenvalue"].values)
    assert all(np.array_equal(one, found[0]) for one in found)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (nanogpt, "prefix 'model._orig_mod.' taken off"),
        (timm, "prefix 'state_dict.module.' taken off"),
        (lightning, "prefix 'state_dict.net.' taken off.*1 tensors outside.*criterion.weight"),
        (fsdp_inside, "'_fsdp_wrapped_module.', '_checkpoint_wrapped_module.' taken off"),
        (ddp_of_a_part, "'module.' taken off"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_was_taken_off_names_is_said(write, words, tmp_path):
    import re

    write(tmp_path, trained(5))
    assert re.search(words, "; ".join(loaded(tmp_path)[1]))


def test_averages_are_taken_only_when_asked_for(tmp_path):
    timm(tmp_path, trained(5))
    same(loaded(tmp_path)[0], trained(5))
    same(loaded(tmp_path, entry="state_dict_ema")[0], trained(99))
    with pytest.raises(UnreadableError, match=r"no entry 'teacher'; it has.*'state_dict', 'state_dict_ema'"):
        loaded(tmp_path, entry="teacher")
    write_torch(tmp_path / "b/ckpt_1.pt", {"ema": trained(1).state_dict(), "step": 1})
    with pytest.raises(UnreadableError, match=r"only 'ema' fits the model; choose it with --entry"):
        loaded(tmp_path / "b")


def test_two_parts_that_fit_are_not_guessed_between(tmp_path):
    write_torch(tmp_path / "1.pt", {"student": trained(1).state_dict(), "teacher": trained(2).state_dict()})
    with pytest.raises(UnreadableError, match=r"several parts of it fit the model: 'student', 'teacher'"):
        loaded(tmp_path)
    same(loaded(tmp_path, entry="teacher")[0], trained(2))


def test_a_part_that_stands_deeper_in_the_model(tmp_path):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = make_net()

        def forward(self, x):
            return self.inner(x)

    write_torch(tmp_path / "1.pt", trained(3).state_dict())
    state, notes, _ = loaded(tmp_path, model=Outer)
    same({name.removeprefix("inner."): t for name, t in state.items()}, trained(3))
    assert "prefix 'inner.' put before the names" in notes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_no_digit_is_lost_between_types(dtype, tmp_path):
    """Weights are measured as they are stored, in whatever type the factory's model is."""
    model = trained(4).to(dtype)
    write_torch(tmp_path / "1.pt", model.state_dict())
    for own in (torch.float32, torch.bfloat16):
        state, notes, _ = loaded(tmp_path, model=lambda own=own: make_net().to(own))
        for name, tensor in model.state_dict().items():
            assert torch.equal(state[name].double(), tensor.double())
        assert any(str(dtype).removeprefix("torch.") in note for note in notes)


def test_tied_weights_may_be_stored_once_twice_or_apart(tmp_path):
    class Tied(nn.Module):
        def __init__(self, tie=True):
            super().__init__()
            self.wte, self.lm_head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
            if tie:
                self.lm_head.weight = self.wte.weight

        def forward(self, x):
            return self.lm_head(self.wte(x))

    weight = torch.randn(5, 4)
    batch = {"inputs": torch.arange(4)[:, None], "targets": torch.arange(4)[:, None]}
    for kept in ({"wte.weight": weight}, {"lm_head.weight": weight}, {"wte.weight": weight, "lm_head.weight": weight}):
        state, notes, _ = loaded(write_torch(tmp_path / "1.pt", kept), model=Tied, probe=batch)
        assert torch.equal(state["wte.weight"], weight)
        assert torch.equal(state["lm_head.weight"], weight)
        assert len(kept) == 2 or any("tied, not stored" in note for note in notes)
    apart = {"wte.weight": weight, "lm_head.weight": weight + 1}
    with pytest.raises(UnreadableError, match=r"are one tensor in the model, but differ"):
        loaded(write_torch(tmp_path / "1.pt", apart), model=Tied, probe=batch)
    with pytest.raises(UnreadableError, match=r"missing: 'lm_head.weight'.*tie it in the factory"):
        loaded(write_torch(tmp_path / "1.pt", {"wte.weight": weight}), model=lambda: Tied(tie=False), probe=batch)


def test_constants_of_libraries_and_counters_are_no_reason_to_refuse(tmp_path):
    state = trained(5).state_dict()
    extra = {"body.attn.masked_bias": torch.tensor(-1e4), "scale": torch.ones(3), "step": torch.tensor(9)}
    del state["body.2.num_batches_tracked"]
    path = write_torch(tmp_path / "a.pt", state | extra)
    found, notes, listed = loaded(path)
    assert torch.equal(found["head.weight"], state["head.weight"])
    assert listed.step == 9
    assert any("'body.2.num_batches_tracked' not stored" in note for note in notes)
    assert any("constants left out" in note for note in notes)


class Custom:
    """What people pickle beside their weights."""


def refused(path):
    """The reason for which the only thing below a path is left out."""
    listing = list_checkpoints(path)
    assert not listing.checkpoints
    ((_, _, reason),) = listing.left_out
    return reason


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"args": argparse.Namespace(lr=1), "model": {}}, ["argparse.Namespace", "could run code", "add_safe_globals"]),
        ({"x": Custom(), "model": {}}, ["Custom", "add_safe_globals"]),
        ({"model": make_net()}, ["Net", "whole module", "state_dict"]),
        ({"best": np.float64(1.0), "model": {}}, ["numpy", "float()"]),
        (torch.ones(3), ["one Tensor"]),
        ({"a": 1}, ["no named tensors"]),
        ("text", ["one str"]),
    ],
)
def test_objects_are_named_and_never_opened(content, words, tmp_path):
    reason = refused(write_torch(tmp_path / "step_5.pt", content))
    assert all(word in reason for word in words), reason


def test_what_the_user_allows_is_read(tmp_path):
    path = write_torch(tmp_path / "step_5.pt", {"args": argparse.Namespace(lr=1), "model": trained(5).state_dict()})
    with torch.serialization.safe_globals([argparse.Namespace]):
        same(loaded(path)[0], trained(5))


def test_no_code_of_a_file_is_run(tmp_path):
    import os
    import pickle

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    write_torch(tmp_path / "a/step_1.pt", {"model": Hostile()})
    (tmp_path / "b").mkdir()
    (tmp_path / "b/step_1.pt").write_bytes(pickle.dumps({"model": Hostile()}))
    assert "posix.system" in refused(tmp_path / "a")
    assert "not opened" in refused(tmp_path / "b") or "posix.system" in refused(tmp_path / "b")
    assert not (tmp_path / "ran").exists()


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "truncated"),
        (lambda path: path.write_bytes(bytes(1000)), "zeros"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><html>"), "web page"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "HDF5"),
        (lambda path: path.write_bytes((20240326).to_bytes(4, "little") + bytes(1000)), "llm.c"),
        (lambda path: path.write_bytes(b"GGUF" + bytes(100)), "GGUF"),
        (
            lambda path: path.write_bytes(b"\x00\x01\x02garbage" * 50),
            "truncated, corrupt|plain pickle|truncated or corrupt",
        ),
    ],
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_damaged_files_are_named_with_the_reason(damage, words, suffix, tmp_path):
    import re

    path = tmp_path / f"step_5.{suffix}"
    save_file(trained(5).state_dict(), path) if suffix == "safetensors" else write_torch(path, trained(5).state_dict())
    damage(path)
    assert re.search(words, refused(path))


@pytest.mark.rejects
def test_shards_that_are_missing_or_twice_are_named(tmp_path):
    folder = write_shards(tmp_path / "step_5", trained(5))
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "1 of 3 shards are missing: model-00002-of-00003.safetensors" in refused(folder)
    (folder / "model.safetensors.index.json").unlink()
    assert "1 of 3 shards are missing: model-00002-of-00003.safetensors" in refused(folder)
    other = write_shards(tmp_path / "step_6", trained(5))
    index = other / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001-of-00003.safetensors", "../../etc/passwd", 1))
    assert "points outside of the folder" in refused(other)
    index.write_text("{")
    assert "index 'model.safetensors.index.json' cannot be read" in refused(other)


@pytest.mark.rejects
def test_weights_of_another_model_are_named(tmp_path):
    wide = write_torch(tmp_path / "wide/1.pt", Net(width=7).state_dict())
    with pytest.raises(UnreadableError, match=r"other shapes: 'body.0.weight' is \(7, 4\), in the model \(6, 4\)"):
        loaded(wide)
    other = write_torch(tmp_path / "other/1.pt", nn.Linear(9, 9).state_dict())
    with pytest.raises(UnreadableError, match=r"none of its 2 tensors has a name and shape of the model"):
        loaded(other)
    state = trained(5).state_dict()
    with pytest.raises(UnreadableError, match=r"no place for: 'extra.weight'"):
        loaded(write_torch(tmp_path / "more/1.pt", state | {"extra.weight": torch.ones(2, 2)}))
    del state["head.bias"]
    with pytest.raises(UnreadableError, match=r"1 are missing: 'head.bias'"):
        loaded(write_torch(tmp_path / "less/1.pt", state))
    empty = {name: t if "head" in name else torch.empty(0) for name, t in trained(5).state_dict().items()}
    with pytest.raises(UnreadableError, match=r"is empty: saved under ZeRO-3 or FSDP"):
        loaded(write_torch(tmp_path / "zero/1.pt", empty))
    quantised = {n: t.to(torch.int8) if "weight" in n else t for n, t in trained(5).state_dict().items()}
    with pytest.raises(UnreadableError, match=r"stored as torch.int8"):
        loaded(write_torch(tmp_path / "int8/1.pt", quantised))
    diverged = trained(5)
    diverged.head.weight.data[0, 0] = float("nan")
    with pytest.raises(UnreadableError, match=r"'head.weight' holds NaN or infinite"):
        loaded(write_torch(tmp_path / "nan/1.pt", diverged.state_dict()))


@pytest.mark.rejects
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # people have such files
def test_torchscript_and_archives_are_told_what_to_do(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "step_5.pt")
    assert "TorchScript" in refused(tmp_path)


def test_the_model_is_left_alone_by_a_checkpoint_that_does_not_fit(tmp_path):
    made, listing = bench(write_torch(tmp_path / "1.pt", trained(5).state_dict()))
    made.load(listing.checkpoints[0].found)
    wrong = trained(6).state_dict()
    del wrong["head.bias"]
    bad = list_checkpoints(write_torch(tmp_path / "2.pt", wrong)).checkpoints[0].found
    with pytest.raises(UnreadableError):
        made.load(bad)
    same(made.model.state_dict(), trained(5))
