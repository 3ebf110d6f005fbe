"""C3, the closure: is the velocity a function of lambda, is S small, does the drift close the equation and predict?

Velocities are those along each measured update, or, where updates are those of minibatches, those of ranks between
measurements, in which the noise of single batches is averaged; every row names them.
"""

import numpy as np

from eigenflow.closure import ClosureResidual, residual_order
from eigenflow.core.resampling import block_interval
from eigenflow.theory.claims.assertions import CLOCK, UPDATES, Assertion, asserts
from eigenflow.theory.claims.evidence import WIDTHS, Evidence
from eigenflow.theory.verdicts import Claim

__all__ = ["closes_by_drift", "forecasts", "jumps", "single_valued"]

# A residual that falls with a lower power of the shell width than this loses less than 16 % when shells are halved.
CONVERGING = 0.25
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
    "S, the energy that jumps over shells, is small beside the flux",
    band=(None, 0.1),  # small as C5.weak is: a tenth of the flux
    needs=[UPDATES],
)
def jumps(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The share of the flux that jumps over at least one shell."""
    found = evidence.source
    interval = block_interval(found.share, lambda v: float(np.median(v)), evidence.rng())
    # Chance inside a window and differences between windows; the wider of both.
    inside = (float(np.median(found.share_low)), float(np.median(found.share_high)))
    return this.row(
        float(np.median(found.share)),
        (min(interval[0], inside[0]), max(interval[1], inside[1])),
        f"share of the flux through edges that jumps over at least one shell a quarter of a decade wide; updates are "
        f"averaged over {len(found.times)} windows of half a decade, {found.updates.sum():.0f} in all; beside "
        f"dissipation and local exchange S is {np.median(found.beside_dissipation):.2g}; "
        f"{np.median(found.open_share):.0%} of all exchange is with open shells, and not counted",
    )


@asserts(
    "C3.closure",
    "the drift gives most of the energy that passes from shell to shell",
    band=(None, 0.5),  # more than half of the flux is the law's; v = 0 leaves all of it
    needs=[CLOCK],
)
def closes_by_drift(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The part of the flux that the drift leaves, where chance and quadrature can tell."""
    found = evidence.residuals
    flux, limit = found[4].flux, this.band[1]
    reason = _left(found, evidence)
    if limit is not None and max(flux.floor or 0.0, flux.error_share) > limit:
        change = "more modes, or measurements closer together: chance or quadrature alone exceed the band"
        return this.undecided(reason, change)
    return this.row(flux.share, flux.interval, reason)


def _left(found: dict[int, ClosureResidual], evidence: Evidence) -> str:
    """What the drift leaves at every width of shells, in words."""
    law, flux, transport = evidence.free_law, found[4].flux, found[4].transport
    order, half = residual_order([1.0 / w for w in WIDTHS], [max(found[w].flux.share, 1e-300) for w in WIDTHS])
    converges = "it falls with the width" if order - half > CONVERGING else "it does not fall with the width"
    floor, floor_of_shells = ("unknown" if x.floor is None else f"{x.floor:.2g}" for x in (flux, transport))
    told = ", ".join(f"{one.flux.share:.2g} at {width}" for width, one in found.items())
    return (
        f"part of the flux through edges, added up over half decades of time, that v = -c(t) lambda^{law.b:.2f} "
        f"({evidence.velocities.kind} velocities, c(t) free) leaves: {told} shells a decade, {converges} (order "
        f"{order:.2g} +- {half:.2g}); so few modes leave {floor} even of an exact drift, quadrature "
        f"{flux.error_share:.2g}; of what single shells gain {transport.share:.2g}, chance {floor_of_shells}; beside "
        f"dissipation {found[4].equation_share:.2g}"
    )


@asserts(
    "C3.forward",
    "fitted before a cut, the equation forecasts better than lazy and power law",
    band=(0.0, None),  # better than both forecasts that need no equation, on the mean over the cuts
    needs=[CLOCK],
)
def forecasts(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The gain of the equation's forecasts over the better of both that need none."""
    test = evidence.forward
    if len(test.cuts) < 2:
        return this.undecided("; ".join(test.skipped), "a longer run with more measurements")
    gains = np.array([cut.advantage(others=PLAIN) for cut in test.cuts])
    share, points = test.coverage()
    told = "; ".join(
        f"{cut.cut:.1%}: "
        + ", ".join(f"{name} {cut.forecasts[name].score.rms_log_ratio:.2g}" for name in ("closure", *PLAIN))
        for cut in test.cuts
        if cut.cut in (0.1, 0.25, 0.5)
    )
    return this.row(
        float(gains.mean()),
        block_interval(gains, lambda v: float(v.mean()), evidence.rng()),
        f"mean over {len(gains)} cuts of ln(RMS log error of the better of both / that of the equation), which wins at "
        f"{int((gains > 0).sum())}; {test.kind} velocities; {told}; its 90 % bands, from its own errors at earlier "
        f"cuts, hold {share:.0%} of {points} later losses",
    )
