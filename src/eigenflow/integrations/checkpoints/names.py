"""Names of a checkpoint brought to those of a model: prefixes and wrappers come off only where that makes all fit.

Nothing is guessed in silence. A prefix counts if with it every name of the model is found, in its shape. If several do,
they have to be chosen from by `entry`; averages of weights and optimizer states are never chosen by themselves.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import prod

from eigenflow.integrations.checkpoints.formats.weights import Entry, UnreadableError

__all__ = ["Fit", "ModelNames", "fit_names"]

# What wrappers put into names, anywhere; `module` is DistributedDataParallel's, and tried last, as it is a word that
# people use too.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
ALL_WRAPPERS = (*WRAPPERS, "module")
AVERAGES = re.compile(r"(^|[._])(n?_?ema|ema\d*|swa|averaged?|polyak|shadow)([._]|$)|_ema(\.|$)|^ema_", re.IGNORECASE)
OPTIMIZERS = re.compile(
    r"(^|\.)(optim\w*|opt|lr_schedulers?|scheduler\w*|scaler|rng\w*|\w*_rng_state)(\.|$)", re.IGNORECASE
)
# Constants that versions of libraries stored or not; no weights.
CONSTANTS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", "position_ids", "inv_freq")
CONSTANTS += ("num_batches_tracked", "total_ops", "total_params", "_extra_state", "freqs_cis", "token_type_ids")
SHOWN = 4


@dataclass(frozen=True)
class ModelNames:
    """What a model can be given.

    Attributes:
        shapes: Of `state_dict()`.
        ties: For every name, all names of the same tensor, itself among them.
        constants: Names of buffers that are not stored, which a checkpoint may hold nevertheless.
        ignored: Patterns of names that the model's class says it has no use for.
    """

    shapes: Mapping[str, tuple[int, ...]]
    ties: Mapping[str, frozenset[str]]
    constants: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fit:
    """Where every tensor of a model lies in a checkpoint.

    Attributes:
        sources: Name in the model, and name in the checkpoint.
        notes: What was taken off, left out and left as it was.
    """

    sources: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Try:
    """One way of reading the names.

    Attributes:
        removed: Wrappers taken off, anywhere in a name.
        prefix: Taken off the checkpoint's names.
        added: Put before the checkpoint's names.
        sources: Names that fit.
        own: Plain names of the checkpoint under the prefix, and whole ones.
    """

    removed: tuple[str, ...]
    prefix: str
    added: str
    sources: dict[str, str]
    own: dict[str, str]


def fit_names(entries: Mapping[str, Entry], model: ModelNames, entry: str | None = None) -> Fit:
    """Find out where every tensor of a model lies.

    Args:
        entries: Of the checkpoint.
        model: What the model needs.
        entry: Which part of the checkpoint to take: the beginning of its names, or a word in it.

    Raises:
        UnreadableError: If names are missing, unexpected or of another shape, or several parts fit.
    """
    chosen = {name: e for name, e in entries.items() if entry is None or _is_within(name, entry)}
    if entry is not None and not chosen:
        raise UnreadableError(f"it has no entry '{entry}'; it has {_listed(_tops(entries))}")
    attempts: list[_Try] = []
    for removed in ((), WRAPPERS, ALL_WRAPPERS):
        found = list(_tries(chosen, model, removed))
        attempts += found
        whole = [t for t in found if not _missing(t, model)]
        whole = [t for t in whole if entry is not None or not _is_aside(t.prefix)] or []
        if exact := [t for t in whole if not t.prefix and not t.added]:
            whole = exact
        if len(whole) > 1:
            parts = _listed(t.prefix.rstrip(".") or "the top" for t in whole)
            raise UnreadableError(
                f"several parts of it fit the model: {parts}. Choose one with --entry, such as --entry "
                f"{whole[0].prefix.rstrip('.')}"
            )
        if whole:
            return _told(whole[0], chosen, model)
    raise UnreadableError(_why_not(attempts, chosen, model))


def _tries(entries: Mapping[str, Entry], model: ModelNames, removed: tuple[str, ...]) -> Iterable[_Try]:
    """Every prefix under which at least one name of the model stands in its shape."""
    plain_model = {_without(name, removed): name for name in model.shapes}
    if len(plain_model) < len(model.shapes):
        return
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    plain = {name: _without(name, removed) for name in entries}
    endings = _endings(plain_model)
    for whole, name in plain.items():
        parts = name.split(".")
        for cut in range(len(parts)):
            prefix, rest = ".".join(parts[:cut]), ".".join(parts[cut:])
            if rest in plain_model and entries[whole].shape == model.shapes[plain_model[rest]]:
                found[f"{prefix}." if prefix else "", ""][plain_model[rest]] = whole
        for added in endings.get(name, ()):
            own = plain_model[f"{added}.{name}"]
            if entries[whole].shape == model.shapes[own]:
                found["", f"{added}."][own] = whole
    for (prefix, added), sources in found.items():
        own = {name[len(prefix) :]: whole for whole, name in plain.items() if name.startswith(prefix)}
        yield _Try(removed, prefix, added, sources, own)


def _endings(names: Iterable[str]) -> dict[str, list[str]]:
    """For every ending of a name, what stands before it: a checkpoint of a part of the model."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        parts = name.split(".")
        for cut in range(1, len(parts)):
            found[".".join(parts[cut:])].append(".".join(parts[:cut]))
    return found


