"""The public API, called wrongly: every call ends in an error of eigenflow that names what was wrong."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import EigenflowError
from report.recorded import record_run

pytestmark = [pytest.mark.measure, pytest.mark.rejects]
TIMES = np.geomspace(0.1, 10, 4)


def problem(**changes):
    """A sound problem, but for the changes."""
    sound = {"drift": ef.PowerDrift(c=0.5, b=2.0), "dissipation": 2.0, "domain": (1e-6, 1e2)}
    return ef.TransportProblem(**{**sound, "initial": lambda lam: lam**-0.5 * np.exp(-lam), **changes})


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A recorded run and its budget, a network and its probe, and a folder to write into."""
    tmp = tmp_path_factory.mktemp("misuse")
    record_run(tmp / "run")
    run = ef.open_run(tmp / "run")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    probe = ef.Probe(model, x, y)
    return SimpleNamespace(tmp=tmp, run=run, budget=ef.shell_budget(run), model=model, x=x, y=y, probe=probe)


def step(sound, **said):
    """A record's first step, in a folder of its own."""
    folder = sound.tmp / f"step {len(list(sound.tmp.iterdir()))}"
    with ef.Recorder(folder, sound.probe, [0]) as recorder:
        recorder.step(**{"step": 0, "loss": 1.0, "learning_rate": 0.1, **said})


