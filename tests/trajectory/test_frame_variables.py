"""Overlaps, couplings and what is measured from the first frame, against dense operators and enumeration."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.core.grid import shell_index
from eigenflow.trajectory.frame_variables import frame_variables
from eigenflow.trajectory.frames import Frame, Frames
from problems import AlignedLinearNet, samples, tanh_net

STEPS, SCHEDULE, RATE, COUNT = 9, (0, 2, 4, 8), 0.1, 12


def train(model, data, start=0, stop=STEPS):
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for step in range(start, stop):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(data[0]), data[1])
        loss.backward()
        optimizer.step()
        yield step, float(loss.detach())


def record(path, *, start=0, stop=STEPS, count=COUNT, **options):
    model, data = tanh_net(0, hidden=8), samples(0, count=count)
    for _ in train(model, data, 0, start):
        pass
    probe = ef.Probe(model, *data)
    with ef.Recorder(path, probe, SCHEDULE, resume_from=start or None, **options) as recorder:
        for step, loss in train(model, data, start, stop):
            recorder.step(step, loss=loss, learning_rate=RATE)
    return ef.open_run(path).measurements


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return record(tmp_path_factory.mktemp("runs") / "dense")


@pytest.fixture(scope="module")
def operators():
    """M, its eigenpairs by numpy, and e at every measured step."""
    model, (inputs, targets) = tanh_net(0, hidden=8), samples(0, count=COUNT)
    probe, found = ef.Probe(model, inputs, targets), []
    updates = train(model, (inputs, targets))
    for step in range(STEPS):
        if step in SCHEDULE:
            point = probe.at(probe.state())
            M = point.dense().numpy()
            values, vectors = np.linalg.eigh(M)
            found.append((M, values[::-1], vectors[:, ::-1].T, point.error.numpy()))
        next(updates)
    return found


def test_shell_overlaps_are_those_of_dense_projectors(data, operators):
    """Shells that hold every eigenvalue above rounding; 1e-9 allows for eigenvectors beside a shell's edge."""
    edges = data["edge"].values
    shells = [shell_index(values, edges) for _, values, *_ in operators]
    for name, then in (("shell_overlap", [0, 0, 1, 2]), ("shell_overlap_initial", [0, 0, 0, 0])):
        assert not data[name].values[0].any()
        for k in range(1, len(SCHEDULE)):
            (_, _, now, _), (_, _, before, _) = operators[k], operators[then[k]]
            expected = np.zeros((len(edges) + 1, len(edges) + 1))
            np.add.at(expected, (shells[k][:, None], shells[then[k]][None, :]), (now @ before.T) ** 2)
            np.testing.assert_allclose(data[name].values[k], expected, rtol=0, atol=1e-9)
            np.testing.assert_allclose(data[name].values[k].sum(1), data["mode_count"].values[k], atol=1e-11)


def test_distance_and_alignment_are_those_of_the_dense_operators(data, operators):
    first, y = operators[0][0], samples(0, count=COUNT)[1].numpy().reshape(-1)
    for k, (M, *_) in enumerate(operators):
        change, norm = np.linalg.norm(M - first) / np.linalg.norm(first), np.linalg.norm(M)
        # e + J dtheta is formed with rounding of M, which a distance of exactly zero shows.
        assert float(data["initial_distance"][k]) == pytest.approx(change, rel=1e-10, abs=1e-13)
        alignment = (M * first).sum() / (norm * np.linalg.norm(first))
        assert float(data["initial_alignment"][k]) == pytest.approx(alignment, rel=1e-12)
        assert float(data["target_alignment"][k]) == pytest.approx(y @ M @ y / (norm * (y @ y)), rel=1e-12)


def test_fixed_basis_follows_the_error_and_the_operator(data, operators):
    """Modes of the first operator that are apart; the sign of each is arbitrary."""
    _, values, vectors, _ = operators[0]
    is_apart = values > 1e-8 * values[0]
    for k, (M, _, _, error) in enumerate(operators):
        found = data["initial_rayleigh"].values[k, is_apart]
        expected = np.einsum("ui,ij,uj->u", vectors, M, vectors)[is_apart]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * values[0])
        amplitude = np.abs(data["initial_coefficient"].values[k, is_apart])
        np.testing.assert_allclose(amplitude, np.abs(vectors @ error)[is_apart], atol=1e-8 * np.linalg.norm(error))