def _missing(attempt: _Try, model: ModelNames) -> list[str]:
    """Names that are neither there, nor tied to one that is, nor constants."""
    there = attempt.sources.keys()
    return [
        name
        for name in model.shapes
        if name not in there and model.ties[name].isdisjoint(there) and not name.endswith(CONSTANTS)
    ]


def _unexpected(attempt: _Try, model: ModelNames) -> list[str]:
    """Names under the prefix that the model has no place for, constants and what belongs to an optimizer left out."""
    used = set(attempt.sources.values())
    return [
        name
        for name, whole in attempt.own.items()
        if whole not in used and not _is_known(name, model) and not OPTIMIZERS.search(whole)
    ]


def _is_known(name: str, model: ModelNames) -> bool:
    return (
        name in model.constants
        or name.endswith(CONSTANTS)
        or any(re.search(pattern, name) is not None for pattern in model.ignored)
    )


def _told(attempt: _Try, entries: Mapping[str, Entry], model: ModelNames) -> Fit:
    unexpected = _unexpected(attempt, model)
    unexpected = [name for name in unexpected if not _is_counter(entries[attempt.own[name]])]
    if attempt.added:
        unexpected = []  # said below: a part of the model only is stored
    if unexpected:
        raise UnreadableError(
            f"it holds {len(unexpected)} tensors that the model has no place for: {_listed(unexpected)}. Is it another "
            f"model?"
        )
    notes = []
    dropped = [w for w in attempt.removed if any(w in name.split(".") for name in attempt.sources.values())]
    if dropped:
        notes.append(f"{_listed(f'{w}.' for w in dropped)} taken off the names")
    if attempt.prefix:
        notes.append(f"prefix '{attempt.prefix}' taken off the names")
    if attempt.added:
        notes.append(f"prefix '{attempt.added}' put before the names")
    used = set(attempt.own.values())
    others = [name for name in entries if name not in used and not _is_aside(name)]
    if others and attempt.prefix:
        notes.append(f"{len(others)} tensors outside of '{attempt.prefix}' left out: {_listed(others)}")
    if kept := [name for name in model.shapes if name not in attempt.sources and not _has_tie(name, attempt, model)]:
        notes.append(f"{_listed(kept)} not stored, left as the model makes them")
    constants = [n for n, w in attempt.own.items() if w not in set(attempt.sources.values()) and _is_known(n, model)]
    if constants:
        notes.append(f"constants left out: {_listed(constants)}")
    if tied := [name for name in model.shapes if name not in attempt.sources and _has_tie(name, attempt, model)]:
        notes.append(f"{_listed(tied)} tied, not stored")
    return Fit(attempt.sources, tuple(notes))


