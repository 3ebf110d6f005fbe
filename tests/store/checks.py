"""What must hold of a run made by `recording.py`, whatever happened to its writer."""

import json
import warnings

import numpy as np
import xarray as xr

from eigenflow.store import Run, RunFolderWarning, RunWriter, open_run
from store.recording import DIMS, EDGES, HEADER, MEASURE_EVERY, arrays_at, record, row_at


def open_quietly(folder) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunFolderWarning)
        return open_run(folder)


def assert_exact(run: Run) -> None:
    """Every measurement and loss row of the run is the formula's, to the last bit."""
    steps = list(run.measured_steps)
    assert run.measurements["step"].values.tolist() == steps
    for index, step in enumerate(steps):
        for name, expected in arrays_at(step).items():
            got = run.measurements[name]
            assert got.dims == ("step", *DIMS[name])
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got.values[index], expected)
    assert run.losses.to_dict("records") == [row_at(step) for step in range(len(run.losses))]


def assert_complete(folder, total: int) -> None:
    """The folder holds the whole run, for eigenflow and for whoever reads the bare files."""
    run = open_run(folder)  # warnings are errors
    assert run.status == "complete"
    assert list(run.measured_steps) == list(range(0, total, MEASURE_EVERY))
    assert_exact(run)
    with (folder / "losses.jsonl").open() as lines:
        assert [json.loads(line) for line in lines] == [row_at(step) for step in range(total)]
    dataset = xr.open_zarr(folder / "measurements.zarr").load()
    xr.testing.assert_identical(dataset, run.measurements)
    np.testing.assert_array_equal(dataset["shell_edges"], EDGES)
    assert not list(folder.rglob("*.partial"))
    assert not list(folder.rglob(".tmp*"))


def finish(folder, total: int) -> None:
    """Go on with a killed run to its end, from the last state that is known."""
    if not (folder / "run.json").exists():
        start, writer = 0, RunWriter.create(folder, header=HEADER)
    else:
        start = max(open_quietly(folder).measured_steps, default=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RunFolderWarning)
            writer = RunWriter.resume(folder, start=start, header=HEADER)
    with writer:
        record(writer, start, total)