def test_frame_overlap_carries_coefficients_over_an_interval(data, operators):
    """Rows of the overlap are the new eigenvectors in the old ones: the dense vectors, turned to the stored signs."""
    assert np.abs(data["frame_overlap"].values[0] - np.eye(data.sizes["leading"])).max() < 1e-12
    for k in range(1, len(SCHEDULE)):
        now, before = operators[k][2], operators[k - 1][2]
        expected = now @ before.T
        found = data["frame_overlap"].values[k]
        leading = operators[k][1] > 1e-6 * operators[k][1][0]
        np.testing.assert_allclose(
            np.abs(found[np.ix_(leading, leading)]), np.abs(expected[np.ix_(leading, leading)]), atol=1e-8
        )
        np.testing.assert_allclose(found @ found.T, np.eye(len(found)), atol=1e-12)
        np.testing.assert_array_equal(data["frame_time"][k], data["time"][k - 1])


def test_couplings_are_antisymmetric_and_give_the_kato_prediction(data):
    omega = data["coupling"].values
    for k in range(len(SCHEDULE)):
        np.testing.assert_allclose(omega[k], -omega[k].T, atol=1e-12 * np.abs(omega[k]).max())
        h, dt = data["linear_step"].values[k], float(data["step_size"][k])
        expected = data["kato_after"].values[k]
        np.testing.assert_allclose(h + dt * omega[k] @ h, expected, rtol=0, atol=1e-12 * np.abs(h).max())


@pytest.mark.parametrize("batch", [1, 3])
def test_sample_energy_gives_the_second_moment_of_minibatch_descent(tmp_path, batch):
    """All batches of a linear network's samples, drawn without replacement, each with its own update.

    See equations/identities.md#eq-s1.
    """
    data, rate = samples(3, count=6), 0.2

    def network():
        torch.manual_seed(0)
        return nn.Linear(3, 2).double()

    model = network()
    probe = ef.Probe(model, *data)
    with ef.Recorder(tmp_path / "run", probe, [0]) as recorder:
        for step, loss in train(model, data, 0, 1):
            recorder.step(step, loss=loss, learning_rate=RATE)
    stored = ef.open_run(tmp_path / "run").measurements.isel(step=0)
    lam, g = stored["eigenvalue"].values, stored["coefficient"].values
    vectors = ef.Probe(network(), *data).measure().eigenvectors.numpy()
    moments = []
    for rows in itertools.combinations(range(6), batch):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        nn.functional.mse_loss(model(data[0][list(rows)]), data[1][list(rows)]).backward()
        optimizer.step()
        error = np.sqrt(2 / 12) * (model(data[0]) - data[1]).detach().numpy().reshape(-1)
        moments.append((vectors @ error) ** 2)
    noise = (6 - batch) / (batch * (6 - 1)) * (stored["sample_energy"].values - g**2)
    expected = (1 - rate * lam) ** 2 * g**2 + rate**2 * lam**2 * noise
    # Weights and bias of two outputs give pairs of equal eigenvalues, whose sum alone is unique.
    sums = [np.add.reduceat(x, range(0, 12, 2)) for x in (np.mean(moments, 0), expected)]
    np.testing.assert_allclose(*sums, rtol=1e-11, atol=1e-13)


@pytest.mark.long
def test_tracked_modes_give_the_same_for_what_they_resolve(tmp_path):
    """Pairs certified to 1e-9: overlaps are of first order in their angles, so 1e-5 as for the energies."""
    data = record(tmp_path / "dense", count=24)
    tracked = record(tmp_path / "tracked", count=24, method="tracked", modes=10, tolerance=1e-9)
    assert "initial_distance" not in tracked and "initial_rayleigh" not in tracked
    count = tracked.sizes["leading"]
    assert count == 10
    lam = tracked["eigenvalue"].values
    for k in range(1, len(SCHEDULE)):
        gaps = np.abs(lam[k, :-1] - lam[k, 1:])
        assert gaps.min() > 0
        found, expected = tracked["frame_overlap"].values[k], data["frame_overlap"].values[k, :count, :count]
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)
        np.testing.assert_allclose(
            np.abs(tracked["coupling"].values[k]),
            np.abs(data["coupling"].values[k, :count, :count]),
            atol=1e-4 * np.abs(data["coupling"].values[k, :count, :count]).max(),
        )
        whole, part = data["shell_overlap"].values[k], tracked["shell_overlap"].values[k]
        kept = np.flatnonzero(tracked["mode_count"].values[k] > 0)[1:]
        then = np.flatnonzero(tracked["mode_count"].values[k - 1] > 0)[1:]
        np.testing.assert_allclose(part[np.ix_(kept, then)], whole[np.ix_(kept, then)], atol=1e-5)
        np.testing.assert_allclose(part.sum(1), tracked["mode_count"].values[k], atol=1e-5)
        np.testing.assert_allclose(part.sum(0), tracked["mode_count"].values[k - 1], atol=1e-5)
        np.testing.assert_allclose(
            np.abs(tracked["initial_coefficient"].values[k]),
            np.abs(data["initial_coefficient"].values[k, :10]),
            atol=1e-5,
        )


