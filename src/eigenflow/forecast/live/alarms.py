"""Alarms: what happened, since when, why it is believed, and what to look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eigenflow.core.display import AbstractPrinted, Card, figure

__all__ = ["KINDS", "Alarm"]

# Every kind, and what to look at.
KINDS = {
    "divergence": "the learning rate, the gradient norms just before, the batches there, and the last good checkpoint",
    "spike": "the batches and gradient norms at the spike; going back to a checkpoint before it costs least now",
    "plateau": "whether gradients still flow: frozen layers, clipping, decay, a rate other than planned",
    "data trouble": "the data loader there: a new shard or mixture, shuffling, epochs, batches that come again",
    "below the band": "whether test examples or targets leaked in, or batches come again",
}


@dataclass(frozen=True, repr=False)
class Alarm(AbstractPrinted):
    """One alarm.

    Attributes:
        kind: One of `KINDS`.
        pattern: Of which form: "not finite", "rise", "step up", "step down", "noise", "repeated", ...; empty for none.
        sentence: What happened, in plain words.
        since: First step at which it shows.
        raised_at: Step at which it was seen.
        evidence: Numbers behind it, by name.
        look_at: What to look at.
    """

    kind: str
    pattern: str
    sentence: str
    since: int
    raised_at: int
    evidence: Mapping[str, float] = field(default_factory=dict)
    look_at: str = ""

    def _card(self) -> Card:
        rows = [("since", f"step {self.since:,}; seen at step {self.raised_at:,}")]
        rows += [(name.replace("_", " "), figure(value)) for name, value in self.evidence.items()]
        return Card(f"Alarm, {self.kind}: {self.sentence}", [*rows, ("look at", self.look_at)])

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"evidence": dict(self.evidence)}

    @classmethod
    def from_dict(cls, form: Mapping[str, Any]) -> "Alarm":
        """Make it again."""
        return cls(**form)
