"""The card of a run: its loss with what is forecast of it, and the verdicts on the eight claims."""

import numpy as np
from matplotlib.figure import Figure

from eigenflow.plots.card import CardFan, share_card
from eigenflow.report.answers import Answer
from eigenflow.report.answers.next import Next
from eigenflow.report.card import forecast_fan
from eigenflow.report.summary import Analysis

__all__ = ["run_card"]


def run_card(analysis: Analysis, coming: Next, told: list[Answer], *, name: str) -> Figure:
    """Draw the card of an analysed run.

    Args:
        analysis: As from `analyse`.
        coming: As from `what_next`.
        told: Answers of the report's first screen.
        name: Of the run.
    """
    run = analysis.run
    losses = run.losses
    if "loss" in losses and len(losses):
        steps, values = np.asarray(losses["step"], dtype=np.float64) + 1, np.asarray(losses["loss"], dtype=np.float64)
    else:
        steps = np.asarray(run.measured_steps, dtype=np.float64)
        values = np.asarray(run.measurements["probe_loss"].values, dtype=np.float64)
    kept = np.isfinite(values)
    by_key = {one.key: one for one in told}
    notes = [f"{by_key[key].question} {by_key[key].headline}." for key in ("done", "regime", "next", "change")]
    verdicts = [(row.claim, row.verdict.value) for row in analysis.claims if "." not in row.claim]
    ahead, law = coming.ahead, coming.law
    fan = None if law is None else forecast_fan(law)
    if ahead is not None:
        fan = CardFan(ahead.steps.astype(np.float64), ahead.loss, ahead.lower, ahead.upper, "how far off it was before")
    measured = steps[kept], values[kept]
    headline = f"Loss {values[kept][-1]:.4g} after {steps[kept][-1]:,.0f} updates"
    if fan is not None and law is not None:
        headline = f"Ends at {law.end.told}"
    return share_card(name, "report", headline, notes, measured=measured, fan=fan, verdicts=verdicts)
