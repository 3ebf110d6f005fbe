"""Teachers and students: test errors against sampled ones, and learning curves against the published exponent."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from eigenflow.core.errors import ArgumentError, ConvergenceError, LimitError
from eigenflow.core.limits import limits
from eigenflow.lab.exact import Committee, KernelTeacherStudent, MaternKernel, TeacherStudent
from eigenflow.tangent import Probe

LAPLACE = MaternKernel(0.5)


@pytest.mark.long
@pytest.mark.parametrize(
    ("dimension", "teacher", "student", "samples"),
    [
        (1, 0.5, 0.5, [50, 100, 200, 400]),
        (1, 1.5, 0.5, [50, 100, 200, 400]),
        (1, 2.5, 0.5, [50, 100, 200, 400]),  # the student's own 2 alpha_S ends it: 4 and not 5
        (2, 0.5, 0.5, [75, 150, 300, 600]),
        (2, 1.5, 0.5, [75, 150, 300, 600]),
        (2, 0.5, 1.5, [75, 150, 300, 600]),
        (2, 1.5, 1.5, [75, 150, 300, 600]),
    ],
)
def test_learning_curves(dimension, teacher, student, samples):
    """beta = min(alpha_T - d, 2 alpha_S) / d [@spigler2019asymptotic], derived for lattices and n without end.

    On random inputs of a few hundred samples exponents are up to 6 % lower; of draws three standard errors.
    """
    kernels = KernelTeacherStudent(MaternKernel(teacher), MaternKernel(student), dimension)
    curve = kernels.simulate(samples, 6, np.random.default_rng(0))
    beta, error = curve.exponent
    expected = min(2 * teacher, 2 * (2 * student + dimension)) / dimension
    assert kernels.exponent == curve.predicted == expected
    assert abs(beta - expected) <= 3 * error + 0.06 * expected
    assert 2 < len(repr(curve).splitlines()) <= 15


@pytest.mark.parametrize(
    ("teacher", "student", "expected"), [(0.5, 0.5, 1), (0.5, 2.5, 1), (1.5, 0.5, 3), (2.5, 0.5, 4)]
)
def test_learning_curves_of_a_lattice(teacher, student, expected):
    """As derived, also for a student that is smoother than its teacher; corrections of O(1 / n) leave 2 %."""
    kernels = KernelTeacherStudent(MaternKernel(teacher), MaternKernel(student))
    curve = kernels.simulate([100, 200, 400], 2, np.random.default_rng(0), is_equispaced=True)
    assert curve.exponent[0] == pytest.approx(expected, rel=0.02)


def test_error_is_that_of_sampled_teachers():
    """4000 fields of the teacher on one draw of inputs: four standard errors of their mean."""
    kernels, rng = KernelTeacherStudent(MaternKernel(1.5, 0.7), MaternKernel(0.5, 2.0), 2), np.random.default_rng(3)
    found = kernels.simulate([8, 16], 2, np.random.default_rng(5), tests=30).draws[0]
    draws = np.random.default_rng(5)
    inputs, seen = (
        x / np.linalg.norm(x, axis=1, keepdims=True)
        for x in (draws.standard_normal((16, 3)), draws.standard_normal((30, 3)))
    )
    both = np.vstack([inputs, seen])
    fields = np.linalg.cholesky(kernels.teacher(cdist(both, both)) + 1e-13 * np.eye(46)) @ rng.standard_normal(
        (46, 4000)
    )
    for place, n in enumerate((8, 16)):
        weights = np.linalg.solve(
            kernels.student(cdist(inputs[:n], inputs[:n])), kernels.student(cdist(inputs[:n], seen))
        )
        errors = ((fields[16:] - weights.T @ fields[:n]) ** 2).mean(axis=0)
        assert abs(errors.mean() - found[place]) <= 4 * errors.std() / np.sqrt(4000)


def test_kernels_are_theirs():
    r = np.linspace(0, 3, 7)
    np.testing.assert_allclose(MaternKernel(0.5, 2.0)(r), np.exp(-r / 2))
    np.testing.assert_allclose(MaternKernel(np.inf, 2.0)(r), np.exp(-(r**2) / 8))
    from scipy.special import gamma, kv

    for nu in (1.5, 2.5):
        z = np.sqrt(2 * nu) * r[1:] / 0.7
        np.testing.assert_allclose(
            MaternKernel(nu, 0.7)(r[1:]), 2 ** (1 - nu) / gamma(nu) * z**nu * kv(nu, z), rtol=1e-12
        )
        assert MaternKernel(nu)(np.zeros(1))[0] == 1.0
    assert KernelTeacherStudent(MaternKernel(np.inf), LAPLACE, 2).exponent == 3.0
    assert KernelTeacherStudent(MaternKernel(np.inf), MaternKernel(np.inf)).exponent == np.inf


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_exact_test_error_is_that_of_many_inputs(activation):
    """Two hundred thousand inputs: four standard errors, without and with a student of large weights."""
    for scale in (0.1, 3.0):
        task = TeacherStudent(12, 3, 5, activation, scale=scale).draw(4, torch.Generator().manual_seed(1))
        inputs = torch.randn(200_000, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            squares = (task.student(inputs) - task.teacher(inputs)).square()
        assert abs(float(squares.mean()) - task.test_error()) <= 4 * float(squares.std()) / 200_000**0.5


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_a_student_that_is_its_teacher(activation):
    """Split and reordered units give the same function: the error is rounding, through an arccosine near 1."""
    task = TeacherStudent(10, 2, 4, activation).draw(3, torch.Generator().manual_seed(0))
    hidden, readout = task.teacher.hidden, task.teacher.readout[0]
    copy = Committee(hidden[[1, 0, 1, 0]], 0.5 * readout[[1, 0, 1, 0]], activation)
    assert task.test_error(copy) < 1e-12
    zero = Committee(torch.zeros(1, 10), torch.ones(1), activation)
    with torch.no_grad():
        assert task.test_error(zero) == pytest.approx(
            float(task.test_error(Committee(hidden, 0 * readout, activation)))
        )


@pytest.mark.long
def test_training_lowers_the_exact_error_and_seeds_repeat():
    """One pass over fresh inputs in 3000 updates: an erf student with the units of its teacher escapes its plateau."""
    setting = TeacherStudent(10, 2, 2, "erf", trains_readout=False, scale=0.3)
    task, again = (setting.draw(5, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(task.inputs, again.inputs) and torch.equal(task.student.hidden, again.student.hidden)
    assert not task.student.readout.requires_grad
    before, generator = task.test_error(), torch.Generator().manual_seed(5)
    optimizer = torch.optim.SGD([task.student.hidden], lr=1.0)
    for _ in range(3000):
        inputs = torch.randn(20, 10, generator=generator, dtype=torch.float64)
        loss = 0.5 * (task.student(inputs) - task.teacher(inputs)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert task.test_error() < 1e-3 * before


def test_a_probe_measures_a_student_and_noise_is_in_its_targets():
    task = TeacherStudent(8, 2, 3, "relu", noise=0.5).draw(4000, torch.Generator().manual_seed(6))
    with torch.no_grad():
        rest = task.targets - task.teacher(task.inputs)
    assert float(rest.var()) == pytest.approx(0.5, rel=4 * (2 / 4000) ** 0.5)
    snapshot = Probe(task.student, task.inputs[:20], task.targets[:20], loss="half_mean").measure()
    assert float(snapshot.eigenvalues[0]) > 0 and len(repr(task).splitlines()) <= 15


@pytest.mark.rejects
class TestRejects:
    def test_kernels(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ArgumentError, match=r"`smoothness` must be one of 0\.5, 1\.5, 2\.5, inf"):
            MaternKernel(1.0)
        with pytest.raises(ArgumentError, match="`scale` must be > 0"):
            MaternKernel(0.5, 0.0)
        with pytest.raises(ArgumentError, match="`teacher` must be a MaternKernel"):
            KernelTeacherStudent("laplace", LAPLACE)
        kernels = KernelTeacherStudent(LAPLACE, LAPLACE)
        with pytest.raises(ArgumentError, match="`samples` must increase"):
            kernels.simulate([20, 10], 2, rng)
        with pytest.raises(ArgumentError, match="at least two whole numbers"):
            kernels.simulate([10], 2, rng)
        with pytest.raises(ArgumentError, match="one has no standard error"):
            kernels.simulate([10, 20], 1, rng)
        with pytest.raises(ArgumentError, match="the circle, but it is 2"):
            KernelTeacherStudent(LAPLACE, LAPLACE, 2).simulate([10, 20], 2, rng, is_equispaced=True)
        with limits(entries=100), pytest.raises(LimitError, match="A learning curve asks for"):
            kernels.simulate([10, 20], 2, rng)
        with pytest.raises(ConvergenceError, match=r"singular to rounding\. Use fewer samples"):
            KernelTeacherStudent(LAPLACE, MaternKernel(np.inf)).simulate([100, 300], 2, rng)

    def test_committees(self):
        generator = torch.Generator()
        for given, message in [
            ({"inputs": 0}, "`inputs` must be a whole number"),
            ({"activation": "tanh"}, "Unknown `activation` 'tanh'"),
            ({"noise": -1.0}, "`noise` must be a number from 0"),
            ({"trains_readout": 1}, "`trains_readout` must be True or False"),
        ]:
            with pytest.raises(ArgumentError, match=message):
                TeacherStudent(**given)
        with pytest.raises(ArgumentError, match="`samples` must be a whole number of samples"):
            TeacherStudent().draw(0, generator)
        with pytest.raises(ArgumentError, match="`generator` must be a generator of PyTorch"):
            TeacherStudent().draw(3, 0)
        with pytest.raises(ArgumentError, match="`student` must be a Committee"):
            TeacherStudent().draw(3, generator).test_error(torch.nn.Linear(2, 1))
