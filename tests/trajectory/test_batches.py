"""Whether an update was a step of plain SGD on samples of the probe, and what the theory makes of it."""

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import RunFolderError
from eigenflow.theory.coupling.batch_noise import FROM_PROBE, batch_noise
from eigenflow.trajectory import measure_step

pytestmark = pytest.mark.long

SAMPLES, BATCH = 64, 8
WAYS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.5),
    "decay": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3),
}


def network(width=24, activation=nn.Tanh, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(6, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, 2)]
    return nn.Sequential(*layers).double()


def data(seed=0):
    """Twice as many samples as the probe has."""
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": torch.float64}
    inputs = torch.randn(2 * SAMPLES, 6, **draw)
    return inputs, torch.tanh(inputs @ torch.randn(6, 2, **draw))


def batches(kind, seed=0):
    """Sample numbers of update after update."""
    rng = np.random.default_rng(seed)
    low, high = {"other": (SAMPLES, 2 * SAMPLES), "larger": (0, 2 * SAMPLES)}.get(kind, (0, SAMPLES))
    while True:
        yield torch.from_numpy(rng.choice(np.arange(low, high), BATCH, replace=kind == "twice"))


def trained(way, kind="probe", *, model=None, steps=12, loss="mse", measured=(0, 5, 11)):
    """The measured updates of a training."""
    model = network() if model is None else model
    inputs, targets = (x.to(next(model.parameters())) for x in data())
    targets = targets.argmax(1) if loss == "cross_entropy" else targets
    function = {
        "mse": nn.functional.mse_loss,
        "half_sum": lambda f, y: 0.5 * ((f - y) ** 2).sum() / 50,
        "cross_entropy": nn.functional.cross_entropy,
    }[loss]
    probe = ef.Probe(model, inputs[:SAMPLES], targets[:SAMPLES], loss=loss)
    optimizer, found = WAYS[way](model.parameters()), []
    for step, rows in zip(range(steps), batches(kind), strict=False):
        before = probe.state()
        optimizer.zero_grad()
        function(model(inputs[rows]), targets[rows]).backward()
        optimizer.step()
        if step in measured:
            rate = optimizer.param_groups[0]["lr"] / (1 - optimizer.param_groups[0].get("momentum", 0.0))
            found.append((rows, measure_step(probe, before, probe.state(), rate, batch_size=BATCH).batch))
    return found


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("kind", ["probe", "twice"])
def test_steps_on_the_probe_are_recognised_with_their_repeats(loss, kind):
    """What is left is rounding of squared norms, 1e-8; the threshold lies far above."""
    found = trained("sgd", kind, loss=loss)
    assert len(found) == 3
    for rows, batch in found:
        assert batch.miss <= 1e-6
        assert batch.repeats == int(torch.bincount(rows).max())


def test_steps_of_parameters_in_float32_are_recognised():
    """Their change is rounded to 1e-7 of the parameters."""
    found = trained("sgd", model=network(activation=nn.ReLU).float())
    assert all(batch.miss <= 0.1 * FROM_PROBE for _, batch in found)


@pytest.mark.parametrize(
    ("way", "kind", "loss"),
    [
        ("sgd", "other", "mse"),
        ("sgd", "larger", "mse"),
        ("momentum", "probe", "mse"),
        ("decay", "probe", "mse"),
        ("adamw", "probe", "mse"),
        ("sgd", "probe", "half_sum"),
    ],
)
def test_other_updates_are_not(way, kind, loss):
    """The first update with momentum is one of plain SGD with another rate, which does not fit either."""
    assert min(batch.miss for _, batch in trained(way, kind, loss=loss)) > FROM_PROBE


def test_fewer_parameters_than_samples_leave_it_open():
    """Then every update is some sum of the samples' gradients, and the batch is not to be told from it."""
    model = network(width=2)
    assert sum(p.numel() for p in model.parameters()) < SAMPLES
    assert min(batch.miss for _, batch in trained("sgd", "other", model=model)) > FROM_PROBE


def recorded(tmp_path, way, kind, *, steps=11, preconditioner=False):
    """A run by a loop of one's own, which says nothing of its optimizer."""
    model, (inputs, targets) = network(), data()
    probe = ef.Probe(model, inputs[:SAMPLES], targets[:SAMPLES])
    optimizer = WAYS[way](model.parameters())
    told = {"preconditioner": optimizer} if preconditioner else {}
    path = tmp_path / f"{way}-{kind}-{preconditioner}"
    with ef.Recorder(path, probe, range(2, steps, 3), **told) as recorder:
        for step, rows in zip(range(steps), batches(kind), strict=False):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=optimizer.param_groups[0]["lr"], batch_size=BATCH)
    return ef.open_run(path)


def test_the_noise_of_batches_is_judged_by_what_the_record_says(tmp_path):
    """20 updates, in each of which few modes count: their mean ratio scatters by 0.1; 0.3 is three of that."""
    noise = batch_noise(recorded(tmp_path, "sgd", "probe", steps=62))
    assert noise.ratio.mean() == pytest.approx(1.0, abs=0.3)
    for way, kind in (("sgd", "other"), ("sgd", "larger"), ("adamw", "probe")):
        with pytest.raises(RunFolderError, match="shows no updates by plain SGD on samples of its probe"):
            batch_noise(recorded(tmp_path, way, kind))
    with pytest.raises(RunFolderError, match="measured with the preconditioner of AdamW"):
        batch_noise(recorded(tmp_path, "adamw", "probe", preconditioner=True))
