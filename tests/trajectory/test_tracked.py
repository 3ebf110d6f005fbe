"""Runs through k tracked modes: the same budget as all modes of the dense operator, with a tail that is marked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.linalg import ModeTracker
from eigenflow.trajectory import TailSettings, measure_step, measure_tracked_step
from problems import samples, tanh_net

pytestmark = pytest.mark.long

STEPS, MODES, SAMPLES, RATE = 16, 20, 40, 0.1
SCHEDULE = (0, 3, 7, 15)


def make(seed=0, count=SAMPLES):
    model, train = tanh_net(seed, hidden=12), samples(seed, count=count)
    return model, train, ef.Probe(model, *train, holdout=samples(seed + 50, count=5))


def descend(model, train, start, stop, *, batch=10, rate=RATE):
    """Minibatch gradient descent with heavy ball off; batches follow from the step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for step in range(start, stop):
        first = (batch * step) % SAMPLES
        rows = slice(first, first + batch)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(train[0][rows]), train[1][rows])
        loss.backward()
        optimizer.step()
        yield step, float(loss.detach())


def record(path, *, start=0, stop=STEPS, before=None, **options):
    model, train, probe = make()
    for _ in descend(model, train, 0, start):
        pass
    with ef.Recorder(path, probe, SCHEDULE, resume_from=start if start else None, **options) as recorder:
        for step, loss in descend(model, train, start, stop):
            recorder.step(step, loss=loss, learning_rate=RATE, batch_size=10)
    return ef.open_run(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same training, measured with all modes and with twenty."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"tolerance": 1e-9, "tail": TailSettings(steps=30, probes=4)}
    return record(folder / "dense"), record(folder / "tracked", method="tracked", modes=MODES, **options)


@pytest.mark.parametrize("shells_per_decade", [16, 4, 1])
def test_shells_above_the_cut_are_those_of_all_modes(runs, shells_per_decade):
    """Pairs are certified to 1e-9, and energies are of first order in the angle: its root, 1e-5 of the whole."""
    dense, tracked = (ef.shell_budget(run, shells_per_decade=shells_per_decade) for run in runs)
    assert tracked.cut is not None and dense.cut is None
    resolved = 0
    for step in range(len(SCHEDULE)):
        above = np.flatnonzero(np.append(-1.0, tracked.edges) >= float(tracked.cut[step]))
        assert (tracked.energy.values[step, 1 : above[0]] == 0).all()  # the shells between hold nothing by themselves
        for name in ("energy", "energy_after", "dissipation", "optimizer", "transfer", "remainder", "mode_count"):
            mine, theirs = (getattr(b, name).values[step] for b in (tracked, dense))
            scale = 1.0 if name == "mode_count" else float(np.abs(dense.energy.values[step]).sum())
            np.testing.assert_allclose(mine[above], theirs[above], rtol=0, atol=1e-5 * scale, err_msg=name)
            rest = np.delete(theirs, above).sum()
            assert mine[0] == pytest.approx(rest, abs=1e-5 * scale), name
        for name in ("mean_eigenvalue", "mean_rate", "energy_rate"):
            mine, theirs = (getattr(b, name).values[step, above] for b in (tracked, dense))
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6 * np.abs(theirs).max(), err_msg=name)
        resolved += int((dense.mode_count.values[step, above] > 0).sum())
    assert resolved >= 4


def test_sums_are_exact(runs):
    """The four terms close every shell, transfer sums to zero, shells sum to twice the loss; rounding only."""
    _, run = runs
    budget = ef.shell_budget(run)
    whole = budget.energy.sum("shell").values
    np.testing.assert_allclose(whole, 2 * run.measurements["probe_loss"], rtol=1e-12)
    assert np.abs(budget.residual.values).max() <= 1e-12 * whole.max()
    assert np.abs(budget.transfer.sum("shell").values).max() <= 1e-12 * whole.max()
    assert (budget.mode_count.sum("shell") == 2 * SAMPLES).all()
    data = run.measurements
    columns = data["transfer_matrix"].sum("shell").values
    expected = (data["energy"] - data["dissipation"] + data["optimizer"]).values  # h'P h
    np.testing.assert_allclose(columns, expected, rtol=0, atol=1e-12 * whole.max())
    rows = data["transfer_matrix"].sum("shell_from").values
    np.testing.assert_allclose(rows, expected + data["transfer"].values, rtol=0, atol=1e-12 * whole.max())