@pytest.mark.long
def test_fewer_couplings_are_the_corner_of_all(tmp_path, data):
    few = record(tmp_path / "run", couplings=5)
    np.testing.assert_array_equal(few["coupling"], data["coupling"][:, :5, :5])
    np.testing.assert_array_equal(few["shell_overlap"], data["shell_overlap"])


@pytest.mark.long
def test_lost_frame_is_marked_and_the_origin_stays(tmp_path, data):
    """A run resumed from before its last measurement has a later frame only, which would be a look ahead."""
    record(tmp_path / "run")
    again = record(tmp_path / "run", start=3)
    assert list(again["step"].values) == list(SCHEDULE)
    np.testing.assert_array_equal(again["frame_time"].values == again["time"].values, [True, False, True, False])
    np.testing.assert_allclose(again["frame_overlap"].values[2], np.eye(again.sizes["leading"]), atol=1e-12)
    assert not again["shell_overlap"].values[2].any()
    for name in ("initial_time", "initial_distance", "initial_coefficient", "shell_overlap_initial"):
        np.testing.assert_array_equal(again[name], data[name])


@pytest.mark.rejects
@pytest.mark.parametrize("couplings", [0, 25])
def test_couplings_out_of_range(tmp_path, couplings):
    with pytest.raises(ArgumentError, match=rf"`couplings` must lie in \[1, 24\].*but is {couplings}"):
        record(tmp_path / "run", couplings=couplings)


@pytest.mark.rejects
def test_resumed_run_keeps_its_number_of_couplings(tmp_path):
    record(tmp_path / "run", stop=3)
    with pytest.raises(ShapeError, match=r"'coupling' must have .*\(24, 24\).*\(5, 5\)"):
        record(tmp_path / "run", start=3, couplings=5, on_error="raise")


def test_nothing_but_labelled_variables_depends_on_the_choice_of_eigenvectors():
    """An aligned linear network has groups of equal eigenvalues; random rotations inside them change nothing."""
    case, frames, other = AlignedLinearNet(), Frames(), Frames()
    edges, generator = np.geomspace(1e-3, 10, 13), torch.Generator().manual_seed(0)
    for time in (0.1, 0.5, 0.7):
        probe = ef.Probe(*case.network(time), loss="half_sum")
        snapshot = probe.measure(drift=True)
        turn = torch.eye(16, dtype=torch.float64)
        for cluster in snapshot.clusters.unique():
            members = torch.where(snapshot.clusters == cluster)[0]
            block = torch.randn(len(members), len(members), generator=generator, dtype=torch.float64)
            turn[members[:, None], members] = torch.linalg.qr(block)[0]
        assert int(torch.bincount(snapshot.clusters).max()) > 1
        shells = torch.from_numpy(shell_index(snapshot.eigenvalues.numpy(), edges))
        found = []
        for memory, rotation in ((frames, torch.eye(16, dtype=torch.float64)), (other, turn)):
            now = Frame(time, snapshot.eigenvalues, rotation @ snapshot.eigenvectors, shells)
            couplings = rotation @ snapshot.couplings @ rotation.T
            options = {"leading": 5, "modes": 16, "shells": len(edges) + 1}
            found.append(frame_variables(probe, now, memory, couplings, snapshot.error, **options))
            memory.advance(now)
        for name, variable in found[0].items():
            if not variable.label_dependent:
                np.testing.assert_allclose(found[1][name].values, variable.values, atol=1e-12, err_msg=name)
    free = {name for name, variable in found[0].items() if not variable.label_dependent}
    assert free >= {"shell_overlap", "shell_overlap_initial", "initial_distance", "target_alignment"}
