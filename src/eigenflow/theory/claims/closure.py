"""Rows on the closure: for C3, does a drift close the equation and does it predict; for C4, is it the stated law.

Velocities are those along each measured update, or, where updates are those of minibatches, those of ranks between
measurements, in which the noise of single batches is averaged; every row names them.
"""

from collections.abc import Callable

import numpy as np

from eigenflow.closure import (
    closure_residual,
    fit_drift_law,
    nonlocal_source,
    residual_order,
    velocity_dispersion,
)
from eigenflow.core.errors import EigenflowError
from eigenflow.core.resampling import block_interval
from eigenflow.shells import shell_budget
from eigenflow.theory.claims.bands import BANDS
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import SINGLE_UPDATES, make_row, undecided
from eigenflow.theory.verdicts import Claim

__all__ = ["closure_rows", "law_rows"]

# A residual that falls with a lower power of the shell width than this loses less than 16 % when shells are halved.
CONVERGING = 0.25
WIDTHS = (2, 4, 8)  # shells a decade at which the residual is looked at
PLAIN = ("lazy", "power law")  # forecasts without any equation of transport

# Rows on what single updates do.
OF_UPDATES = ("C3.single", "C3.source")

Row = Callable[[Evidence, str, str], Claim]


def closure_rows(evidence: Evidence) -> list[Claim]:
    """C3: v is a function of lambda, S is small, the drift gives the transport, and the equation predicts."""
    rows: dict[str, tuple[str, Row]] = {
        "C3.single": ("modes of one eigenvalue move with one velocity", _single),
        "C3.source": ("S, the energy that jumps over shells, is small beside the flux", _source),
        "C3.closure": ("the drift gives most of the energy that passes from shell to shell", _closure),
        "C3.forward": ("fitted before a cut, the equation forecasts better than lazy and power law", _forward),
    }
    return _tested(evidence, rows)


def law_rows(evidence: Evidence) -> list[Claim]:
    """C4: no richer form describes later velocities better, and the law's strength can be continued."""
    rows: dict[str, tuple[str, Row]] = {
        "C4.alternatives": ("no richer form of v(lambda) is better at later times", _alternatives),
        "C4.strength": ("c(t) = c0 (1 + t/t0)^-p with p >= 0, fitted earlier, holds at later times", _strength),
        "C4.forward": ("forecasts by the law are as good as by the last measured velocities", _law_forward),
    }
    return _tested(evidence, rows)


def _tested(evidence: Evidence, rows: dict[str, tuple[str, Row]]) -> list[Claim]:
    found = []
    for key, (statement, test) in rows.items():
        why = evidence.why_no_updates
        if why is not None and (key in OF_UPDATES or not evidence.has_clock):
            found.append(undecided(key, statement, why, SINGLE_UPDATES))
            continue
        try:
            found.append(test(evidence, key, statement))
        except EigenflowError as error:
            found.append(undecided(key, statement, str(error)))
    return found


def _single(evidence: Evidence, key: str, statement: str) -> Claim:
    found = velocity_dispersion(evidence.run.modes, evidence.budget.edges, seed=evidence.seed)
    if evidence.has_minibatches:
        reason = (
            f"rates along single minibatches are mostly their noise; {found.share:.2g} of the square is not of lambda"
        )
        return undecided(key, statement, reason, "a run with full batches")
    low, high = found.energy_interval
    return make_row(
        key,
        statement,
        found.share,
        found.interval,
        f"part of the squared velocity of modes along single updates that a line in ln(lambda) in each shell leaves, "
        f"median over {len(found.times)} times of {found.modes:.0f} modes; weighted with energy "
        f"{found.energy_share:.2g} [{low:.2g}, {high:.2g}]; label-dependent where eigenvalues are close",
    )


def _source(evidence: Evidence, key: str, statement: str) -> Claim:
    found = nonlocal_source(evidence.budget, seed=evidence.seed)
    interval = block_interval(found.share, lambda v: float(np.median(v)), evidence.rng())
    # Chance inside a window and differences between windows; the wider of both.
    inside = (float(np.median(found.share_low)), float(np.median(found.share_high)))
    return make_row(
        key,
        statement,
        float(np.median(found.share)),
        (min(interval[0], inside[0]), max(interval[1], inside[1])),
        f"share of the flux through edges that jumps over at least one shell a quarter of a decade wide; updates are "
        f"averaged over {len(found.times)} windows of half a decade, {found.updates.sum():.0f} in all; beside "
        f"dissipation and local exchange S is {np.median(found.beside_dissipation):.2g}; "
        f"{np.median(found.open_share):.0%} of all exchange is with open shells, and not counted",
    )


