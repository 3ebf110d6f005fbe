"""A drift set by the state, against networks and quadratures that are solved otherwise."""

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq

from eigenflow.core.errors import ArgumentError
from eigenflow.transport import StateDrift, StateProblem, StateStatus, UpwardJumps, solve_state

TIMES = np.geomspace(0.05, 40.0, 25)


def problem(law, eigenvalues, energies, overlaps=None, jumps=None):
    arrays = [None if x is None else np.array(x, dtype=np.float64) for x in (eigenvalues, energies, overlaps)]
    return StateProblem(law, *arrays, jumps=jumps)


def spectrum(modes=60, power=0.5):
    lam = np.geomspace(1e-5, 1.0, modes)
    return lam, 0.1 * lam**power


def test_an_aligned_linear_network_of_two_layers_is_followed():
    """a' = 2 a (y - a) has a(t) = y e^(2yt) / (e^(2yt) - 1 + y / a0); its operator is 2 a, its overlap y (y - a).

    Sigmoids of Saxe, McClelland and Ganguli (equations/known_cases.md#aligned-networks). The energy is a difference of
    nearly equal numbers at late times, so it is compared on the scale of its start."""
    y, start = 3.0, 0.01
    times = np.linspace(0.1, 4.0, 30)
    a = y * np.exp(2 * y * times) / (np.exp(2 * y * times) - 1 + y / start)
    found = solve_state(problem(StateDrift(kappa=2 / start), [2 * start], [(y - start) ** 2], [y * (y - start)]), times)
    np.testing.assert_allclose(found.eigenvalues[:, 0], 2 * a, rtol=1e-10)
    np.testing.assert_allclose(found.total, (y - a) ** 2, atol=1e-10 * y**2)
    assert found.status is StateStatus.CONVERGED and found.certificate < 1e-10


@pytest.mark.parametrize("layers", [3, 4])
def test_deeper_aligned_networks_have_the_power_of_their_depth(layers):
    """a' = L a^(2 - 2/L) (y - a), operator L a^(2 - 2/L): kappa = (2L - 2) a0^(-2/L), q = 1 / (L - 1)."""
    y, start, share = 2.0, 0.05, 2.0 - 2.0 / layers
    path = solve_ivp(
        lambda t, a: layers * a**share * (y - a), (0, TIMES[-1]), [start], t_eval=TIMES, rtol=1e-12, atol=1e-14
    )
    a = path.y[0]
    law = StateDrift(kappa=(2 * layers - 2) * start ** (-2 / layers), scale_power=1 / (layers - 1))
    found = solve_state(problem(law, [layers * start**share], [(y - start) ** 2], [y * (y - start)]), TIMES)
    # Interpolation of the reference inside its steps is good to some 1e-9.
    np.testing.assert_allclose(found.eigenvalues[:, 0], layers * a**share, rtol=1e-8)


def test_a_scalar_head_of_one_input_is_followed():
    """f = a w x from w = 0: the operator is (a^2 + w^2) x^2 = sqrt(a0^4 + 4 beta^2) x^2 with beta = a w, so time is
    the integral of du / operator with beta = w* (1 - e^-u); kappa = 4 / a0^2 on that operator, q = 1."""
    head, target, variance = 0.3, 1.5, 0.7
    energy = variance * target**2
    found = solve_state(problem(StateDrift(kappa=4 / head**2), [variance * head**2], [energy]), TIMES)

    def elapsed(u):
        beta = lambda x: -target * np.expm1(-x)  # noqa: E731
        return quad(lambda x: 1 / (variance * np.sqrt(head**4 + 4 * beta(x) ** 2)), 0, u, epsabs=0, epsrel=1e-12)[0]

    for row in (3, 10, 14):
        u = brentq(lambda x, t=TIMES[row]: elapsed(x) - t, 0.0, 40.0, xtol=1e-13)
        assert found.total[row] == pytest.approx(energy * np.exp(-2 * u), rel=1e-8)


