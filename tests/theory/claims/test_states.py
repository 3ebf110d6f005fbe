"""Claims on records of states: judged as on the updates between them, and the rest says what it lacks."""

import numpy as np
import pytest
import xarray as xr

import eigenflow as ef
from eigenflow.core.errors import RunFolderError
from eigenflow.shells import shell_energies
from eigenflow.store import RunWriter, Variable, open_run
from eigenflow.theory.claims import CLAIMS, Evidence
from eigenflow.theory.claims.descent import states_descend
from eigenflow.theory.controls.catalogue import CONTROLS
from eigenflow.theory.controls.measuring import ControlRun

# Rows that states can decide. All others are undecided on them, whatever the run.
OF_STATES = {"C1.heavy_tail", "C1.basis", "C1.rough", "C4.form", "C4.sign", "C4.regularity", "C4.alternatives"}
OF_STATES |= {"C4.asymptotic", "C4.strength", "C5.frontier", "C5.collapse", "C5.amplitude", "C6.source"}
OF_STATES |= {"C6.time", "C6.forecast", "C6.spectrum", "C7.operator", "C7.error", "C7.clock", "C7.regular"}
OF_STATES |= {"C8.equation", "C8.limit", "C8.lazy", "C8.rich"}


def control(name):
    return next(one for one in CONTROLS if one.name == name)


def judged(run, names=tuple(CLAIMS)):
    evidence = Evidence(run, knows_rates=False)
    return {row.claim: row for name in names for row in CLAIMS[name].judge(evidence)}


@pytest.mark.long
@pytest.mark.parametrize("is_even", [False, True], ids=["log", "even"])
@pytest.mark.parametrize("name", ["growth, b = 1", "several clocks", "turning between distant modes"])
def test_states_are_never_decided_the_wrong_way(name, is_even):
    """The truth about controls is known by how they are made, spread over the logarithm of time or as checkpoints."""
    one = control(name)
    rows = judged(one.run(150, 24, 3, is_even=is_even).as_states(), ("C1", "C5", "C7"))
    decided = {key for key, row in rows.items() if "." in key and row.verdict != "undecided"}
    assert decided and decided <= OF_STATES
    assert not {key for key in decided & one.holds if rows[key].verdict == "contradicted"}
    assert not {key for key in decided & one.fails if rows[key].verdict == "supported"}


@pytest.mark.long
def test_what_needs_updates_is_undecided_and_names_the_next_step():
    rows = judged(control("at rest").run(60, 12, 0).as_states(), ("C1", "C2", "C3"))
    for key in ("C1.identity", "C1.flow", "C2", "C3.closes", "C3.remainder", "C3.forward"):
        row = rows[key]
        assert row.verdict == "undecided" and row.estimate is None
        assert "record of states" in row.reason and "Recorder" in row.reason
    assert rows["C3.closes"].would_change == "a record of the training itself, by a Recorder or a callback of " + (
        "eigenflow.integrations"
    )


@pytest.mark.long
def test_far_states_widen_the_interval_by_what_leaving_out_every_second_does():
    """An estimate of eigenvalues that swing between the states moves with their spacing, and says so."""
    run = control("swinging clock").run(100, 24, 2)
    whole, states = judged(run, ("C7",)), judged(run.as_states(), ("C7",))
    row, same = states["C7.operator"], whole["C7.operator"]
    assert row.estimate == same.estimate  # the same numbers, as eigenvalues at the same times are
    assert row.interval is not None and same.interval is not None
    assert row.interval[0] <= same.interval[0] and row.interval[1] >= same.interval[1]
    assert "every second" in row.reason


def descending(rate, *, clock=1.0, count=20):
    """Measurements of modes that decay by exp(-lambda t) in a time that is told as `clock` times longer."""
    times = np.concatenate([[0.0], np.geomspace(0.1, 100.0, count)])
    lam = np.arange(1.0, 31.0) ** -1.2
    g = lam**0.4 * np.exp(-lam * rate * times[:, None])
    data = {
        "time": ("step", clock * times),
        "probe_loss": ("step", 0.5 * (g**2).sum(1)),
        "total_energy": ("step", (g**2).sum(1)),
        "eigenvalue": (("step", "mode"), np.tile(lam, (len(times), 1))),
        "coefficient": (("step", "mode"), g),
    }
    return xr.Dataset(data, coords={"step": np.arange(len(times))})


