"""What a measurement of double descent is: digits with noisy labels, random features, networks. Read from TOML."""

from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from eigenflow.core.config import FolderName, Section, read_config
from eigenflow.core.errors import ConfigError

__all__ = ["DEFAULT", "DoubleDescentConfig", "FeaturesConfig", "NetworksConfig", "TaskConfig", "load_double_descent"]

DEFAULT = "digits"
# Handwritten digits of scikit-learn.
DIGITS = 1797


def _increasing(values: list[float]) -> list[float]:
    for place, (before, after) in enumerate(pairwise(values), 1):
        if not after > before:
            raise ValueError(f"must increase, but does not at place {place}: {before:g}, {after:g}")
    return values


Whole = Annotated[list[Annotated[int, Field(ge=1)]], AfterValidator(_increasing)]
Counts = Annotated[list[Annotated[int, Field(ge=1, le=20_000)]], AfterValidator(_increasing)]


class TaskConfig(Section):
    """Handwritten digits, of which some labels are replaced by random ones.

    "parity": one output, 1 for even digits and -1 for odd ones. "classes": ten outputs, one-hot with mean zero.
    """

    target: Literal["parity", "classes"] = "parity"
    pool: Literal[1, 2, 4] = Field(
        2, description="Side of the squares of pixels that are averaged; 64, 16 or 4 inputs."
    )
    samples: Whole = Field([12, 25, 50, 100, 150], min_length=1, max_length=20, description="Training samples.")
    noise: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], AfterValidator(_increasing)] = Field(
        [0.0, 0.2], min_length=1, max_length=10, description="Share of labels that are drawn anew at random."
    )
    holdout: int = Field(600, ge=2, description="Test samples.")
    seeds: int = Field(6, ge=2, le=1000, description="Draws of samples, noise and networks; intervals come from them.")
    seed: int = Field(0, ge=0)

    @property
    def outputs(self) -> int:
        """Outputs of a network."""
        return {"parity": 1, "classes": 10}[self.target]

    @property
    def inputs(self) -> int:
        """Inputs of a network."""
        return (8 // self.pool) ** 2

    @model_validator(mode="after")
    def _digits_are_there(self) -> "TaskConfig":
        if self.samples[-1] + self.holdout > DIGITS:
            raise ValueError(
                f"samples and holdout must be at most {DIGITS} together, which is how many digits there are, but are "
                f"{self.samples[-1]} and {self.holdout}"
            )
        return self


class FeaturesConfig(Section):
    """Random ReLU features with a trained readout: by the flow in time, and at its end with a ridge."""

    counts: Counts = Field(
        [6, 9, 12, 17, 25, 35, 50, 70, 85, 100, 120, 150, 200, 300, 600, 1500],
        max_length=60,
        description="Numbers of features; an empty list leaves random features out.",
    )
    draws: int = Field(24, ge=2, le=10_000, description="Draws of features, samples and noise.")
    ridge: Annotated[list[Annotated[float, Field(ge=0)]], AfterValidator(_increasing)] = Field(
        [0.0, 0.001, 0.1], min_length=1, max_length=20, description="Beside half the mean square over samples."
    )
    times: list[float] = Field(
        [0.1, 1e6], min_length=2, max_length=2, description="First and last time of the flow, > 0."
    )
    count: int = Field(43, ge=2, le=1000, description="Times between them, evenly in the logarithm.")

    @model_validator(mode="after")
    def _times_increase(self) -> "FeaturesConfig":
        if not 0 < self.times[0] < self.times[1]:
            raise ValueError(f"times must be two increasing numbers > 0, but are {self.times}")
        return self


class NetworksConfig(Section):
    """Networks of one hidden layer in NTK parametrisation, trained by full-batch gradient descent from output zero."""

    widths: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], AfterValidator(_increasing)] = Field(
        [2, 3, 4, 6, 8, 12, 20, 36, 64],
        max_length=60,
        description="Hidden widths; an empty list leaves networks out.",
    )
    activation: Literal["tanh", "relu"] = "tanh"
    output_scale: float = Field(1.0, gt=0, le=1e3, description="Factor alpha on the outputs; large is lazy.")
    learning_rate: float = Field(0.4, gt=0, le=1e6)
    steps: int = Field(6000, ge=2, le=10_000_000, description="Updates.")
    count: int = Field(32, ge=3, le=500, description="Recorded steps, evenly in the logarithm.")


class DoubleDescentConfig(Section):
    """One measurement, all its seeds included."""

    name: FolderName = "double-descent"
    task: TaskConfig = Field(default_factory=lambda: TaskConfig.model_validate({}))
    features: FeaturesConfig = Field(default_factory=lambda: FeaturesConfig.model_validate({}))
    networks: NetworksConfig = Field(default_factory=lambda: NetworksConfig.model_validate({}))

    @model_validator(mode="after")
    def _something_is_measured(self) -> "DoubleDescentConfig":
        if not self.features.counts and not self.networks.widths:
            raise ValueError("features.counts and networks.widths must not both be empty: nothing would be measured")
        return self


def load_double_descent(source: str | Path | None = None, overrides: list[str] | None = None) -> DoubleDescentConfig:
    """Read a measurement and apply `section.key=value` changes.

    Args:
        source: A TOML file, the name of a shipped one, or None for the default.
        overrides: Changes such as "task.seeds=3"; values are read as TOML, else as text.

    Raises:
        ConfigError: If the file is missing or no TOML, or a key or value is not allowed; the message lists every
            problem with its key.
    """
    return read_config(_find(DEFAULT if source is None else source), DoubleDescentConfig, overrides)


def _find(source: str | Path) -> Path:
    folder = files("eigenflow.lab.double_descent") / "configs"
    shipped = {Path(str(f)).stem: Path(str(f)) for f in sorted(folder.iterdir(), key=str) if f.name.endswith(".toml")}
    if Path(source).is_file():
        return Path(source)
    if str(source) in shipped:
        return shipped[str(source)]
    raise ConfigError(
        f"`CONFIG` must be a TOML file or one of {', '.join(shipped)}, but there is no file '{source}'. "
        f"Leave it out for '{DEFAULT}'."
    )