def _has_tie(name: str, attempt: _Try, model: ModelNames) -> bool:
    return not model.ties[name].isdisjoint(attempt.sources)


def _is_counter(entry: Entry) -> bool:
    """Numbers of steps and states of generators, beside the weights of a plain file."""
    return not entry.shape or (
        not entry.dtype.is_floating_point and not entry.dtype.is_complex and len(entry.shape) < 2
    )


def _why_not(attempts: list[_Try], entries: Mapping[str, Entry], model: ModelNames) -> str:
    """What is missing and of another shape, under the reading that fits best."""
    shard = next((name for name, e in entries.items() if e.shape == (0,)), None)
    aside = [t.prefix.rstrip(".") for t in attempts if not _missing(t, model) and _is_aside(t.prefix)]
    if aside:
        return f"only {_listed(sorted(set(aside)))} fits the model; choose it with --entry, if that is meant"
    if not attempts:
        if shard is not None:
            return f"'{shard}' is empty: saved under ZeRO-3 or FSDP without gathering the parts of all ranks"
        return (
            f"none of its {len(entries)} tensors has a name and shape of the model: it has {_listed(entries)}, the "
            f"model {_listed(model.shapes)}. Is it another model?"
        )
    best = max(attempts, key=lambda t: (sum(prod(model.shapes[n]) for n in t.sources), -len(t.removed)))
    missing = _missing(best, model)
    plain = {_without(name, best.removed): name for name in model.shapes}
    shapes = [
        f"'{name}' is {entries[whole].shape}, in the model {model.shapes[plain[best.added + name]]}"
        for name, whole in best.own.items()
        if best.added + name in plain and entries[whole].shape != model.shapes[plain[best.added + name]]
    ]
    if any(entries[whole].shape == (0,) for whole in best.own.values()):
        return f"'{shard}' is empty: saved under ZeRO-3 or FSDP without gathering the parts of all ranks"
    wrong = {line.split("'")[1] for line in shapes}
    absent = [name for name in missing if _without(name, best.removed) not in {best.added + w for w in wrong}]
    told = []
    if shapes:
        told.append(f"{len(shapes)} tensors have other shapes: {'; '.join(shapes[:2])}")
    if absent:
        told.append(f"{len(absent)} are missing: {_listed(absent)}")
    if unexpected := [name for name in _unexpected(best, model) if name not in wrong and not best.added]:
        told.append(f"{len(unexpected)} have no place in the model: {_listed(unexpected)}")
    return (
        f"it does not fit the model: {', '.join(told)}. Is it another model, or another size?{_hint(absent, entries)}"
    )


def _hint(absent: Collection[str], entries: Mapping[str, Entry]) -> str:
    if absent and all(name.endswith(("lm_head.weight", "output.weight", "head.weight")) for name in absent):
        return " Where the head shares the embedding's weight, tie it in the factory."
    if any(".parametrizations." in name for name in (*absent, *entries)) or any(
        name.endswith(("weight_g", "weight_v")) for name in entries
    ):
        return " Parametrised weights (weight_norm) need the same form in the model as in the file."
    if any(name.endswith((".absmax", ".SCB", ".qweight", ".qzeros")) for name in entries):
        return " It is quantised: use the weights that it was made from."
    return ""


def _is_within(name: str, entry: str) -> bool:
    return f".{name}".find(f".{entry}.") >= 0


def _is_aside(prefix: str) -> bool:
    return bool(AVERAGES.search(prefix) or OPTIMIZERS.search(prefix))


def _without(name: str, wrappers: tuple[str, ...]) -> str:
    return ".".join(part for part in name.split(".") if part not in wrappers) if wrappers else name


def _tops(entries: Iterable[str]) -> list[str]:
    return sorted({name.partition(".")[0] for name in entries})


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more
