"""`LossForecastCallback`: the rest of a run forecast while Trainer trains, from its losses alone."""

from collections.abc import Callable
from typing import Any

from eigenflow.forecast.live import Alarm
from eigenflow.integrations.following import tell
from eigenflow.integrations.huggingface.updates import AbstractUpdatesCallback, MadeUpdate
from eigenflow.integrations.loss_watch import LossWatch
from eigenflow.integrations.planned_rates import planned_rates
from eigenflow.integrations.trackers import tracker_of

__all__ = ["LossForecastCallback"]


class LossForecastCallback(AbstractUpdatesCallback):
    """Forecasts the end of the run with its interval, and warns when the loss leaves it.

    Forecasts go to the trainer's own trackers, as `eigenflow/forecast/value`, `lower` and `upper`. Another process
    computes them. A run that goes on from a checkpoint goes on with what was seen before.

    Args:
        tracker: Where numbers go besides; see `eigenflow.integrations.trackers.tracker_of`.
        on_alarm: Called with every `Alarm`, for example to stop.
        background: Whether another process computes; else training waits some seconds for each forecast.
        max_share: Processor seconds of forecasts, at most this share of the seconds of training; None for no limit.
        say: Called with what is to be told to who trains; None: a line on stderr.
    """

    def __init__(
        self,
        tracker: Any = None,
        *,
        on_alarm: Callable[[Alarm], None] | None = None,
        background: bool = True,
        max_share: float | None = 0.05,
        say: Callable[[str], None] | None = None,
    ):
        super().__init__()
        self.tracker, self.on_alarm, self.say = tracker, on_alarm, say or tell
        self.background, self.max_share = background, max_share
        self.watch: LossWatch | None = None

    def begin(self, state: Any, *, model: Any, optimizer: Any, lr_scheduler: Any) -> None:
        """As in the base."""
        total = state.max_steps if state.max_steps > 0 else None
        self.watch = LossWatch(
            tracker_of([lambda metrics, step: self.log(metrics), *([] if self.tracker is None else [self.tracker])]),
            self.say,
            on_alarm=self.on_alarm,
            total_steps=total,
            rates=planned_rates(lr_scheduler, total),
            state=self.before(state).get("forecast"),
            done_steps=state.global_step,
            background=self.background,
            max_share=self.max_share,
        )

    def update(self, made: MadeUpdate) -> None:
        """As in the base."""
        assert self.watch is not None
        self.watch.update(made.completed, made.loss, None if made.was_skipped else made.rates[0])

    def kept(self) -> dict[str, Any]:
        """As in the base."""
        assert self.watch is not None
        return {"forecast": self.watch.state()}

    def end(self) -> None:
        """As in the base."""
        assert self.watch is not None
        self.watch.close()

    def failed(self, error: BaseException) -> None:
        """As in the base."""
        self.end()
