"""Studies as JSON files: everything that a forecast needs, nothing that has to be trusted to run.

The file holds the fitted curves too (thinned where they are dense), so a forecast can be checked, and fitted again.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import eigenflow
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve, CurveSet
from eigenflow.forecast.error_scale import OwnError
from eigenflow.forecast.fit import Fit
from eigenflow.forecast.fit_file import fit_from_dict, fit_to_dict
from eigenflow.forecast.schedules import Schedule
from eigenflow.forecast.study import Study, StudyFit

__all__ = ["load_study", "read_fit", "save_study", "study_from_dict", "study_to_dict", "write_fit"]

FORMAT = "eigenflow forecast"
VERSION = 1
STORED_POINTS = 500


def save_study(study: Study, path: str | Path) -> Path:
    """Write a study; an existing file is replaced in one step."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    waiting = target.with_name(target.name + ".part")
    text = json.dumps(study_to_dict(study), allow_nan=False, default=lambda value: value.item())  # numpy scalars
    waiting.write_text(text + "\n", encoding="utf-8")
    waiting.replace(target)
    return target


def load_study(path: str | Path) -> Study:
    """Read a study.

    Raises:
        ArgumentError: If the file is missing, is none of ours, or was written by a newer eigenflow.
    """
    source = Path(path)
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(
            f"{source} cannot be read: {error.strerror}. Make it with `eigenflow forecast fit`."
        ) from None
    except ValueError as error:
        raise ArgumentError(f"{source} is not JSON: {error}. Make it with `eigenflow forecast fit`.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ArgumentError(
            f"{source} is not a fit of eigenflow. Make one with `eigenflow forecast fit CURVES --out FILE`."
        )
    if content.get("version", 0) > VERSION:
        raise ArgumentError(
            f"{source} has version {content['version']}, newer than {VERSION}, which this eigenflow reads. Update "
            "eigenflow."
        )
    try:
        return study_from_dict(content)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ArgumentError(f"{source} is damaged ({error!r}). Fit again.") from None


def write_fit(fit: Fit, path: str | Path) -> Path:
    """Write a fit of `fit_law` as a study of one law; `eigenflow forecast predict` reads it too.

    Raises:
        ArgumentError: If the fit has lost its curves (`Fit.at`), without which its intervals would not hold.
    """
    if not isinstance(fit.intervals, StudyFit):
        raise ArgumentError("`fit` has no curves behind its intervals. Write the fit that `fit_law` returned.")
    return save_study(Study(fit.intervals.curves, (fit.intervals,), (fit.law.name,), False), path)


def read_fit(path: str | Path) -> Fit:
    """Read the fit of a file with one, as of `write_fit`; its forecasts are the same to the last bit.

    Raises:
        ArgumentError: If the file is missing, is none of ours, or holds several fits.
    """
    study = load_study(path)
    if len(study.fits) != 1:
        raise ArgumentError(f"{path} has {len(study.fits)} fits. Read them with `load_study`, and choose: `fit_for`.")
    return study.fits[0].fit


def study_to_dict(study: Study) -> dict[str, Any]:
    """As plain values for JSON; a curve stands there once, and fits name the sizes of theirs."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "eigenflow": eigenflow.__version__,
        "laws": list(study.laws),
        "per_size": study.is_per_size,
        "size_unit": study.curves.size_unit,
        "loss_unit": study.curves.loss_unit,
        "notes": list(study.curves.notes),
        "curves": [_curve_to_dict(curve) for curve in study.curves],
        "fits": [
            {
                "fit": fit_to_dict(one.fit),
                "alternatives": [fit_to_dict(other) for other in one.alternatives],
                "own": [
                    {"kind": own.kind, "errors": own.errors.tolist(), "spread": own.spread.tolist()} for own in one.own
                ],
            }
            for one in study.fits
        ],
    }


def study_from_dict(content: Mapping[str, Any]) -> Study:
    """Make a study again from `study_to_dict`; forecasts are the same to the last bit."""
    curves = CurveSet(
        tuple(_curve_from_dict(form) for form in content["curves"]),
        tuple(content["notes"]),
        float(content["size_unit"]),
        content["loss_unit"],
    )
    fits = tuple(_fit_from_dict(form, curves) for form in content["fits"])
    return Study(curves, fits, tuple(content["laws"]), bool(content["per_size"]))


def _fit_from_dict(form: Mapping[str, Any], curves: CurveSet) -> StudyFit:
    fit = fit_from_dict(form["fit"])
    by_key = {(curve.name, curve.size): curve for curve in curves}
    own = tuple(by_key[key] for key in zip(fit.curves, fit.sizes, strict=True))
    others = tuple(fit_from_dict(other) for other in form["alternatives"])
    # Files of version 1 that were written before studies had backtests of their own.
    backtests = tuple(
        OwnError(one["kind"], np.asarray(one["errors"]), np.asarray(one["spread"])) for one in form.get("own", [])
    )
    return StudyFit(fit, replace(curves, curves=own), others, backtests)


def _curve_to_dict(curve: Curve) -> dict[str, Any]:
    kept = curve.binned(STORED_POINTS)
    return {
        "name": curve.name,
        "size": curve.size,
        "role": curve.role,
        "tokens_per_step": curve.tokens_per_step,
        "branch": curve.branch,
        "file": None if curve.origin is None else str(curve.origin),
        "changes": list(kept.changes),
        "steps": kept.steps.tolist(),
        "losses": kept.losses.tolist(),
        "schedule": curve.schedule.to_dict(),
    }


def _curve_from_dict(form: Mapping[str, Any]) -> Curve:
    return Curve(
        form["name"],
        np.asarray(form["steps"], dtype=np.int64),
        np.asarray(form["losses"]),
        Schedule.from_dict(form["schedule"]),
        size=form["size"],
        tokens_per_step=form["tokens_per_step"],
        role=form["role"],
        branch=form["branch"],
        changes=tuple(form["changes"]),
    )
