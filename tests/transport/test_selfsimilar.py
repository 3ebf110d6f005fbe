"""Exact self-similar solutions: the section's constants, the equation itself, the solver, and the lazy limit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import beta, gamma

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.transport import Characteristics, TransportProblem, solve
from eigenflow.transport.selfsimilar import SelfSimilar, classify

CASES = [
    SelfSimilar(1.5, 0.5, 0.6),
    SelfSimilar(1.5, -0.5, 0.6),
    SelfSimilar(2.0, 0.5, 0.6),
    SelfSimilar(2.0, -1.5, 1.3),
    SelfSimilar(3.0, 0.4, 0.6),
    SelfSimilar(3.5, -0.4, 0.6),
    SelfSimilar(1.2, 0.9, 0.6),
    SelfSimilar(1.5, 0.5, 0.6, dissipation=1.0),
    SelfSimilar(1.7, 0.0, 0.6),
    SelfSimilar(1.0, 0.4, 0.6),
    SelfSimilar(1.0, -0.4, 0.6),
]
IDS = [f"b={case.b:g} c0={case.c0:g} r={case.dissipation:g}" for case in CASES]


@pytest.mark.parametrize(("b", "c0", "printed", "atol"), [
    (1.5, 0.5, 1.44092, 6e-6),
    (1.5, -0.5, 0.73154, 6e-6),
    (2.0, 0.5, 1.12153, 6e-6),
])  # fmt: skip
def test_loss_constants_of_theory(b, c0, printed, atol):
    """equations/solutions.md#self-similar-line prints five digits."""
    assert SelfSimilar(b, c0, 0.6).loss_constant == pytest.approx(printed, abs=atol)


@given(c0=st.floats(0.02, 3.0), s=st.floats(0.1, 2.5))
@settings(max_examples=40)
def test_scale_free_constants_are_beta_functions(c0, s):
    """b = 2: c^-s B(s, 2/c - s) sinking, c^-s B(s, 1 + 2/c) growing."""
    assert SelfSimilar(2.0, -c0, s).loss_constant == pytest.approx(c0**-s * beta(s, 1 + 2 / c0), rel=1e-11)
    if s < 1.95 / c0:
        assert SelfSimilar(2.0, c0, s).loss_constant == pytest.approx(c0**-s * beta(s, 2 / c0 - s), rel=1e-11)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_profile_solves_the_equation(case):
    """d_t g + d_lambda(v g) + r lambda g = 0 by central differences of sixth order, step 0.4 %: error near 1e-11."""
    time, z = 1.7, np.geomspace(1e-2, min(0.6 * case.front, 3.0), 9)
    eigenvalues, h = z / time, 4e-3
    weights = {1: 45 / 60, 2: -9 / 60, 3: 1 / 60}

    def flux(x):
        return -case.c0 * time ** (case.b - 2) * x**case.b * case.density(x, time)

    change = moved = 0.0
    for k, weight in weights.items():
        change += weight * (
            case.density(eigenvalues, time * (1 + k * h)) - case.density(eigenvalues, time * (1 - k * h))
        )
        moved += weight * (flux(eigenvalues * (1 + k * h)) - flux(eigenvalues * (1 - k * h)))
    lost = case.dissipation * eigenvalues * case.density(eigenvalues, time)
    residual = change / (h * time) + moved / (h * eigenvalues) + lost
    scale = np.abs(change / (h * time)) + np.abs(moved / (h * eigenvalues)) + lost
    assert np.abs(residual / scale).max() <= 1e-9


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_mass_of_the_profile_is_the_loss_constant(case):
    """By adaptive quadrature in ln z up to the front; nothing above it."""
    top = np.log(case.front) if case.c0 > 0 and case.b > 1 else 80.0
    mass = quad(
        lambda y: float(case.profile(np.exp(y))) * np.exp(y), -60, min(top, 80.0), limit=500, epsabs=0, epsrel=1e-10
    )[0]
    assert mass == pytest.approx(case.loss_constant, rel=2e-8)
    if np.isfinite(top) and top < 80:
        assert case.profile([1.001 * case.front])[0] == 0


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.b > 1], ids=[i for i, c in zip(IDS, CASES, strict=True) if c.b > 1]
)
def test_density_is_what_the_paths_carry_from_the_uncut_start(case):
    time = 3.0
    eigenvalues = np.geomspace(1e-3, min(0.9 * case.front, 4.0), 8) / time
    paths = Characteristics(case.drift, case.dissipation)
    labels = paths.backward(eigenvalues, time)
    carried = labels ** (case.s - 1) * paths.attenuation(labels, time) / paths.jacobian(labels, time)
    np.testing.assert_allclose(case.density(eigenvalues, time), carried, rtol=1e-10)


