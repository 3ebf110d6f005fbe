"""From a distance that is too large to a kind of trouble, and the sentence that says so."""

from dataclasses import dataclass

import numpy as np

from eigenflow.forecast.live.alarms import KINDS, Alarm
from eigenflow.forecast.live.pointwise import PointWatch, Spike
from eigenflow.forecast.live.statistics import Distance, Residuals

__all__ = ["Finding", "down_alarm", "noise_alarm", "not_finite_alarm", "repetition_alarm", "up_alarm"]

# A loss this much above where it was diverges, whatever else it does.
DIVERGED = 1.3
# A rise goes on if the second half after the change lies higher than the first by this share of the whole.
GOES_ON = 0.35
# A spike is behind a rise if it was so many times as high, and had so many losses: one may be of the noise.
SPIKE_HIGHER, OF_SPIKE, NOISE, NOW = 2.0, 3, 4.0, 9
# Steps of equal distance, up to this share, are of epochs.
EQUAL = 0.1


@dataclass(frozen=True)
class Finding:
    """A distance above its threshold.

    Attributes:
        name: Of the statistic: "shift", "band", "fall", "level".
        distance: As measured.
        threshold: Above which it is too large.
        at: The blocks behind it.
    """

    name: str
    distance: Distance
    threshold: float
    at: Residuals

    @property
    def excess(self) -> float:
        """The distance in units of the threshold."""
        return abs(self.distance.z) / self.threshold

    def evidence(self) -> dict[str, float]:
        """Numbers behind an alarm."""
        return {
            "distance_sd": float(self.distance.z),
            "threshold_sd": float(self.threshold),
            "change_of_log_loss": float(self.distance.change),
            "losses": float(self.distance.blocks * self.at.size),
        }


