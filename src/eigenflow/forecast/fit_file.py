"""A fit as plain values: everything that a prediction needs, and everything that a reader should see beside it."""

from dataclasses import asdict
from typing import Any

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.covariates import Covariates, Slope
from eigenflow.forecast.fit import Certificate, Fit, FitStatus
from eigenflow.forecast.laws.protocol import Law
from eigenflow.forecast.laws.registry import law_named
from eigenflow.forecast.laws.transport import TransportLaw

__all__ = ["fit_from_dict", "fit_to_dict"]

SCHEMA = 1


def fit_to_dict(fit: Fit) -> dict[str, Any]:
    """Give a fit as plain values; an infinite standard deviation (no prior) becomes null."""
    return {
        "schema": SCHEMA,
        "law": fit.law.name,
        "settings": _settings(fit.law),
        "status": fit.status.name,
        "certificate": asdict(fit.certificate),
        "prior": fit.prior,
        "noise": fit.noise,
        "parameters": fit.parameters,
        "theta": fit.theta.tolist(),
        "covariance": fit.covariance.tolist(),
        "prior_sd": [float(sd) if np.isfinite(sd) else None for sd in fit.prior_sd],
        "slopes": [[slope.parameter, slope.kind] for slope in fit.covariates.slopes],
        "reference_size": fit.covariates.reference_size,
        "reference_rate": fit.covariates.reference_rate,
        "curves": [
            {"name": name, "size": size, "residuals": residual.tolist(), "jacobian": jacobian.tolist()}
            for name, size, residual, jacobian in zip(fit.curves, fit.sizes, fit.residuals, fit.jacobians, strict=True)
        ],
    }


def fit_from_dict(form: dict[str, Any]) -> Fit:
    """Make a fit again from `fit_to_dict`; predictions are the same to the last bit."""
    if form.get("schema") != SCHEMA:
        raise ArgumentError(
            f"A fit must have schema {SCHEMA}, but has {form.get('schema')!r}. Fit again with this version."
        )
    law = _law(form["law"], form["settings"])
    slopes = tuple(Slope(int(parameter), kind) for parameter, kind in form["slopes"])
    curves = form["curves"]
    return Fit(
        law=law,
        covariates=Covariates(law, slopes, form["reference_size"], form["reference_rate"]),
        theta=np.array(form["theta"]),
        covariance=np.array(form["covariance"]),
        prior_sd=np.array([np.inf if sd is None else sd for sd in form["prior_sd"]]),
        noise=form["noise"],
        status=FitStatus[form["status"]],
        certificate=Certificate(**form["certificate"]),
        curves=tuple(curve["name"] for curve in curves),
        sizes=tuple(curve["size"] for curve in curves),
        residuals=tuple(np.array(curve["residuals"]) for curve in curves),
        jacobians=tuple(np.array(curve["jacobian"]) for curve in curves),
        prior=form["prior"],
    )


def _settings(law: Law) -> dict[str, Any]:
    return {"reference": law.reference, "feedback": law.feedback} if isinstance(law, TransportLaw) else {}


def _law(name: str, settings: dict[str, Any]) -> Law:
    if name != TransportLaw.name:
        return law_named(name)
    # Earlier files hold the tolerance of a coarser rule, which is no part of a fit.
    return TransportLaw(settings["reference"], settings["feedback"])