def test_the_head_of_many_inputs_obeys_the_law_of_its_scale():
    """a^2 is driven by -2 <f, e>, whatever the rank-one part does: a(t)^2 = a0^2 + 2 int F dt on the exact path."""
    exact = pytest.importorskip("eigenflow.lab.exact")
    net = exact.ScalarHeadNet(decay=1.5, source=0.4, head=0.4, modes=200)
    times = np.linspace(0.01, 3.0, 600)
    path = net.flow(times, tolerance=1e-6)
    made = path.head[:, None] * path.weights
    overlap = (net.variances * made * (net.target - made)).sum(1)
    law = StateDrift(kappa=2 / path.head[0] ** 2)
    scale = (path.head / path.head[0]) ** 2
    rates = np.array([law.rate(0.0, f, s) for f, s in zip(overlap, scale, strict=True)])
    # The trapezoid rule on 600 points and the path itself are good to 1e-5.
    whole = np.concatenate([[0.0], np.cumsum(0.5 * (rates[1:] + rates[:-1]) * np.diff(times))])
    np.testing.assert_allclose(np.exp(whole), scale, rtol=2e-5)


def test_rank_one_is_what_the_law_lacks_of_a_scalar_head():
    """With a large head the rank-one part of its operator is of order |w|^2 / a^2, and w is of order 1 / a."""
    exact = pytest.importorskip("eigenflow.lab.exact")
    misses = []
    for head in (4.0, 8.0, 16.0):
        net = exact.ScalarHeadNet(decay=1.5, source=0.4, head=head, modes=100)
        times = np.geomspace(0.1, 10, 12) / head**2
        truth = net.flow(times, tolerance=1e-7).loss - net.tail
        energies = net.variances * net.target**2
        law = StateDrift(kappa=2 / head**2)
        found = solve_state(problem(law, head**2 * net.variances, energies), times)
        misses.append(np.abs(found.loss / truth - 1).max())
    orders = np.log2(np.array(misses[:-1]) / misses[1:])
    assert orders == pytest.approx(4.0, abs=0.3)


def test_one_mode_under_its_own_energy_is_logistic():
    """s' = kappa E s and E' = -2 lambda s E give E = E0 - 2 lambda (s - 1) / kappa, so s is logistic."""
    kappa, lam, energy = 1.3, 0.2, 0.8
    rate = kappa * energy + 2 * lam
    most = rate / (2 * lam)
    scale = most / (1 + (most - 1) * np.exp(-rate * TIMES))
    law = StateDrift(kappa, energy_power=1.0, overlap_power=0.0, scale_power=0.0)
    found = solve_state(problem(law, [lam], [energy]), TIMES)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-10)
    np.testing.assert_allclose(found.total, energy - 2 * lam * (scale - 1) / kappa, atol=1e-11)


@pytest.mark.parametrize("power", [1.0, 1.5])
@pytest.mark.parametrize("scale_power", [0.0, 1.0])
def test_a_spectrum_agrees_with_quadrature_in_effective_time(power, scale_power):
    """s^(q+1) = 1 + (q+1) kappa int E^p dtau (q = 0 included), and t = int dtau / s: two quadratures, no ODE."""
    lam, energies = spectrum()
    kappa = 4.0

    def energy(tau):
        return float(energies @ np.exp(-2 * lam * tau))

    def scale(tau):
        whole = quad(lambda x: energy(x) ** power, 0, tau, epsabs=0, epsrel=1e-12, limit=200)[0]
        return (1 + (scale_power + 1) * kappa * whole) ** (1 / (scale_power + 1))

    law = StateDrift(kappa, energy_power=power, overlap_power=0.0, scale_power=scale_power)
    for tau in (0.3, 3.0, 30.0):
        time = quad(lambda x: 1 / scale(x), 0, tau, epsabs=0, epsrel=1e-11, limit=200)[0]
        found = solve_state(problem(law, lam, energies), np.array([time]))
        assert found.total[0] == pytest.approx(energy(tau), rel=1e-9)
        assert found.scale[0] == pytest.approx(scale(tau), rel=1e-9)
        assert found.error < 1e-9 and (found.certificate is None) == (power != 1.0)


