"""A study: curves, the laws fitted to them, jointly or size by size, and forecasts with intervals from them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from eigenflow.core.checks import check_kind, check_number
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve, CurveSet, format_size
from eigenflow.forecast.evaluation.backtests import ALTERNATIVES
from eigenflow.forecast.fitting.fit import Fit, Forecast
from eigenflow.forecast.fitting.objective import FitSettings
from eigenflow.forecast.fitting.path import forecast_steps
from eigenflow.forecast.fitting.priors import Prior
from eigenflow.forecast.fitting.search import checked_curves, fit_parameters
from eigenflow.forecast.intervals.calibrated import CalibratedIntervals
from eigenflow.forecast.intervals.calibration import shipped_calibration
from eigenflow.forecast.intervals.error_scale import OwnError
from eigenflow.forecast.intervals.own_errors import kinds_of, own_errors
from eigenflow.forecast.laws.protocol import Law
from eigenflow.forecast.laws.registry import LAWS, law_named
from eigenflow.forecast.schedules.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Study", "fit_law", "fit_study"]

# A size this many times beyond the fitted ones is a slip of units, not a wish.
FAR = 1e4


@dataclass(frozen=True, repr=False)
class Study(AbstractPrinted):
    """Fits of one or several laws to one set of curves.

    Attributes:
        curves: What was fitted, with the unit of sizes.
        fits: One for each law, joint over sizes; or, per size, one for each size and law. Each has its intervals.
        laws: Names of the laws, in the order in which they were asked for.
        is_per_size: Whether every size has fits of its own.
    """

    curves: CurveSet
    fits: tuple[Fit, ...]
    laws: tuple[str, ...]
    is_per_size: bool

    def _card(self) -> Card:
        rows = [("sizes", self._listed_sizes() + (", each on its own" if self.is_per_size else ""))]
        rows = rows if self._listed_sizes() else []
        for fit in self.fits:
            residuals = np.concatenate(fit.residuals)
            size = f" {format_size(fit.sizes[0])}" if self.is_per_size and fit.sizes[0] is not None else ""
            error = figure(100 * float(np.sqrt(np.mean(residuals**2))), 3)
            left = f"; not identified (Laplace): {fit.open_words()}" if fit.not_identified else ""
            rows.append((f"{fit.law.name}{size}", f"{fit.status.value}; RMS residual {error} %{left}"))
        laws = f"{len(self.laws)} law{'s' * (len(self.laws) > 1)}"
        return Card(f"Study of {len(self.curves)} curves, {self.curves.points} points: {laws}", rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a parameter of each fit: law, size (None where joint), and the columns of `Fit.to_dataframe`."""
        parts = []
        for fit in self.fits:
            table = fit.to_dataframe()
            table.insert(0, "law", fit.law.name)
            table.insert(1, "size", fit.sizes[0] if self.is_per_size else None)
            parts.append(table)
        return pd.concat(parts, ignore_index=True)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the curves (dots) and the first law (lines); into new axes if none are given."""
        from eigenflow.plots import axes_or_new, plot_curves

        ax = axes_or_new(ax)
        found = [self.predict_at(curve) for curve in self.curves]
        curves = [(curve.label, curve.steps, curve.losses) for curve in self.curves]
        plot_curves(curves, ax=ax, laws=[(one.steps, one.loss) for one in found], unit=self.curves.loss_unit)
        ax.set_title(f"Measured (dots) and {self.laws[0]} (lines)", loc="left", fontsize=10)
        return ax

    def fit_for(self, law: str | None = None, size: float | None = None) -> Fit:
        """Choose the fit of a law (None: the first) that serves a size.

        Args:
            law: One of `laws`.
            size: In parameters; None where the study has one size, or none.
        """
        name = self.laws[0] if law is None else law
        if not isinstance(name, str) or name not in self.laws:
            raise ArgumentError(f"Law {name!r} was not fitted. There are: {', '.join(self.laws)}. Fit again with it.")
        fits = [fit for fit in self.fits if fit.law.name == name]
        if not self.is_per_size:
            return fits[0]
        found = [fit for fit in fits if size is None or size in fit.sizes]
        if len(found) == 1:
            return found[0]
        raise ArgumentError(
            f"`size` is {'missing' if size is None else format_size(size)}, but each of the sizes "
            f"{self._listed_sizes()} "
            f"was fitted on its own. Choose one of them, or fit them jointly (without `per_size`) for another size."
        )

    def checked_size(self, size: float | None) -> float | None:
        """Give the size that a forecast is for: the one given, or the only one.

        Raises:
            ArgumentError: If there are several and none was chosen, or the one given is far beyond all.
        """
        known = [one for one in self.curves.sizes if one is not None]
        if size is not None:
            check_number("size", size)
        if size is None and len(known) > 1:
            raise ArgumentError(
                f"`size` is missing: the fit has sizes {self._listed_sizes()}. Choose one, or a new one."
            )
        if size is None:
            return known[0] if known else None
        if not known:
            raise ArgumentError(f"`size` is {format_size(size)}, but the fitted curves have no sizes. Leave it out.")
        if not min(known) / FAR <= size <= max(known) * FAR:
            raise ArgumentError(
                f"`size` is {format_size(size)} parameters, but the fitted sizes are {self._listed_sizes()}. Sizes are "
                f"in the unit of the fitted table ({self.curves.size_unit:g} parameters); write 400M or 1.3B to be "
                "clear."
            )
        return size

    def predict(
        self,
        schedule: Schedule,
        *,
        size: float | None = None,
        law: str | None = None,
        every: int = 1,
        first: int | None = None,
    ) -> Forecast:
        """Forecast the loss of a run under a schedule, with a calibrated 90 % interval.

        Args:
            schedule: Every learning rate of the run, warm-up included.
            size: Parameters of the model; None: the size of the study, if it has one only.
            law: As in `fit_for`.
            every: Spacing of the forecast's steps; the last step is always there.
            first: First step; None: the end of warm-up.
        """
        check_kind(
            "schedule", schedule, Schedule, "a `Schedule`, such as `Schedule.cosine(...)` or `Schedule.table(rates)`"
        )
        steps = forecast_steps(schedule.total, schedule.warmup, every, first)
        chosen = self.checked_size(size)
        return self.fit_for(law, chosen).predict_steps(schedule, steps, size=chosen)

    def predict_at(self, curve: Curve, *, law: str | None = None) -> Forecast:
        """Forecast a curve at its own steps, from its schedule and size alone (step 0 counts as the first update)."""
        check_kind("curve", curve, Curve, "a `Curve`; a schedule is forecast by `predict`")
        size = self.checked_size(curve.size)
        steps = np.unique(np.maximum(curve.steps, 1))
        found = self.fit_for(law, size).predict_steps(curve.schedule, steps, size=size)
        at = np.searchsorted(steps, np.maximum(curve.steps, 1))
        return Forecast(curve.steps, found.loss[at], found.lower[at], found.upper[at], found.cautions)

    def _listed_sizes(self) -> str:
        return ", ".join(format_size(size) for size in self.curves.sizes if size is not None)


def fit_law(
    curves: Iterable[Curve],
    law: str | Law = "transport",
    *,
    prior: str | Prior | None = "learned",
    starts: int = 4,
    seed: int = 0,
    settings: FitSettings | None = None,
    fixed: dict[str, float] | None = None,
) -> Fit:
    """Fit one law to curves that share its parameters, with what calibrated intervals need: `eigenflow.fit_parameters`.

    Args:
        curves: A `CurveSet` or several `Curve`, of one or several sizes and peak rates.
        law: A name, or a law.
        prior: "learned" (the shipped prior for this law that fits the curves best, none if there is none), a name, a
            prior, or None.
        starts: Number of starts: the prior's centre, then draws around it.
        seed: Draws the starts.
        settings: None for the defaults.
        fixed: Values to hold parameters at, by name.

    Returns:
        The fit; look at `status` before its numbers. `fit.predict(schedule)` forecasts with the 90 % interval that was
        calibrated on curves that were left out (docs/explanation/forecast_laws.md, Intervals).

    Raises:
        ArgumentError: If there are too few points, or unknown names.
    """
    known = checked_curves(curves)
    fit = fit_parameters(known, law, prior=prior, starts=starts, seed=seed, settings=settings, fixed=fixed)
    group = curves if isinstance(curves, CurveSet) else CurveSet(known)
    chosen = fit.prior if prior == "learned" else prior
    own = _own_errors(
        fit,
        group,
        lambda part: fit_parameters(
            part, law, prior=chosen, starts=1, seed=seed, settings=settings, fixed=fixed, mixes=False
        ),
    )
    return replace(fit, intervals=CalibratedIntervals(group, _alternatives(group), own))


def fit_study(
    curves: CurveSet,
    laws: Sequence[str] = ("transport",),
    *,
    per_size: bool = False,
    starts: int = 4,
    seed: int = 0,
    prior: str | None = "learned",
    progress: Callable[[str], None] | None = None,
) -> Study:
    """Fit several laws to a set of curves, and the cheap ones that tell how sure they are.

    Args:
        curves: As from `read_curves`.
        laws: Names; "all" for every law there is.
        per_size: Fit every size on its own instead of all jointly.
        starts: As in `fit_law`.
        seed: As in `fit_law`.
        prior: As in `fit_law`.
        progress: Called with a line before each fit.

    Raises:
        ArgumentError: If a law is unknown, or there are too few points.
    """
    check_kind("curves", curves, CurveSet, "a `CurveSet`, as from `read_curves`")
    checked_curves(curves)
    check_kind("laws", laws, (list, tuple), "a list of names, such as ['transport']")
    for name in laws:
        if name != "all":
            law_named(name)
    names = tuple(LAWS) if "all" in laws else tuple(dict.fromkeys(laws))
    if not names:
        raise ArgumentError("`laws` must name a law, but is empty. Leave it out for 'transport'.")
    fits = []
    for group in curves.per_size().values() if per_size else [curves]:
        others = _alternatives(group)
        for name in names:
            if progress:
                sizes = ", ".join(format_size(size) for size in group.sizes if size is not None)
                progress(f"{name}: {len(group)} curves, {group.points} points" + (f", sizes {sizes}" if sizes else ""))
            fit = fit_parameters(group, name, starts=starts, seed=seed, prior=prior)
            again = partial(
                fit_parameters, law=name, prior=fit.prior if prior == "learned" else prior, starts=1, seed=seed
            )
            intervals = CalibratedIntervals(group, others, _own_errors(fit, group, again))
            fits.append(replace(fit, intervals=intervals))
    return Study(curves, tuple(fits), names, per_size)


def _own_errors(fit: Fit, curves: CurveSet, refit: Callable[[Sequence[Curve]], Fit]) -> tuple[OwnError, ...]:
    """Backtests within the study, by refits from one start with the prior that the fit chose; a few tenths of a second.

    A law whose calibration does not count them has none.
    """
    if shipped_calibration(fit.law.name).own_freedom == 0:
        return ()
    found = [own_errors(curves.curves, kind, refit) for kind in kinds_of(curves.curves)]
    return tuple(one for part in found for one in part)


def _alternatives(curves: CurveSet) -> tuple[Fit, ...]:
    found = []
    for name in ALTERNATIVES:
        try:
            found.append(fit_parameters(curves, name, starts=1))
        except ArgumentError:  # too few points for this one
            continue
    return tuple(found)