@pytest.mark.parametrize("shells_per_decade", [16, 4, 2])
def test_tail_lies_in_its_bars_and_adds_up_to_the_lowest_shell(runs, shells_per_decade):
    dense, tracked = (ef.shell_budget(run, shells_per_decade=shells_per_decade) for run in runs)
    tail = tracked.tail
    for step in range(len(SCHEDULE)):
        below = np.append(-1.0, tracked.edges) < float(tracked.cut[step])
        exact, counts = dense.energy.values[step] * below, dense.mode_count.values[step] * below
        # The modes that are taken out are off by an angle of up to the root of 1e-9; energies by that at first order.
        slack = 1e-5 * float(dense.energy.values[step].sum())
        assert (tail.energy_lower.values[step] <= exact + slack).all()
        assert (exact <= tail.energy_upper.values[step] + slack).all()
        assert tail.energy.values[step].sum() == pytest.approx(float(tracked.energy[step, 0]), rel=1e-10)
        assert tail.count.values[step].sum() == pytest.approx(float(tracked.mode_count[step, 0]), rel=1e-12)
        inside = (tail.count_lower.values[step] <= counts) & (counts <= tail.count_upper.values[step])
        assert inside.mean() >= 0.9
    flux = tracked.flux.values
    assert (np.isnan(flux) == (tracked.edges[None] < tracked.cut.values[:, None])).all()
    is_known = ~np.isnan(flux)
    np.testing.assert_allclose(
        flux[is_known], dense.flux.values[is_known], rtol=0, atol=1e-4 * np.abs(flux[is_known]).max()
    )


def test_modes_are_those_of_the_dense_operator_with_the_tail_in_the_kato_equations(runs):
    dense, tracked = (run.measurements for run in runs)
    np.testing.assert_allclose(tracked["eigenvalue"], dense["eigenvalue"][:, :MODES], rtol=1e-8)
    assert (tracked["is_converged"] == 1).all() and (tracked["eigenvalue_bound"] <= 1e-9 * tracked["eigenvalue"]).all()
    for name in ("eigenvalue_rate", "linear_after", "kato_after"):
        mine, theirs = tracked[name].values, dense[name].values[:, :MODES]
        sign = np.sign(tracked["coefficient"].values * dense["coefficient"].values[:, :MODES])
        if name != "eigenvalue_rate":
            mine = mine * sign
        scale = np.abs(theirs).max(1, keepdims=True)
        np.testing.assert_allclose(mine / scale, theirs / scale, rtol=0, atol=1e-4, err_msg=name)


