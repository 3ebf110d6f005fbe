"""The public scaling tables that benchmarks read by path, and the upper parts that are predicted from the lower."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from eigenflow.scaling.table import ScalingTable, make_table

__all__ = ["SHARED", "all_tables", "splits"]

SHARED = Path(__file__).parents[2] / "shared" / "data"


def all_tables(data: Path) -> dict[str, dict[str, ScalingTable]]:
    """Tables of every set that is there, by set and group."""
    readers = {
        "chinchilla_points": _chinchilla,
        "porian_isoflop": _porian,
        "isoflop_llama3_marin": _isoflop,
        "openlm_overtrain": _openlm,
        "misfitting_checkpoints": _misfitting,
        "steplaw_lr_batch": _steplaw,
        "gemstones": _gemstones,
        "data_repetition": _repetition,
    }
    return {name: dict(read(data / name)) for name, read in readers.items() if (data / name).is_dir()}


def splits(name: str, table: ScalingTable) -> Iterator[tuple[str, np.ndarray]]:
    """Masks of what is fitted, as each set's own held-out part is cut: by compute, size or tokens."""
    multiple = table.tokens / table.size
    if name == "openlm_overtrain":
        yield "size", (table.size < 3e8) & (multiple < 150)
        yield "tokens", multiple < 75
        yield "size alone", table.size < 3e8
    elif name == "gemstones":
        yield "both", (table.size < 4e8) & (table.tokens < 1.3e11)
        yield "size", table.size < 1.1e8
        yield "tokens", table.tokens < 0.5 * table.tokens.max()
    else:
        for share in (0.5, 0.6, 0.75):
            yield f"compute {share:.0%}", table.flops <= np.quantile(table.flops, share) * (1 + 1e-6)


def _table(frame: pd.DataFrame, size: str, tokens: str, loss: str, unique: str | None = None) -> ScalingTable:
    values = [frame[column].to_numpy(dtype=float) for column in (size, tokens, loss)]
    return make_table(*values, None if unique is None else frame[unique].to_numpy(dtype=float))


def _chinchilla(folder: Path):
    frame = pd.read_csv(folder / "points.csv")
    yield "all", _table(frame[~frame.outlier_excluded_by_source], "model_params", "train_tokens", "loss")


def _porian(folder: Path):
    frame = pd.read_csv(folder / "points.csv")
    for key, part in frame.groupby(["dataset", "hparams", "warmup", "lr_decay", "param_count_convention"]):
        yield " ".join(map(str, key)), _table(part, "params", "tokens", "loss")


def _isoflop(folder: Path):
    frame = pd.read_csv(folder / "points.csv")
    for key, part in frame[frame.condition != "raw_loss"].groupby("experiment"):
        yield str(key), _table(part, "params", "tokens", "loss")


def _openlm(folder: Path):
    frame = pd.read_csv(folder / "runs.csv")
    for key, part in frame.groupby("train_dataset"):
        for loss in ("loss_openlm_val", "loss_c4_val", "loss_redpajama"):
            yield f"{key} {loss[5:]}", _table(part, "params", "tokens", loss)


def _misfitting(folder: Path):
    frame = pd.read_csv(folder / "checkpoints.csv")
    last = frame.sort_values("portion_steps_elapsed").groupby("run_id").tail(1)
    best = last.loc[last.groupby(["N", "train_tokens"]).c4_eval_loss.idxmin()]
    yield "best rate", _table(best, "N", "D", "c4_eval_loss")


def _steplaw(folder: Path):
    frame = pd.read_csv(folder / "runs.csv")
    dense = frame[frame.arch == "dense"]
    yield "dense", _table(dense.loc[dense.groupby(["N", "D"]).smooth_loss.idxmin()], "N", "D", "smooth_loss")


def _gemstones(folder: Path):
    frame = pd.read_csv(folder / "points.csv")
    # As the source fits: every 2385th step.
    constant = frame[(frame.subset == "constant_lr") & (frame.step % 2385 == 0)]
    yield "constant rate", _table(constant, "params", "tokens", "loss")
    yield "after cooldown", _table(frame[frame.subset == "cooldown_end"], "params", "tokens", "loss")


def _repetition(folder: Path):
    frame = pd.read_csv(folder / "runs.csv")
    yield "all", _table(frame, "params", "tokens", "val_loss", "unique_tokens")
    yield "one epoch", _table(frame[frame.epochs <= 1], "params", "tokens", "val_loss")
