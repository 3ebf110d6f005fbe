"""Studies as JSON files: everything that a forecast needs, nothing that has to be trusted to run.

The file holds the fitted curves too (thinned where they are dense), so a forecast can be checked, and fitted again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import eigenflow
from eigenflow.core.checks import check_kind
from eigenflow.core.errors import ArgumentError, EigenflowError, FileError, LimitError
from eigenflow.core.reading import read_json
from eigenflow.core.writing import write_whole
from eigenflow.forecast.curves import Curve, CurveSet
from eigenflow.forecast.fitting.fit import Fit
from eigenflow.forecast.intervals.calibrated import CalibratedIntervals
from eigenflow.forecast.intervals.error_scale import OwnError
from eigenflow.forecast.schedules.schedule import Schedule
from eigenflow.forecast.study.schema import CurveForm, GroupForm, StudyForm, checked_study
from eigenflow.forecast.study.stored_fit import fit_from_form, fit_to_dict
from eigenflow.forecast.study.study import Study

__all__ = ["load_study", "read_fit", "save_study", "study_to_dict", "write_fit"]

FORMAT = "eigenflow forecast"
VERSION = 1
STORED_POINTS = 500


def save_study(study: Study, path: str | Path, *, replace: bool = True) -> Path:
    """Write a study, in a folder that exists; an existing file is replaced as a whole.

    Raises:
        ArgumentError: If the file exists and must not be replaced.
        FileError: If the system refuses.
    """
    plain = json.dumps(study_to_dict(study), allow_nan=False, default=lambda value: value.item())  # numpy scalars
    content = json.loads(plain)
    text = json.dumps({**content, "sha256": _checksum(content)})
    return write_whole(path, text + "\n", replace=replace)


def load_study(path: str | Path) -> Study:
    """Read a study.

    Raises:
        ArgumentError: If the file is missing, is none of ours, or was written by a newer eigenflow.
    """
    check_kind("path", path, (str, Path), "the path of a file of fits")
    source = Path(path)
    try:
        content = read_json(source)
    except LimitError:
        raise
    except (ArgumentError, FileError) as error:
        raise type(error)(f"{error} Make it with `eigenflow forecast fit`.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ArgumentError(
            f"{source} is not a fit of eigenflow. Make one with `eigenflow forecast fit CURVES --out FILE`."
        )
    version = content.get("version")
    if not isinstance(version, int) or version < 1:
        raise ArgumentError(f"{source} is damaged: its version is {str(version)[:40]!r}. Fit again.")
    if version > VERSION:
        raise ArgumentError(
            f"{source} has version {version}, newer than {VERSION}, which this eigenflow reads. Update eigenflow."
        )
    # Files that were written before there was a checksum have none.
    if "sha256" in content and content["sha256"] != _checksum(content):
        raise ArgumentError(
            f"{source} was changed after it was written: its checksum is another one. Fit again, or, if you changed it "
            f"on purpose, remove its key `sha256`."
        )
    try:
        return _study_of(*checked_study(content, f"{source}"))
    except EigenflowError as error:
        if str(error).startswith(f"{source}"):
            raise
        raise ArgumentError(f"{source} is damaged: {error}") from None


def _checksum(content: Mapping[str, Any]) -> str:
    """Of all values but itself, however they are spaced and ordered."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_fit(fit: Fit, path: str | Path) -> Path:
    """Write a fit of `fit_law` as a study of one law; `eigenflow forecast predict` reads it too.

    Raises:
        ArgumentError: If the fit has lost its curves (`Fit.at`), without which its intervals would not hold.
    """
    if fit.intervals is None:
        raise ArgumentError("`fit` has no curves behind its intervals. Write the fit that `fit_law` returned.")
    return save_study(Study(fit.known, (fit,), (fit.law.name,), False), path)


def read_fit(path: str | Path) -> Fit:
    """Read the fit of a file with one, as of `write_fit`; its forecasts are the same to the last bit.

    Raises:
        ArgumentError: If the file is missing, is none of ours, or holds several fits.
    """
    study = load_study(path)
    if len(study.fits) != 1:
        raise ArgumentError(f"{path} has {len(study.fits)} fits. Read them with `load_study`, and choose: `fit_for`.")
    return study.fits[0]


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
        "fits": [_group_to_dict(fit) for fit in study.fits],
    }


def _study_of(form: StudyForm, schedules: Sequence[Schedule]) -> Study:
    """Make a study again; forecasts are the same to the last bit."""
    curves = CurveSet(
        tuple(_curve_of(curve, schedule) for curve, schedule in zip(form.curves, schedules, strict=True)),
        tuple(form.notes),
        form.size_unit,
        form.loss_unit,
    )
    by_key = {(curve.name, curve.size): curve for curve in curves}
    fits = tuple(_group_of(group, curves, by_key) for group in form.fits)
    return Study(curves, fits, tuple(form.laws), form.per_size)


def _group_to_dict(fit: Fit) -> dict[str, Any]:
    intervals = fit.intervals
    if not isinstance(intervals, CalibratedIntervals):
        raise ArgumentError("A fit has no curves behind its intervals. Write the fits that `fit_study` returned.")
    return {
        "fit": fit_to_dict(fit),
        "alternatives": [fit_to_dict(other) for other in intervals.alternatives],
        "own": [
            {"kind": own.kind, "errors": own.errors.tolist(), "spread": own.spread.tolist()} for own in intervals.own
        ],
    }


def _group_of(form: GroupForm, curves: CurveSet, by_key: Mapping[tuple[str, float | None], Curve]) -> Fit:
    fit = fit_from_form(form.fit)
    own = tuple(by_key[key] for key in zip(fit.curves, fit.sizes, strict=True))
    others = tuple(fit_from_form(other) for other in form.alternatives)
    backtests = tuple(OwnError(one.kind, np.array(one.errors), np.array(one.spread)) for one in form.own)
    return replace(fit, intervals=CalibratedIntervals(replace(curves, curves=own), others, backtests))


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
        "cautions": list(curve.cautions),
        "rounding": curve.rounding,
        "planned_total": curve.planned_total,
        "steps": kept.steps.tolist(),
        "losses": kept.losses.tolist(),
        "schedule": curve.schedule.to_dict(),
    }


def _curve_of(form: CurveForm, schedule: Schedule) -> Curve:
    return Curve(
        form.name,
        np.array(form.steps, dtype=np.int64),
        np.array(form.losses),
        schedule,
        size=form.size,
        tokens_per_step=form.tokens_per_step,
        role=form.role,
        branch=form.branch,
        changes=tuple(form.changes),
        cautions=tuple(form.cautions),
        rounding=form.rounding,
        planned_total=form.planned_total,
    )
