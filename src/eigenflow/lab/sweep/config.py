"""What a sweep is: a base experiment, and which of its keys take which values. Read from TOML, checked key by key."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator

from eigenflow.core.config import FolderName, Section, explain_problems, read_config
from eigenflow.core.errors import ConfigError
from eigenflow.lab.config import DEFAULT_CONFIG, ExperimentConfig, load_config, shipped_configs

__all__ = ["Draw", "EngineConfig", "RandomDraws", "Resources", "SweepConfig", "load_sweep", "shipped_sweeps"]

SECTIONS = ("task", "model", "train", "measure")
MOST_RUNS = 100_000
Value = bool | int | float | str


def config_keys() -> dict[str, Any]:
    """Dotted names of everything that a sweep may change, with the field's type."""
    found = {}
    for section in SECTIONS:
        model = type(getattr(ExperimentConfig.model_validate({}), section))
        found |= {f"{section}.{name}": field.annotation for name, field in model.model_fields.items()}
    return found


def _dotted(entries: Any) -> Any:
    """`model.width = [...]` in TOML is a table in a table, and in quotes one key; both are meant the same."""
    if not isinstance(entries, Mapping):
        return entries
    flat: dict[str, Any] = {}
    for key, entry in entries.items():
        if isinstance(entry, Mapping) and key in SECTIONS:
            flat |= {f"{key}.{name}": inner for name, inner in entry.items()}
        else:
            flat[key] = entry
    return flat


def _known(entries: dict[str, Any]) -> dict[str, Any]:
    known = config_keys()
    for key in entries:
        if key not in known:
            section = key.split(".")[0]
            near = [name for name in known if name.startswith(f"{section}.")] or list(known)
            raise ValueError(f"'{key}' is no key of an experiment; known: {', '.join(near)}")
    return entries


def _values(entries: dict[str, list[Value]]) -> dict[str, list[Value]]:
    for key, values in entries.items():
        if not values:
            raise ValueError(f"'{key}' has no values; give a list such as [64, 128, 256], or leave the key out")
        twice = {
            repr(value) for value in values if [type(v) is type(value) and v == value for v in values].count(True) > 1
        }
        if twice:
            raise ValueError(
                f"'{key}' has the value {min(twice)} more than once; for repeats of a run use sweep.repeats"
            )
    return entries


Axes = Annotated[dict[str, list[Value]], BeforeValidator(_dotted), AfterValidator(_known), AfterValidator(_values)]


class Draw(Section):
    """How one key is drawn: between two ends, or from a list. Keys of whole numbers are drawn as whole numbers."""

    low: float | None = None
    high: float | None = None
    scale: Literal["linear", "log"] = Field("linear", description="Uniform in the value, or in its logarithm.")
    choice: list[Value] | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "Draw":
        ends = self.low is not None and self.high is not None
        if ends == (self.choice is not None) or (not ends and (self.low is not None or self.high is not None)):
            raise ValueError("must have either low and high (and scale), or choice")
        if self.choice is not None and not self.choice:
            raise ValueError("choice must hold at least one value")
        if self.low is not None and self.high is not None:
            if not self.low < self.high:
                raise ValueError(f"low must be less than high, but they are {self.low:g} and {self.high:g}")
            if self.scale == "log" and self.low <= 0:
                raise ValueError(f"low must be > 0 for scale = 'log', but is {self.low:g}")
        return self


class RandomDraws(Section):
    """Keys drawn at random. More draws of the same seed begin with the same ones, so a sweep can be made longer."""

    count: int = Field(ge=1, le=MOST_RUNS, description="How many draws.")
    seed: int = Field(0, ge=0, description="Of the draws.")
    keys: Annotated[dict[str, Draw], BeforeValidator(_dotted), AfterValidator(_known)] = Field(
        description="By dotted name, such as train.learning_rate = {low = 0.01, high = 1, scale = 'log'}."
    )

    @field_validator("keys")
    @classmethod
    def _has_keys(cls, keys: dict[str, Draw]) -> dict[str, Draw]:
        if not keys:
            raise ValueError("must name at least one key, such as train.learning_rate = {low = 0.01, high = 1}")
        return keys


class Resources(Section):
    """What one run takes. Ray and Slurm place runs by it; processes of this machine take their threads from it."""

    cpus: int = Field(1, ge=1, le=1024, description="Cores, and PyTorch threads where measure.threads is 0.")
    gpus: float = Field(0, ge=0, le=64, description="Of Ray also a share of one.")
    memory_gb: float = Field(0, ge=0, description="0 does not ask for any.")
    minutes: int = Field(60, ge=1, description="Time limit of a run on Slurm.")


class EngineConfig(Section):
    """Where runs are made.

    "local": processes of this machine. "ray": tasks of Ray Core, on a cluster if an address is given. "submitit": jobs
    of Slurm, or of this machine.
    """

    name: Literal["local", "ray", "submitit"] = "local"
    jobs: int = Field(0, ge=0, description="Runs at once; 0: as many as there are cores for. Ray decides by resources.")
    retries: int = Field(2, ge=0, le=100, description="How often a run is begun again whose process or node has died.")
    address: str = Field("", description="Of a Ray cluster, such as auto or ray://head:10001.")
    cluster: Literal["auto", "slurm", "local", "debug"] = Field("auto", description="Of submitit.")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Further ones of submitit's update_parameters, such as slurm_partition."
    )
    patience_s: float = Field(
        60.0,
        gt=0,
        description="A run whose process on another machine gives no sign of life for so long is taken over.",
    )


