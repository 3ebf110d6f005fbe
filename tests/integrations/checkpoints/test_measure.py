"""Records of checkpoints: equal to what the live model gave, gone on with after a kill, side by side in processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from typer.testing import CliRunner

import eigenflow as ef
from eigenflow.cli.app import app
from eigenflow.core.errors import ArgumentError, FileError, ModelError, RunFolderError
from eigenflow.integrations.checkpoints import measure_checkpoints, plan_checkpoints
from eigenflow.integrations.language import language_probe
from eigenflow.report import analyse, write_report
from eigenflow.trajectory import measure_state
from integrations.checkpoints.written import data, make_net, trained, write_torch

# Same weights, same arithmetic on one thread: differences come from sums in another order alone.
EXACT = 1e-10


def make_gpt(**settings):
    small = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8, "vocab_size": 11}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**small | settings, bos_token_id=0, eos_token_id=0))


def batch():
    ids = torch.randint(0, 11, (4, 5), generator=torch.Generator().manual_seed(2))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    """20 checkpoints of a small GPT in training, in shards, with a tied head; and the spectra when they were saved."""
    folder = tmp_path_factory.mktemp("gpt")
    torch.manual_seed(0)
    model, one = make_gpt(), batch()
    probe = language_probe(model, one)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    live = {}
    for index in range(20):
        model.save_pretrained(folder / f"checkpoint-{5 * index}", max_shard_size="2KB")
        live[5 * index] = probe.measure(drift=False, method="dense").eigenvalues.numpy()
        for _ in range(5):
            optimizer.zero_grad()
            model(**one).loss.backward()
            optimizer.step()
    cut = sorted((folder / "checkpoint-30").glob("*.safetensors"))[1]
    cut.write_bytes(cut.read_bytes()[:-64])
    sorted((folder / "checkpoint-65").glob("*.safetensors"))[0].unlink()
    return folder, live


def test_twenty_checkpoints_of_a_gpt(gpt, tmp_path):
    folder, live = gpt
    assert len(list((folder / "checkpoint-0").glob("*.safetensors"))) > 2
    record = measure_checkpoints(folder, make_gpt, batch(), tmp_path / "run", modes=None)
    assert record.steps == tuple(step for step in range(0, 100, 5) if step not in (30, 65))
    run = ef.open_run(record.path)
    for step in record.steps:
        found = run.measurements["eigenvalue"].sel(step=step).values
        np.testing.assert_allclose(found, live[step], rtol=0, atol=EXACT * live[step][0])
    told = {row.name: row.reason for row in record.left_out}
    assert "truncated or corrupt" in told["checkpoint-30"]
    assert "shards are missing: model-00001" in told["checkpoint-65"]
    assert [gap.step for gap in run.gaps] == [30, 65]
    assert all(name in text for name, text in zip(told, (gap.reason for gap in run.gaps), strict=True))
    assert run.status == "complete with gaps"
    assert "'lm_head.weight' tied, not stored" in record.notes
    assert "checkpoint-30 (30): " in repr(record)
    analysis = analyse(run)
    undecided = {row.claim: row.reason for row in analysis.claims if row.verdict == "undecided"}
    assert "update" in undecided["C2"] and "update" in undecided["C3"]
    page = write_report(analysis).read_text(encoding="utf-8")
    assert "record of states" in page and "checkpoint-30" in page and "checkpoint-65" in page


def test_the_model_comes_from_the_folder_where_it_says_which(gpt, tmp_path):
    folder, live = gpt
    record = measure_checkpoints(folder / "checkpoint-95", None, batch(), tmp_path / "run", modes=None)
    found = ef.open_run(record.path).measurements["eigenvalue"].sel(step=95).values
    np.testing.assert_allclose(found, live[95], rtol=0, atol=EXACT * live[95][0])


def write_steps(folder, steps=range(6)):
    for step in steps:
        write_torch(folder / f"step_{step}.pt", trained(step + 1).state_dict())
    return folder


def spectra(path):
    run = ef.open_run(path)
    return run.measurements["eigenvalue"].values


def test_only_what_is_missing_is_measured_again(tmp_path):
    folder = write_steps(tmp_path / "c", range(3))
    first = measure_checkpoints(folder, make_net, data(), tmp_path / "run")
    assert (first.measured, first.resumed) == (3, 0)
    again = measure_checkpoints(folder, make_net, data(), tmp_path / "run")
    assert (again.measured, again.resumed, again.steps) == (0, 3, (0, 1, 2))
    write_steps(folder, range(3, 6))
    more = measure_checkpoints(folder, make_net, data(), tmp_path / "run")
    assert (more.measured, more.resumed, more.steps) == (3, 3, tuple(range(6)))
    measure_checkpoints(folder, make_net, data(), tmp_path / "whole")
    assert np.array_equal(spectra(tmp_path / "run"), spectra(tmp_path / "whole"))
    write_torch(folder / "late_step_1000.pt", trained(1).state_dict())
    (folder / "step_2.pt").rename(folder / "step_7.pt")
    late = measure_checkpoints(folder, make_net, data(), tmp_path / "run")
    assert late.steps == (*range(6), 7, 1000)


def test_a_checkpoint_between_recorded_ones_is_named(tmp_path):
    folder = write_steps(tmp_path / "c", (0, 2))
    measure_checkpoints(folder, make_net, data(), tmp_path / "run")
    write_steps(folder, (1,))
    record = measure_checkpoints(folder, make_net, data(), tmp_path / "run")
    assert record.steps == (0, 2)
    ((name, reason),) = [(row.name, row.reason) for row in record.left_out]
    assert name == "step_1.pt"
    assert "lies between states that are in the record already" in reason


def test_processes_side_by_side_give_the_same_record(tmp_path):
    folder = write_steps(tmp_path / "c")
    (folder / "step_3.pt").write_bytes(b"")
    measure_checkpoints(folder, make_net, data(), tmp_path / "one")
    calls = []
    record = measure_checkpoints(
        folder, make_net, data(), tmp_path / "two", jobs=2, progress=lambda *told: calls.append(told)
    )
    assert record.steps == (0, 1, 2, 4, 5)
    assert np.array_equal(spectra(tmp_path / "one"), spectra(tmp_path / "two"))
    assert [(done, total, measured) for done, total, measured, _ in calls] == [(n, 5, n) for n in range(1, 6)]
    assert calls[-1][-1] == 0.0


def test_a_probe_of_ones_own_is_put_back(tmp_path):
    folder = write_steps(tmp_path / "c", range(2))
    model = make_net().eval()
    model.body.train(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    probe = ef.Probe(model, data()["inputs"], data()["targets"], "cross_entropy")
    measure_checkpoints(folder, None, probe, tmp_path / "run", modes=4)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    model.load_state_dict(trained(2).state_dict())
    expected = measure_state(probe, modes=4).eigenvalues[:4]
    assert np.array_equal(spectra(tmp_path / "run")[1], expected)


def test_holdout_losses_rates_and_times_are_recorded(tmp_path):
    held = data()
    held |= {"holdout_inputs": held["inputs"] + 0.1, "holdout_targets": held["targets"]}
    history = [{"step": k, "learning_rate": 1e-3, "loss": 2.0 / k} for k in range(1, 21)]
    for step in (10, 20):
        write_torch(tmp_path / f"c/checkpoint-{step}/pytorch_model.bin", trained(step).state_dict())
        content = {"global_step": step, "log_history": history[:step]}
        (tmp_path / f"c/checkpoint-{step}/trainer_state.json").write_text(json.dumps(content))
    record = measure_checkpoints(tmp_path / "c", make_net, held, tmp_path / "run")
    run = ef.open_run(tmp_path / "run")
    assert run.measurements["time"].values == pytest.approx([0.01, 0.02], rel=1e-12)
    assert list(run.losses["loss"]) == [0.2, 0.1]
    assert list(run.losses["learning_rate"]) == [1e-3, 1e-3]
    with torch.no_grad():
        model = trained(20).eval()
        expected = torch.nn.functional.cross_entropy(model(held["holdout_inputs"]), held["targets"])
    assert run.measurements["holdout_loss"].values[1] == pytest.approx(float(expected), rel=1e-6)  # float32 above
    assert "sum of 20 logged learning rates" in record.clock
    assert list(run.losses["checkpoint"]) == ["checkpoint-10", "checkpoint-20"]
    assert run.losses["read"][0] == "torch file; step from trainer_state.json"


def test_a_log_that_is_named_gives_the_clock(tmp_path, monkeypatch):
    """By the command too; a record that counts updates is not gone on with, and says what to do."""
    folder = write_steps(tmp_path / "c", (0, 5, 10))
    rows = [f"{k},{1 + 1 / k},0.01" for k in range(1, 11)]
    (tmp_path / "log.csv").write_text("\n".join(["step,loss,lr", *rows]))
    record = measure_checkpoints(folder, make_net, data(), tmp_path / "run", modes=4, log=tmp_path / "log.csv")
    run = ef.open_run(tmp_path / "run")
    assert record.clock == "sum of the learning rates of 'log.csv'" and run.clock == "learning rates"
    assert run.measurements["time"].values == pytest.approx([0.0, 0.05, 0.1], rel=1e-9)
    measure_checkpoints(folder, make_net, data(), tmp_path / "updates", modes=4)
    assert "eigenflow measure --log FILE" in ef.open_run(tmp_path / "updates").why_no_clock
    with pytest.raises(RunFolderError, match="whose times count updates, and would go on with sums of learning rates"):
        measure_checkpoints(folder, make_net, data(), tmp_path / "updates", modes=4, log=tmp_path / "log.csv")
    (tmp_path / "made.py").write_text("from integrations.checkpoints.written import data, make_net")
    monkeypatch.chdir(tmp_path)
    words = ["measure", "-c", "c", "--model", "made.py:make_net", "--probe", "made.py:data", "--log", "log.csv"]
    done = CliRunner().invoke(app, [*words, "--modes", "4", "--out", "by_command"])
    assert done.exit_code == 0, done.output
    assert np.array_equal(ef.open_run("by_command").measurements["time"], run.measurements["time"])


def test_test_batches_and_float32(tmp_path):
    torch.manual_seed(0)
    model = make_gpt()
    model.save_pretrained(tmp_path / "c/checkpoint-5")
    held = {f"holdout_{name}": tensor.flip(0) for name, tensor in batch().items()}
    held["holdout_labels"][:2] = -100
    measure_checkpoints(tmp_path / "c", make_gpt, batch() | held, tmp_path / "run", modes=8)
    with torch.no_grad():
        expected = model.eval()(**{name.removeprefix("holdout_"): tensor for name, tensor in held.items()}).loss
    found = ef.open_run(tmp_path / "run").measurements
    assert float(found["holdout_loss"][0]) == pytest.approx(float(expected), rel=1e-6)  # float32 above
    measure_checkpoints(tmp_path / "c", make_gpt, batch(), tmp_path / "run32", modes=8, dtype=torch.float32)
    # Eigenvalues of float32 are right to its rounding of the largest.
    largest = float(found["eigenvalue"][0, 0])
    np.testing.assert_allclose(spectra(tmp_path / "run32")[0], found["eigenvalue"][0], rtol=0, atol=1e-5 * largest)


def test_weights_that_transformers_renames_on_disk(tmp_path):
    """Experts are stored one by one, and lie in one tensor in memory."""
    settings = {
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_local_experts": 2,
        "vocab_size": 11,
        "max_position_embeddings": 8,
        "experts_implementation": "eager",
    }

    def make():
        return transformers.MixtralForCausalLM(transformers.MixtralConfig(**settings))

    torch.manual_seed(1)
    model = make()
    model.save_pretrained(tmp_path / "c/checkpoint-5")
    record = measure_checkpoints(tmp_path / "c", make, batch(), tmp_path / "run", modes=None)
    expected = language_probe(model, batch()).measure(drift=False, method="dense").eigenvalues
    np.testing.assert_allclose(spectra(tmp_path / "run")[0], expected, rtol=0, atol=EXACT * float(expected[0]))
    assert "weights renamed by transformers" in record.notes


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.19 asks for it
def test_adapters_on_their_base(tmp_path):
    from peft import LoraConfig, TaskType, get_peft_model

    def base():
        torch.manual_seed(3)
        return make_gpt()

    torch.manual_seed(4)
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    model, expected = get_peft_model(base(), config), []
    for step in (5, 10):
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(tmp_path / f"c/checkpoint-{step}", safe_serialization=True)
        expected.append(language_probe(model, batch()).measure(drift=False, method="dense").eigenvalues.numpy())
    record = measure_checkpoints(tmp_path / "c", base, batch(), tmp_path / "run", modes=None)
    for found, one in zip(spectra(tmp_path / "run"), expected, strict=True):
        np.testing.assert_allclose(found, one, rtol=0, atol=EXACT * one[0])
    assert record.steps == (5, 10)
    with pytest.raises(RunFolderError, match="base="):
        measure_checkpoints(tmp_path / "c", make_gpt, batch(), tmp_path / "run", modes=None)  # another base each time


KILLED = """
import sys
import torch
sys.path[:0] = {tests!r}, {source!r}
torch.set_num_threads(1)
from integrations.checkpoints.written import data, make_net
from eigenflow.integrations.checkpoints import measure_checkpoints
measure_checkpoints({folder!r}, make_net, data(), {out!r}, progress=lambda *told: print(told[0], flush=True))
"""


@pytest.mark.filterwarnings("ignore:.*was not written to its end")  # as told where the kill came in the middle of one
def test_killed_and_started_again(tmp_path):
    """SIGKILL at several moments; in the end the record is that of one go, bit for bit."""
    folder = write_steps(tmp_path / "c", range(12))
    here = Path(__file__).parents[2]
    text = KILLED.format(
        tests=str(here), source=str(Path(ef.__file__).parents[1]), folder=str(folder), out=str(tmp_path / "run")
    )
    for wait in (0.0, 0.05):
        with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, env=os.environ) as process:
            process.stdout.readline()
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
    record = measure_checkpoints(folder, make_net, data(), tmp_path / "run")
    assert record.steps == tuple(range(12))
    assert record.resumed > 0
    measure_checkpoints(folder, make_net, data(), tmp_path / "whole")
    one, other = (ef.open_run(tmp_path / name).measurements for name in ("run", "whole"))
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, other[name].values)


def test_what_it_would_do_and_what_it_costs(gpt):
    folder, _ = gpt
    plan = plan_checkpoints(folder, make_gpt, batch(), modes=8)
    assert plan.cost.checkpoints == 18
    assert plan.cost.rows == 4 * 4 * 11
    assert plan.cost.parameters == sum(p.numel() for p in make_gpt().parameters())
    assert len(repr(plan).splitlines()) <= 15
    told = json.loads(json.dumps(plan.to_dict()))
    assert [one["step"] for one in told["checkpoints"]] == [s for s in range(0, 100, 5) if s not in (30, 65)]


@pytest.mark.rejects
def test_what_cannot_be_measured_is_said_before_anything_is_written(tmp_path):
    folder, out = write_steps(tmp_path / "c", range(2)), tmp_path / "run"
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = [
        (
            (empty, make_net, data()),
            ArgumentError,
            r"`checkpoints` holds none that can be read. No file looks like one",
        ),
        ((tmp_path / "none", make_net, data()), FileError, "does not exist"),
        ((folder, lambda: 3, data()), ModelError, r"`model` must return a torch.nn.Module, but returns int"),
        ((folder, lambda: type(make_net()), data()), ModelError, r"gives the class Net; it must return a model"),
        ((folder, lambda a: a, data()), ArgumentError, r"`model`: <lambda>\(a\) cannot be called so"),
        (
            (folder, lambda: 1 / 0, data()),
            ArgumentError,
            r"`model`: <lambda>\(\) fails with ZeroDivisionError: division",
        ),
        ((folder, "no_module_of_ours:make", data()), ArgumentError, r"module 'no_module_of_ours', which is neither"),
        ((folder, "json:nothing", data()), ArgumentError, r"json has no 'nothing'. It has:"),
        (
            (folder, "json", data()),
            ArgumentError,
            r"must be module:function or train.py:function, such as train:build, but is 'json'",
        ),
        ((folder, None, data()), ArgumentError, r"`model` is needed: '.*' has no config.json"),
        ((folder, 3, data()), ArgumentError, r"`model` must be module:factory, a function.*but is int"),
        ((folder, make_net, {"inputs": data()["inputs"]}), ArgumentError, r"holds 'inputs'. It must hold `inputs` and"),
        ((folder, make_net, 3), ArgumentError, r"`probe` \(int\) is a int"),
        ((folder, make_net, "no_file.pt"), FileError, r"`probe` is 'no_file.pt', which does not exist"),
    ]
    for arguments, kind, words in cases:
        with pytest.raises(kind, match=words):
            measure_checkpoints(*arguments, out)
        assert not out.exists()
    probe = ef.Probe(make_net().eval(), data()["inputs"], data()["targets"], "cross_entropy")
    with pytest.raises(ArgumentError, match="`jobs=1`"):
        measure_checkpoints(folder, None, probe, out, jobs=2)
    with pytest.raises(ArgumentError, match="`model` must be None with a Probe"):
        measure_checkpoints(folder, make_net, probe, out)


def state_in_model(folder):
    write_torch(folder / "step_9.pt", {"model": trained(9).state_dict()})
    return folder


@pytest.mark.rejects
def test_a_folder_of_another_run_is_not_gone_on_with(tmp_path):
    folder = write_steps(tmp_path / "c", range(2))
    measure_checkpoints(folder, make_net, data(), tmp_path / "run")
    for step in range(3):
        write_torch(tmp_path / f"d/step_{step}.pt", trained(step + 50).state_dict())
    with pytest.raises(RunFolderError, match=r"holds step 1 with other weights than 'step_1.pt'. Give a new folder"):
        measure_checkpoints(tmp_path / "d", make_net, data(), tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"measured with entry=None, and would go on with 'model'"):
        measure_checkpoints(state_in_model(tmp_path / "e"), make_net, data(), tmp_path / "run", entry="model")
    with pytest.raises(RunFolderError, match=r"measured with modes=24, but would go on with modes=3"):
        measure_checkpoints(folder, make_net, data(), tmp_path / "run", modes=3)


def test_if_nothing_fits_the_record_says_so(tmp_path):
    for step in range(2):
        write_torch(tmp_path / f"c/step_{step}.pt", {"a": torch.ones(2)})
    record = measure_checkpoints(tmp_path / "c", make_net, data(), tmp_path / "run")
    assert record.steps == ()
    assert all("none of its 1 tensors has a name and shape of the model" in row.reason for row in record.left_out)
    assert [gap.step for gap in ef.open_run(tmp_path / "run").gaps] == [0, 1]


def files_of_probe(folder):
    values = data()
    save_file(values, folder / "p.safetensors")
    torch.save(values, folder / "p.pt")
    np.savez(folder / "p.npz", **{name: tensor.numpy() for name, tensor in values.items()})
    torch.save({"inputs": {"x": values["inputs"]}, "targets": values["targets"]}, folder / "named.pt")
    torch.save({"x": values["inputs"], "labels": values["targets"]}, folder / "batch.pt")
    wide = {"inputs": values["inputs"].double().numpy(), "targets": values["targets"].numpy()}
    np.savez(folder / "wide.npz", **wide)


def test_probes_from_files_functions_and_values(tmp_path):
    write_steps(tmp_path / "c", (0,))
    files_of_probe(tmp_path)
    values = data()
    (tmp_path / "own.py").write_text(
        "import torch\nfrom eigenflow import Probe\nfrom integrations.checkpoints.written import data, make_net\n"
        "def pair():\n    return data()['inputs'], data()['targets']\n"
        "def of_model(model):\n    return Probe(model.eval(), data()['inputs'], data()['targets'], 'cross_entropy')\n"
        "def build():\n    return make_net()\n"
    )
    sources = [
        *(str(tmp_path / name) for name in ("p.safetensors", "p.pt", "p.npz", "named.pt", "wide.npz")),
        f"{tmp_path}/own.py:pair",
        f"{tmp_path}/own.py:of_model",
        (values["inputs"], values["targets"]),
        lambda: values,
    ]
    found = []
    for index, source in enumerate(sources):
        out = tmp_path / f"run{index}"
        measure_checkpoints(tmp_path / "c", f"{tmp_path}/own.py:build", source, out)
        found.append(spectra(out))
    assert all(np.array_equal(one, found[0]) for one in found)
    out = tmp_path / "batch"
    measure_checkpoints(tmp_path / "c", make_net, str(tmp_path / "batch.pt"), out, loss="cross_entropy")
    assert np.array_equal(spectra(out), found[0])


@pytest.mark.rejects
def test_probe_files_that_are_damaged(tmp_path):
    folder = write_steps(tmp_path / "c", (0,))
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    np.savez(tmp_path / "b.npz", inputs=np.array([{"a": 1}], dtype=object))
    (tmp_path / "c.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!")
    (tmp_path / "d.pt").write_bytes(b"")
    for name in ("a.npz", "b.npz", "c.safetensors", "d.pt"):
        with pytest.raises(ArgumentError, match=rf"`probe` is '.*{name}'.*It must hold `inputs` and `targets`"):
            measure_checkpoints(folder, make_net, str(tmp_path / name), tmp_path / "run")
