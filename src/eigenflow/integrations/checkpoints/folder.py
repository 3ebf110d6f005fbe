"""Which files and folders are checkpoints, of which step, and which are not, with the reason."""

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eigenflow.core.errors import ArgumentError, FileError
from eigenflow.integrations.checkpoints.steps import SHARD, SUFFIXES, has_own_step

__all__ = ["Found", "LeftOut", "find_checkpoints"]

DEEPEST = 5
# Files beside the weights: what optimizers, schedules, generators and tokenisers need to go on.
BESIDE = re.compile(
    r"^(optim|opt\d|opt_|scheduler|lr_sched|scaler|rng|random_states|training_args|train_args|sampler|dataloader|"
    r"recipe_state|tokenizer|events\.|args|hparams|common\.pt|train\.pt|train_state|meta\.pt|custom_checkpoint|"
    r"loss_scale|vocab|dict\.|trainer_state|iter_state|data_state|replay|buffer)",
    re.IGNORECASE,
)
# Weights of other programs, which are named and left out.
FOREIGN = (".h5", ".hdf5", ".keras", ".msgpack", ".gguf", ".onnx", ".nemo", ".tflite", ".npz", ".npy", ".orbax", ".pkl")
# Inside a folder that is one checkpoint, the first that is there holds the weights.
INDICES = ("*.safetensors.index*.json", "*.bin.index*.json", "*.pt.index.json")
WHOLE = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
WHOLE += ("lit_model.pth", "pytorch_model_fsdp.bin", "pytorch_model.pt", "consolidated.pth", "model.pt", "model.pth")
WHOLE += ("model.ckpt", "weights.safetensors", "weights.pt", "checkpoint.pt", "checkpoint.pth", "model.bin", "state.pt")
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
# Folders inside a checkpoint in which torch.distributed.checkpoint has written the model.
DISTRIBUTED = ("", "pytorch_model_fsdp_0", "model_and_optim", "model", "weights", "checkpoint", "dcp", "model_state")
TORCHTUNE = re.compile(r"^(hf|meta)_model_(\d{4})_(\d+)\.(pt|bin|safetensors)$")
OF_SHARD = re.compile(r"^shard-\d+-")
RANKED = re.compile(r"^(.*)[-_]rank_?(\d+)\.")
# Layouts that only the program that wrote them can put together.
PIPELINE = "it is a pipeline checkpoint of DeepSpeed, a file a layer; convert it with GPT-NeoX's convert_neox_to_hf.py"
ZERO = "it is a checkpoint of DeepSpeed in parts of ranks; run the zero_to_fp32.py that DeepSpeed has put beside it: "
ZERO += "python zero_to_fp32.py . pytorch_model.bin"
MEGATRON = "it is Megatron's own form, in parts of ranks; save with --ckpt-format torch_dist, or convert it with "
MEGATRON += "Megatron's tools/checkpoint/convert.py"
MEGATRON_FILES = ("model_optim_rng.pt", "model_rng.pt")
RANKS = "files of ranks, which only the program that wrote them puts together; save the whole state, or with "
RANKS += "torch.distributed.checkpoint"


@dataclass(frozen=True)
class Found:
    """What may be a checkpoint.

    Attributes:
        path: The file or folder as a person would name it.
        kind: "safetensors", "torch", "distributed", "adapter" or "refused".
        files: Files with weights; for "distributed" the folder with `.metadata`.
        index: Index of shards, if there is one.
        reason: Why it cannot be read, for "refused".
    """

    path: Path
    kind: str
    files: tuple[Path, ...] = ()
    index: Path | None = None
    reason: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not measured, and why."""

    path: Path
    reason: str


def find_checkpoints(paths: str | Path | Sequence[str | Path]) -> tuple[list[Found], list[LeftOut]]:
    """Look for checkpoints.

    Args:
        paths: A folder (of files, of folders, or both), a file, a pattern such as `runs/*/model.pt`, or several.

    Returns:
        What may be checkpoints, and weights of other programs.

    Raises:
        FileError: If a path does not exist.
        ArgumentError: If a pattern matches nothing.
    """
    found: list[Found] = []
    others: list[LeftOut] = []
    for path in _expanded(paths):
        if path.is_dir():
            _look_into(path, found, others, ())
        else:
            found.append(_of_file(path))
    unique = {one.path.absolute(): one for one in found}
    return list(unique.values()), others


def _expanded(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    result = []
    for one in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(one)
        if path.exists():
            result.append(path)
        elif glob.has_magic(str(one)):
            matches = [Path(m) for m in sorted(glob.glob(str(one), recursive=True))]  # noqa: PTH207 - also absolute ones
            if not matches:
                raise ArgumentError(f"`checkpoints` has the pattern '{one}', which nothing matches.")
            result += [m for m in matches if m.is_dir() or _is_weights(m)]
        elif path.is_symlink():
            raise FileError(f"`checkpoints` has '{one}', a link to what is not there.")
        else:
            raise FileError(f"`checkpoints` has '{one}', which does not exist. Give a folder, files or a pattern.")
    return result


def _look_into(folder: Path, found: list[Found], others: list[LeftOut], above: tuple[Path, ...]) -> None:
    """Add a folder that is one checkpoint, or what lies in it; a link back to a folder above is not followed."""
    place = folder.resolve()
    if place in above or len(above) > DEEPEST:
        return
    try:
        content = sorted(folder.iterdir())
    except OSError as error:
        others.append(LeftOut(folder, f"the folder cannot be read ({error.strerror})"))
        return
    folders = [one for one in content if one.is_dir() and not one.name.startswith(".")]
    files = [one for one in content if not one.is_dir()]
    if (one := _of_folder(folder, files, folders)) is not None:
        found.append(one)
        inner = {file.parent for file in one.files} | set(one.files)
        folders = [] if one.kind == "refused" else [f for f in folders if f not in inner and _may_hold_steps(f)]
    else:
        _of_files(files, found, others)
    for one in folders:
        _look_into(one, found, others, (*above, place))


def _may_hold_steps(folder: Path) -> bool:
    """Beside final weights a program's folder may hold its checkpoints: checkpoint-500, step_500, epoch_3."""
    return bool(re.search(r"\d", folder.name)) or folder.name in ("checkpoints", "ckpts", "checkpoint")