@pytest.mark.parametrize("case", [SelfSimilar(1.5, 0.5, 0.6), SelfSimilar(2.0, -0.5, 0.6)])
def test_solver_keeps_the_scaled_loss_and_profile(case):
    """Energy outside (1e-32, 1e9) is below 1e-8 of the totals at these times."""
    problem = TransportProblem(case.drift, 2.0, lambda x: x ** (case.s - 1), (1e-32, 1e9))
    times = np.array([1.0, 1e3])
    solution = solve(problem, times, cells=40)
    np.testing.assert_allclose(solution.total * times**case.s, case.loss_constant, rtol=1e-7)


@pytest.mark.parametrize("b", [1.5, 2.0, 3.0])
def test_lazy_limit_is_reached_linearly(b):
    """M = Gamma(s) 2^-s [1 + c0 2^(1-b) Gamma(s+b) / (Gamma(s) b (b-1)) + O(c0^2)], from H = y - c0 y^b / (b (b-1))."""
    s, lazy = 0.6, gamma(0.6) * 2**-0.6
    slope = 2 ** (1 - b) * gamma(s + b) / (gamma(s) * b * (b - 1))
    for c0 in (1e-5, -1e-5):
        assert SelfSimilar(b, c0, s).loss_constant / lazy - 1 == pytest.approx(c0 * slope, rel=1e-3)
    assert SelfSimilar(b, 0.0, s).loss_constant == pytest.approx(lazy, rel=1e-14)
    z = np.geomspace(1e-3, 3, 5)
    np.testing.assert_allclose(SelfSimilar(b, 1e-9, s).profile(z), z ** (s - 1) * np.exp(-2 * z), rtol=1e-7)


@given(b=st.floats(1.05, 4.0), c0=st.floats(-3.0, 3.0), s=st.floats(0.2, 2.0))
@settings(max_examples=40)
def test_sinking_raises_and_growth_lowers_the_loss(b, c0, s):
    phase = classify(b, c0, 2 - b, s)
    if c0 > 0 and phase.kappa is not None and s >= 1.9 * phase.kappa:
        return
    case, lazy = SelfSimilar(b, c0, s), gamma(s) * 2**-s
    # Round-off of the two sums decides when c0 is nearly 0.
    assert (case.loss_constant - lazy) * np.sign(c0) >= -1e-12 * lazy
    assert case.loss_exponent == s and case.height_exponent == 1 - s
    if abs(c0) > 1e-6:
        assert phase.asymptote(1e3) == pytest.approx(case.loss_constant * 1e3**-s, rel=1e-9)


@pytest.mark.parametrize("gamma_", [0.4, -0.4])
def test_linear_drift_scales_with_the_effective_time(gamma_):
    """b = 1: M = Gamma(s) ((1 - gamma) / 2)^s, and the profile's height grows as t^(1 - s (1 - gamma))."""
    case = SelfSimilar(1.0, gamma_, 0.6)
    rho = 1 - gamma_
    assert case.loss_constant == pytest.approx(gamma(0.6) * (rho / 2) ** 0.6, rel=1e-13)
    assert case.loss_exponent == pytest.approx(classify(1.0, gamma_, 1.0, 0.6).loss_exponent, rel=1e-13)
    assert case.density([0.2 / 9], 9.0) == pytest.approx(9 ** (1 - 0.6 * rho) * case.profile([0.2]), rel=1e-13)


@pytest.mark.rejects
def test_what_has_no_self_similar_solution_is_refused():
    with pytest.raises(ArgumentError, match="`b` must be at least 1"):
        SelfSimilar(0.5, 0.5, 0.6)
    with pytest.raises(ArgumentError, match="`c0` must be less than 1"):
        SelfSimilar(1.0, 1.0, 0.6)
    with pytest.raises(ArgumentError, match="`s` must be less than dissipation"):
        SelfSimilar(2.0, 5.0, 0.6)
    with pytest.raises(ArgumentError, match="must be positive"):
        SelfSimilar(2.0, 0.5, 0.0)
    with pytest.raises(NonFiniteError, match="`c0` must be finite"):
        SelfSimilar(2.0, np.nan, 0.6)
    with pytest.raises(ArgumentError, match="`scaled` must be positive"):
        SelfSimilar(2.0, 0.5, 0.6).profile([0.0])
    with pytest.raises(ArgumentError, match="`b` must exceed 1"):
        _ = SelfSimilar(1.0, 0.5, 0.6).drift