def up_alarm(found: Finding, step: int, points: PointWatch) -> Alarm:
    """The loss is higher than it should be: divergence, a spike that stays, a step, or a plateau."""
    at = found.at
    begin = _change(at, found.distance)
    since = int(at.steps[begin])
    after, before = at.values[begin:], at.values[max(begin - len(at.values) + begin, 0) : begin]
    level = float(before[-max(len(after), 4) :].mean()) if len(before) else float(after[0])
    moved = float(after[-max(len(after) // 2, 1) :].mean()) - level
    goes_on = _goes_on(at, begin)
    change = abs(found.distance.change)
    spike = _spike_near(points, since, max(step - since, 2 * at.size))
    now = float(np.median(list(points.values)[-NOW:]))
    percent = _percent(change)
    since = since if spike is None else min(since, spike.since)
    more = found.evidence() | {"level_before": float(np.exp(level)), "level_now": float(np.exp(level + moved))}
    rises = moved > 0.5 * change
    if moved > np.log(DIVERGED) or (goes_on and rises and found.name != "fall"):
        told = f"the loss rises since step {since:,}, from {np.exp(level):.4g} to {np.exp(level + moved):.4g}"
        return _alarm("divergence", "rise", told, since, step, more)
    if (
        spike is not None
        and spike.peak - NOISE * points.sd > SPIKE_HIGHER * (now - spike.level)
        and found.name != "fall"
    ):
        told = f"the loss has not come back from the spike at step {spike.since:,}: it stays {percent} higher"
        return _alarm("spike", "", told, spike.since, step, more | {"peak_of_log_loss": spike.peak})
    if found.name == "fall" or (goes_on and not rises):
        told = f"the loss has fallen by {percent} less than forecast since step {since:,}"
        return _alarm("plateau", "", told, since, step, more)
    if found.name == "band":
        told = f"the loss stays above the band of its forecast since step {since:,}, by {percent} of the loss"
        return _alarm("divergence" if rises else "plateau", "above", told, since, step, more)
    told = f"the loss went up by {percent} at about step {since:,}, and has stayed there"
    return _alarm("data trouble", "step up", told, since, step, more)


def down_alarm(found: Finding, step: int, earlier: list[Alarm]) -> Alarm:
    """The loss is lower than it should be: a step, as at the border of an epoch, or a slow departure."""
    at = found.at
    begin = _change(at, found.distance)
    since, percent = int(at.steps[begin]), _percent(abs(found.distance.change))
    if found.name == "shift" and not _goes_on(at, begin):
        steps = [alarm.since for alarm in earlier if alarm.pattern == "step down"] + [since]
        gaps = np.diff(steps[-3:])
        told = f"the loss went down by {percent} at about step {since:,}, and has stayed there"
        if len(gaps) == 2 and abs(gaps[1] - gaps[0]) < EQUAL * gaps.max():
            told += f"; the third time at equal distances of {int(gaps.mean()):,} steps, as at the border of an epoch"
        return _alarm("data trouble", "step down", told, since, step, found.evidence())
    told = f"the loss lies below its forecast since step {since:,}, by {percent}: better than anything it has shown"
    return _alarm("below the band", "", told, since, step, found.evidence())


def noise_alarm(found: Finding, step: int) -> Alarm:
    """Single losses scatter more, or less, than they did."""
    since = int(found.at.steps[found.distance.begin])
    factor = float(np.exp(found.distance.change))
    told = f"the scatter of single losses is {factor:.2g} times what it was, since about step {since:,}"
    return _alarm("data trouble", "noise", told, since, step, found.evidence() | {"factor": factor})


def repetition_alarm(step: int, since: int, lag: int, z: float, correlation: float) -> Alarm:
    """The noise of batches comes again."""
    told = f"the noise of the loss repeats itself every {lag:,} steps: the same batches seem to come again"
    evidence = {"correlation": correlation, "distance_sd": z, "period": float(lag)}
    return _alarm("data trouble", "repeated", told, since, step, evidence)


def same_alarm(step: int, count: int) -> Alarm:
    """The loss does not change at all."""
    told = f"the last {count} losses are equal to the last digit: the loss, the batch or the weights stand still"
    return _alarm("data trouble", "equal", told, step, step, {"losses": float(count)})


def not_finite_alarm(step: int, since: int, count: int) -> Alarm:
    """Losses are no numbers."""
    told = f"the loss is not a finite positive number, {count} times since step {since:,}"
    return _alarm("divergence", "not finite", told, since, step, {"losses": float(count)})


def _alarm(kind: str, pattern: str, told: str, since: int, step: int, evidence: dict[str, float]) -> Alarm:
    return Alarm(kind, pattern, told, since, step, evidence, KINDS[kind])


def _spike_near(points: PointWatch, since: int, near: int) -> Spike | None:
    """The spike that a rise began with: one that is not over, else one near its first step."""
    if points.open_spike is not None and points.open_spike.count >= OF_SPIKE:
        return points.open_spike
    late = (one for one in reversed(points.spikes) if one.count >= OF_SPIKE and abs(one.since - since) <= near)
    return next(late, None)


def _change(at: Residuals, distance: Distance) -> int:
    """Index of the first block after the change: where a step explains most of the residuals near the window."""
    first = max(distance.begin - distance.blocks, 1)
    values = at.apart[max(first - 2 * distance.blocks, 0) :]
    offset = len(at.values) - len(values)
    count = np.arange(1, len(values))
    if not len(count):
        return distance.begin
    sums = np.cumsum(values)
    left, right = sums[:-1] / count, (sums[-1] - sums[:-1]) / (len(values) - count)
    gain = count * (len(values) - count) * (right - left) ** 2
    return offset + int(gain.argmax()) + 1


def _goes_on(at: Residuals, begin: int) -> bool:
    """Whether the departure still grows: the second half after the change is beyond the first."""
    after = at.apart[begin:]
    if len(after) < 4:
        return False
    before = at.apart[max(begin - len(after), 0) : begin]
    half = len(after) // 2
    whole = float(after.mean() - before.mean()) if len(before) else float(after.mean())
    return bool((float(after[half:].mean()) - float(after[:half].mean())) * np.sign(whole) > GOES_ON * abs(whole))


def _percent(change: float) -> str:
    return f"{100 * np.expm1(change):.2g} %" if change < 0.7 else f"a factor of {np.exp(change):.3g}"
