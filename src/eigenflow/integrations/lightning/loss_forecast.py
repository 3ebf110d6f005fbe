"""`LossForecastCallback`: the rest of a run forecast while Lightning trains, from its losses alone."""

from collections.abc import Callable
from typing import Any

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.live import Alarm
from eigenflow.integrations.following import tell
from eigenflow.integrations.lightning.callback import (
    AbstractUpdatesCallback,
    loggers_of,
    plain_optimizers,
    watch_losses,
)
from eigenflow.integrations.lightning.updates import Made
from eigenflow.integrations.loss_watch import LossWatch

__all__ = ["LossForecastCallback"]


class LossForecastCallback(AbstractUpdatesCallback):
    """Forecasts the end of the run with its interval, and warns when the loss leaves it.

    Forecasts go to all loggers of the trainer, as `eigenflow/forecast/value`, `lower` and `upper`. Another process
    computes them. Losses are those of the updates: means over their micro-batches, of the first process where there are
    several. A run that goes on from a checkpoint goes on with what was seen before.

    Args:
        tracker: Where numbers go besides; see `eigenflow.integrations.trackers.tracker_of`.
        on_alarm: Called with every `Alarm`, for example to stop.
        optimizer: Whose updates and losses count, by its place in what `configure_optimizers` returns.
        background: Whether another process computes; else training waits some seconds for each forecast.
        max_share: Processor seconds of forecasts, at most this share of the seconds of training; None for no limit.
        say: Called with what is to be told to who trains; None: a line on stderr.

    Raises:
        ArgumentError: When training begins, if there is no such optimizer.
    """

    def __init__(
        self,
        tracker: Any = None,
        *,
        on_alarm: Callable[[Alarm], None] | None = None,
        optimizer: int = 0,
        background: bool = True,
        max_share: float | None = 0.05,
        say: Callable[[str], None] | None = None,
    ):
        super().__init__()
        self.tracker, self.on_alarm, self.optimizer = tracker, on_alarm, optimizer
        self.background, self.max_share, self.say = background, max_share, say or tell
        self.watch: LossWatch | None = None

    def begin(self, trainer: Any, module: Any) -> Any:
        """As in the base."""
        optimizers = plain_optimizers(trainer.optimizers)
        if not 0 <= self.optimizer < len(optimizers):
            raise ArgumentError(
                f"`optimizer` must be the place of one of the {len(optimizers)} optimizers that `configure_optimizers` "
                f"returns, counted from 0, but is {self.optimizer!r}."
            )
        if not trainer.is_global_zero:
            return None
        optimizer = optimizers[self.optimizer]
        self.watch = watch_losses(
            trainer,
            module,
            optimizer,
            loggers_of(trainer, self.tracker),
            self,
            say=self.say,
            on_alarm=self.on_alarm,
            background=self.background,
            max_share=self.max_share,
        )
        return optimizer

    def update(self, made: Made, trainer: Any, module: Any) -> None:
        """As in the base."""
        assert self.watch is not None
        self.watch.update(self.done, made.loss, None if made.was_skipped else made.rates[0])

    def kept(self) -> dict[str, Any]:
        """As in the base."""
        return {} if self.watch is None else {"forecast": self.watch.state()}

    def to_disk(self) -> None:
        """As in the base; there is nothing."""

    def finish(self) -> None:
        """As in the base."""
        self.close("complete")

    def close(self, status: str) -> None:
        """As in the base."""
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()
