"""What a live forecast knows at a moment."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eigenflow.core.display import AbstractPrinted, Card, interval
from eigenflow.forecast.live.alarms import Alarm
from eigenflow.forecast.live.band import RestForecast

__all__ = ["LiveState"]

SHOWN = 3


@dataclass(frozen=True, repr=False)
class LiveState(AbstractPrinted):
    """A run under way.

    Attributes:
        step: The last step.
        loss: Mean loss of the last closed blocks, about a hundredth of the run; None before there is one.
        forecast: The rest of the run, from the last moment at which it was forecast; None before the first.
        expected: Loss now by the forecast that was made before; None where there is none.
        lower: Lower end of its 90 % interval.
        upper: Upper end.
        alarms: All so far.
        new_alarms: Those that this step raised.
        is_new_forecast: Whether this step brought the forecast.
        events: What else happened, one line each: losses that are no numbers, spikes, forecasts that were refused.
        nearest: The largest distance of each test so far, as a share of its threshold.
    """

    step: int
    loss: float | None
    forecast: RestForecast | None
    expected: float | None
    lower: float | None
    upper: float | None
    alarms: tuple[Alarm, ...]
    new_alarms: tuple[Alarm, ...]
    is_new_forecast: bool
    events: tuple[str, ...]
    nearest: Mapping[str, float]

    @property
    def headline(self) -> str:
        """In one sentence."""
        if self.forecast is None:
            return f"step {self.step:,}: no forecast yet"
        return f"step {self.step:,}: ends at {self.forecast.told} at step {self.forecast.total:,}"

    def metrics(self) -> dict[str, float]:
        """Numbers for a tracker, under `eigenflow/`; what is not known is left out."""
        found: dict[str, float | None] = {
            "eigenflow/forecast/value": None if self.forecast is None else self.forecast.value,
            "eigenflow/forecast/lower": None if self.forecast is None else self.forecast.lower,
            "eigenflow/forecast/upper": None if self.forecast is None else self.forecast.upper,
            "eigenflow/loss/smoothed": self.loss,
            "eigenflow/loss/expected": self.expected,
            "eigenflow/loss/lower": self.lower,
            "eigenflow/loss/upper": self.upper,
            "eigenflow/alarms": float(len(self.alarms)),
        }
        return {name: value for name, value in found.items() if value is not None and np.isfinite(value)}

    def _card(self) -> Card:
        rows = []
        if self.loss is not None and self.expected is not None:
            rows.append(("loss", f"{self.loss:.4g}; expected {interval(self.expected, self.lower, self.upper, 4)}"))
        if self.forecast is not None:
            rows.append(("forecast", f"made at step {self.forecast.made_at:,}; {self.forecast.rates_told}"))
            rows += [("caution", line) for line in self.forecast.cautions[:SHOWN]]
        rows += [("alarm", f"{alarm.kind}: {alarm.sentence}") for alarm in self.alarms[-SHOWN:]]
        if len(self.alarms) > SHOWN:
            rows.append(("alarms", f"{len(self.alarms)} in all, see `.alarms`"))
        rows += [("event", line) for line in self.events[-SHOWN:]]
        return Card(f"Run under way, {self.headline}", rows)
