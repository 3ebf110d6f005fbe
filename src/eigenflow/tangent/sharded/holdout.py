"""The test side of a probe whose samples are spread over processes; a process may hold none of the test set."""

from typing import Any

from torch import Tensor

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.empty import EmptyPoint
from eigenflow.tangent.holdout import HoldoutPoint, holdout_point
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.model.samples import count_samples
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.probe import Probe
from eigenflow.tangent.processes import ProcessGroup
from eigenflow.tangent.sharded.agreement import share_of_loss
from eigenflow.tangent.sharded.space import ShardedSpace

__all__ = ["ShardedHoldout"]


class ShardedHoldout:
    """The test set of a `ShardedProbe`.

    Args:
        holdout: This process's part, as the user gave it.
        processes: Who shares the set.

    Raises:
        ArgumentError: On all processes alike, if only some of them have one, or none holds a sample.
    """

    def __init__(self, holdout: Any, processes: ProcessGroup):
        self.given, self.processes = holdout, processes
        processes.require_same({"holdout": "None" if holdout is None else "a pair"})
        self.counts = [0] * processes.count
        if holdout is None:
            return
        self.counts = processes.gathered(processes.each(lambda: _count(holdout)))
        if not any(self.counts):
            raise ArgumentError(
                "`holdout` must hold at least one sample on some process, but is empty on all of them. Leave it out "
                "on all."
            )

    @property
    def here(self) -> tuple[Any, Tensor] | None:
        """What this process's own probe takes of it."""
        return self.given if self.counts[self.processes.rank] else None

    def share(self, local: Probe) -> None:
        """Give this process's part of the loss the normalisation of the whole set."""
        if self.given is None:
            return
        part = None if local.holdout is None else (local.holdout_objective, local.holdout[1])
        ratio = share_of_loss(part, self.processes)
        if part is not None:
            local.holdout_objective = part[0].scaled(ratio)
        shape = self.processes.each(lambda: None if part is None else _shape(holdout_point(local).test))
        shapes = self.processes.gathered(shape)
        self.shape = shape or next(one for one in shapes if one is not None)
        self.sizes = [count * (one or self.shape)[0] for count, one in zip(self.counts, shapes, strict=True)]

    def at(self, local: Probe, train_space: ShardedSpace, state: tuple[Parameters, Parameters]) -> HoldoutPoint:
        """Both sets at a state."""
        if self.given is None:
            raise ArgumentError(
                "The probe has no `holdout`. Make it with ShardedProbe(..., holdout=(test_inputs, test_targets))."
            )
        test_space = ShardedSpace(self.sizes, self.processes, train_space.device)
        if local.holdout is not None:
            point = holdout_point(local, state)
            return HoldoutPoint(point.train, point.test, train_space, test_space)
        train = local.at(state)
        empty = EmptyPoint(train.parameters, train.rest, *self.shape)
        return HoldoutPoint(train, empty, train_space, test_space)


def _shape(point: TangentPoint | EmptyPoint) -> tuple[int, int]:
    """Entries of the error, and outputs, of one sample."""
    return point.size // len(point.outputs), point.outputs.shape[1]


def _count(holdout: Any) -> int:
    if not isinstance(holdout, tuple | list) or len(holdout) != 2:
        raise ArgumentError("`holdout` must be a pair: holdout=(test_inputs, test_targets).")
    return count_samples(holdout[0], "holdout[0]")
