"""The one-step budget for losses that are not squared: a fifth term, the curvature of the loss.

Oracles: reference/loss_budget.py (autograd Hessians, one frame by scipy's polar decomposition, dense projectors), the
closed form of the energy of class labels, orders of convergence in the step.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import eigenflow as ef
from eigenflow.core.errors import NonFiniteError
from eigenflow.core.grid import shell_edges
from eigenflow.store import SCHEMA_VERSION
from eigenflow.tangent import CrossEntropyLoss, GeneralLoss
from eigenflow.trajectory import TailSettings, measure_step
from eigenflow.trajectory.step import linear_errors
from eigenflow.trajectory.sums import shell_sums, transfer_matrix
from problems import samples, tanh_net
from reference import dense_jacobian, loss_budget
from trajectory.test_step_budget import OPTIMIZERS, edges_of

pytestmark = pytest.mark.long

CLASSES, COUNT, STEP = 4, 8, 0.2
TERMS = ("dissipation", "optimizer", "curvature", "transfer", "remainder")


def softplus_margin(outputs, targets):
    """Convex with a full, diagonal Hessian, and none of the named losses."""
    return functional.softplus(-targets * outputs).sum() / len(outputs)


def make(kind, seed=0, *, count=COUNT, labels=None, hidden=7, linear=False):
    """A probe, its model, and the loss on some rows as a plain torch function of their outputs."""
    torch.manual_seed(seed)
    model = nn.Linear(3, CLASSES).double() if linear else tanh_net(seed, hidden=hidden, outputs=CLASSES)
    inputs, _ = samples(seed, count=count)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator) if labels is None else labels
    soft = torch.rand(count, CLASSES, generator=generator, dtype=torch.float64).softmax(-1)
    signs = 2.0 * functional.one_hot(labels, CLASSES).double() - 1.0
    loss, targets, function = {
        "labels": ("cross_entropy", labels, functional.cross_entropy),
        "probabilities": ("cross_entropy", soft, functional.cross_entropy),
        "through its Hessian": (GeneralLoss(function=functional.cross_entropy), labels, functional.cross_entropy),
        "softplus": (softplus_margin, signs, softplus_margin),
        "mse": ("mse", soft, functional.mse_loss),
    }[kind]
    probe = ef.Probe(model, inputs, targets, loss=loss)
    return probe, model, inputs, lambda z, rows=slice(None): function(z, targets[rows])


KINDS = ["labels", "probabilities", "through its Hessian", "softplus", "mse"]


def one_update(kind, optimizer="gradient descent", *, batch=None, warm=3, step_size=STEP, **options):
    """Train a few updates, then measure the next one; `batch` picks the samples of every update."""
    probe, model, inputs, function = make(kind, **options)
    make_step = OPTIMIZERS[optimizer](model.parameters())
    for step in range(warm + 1):
        before = probe.state()
        rows = slice(None) if batch is None else batch(step)
        make_step.zero_grad()
        function(model(inputs[rows]), rows).backward()
        make_step.step()
    after = probe.state()
    return measure_step(probe, before, after, step_size), (probe, model, inputs, function), (before, after)


def steps_of_gradient_descent(kind, sizes, **options):
    """The same state left by gradient-descent steps of several lengths."""
    probe, _, inputs, _ = make(kind, **options)
    before, gradient = probe.state(), probe.at().gradient()
    for size in sizes:
        after = ({n: p - size * gradient[n] for n, p in before[0].items()}, before[1])
        yield measure_step(probe, before, after, float(size)), probe


def flat(state):
    return torch.cat([p.reshape(-1) for p in state[0].values()])


BATCH = ("gradient descent", lambda step: slice(2 * (step % 3), 2 * (step % 3) + 2))
CASES = [*((name, None) for name in OPTIMIZERS), BATCH]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("optimizer", "batch"), CASES)
def test_five_terms_close_and_are_those_of_dense_projectors(kind, optimizer, batch):
    """Closing is an identity, 1e-12. The oracle takes roots of singular Hessians, whose rounding is 1e-16^(1/2)."""
    one, (_, model, inputs, function), (before, after) = one_update(kind, optimizer, batch=batch)
    edges = edges_of(one)
    sums = shell_sums(one, edges)
    energy = float(sums["energy"].sum())
    explained = -sums["dissipation"] + sum(sums[name] for name in TERMS[1:])
    assert float((sums["energy_after"] - sums["energy"] - explained).abs().max()) <= 1e-12 * energy
    assert abs(float(sums["transfer"].sum())) <= 1e-12 * energy
    expected = loss_budget.budget(model, inputs, function, flat(before), flat(after), STEP, edges)
    # Closed-form roots of cross-entropy carry their frame along only to first order in the step, so the split of
    # C and T differs from the oracle's in second order; their sum does not.
    exact = kind not in ("labels", "probabilities")
    for name, values in expected.items():
        if exact or name not in ("curvature", "transfer", "remainder"):
            np.testing.assert_allclose(sums[name], values, rtol=0, atol=1e-8 * energy, err_msg=name)
    together = sum(sums[name].numpy() for name in TERMS[2:])
    np.testing.assert_allclose(together, sum(expected[name] for name in TERMS[2:]), rtol=0, atol=1e-8 * energy)
    assert (float(sums["curvature"].abs().max()) == 0.0) == (kind == "mse")


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_descent_has_no_optimizer_term_and_the_closed_form_of_dissipation(kind):
    one, *_ = one_update(kind)
    edges = edges_of(one)
    sums = shell_sums(one, edges)
    energy = float(sums["energy"].sum())
    assert float(sums["optimizer"].abs().max()) <= 1e-12 * energy
    lam, g = one.before.eigenvalues.numpy(), one.before.coefficients.numpy()
    whole = float(((2 * STEP * lam - (STEP * lam) ** 2) * g**2).sum())
    assert float(sums["dissipation"].sum()) == pytest.approx(whole, rel=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_linear_network_has_no_nonlinearity_term(kind):
    """All that the loss's curvature does is in C and T, at any length of the step."""
    (one, _), *_ = steps_of_gradient_descent(kind, [1.0], linear=True)
    sums = shell_sums(one, edges_of(one))
    assert float(sums["remainder"].abs().max()) <= 1e-12 * float(sums["energy"].sum())
    assert kind == "mse" or float(sums["curvature"].abs().max()) > 1e-3 * float(sums["energy"].sum())