def test_states_tell_gradient_descent_from_another_clock():
    """For gradient descent the loss falls by the integral of sum lambda g^2, for Adam it does not."""
    assert states_descend(descending(1.0)) is None
    for data in (descending(1.0, clock=0.1), descending(1.0, clock=10.0), descending(10.0)):
        why = states_descend(data)
        assert why is not None and "the loss falls by" in why
    told = states_descend(descending(1.0, count=2))
    assert told is not None and "short enough, of 3" in told


def test_times_that_do_not_pass_are_left_out(tmp_path):
    """A state recorded twice at one time, as where a learning rate is 0, does not divide by nothing."""
    data = control("at rest").run(40, 12, 0).as_states().measurements
    twice = data.isel(step=[0, 1, 1, *range(2, 12)]).assign_coords(step=np.arange(13))
    twice = twice.assign(frame_time=("step", np.append(twice["time"][:1], twice["time"][:-1])))
    run = ControlRun(twice, "twice", is_of_states=True)
    rows = judged(run, ("C7",))
    once = judged(ControlRun(data, "once", is_of_states=True), ("C7",))
    assert rows["C7.operator"].estimate == once["C7.operator"].estimate


@pytest.fixture
def folder(tmp_path):
    """Writes the states of a control into a run folder, on either clock."""

    def write(clock, name="growth, b = 1"):
        data = control(name).run(60, 16, 1).as_states().measurements
        with RunWriter.create(tmp_path / clock, header={"kind": "states", "clock": clock}) as writer:
            for index, step in enumerate(data["step"].values):
                one = data.isel(step=index)
                if clock == "updates":
                    one = one.assign(time=float(step), frame_time=float(data["step"].values[max(index - 1, 0)]))
                variables = {str(key): Variable(one[key].dims, one[key].values, "1", str(key)) for key in one.data_vars}
                edges = {"edge": Variable(("edge",), data["edge"].values, "1 / time", "edges")}
                writer.append(int(step), variables, constants=edges if index == 0 else None)
        return open_run(tmp_path / clock)

    return write


@pytest.mark.long
def test_without_rates_what_rests_on_them_is_undecided(folder):
    run = folder("updates")
    assert run.kind == "states" and run.clock == "updates" and "completed updates" in repr(run)
    rows = {row.claim: row for row in ef.claims(run)}
    for name in ("C4", "C5", "C6", "C7", "C8"):
        assert rows[name].verdict == "undecided" and "counts updates" in rows[name].reason
        assert "time=" in rows[name].would_change and f"{name}.form" not in rows
    assert rows["C1.heavy_tail"].estimate is not None and rows["C1.basis"].estimate is not None
    with pytest.raises(RunFolderError, match=r"no velocities: .*counts updates.*record\(step, time="):
        ef.fit_closure(run)


def test_budget_says_that_it_needs_updates_and_the_drift_of_states_is_fitted(folder):
    run = folder("learning rates")
    with pytest.raises(RunFolderError, match=r"no budget of updates.*Recorder.*shell_energies"):
        ef.shell_budget(run)
    law = ef.fit_closure(run)
    # All eigenvalues of this control grow at one rate: b = 1, and c < 0.
    assert law.b == pytest.approx(1.0, abs=0.1) and law.gamma < 0
    shells = shell_energies(run)
    data = run.measurements
    np.testing.assert_allclose(shells.energy.sum("shell"), (data["coefficient"] ** 2).sum("mode"), rtol=1e-12)
    np.testing.assert_array_equal(shells.mode_count.sum("shell"), data.sizes["mode"])
    assert len(repr(shells).splitlines()) <= 15 and len(shells.to_dataframe()) == shells.energy.size
    some = shells.at(data["step"].values[::2])
    np.testing.assert_array_equal(some.energy, shells.energy[::2])
