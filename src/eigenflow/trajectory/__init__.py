"""A training run, recorded: when to measure, and the exact budget of each measured step."""

from eigenflow.trajectory.recorder import Recorder as Recorder
from eigenflow.trajectory.step import OneStep as OneStep
from eigenflow.trajectory.step import gradient_identity as gradient_identity
from eigenflow.trajectory.step import measure_step as measure_step
from eigenflow.trajectory.tracked import TailSettings as TailSettings
from eigenflow.trajectory.tracked import TrackedStep as TrackedStep
from eigenflow.trajectory.tracked import measure_tracked_step as measure_tracked_step