@pytest.mark.parametrize("kind", KINDS)
def test_remainder_and_kato_prediction_miss_in_second_order(kind):
    """e' - l, and the mode equations with the motion of the root in their couplings: a quarter per halving."""
    norms, misses = [], []
    for one, _ in steps_of_gradient_descent(kind, 4e-3 * 0.5 ** np.arange(4)):
        norms.append(float(torch.linalg.vector_norm(one.after_new - one.linear_new)))
        predicted = one.linear_old + one.step_size * one.before.couplings @ one.linear_old
        signs = torch.sign(one.overlap[one.successor, torch.arange(len(one.successor))])
        # Modes of the root's null space are one degenerate block; the others have labels.
        kept = one.before.eigenvalues > 1e-8 * one.before.eigenvalues[0]
        miss = (signs * one.after_new[one.successor] - predicted)[kept]
        misses.append(float(torch.linalg.vector_norm(miss)))
    for found in (norms, misses):
        order = np.log2(np.array(found[:-1]) / np.array(found[1:]))
        assert order[-1] == pytest.approx(2.0, abs=0.1), found


@pytest.mark.parametrize("kind", ["labels", "probabilities", "through its Hessian", "softplus"])
def test_dissipation_is_twice_the_fall_of_the_loss_and_curvature_is_the_rest(kind):
    """sum(X - D) = 2 dloss and sum C = d||e||^2 - 2 dloss, to first order: the misses fall by four per halving."""
    misses = []
    for one, _ in steps_of_gradient_descent(kind, 2e-2 * 0.5 ** np.arange(4)):
        sums = {name: float(values.sum()) for name, values in shell_sums(one, edges_of(one)).items()}
        fall = 2 * (one.after.loss - one.before.loss)
        energy = float(one.after.error.square().sum() - one.before.error.square().sum())
        misses.append((sums["optimizer"] - sums["dissipation"] - fall, sums["curvature"] - (energy - fall)))
    order = np.log2(np.abs(np.array(misses[:-1]) / np.array(misses[1:])))
    np.testing.assert_allclose(order[-1], 2.0, atol=0.1)


