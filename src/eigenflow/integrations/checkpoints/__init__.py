"""Checkpoints that people kept, measured: which files are checkpoints and of which step, their tensors, a record."""

from eigenflow.integrations.checkpoints.measure import measure_checkpoints as measure_checkpoints
from eigenflow.integrations.checkpoints.planning import plan_checkpoints as plan_checkpoints
from eigenflow.integrations.checkpoints.result import CheckpointCost as CheckpointCost
from eigenflow.integrations.checkpoints.result import CheckpointPlan as CheckpointPlan
from eigenflow.integrations.checkpoints.result import CheckpointRecord as CheckpointRecord
