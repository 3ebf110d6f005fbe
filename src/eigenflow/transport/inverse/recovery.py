"""The inverse problem: shell energies over time, in; the velocity and the source, out.

Only energies enter, never their differences in time: an exact forward solution is fitted to all
times at once, so noise is not amplified by differentiation and energy is conserved by construction.
"""

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.flows.characteristics import check_dissipation
from eigenflow.transport.flows.flow import Dissipation, rate_of
from eigenflow.transport.flows.paths import Values
from eigenflow.transport.inverse.clock import make_clock
from eigenflow.transport.inverse.data import ShellData, checked_data
from eigenflow.transport.inverse.exchange import Exchange
from eigenflow.transport.inverse.fit import Fit, Prior, fit_model
from eigenflow.transport.inverse.forward import Forward
from eigenflow.transport.inverse.model import Model, bending_basis
from eigenflow.transport.inverse.result import Recovered
from eigenflow.transport.inverse.speed import PowerShape
from eigenflow.transport.inverse.summary import summarise, undetermined

__all__ = ["recover"]

Array = Float[np.ndarray, "..."]

B_MEAN, B_SPREAD = 1.0, 1.5  # prior of the exponent; wide, and felt only where nothing moves
_START_BEND = 1.5  # prior spread of second differences of ln(start) between shells
_WEAK = 1e-8
_SCAN_B = 0.5, 1.0, 1.5, 2.0, 2.7
_SCAN_TIMES = 6
_SCAN_CAP = 2.0
_STARTS = 3
_ROUGH_NOISE = 0.05
_MOST_FUNCTIONS = 8


def recover(
    times: Values,
    edges: Values,
    energies: Values,
    *,
    dissipation: Dissipation = 2.0,
    noise: float | None = None,
    law: str = "power",
    strength: str = "auto",
    source: str = "none",
    floor: float = 1e-6,
    seed: int = 0,
) -> Recovered:
    """Recover v = -c(t) lambda^b, or a bent form of it, and S from shell energies.

    All energy is taken to lie between the first and the last edge at the first time; it may leave
    through both, nothing enters. Velocity is identified only where energy passes.

    Args:
        times: When the energies were measured, increasing, shape (time,).
        edges: Shell edges in the eigenvalue, positive, increasing, shape (shell + 1,).
        energies: Energy of each shell, not negative, shape (time, shell).
        dissipation: Factor of lambda (2.0 for energy), or a rate as a function of the eigenvalue.
        noise: Relative error of the energies, or None to find it from the residuals.
        law: "power", or "smooth": v / lambda is any smooth function of ln(lambda), of one sign at a
            time, times a strength; the bending prior's size is set by marginal likelihood.
        strength: "constant", "varying" (a spline in the logarithm of time, through zero if need
            be), or "auto", whichever has the larger marginal likelihood.
        source: "none", or "conservative": S = E(t) sigma(lambda) that integrates to zero over
            lambda, shrunk towards zero; needs law="power", strength "constant" (or "auto", which
            then means it) and a numeric `dissipation`.
        floor: Share of the largest energy below which energies carry no information.
        seed: Of the draws behind the intervals.

    Returns:
        Velocity, fluxes and source with 90 % intervals, resolution, misfit and status.

    Raises:
        ArgumentError: If an argument is out of its range, naming it.
    """
    data = checked_data(times, edges, energies, floor)
    check_dissipation(dissipation)
    _check_choices(dissipation, noise, law, strength, source)
    # Two parameters of the velocity and one of the start per shell need that much at least.
    if len(data.times) < 2 or data.points < data.energies.shape[1] * 0.5 + 4 or not data.has_energy[1:].any():
        return undetermined(data)
    first = _fit(data, dissipation, noise, 1, None, "power", "none")
    model, fit = first
    if strength != "constant" and source == "none":
        count = min(_MOST_FUNCTIONS, len(data.times) - 1)
        tried = _fit(data, dissipation, noise, count, first, "power", "none") if count > 1 else first
        if strength == "varying" or tried[1].evidence > fit.evidence:
            model, fit = tried
    if law == "smooth" or source == "conservative":
        count = model.clock.strength.shape[1]
        model, fit = _fit(data, dissipation, noise, count, (model, fit), law, source)
    return summarise(model, fit, noise, np.random.default_rng(seed))


