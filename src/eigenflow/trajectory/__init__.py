"""A training run, recorded: when to measure, and the exact budget of each measured step."""

from eigenflow.trajectory.identity import PathIdentity as PathIdentity
from eigenflow.trajectory.identity import gradient_identity as gradient_identity
from eigenflow.trajectory.identity import path_identity as path_identity
from eigenflow.trajectory.recorder import Recorder as Recorder
from eigenflow.trajectory.state_measurement import StateMeasurement as StateMeasurement
from eigenflow.trajectory.state_measuring import measure_state as measure_state
from eigenflow.trajectory.state_recorder import StateRecorder as StateRecorder
from eigenflow.trajectory.step import OneStep as OneStep
from eigenflow.trajectory.step import measure_step as measure_step
from eigenflow.trajectory.tracked import TailSettings as TailSettings
from eigenflow.trajectory.tracked import TrackedStep as TrackedStep
from eigenflow.trajectory.tracked import measure_tracked_step as measure_tracked_step
