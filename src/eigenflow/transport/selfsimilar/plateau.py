"""What is never learned: the loss that stays when modes sink faster than they dissipate.

A mode keeps exp(-r Q), Q = integral of lambda dt over all time = integral of lambda / c over the
accumulated drift C, with lambda a function of C (equations/solutions.md#closed-solutions) and c one of C too:
1/c = (1/k) [1 + (1-p) C / (k t0)]^(p/(1-p)), or exp(C / (k t0)) / k at p = 1. In a variable in which the
integrand dies at both ends the trapezoid rule converges exponentially.
"""

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.flows.paths import Values, panel_rule
from eigenflow.transport.initial import departure_mesh
from eigenflow.transport.selfsimilar.phase import Phase
from eigenflow.transport.selfsimilar.profile import REACH, grid
from eigenflow.transport.selfsimilar.regimes import Regime

__all__ = ["lasting_share", "plateau_loss"]

Array = Float[np.ndarray, "..."]

_NODES, _WEIGHTS = panel_rule(12)


def plateau_loss(
    phase: Phase,
    density: object,
    domain: tuple[float | int, float | int],
    dissipation: float | int = 2.0,
) -> float:
    """Give L(inf), the integral of the start over the domain times what each mode keeps for ever.

    Args:
        phase: From `classify`; unless it has a plateau the result is 0.
        density: Start per unit eigenvalue, a function of an array of eigenvalues.
        domain: Eigenvalues to integrate over; energy outside counts as none. Nothing leaves through
            its ends: modes sink without bound.
        dissipation: Factor of lambda, 2.0 for energy.

    Returns:
        The plateau, in units of the start's integral; relative accuracy about 1e-9 for smooth starts.

    Raises:
        ArgumentError: If the density is no function, or negative, or the domain is not positive.
    """
    if not callable(density):
        raise ArgumentError("`density` must be a function of an array of eigenvalues. Wrap a constant as a lambda.")
    if not (0 < domain[0] < domain[1] < np.inf):
        raise ArgumentError(
            f"`domain` must be two positive finite eigenvalues, the lower one first, but is {domain!r}."
        )
    if not phase.has_plateau:
        return 0.0
    log_domain = (float(np.log(domain[0])), float(np.log(domain[1])))
    mesh = departure_mesh(density, log_domain)
    # Panels of the mesh fit the start; the share kept has a kink at the last mode that reaches zero.
    kink = _last_arrest(phase)
    edges = np.unique(np.concatenate([mesh.edges, np.log([kink]) if domain[0] < kink < domain[1] else []]))
    half = 0.5 * np.diff(edges)[:, None]
    x = edges[:-1, None] + half * (1.0 + _NODES)
    share = lasting_share(phase, np.exp(x), dissipation)
    return float(np.sum(mesh.density(x) * share * half * _WEIGHTS))


def lasting_share(phase: Phase, eigenvalues: Values, dissipation: float | int = 2.0) -> Array:
    """Give exp(-r Q), the share that a mode keeps for ever, by its eigenvalue at t = 0.

    0 for every mode where the phase has no plateau.
    """
    labels = np.asarray(eigenvalues, dtype=np.float64)
    if not phase.has_plateau:
        return np.zeros(labels.shape)
    flat = np.log(labels.ravel())
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        if phase.regime is Regime.ARREST:
            spent = _until_zero(phase, flat)
        elif phase.b == 1:
            spent = np.exp(flat) * _whole_time(phase)
        else:
            spent = _sinking(phase, flat)
        return np.asarray(np.exp(-dissipation * spent)).reshape(labels.shape)


def _last_arrest(phase: Phase) -> float:
    """Give the largest label that reaches zero (b < 1); inf if all do."""
    if phase.regime is not Regime.ARREST or phase.p <= 1:
        return np.inf
    power = 1.0 - phase.b
    return float((power * phase.c0 * phase.t0 / (phase.p - 1.0)) ** (1.0 / power))


def _log_slowness(phase: Phase, accumulated: Array) -> Array:
    """Give ln(1/c) when the drift has accumulated C; inf from C(inf) on."""
    strength, scale, q = np.log(phase.c0), phase.c0 * phase.t0, 1.0 - phase.p
    if q == 0:
        return accumulated / scale - strength
    base = 1.0 + q * accumulated / scale
    return np.where(base > 0, phase.p / q * np.log(np.maximum(base, 1e-300)), np.inf if phase.p > 1 else 0.0) - strength


def _whole_time(phase: Phase) -> float:
    """Integral of exp(-C) over all time, for b = 1."""
    scale, q = phase.c0 * phase.t0, 1.0 - phase.p
    if q == 0:
        return phase.t0 / (scale - 1.0)
    # C^n e^-C with n = p / (1 - p) has its peak at n, of width sqrt(n).
    n = max(0.0, phase.p / q)
    x = grid(-REACH, np.log(n + 12.0 * np.sqrt(n) + 2 * REACH), 1.0 + np.sqrt(n))
    return float(np.sum(np.exp(x - np.exp(x) + _log_slowness(phase, np.exp(x)))) * (x[1] - x[0]))


def _sinking(phase: Phase, log_labels: Array) -> Array:
    """Q for b > 1, beta > 1, with w = a C lambda0^a: lambda = lambda0 (1 + w)^(-1/a)."""
    a, q, beta = phase.b - 1.0, 1.0 - phase.p, phase.beta
    assert beta is not None
    # C reaches `log_scale` when c(t) begins to follow its power law.
    log_scale = np.log(phase.c0 * phase.t0 / q)
    bend = max(0.0, float(np.max(np.log(a) + log_scale + a * log_labels)))
    x = grid(-REACH * max(1.0, q), bend + REACH * q / (beta - 1.0), 1.0 + np.sqrt(1.0 / a + 1.0 / q))
    slowing, spent = np.logaddexp(0.0, x) / a, np.empty(len(log_labels))
    for i, label in enumerate(log_labels):
        log_accumulated = x - np.log(a) - a * label
        log_slowness = phase.p / q * np.logaddexp(0.0, log_accumulated - log_scale) - np.log(phase.c0)
        spent[i] = np.exp(label - slowing + log_slowness + log_accumulated).sum()
    return spent * (x[1] - x[0])


def _until_zero(phase: Phase, log_labels: Array) -> Array:
    """Q for b < 1, with q = (lambda / lambda0)^(1-b) from 1 to 0 and C = lambda0^(1-b) (1 - q) / (1-b)."""
    power = 1.0 - phase.b
    logit = grid(-REACH, REACH, 1.0 + np.sqrt(1.0 / power))
    log_q, log_rest = -np.logaddexp(0.0, -logit), -np.logaddexp(0.0, logit)
    last, spent = np.log(_last_arrest(phase)), np.empty(len(log_labels))
    for i, label in enumerate(log_labels):
        log_slowness = _log_slowness(phase, np.exp(power * label + log_rest) / power)
        # lambda dC, with dC = lambda0^(1-b) q (1 - q) dlogit / (1-b).
        terms = np.exp((1.0 + power) * label + log_q / power + log_slowness + log_q + log_rest)
        spent[i] = np.inf if label >= last else terms.sum() / power
    return spent * (logit[1] - logit[0])
