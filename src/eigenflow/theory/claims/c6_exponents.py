"""C6: explicit exponents. Here the loss exponent in time; those in width and data need more runs than one.

That a loss has the exponent of its spectrum takes two things: that the spectrum has one, and that the clock carries it
over. A row each; exponents in width, data and compute, and the peaks of the test risk, are judged over runs.
"""

from dataclasses import dataclass

import numpy as np

from eigenflow.theory.claims.assertions import DESCENT, Assertion, ClaimTest, asserts
from eigenflow.theory.claims.descent import curvature_note
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.exponents.loss_exponent import LossExponent
from eigenflow.theory.exponents.source_form import source_form
from eigenflow.theory.verdicts import Claim

__all__ = ["CLAIM"]

# Predictions this close to the fitted exponent count as equal when alternatives are compared.
TIE = 0.02
LEAST_WIDTH = 1e-3  # of an error; no exponent of a finite spectrum is known better


@dataclass(frozen=True)
class Pair:
    """A predicted and a fitted exponent of one window, and the half-width of the 90 % interval of `error`."""

    window: LossExponent
    predicted: float
    fitted: float
    half_width: float

    @property
    def error(self) -> float:
        """Relative."""
        return self.predicted / self.fitted - 1.0


def _over_windows(this: Assertion, pairs: list[Pair], more: str) -> Claim:
    """The mean error over windows, against the loss going on as it did in the window before."""
    errors, widths = (np.array([getattr(pair, name) for pair in pairs]) for name in ("error", "half_width"))
    weights = 1.0 / np.maximum(widths, LEAST_WIDTH) ** 2  # late windows sweep more modes, and are known better
    estimate = float(weights @ errors / weights.sum())
    # Windows overlap by half, so of n there are (n + 1) / 2 that share nothing.
    half = float(np.sqrt(2.0 * len(pairs) / (len(pairs) + 1.0) / weights.sum()))
    kept = [(abs(p.window.earlier / p.window.fitted - 1.0), abs(p.error)) for p in pairs if p.window.earlier]
    persisting, ours = np.median(kept, axis=0).tolist() if kept else (np.inf, 0.0)
    told = ", ".join(
        f"t = {p.window.start:.3g} to {p.window.end:.3g}: {p.predicted:.2f} for {p.fitted:.2f}" for p in pairs
    )
    return this.row(
        estimate,
        (estimate - half, estimate + half),
        f"mean over {len(pairs)} windows of predicted / fitted - 1 ({told}); {more}"
        + (f"; keeping the exponent of the time before errs by {persisting:.0%}" if kept else ""),
        beats_alternatives=ours <= max(persisting, TIE),
    )


@asserts(
    "C6.source",
    "what is to be learned has one source exponent over all modes that the run sweeps",
    # As much as 600 modes can tell from none. Two decades on, the exponent of the loss is off by twice that.
    band=(-0.25, 0.25),
    integrates=False,
)
def of_source(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The change of the source exponent over a decade of eigenvalues."""
    found = source_form(evidence.data)
    return this.row(
        found.change,
        (found.change - found.change_half_width, found.change + found.change_half_width),
        f"change of sigma over a decade of lambda, in the first error, from {found.modes} modes over "
        f"{found.decades:.1f} decades; one power for all has sigma = {found.source:.2g}",
    )


@asserts(
    "C6.time",
    "the loss exponent in time is the source exponent times that of the clock, both measured",
    band=(-0.1, 0.1),  # a tenth
)
def in_time(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The relative error of the exponent from spectrum and clock."""
    windows = evidence.loss_exponents
    last = windows[-1]
    return _over_windows(
        this,
        [Pair(w, w.predicted, w.fitted, w.error_half_width) for w in windows],
        f"in the last sigma = {last.source:.2g} of {last.modes} modes swept and rho = {last.clock:.2g}",
    )


@asserts(
    "C6.forecast",
    "so it is with the clock continued from the drift before the window",
    band=(-0.1, 0.1),
    decides=False,
)
def from_before(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The same, of the exponent that was known before the window."""
    windows = evidence.loss_exponents
    last = windows[-1]
    return _over_windows(
        this,
        [Pair(w, w.forecast, w.fitted, w.error_half_width) for w in windows],
        f"in the last rho = {last.clock_before:.2g} before it and {last.clock:.2g} in it",
    )


@asserts(
    "C6.spectrum",
    "the loss falls as the sum over the modes of the window's start, each at its own measured rate",
    band=(-0.1, 0.1),
    decides=False,  # it assumes no power law, and so no exponent
)
def over_modes(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The same, of the sum over measured modes."""
    return _over_windows(
        this,
        [Pair(w, w.summed, w.fitted, w.summed_error_half_width) for w in evidence.loss_exponents],
        f"no power law is assumed; what is missing is exchange between modes{curvature_note(evidence)}",
    )


CLAIM = ClaimTest(
    "C6",
    "Explicit scaling-law exponents (the loss exponent in time)",
    (of_source, in_time, from_before, over_modes),
    needs=[DESCENT],
)
