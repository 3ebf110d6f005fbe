"""A fitted law of `forecast/fitting` as objective of a design: draws of its parameters at one size and peak rate."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.design.final_loss import LawFinalLoss
from eigenflow.forecast.fitting.fit import Fit
from eigenflow.forecast.fitting.reach import reach_cautions

__all__ = ["fit_final_loss"]

# Blocks of a design differ by more than this share of the peak, or do not matter.
EXACT = 1e-9


def fit_final_loss(fit: Fit, *, peak: float, size: float | None = None, draws: int = 8, seed: int = 0) -> LawFinalLoss:
    """Draw parameters of a fit for `design_schedule`.

    Args:
        fit: A fitted law.
        peak: Peak rate of the schedule to come; some laws move with it.
        size: Model size; None: the size of the fit, if it has one only.
        draws: The optimum, and this many less one draws of what the curves leave open.
        seed: Of the draws.

    Raises:
        ArgumentError: If the fit has several sizes and none is given.
    """
    known = sorted({value for value in fit.sizes if value is not None})
    if size is None and len(known) > 1:
        raise ArgumentError(
            f"`size` must be given: the fit has {len(known)} sizes, {', '.join(f'{s:g}' for s in known)}."
        )
    thetas = fit.theta[None]
    if draws > 1:
        thetas = np.vstack([thetas, fit.draws(draws - 1, np.random.default_rng(seed))])
    chosen = size if size is not None else next(iter(known), None)
    own = np.array([fit.covariates.own(theta, chosen, peak)[0] for theta in thetas])
    law: Any = fit.law
    if any(part.name == "tolerance" for part in fields(law)):
        law = replace(law, tolerance=EXACT)
    lower = np.array([p.to_theta(p.lower) for p in law.parameters])
    upper = np.array([p.to_theta(p.upper) for p in law.parameters])
    return LawFinalLoss(law, np.clip(own, lower, upper), reach_cautions(fit, peak))
