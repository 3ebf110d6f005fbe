"""C6: explicit exponents. Here the loss exponent in time; other scaling exponents need more runs than one."""

from dataclasses import dataclass

import numpy as np

from eigenflow.theory.claims.descent import curvature_note, why_not_descent
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import make_claim, make_row, undecided
from eigenflow.theory.exponents.loss_exponent import LossExponent, loss_exponents
from eigenflow.theory.verdicts import Claim

__all__ = ["exponents"]

# Predictions this close to the fitted exponent count as equal when alternatives are compared.
TIE = 0.02


def exponents(evidence: Evidence) -> list[Claim]:
    """C6 and its assertions."""
    statement = "Explicit scaling-law exponents (the loss exponent in time)"
    why = why_not_descent(evidence)
    if why is not None:
        return [undecided("C6", statement, why)]
    windows = loss_exponents(evidence.data)
    last = windows[-1]
    time = _row(
        "C6.time",
        "the loss exponent in time is the source exponent times that of the clock, both measured",
        [Pair(w, w.predicted, w.predicted_half_width, w.fitted, w.fitted_half_width) for w in windows],
        f"in the last sigma = {last.source:.2g} from {last.modes} modes and rho = {last.clock:.2g}; fitted with the "
        f"power law's tail, without it the loss falls as t^-{last.raw:.2f}",
    )
    forecast = _row(
        "C6.forecast",
        "so it is with the clock continued from the drift before the window",
        [Pair(w, w.forecast, w.predicted_half_width, w.fitted, w.fitted_half_width) for w in windows],
        f"in the last rho = {last.clock_before:.2g} before it and {last.clock:.2g} in it",
    )
    spectrum = _row(
        "C6.spectrum",
        "the loss falls as the sum over the modes of the window's start, each at its own measured rate",
        [Pair(w, w.summed, w.summed_half_width, w.raw, w.raw_half_width) for w in windows],
        f"no power law is assumed; what is missing is exchange between modes{curvature_note(evidence)}",
    )
    return make_claim("C6", statement, [time, forecast, spectrum], time)


@dataclass(frozen=True)
class Pair:
    """A predicted and a fitted exponent of one window."""

    window: LossExponent
    predicted: float
    predicted_half_width: float
    fitted: float
    fitted_half_width: float

    @property
    def error(self) -> float:
        """Relative."""
        return self.predicted / self.fitted - 1.0

    @property
    def half_width(self) -> float:
        """Of the 90 % interval of `error`."""
        return float(np.hypot(self.predicted_half_width, self.predicted / self.fitted * self.fitted_half_width)) / abs(
            self.fitted
        )


def _row(key: str, statement: str, pairs: list[Pair], more: str) -> Claim:
    estimate = float(np.median([pair.error for pair in pairs]))
    # Windows overlap and share modes, so the interval is that of one window.
    half = float(np.median([pair.half_width for pair in pairs]))
    # The alternative: the loss goes on as it did in the window before.
    kept = [(abs(p.window.earlier / p.window.raw - 1.0), abs(p.error)) for p in pairs if p.window.earlier]
    persisting, ours = np.median(kept, axis=0).tolist() if kept else (np.inf, 0.0)
    told = ", ".join(
        f"t = {p.window.start:.3g} to {p.window.end:.3g}: {p.predicted:.2f} for {p.fitted:.2f}" for p in pairs
    )
    return make_row(
        key,
        statement,
        estimate,
        (estimate - half, estimate + half),
        f"median over {len(pairs)} windows of predicted / fitted - 1 ({told}); {more}"
        + (f"; keeping the exponent of the time before errs by {persisting:.0%}" if kept else ""),
        beats_alternatives=ours <= max(persisting, TIE),
    )
