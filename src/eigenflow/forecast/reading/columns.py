"""Which column of a log is what."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eigenflow.core.errors import ArgumentError

__all__ = ["Columns", "by_quantity", "recognise", "size_unit"]

# In order of preference. Compared without case, blanks and the prefixes of trackers.
_NAMES = {
    "step": "step steps _step global_step iteration iter iterations update updates current_steps num_updates "
    "train_step training_step",
    "loss": "loss train_loss training_loss loss_train lm_loss cross_entropy ce_loss val_loss valid_loss "
    "validation_loss eval_loss test_loss smooth_loss nll",
    "learning_rate": "lr learning_rate learningrate lr-adamw lr-sgd lr-adam learning_rates",
    "curve": "curve run run_id run_name curve_name name",
    "size": "model_size_m model_size_b model_size size size_m params_m params num_params parameters num_parameters "
    "model_params n_params params_b n",
    "role": "role split",
    "tokens": "tokens tokens_seen num_tokens total_tokens num_input_tokens_seen d",
    "batch": "batch batch_size tokens_per_step global_batch_size",
    "peak": "peak_lr peak_learning_rate max_lr",
    "unit": "loss_unit unit units",
}
KNOWN: dict[str, tuple[str, ...]] = {field: tuple(names.split()) for field, names in _NAMES.items()}
PREFIXES = ("train/", "trainer/", "training/", "metrics/", "eval/", "val/", "test/", "validation/")


@dataclass(frozen=True)
class Columns:
    """The file's name of each recognised quantity; other losses that stand beside the chosen one."""

    names: Mapping[str, str]
    other_losses: tuple[str, ...]

    def get(self, field: str) -> str | None:
        """The file's name of a quantity, None if it has none."""
        return self.names.get(field)


def recognise(available: Sequence[str], chosen: Mapping[str, str] | None, place: str) -> Columns:
    """Find the columns of a table.

    Args:
        available: The table's columns.
        chosen: What the user said: quantity, or a name under which it is recognised, to column.
        place: The file, for messages.

    Returns:
        What was found; `step` (or `tokens`) and `loss` always.

    Raises:
        ArgumentError: If the user's choice does not exist, or a column is missing.
    """
    chosen = by_quantity(chosen or {}, KNOWN)
    absent = {field: name for field, name in chosen.items() if name not in available}
    if absent:
        raise ArgumentError(
            f"{place}: `columns` names {_listed(absent.values())}, but the table has {_listed(available)}."
        )
    taken = set(chosen.values())
    names: dict[str, str] = {}
    losses: list[str] = []
    for field, known in KNOWN.items():
        found = [name for name in _matches(available, known) if name not in taken]
        if field == "loss":
            losses = found
        if field in chosen:
            names[field] = chosen[field]
        elif found:
            names[field] = found[0]
    if "loss" not in names or ("step" not in names and "tokens" not in names):
        missing = "loss" if "loss" not in names else "step"
        raise ArgumentError(
            f"{place}: there is no column of the {missing}. The table has {_listed(available)}. Recognised names are "
            f"{', '.join(KNOWN[missing][:6])}, ...; for another one pass `columns={{{missing!r}: NAME}}` "
            f"(--column {missing}=NAME)."
        )
    return Columns(names, tuple(name for name in losses if name != names["loss"]))


def by_quantity(chosen: Mapping[str, str], known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Quantity to column, where a quantity may be called by any name under which its column is recognised.

    Raises:
        ArgumentError: If a key is no such name, or two keys are one quantity.
    """
    found: dict[str, str] = {}
    said: dict[str, str] = {}
    for key, column in chosen.items():
        plain = str(key).strip().lower()
        field = next((one for one, names in known.items() if plain in {one, *(name.lower() for name in names)}), None)
        if field is None:
            allowed = "; ".join(f"{one} ({', '.join(n for n in names if n != one)})" for one, names in known.items())
            raise ArgumentError(
                f"`columns` maps {key!r}, which is no quantity. Quantities, and other names of each, are: {allowed}."
            )
        if field in found:
            raise ArgumentError(f"`columns` maps {said[field]!r} and {key!r}, but both are the {field}. Keep one.")
        found[field], said[field] = column, str(key)
    return found


def size_unit(column: str) -> float:
    """Parameters per unit of a size column: 1e6 for names that end with _M, 1e9 for _B, else 1."""
    return {"m": 1e6, "b": 1e9}.get(column.strip().lower().rpartition("_")[2], 1.0)


def _matches(available: Sequence[str], known: Sequence[str]) -> list[str]:
    by_name: dict[str, list[str]] = {}
    for column in available:
        for form in _forms(column):
            by_name.setdefault(form, []).append(column)
    found = [column for name in known for column in by_name.get(name, ())]
    return list(dict.fromkeys(found))


def _forms(column: str) -> set[str]:
    plain = re.sub(r"\s+", " ", str(column)).strip().lower()
    forms = {plain, plain.replace(" ", "_")}
    for prefix in PREFIXES:
        if plain.startswith(prefix):
            tail = plain.removeprefix(prefix)
            kind = prefix.removesuffix("/")
            forms |= {f"{kind}_{tail}"} if kind in {"eval", "val", "test", "validation"} else {tail, f"{kind}_{tail}"}
    return forms


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(str(name)) for name in names)
