"""The step of a checkpoint: from what the file says of itself, else from its name."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["SHARD", "SUFFIXES", "Step", "has_own_step", "step_in_file", "step_in_name"]

# What programs call the number of updates in a file, those that leave no doubt first.
UPDATES = ("global_step", "global_steps", "num_updates", "iter_num", "current_step", "completed_steps", "train_step")
UPDATES += (
    "step",
    "steps",
    "iteration",
    "iterations",
    "iter",
    "it",
    "update",
    "updates",
    "n_iter",
    "step_num",
    "batch",
)
EPOCHS = ("epoch", "epochs", "current_epoch", "epoch_num", "num_epochs", "epochs_run")
# Where they keep it, if not at the top.
ROOMS = ("meta", "trainer_state", "train_state", "extra_state", "metadata", "progress", "trainer", "state")
ROOMS += ("timestamp", "Timestamp", "info", "train_iterator")
DEEPEST = 4

# A number may be written 010000 or 10k.
NUMBER = r"[=_\-. ]*0*(\d+)([kKmM](?![a-zA-Z]))?"
WORDS_OF_UPDATES = r"global[_\-]?steps?|training[_\-]?steps?|steps?|iterations?|iters?|updates?|batch(?:es)?|ba|it|iter"
WORDS_OF_EPOCHS = r"epochs?|ep"
WORDS_OF_FILES = r"checkpoints?|ckpts?|chkpt|snapshot|model|state|weights|params|net|save[ds]?|adapter"
BEFORE = re.compile(rf"(?<![a-zA-Z])({WORDS_OF_UPDATES}){NUMBER}", re.IGNORECASE)
AFTER = re.compile(rf"(?<![\d.])0*(\d+)([kKmM])?[_\-]?({WORDS_OF_UPDATES})(?![a-zA-Z0-9])", re.IGNORECASE)
EPOCH_BEFORE = re.compile(rf"(?<![a-zA-Z])({WORDS_OF_EPOCHS}){NUMBER}", re.IGNORECASE)
EPOCH_AFTER = re.compile(rf"(?<![\d.])0*(\d+)()[_\-]?({WORDS_OF_EPOCHS})(?![a-zA-Z0-9])", re.IGNORECASE)
# A part of a checkpoint: what stands before, its number, how many there are, what stands behind.
SHARD = re.compile(r"^(.*?)[-_.]?(\d{1,6})-of-(\d{1,6})(.*)$")
# torchtune: a part's number and the epoch.
TORCHTUNE = re.compile(r"^(?:hf|meta)_model_\d{4}_(\d+)$")
# fairseq: checkpoint_EPOCH_UPDATES.
FAIRSEQ = re.compile(r"^checkpoint_(\d+)_(\d+)$")
ALONE = re.compile(rf"(?:^|[=_\- ]|(?<!\d)\.|(?<![a-zA-Z])(?:{WORDS_OF_FILES}))0*(\d+)([kKmM])?$", re.IGNORECASE)
# The same for a folder in which the weights lie, where a number alone says little.
OF_FOLDER = re.compile(r"(?<![a-zA-Z])(?:checkpoint|ckpt|chkpt|snapshot)[=_\- ]?0*(\d+)([kKmM])?$", re.IGNORECASE)
# Days and times in names are no steps.
DATES = re.compile(r"(19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d([-_T. ]*[0-2]\d[-_:.]?[0-5]\d([-_:.]?[0-5]\d)?)?")
# Lightning's second file of a name; the rank that wrote it; what does not belong to a name.
ENDINGS = re.compile(r"(-v\d+|[_\-]rank_?\d+|[_\-]unsharded|[_\-]ckpt|[_\-]checkpoint|[_\-]model|[_\-]fp(16|32))+$")
SUFFIXES = (".safetensors", ".pth.tar", ".tar", ".pth", ".pt", ".ckpt", ".bin", ".th", ".chkpt", ".mdl", ".model")
FACTORS = {"": 1, "k": 1000, "m": 1_000_000}


@dataclass(frozen=True)
class Step:
    """When a checkpoint was written.

    Attributes:
        updates: Completed updates, or None if only epochs are known.
        epochs: Epochs, or None.
        source: What it was read from, in words.
    """

    updates: int | None
    epochs: int | None
    source: str


def has_own_step(path: Path) -> bool:
    """Whether a file's own name tells a step."""
    return _in_one_name(_bare(path.name), is_folder=False) is not None