WRONG = {
    "claims(path)": lambda s: ef.claims(str(s.tmp / "run")),
    "claims(None)": lambda s: ef.claims(None),
    "claims(s.budget)": lambda s: ef.claims(s.budget),
    "shell_budget(path)": lambda s: ef.shell_budget(str(s.tmp / "run")),
    "shell_budget(None)": lambda s: ef.shell_budget(None),
    "shell_budget(s.run, per_decade)": lambda s: ef.shell_budget(s.run, shells_per_decade=0),
    "shell_budget(s.run, per_decade str)": lambda s: ef.shell_budget(s.run, shells_per_decade="4"),
    "shell_budget(s.run, 5)": lambda s: ef.shell_budget(s.run, shells_per_decade=5),
    "fit_closure(path)": lambda s: ef.fit_closure(s.run.path),
    "fit_closure(None)": lambda s: ef.fit_closure(None),
    "open_run(run)": lambda s: ef.open_run(s.run),
    "open_run(None)": lambda s: ef.open_run(None),
    "open_run(3)": lambda s: ef.open_run(3),
    "open_run('')": lambda s: ef.open_run(""),
    "open_run(nul)": lambda s: ef.open_run("a\0b"),
    "log_steps(0)": lambda s: ef.log_steps(0),
    "log_steps(-3)": lambda s: ef.log_steps(-3),
    "log_steps(2.5)": lambda s: ef.log_steps(2.5),
    "log_steps('a')": lambda s: ef.log_steps("a"),
    "log_steps(10,count=0)": lambda s: ef.log_steps(10, count=0),
    "Probe(np)": lambda s: ef.Probe(s.model, s.x.numpy(), s.y),
    "Probe(y np)": lambda s: ef.Probe(s.model, s.x, s.y.numpy()),
    "Probe(None)": lambda s: ef.Probe(None, s.x, s.y),
    "Probe(loss=None)": lambda s: ef.Probe(s.model, s.x, s.y, loss=None),
    "Probe(loss='l1')": lambda s: ef.Probe(s.model, s.x, s.y, loss="l1"),
    "Probe(holdout=x)": lambda s: ef.Probe(s.model, s.x, s.y, holdout=s.x),
    "Probe(holdout=(x,))": lambda s: ef.Probe(s.model, s.x, s.y, holdout=(s.x,)),
    "Probe(dtype=str)": lambda s: ef.Probe(s.model, s.x, s.y, dtype="float64"),
    "Probe(output=3)": lambda s: ef.Probe(s.model, s.x, s.y, output=3),
    "Probe(memory_budget='1G')": lambda s: ef.Probe(s.model, s.x, s.y, memory_budget="1G"),
    "measure(method='x')": lambda s: s.probe.measure(method="x"),
    "measure(direction=1)": lambda s: s.probe.measure(direction=1),
    "measure(direction={})": lambda s: s.probe.measure(direction={}),
    "measure(direction wrong shape)": lambda s: s.probe.measure(
        direction={n: torch.zeros(1) for n, _ in s.model.named_parameters()}
    ),
    "measure(at=s.model)": lambda s: s.probe.measure(at=s.model),
    "measure(tracker=5)": lambda s: s.probe.measure(tracker=5),
    "measure(tolerance=-1)": lambda s: s.probe.measure(modes=2, method="products", tolerance=-1),
    "measure(tolerance=nan)": lambda s: s.probe.measure(modes=2, method="products", tolerance=float("nan")),
    "measure(tolerance='a')": lambda s: s.probe.measure(modes=2, method="products", tolerance="a"),
    "measure(product_dtype='a')": lambda s: s.probe.measure(modes=2, method="products", product_dtype="float32"),
    "measure(product_dtype=int)": lambda s: s.probe.measure(modes=2, method="products", product_dtype=torch.int64),
    "probe.at(s.model.state_dict())": lambda s: s.probe.at(s.model.state_dict()),
    "probe.at(3)": lambda s: s.probe.at(3),
    "Recorder(probe=s.model)": lambda s: ef.Recorder(s.tmp / "r1", s.model, [0]),
    "Recorder(schedule=5)": lambda s: ef.Recorder(s.tmp / "r2", s.probe, 5),
    "Recorder(schedule=None)": lambda s: ef.Recorder(s.tmp / "r3", s.probe, None),
    "Recorder(schedule=[a])": lambda s: ef.Recorder(s.tmp / "r4", s.probe, ["a"]),
    "Recorder(schedule=[])": lambda s: ef.Recorder(s.tmp / "r5", s.probe, []),
    "Recorder(schedule=[-1])": lambda s: ef.Recorder(s.tmp / "r6", s.probe, [-1]),
    "Recorder(schedule=[.5])": lambda s: ef.Recorder(s.tmp / "r7", s.probe, [0.5]),
    "Recorder(path=None)": lambda s: ef.Recorder(None, s.probe, [0]),
    "Recorder(path=3)": lambda s: ef.Recorder(3, s.probe, [0]),
    "Recorder(tolerance=str)": lambda s: ef.Recorder(
        s.tmp / "r8", s.probe, [0], modes=2, method="tracked", tolerance="a"
    ),
    "Recorder(config=3)": lambda s: ef.Recorder(s.tmp / "r9", s.probe, [0], config=3),
    "Recorder(resume_from='a')": lambda s: ef.Recorder(s.tmp / "r10", s.probe, [0], resume_from="a"),
    "Recorder(preconditioner=3)": lambda s: ef.Recorder(s.tmp / "r11", s.probe, [0], preconditioner=3),
    "ModeTracker(0)": lambda s: ef.ModeTracker(0),
    "ModeTracker('a')": lambda s: ef.ModeTracker("a"),
    "ModeTracker(2,tol)": lambda s: ef.ModeTracker(2, tolerance=0),
    "GeneralLoss(3)": lambda s: ef.GeneralLoss(3),
    "GeneralLoss('mse')": lambda s: ef.GeneralLoss("mse"),
    "sketched('x')": lambda s: ef.sketched("x", count=2),
    "sketched(count=0)": lambda s: ef.sketched("mse", count=0),
    "sketched()": lambda s: ef.sketched("mse"),
    "PowerDrift(c='a')": lambda s: ef.PowerDrift(c="a", b=1),
    "PowerDrift(b=nan)": lambda s: ef.PowerDrift(c=1.0, b=float("nan")),
    "PowerDrift(c=inf)": lambda s: ef.PowerDrift(c=float("inf"), b=1.0),
    "Problem(domain=3)": lambda s: problem(domain=3),
    "Problem(domain rev)": lambda s: problem(domain=(1.0, 0.1)),
    "Problem(domain 0)": lambda s: problem(domain=(0.0, 1.0)),
    "Problem(domain 3)": lambda s: problem(domain=(1e-3, 1, 2)),
    "Problem(domain str)": lambda s: problem(domain=("a", "b")),
    "Problem(dissipation=-1)": lambda s: problem(dissipation=-1.0),
    "Problem(dissipation='a')": lambda s: problem(dissipation="a"),
    "Problem(drift=0.5)": lambda s: problem(drift=0.5),
    "Problem(initial=3)": lambda s: problem(initial=3.0),
    "Problem(initial=array)": lambda s: ef.solve(problem(initial=np.ones(5)), TIMES),
    "Problem(initial nan)": lambda s: ef.solve(problem(initial=lambda lam: lam * np.nan), TIMES),
    "Problem(initial wrong shape)": lambda s: ef.solve(problem(initial=lambda lam: np.ones(3)), TIMES),
    "Problem(initial complex)": lambda s: ef.solve(problem(initial=lambda lam: lam * 1j), TIMES),
    "Problem(source=3)": lambda s: ef.solve(problem(source=3), TIMES),
    "solve(s.run)": lambda s: ef.solve(s.run, TIMES),
    "solve(times=[])": lambda s: ef.solve(problem(), []),
    "solve(times neg)": lambda s: ef.solve(problem(), [-1, 1]),
    "solve(times desc)": lambda s: ef.solve(problem(), [2, 1]),
    "solve(times nan)": lambda s: ef.solve(problem(), [1, np.nan]),
    "solve(times str)": lambda s: ef.solve(problem(), ["a"]),
    "solve(times 2d)": lambda s: ef.solve(problem(), np.ones((2, 2))),
    "solve(cells=0)": lambda s: ef.solve(problem(), TIMES, cells=0),
    "solve(cells=2.5)": lambda s: ef.solve(problem(), TIMES, cells=2.5),
    "solve(cells='a')": lambda s: ef.solve(problem(), TIMES, cells="a"),
    "solve(cells=1e12)": lambda s: ef.solve(problem(), TIMES, cells=10**12),
    "solve(method=s.x)": lambda s: ef.solve(problem(), TIMES, method="x"),
    "solve(method=3)": lambda s: ef.solve(problem(), TIMES, method=3),
    "limits(s.x)": lambda s: ef.limits(x=3).__enter__(),
    "recorder.step(str)": lambda s: step(s, step="a", loss=1.0, learning_rate=0.1),
    "recorder.step(2.5)": lambda s: step(s, step=2.5, loss=1.0, learning_rate=0.1),
    "recorder.step(loss=str)": lambda s: step(s, step=0, loss="a", learning_rate=0.1),
    "recorder.step(loss vec)": lambda s: step(s, step=0, loss=torch.ones(3), learning_rate=0.1),
    "recorder.step(lr neg)": lambda s: step(s, step=0, loss=1.0, learning_rate=-0.1),
    "recorder.step(lr str)": lambda s: step(s, step=0, loss=1.0, learning_rate="a"),
    "recorder.step(lr None)": lambda s: step(s, step=0, loss=1.0, learning_rate=None),
    "recorder.step(momentum=2)": lambda s: step(s, step=0, loss=1.0, learning_rate=0.1, momentum=2),
    "recorder.step(updates=0)": lambda s: step(s, step=0, loss=1.0, learning_rate=0.1, updates=0),
    "recorder.step(extra=obj)": lambda s: step(s, step=0, loss=1.0, learning_rate=0.1, note=object()),
    "run.write_summary(3)": lambda s: s.run.write_summary(3),
    "run.write_text(/x)": lambda s: s.run.write_text("../x", "t"),
    "run.write_text(3)": lambda s: s.run.write_text(3, "t"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_are_refused_in_words(name, sound):
    with pytest.raises(EigenflowError) as refused:
        WRONG[name](sound)
    assert len(str(refused.value)) > 30  # a sentence, not a word