def test_test_side_is_the_same_and_adds_up(runs):
    dense, tracked = (run.measurements for run in runs)
    assert (dense["holdout_residual"] <= 1e-13).all() and (tracked["holdout_residual"] <= 1e-13).all()
    for name in ("holdout_loss", "holdout_gradient", "holdout_optimizer", "holdout_remainder"):
        np.testing.assert_allclose(tracked[name], dense[name], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(tracked["holdout_rate"].sum("shell"), dense["holdout_rate"].sum("shell"), rtol=1e-10)


def test_reading_side_works_and_says_what_is_not_resolved(runs):
    _, run = runs
    rows = {claim.claim: claim for claim in ef.claims(run)}
    assert rows["C1.identity"].estimate <= 1e-13 and rows["C3.closes"].estimate <= 1e-12
    assert "below the cut" in rows["C3.remainder"].reason
    # Energy in modes that were not tracked may be isolated or not, so the interval has room for both.
    isolated = rows["C2.isolated"]
    assert "untracked" in isolated.reason and isolated.interval[0] <= isolated.estimate <= isolated.interval[1]
    unknown = 1 - (run.measurements["coefficient"] ** 2).sum("mode") / (2 * run.measurements["probe_loss"])
    assert isolated.interval[1] - isolated.interval[0] >= 0.5 * float(unknown.median())


def test_report_of_a_tracked_run_is_written_and_marks_the_cut(runs):
    from eigenflow.report import analyse, write_report

    text = write_report(analyse(runs[1])).read_text()
    assert "Only shells above the cut" in text


def test_lazy_forecast_uses_the_tail(tmp_path):
    """Half the energy left is sum of masses exp(-2 lambda t): by quadrature of the tail, as with all modes."""
    from eigenflow.theory.forecasts.limits import lazy_forecast
    from eigenflow.theory.forecasts.observed import observe_until

    found = []
    for options in ({}, {"method": "tracked", "modes": 6, "tolerance": 1e-9, "tail": TailSettings(30, 1)}):
        model, train, probe = make()
        path = tmp_path / str(len(found))
        with ef.Recorder(path, probe, range(0, 30, 3), **options) as recorder:
            for step, loss in descend(model, train, 0, 30, batch=SAMPLES):
                recorder.step(step, loss=loss, learning_rate=RATE, batch_size=SAMPLES)
        found.append(lazy_forecast(observe_until(ef.open_run(path), 0.5)))
    np.testing.assert_allclose(found[1].loss, found[0].loss, rtol=1e-6)


@pytest.mark.parametrize("cut", [4])
def test_resumed_run_agrees_to_the_stated_accuracy(tmp_path, runs, cut):
    """The tracker goes on from its saved state; pairs are certified to 1e-9, so they agree to that."""
    options = {"method": "tracked", "modes": MODES, "tolerance": 1e-9, "tail": TailSettings(steps=30, probes=4)}
    record(tmp_path / "run", stop=cut, **options)
    again = record(tmp_path / "run", start=cut, **options).measurements
    whole = runs[1].measurements
    assert again["step"].values.tolist() == list(SCHEDULE)
    np.testing.assert_allclose(again["eigenvalue"], whole["eigenvalue"], rtol=2e-9)
    for name in ("energy", "dissipation", "transfer", "remainder"):
        scale = float(whole["energy"].sum("shell").max())
        np.testing.assert_allclose(again[name], whole[name], rtol=0, atol=1e-5 * scale)
    np.testing.assert_array_equal(again["label"], whole["label"])


@pytest.mark.slow
def test_killed_run_is_resumed(tmp_path):
    """SIGKILL between measurements: what was committed opens, and the rest agrees with an unbroken run."""
    options = {"method": "tracked", "modes": MODES, "tolerance": 1e-9, "tail": TailSettings(steps=30, probes=4)}
    script = tmp_path / "child.py"
    here = Path(__file__).resolve()
    script.write_text(
        "import sys, time, importlib.util\n"
        f"sys.path[:0] = [{str(here.parent.parent)!r}]\n"
        f"spec = importlib.util.spec_from_file_location('tracked_child', {str(here)!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "import eigenflow as ef\n"
        "model, train, probe = module.make()\n"
        f"recorder = ef.Recorder({str(tmp_path / 'run')!r}, probe, module.SCHEDULE, method='tracked', "
        f"modes={MODES}, tolerance=1e-9, tail=module.TailSettings(steps=30, probes=4))\n"
        "for step, loss in module.descend(model, train, 0, module.STEPS):\n"
        "    recorder.step(step, loss=loss, learning_rate=module.RATE, batch_size=10)\n"
        "    if step == 9:\n"
        "        recorder.flush(); print('ready', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    child = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None and child.stdout.readline().strip() == "ready"
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=10)
    assert ef.open_run(tmp_path / "run").measured_steps == (0, 3, 7)
    again = record(tmp_path / "run", start=8, **options).measurements
    whole = record(tmp_path / "whole", **options).measurements
    np.testing.assert_allclose(again["eigenvalue"], whole["eigenvalue"], rtol=2e-9)
    np.testing.assert_allclose(again["energy"], whole["energy"], rtol=0, atol=1e-5 * float(whole["energy"].max()))


def test_small_probes_stay_dense_and_large_ones_are_tracked(tmp_path, monkeypatch):
    monkeypatch.setattr("eigenflow.trajectory.methods.DENSE_ROWS", 60)
    _, _, probe = make()
    for modes, expected in ((None, "dense"), (5, "tracked")):
        with ef.Recorder(tmp_path / expected, probe, [0], modes=modes):
            pass
        assert ef.open_run(tmp_path / expected).header["method"] == expected


def test_more_modes_than_rank(tmp_path):
    """A linear network of 2 x 3 + 2 parameters on 40 samples: rank 8 of 80. Shell 0 is what lies below all edges."""
    torch.manual_seed(0)
    model, train = nn.Linear(3, 2).double(), samples(0, count=SAMPLES)
    probe = ef.Probe(model, *train)
    before, gradient = probe.state(), probe.at().gradient()
    after = ({n: p - 0.1 * gradient[n] for n, p in before[0].items()}, before[1])
    one = measure_tracked_step(probe, ModeTracker(12, tolerance=1e-9), before, after, 0.1)
    whole = measure_step(probe, before, after, 0.1)
    np.testing.assert_allclose(one.before.pairs.eigenvalues[:8], whole.before.eigenvalues[:8], rtol=1e-9)
    assert float(one.before.pairs.eigenvalues[8:].abs().max()) <= 1e-13
    lower, upper = one.tail_energy.below(np.array([1e-10]))
    assert lower[0] == pytest.approx(one.tail_energy.mass) and upper[0] == pytest.approx(one.tail_energy.mass)


def test_block_that_sees_every_eigenvalue(tmp_path):
    """6 of 12 modes: with its guards the block is the whole space, and what was not seen is bounded by 0."""
    model, train = tanh_net(0), samples(0)
    with ef.Recorder(tmp_path / "run", ef.Probe(model, *train), [0], method="tracked", modes=6) as recorder:
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        loss = nn.functional.mse_loss(model(train[0]), train[1])
        loss.backward()
        optimizer.step()
        recorder.step(0, loss=loss.detach(), learning_rate=RATE)
    assert ef.open_run(tmp_path / "run").measurements["complement_bound"].values.tolist() == [0.0]


@pytest.mark.rejects
class TestRejects:
    def test_tracking_needs_modes(self, tmp_path):
        *_, probe = make()
        with pytest.raises(ArgumentError, match=r"method='tracked' needs `modes`.*80.*modes=64"):
            ef.Recorder(tmp_path / "run", probe, [0], method="tracked")

    def test_unknown_method(self, tmp_path):
        *_, probe = make()
        with pytest.raises(ArgumentError, match="`method` must be 'auto', 'dense' or 'tracked', but is 'fast'"):
            ef.Recorder(tmp_path / "run", probe, [0], method="fast")

    @pytest.mark.parametrize("name", ["steps", "probes"])
    def test_tail(self, name):
        with pytest.raises(ArgumentError, match=f"`tail.{name}` must be at least 1"):
            TailSettings(**{name: 0})