def _closure(evidence: Evidence, key: str, statement: str) -> Claim:
    law = fit_drift_law(evidence.velocities, "free", draws=0)
    drift, modes = law.drift(0.0), evidence.run.modes
    modes = modes if "eigenvalue" in modes and "coefficient" in modes else None
    found = {}
    for width in WIDTHS:
        budget = evidence.budget if width == 4 else shell_budget(evidence.run, shells_per_decade=width)
        found[width] = closure_residual(budget, drift, modes=modes, seed=evidence.seed)
    flux, transport = found[4].flux, found[4].transport
    order, half = residual_order([1.0 / w for w in WIDTHS], [max(found[w].flux.share, 1e-300) for w in WIDTHS])
    converges = "it falls with the width" if order - half > CONVERGING else "it does not fall with the width"
    floor, floor_of_shells = ("unknown" if x.floor is None else f"{x.floor:.2g}" for x in (flux, transport))
    told = ", ".join(f"{one.flux.share:.2g} at {width}" for width, one in found.items())
    reason = (
        f"part of the flux through edges, added up over half decades of time, that v = -c(t) lambda^{law.b:.2f} "
        f"({evidence.velocities.kind} velocities, c(t) free) leaves: {told} shells a decade, {converges} (order "
        f"{order:.2g} +- {half:.2g}); so few modes leave {floor} even of an exact drift, quadrature "
        f"{flux.error_share:.2g}; of what single shells gain {transport.share:.2g}, chance {floor_of_shells}; beside "
        f"dissipation {found[4].equation_share:.2g}"
    )
    limit = BANDS[key][1]
    if limit is not None and max(flux.floor or 0.0, flux.error_share) > limit:
        change = "more modes, or measurements closer together: chance or quadrature alone exceed the band"
        return undecided(key, statement, reason, change)
    return make_row(key, statement, flux.share, flux.interval, reason)


def _forward(evidence: Evidence, key: str, statement: str) -> Claim:
    test = evidence.forward
    if len(test.cuts) < 2:
        return undecided(key, statement, "; ".join(test.skipped), "a longer run with more measurements")
    gains = np.array([cut.advantage(others=PLAIN) for cut in test.cuts])
    share, points = test.coverage()
    told = "; ".join(
        f"{cut.cut:.1%}: "
        + ", ".join(f"{name} {cut.forecasts[name].score.rms_log_ratio:.2g}" for name in ("closure", *PLAIN))
        for cut in test.cuts
        if cut.cut in (0.1, 0.25, 0.5)
    )
    return make_row(
        key,
        statement,
        float(gains.mean()),
        block_interval(gains, lambda v: float(v.mean()), evidence.rng()),
        f"mean over {len(gains)} cuts of ln(RMS log error of the better of both / that of the equation), which wins at "
        f"{int((gains > 0).sum())}; {test.kind} velocities; {told}; its 90 % bands, from its own errors at earlier "
        f"cuts, hold {share:.0%} of {points} later losses",
    )


def _alternatives(evidence: Evidence, key: str, statement: str) -> Claim:
    found = evidence.forms
    best = found.best_richer
    told = ", ".join(f"{one.name} {one.error:.2g}" for one in [found.power, *found.simple, *found.richer])
    return make_row(
        key,
        statement,
        best.skill,
        best.interval,
        f"1 - squared error of lambda^{found.b:.2f} over that of the best richer form, {best.name}, at {found.times} "
        f"later times with free strengths; errors relative to v = 0: {told}; {evidence.velocities.kind} velocities",
    )


def _strength(evidence: Evidence, key: str, statement: str) -> Claim:
    found = evidence.forms
    scores = {one.name: one for one in found.continued}
    mine = scores["c(t) fading"]
    told = ", ".join(f"{one.name} {one.skill:.2g}" for one in found.continued)
    return make_row(
        key,
        statement,
        mine.skill,
        mine.interval,
        f"1 - squared error over that of v = 0 at {found.times} later times, b, c0, t0 and p from the earlier ones: "
        f"{told}; {evidence.velocities.kind} velocities",
        beats_alternatives=mine.skill > 0,
    )


def _law_forward(evidence: Evidence, key: str, statement: str) -> Claim:
    test = evidence.forward
    if len(test.cuts) < 2:
        return undecided(key, statement, "; ".join(test.skipped), "a longer run with more measurements")
    gains = np.array([cut.advantage(others=("persistence",)) for cut in test.cuts])
    similar = np.array([cut.advantage("self-similar", ("persistence",)) for cut in test.cuts])
    return make_row(
        key,
        statement,
        float(gains.mean()),
        block_interval(gains, lambda v: float(v.mean()), evidence.rng()),
        f"mean over {len(gains)} cuts of ln(RMS log error when every mode keeps the last t w of its shell / error of "
        f"v = -c0 (1 + t/t0)^-p lambda^b); with c = c0 t^(b-2) {similar.mean():.2g}; {test.kind} velocities",
    )
