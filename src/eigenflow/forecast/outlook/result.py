"""What one command says of a log: the end of the run, the target, other endings, and how far to trust all that."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from eigenflow.core.display import AbstractPrinted, Card, interval
from eigenflow.forecast.curves import CurveSet, format_size
from eigenflow.forecast.fitting.fit import Fit, Forecast
from eigenflow.forecast.outlook.checks import LAST_VALUE, POWER, HiddenPart, off
from eigenflow.forecast.outlook.ends import End, Ending
from eigenflow.forecast.outlook.rest import PlannedRun
from eigenflow.forecast.outlook.targets import Target
from eigenflow.forecast.study.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Baseline", "LogForecast", "RunEnd", "SizeEnd"]

# A baseline that is better by this share of its own error, and by this much in ln(loss), is a caution.
CLEARLY, LEAST_APART = 0.25, 2e-3
# Cautions that stand on a card; the others are counted.
SHOWN = 2
NAMES = {LAST_VALUE: "the plain last value", POWER: "a plain power of the steps"}


@dataclass(frozen=True, repr=False)
class Baseline(AbstractPrinted):
    """What a person would take without a law, and how it did on the hidden parts.

    Attributes:
        name: "last value", "power_steps".
        end: Its forecast of the end of the run; None where it has none.
        error: Mean absolute error of the last hidden losses, in ln(loss).
        law_error: That of the law, on the same parts.
        parts: Number of these.
    """

    name: str
    end: float | None
    error: float
    law_error: float
    parts: int

    @property
    def is_better(self) -> bool:
        """Whether it forecast the hidden parts better than the law."""
        return self.error < self.law_error

    @property
    def is_clearly_better(self) -> bool:
        """Whether it did so by more than a few parts of a log can differ by chance."""
        apart = self.law_error - self.error
        return apart > max(CLEARLY * self.error, LEAST_APART)

    @property
    def brief(self) -> str:
        """The same in a few words."""
        return f"{'better' if self.is_better else 'worse'}: {off(self.error)} off, the law {off(self.law_error)}"

    @property
    def verdict(self) -> str:
        """In one sentence."""
        would = "would have done better" if self.is_better else "would have done worse"
        parts = f"{self.parts} hidden part{'s' * (self.parts > 1)}"
        return f"{NAMES[self.name]} {would} on {parts}: {off(self.error)} off at the end, the law {off(self.law_error)}"

    def _card(self) -> Card:
        return Card(f"Baseline {self.verdict}")


@dataclass(frozen=True, repr=False)
class RunEnd(AbstractPrinted):
    """The end of one run of the log.

    Attributes:
        run: As far as it is logged, and as it will go on.
        end: Its last loss.
    """

    run: PlannedRun
    end: End

    def _card(self) -> Card:
        state = "finished" if self.run.is_finished else f"known up to step {self.run.last:,}"
        return Card(f"{self.run.curve.label}, {state}: {self.end.told} at step {self.end.step:,}")


@dataclass(frozen=True, repr=False)
class SizeEnd(AbstractPrinted):
    """The same schedule at a size that the log does not have.

    Attributes:
        size: In parameters.
        end: Its last loss.
    """

    size: float
    end: End

    def _card(self) -> Card:
        return Card(f"{format_size(self.size)}: {self.end.told} at step {self.end.step:,}")


@dataclass(frozen=True, repr=False)
class LogForecast(AbstractPrinted):
    """The answer to a log.

    Attributes:
        curves: What was read.
        study: The fit of all of it.
        run: The run that the answer is about: the one under way, else the largest and longest.
        end: Its last loss; of a finished run what the law says of it.
        path: Forecast of the run at many steps, from the end of warm-up to its end.
        target: When the wanted loss is reached, None if none was wanted.
        endings: Other schedules, those that the user asked for first.
        checks: Parts of the log that were hidden, and how forecasts of them did.
        baselines: The last value and a power of the steps on the same parts.
        runs: The ends of all runs of the log.
        sizes: Sizes beyond the largest one, if the log has several.
        cautions: What makes all this doubtful; look at them first.
        notes: What the reader did, and what could not be computed.
        source: What was read, by name.
        cpu_s: Processor seconds.
    """

    curves: CurveSet
    study: Study
    run: PlannedRun
    end: End
    path: Forecast
    target: Target | None
    endings: tuple[Ending, ...]
    checks: tuple[HiddenPart, ...]
    baselines: tuple[Baseline, ...]
    runs: tuple[RunEnd, ...]
    sizes: tuple[SizeEnd, ...]
    cautions: tuple[str, ...]
    notes: tuple[str, ...]
    source: str
    cpu_s: float

    @property
    def fit(self) -> Fit:
        """The fitted law."""
        return self.study.fits[0]

    @property
    def headline(self) -> str:
        """The end of the run in one sentence."""
        run, unit = self.run, self.curves.loss_unit
        if run.is_finished:
            of = "" if run.last == run.total else f" of {run.total:,}"
            last = f"{run.curve.losses[-1]:.4g} {unit} logged at step {run.last:,}{of}"
            return f"{run.curve.label} has finished: {last} (the law: {self.end.told})"
        return f"{run.curve.label} ends at {self.end.told} {unit} after {self.end.step:,} {run.unit}"

    @property
    def checked(self) -> str:
        """How the forecasts of hidden parts did, in one sentence."""
        if not self.checks:
            return "not checked: the log has too few points to hide some"
        hidden: dict[str, list[HiddenPart]] = {}
        for part in self.checks:
            hidden.setdefault(part.hidden, []).append(part)
        told = []
        for name, parts in hidden.items():
            error = float(np.mean([abs(part.error) for part in parts]))
            held = sum(part.holds for part in parts)
            told.append(f"{name}: {off(error)} off, {held} of {len(parts)} intervals held")
        return "; ".join(told)

    def _card(self) -> Card:
        rows = [("caution", caution) for caution in self.cautions[:SHOWN]]
        if len(self.cautions) > SHOWN:
            rows.append(("caution", f"... and {len(self.cautions) - SHOWN} more in `.cautions`"))
        rows += [("rates", self.run.kind), ("length", f"{self.run.total:,} {self.run.unit}: {self.run.basis}")]
        if self.target is not None:
            rows.append(("target", self.target.answer))
        for ending in self.endings[:4]:
            change = interval(ending.difference, ending.lower, ending.upper, 2)
            rows.append((ending.name, f"{ending.end.told}, {change} to the plan"))
        rows.append(("hidden parts", self.checked))
        rows += [(one.name, one.brief) for one in self.baselines]
        if self.sizes:
            rows.append(("sizes", "; ".join(f"{format_size(one.size)}: {one.end.told}" for one in self.sizes)))
        return Card(self.headline, rows)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a schedule, the plan first: name, updates, loss, lower, upper, difference and its interval."""
        plan = {"name": "plan", "updates": self.end.step, "loss": self.end.loss, "lower": self.end.lower}
        rows: list[dict[str, object]] = [plan | {"upper": self.end.upper, "is_asked": False}]
        for one in self.endings:
            ends = {"updates": one.end.step, "loss": one.end.loss, "lower": one.end.lower, "upper": one.end.upper}
            apart = {"difference": one.difference, "difference_lower": one.lower, "difference_upper": one.upper}
            rows.append({"name": one.name, **ends, **apart, "is_asked": one.is_asked})
        return pd.DataFrame(rows)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the run, its forecast in the 90 % fan, and ends of other schedules; into new axes if none are given."""
        from eigenflow.forecast.outlook.picture import draw_answer
        from eigenflow.plots import axes_or_new

        return draw_answer(self, axes_or_new(ax))