class SweepSection(Section):
    """The part `[sweep]`.

    Every combination of grid, zip, random draws and repeats is a run.
    """

    grid: Axes = Field(default_factory=dict, description="Values by dotted name; all combinations.")
    zip: list[Axes] = Field(default_factory=list, description="Keys whose values go together, first with first.")
    random: RandomDraws | None = None
    repeats: int = Field(1, ge=1, le=10_000, description="Runs of each combination, with other seeds.")
    repeat_seeds: list[str] = Field(
        default_factory=lambda: ["model.seed", "train.seed"],
        description="Seeds that the number of the repeat is added to.",
    )
    analyse: bool = Field(True, description="Whether each run is judged, as `eigenflow run` does: summary.json.")
    report: bool = Field(True, description="Whether each run has its page of about 5 MB: report.html.")
    resources: Resources = Field(default_factory=lambda: Resources.model_validate({}))
    engine: EngineConfig = Field(default_factory=lambda: EngineConfig.model_validate({}))

    @field_validator("zip", mode="before")
    @classmethod
    def _one_is_a_list(cls, found: Any) -> Any:
        return [found] if isinstance(found, Mapping) else found

    @model_validator(mode="after")
    def _zipped_are_of_one_length(self) -> "SweepSection":
        for number, group in enumerate(self.zip):
            lengths = {key: len(values) for key, values in group.items()}
            if len(lengths) < 2 or len(set(lengths.values())) > 1:
                told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
                raise ValueError(
                    f"zip.{number} must hold two keys or more with as many values each, but {told or 'is empty'}"
                )
        return self

    @model_validator(mode="after")
    def _keys_are_swept_once(self) -> "SweepSection":
        named = [*self.grid, *(key for group in self.zip for key in group), *(self.random.keys if self.random else ())]
        twice = sorted({key for key in named if named.count(key) > 1})
        if twice:
            raise ValueError(f"'{twice[0]}' is swept twice; it must stand in one of grid, zip and random")
        if self.report and not self.analyse:
            raise ValueError("report must be false where analyse is, as a report shows what was found")
        known = config_keys()
        for key in self.repeat_seeds:
            if key not in known or not key.endswith(".seed"):
                raise ValueError(
                    f"repeat_seeds must be names of seeds, task.seed, model.seed or train.seed, but has '{key}'"
                )
            if self.repeats > 1 and key in named:
                raise ValueError(f"'{key}' is swept, so repeat_seeds must not hold it, or repeats be 1")
        if self.repeats > 1 and not self.repeat_seeds:
            raise ValueError(
                "repeat_seeds must name a seed where repeats is more than 1, or all repeats are the same run"
            )
        return self


class _SweepFile(Section):
    """The file: name, base, what of the base is changed for all runs, and `[sweep]`."""

    name: FolderName | None = None
    base: str = Field(DEFAULT_CONFIG, description="A shipped experiment, or a TOML file beside this one.")
    task: dict[str, Any] = Field(default_factory=dict)
    model: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    measure: dict[str, Any] = Field(default_factory=dict)
    sweep: SweepSection = Field(default_factory=lambda: SweepSection.model_validate({}))


class SweepConfig(Section):
    """One sweep, resolved.

    Attributes:
        name: Of the sweep, and of its folder.
        base: The experiment that runs differ from.
        sweep: In what they differ, and how they are made.
    """

    name: FolderName
    base: ExperimentConfig
    sweep: SweepSection


def shipped_sweeps() -> dict[str, Path]:
    """Names and files of the sweeps that come with the package."""
    folder = files("eigenflow.lab.sweep") / "configs"
    return {Path(str(f)).stem: Path(str(f)) for f in sorted(folder.iterdir(), key=str) if f.name.endswith(".toml")}


def load_sweep(source: str | Path, overrides: list[str] | None = None) -> SweepConfig:
    """Read a sweep and apply `section.key=value` changes, of the base or of the sweep itself.

    Args:
        source: A TOML file, or the name of a shipped sweep.
        overrides: Changes such as "train.steps=2000" or "sweep.repeats=5".

    Returns:
        The checked sweep, with its base resolved.

    Raises:
        ConfigError: If the file is missing or no TOML, or a key or value is not allowed; the message lists every
            problem with its key.
    """
    path, shipped = Path(source), shipped_sweeps()
    if not path.is_file():
        if str(source) not in shipped:
            raise ConfigError(
                f"`CONFIG` must be a TOML file with a part [sweep], or one of {', '.join(shipped)}, but there is no "
                f"file '{source}'."
            )
        path = shipped[str(source)]
    found = read_config(path, _SweepFile, overrides)
    name = found.name or path.stem
    try:
        return SweepConfig(name=name, base=_base(found, path, name), sweep=found.sweep)
    except ValidationError as error:  # of a name that was made of a file's
        raise ConfigError(
            f"`{path}` does not hold a sweep:\n" + "\n".join(explain_problems(error, SweepConfig))
        ) from None


def _base(found: _SweepFile, path: Path, name: str) -> ExperimentConfig:
    """The base, with what this file changes of it."""
    beside = path.parent / found.base
    source: str | Path = beside if beside.is_file() else found.base
    if not beside.is_file() and found.base not in shipped_configs():
        raise ConfigError(
            f"`base` in `{path}` must be a TOML file beside it or one of {', '.join(shipped_configs())}, but is "
            f"'{found.base}'."
        )
    values = load_config(source).model_dump()
    values["name"] = name
    for section in SECTIONS:
        values[section] |= getattr(found, section)
    try:
        return ExperimentConfig.model_validate(values)
    except ValidationError as error:
        lines = "\n".join(explain_problems(error, ExperimentConfig))
        raise ConfigError(f"`{path}` changes its base '{found.base}' to what is no experiment:\n{lines}") from None
