"""Whether a measured change is one update, or several: single updates of real optimizers, and checkpoints fed as such.

The full table (16 optimizers, 4 networks, 500 updates) stands in docs/validation/records.md; these are its
corners.
"""

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.store import RecordGapWarning
from eigenflow.trajectory.lengths import update_length
from problems import samples

pytestmark = pytest.mark.long

SINGLE = {
    "sgd": (lambda p: torch.optim.SGD(p, 0.1), 0.0),
    "sgd at the edge": (lambda p: torch.optim.SGD(p, 1.0), 0.0),
    "heavy ball": (lambda p: torch.optim.SGD(p, 0.05, momentum=0.9), 0.9),
    "nesterov": (lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True), 0.9),
    "adam": (lambda p: torch.optim.Adam(p, 1e-2), 0.0),
    "adam, large rate": (lambda p: torch.optim.Adam(p, 0.3), 0.0),
    "adamw": (lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1), 0.0),
    "adagrad": (lambda p: torch.optim.Adagrad(p, 0.1), 0.0),
}
APART = {
    "sgd": SINGLE["sgd"],
    "heavy ball": (lambda p: torch.optim.SGD(p, 0.01, momentum=0.9), 0.9),
    "adam, small rate": (lambda p: torch.optim.Adam(p, 1e-3), 0.0),
}


def record(path, make, momentum, *, apart=1, count=8, says=False, is_preconditioned=False, batch=None):
    """Feed every `apart`-th state as if it were the next one; `says` tells how many updates lie between."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2)).double()
    inputs, targets = samples(0, count=16, inputs=6)
    probe = ef.Probe(model, inputs, targets)
    optimizer = make(model.parameters())
    generator = torch.Generator().manual_seed(0)
    own = {"preconditioner": optimizer} if is_preconditioned else {}
    with ef.Recorder(path, probe, range(count * apart), couplings=4, **own) as recorder:
        for step in range(count):
            for _ in range(apart):
                rows = slice(None) if batch is None else torch.randperm(16, generator=generator)[:batch]
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(inputs[rows]), targets[rows])
                loss.backward()
                optimizer.step()
            rate = optimizer.param_groups[0]["lr"]
            last = (step + 1) * apart - 1 if says else step
            updates = {"updates": apart} if says else {}
            recorder.step(last, loss=loss, learning_rate=rate, momentum=momentum, **updates)
    return ef.open_run(path)


@pytest.mark.parametrize(("name", "batch"), [*((name, None) for name in SINGLE), ("sgd", 4), ("adam", 4)])
def test_single_updates_are_not_taken_for_checkpoints(tmp_path, name, batch):
    run = record(tmp_path / "run", *SINGLE[name], batch=batch)  # a warning would be an error
    assert run.why_no_updates is None and not run.has_unsaid_updates


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("apart", [10, 50])
def test_checkpoints_fed_as_updates_are_marked_and_not_judged(tmp_path, name, apart):
    with pytest.warns(RecordGapWarning, match=r"several times as long as single updates.*updates=k"):
        run = record(tmp_path / "run", *APART[name], apart=apart, count=5)
    assert run.has_unsaid_updates and "farther than single updates" in run.why_no_updates
    rows = {row.claim: row for row in ef.claims(run)}
    for name in ("C1", "C1.identity", "C1.flow", "C2", "C3.remainder", "C4", "C5", "C6", "C7", "C8"):
        assert rows[name].verdict == "undecided" and "farther than single updates" in rows[name].reason
    assert rows["C3.closes"].verdict == "supported"  # an identity of any two states


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_with_the_preconditioner_checkpoints_of_adam_are_found_at_any_rate(tmp_path, optimizer):
    def make(parameters):
        return optimizer(parameters, 1e-2)

    single = record(tmp_path / "single", make, 0.0, is_preconditioned=True)
    assert single.why_no_updates is None
    with pytest.warns(RecordGapWarning, match="several times as long"):
        apart = record(tmp_path / "apart", make, 0.0, apart=10, count=5, is_preconditioned=True)
    assert apart.has_unsaid_updates


def test_said_checkpoints_have_their_time_and_are_marked_without_a_warning(tmp_path):
    run = record(tmp_path / "run", *SINGLE["sgd"], apart=10, count=6, says=True)
    assert run.measured_steps == (0, 10, 20, 30, 40, 50) and run.status == "complete"
    np.testing.assert_allclose(run.measurements["time"], np.arange(6.0), rtol=1e-12)
    np.testing.assert_allclose(run.measurements["step_size"], 1.0, rtol=1e-12)
    assert (run.measurements["updates"] == 10).all() and (run.losses["updates"] == 10).all()
    assert "10 updates apart" in run.why_no_updates and not run.has_unsaid_updates
    rows = {row.claim: row for row in ef.claims(run)}
    for name in ("C1.flow", "C2", "C3.remainder", "C3.single", "C5.local", "C5.kato"):
        assert rows[name].verdict == "undecided" and "updates apart" in rows[name].reason
    # What needs times and states alone is judged, or left for its own reasons.
    assert all("updates apart" not in rows[name].reason for name in ("C7.operator", "C5.frontier"))


def test_schedule_is_met_by_the_first_state_that_reaches_it(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    probe = ef.Probe(model, *samples(0))
    with ef.Recorder(tmp_path / "run", probe, [0, 7, 12]) as recorder:
        for last in (4, 9, 14, 19):
            with torch.no_grad():
                model.weight *= 0.99
            recorder.step(last, loss=1.0, learning_rate=0.1, updates=5)
    assert ef.open_run(tmp_path / "run").measured_steps == (0, 10, 15)


@pytest.mark.parametrize("updates", [1, 7])
def test_length_of_steps_along_the_gradient_is_their_number(updates):
    """By hand: k times -dt P^(-1) g has length k and cosine 1 in the norm of P, whatever P is."""
    generator = torch.Generator().manual_seed(0)
    gradient = {
        "a": torch.randn(4, 3, generator=generator, dtype=torch.float64),
        "b": torch.randn(2, generator=generator),
    }
    inverse = {
        name: torch.rand(g.shape, generator=generator, dtype=torch.float64) + 0.1 for name, g in gradient.items()
    }
    for own in (None, inverse):
        change = {n: -updates * 0.3 * (g.double() if own is None else own[n] * g) for n, g in gradient.items()}
        found = update_length(change, gradient, 0.3, own)
        assert found.along == pytest.approx(updates, rel=1e-12) and found.cosine == pytest.approx(1.0, rel=1e-12)
        entries = torch.cat([c.reshape(-1) for c in change.values()])
        assert found.entry == pytest.approx(float(entries.square().mean().sqrt()) / 0.3, rel=1e-12)
        assert found.is_far() is (updates == 7)


def test_vanishing_gradient_and_overflow_give_numbers_that_a_record_can_hold():
    zero, one = {"a": torch.zeros(3)}, {"a": torch.full((3,), 1e30)}
    assert update_length(one, zero, 0.1).along == 0.0
    found = update_length(one, {"a": torch.full((3,), 1e-30)}, 1e-300)
    assert np.isfinite([found.along, found.cosine, found.entry]).all()
