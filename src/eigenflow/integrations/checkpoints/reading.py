"""From what was found on disk to tensors and a step; what cannot be read is said with its reason."""

import json
from pathlib import Path
from typing import Any

from eigenflow.integrations.checkpoints.folder import Found
from eigenflow.integrations.checkpoints.formats.distributed import read_distributed
from eigenflow.integrations.checkpoints.formats.safetensors_files import missing_shards, read_index, read_safetensors
from eigenflow.integrations.checkpoints.formats.torch_files import joined, rate_in_file, read_torch
from eigenflow.integrations.checkpoints.formats.weights import AbstractWeights, UnreadableError
from eigenflow.integrations.checkpoints.steps import Step, step_in_file, step_in_name

__all__ = ["learning_rate_of", "open_weights", "step_of", "trainer_state"]

# Files with which programs say how far a run was, beside the weights; JSON alone.
STATES = ("trainer_state.json", "training_state.json", "state.json", "train_state.json", "meta.json", "metadata.json")
LARGEST_STATE = 2**28


def open_weights(found: Found) -> AbstractWeights:
    """Open one checkpoint; tensors are read when they are asked for.

    Raises:
        UnreadableError: With the reason.
    """
    if found.kind == "refused":
        raise UnreadableError(found.reason)
    if found.kind == "distributed":
        return read_distributed(found.files[0])
    files, expected = found.files, None
    if found.index is not None:
        expected = read_index(found.index)
        files = tuple(found.index.parent / name for name in sorted(set(expected.values())))
    elif len(files) > 1 and (absent := missing_shards(files)):
        count = len(files) + len(absent)
        raise UnreadableError(f"{len(absent)} of {count} shards are missing: {', '.join(absent[:5])}")
    if _one_kind(files, found.kind) == "safetensors":
        return read_safetensors(files, expected=expected)
    if len(files) > 1 and (absent := [file.name for file in files if not file.exists()]):
        raise UnreadableError(f"{len(absent)} of {len(files)} shards are missing: {', '.join(absent[:5])}")
    parts = [read_torch(file) for file in files]
    return parts[0] if len(parts) == 1 else joined(parts, f"torch file in {len(parts)} shards")


def _one_kind(files: tuple[Path, ...], kind: str) -> str:
    """A shard's own kind: an adapter's file may be either."""
    return "safetensors" if files and files[0].suffix.lower() == ".safetensors" else "torch" if files else kind


def step_of(found: Found, weights: AbstractWeights | None) -> Step | None:
    """The step: from the file, else from what lies beside it, else from its name."""
    name = step_in_name(found.path)
    inside = None if weights is None else step_in_file(weights.content)
    if inside is not None and inside.updates is not None:
        return inside
    beside = _step_beside(found)
    if beside is not None and beside.updates is not None:
        return beside
    return name if name is not None and (name.updates is not None or inside is None) else inside or beside


def _step_beside(found: Found) -> Step | None:
    folder = found.path if found.path.is_dir() else None
    stem = found.path.stem.replace("model", "meta")
    candidates = [folder / name for name in STATES] if folder else [found.path.with_name(f"{stem}.json")]
    for path in candidates:
        content = _json(path)
        step = None if content is None else step_in_file(content)
        if step is not None:
            return Step(step.updates, step.epochs, f"{path.name}")
    if folder is not None and (folder / "meta.pt").is_file():  # Lightning keeps all but the weights there
        try:
            return step_in_file(read_plain(folder / "meta.pt"))
        except UnreadableError:
            return None
    return None


def read_plain(path: Path) -> dict[str, Any]:
    """A torch file's values, where there need not be tensors."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnreadableError(f"'{path.name}' cannot be read ({type(error).__name__})") from None
    return content if isinstance(content, dict) else {}


def trainer_state(found: Found) -> dict[str, Any] | None:
    """What the Trainer of Hugging Face has logged up to this checkpoint."""
    return _json(found.path / "trainer_state.json") if found.path.is_dir() else None


def learning_rate_of(found: Found, weights: AbstractWeights, step: int) -> float | None:
    """The rate at a checkpoint, from its optimizer's state or the Trainer's log."""
    rate = rate_in_file(weights.content)
    if rate is None and (state := trainer_state(found)) is not None:
        rows = [row for row in state.get("log_history") or [] if isinstance(row, dict) and row.get("step") == step]
        rates = [row["learning_rate"] for row in rows if isinstance(row.get("learning_rate"), int | float)]
        rate = float(rates[-1]) if rates else None
    return rate


def _json(path: Path) -> dict[str, Any] | None:
    try:
        if path.stat().st_size > LARGEST_STATE:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