@pytest.mark.parametrize("b", [0.7, 1.0, 1.2])
def test_any_exponent_agrees_with_eigenvalues_and_amplitudes_integrated_as_they_are(b):
    """The reference knows no effective time and no closed path: lambda' = v and g' = -lambda g, mode by mode."""
    lam, energies = spectrum(20)
    law = StateDrift(0.8, b=b, energy_power=0.5, scale_power=0.7, reference=0.3)

    def rates(t, y):
        now, left, log_scale = y[:20], y[20:40], y[40]
        energy, overlap = energies @ left**2, energies @ left
        w = 0.8 * energy**0.5 * (overlap - energy) * np.exp(-0.7 * log_scale)
        return np.concatenate([w * now * (now / 0.3) ** (b - 1), -now * left, [w]])

    start = np.concatenate([lam, np.ones(20), [0.0]])
    path = solve_ivp(rates, (0, TIMES[-1]), start, method="LSODA", t_eval=TIMES, rtol=1e-11, atol=1e-13)
    found = solve_state(problem(law, lam, energies), TIMES)
    np.testing.assert_allclose(found.eigenvalues, path.y[:20].T, rtol=1e-8)
    np.testing.assert_allclose(found.total, energies @ path.y[20:40] ** 2, rtol=1e-7)


def test_no_drift_is_the_lazy_limit_and_modes_at_zero_stay():
    """kappa = 0: exp(-2 lambda t), to rounding of the exponent."""
    lam, energies = np.array([0.0, 0.1, 2.0]), np.array([1.0, 2.0, 3.0])
    found = solve_state(problem(StateDrift(0.0), lam, energies), TIMES)
    np.testing.assert_allclose(found.energies, energies * np.exp(-2 * lam * TIMES[:, None]), rtol=1e-9, atol=1e-30)
    assert (found.energies[:, 0] == 1.0).all() and (found.eigenvalues == lam).all()


@pytest.mark.long
@pytest.mark.parametrize(
    ("law", "lam"),
    [
        # Energy that never decays drives growth for ever, or, with q = -1, to infinity at t = 1 / kappa.
        (StateDrift(1.0, energy_power=1.0, overlap_power=0.0, scale_power=0.0), [0.0, 1e-6]),
        (StateDrift(1.0, energy_power=1.0, overlap_power=0.0, scale_power=-1.0), [0.0, 1e-6]),
        # Eigenvalues that sink as s' = -E reach zero at a finite time.
        (StateDrift(-1.0, energy_power=1.0, overlap_power=0.0, scale_power=1.0), [1e-3, 1.0]),
        (StateDrift(5.0, b=2.0, energy_power=1.0, overlap_power=0.0, scale_power=0.0), [1e-3, 1.0]),
    ],
)
@pytest.mark.parametrize("jumps", [None, UpwardJumps(1.0)])
def test_what_becomes_infinite_is_told_and_never_nan(law, lam, jumps):
    """The last state is repeated; energies stay finite, positive and do not grow. Jumps are for b = 1 only."""
    jumps = jumps if law.b == 1.0 else None
    found = solve_state(problem(law, lam, [1.0, 0.5], jumps=jumps), np.geomspace(0.1, 1e4, 12))
    assert found.status is StateStatus.SINGULAR
    for values in (found.energies, found.eigenvalues, found.overlaps, found.scale):
        assert np.isfinite(values).all()
    assert (found.energies >= 0).all() and (np.diff(found.total) <= 1e-9).all()


@pytest.mark.rejects
def test_bad_states_and_times_are_refused():
    lam, energies = spectrum(5)
    with pytest.raises(ArgumentError, match=r"`energies` must be finite and >= 0, but entry 1 is -2"):
        StateProblem(StateDrift(1.0), [1.0, 2.0], [1.0, -2.0])
    with pytest.raises(ArgumentError, match=r"one value a mode each"):
        StateProblem(StateDrift(1.0), lam, energies[:3])
    with pytest.raises(ArgumentError, match=r"`jumps` are solved for b = 1 only, .* but b is 1.5"):
        StateProblem(StateDrift(1.0, b=1.5), lam, energies, jumps=UpwardJumps(1.0))
    with pytest.raises(ArgumentError, match=r"`energy_power` must be a number from 0 to 20, but is -1.0"):
        StateDrift(1.0, energy_power=-1.0)
    with pytest.raises(ArgumentError, match=r"all are 0"):
        StateProblem(StateDrift(1.0), [0.0], [1.0])
    good = StateProblem(StateDrift(1.0), lam, energies)
    for times in ([0.0, 1.0], [2.0, 1.0], [np.inf], []):
        with pytest.raises(ArgumentError, match=r"`times` must be"):
            solve_state(good, times)
    with pytest.raises(ArgumentError, match=r"`tolerance` must be"):
        solve_state(good, [1.0], tolerance=0.5)