def _of_folder(folder: Path, files: list[Path], folders: list[Path]) -> Found | None:
    """A folder that is one checkpoint, else None."""
    names = {file.name: file for file in files}
    if "adapter_config.json" in names:
        weights = [names[name] for name in ADAPTERS if name in names]
        if weights:
            return Found(folder, "adapter", (weights[0],))
        return Found(
            folder, "refused", reason="it has an adapter_config.json, but no adapter_model.safetensors or .bin"
        )
    if (refused := _of_ranks(folder, names, folders)) is not None:
        return refused
    for inside in DISTRIBUTED:
        place = folder / inside
        if (place / ".metadata").is_file() or (place.is_dir() and any(place.glob("*.distcp"))):
            return Found(folder, "distributed", (place,))
    for pattern in INDICES:
        if indices := sorted(folder.glob(pattern)):
            index = min(indices, key=lambda one: len(one.name))  # variants such as fp16 have longer names
            return Found(folder, "safetensors" if "safetensors" in index.name else "torch", index=index)
    for name in WHOLE:
        if name in names and _is_alone(names[name], files):
            return Found(folder, _kind(names[name]), (names[name],))
    groups = _shard_groups(files)
    others = [file for file in files if _is_weights(file) and not any(file in group for group in groups)]
    if len(groups) == 1 and not others and not has_own_step(groups[0][0]):
        return Found(folder, _kind(groups[0][0]), tuple(groups[0]))
    return None


def _of_ranks(folder: Path, names: dict[str, Path], folders: list[Path]) -> Found | None:
    """Layouts in which ranks keep parts that only their own program can put together."""
    inner = [file.name for one in folders[:50] for file in one.glob("*.pt")] if len(folders) < 1000 else []
    # What lies in folders inside belongs to this one only if it is a checkpoint itself.
    is_one = has_own_step(folder) or "trainer_state.json" in names
    every = [*names, *(inner if is_one else [])]
    if any(name.startswith("layer_") and "model_states" in name for name in every):
        return Found(folder, "refused", reason=PIPELINE)
    if any(name.endswith("model_states.pt") for name in every):
        has_whole = any(name in names for name in WHOLE)  # weights were gathered beside
        return None if has_whole else Found(folder, "refused", reason=ZERO)
    if folder.name.startswith("iter_") and any(name in MEGATRON_FILES for name in every):
        return Found(folder, "refused", reason=MEGATRON)
    return None


def _of_files(files: list[Path], found: list[Found], others: list[LeftOut]) -> None:
    """Every file of weights in a folder that holds one a step."""
    groups = _shard_groups(files)
    in_groups = {file for group in groups for file in group}
    for group in groups:
        found.append(Found(group[0], _kind(group[0]), tuple(group)))
    ranked: dict[str, list[Path]] = {}
    for file in files:
        if match := RANKED.match(file.name):
            ranked.setdefault(match[1], []).append(file)
    for file in files:
        if file in in_groups or file.name.startswith("."):
            continue
        if file.suffix.lower() in FOREIGN and not BESIDE.match(file.name):
            others.append(LeftOut(file, f"files of kind {file.suffix} are not read; save safetensors or a state_dict"))
        elif _is_weights(file):
            match = RANKED.match(file.name)
            ranks = ranked.get(match[1], []) if match else []
            if len(ranks) <= 1:
                found.append(_of_file(file))
            elif file == ranks[0]:
                found.append(Found(file, "refused", reason=f"it is one of {len(ranks)} {RANKS}"))


def _shard_groups(files: Iterable[Path]) -> list[list[Path]]:
    """Files that are parts of one checkpoint: ...-00001-of-00003, and those of torchtune, hf_model_0001_EPOCH."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        if not _is_weights(file):
            continue
        if match := TORCHTUNE.match(file.name):
            groups.setdefault((match[1], match[3], match[4]), []).append(file)
        elif match := SHARD.match(file.name):
            groups.setdefault((OF_SHARD.sub("", match[1]), match[3], match[4]), []).append(file)
    return list(groups.values())


def _of_file(path: Path) -> Found:
    return Found(path, _kind(path), (path,))


def _kind(path: Path) -> str:
    return "safetensors" if path.suffix.lower() == ".safetensors" else "torch"


def _is_weights(path: Path) -> bool:
    """Whether a file's name is one of weights."""
    name = path.name.lower()
    return name.endswith(SUFFIXES) and not BESIDE.match(name) and not name.startswith(".")


def _is_alone(file: Path, files: list[Path]) -> bool:
    """Whether the rest of the weights in a folder are not other steps of the same run."""
    return not any(
        re.search(r"\d", other.stem) and _is_weights(other) and not SHARD.match(other.name) and other != file
        for other in files
    )
