"""What a file of fits must hold, checked as a whole when it is read: kinds, shapes, ranges, and that its parts agree.

Whoever has read a file can predict from it: nothing is left to fail, or to be wrong, later.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from eigenflow.core.checks import MOST_WHOLE
from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.core.limits import within
from eigenflow.forecast.checks import LEAST, MOST
from eigenflow.forecast.fitting.covariates import Covariates, Slope
from eigenflow.forecast.fitting.fit import FitStatus
from eigenflow.forecast.fitting.priors import priors_for
from eigenflow.forecast.intervals.error_scale import COMPONENTS
from eigenflow.forecast.laws.protocol import Law
from eigenflow.forecast.laws.registry import LAWS
from eigenflow.forecast.laws.transport import TransportLaw
from eigenflow.forecast.schedules.schedule import Schedule
from eigenflow.forecast.study.earlier_files import with_every_component, with_size_exponent

__all__ = ["CurveForm", "FitForm", "StudyForm", "checked_study", "covariates_of", "law_of"]

# Guards of a law are met up to rounding; slopes and covariances of sound fits stay far below these.
TOLERANCE, MOST_SLOPE, MOST_VARIANCE, MOST_RESIDUAL = 1e-6, 1e3, 1e6, 1e3


def _law_name(name: str) -> str:
    if name not in LAWS:
        raise ValueError(f"unknown law; available: {', '.join(LAWS)}")
    return name


Usual = Annotated[float, Field(ge=LEAST, le=MOST)]
Size = Usual | None
Count = Annotated[int, Field(ge=0, le=MOST_WHOLE)]
LawName = Annotated[str, AfterValidator(_law_name)]
Residual = Annotated[float, Field(ge=-MOST_RESIDUAL, le=MOST_RESIDUAL)]
Derivative = Annotated[float, Field(ge=-MOST_VARIANCE, le=MOST_VARIANCE)]
Variance = Annotated[float, Field(ge=0, le=MOST_VARIANCE)]
Covariance = Annotated[float, Field(ge=-MOST_VARIANCE, le=MOST_VARIANCE)]
Conflict = Annotated[float, Field(ge=1, le=MOST_VARIANCE)]


def _known_status(name: str) -> str:
    if name not in FitStatus.__members__:
        raise ValueError(f"must be one of {', '.join(FitStatus.__members__)}")
    return name


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class SettingsForm(_Form):
    """What a law was set to; only the transport law has settings."""

    reference: Usual | None = None
    feedback: bool = True


class CertificateForm(_Form):
    """As `Certificate`."""

    starts: Count
    agreed: Count
    cost: Annotated[float, Field(ge=0)]
    worst_cost: Annotated[float, Field(ge=0)]
    evaluations: Count
    cpu_s: Annotated[float, Field(ge=0)]


class FittedForm(_Form):
    """A curve as its fit left it."""

    name: str
    size: Size
    residuals: list[Residual]
    jacobian: list[list[Derivative]]


class ComponentForm(_Form):
    """As `posterior.Component`."""

    weight: Annotated[float, Field(gt=0, le=1)]
    theta: list[float]
    covariance: list[list[Covariance]]
    conflict: Conflict


class FitForm(_Form):
    """One fit of one law."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    law: LawName
    settings: SettingsForm
    status: Annotated[str, AfterValidator(_known_status)]
    certificate: CertificateForm
    prior: str | None
    conflict: Conflict = 1.0
    noise: Annotated[float, Field(gt=0, le=MOST_RESIDUAL)]
    point_noise: Annotated[float, Field(ge=0, le=MOST_RESIDUAL)] | None = None
    theta: list[float]
    covariance: list[list[Covariance]]
    posterior: list[ComponentForm] = []
    prior_sd: list[Usual | None]
    slopes: list[tuple[Count, Literal["size", "rate"]]]
    reference_size: Size
    reference_rate: Usual
    curves: Annotated[list[FittedForm], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _as_of_now(cls, form: Any) -> Any:
        """JSON has no tuples, and strict ones are asked for; what earlier versions did not write is added."""
        if isinstance(form, dict) and isinstance(form.get("slopes"), list):
            pairs = [tuple(one) if isinstance(one, list) else one for one in form["slopes"]]
            return with_size_exponent({**form, "slopes": pairs})
        return form

    @model_validator(mode="after")
    def _agrees(self) -> "FitForm":
        law = law_of(self)
        own = len(law.parameters)
        if any(parameter >= own for parameter, _ in self.slopes) or len(set(self.slopes)) < len(self.slopes):
            raise ValueError(f"`slopes` must name each of the {own} parameters at most once")
        count = own + len(self.slopes) + any(kind == "size" for _, kind in self.slopes)
        _require(len(self.prior_sd) == count, f"`prior_sd` must have {count} entries, one a parameter")
        for one in (self, *self.posterior):
            _check_gaussian(law, one.theta, one.covariance, count)
        _require(
            not self.posterior or abs(sum(one.weight for one in self.posterior) - 1.0) <= TOLERANCE,
            "weights in `posterior` must add up to 1",
        )
        for curve in self.curves:
            _require(
                len(curve.jacobian) == len(curve.residuals) and all(len(row) == count for row in curve.jacobian),
                f"`jacobian` of curve {curve.name[:40]!r} must have a row a residual, and {count} columns",
            )
        _require(any(curve.residuals for curve in self.curves), "`residuals` must hold a point")
        with_size = {curve.size is not None for curve in self.curves}
        _require(
            with_size == {self.reference_size is not None},
            "`reference_size` must be there if the curves have sizes, and only then",
        )
        known = {prior.name: prior.law for prior in priors_for(self.law)}
        _require(self.prior is None or _is_prior_of(self.prior, known, self.law), "`prior` must be one of this law")
        return self


class OwnForm(_Form):
    """A backtest within the study."""

    kind: Literal["rest", "schedule", "size"]
    errors: list[Residual]
    spread: list[list[Variance]]

    @model_validator(mode="before")
    @classmethod
    def _as_of_now(cls, form: Any) -> Any:
        return with_every_component(form) if isinstance(form, dict) else form

    @model_validator(mode="after")
    def _agrees(self) -> "OwnForm":
        shape = all(len(row) == len(COMPONENTS) for row in self.spread)
        _require(
            bool(self.errors) and len(self.spread) == len(self.errors) and shape,
            f"`errors` must not be empty, and `spread` have as many rows, of {len(COMPONENTS)}",
        )
        return self


class GroupForm(_Form):
    """A fit with what its intervals need. Files that are older than backtests have none."""

    fit: FitForm
    alternatives: list[FitForm]
    own: list[OwnForm] = []


class CurveForm(_Form):
    """A fitted curve."""

    name: str
    size: Size
    role: str | None
    tokens_per_step: Usual | None
    branch: Count
    changes: list[str]
    cautions: list[str] = []
    rounding: Annotated[float, Field(ge=0, le=MOST)] = 0.0
    planned_total: Count | None = None
    steps: Annotated[list[Count], Field(min_length=1)]
    losses: list[Usual]
    schedule: dict[str, Any]


class StudyForm(_Form):
    """The whole file."""

    laws: Annotated[list[LawName], Field(min_length=1)]
    per_size: bool
    size_unit: Usual
    loss_unit: str
    notes: list[str]
    curves: Annotated[list[CurveForm], Field(min_length=1)]
    fits: Annotated[list[GroupForm], Field(min_length=1)]

    @model_validator(mode="after")
    def _agrees(self) -> "StudyForm":
        known = {(curve.name, curve.size) for curve in self.curves}
        _require(len(known) == len(self.curves), "`curves` must not hold one name and size twice")
        for k, group in enumerate(self.fits):
            names = [(curve.name, curve.size) for curve in group.fit.curves]
            _require(set(names) <= known, f"`fits[{k}]` names a curve that is not in `curves`")
            _require(len(set(names)) == len(names), f"`fits[{k}]` names a curve twice")
            _require(group.fit.law in self.laws, f"`fits[{k}]` is of a law that is not in `laws`")
        fitted = [group.fit.law for group in self.fits]
        _require(set(self.laws) <= set(fitted), "every one of `laws` must have a fit")
        _require(self.per_size or len(set(fitted)) == len(fitted), "a law has two fits, but `per_size` is false")
        return self


def checked_study(content: dict[str, Any], place: str) -> tuple[StudyForm, list[Schedule]]:
    """Check the values of a file.

    Args:
        content: As JSON gave them.
        place: The file, for messages.

    Returns:
        The checked values, and the schedule of every curve.

    Raises:
        ArgumentError: Names the first places that are not as they must be.
    """
    try:
        form = StudyForm.model_validate(content)
    except ValidationError as error:
        raise ArgumentError(f"{place} is damaged: {_first(error.errors())} Fit again.") from None
    schedules, steps = [], 0
    for k, curve in enumerate(form.curves):
        try:
            schedules.append(Schedule.from_dict(curve.schedule))
        except EigenflowError as error:
            raise ArgumentError(f"{place} is damaged: curves[{k}].schedule: {error} Fit again.") from None
        steps += schedules[-1].total
        within("total_steps", steps, place)
    return form, schedules


def law_of(form: FitForm) -> Law:
    """The law of a fit, as it was set."""
    if form.law != TransportLaw.name:
        return LAWS[form.law]
    # Earlier files hold the tolerance of a coarser rule, which is no part of a fit.
    _require(form.settings.reference is not None, "`settings.reference` of the transport law is missing")
    return TransportLaw(float(form.settings.reference or 1.0), form.settings.feedback)


def covariates_of(form: FitForm) -> Covariates:
    """Where the coordinates of a fit are zero."""
    slopes = tuple(Slope(parameter, kind) for parameter, kind in form.slopes)
    return Covariates(law_of(form), slopes, form.reference_size, form.reference_rate)


def _is_prior_of(name: str, known: dict[str, str], law: str) -> bool:
    """Whether a prior is of this law; a prior of the user's own is known by its name only."""
    others = {prior.name for other in LAWS if other != law for prior in priors_for(other)}
    return name in known or name not in others


def _check_gaussian(law: Law, theta: Sequence[float], covariance: Sequence[Sequence[float]], count: int) -> None:
    """Refuse a middle outside the law's guards, and a matrix that is no covariance of `count` parameters."""
    _require(len(theta) == count, f"`theta` must have {count} entries, one a parameter")
    _require(
        len(covariance) == count and all(len(row) == count for row in covariance),
        f"`covariance` must have {count} rows and columns",
    )
    for k, (parameter, value) in enumerate(zip(law.parameters, theta, strict=False)):
        low, high = float(parameter.to_theta(parameter.lower)), float(parameter.to_theta(parameter.upper))
        _require(
            low - TOLERANCE <= value <= high + TOLERANCE,
            f"`theta[{k}]` ({parameter.name}) must lie in [{low:.4g}, {high:.4g}], but is {value:.6g}",
        )
    _require(
        all(abs(slope) <= MOST_SLOPE for slope in theta[len(law.parameters) :]),
        f"slopes in `theta` must lie within {MOST_SLOPE:g}",
    )
    matrix = np.array(covariance)
    scale = float(np.abs(matrix).max())
    _require(bool(np.abs(matrix - matrix.T).max() <= TOLERANCE * scale), "`covariance` must be symmetric")
    _require(bool(np.linalg.eigvalsh(matrix)[0] >= -TOLERANCE * scale), "`covariance` must not have negative variances")


def _require(is_so: bool, words: str) -> None:
    if not is_so:
        raise ValueError(words)


def _first(problems: Sequence[Any]) -> str:
    told = []
    for problem in problems[:3]:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
        words = problem["msg"].removeprefix("Value error, ").rstrip(".")
        came = repr(problem["input"])
        came = f" (it is {came[:60]})" if problem["type"] not in {"value_error", "missing"} else ""
        told.append(f"{place + ': ' if place else ''}{words}{came}.")
    more = f" {len(problems) - 3} more." if len(problems) > 3 else ""
    return " ".join(told) + more