def step_in_name(path: Path) -> Step | None:
    """Read a step off a file's name, or else off the folder that it lies in, if that says what its number is."""
    found = _in_one_name(_bare(path.name), is_folder=False)
    return found if found is not None else _in_one_name(path.absolute().parent.name, is_folder=True)


def _in_one_name(name: str, *, is_folder: bool) -> Step | None:
    if match := TORCHTUNE.match(name):
        return Step(None, int(match[1]), f"name '{name}'")
    if match := SHARD.match(name):
        name = match[1] + match[4]
    bare = DATES.sub("", ENDINGS.sub("", name))
    if match := FAIRSEQ.match(bare):
        return Step(int(match[2]), int(match[1]), f"name '{name}'")
    epochs = _found(bare, (EPOCH_BEFORE, 2), (EPOCH_AFTER, 1))
    updates = _found(bare, (BEFORE, 2), (AFTER, 1))
    alone = OF_FOLDER if is_folder else ALONE
    if updates is None and epochs is None and (match := alone.search(bare)) is not None:
        updates = _number(match, 1)
    if updates is None and epochs is None:
        return None
    return Step(updates, epochs, f"name '{name}'")


def _found(name: str, *patterns: tuple[re.Pattern[str], int]) -> int | None:
    """The last number that the first pattern which fits finds; the group of the number comes with it."""
    for pattern, group in patterns:
        if found := [_number(match, group) for match in pattern.finditer(name)]:
            return found[-1]
    return None


def _number(match: re.Match[str], group: int) -> int:
    return int(match[group][:18]) * FACTORS[(match[group + 1] or "").lower()]


def _bare(name: str) -> str:
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def step_in_file(content: Mapping[str, Any]) -> Step | None:
    """Read a step out of what a file holds beside its tensors."""
    rooms = list(_rooms(content, "", 0))
    updates = next(
        ((v, at) for name in UPDATES for room, at in rooms if (v := _whole(room.get(name))) is not None), None
    )
    if updates is None:
        updates = _optimizer_step(content)
    epochs = next((v for name in EPOCHS for room, _ in rooms if (v := _whole(room.get(name))) is not None), None)
    if updates is not None:
        name = next(
            (n for n in UPDATES for room, at in rooms if at == updates[1] and _whole(room.get(n)) is not None), ""
        )
        where = f"{updates[1]}{name}" if name else updates[1]
        return Step(updates[0], epochs, f"'{where}' in the file")
    return None if epochs is None else Step(None, epochs, "'epoch' in the file")


def _rooms(content: Any, at: str, depth: int) -> Iterator[tuple[Mapping[Any, Any], str]]:
    if not isinstance(content, Mapping) or depth > DEEPEST:
        return
    yield content, at
    for name in ROOMS:
        if name in content:
            yield from _rooms(content[name], f"{at}{name}.", depth + 1)
    history = content.get("optimizer_history")  # fairseq
    if isinstance(history, list) and history:
        yield from _rooms(history[-1], f"{at}optimizer_history.", depth + 1)


def _optimizer_step(content: Mapping[str, Any]) -> tuple[int, str] | None:
    """Adam and its kin count their updates, parameter by parameter."""
    for name, value in content.items():
        for one in value if isinstance(value, list) else [value]:
            if not (isinstance(name, str) and name.startswith("optim") and isinstance(one, Mapping)):
                continue
            states = one.get("state")
            if isinstance(states, Mapping):
                counts = [_whole(s.get("step")) for s in states.values() if isinstance(s, Mapping)]
                if found := [count for count in counts if count is not None]:
                    return max(found), f"{name}.state."
    return None


def _whole(value: Any) -> int | None:
    """A whole number >= 0, also as a tensor or a float; anything else is no step."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item") and not getattr(value, "is_meta", False):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53 or value != int(value):
        return None
    return int(value)