def _check_choices(dissipation: Dissipation, noise: float | None, law: str, strength: str, source: str) -> None:
    if noise is not None and not 0 < noise < 1:
        raise ArgumentError(f"`noise` must be in (0, 1) or None, but is {noise}. It is a relative error.")
    choices = (
        ("law", law, ("power", "smooth")),
        ("strength", strength, ("constant", "varying", "auto")),
        ("source", source, ("none", "conservative")),
    )
    for name, value, allowed in choices:
        if value not in allowed:
            raise ArgumentError(f"Unknown `{name}` {value!r}. Available: {', '.join(map(repr, allowed))}.")
    if source == "conservative" and (law != "power" or strength == "varying" or callable(dissipation)):
        raise ArgumentError(
            "`source` 'conservative' needs law='power', a constant strength and a numeric `dissipation`: a freer "
            "velocity would take the source's place. Recover the velocity alone with source='none'."
        )


def _fit(
    data: ShellData,
    dissipation: Dissipation,
    noise: float | None,
    functions: int,
    before: tuple[Model, Fit] | None,
    law: str,
    source: str,
) -> tuple[Model, Fit]:
    """Fit one form, starting from a simpler one or from a scan."""
    clock = make_clock(data.times, float(rate_of(dissipation)(data.edges).max()), functions)
    bending = bending_basis(*data.log_edges[[0, -1]]) if law == "smooth" else None
    exchange = None
    if source == "conservative":
        assert not callable(dissipation)
        exchange = Exchange(data, clock, float(dissipation))
    model = Model(data, clock, dissipation, bending, exchange)
    prior = _prior(model)
    if before is not None:
        return model, fit_model(model, _extended(model, *before), prior, noise)
    starts = _scan(model, dissipation)
    if len(starts) > 1:
        rough = [fit_model(model, theta, prior, _ROUGH_NOISE, rounds=1) for theta in starts]
        starts = [max(rough, key=lambda fit: fit.evidence).theta]
    return model, fit_model(model, starts[0], prior, noise)


def _prior(model: Model) -> Prior:
    layout, size = model.layout, model.layout.size
    precision = _WEAK * np.eye(size)
    count = layout.start.stop
    if count > 2:
        second = np.diff(np.eye(count), 2, axis=0)
        precision[layout.start, layout.start] += second.T @ second / _START_BEND**2
    precision[layout.start, layout.start] += 1e-4 * np.eye(count)
    precision[layout.b, layout.b] = B_SPREAD**-2
    centre = np.zeros(size)
    centre[layout.start] = _log_density(model.data)
    centre[layout.b] = B_MEAN
    # The prior bends around a straight line, not around the data.
    mean = centre[layout.start].mean()
    centre[layout.start] = mean
    walk = slice(layout.strength.start + 1, layout.strength.stop)
    return Prior(centre, precision, [part for part in (walk, layout.bending, layout.source) if part.stop > part.start])


def _log_density(data: ShellData) -> Array:
    widths = np.diff(data.log_edges)
    start = np.log((data.energies[0] + data.floor) / widths)
    return start if len(start) > 1 else np.repeat(start, 2)


def _extended(model: Model, simpler: Model, fit: Fit) -> Array:
    theta = np.zeros(model.layout.size)
    old, new = simpler.layout, model.layout
    theta[new.start], theta[new.b] = fit.theta[old.start], fit.theta[old.b]
    factors = fit.theta[old.strength]
    # The first function is the constant in either form.
    theta[new.strength][: len(factors)] = factors
    return theta


def _scan(model: Model, dissipation: Dissipation) -> list[Array]:
    """Starts for the search: the best of a coarse grid of strengths and exponents."""
    data = model.data
    rows = np.unique(np.linspace(0, len(data.times) - 1, _SCAN_TIMES).round().astype(int))
    fastest = float(rate_of(dissipation)(data.edges).max())
    forward = Forward(data.log_edges, data.centres, make_clock(data.times[rows], fastest, 1), dissipation)
    start, logs = _log_density(data), data.logs[rows]
    sizes = np.geomspace(0.1, max(10.0, 3 * fastest * (data.times[-1] - data.times[0]) ** 0.5), 9)
    found = []
    for b in _SCAN_B:
        for factor in (0.0, *sizes, *-sizes):
            made = forward(start, np.array([factor]), PowerShape(b, model.reference), with_derivatives=False)
            gap = np.minimum(np.abs(np.log(made.energies + data.floor) - logs), _SCAN_CAP)
            found.append((float((gap**2).sum()), b, float(factor)))
    found.sort()
    thetas, taken = [], set()
    for _, b, factor in found:
        if b in taken:
            continue
        taken.add(b)
        theta = np.zeros(model.layout.size)
        theta[model.layout.start], theta[model.layout.b] = start, b
        theta[model.layout.strength] = factor
        thetas.append(theta)
        if len(thetas) == _STARTS:
            break
    return thetas
