"""What a record of states keeps in its folder to go on from: the frames and parameters of its first and last state.

The last ones are written before the measurement that they belong to is committed, by turns into one of two files. So
whenever the process is killed, one of the files belongs to the last committed measurement.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from eigenflow.core.errors import RunFolderError
from eigenflow.store import Run, RunWriter, Variable, open_run
from eigenflow.store.schema import Clock
from eigenflow.tangent import Probe
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.frame_variables import frame_variables
from eigenflow.trajectory.frames import Frame, Frames
from eigenflow.trajectory.header import cut_rows, pack_state, read_state, run_header
from eigenflow.trajectory.optimizers import PLAIN
from eigenflow.trajectory.state_measurement import StateMeasurement
from eigenflow.trajectory.state_variables import motion_variables, state_shells

__all__ = ["Continued", "StateMotion", "continue_states", "require_same_settings", "states_header"]

FIRST = "state-first.safetensors"
# The last state's, by turns.
LAST = ("state-last-0.safetensors", "state-last-1.safetensors")
# Settings that a record keeps from its first state to its last.
SETTINGS = ("method", "modes", "couplings", "tail", "tolerance", "product_dtype")
OF_PROBE = ("loss", "outputs", "holdout_samples", "dtype", "parameters")


def states_header(
    config: Mapping[str, Any] | None, probe: Mapping[str, Any], method: Mapping[str, Any]
) -> dict[str, Any]:
    """The header of a record of states."""
    header = run_header(config, probe, [], {**method, "operator": PLAIN, "preconditioner": None})
    del header["schedule"]
    return {"kind": "states", **header}


def require_same_settings(run: Run, header: Mapping[str, Any]) -> None:
    """Refuse to go on in a folder of another kind, or with other settings.

    Raises:
        RunFolderError: Names the setting, what it was and what came.
    """
    if run.kind != "states":
        raise RunFolderError(
            f"Run `{run.path}` is a record of updates, as a Recorder makes it, and cannot go on with states alone. "
            f"Record the states into another path."
        )
    pairs = [(run.header, header, name) for name in SETTINGS]
    pairs += [(run.header.get("probe", {}), header["probe"], name) for name in OF_PROBE]
    for stored, now, name in pairs:
        if stored.get(name) != now.get(name):
            raise RunFolderError(
                f"Run `{run.path}` was measured with {name}={stored.get(name)!r}, but would go on with "
                f"{name}={now.get(name)!r}. Resume it with the same settings, or record into another path."
            )


@dataclass
class StateMotion:
    """Carries frames and parameters from one state to the next."""

    frames: Frames = field(default_factory=Frames)
    parameters: dict[str, Tensor] = field(default_factory=dict)
    turn: int = 0

    def variables(
        self,
        probe: Probe | ShardedProbe,
        one: StateMeasurement,
        edges: np.ndarray,
        *,
        time: float,
        leading: int,
    ) -> tuple[dict[str, Variable], "StateMotion"]:
        """How a state differs from the one before and from the first; and what to go on with after it."""
        shells = state_shells(one, edges)
        now = Frame(time, one.eigenvalues, one.eigenvectors.contiguous(), shells)
        variables = frame_variables(
            probe, now, self.frames, None, one.error, leading=leading, modes=one.modes, shells=len(edges) + 1
        )
        variables |= motion_variables(probe, one, now, self.frames.previous, self.parameters)
        after = Frames()
        after.initial, after.previous = self.frames.initial, self.frames.previous
        after.advance(now)
        parameters = {"initial": self.parameters.get("initial", one.parameters), "previous": one.parameters}
        return variables, StateMotion(after, parameters, 1 - self.turn)

    def files(self, step: int, whole: Callable[[Tensor], Tensor], *, is_first: bool) -> dict[str, bytes]:
        """What to keep, by the names of files; `whole` puts together the rows of all processes."""
        states = {LAST[self.turn]: self.frames.state() | {"previous.parameters": self.parameters["previous"]}}
        if is_first:
            states[FIRST] = self.frames.origin() | {"initial.parameters": self.parameters["initial"]}
        return {name: pack_state(step, cut_rows(state, whole)) for name, state in states.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take what is in a file."""
        self.frames.load(state)
        for name in ("initial", "previous"):
            if f"{name}.parameters" in state:
                self.parameters[name] = state[f"{name}.parameters"].clone()


@dataclass(frozen=True)
class Continued:
    """What a folder holds to go on from.

    Attributes:
        steps: States that are there.
        time: Of the last one, on the record's clock.
        clock: Of the record, None if it has none yet.
        edges: Shell edges, None before the first state.
        gaps: Steps of states that are known to be missing.
        turn: Which of the two files is of the last state.
        states: Contents of the files of the first and of the last state.
    """

    steps: tuple[int, ...]
    time: float
    clock: Clock | None
    edges: np.ndarray | None
    gaps: tuple[int, ...]
    turn: int
    states: list[dict[str, Tensor]]

    @classmethod
    def nothing(cls, gaps: tuple[int, ...] = ()) -> "Continued":
        """Of a folder without states."""
        return cls((), 0.0, None, None, gaps, 1, [])


def continue_states(writer: RunWriter) -> Continued:
    """Read what a recorder needs to go on after the last state of a folder.

    Raises:
        RunFolderError: If a file of the first or last state was changed or deleted.
    """
    run = open_run(writer.path)
    steps = writer.measured_steps
    gaps = tuple(gap.step for gap in run.gaps if gap.kind == "measurement")
    if not steps:
        return Continued.nothing(gaps)
    data = run.measurements
    states, turn = list[dict[str, Tensor]](), 1
    for name, step in ((FIRST, steps[0]), *((name, steps[-1]) for name in LAST)):
        found = read_state(run, name)
        if found is not None and found[0] == step:
            states.append(found[1])
            turn = LAST.index(name) if name in LAST else turn
    return Continued(steps, float(data["time"].values[-1]), run.clock, data["edge"].values, gaps, turn, states)