def test_curvature_of_labels_has_its_closed_form():
    """Sample by sample -(1 / p_y - 2) dlog p_y: it slows the fall of the energy where p_y > 1/2."""
    labels = torch.arange(COUNT) % CLASSES
    misses = []
    for one, _ in steps_of_gradient_descent("labels", 2e-2 * 0.5 ** np.arange(4), labels=labels):
        energies = (s.error.reshape(COUNT, CLASSES).square().sum(1) * COUNT for s in (one.before, one.after))
        p, new = (1 / (1 + energy) for energy in energies)
        expected = float((-(1 / p - 2) * (new.log() - p.log())).sum()) / COUNT
        misses.append(float(shell_sums(one, edges_of(one))["curvature"].sum()) - expected)
    order = np.log2(np.abs(np.array(misses[:-1]) / np.array(misses[1:])))
    assert order[-1] == pytest.approx(2.0, abs=0.1)


def test_terms_do_not_depend_on_the_root():
    """The closed root and H^(1/2) are turned against each other by the outputs; carried along, C, T and A agree.

    E, D and X agree to rounding; C, T and the transfer matrix to second order in the step. Without the frame of the
    first outputs H^(1/2) turns by itself, which T would show to first order.
    """
    sizes, found = 4e-2 * 0.5 ** np.arange(4), {"curvature": [], "transfer": [], "matrix": []}
    pairs = zip(*(steps_of_gradient_descent(k, sizes) for k in ("labels", "through its Hessian")), strict=True)
    for (closed, _), (general, _) in pairs:
        edges = edges_of(closed)
        mine, theirs = (shell_sums(one, edges) for one in (closed, general))
        energy = float(mine["energy"].sum())
        for name in ("energy", "energy_after", "dissipation", "optimizer"):
            np.testing.assert_allclose(mine[name], theirs[name], rtol=0, atol=1e-8 * energy)
        for name in ("curvature", "transfer"):
            found[name].append(float((mine[name] - theirs[name]).abs().max()))
        found["matrix"].append(float((transfer_matrix(closed, edges) - transfer_matrix(general, edges)).abs().max()))
    for name, misses in found.items():
        order = np.log2(np.array(misses[:-1]) / np.array(misses[1:]))
        assert order[-1] > 1.8, (name, misses)


@pytest.mark.parametrize("y", [0, 2])
def test_closed_root_carries_its_frame(y):
    """Anchored or not, B^+ dB is symmetric on the range of B^T, whatever the direction: differences over 1e-6.

    Anchored, at any distance: B B^T = H, B^T and B are transposed, B e = r, and the anchor's q0 is the null vector.
    """
    z, direction, far = samples(3, count=3, outputs=CLASSES)[1]
    target = functional.one_hot(torch.tensor([y]), CLASSES).double()
    plain = CrossEntropyLoss(classes=CLASSES)
    eye = torch.eye(CLASSES, dtype=torch.float64)[:, None]
    for loss in (plain, plain.anchored(z[None], target)):
        roots = [loss.spread((z + t * direction)[None], target, eye)[:, 0].T for t in (0.0, 1e-6, -1e-6)]
        inside = torch.linalg.pinv(roots[0], rtol=1e-10)
        X = inside @ (roots[1] - roots[2]) / 2e-6 @ inside @ roots[0]
        assert float((X - X.T).abs().max()) <= 1e-8 * float(X.abs().max())
    anchored, at = plain.anchored(z[None], target), (z + 3 * far)[None]
    B = anchored.spread(at, target, eye)[:, 0].T
    p = at[0].softmax(-1)
    torch.testing.assert_close(B @ B.T, torch.diag(p) - p[:, None] * p[None], rtol=0, atol=1e-15)
    torch.testing.assert_close(anchored.weigh(at, target, eye)[:, 0], B, rtol=0, atol=1e-15)
    torch.testing.assert_close(B @ anchored.error(at, target)[0], p - target[0], rtol=0, atol=1e-14)
    assert float((B @ z.softmax(-1).sqrt()).abs().max()) <= 1e-15


