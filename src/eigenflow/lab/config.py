"""What an experiment is: task, model, training, measuring. Read from TOML, checked key by key."""

from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from eigenflow.core.config import FolderName, Section, read_config
from eigenflow.core.errors import ConfigError

__all__ = ["ExperimentConfig", "load_config", "shipped_configs"]

DEFAULT_CONFIG = "digits"


class TaskConfig(Section):
    """Handwritten digits, 8 x 8 pixels, bundled with scikit-learn (1,797 of them)."""

    name: Literal["digits"] = "digits"
    samples: int = Field(100, ge=10, le=1500, description="Training samples; they are the probe set too.")
    holdout: int = Field(200, ge=0, le=297, description="Test samples, for the test loss.")
    seed: int = Field(0, ge=0)


class ModelConfig(Section):
    """A network with one activation between its layers: fully connected, or convolutions and one linear layer."""

    name: Literal["mlp", "cnn"] = "mlp"
    width: int = Field(128, ge=1, le=4096, description="Hidden width; of a cnn, channels of its first convolution.")
    depth: int = Field(2, ge=0, le=16, description="Hidden layers; of a cnn, convolutions (1 to 4).")
    activation: Literal["tanh", "gelu", "silu", "relu", "identity"] = "tanh"
    residual: bool = Field(False, description="Shortcuts around all hidden layers but the first; no more parameters.")
    output_scale: float = Field(1.0, gt=0, description="Factor alpha on the outputs; large is lazy.")
    centred: bool = Field(
        False,
        description="Subtract the untouched network's outputs. At alpha, train at 1 / alpha^2 of the learning rate.",
    )
    seed: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _has_layers_to_pass_by(self) -> "ModelConfig":
        if self.residual and self.depth < 2:
            raise ValueError(
                f"depth must be 2 or more for residual = true, which passes by every hidden layer after the first, "
                f"but is {self.depth}"
            )
        return self

    @model_validator(mode="after")
    def _image_is_large_enough(self) -> "ModelConfig":
        if self.name == "cnn" and not 1 <= self.depth <= 4:
            raise ValueError(f"depth must lie in [1, 4] for a cnn on 8 x 8 pixels, but is {self.depth}")
        return self


class TrainConfig(Section):
    """Gradient descent, heavy ball or Adam, on full batches or minibatches."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    loss: Literal["mse", "half_mean", "half_sum", "cross_entropy"] = "mse"
    learning_rate: float = Field(1.0, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    batch_size: int = Field(0, ge=0, description="0 takes all samples at every step.")
    steps: int = Field(10_000, ge=2)
    seed: int = Field(2, ge=0)

    @model_validator(mode="after")
    def _momentum_belongs_to_sgd(self) -> "TrainConfig":
        if self.momentum and self.optimizer != "sgd":
            raise ValueError("momentum is a setting of optimizer = 'sgd'; adam has its own, fixed at 0.9")
        return self


class MeasureConfig(Section):
    """When and how the operator is measured."""

    count: int = Field(48, ge=2, description="Measured steps, log-spaced.")
    threads: int = Field(0, ge=0, description="PyTorch threads; 0 leaves its default.")
    modes: int = Field(0, ge=0, description="Largest modes stored one by one; 0 stores all.")
    method: Literal["auto", "dense", "tracked"] = Field(
        "auto", description="All modes of the dense operator, or `modes` tracked ones; auto tracks above 4000 rows."
    )


class ExperimentConfig(Section):
    """One experiment, all its seeds included."""

    name: FolderName = "digits"
    task: TaskConfig = Field(default_factory=lambda: TaskConfig.model_validate({}))
    model: ModelConfig = Field(default_factory=lambda: ModelConfig.model_validate({}))
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate({}))
    measure: MeasureConfig = Field(default_factory=lambda: MeasureConfig.model_validate({}))

    @model_validator(mode="after")
    def _batches_fit(self) -> "ExperimentConfig":
        if self.train.batch_size > self.task.samples:
            raise ValueError(
                f"train.batch_size = {self.train.batch_size} is more than task.samples = {self.task.samples}"
            )
        return self

    @model_validator(mode="after")
    def _modes_fit(self) -> "ExperimentConfig":
        rows = 10 * self.task.samples
        if self.measure.modes > rows:
            raise ValueError(f"measure.modes = {self.measure.modes} is more than the operator's {rows} rows")
        if self.measure.method == "tracked" and not self.measure.modes:
            raise ValueError("measure.method = 'tracked' needs measure.modes, how many modes to track")
        return self


def shipped_configs() -> dict[str, Path]:
    """Names and files of the experiments that come with the package."""
    folder = files("eigenflow.lab") / "configs"
    return {Path(str(f)).stem: Path(str(f)) for f in sorted(folder.iterdir(), key=str) if f.name.endswith(".toml")}


def load_config(source: str | Path | None = None, overrides: list[str] | None = None) -> ExperimentConfig:
    """Read an experiment and apply `section.key=value` changes.

    Args:
        source: A TOML file, the name of a shipped experiment, or None for the default one.
        overrides: Changes such as "train.steps=2000"; values are read as TOML, else as text.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: If the file is missing or no TOML, or a key or value is not allowed; the message
            lists every problem with its key.
    """
    return read_config(_find(DEFAULT_CONFIG if source is None else source), ExperimentConfig, overrides)


def _find(source: str | Path) -> Path:
    path, shipped = Path(source), shipped_configs()
    if path.is_file():
        return path
    if str(source) in shipped:
        return shipped[str(source)]
    raise ConfigError(
        f"`CONFIG` must be a TOML file or one of {', '.join(shipped)}, but there is no file '{source}'. "
        f"Leave it out for '{DEFAULT_CONFIG}'."
    )
