"""C3, the closure: is the velocity a function of lambda, is S small, does the drift close the equation and predict?

Velocities are those along each measured update, or, where updates are those of minibatches, those of ranks between
measurements, in which the noise of single batches is averaged; every row names them.
"""

from collections.abc import Sequence

import numpy as np

from eigenflow.closure import ClosureResidual, residual_order
from eigenflow.closure.forward import ForwardCut
from eigenflow.core.resampling import correlated_interval
from eigenflow.theory.claims.assertions import CLOCK, RECORD, UPDATES, Assertion, asserts, median_interval
from eigenflow.theory.claims.evidence import WIDTHS, Evidence
from eigenflow.theory.verdicts import Claim

__all__ = ["advantage", "closes_by_drift", "forecasts", "jumps", "single_valued", "state_forecasts"]

# A residual that falls with a lower power of the shell width than this loses less than 16 % when shells are halved.
CONVERGING = 0.25
FEW = 6  # updates that a statement about a run needs
# What chance and quadrature may leave of an exact drift, together, for the rest to tell.
BLURRED = 0.8
# Forecasts that miss by less than this, in RMS of ln(loss), count as right.
RIGHT = 0.02
PLAIN = ("lazy", "power law")  # forecasts without any equation of transport


@asserts(
    "C3.single",
    "modes of one eigenvalue move with one velocity",
    # A tenth of the squared velocity left is a spread of a third: energy from one shell, 0.58 e-folds wide, is still in
    # about one after the mean has moved by an e-fold.
    band=(None, 0.1),
    needs=[UPDATES],
)
def single_valued(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The part of the squared velocity that is no function of the eigenvalue."""
    found = evidence.dispersion
    if evidence.has_minibatches:
        reason = (
            f"rates along single minibatches are mostly their noise; {found.share:.2g} of the square is not of lambda"
        )
        return this.undecided(reason, "a run with full batches")
    low, high = found.energy_interval
    return this.row(
        found.share,
        found.interval,
        f"part of the squared velocity of modes along single updates that a line in ln(lambda) in each shell leaves, "
        f"median over {len(found.times)} times of {found.modes:.0f} modes; weighted with energy "
        f"{found.energy_share:.2g} [{low:.2g}, {high:.2g}]; label-dependent where eigenvalues are close",
    )


@asserts(
    "C3.source",
    "S, the energy that jumps over shells, is small beside all that shells exchange, also as shells get narrow",
    band=(None, 0.1),  # small as C5.weak is
    needs=[UPDATES],
    decides=False,  # the equation has S; that coupling is weak is C5
)
def jumps(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The share of the exchange that jumps over at least one shell, at the narrowest shells and in their limit."""
    if not evidence.exchanges:
        return this.row(0.0, (0.0, 0.0), "no shell exchanges energy with another one, beyond rounding")
    found = evidence.sources
    if not found:
        share = evidence.locality.jumping_share
        told = f"{len(share)} updates exchange energy, too few for an average over any window"
        if len(share) < FEW:
            return this.undecided(told, "a run with more measurements")
        return this.median_row(share, evidence.rng(), f"median over single updates: {told}")
    finest = found[max(found)]
    share = {width: float(np.median(one.share)) for width, one in found.items()}
    low, high = median_interval(finest.share, evidence.rng())
    # Chance inside a window and differences between windows; the wider of both.
    low, high = min(low, float(np.median(finest.share_low))), max(high, float(np.median(finest.share_high)))
    limit = _limit(share)
    told = ", ".join(f"{value:.2g} at {width}" for width, value in share.items())
    return this.row(
        share[max(share)],
        (max(0.0, min(low, limit)), min(1.0, max(high, limit))),
        f"share of the energy exchanged between shells that jumps over at least one, by shells a decade: {told}; "
        f"{max(share)} is as many as modes fill, and the straight line through the last two widths comes to "
        f"{limit:.2g} at none. All exchange is {np.median(finest.exchanged):.2g} of the dissipation; "
        f"{len(finest.times)} windows of half a decade with {finest.updates.sum():.0f} updates; "
        f"{np.median(finest.open_share):.0%} of it is with open shells, and not counted",
    )


def _limit(share: dict[int, float]) -> float:
    """The share at no width, on the line through the two narrowest ones, each half of the one before."""
    widths = sorted(share)
    if len(widths) < 2:
        return share[widths[-1]]
    return float(np.clip(2.0 * share[widths[-1]] - share[widths[-2]], 0.0, 1.0))


@asserts(
    "C3.closure",
    "the drift gives most of the energy that passes from shell to shell",
    band=(None, 0.5),  # more than half of the flux is the law's, as far as so many modes can show; v = 0 leaves all
    needs=[RECORD, CLOCK],
)
def closes_by_drift(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The part of the flux that the drift leaves, beyond what chance leaves of an exact drift."""
    found = evidence.residuals
    flux, reason = found[4].flux, _left(found, evidence)
    if flux.blurred > BLURRED:
        change = "more modes, or measurements closer together: chance and quadrature together hide the drift"
        return this.undecided(reason, change)
    return this.row(flux.excess, flux.excess_interval, reason)


def _left(found: dict[int, ClosureResidual], evidence: Evidence) -> str:
    """What the drift leaves at every width of shells, in words."""
    law, flux, transport = evidence.free_law, found[4].flux, found[4].transport
    order, half = residual_order([1.0 / w for w in WIDTHS], [max(found[w].flux.share, 1e-300) for w in WIDTHS])
    converges = "it falls with the width" if order - half > CONVERGING else "it does not fall with the width"
    floor, floor_of_shells = ("unknown" if x.floor is None else f"{x.floor:.2g}" for x in (flux, transport))
    told = ", ".join(f"{one.flux.share:.2g} at {width}" for width, one in found.items())
    return (
        f"part of the flux through edges, added up over half decades of time, that v = -c(t) lambda^{law.b:.2f} "
        f"({evidence.velocities.kind} velocities, c(t) free) leaves, beyond the {floor} that so few modes leave of an "
        f"exact drift; with it {told} shells a decade, {converges} (order {order:.2g} +- {half:.2g}); quadrature "
        f"{flux.error_share:.2g}; of what single shells gain {transport.share:.2g}, chance {floor_of_shells}; beside "
        f"dissipation {found[4].equation_share:.2g}"
    )


@asserts(
    "C3.forward",
    "fitted before a cut, the equation forecasts better than lazy and power law",
    band=(0.0, None),  # better than both forecasts that need no equation, on the mean over the cuts
    needs=[RECORD, CLOCK],
    decides=False,
)
def forecasts(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The gain of the equation's forecasts over the better of both that need none."""
    test = evidence.forward
    if len(test.cuts) < 2:
        return this.undecided("; ".join(test.skipped), "a longer run with more measurements")
    gains = np.array([advantage(cut, others=PLAIN) for cut in test.cuts])
    share, points = test.coverage()
    told = "; ".join(
        f"{cut.cut:.1%}: "
        + ", ".join(f"{name} {cut.forecasts[name].score.rms_log_ratio:.2g}" for name in ("closure", *PLAIN))
        for cut in test.cuts
        if cut.cut in (0.1, 0.25, 0.5)
    )
    return _gain(
        this,
        gains,
        evidence,
        f"mean over {len(gains)} cuts of ln(RMS log error of the better of both / that of the equation), which wins at "
        f"{int((gains > 0).sum())}; {test.kind} velocities; {told}; its 90 % bands, from its own errors at earlier "
        f"cuts, hold {share:.0%} of {points} later losses",
    )


@asserts(
    "C3.state",
    "with a strength that the state sets, the equation forecasts better than lazy and power law",
    band=(0.0, None),
    needs=[RECORD, CLOCK],
    decides=False,  # c(t) as the state's is this project's, not the paper's
)
def state_forecasts(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The gain of forecasts by a drift that is tied to the state, over the better of both that need no equation."""
    test = evidence.forward
    if len(test.cuts) < 2:
        return this.undecided("; ".join(test.skipped), "a longer run with more measurements")
    gains, turned = (np.array([advantage(cut, name) for cut in test.cuts]) for name in ("state", "state + rotation"))
    share, points = test.coverage("state")
    return _gain(
        this,
        gains,
        evidence,
        f"mean over {len(gains)} cuts of ln(RMS log error of the better of both / that of v = kappa F lambda), F what "
        f"the error and the outputs say, which wins at {int((gains > 0).sum())}; with rotation {turned.mean():.2g}, at "
        f"{int((turned > 0).sum())}; its 90 % bands hold {share:.0%} of {points} later losses",
    )


def _gain(this: Assertion, gains: np.ndarray, evidence: Evidence, told: str) -> Claim:
    """A row about the mean gain over cuts; forecasts that are alike are no gain."""
    interval = correlated_interval(gains, lambda v: float(v.mean()), evidence.rng(), is_inside=True)
    return this.row(float(gains.mean()), interval, told, beats_alternatives=bool(gains.mean() > 0))


def advantage(cut: ForwardCut, method: str = "closure", others: Sequence[str] = PLAIN) -> float:
    """ln of (least RMS log error of the others / that of the method), where errors that count as right are alike."""
    errors = {name: max(cut.forecasts[name].score.rms_log_ratio, RIGHT) for name in (method, *others)}
    return float(np.log(min(errors[name] for name in others) / errors[method]))