@pytest.mark.parametrize("kind", ["labels", "probabilities", "through its Hessian"])
def test_null_vectors_of_the_root_hold_no_energy_and_exchange_none(kind):
    """Adding a constant to a sample's logits changes nothing, before and after: one null vector, not two."""
    one, *_ = one_update(kind)
    edges = edges_of(one)
    sums = shell_sums(one, edges)
    assert int(sums["mode_count"][0]) >= COUNT
    for name in ("energy", "energy_after", *TERMS):
        assert abs(float(sums[name][0])) <= 1e-12 * float(sums["energy"].sum()), name


@pytest.mark.parametrize("margin", [-600.0, -30.0, 30.0, 600.0])
def test_saturated_samples_close_too(margin):
    """One class is pushed up by a margin: samples are sure and right (p_y = 1 - e^-margin), or sure and wrong.

    The energy of the wrong ones is e^margin, up to 1e260 here, and every term is finite.
    """
    labels = torch.arange(COUNT) % CLASSES
    probe, model, inputs, function = make("labels", labels=labels)
    with torch.no_grad():
        model[2].bias[1] += margin
    before, gradient = probe.state(), probe.at().gradient()
    after = ({n: p - 1e-3 * gradient[n] for n, p in before[0].items()}, before[1])
    one = measure_step(probe, before, after, 1e-3)
    sums = shell_sums(one, edges_of(one))
    assert all(bool(torch.isfinite(values).all()) for values in sums.values())
    energy = float(torch.maximum(sums["energy"], sums["energy_after"]).sum())
    explained = -sums["dissipation"] + sum(sums[name] for name in TERMS[1:])
    assert float((sums["energy_after"] - sums["energy"] - explained).abs().max()) <= 1e-12 * energy
    wrong = (labels != 1) if margin > 0 else (labels == 1)
    assert energy > np.exp(abs(margin) - 10) / COUNT and bool(wrong.any())


def test_classes_that_no_sample_has():
    """Their logits only fall: e = sqrt(p) there, and the budget is exact."""
    labels = torch.arange(COUNT) % 2
    probe, model, inputs, function = make("labels", labels=labels)
    before, gradient = probe.state(), probe.at().gradient()
    after = ({n: p - STEP * gradient[n] for n, p in before[0].items()}, before[1])
    one = measure_step(probe, before, after, STEP)
    expected = loss_budget.budget(model, inputs, function, flat(before), flat(after), STEP, edges_of(one))
    sums = shell_sums(one, edges_of(one))
    p = model(inputs).detach().softmax(-1)
    e = one.before.error.reshape(COUNT, CLASSES)
    dense_jacobian.set_parameters(model, flat(before))
    p = model(inputs).detach().softmax(-1)
    torch.testing.assert_close(e[:, 2:], (p[:, 2:] / COUNT).sqrt(), rtol=1e-13, atol=0)
    for name in ("energy", "energy_after", "dissipation", "optimizer"):
        np.testing.assert_allclose(sums[name], expected[name], rtol=0, atol=1e-8 * float(sums["energy"].sum()))


@pytest.fixture(scope="module", params=["labels", "softplus"])
def runs(request, tmp_path_factory):
    """The same minibatch training, measured with all modes and with ten."""
    folder, found = tmp_path_factory.mktemp("runs"), []
    tracked = {"method": "tracked", "modes": 10, "tolerance": 1e-10, "tail": TailSettings(steps=30, probes=2)}
    for name, options in {"dense": {}, "tracked": tracked}.items():
        probe, model, inputs, function = make(request.param, count=12)
        optimizer = torch.optim.SGD(model.parameters(), lr=STEP)
        with ef.Recorder(folder / name, probe, [0, 3, 8], **options) as recorder:
            for step in range(9):
                rows = slice(4 * (step % 3), 4 * (step % 3) + 4)
                optimizer.zero_grad()
                loss = function(model(inputs[rows]), rows)
                loss.backward()
                optimizer.step()
                recorder.step(step, loss=loss.detach(), learning_rate=STEP, batch_size=4)
        with torch.no_grad():
            end = model(inputs)
        found.append((ef.open_run(folder / name), float(function(end)), end))
    return request.param, found


