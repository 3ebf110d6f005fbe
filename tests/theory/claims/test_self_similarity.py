"""C5 on runs whose answer is known: every row, by the bands that stand."""

import numpy as np
import pandas as pd
import pytest

from eigenflow.theory.claims import CLAIMS, Evidence
from synthetic_run import DatasetRun, drifting_modes, measure, riccati
from theory.test_batch_noise import sgd_run

pytestmark = pytest.mark.long

LABELS = np.arange(1.0, 301.0) ** -1.5


def rows_of_run(run):
    return {row.claim: row for row in CLAIMS["C5"].judge(Evidence(run))}


def rows_of(data):
    count = data.sizes["mode"]
    return rows_of_run(DatasetRun(data, pd.DataFrame({"step": [0], "batch_size": [count], "momentum": [0.0]})))


@pytest.fixture(scope="module")
def transported():
    """b = 1 transport of a power-law spectrum, rho = 1.3, without rotation: the theory's own case."""
    rho = 1.3
    path = drifting_modes(
        LABELS,
        LABELS**0.75,  # energies lambda^1.5 k^-0 ... ~ lambda0^(1.5 - 1/1.5) in a shell
        lambda t: (1 + t) ** (rho - 1),
        lambda t: ((1 + t) ** rho - 1) / rho,
        lambda t: (rho - 1) / (1 + t),
    )
    times = np.concatenate([[0.0], np.geomspace(1.0, 300.0, 30)])
    return measure(path, times, 0.02 * (1 + times))


def test_the_theorys_own_case_is_self_similar(transported):
    rows = rows_of(transported)
    for key in ("C5.local", "C5.weak", "C5.kato", "C5.turned", "C5.frontier", "C5.collapse", "C5.dissipation"):
        assert rows[key].verdict == "supported", (key, rows[key])
    assert "z = 1" in rows["C5.collapse"].reason or "z = 0.9" in rows["C5.collapse"].reason
    # Energy below lambda0 ~ lambda0^(1.5 - 2/3), so it dissipates as t^-(1 + 1.3 * 0.83).
    assert "t^-2.0" in rows["C5.dissipation"].reason or "t^-2.1" in rows["C5.dissipation"].reason
    assert rows["C5"].claim == "C5"


def test_a_small_rotating_network_is_not(transported):
    """Six by six linear network (Riccati): its few modes turn into each other all the time."""
    times = np.concatenate([[0.0], np.geomspace(0.02, 3.0, 30)])
    rows = rows_of(measure(riccati(5), times, 1e-3 * (0.1 + times)))
    assert rows["C5.kato"].verdict == "contradicted"
    assert rows["C5.turned"].verdict != "supported"
    assert rows["C5.collapse"].verdict != "supported"
    assert rows["C5"].verdict != "supported"


def test_what_is_not_recorded_leaves_its_row_undecided(transported):
    rows = rows_of(transported.drop_vars(["coupling_matrix", "initial_coefficient"]))
    assert rows["C5.kato"].verdict == "undecided"
    assert "method='dense'" in rows["C5.kato"].reason
    assert "schema version 3" in rows["C5.frontier"].reason
    single = rows_of(transported.isel(step=[0]))
    assert {row.verdict for row in single.values()} <= {"undecided", "contradicted", "supported"}
    assert single["C5.frontier"].verdict == "undecided"
    assert "two measurements" in single["C5.frontier"].reason


def test_only_runs_with_batches_have_a_row_for_their_noise(transported):
    assert "C5.noise" not in rows_of_run(sgd_run(24))
    row = rows_of_run(sgd_run(4))["C5.noise"]
    assert row.band == (0.75, 1.25)
    assert row.estimate == pytest.approx(1.0, abs=0.2)
    lacking = sgd_run(4)
    lacking._losses["momentum"] = 0.9
    assert "plain SGD" in rows_of_run(lacking)["C5.noise"].reason


def test_with_batches_single_updates_bound_the_coupling_from_above():
    """The same rotating network, logged as if trained by batches: its angles cannot contradict, what remains can."""
    times = np.concatenate([[0.0], np.geomspace(0.02, 3.0, 30)])
    data = measure(riccati(5), times, 1e-3 * (0.1 + times))
    losses = pd.DataFrame({"step": [0], "batch_size": [5], "momentum": [0.0]})
    rows = rows_of_run(DatasetRun(data, losses))
    assert rows["C5.kato"].verdict == "undecided"
    assert "an upper bound" in rows["C5.kato"].reason
    assert rows["C5.turned"].verdict == rows_of(data)["C5.turned"].verdict


def test_a_preconditioned_optimizer_leaves_decay_laws_undecided(transported):
    """Energies that fall by ten times what gradient descent dissipates, at the optimizer's hand."""
    rows = rows_of(transported.assign(optimizer=-9.0 * transported["dissipation"]))
    assert rows["C5.dissipation"].verdict == "undecided"
    assert "-9 times what gradient descent" in rows["C5.dissipation"].reason
    # Beside all exchange, exchange beyond neighbours is what it is, whatever sets the decay.
    assert rows["C5.kato"].verdict == rows["C5.weak"].verdict == "supported"


def test_few_updates_decide_nothing(transported):
    rows = rows_of(transported.isel(step=slice(0, 5)))
    for key in ("C5.local", "C5.weak", "C5.kato", "C5.turned"):
        assert rows[key].verdict == "undecided", key
        assert "6 are needed" in rows[key].reason


def test_exchange_with_unresolved_shells_decides_nothing(transported):
    """Ten times the exchange between bounded shells goes to and from the lowest, open one."""
    moved = transported["transfer_matrix"].values.copy()
    off = np.abs(moved - moved.transpose(0, 2, 1)).sum((1, 2))
    moved[:, 0, 100] += 10 * off + 1e-3
    rows = rows_of(transported.assign(transfer_matrix=(("step", "shell", "shell_from"), moved)))
    for key in ("C5.local", "C5.weak", "C5.shift"):
        assert rows[key].verdict == "undecided"
        assert "open shells" in rows[key].reason
    energy = transported["energy"].copy()
    energy[:, 0] = 3 * energy.sum("shell")
    row = rows_of(transported.assign(energy=energy))["C5.collapse"]
    assert row.verdict == "undecided" and "hold 25% of the energy" in row.reason
