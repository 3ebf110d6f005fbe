"""Records of J P^(-1) J^T keep how far J J^T has gone: against matrices by autograd, and resumed."""

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.report.comparison import compare
from eigenflow.theory.lazy_rich import lazy_rich
from eigenflow.trajectory import plain
from problems import samples, tanh_net
from reference import dense_jacobian as oracle

pytestmark = pytest.mark.long

# Enough measurements for the analysis of a run.
SCHEDULE = (0, 1, 2, 3, 5, 8, 12, 17, 23, 30)


def make():
    model, (inputs, targets) = tanh_net(0, hidden=9), samples(0, count=12)
    return model, inputs, targets, torch.optim.AdamW(model.parameters(), 3e-3)


def train(path, *, is_preconditioned, stop=None, resume=None, model=None, optimizer=None):
    """One training, measured with or without its preconditioner; returns the operators at measured steps as well."""
    fresh, inputs, targets, own = make()
    model, optimizer = (fresh, own) if model is None else (model, optimizer)
    probe = ef.Probe(model, inputs, targets)
    told = {"preconditioner": optimizer} if is_preconditioned else {}
    matrices = []
    with ef.Recorder(path, probe, SCHEDULE, resume_from=resume, **told) as recorder:
        for step in range(resume or 0, stop or SCHEDULE[-1] + 1):
            if step in SCHEDULE:
                matrices.append(oracle.kernel(model, inputs, probe.factor).numpy())
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=3e-3)
    return ef.open_run(path), matrices, model, optimizer, targets.reshape(-1).numpy()


def test_distances_are_those_of_dense_matrices(tmp_path):
    """Rounding of differences of matrices of order one."""
    run, matrices, _, _, y = train(tmp_path / "run", is_preconditioned=True)
    data, first = run.measurements, matrices[0]
    norms = np.array([np.linalg.norm(m) for m in matrices])
    np.testing.assert_allclose(data["plain_norm"], norms, rtol=1e-12)
    distances = [np.linalg.norm(m - first) / norms[0] for m in matrices]
    np.testing.assert_allclose(data["plain_distance"], distances, rtol=1e-9, atol=1e-13)
    cosines = [(m * first).sum() / norms[0] / n for m, n in zip(matrices, norms, strict=True)]
    np.testing.assert_allclose(data["plain_alignment"], cosines, rtol=1e-12)
    aims = [y @ m @ y / n / (y @ y) for m, n in zip(matrices, norms, strict=True)]
    np.testing.assert_allclose(data["plain_target_alignment"], aims, rtol=1e-12)


def test_a_run_that_goes_on_keeps_its_first_operator(tmp_path):
    whole, *_ = train(tmp_path / "whole", is_preconditioned=True)
    _, _, model, optimizer, _ = train(tmp_path / "parts", is_preconditioned=True, stop=10)
    parts, *_ = train(tmp_path / "parts", is_preconditioned=True, resume=10, model=model, optimizer=optimizer)
    np.testing.assert_array_equal(parts.measurements["plain_distance"], whole.measurements["plain_distance"])


def test_a_record_without_preconditioner_has_none(tmp_path, monkeypatch):
    run, *_ = train(tmp_path / "run", is_preconditioned=False)
    assert not [name for name in run.measurements if str(name).startswith("plain_")]
    monkeypatch.setattr(plain, "PLAIN_ROWS", 20)
    large, *_ = train(tmp_path / "large", is_preconditioned=True)
    assert not [name for name in large.measurements if str(name).startswith("plain_")]


def test_one_training_is_told_alike_with_and_without_its_preconditioner(tmp_path):
    """Both measure the same network at the same steps."""
    runs = [train(tmp_path / str(own), is_preconditioned=own)[0] for own in (False, True)]
    found = compare(runs)
    first, second = (run.place for run in found.runs)
    assert second.is_plain and not first.is_plain
    np.testing.assert_allclose(second.distance, first.distance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(second.growth, first.growth, rtol=1e-12)
    assert first.regime is second.regime
    # Its own operator would say something else.
    data = runs[1].measurements
    own = lazy_rich(data, ef.shell_budget(runs[1]))
    assert not own.is_plain and own.coordinate > 2 * second.coordinate
    (told,) = [caution for caution in found.cautions if "preconditioner P" in caution]
    assert "those of the plain J Jᵀ" in told and found.runs[1].name in told
    assert found.runs[1].to_dict()["lazy_rich"]["is_plain"]


@pytest.mark.rejects
def test_records_without_it_tell_no_regime(tmp_path, monkeypatch):
    monkeypatch.setattr(plain, "PLAIN_ROWS", 0)
    runs = [train(tmp_path / str(own), is_preconditioned=own)[0] for own in (False, True)]
    with pytest.raises(ArgumentError, match=r"without the distance of the plain.*mostly the optimizer's own P.*dense"):
        lazy_rich(runs[1].measurements, ef.shell_budget(runs[1]), plain=True)
    found = compare(runs)
    assert found.runs[1].place is None and found.runs[0].place is not None
    assert any("no regime is told" in caution for caution in found.cautions)