def test_recorded_runs_hold_the_loss_and_the_energy_apart(runs):
    kind, found = runs
    for run, loss, outputs in found:
        data, budget = run.measurements, ef.shell_budget(run)
        whole = data["total_energy"].values
        np.testing.assert_allclose(budget.energy.sum("shell"), whole, rtol=1e-12)
        np.testing.assert_allclose(budget.energy_after.sum("shell"), data["total_energy_after"], rtol=1e-12)
        assert float(data["probe_loss_after"][-1]) == pytest.approx(loss, rel=1e-13)
        assert np.abs(budget.residual.values).max() <= 1e-12 * whole.max()
        assert np.abs(budget.transfer.sum("shell").values).max() <= 1e-12 * whole.max()
        assert float(np.abs(budget.curvature).max()) > 1e-4 * whole.max()
        columns = (budget.energy - budget.dissipation + budget.optimizer + budget.curvature).values  # l'P l
        np.testing.assert_allclose(budget.transfer_matrix.sum("shell"), columns, rtol=0, atol=1e-12 * whole.max())
        if kind == "labels":
            y = make(kind, count=12)[0].targets.reshape(12, CLASSES).argmax(1)
            p = outputs.softmax(-1)[torch.arange(12), y]
            assert float(data["total_energy_after"][-1]) == pytest.approx(float((1 / p - 1).mean()), rel=1e-12)
        assert run.header["schema_version"] == SCHEMA_VERSION and not run.header["probe"]["is_quadratic"]


def test_tracked_run_agrees_with_all_modes(runs):
    """Pairs are certified to 1e-10, energies are first order in angles: 1e-5 of the whole; the tail is a shell."""
    dense, tracked = (ef.shell_budget(run) for run, *_ in runs[1])
    scale = float(dense.energy.sum("shell").max())
    resolved = 0
    for step in range(3):
        above = np.flatnonzero(np.append(-1.0, tracked.edges) >= float(tracked.cut[step]))
        for name in ("energy", "energy_after", *TERMS):
            mine, theirs = (getattr(b, name).values[step] for b in (tracked, dense))
            np.testing.assert_allclose(mine[above], theirs[above], rtol=0, atol=1e-5 * scale, err_msg=name)
            assert mine[0] == pytest.approx(np.delete(theirs, above).sum(), abs=1e-5 * scale), name
        resolved += int((dense.mode_count.values[step, above] > 0).sum())
    assert resolved >= 3
    for name in ("probe_loss", "probe_loss_after", "total_energy"):
        mine, theirs = (run.measurements[name] for run, *_ in runs[1])
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


@pytest.mark.rejects
def test_linearised_update_that_overflows():
    """A step so long that the linear network would be wrong by a margin beyond float64."""
    probe, *_ = make("labels", labels=torch.zeros(COUNT, dtype=torch.long))
    before = probe.state()
    moved = {n: p.clone() for n, p in before[0].items()}
    moved["2.bias"][0] -= 5000.0
    moved["0.bias"] += 0.1
    update = {name: moved[name] - p for name, p in before[0].items()}
    with pytest.raises(NonFiniteError, match=r"changes outputs by up to 5e\+03, and the error of loss 'cross_entropy'"):
        linear_errors(probe.at(before), update)
    with pytest.raises(NonFiniteError, match="overflows"):
        measure_step(probe, before, (moved, before[1]), 0.1)


def test_shell_edges_are_those_of_the_symmetrised_operator(tmp_path):
    probe, model, inputs, function = make("labels")
    with ef.Recorder(tmp_path / "run", probe, [0]) as recorder:
        optimizer = torch.optim.SGD(model.parameters(), lr=STEP)
        first = float(probe.measure(drift=False).eigenvalues[0])
        function(model(inputs)).backward()
        optimizer.step()
        recorder.step(0, loss=1.0, learning_rate=STEP)
    np.testing.assert_array_equal(ef.open_run(tmp_path / "run").measurements["edge"], shell_edges(first))
