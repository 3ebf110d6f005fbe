"""A fit as plain values: everything that a prediction needs, and everything that a reader should see beside it."""

from dataclasses import asdict
from typing import Any

import numpy as np

from eigenflow.forecast.fitting.fit import Certificate, Fit, FitStatus
from eigenflow.forecast.fitting.posterior import Component
from eigenflow.forecast.laws.protocol import Law
from eigenflow.forecast.laws.transport import TransportLaw
from eigenflow.forecast.study.schema import FitForm, covariates_of

__all__ = ["fit_from_form", "fit_to_dict"]

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
        "conflict": fit.conflict,
        "noise": fit.noise,
        "point_noise": fit.point_noise,
        "parameters": fit.parameters,
        "theta": fit.theta.tolist(),
        "covariance": fit.covariance.tolist(),
        "posterior": [
            {
                "weight": one.weight,
                "theta": one.theta.tolist(),
                "covariance": one.covariance.tolist(),
                "conflict": one.conflict,
            }
            for one in fit.posterior
        ],
        "prior_sd": [float(sd) if np.isfinite(sd) else None for sd in fit.prior_sd],
        "slopes": [[slope.parameter, slope.kind] for slope in fit.covariates.slopes],
        "reference_size": fit.covariates.reference_size,
        "reference_rate": fit.covariates.reference_rate,
        "curves": [
            {"name": name, "size": size, "residuals": residual.tolist(), "jacobian": jacobian.tolist()}
            for name, size, residual, jacobian in zip(fit.curves, fit.sizes, fit.residuals, fit.jacobians, strict=True)
        ],
    }


def fit_from_form(form: FitForm) -> Fit:
    """Make a fit again from the checked form of `fit_to_dict`; predictions are the same to the last bit."""
    covariates = covariates_of(form)
    return Fit(
        law=covariates.law,
        covariates=covariates,
        theta=np.array(form.theta),
        covariance=np.array(form.covariance),
        prior_sd=np.array([np.inf if sd is None else sd for sd in form.prior_sd]),
        noise=form.noise,
        point_noise=form.noise if form.point_noise is None else form.point_noise,
        status=FitStatus[form.status],
        certificate=Certificate(**form.certificate.model_dump()),
        curves=tuple(curve.name for curve in form.curves),
        sizes=tuple(curve.size for curve in form.curves),
        residuals=tuple(np.array(curve.residuals) for curve in form.curves),
        jacobians=tuple(np.array(curve.jacobian).reshape(-1, covariates.count) for curve in form.curves),
        prior=form.prior,
        conflict=form.conflict,
        posterior=tuple(
            Component(one.weight, np.array(one.theta), np.array(one.covariance), one.conflict) for one in form.posterior
        ),
    )


def _settings(law: Law) -> dict[str, Any]:
    return {"reference": law.reference, "feedback": law.feedback} if isinstance(law, TransportLaw) else {}
