"""One forecast of the rest of a run: its end, and its band at every step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Real

from eigenflow.core.display import AbstractPrinted, Card, interval

__all__ = ["RestForecast"]

# A rate that differs by this share of the highest one is another.
OTHER = 0.02


@dataclass(frozen=True, repr=False)
class RestForecast(AbstractPrinted):
    """What the losses up to a step say of the rest of the run.

    Attributes:
        made_at: The last step that it knows.
        total: Updates in all.
        value: Loss after the last update.
        lower: Lower end of its 90 % interval.
        upper: Upper end.
        steps: Steps of the path, from the first fitted one to the end; in between it is straight.
        log_loss: ln(loss) there; up to `made_at` the fitted law.
        half_width: Half of the 90 % interval of ln(loss) there.
        rates: Learning rates that were taken, by step; NaN where none are known.
        rates_told: Which learning rates are to come, in words.
        length_told: Where the length of the run is from, in words.
        cautions: What makes it doubtful, one line each.
        cpu_s: Processor seconds.
    """

    made_at: int
    total: int
    value: float
    lower: float
    upper: float
    steps: Int[np.ndarray, " node"]
    log_loss: Float[np.ndarray, " node"]
    half_width: Float[np.ndarray, " node"]
    rates: Float[np.ndarray, " node"]
    rates_told: str
    length_told: str
    cautions: tuple[str, ...]
    cpu_s: float

    @property
    def told(self) -> str:
        """End and interval."""
        return interval(self.value, self.lower, self.upper, 4)

    def at(self, steps: Real[np.ndarray, " step"]) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, " step"]]:
        """ln(loss) and half of its 90 % interval at steps; NaN outside of the path."""
        middle = np.interp(steps, self.steps, self.log_loss, left=np.nan, right=np.nan)
        return middle, np.interp(steps, self.steps, self.half_width, left=np.nan, right=np.nan)

    def keeps_to(self, step: int, rate: float) -> bool:
        """Whether a run is where the forecast took it to be: at its learning rate. Else it speaks of another run."""
        if np.isnan(self.rates).any() or not rate >= 0.0:
            return True
        # At a jump either side will do.
        near = np.interp([step - 1.0, float(step), step + 1.0], self.steps, self.rates)
        off = OTHER * float(self.rates.max())
        return bool(near.min() - off <= rate <= near.max() + off)

    def _card(self) -> Card:
        rows = [("rates", self.rates_told), ("length", f"{self.total:,} updates: {self.length_told}")]
        rows += [("caution", caution) for caution in self.cautions]
        return Card(f"Forecast made at step {self.made_at:,}: {self.told} at step {self.total:,}", rows)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON, to the last bit."""
        form = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return form | {
            "steps": self.steps.tolist(),
            "log_loss": self.log_loss.tolist(),
            "half_width": self.half_width.tolist(),
            "rates": None if np.isnan(self.rates).any() else self.rates.tolist(),
            "cautions": list(self.cautions),
        }

    @classmethod
    def from_dict(cls, form: Mapping[str, Any]) -> "RestForecast":
        """Make it again."""
        arrays = {
            "steps": np.array(form["steps"], dtype=np.int64),
            "log_loss": np.array(form["log_loss"], dtype=np.float64),
            "half_width": np.array(form["half_width"], dtype=np.float64),
            "rates": np.full(len(form["steps"]), np.nan) if form["rates"] is None else np.array(form["rates"]),
        }
        return cls(**{**form, **arrays, "cautions": tuple(form["cautions"])})
