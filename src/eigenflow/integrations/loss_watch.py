"""The rest of a run forecast while it trains, told to the tracker and to who trains: what callbacks share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, SupportsFloat

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.live import Alarm, LiveForecast, LiveState
from eigenflow.integrations.trackers import SafeTracker

__all__ = ["LossWatch"]

OnAlarm = Callable[[Alarm], None] | None


class LossWatch:
    """A `LiveForecast` that speaks.

    Args:
        tracker: Where forecasts go: value, lower and upper end, the band at the present step.
        say: Called with a line for who trains: every forecast, and every alarm.
        on_alarm: Called with every alarm, for example to stop the training.
        total_steps: Updates in all, if known.
        rates: The learning rate of every update, if known.
        state: From `state()`, to go on; one that does not fit is left, and said.
        done_steps: Updates that were made before.
        background: Whether another process computes.
        max_share: As for `LiveForecast`.
    """

    def __init__(
        self,
        tracker: SafeTracker,
        say: Callable[[str], None],
        *,
        on_alarm: OnAlarm = None,
        total_steps: int | None = None,
        rates: Sequence[float] | None = None,
        state: Mapping[str, Any] | None = None,
        done_steps: int = 0,
        background: bool = True,
        max_share: float | None = 0.05,
    ):
        self.tracker, self.say, self.on_alarm = tracker, say, on_alarm
        if total_steps == 1:  # a try, such as fast_dev_run: there is no rest
            total_steps = rates = None
        self._live = _restored(state, rates, done_steps, background, say) or LiveForecast(
            total_steps, rates, background=background, max_share=max_share
        )

    def update(self, step: int, loss: SupportsFloat, learning_rate: float | None) -> None:
        """Take the loss of an update.

        Args:
            step: Completed updates, this one included.
            loss: Of its batches.
            learning_rate: That it used.
        """
        news = self._live.add(step, loss, learning_rate)
        if news is not None:
            self._tell(news)

    def state(self) -> dict[str, Any]:
        """For a checkpoint, as plain values."""
        return self._live.state()

    def close(self) -> LiveState:
        """End; gives what is known."""
        return self._live.close()

    def _tell(self, news: LiveState) -> None:
        self.tracker.log(news.metrics(), news.step)
        if news.is_new_forecast:
            self.say(news.headline)
        for alarm in news.new_alarms:
            self.say(f"{alarm.kind}: {alarm.sentence} Look at {alarm.look_at}.")
            if self.on_alarm is not None:
                self.on_alarm(alarm)


def _restored(
    state: Mapping[str, Any] | None,
    rates: Sequence[float] | None,
    done_steps: int,
    background: bool,
    say: Callable[[str], None],
) -> LiveForecast | None:
    if state is None:
        if done_steps:
            say(f"losses before step {done_steps} were not kept, so forecasts begin with those that come")
        return None
    if state.get("step") != done_steps:
        say(f"the forecast kept with the checkpoint is of step {state.get('step')}, not {done_steps}, and is left")
        return None
    try:
        return LiveForecast.from_state(state, schedule=rates, background=background)
    except ArgumentError as error:
        say(f"forecasts begin anew: {error}")
        return None
