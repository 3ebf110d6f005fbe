"""Sweeps of runs that were written down, not trained: their numbers are known. No torch."""

import itertools
import json

import numpy as np

from synthetic_run import drifting_modes, write_run

LABELS = 10.0 ** np.linspace(0, -1, 6)
COEFFICIENTS = np.ones(6)


def loss_of(time, size, growth):
    """Half the energy of what `record` writes down."""
    return 0.5 * size * float((np.exp(-2 * LABELS * (time + growth * time**2 / 2))).sum())


def record(place, size, growth):
    """Modes that never rotate: ||M - M0|| / ||M0|| = growth * time, and the loss is a formula."""
    path = drifting_modes(
        LABELS,
        np.sqrt(size) * COEFFICIENTS,
        lambda time: 1 + growth * time,
        lambda time: time + growth * time**2 / 2,
        lambda time: growth / (1 + growth * time),
    )
    return write_run(place, path, steps=40, count=6, step_size=0.05)


def claim(name, verdict, estimate=0.5):
    return {"claim": name, "estimate": estimate, "interval": [estimate - 0.1, estimate + 0.1], "verdict": verdict,
            "statement": "s", "decides": True}  # fmt: skip


def write_sweep(folder, dimensions, size, *, growth=lambda values: 0.1, verdicts=lambda index: {}, left_out=()):
    """A sweep of which every run has losses of a known scale.

    Args:
        folder: Of the sweep.
        dimensions: Names, their keys with values, and how many places they have without any.
        size: Of a run's losses, by its values and index.
        growth: Of a run's operator, by its values.
        verdicts: Of a run's claims, by its index.
        left_out: Names of runs that are not made.
    """
    lengths = [len(next(iter(keys.values()))) if keys else length for _, keys, length in dimensions]
    runs = []
    for places in itertools.product(*map(range, lengths)):
        index = {dim: place for (dim, _, _), place in zip(dimensions, places, strict=True)}
        values = {key: given[index[dim]] for dim, keys, _ in dimensions for key, given in keys.items()}
        runs.append({"name": "_".join(map(str, places)), "values": values, "index": index})
    for run in runs:
        if run["name"] in left_out:
            continue
        place = folder / "runs" / run["name"]
        made = record(place, size(run["values"], run["index"]), growth(run["values"]))
        told = verdicts(run["index"])
        if told:
            closure = {
                "b": 1.5,
                "b_interval": [1.0, 2.0],
                "gamma": -0.1,
                "gamma_interval": [-0.2, 0.0],
                "explained": 0.9,
            }
            scores = [{"method": "lazy", "cut": 0.5, "rms_log_ratio": 0.2, "final_log_ratio": 0.3}]
            claims = [claim(name, verdict) for name, verdict in told.items()]
            made.write_summary({"claims": claims, "closure": closure, "forecast": {"scores": scores}})
    header = {
        "format": 1,
        "schema_version": 1,
        "name": "known",
        "base": {},
        "sweep": {},
        "dimensions": [
            {"name": dim, "keys": keys, "length": length}
            for (dim, keys, _), length in zip(dimensions, lengths, strict=True)
        ],
        "runs": runs,
    }
    folder.mkdir(exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(header))
    return folder
