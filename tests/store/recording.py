"""A run whose every number is a formula of its step; as a script, a process that can be killed.

Run:  python tests/store/recording.py FOLDER START TOTAL
"""

import sys
from pathlib import Path

import numpy as np

from eigenflow.store import RunWriter, Variable

MODES = 5
SHELLS = 3
MEASURE_EVERY = 2
HEADER = {"config": {"seed": 0}, "probe": {"checksum": "abc"}}
EDGES = np.array([0.5, 2.0])


def arrays_at(step: int) -> dict[str, np.ndarray]:
    modes = np.arange(MODES, dtype=np.float64)
    shells = np.arange(SHELLS, dtype=np.float64)
    return {
        "eigenvalue": 1.0 / (1.0 + modes) + step,
        "count": np.full(SHELLS, step, dtype=np.int64),
        "is_resolved": np.arange(MODES) % 2 == step % 2,
        "transfer": np.sin(shells[:, None] * (step + 1)) + shells,
        "test_loss": np.array(0.0 if step == 0 else 1.0 / step),
    }


DIMS = {
    "eigenvalue": ("mode",),
    "count": ("shell",),
    "is_resolved": ("mode",),
    "transfer": ("shell", "shell_from"),
    "test_loss": (),
}


def variables_at(step: int) -> dict[str, Variable]:
    return {
        name: Variable(DIMS[name], values, "1", f"the {name}", label_dependent=name == "is_resolved")
        for name, values in arrays_at(step).items()
    }


def constants() -> dict[str, Variable]:
    return {"shell_edges": Variable(("edge",), EDGES, "1 / time", "edges of the shells")}


def row_at(step: int) -> dict[str, float]:
    return {"step": step, "time": 0.1 * step, "loss": 1.0 / (step + 3), "learning_rate": 0.1}


def record(writer: RunWriter, start: int, total: int, *, announce=lambda text: None) -> None:
    """Go from `start` completed updates to `total`, measuring before every second update."""
    for step in range(start, total):
        if step % MEASURE_EVERY == 0:
            writer.append(step, variables_at(step), constants=constants())
            announce(f"committed {step}")
        writer.log(row_at(step))


def main() -> None:
    folder, start, total = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    print("ready", flush=True)
    if (folder / "run.json").exists():
        writer = RunWriter.resume(folder, start=start, header=HEADER)
    else:
        writer = RunWriter.create(folder, header=HEADER)
    with writer:
        record(writer, start, total, announce=lambda text: print(text, flush=True))
    print("done", flush=True)


if __name__ == "__main__":
    main()
