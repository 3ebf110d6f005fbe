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
    """What is learned, from data that come with scikit-learn or with Python.

    "digits": handwritten digits of 8 x 8 pixels (1,797 of them), ten outputs. "patches": the grey value in the middle
    of a square piece of a photograph, from the pixels around it. "source": the next byte of the source text of
    Python's own standard library, at every position of a sequence; versions of Python differ in it, and the header of
    the run says which it was.
    """

    name: Literal["digits", "patches", "source"] = "digits"
    samples: int = Field(100, ge=2, le=1500, description="Samples of the probe set, the first of the training set.")
    training: int = Field(0, ge=0, le=20_000, description="Training samples; 0: those of the probe set.")
    holdout: int = Field(200, ge=0, le=297, description="Test samples, for the test loss.")
    seed: int = Field(0, ge=0)
    patch: int = Field(9, ge=3, le=15, description="Side of a patch in pixels, odd. Of patches only.")
    centre: int = Field(1, ge=1, le=5, description="Side of the square in its middle to predict, odd. Of patches only.")
    context: int = Field(8, ge=2, le=64, description="Bytes of a sequence. Of source only.")
    symbols: int = Field(
        32, ge=2, le=256, description="Kinds of bytes: the most frequent ones, and all others as one. Of source only."
    )

    @property
    def outputs(self) -> int:
        """Outputs of one sample."""
        return {"digits": 10, "patches": self.centre**2, "source": self.context * self.symbols}[self.name]

    @property
    def trained(self) -> int:
        """Training samples."""
        return self.training or self.samples

    @model_validator(mode="after")
    def _samples_are_there(self) -> "TaskConfig":
        if self.training and self.training < self.samples:
            raise ValueError(
                f"training must be 0 or at least samples = {self.samples}, which are the first of it, but is "
                f"{self.training}"
            )
        most = 20_000 if self.name == "source" else 1500
        if self.training > most:
            raise ValueError(f"training must be at most {most} for {self.name}, but is {self.training}")
        return self

    @model_validator(mode="after")
    def _middle_lies_in_the_patch(self) -> "TaskConfig":
        if self.patch % 2 == 0 or self.centre % 2 == 0 or self.centre > self.patch - 2:
            raise ValueError(
                f"patch and centre must be odd, and centre at most patch - 2, but they are {self.patch} and "
                f"{self.centre}"
            )
        return self


class ModelConfig(Section):
    """A network: fully connected, convolutions and one linear layer, or a transformer over bytes.

    Parametrisations: "standard": weights N(0, 1 / fan-in), so that the operator grows with the width. "ntk", of the mlp
    alone: weights N(0, 1) and the factor in front of them, so that the operator has a limit and stands still in it.
    "maximal_update": the output is smaller by 1 / sqrt(width) and layers move accordingly faster, so that features move
    as much at every width under one train.learning_rate, which parameters then have in their share (`lab/rates`).
    """

    name: Literal["mlp", "cnn", "gpt"] = "mlp"
    width: int = Field(
        128, ge=1, le=4096, description="Hidden width; of a cnn, channels of its first convolution; of a gpt, even."
    )
    depth: int = Field(2, ge=0, le=16, description="Hidden layers; of a cnn, convolutions (1 to 4); of a gpt, blocks.")
    heads: int = Field(2, ge=1, le=16, description="Attention heads of a gpt; they divide its width.")
    activation: Literal["tanh", "gelu", "silu", "relu", "identity"] = "tanh"
    parametrisation: Literal["standard", "ntk", "maximal_update"] = Field(
        "standard", description="What width changes: the operator's size, how lazy training is, or nothing of both."
    )
    base_width: int = Field(
        64,
        ge=1,
        description="Width at which maximal_update has the standard's rates; of an mlp under sgd it is always 1.",
    )
    residual: bool = Field(False, description="Shortcuts around all hidden layers but the first; no more parameters.")
    output_scale: float = Field(1.0, gt=0, description="Factor alpha on the outputs; large is lazy.")
    centred: bool = Field(
        False,
        description="Subtract the untouched network's outputs. At alpha, train at 1 / alpha^2 of the learning rate.",
    )
    seed: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _has_layers_to_pass_by(self) -> "ModelConfig":
        if self.residual and self.name == "gpt":
            raise ValueError("residual must be false for a gpt, which has its shortcuts already, but is true")
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

    @model_validator(mode="after")
    def _parametrisation_is_of_an_mlp(self) -> "ModelConfig":
        if (self.parametrisation == "ntk" and self.name != "mlp") or (
            self.parametrisation != "standard" and self.depth < 1
        ):
            raise ValueError(
                f"parametrisation must be 'standard' without a hidden layer, and 'ntk' is one of the mlp alone, but it "
                f"is '{self.parametrisation}' for a {self.name} of depth {self.depth}"
            )
        return self

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "ModelConfig":
        if self.name == "gpt" and (self.depth < 1 or self.width % self.heads):
            raise ValueError(
                f"a gpt must have at least 1 block (depth) and a width that its heads divide, but has depth "
                f"{self.depth}, width {self.width} and {self.heads} heads"
            )
        return self


class TrainConfig(Section):
    """Gradient descent, heavy ball, Adam or AdamW, on full batches or minibatches."""

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    loss: Literal["mse", "half_mean", "half_sum", "cross_entropy"] = "mse"
    learning_rate: float = Field(1.0, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, description="Part of the gradient; of adamw, beside it.")
    batch_size: int = Field(0, ge=0, description="0 takes all samples at every step.")
    steps: int = Field(10_000, ge=2)
    seed: int = Field(2, ge=0)

    @model_validator(mode="after")
    def _momentum_belongs_to_sgd(self) -> "TrainConfig":
        if self.momentum and self.optimizer != "sgd":
            raise ValueError("momentum is a setting of optimizer = 'sgd'; adam and adamw have their own, fixed at 0.9")
        return self


class MeasureConfig(Section):
    """When and how the operator is measured."""

    count: int = Field(48, ge=2, description="Measured steps, log-spaced.")
    first: int = Field(
        0,
        ge=0,
        description="Updates before the record begins, as while Adam's preconditioner is that of a few gradients only.",
    )
    threads: int = Field(0, ge=0, description="PyTorch threads; 0 leaves its default.")
    modes: int = Field(0, ge=0, description="Largest modes stored one by one; 0 stores all.")
    method: Literal["auto", "dense", "tracked"] = Field(
        "auto", description="All modes of the dense operator, or `modes` tracked ones; auto tracks above 4000 rows."
    )
    preconditioner: bool = Field(
        False, description="Measure J P^(-1) J^T with the optimizer's own preconditioner P, instead of J J^T."
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
        if self.train.batch_size > self.task.trained:
            name = "training" if self.task.training else "samples"
            raise ValueError(
                f"train.batch_size = {self.train.batch_size} is more than task.{name} = {self.task.trained}"
            )
        return self

    @model_validator(mode="after")
    def _record_begins_early_enough(self) -> "ExperimentConfig":
        if self.measure.first > self.train.steps - 2:
            raise ValueError(
                f"measure.first must leave at least 2 of train.steps = {self.train.steps}, but is {self.measure.first}"
            )
        return self

    @model_validator(mode="after")
    def _model_can_learn_the_task(self) -> "ExperimentConfig":
        task, model = self.task.name, self.model.name
        if (task == "source") != (model == "gpt"):
            raise ValueError(
                f"model.name must be 'gpt' for task.name = 'source' and for no other, but they are '{model}' and "
                f"'{task}'"
            )
        if task == "patches" and self.train.loss == "cross_entropy":
            raise ValueError("train.loss must be one of squares for task.name = 'patches', which has no classes")
        return self

    @model_validator(mode="after")
    def _modes_fit(self) -> "ExperimentConfig":
        rows = self.task.outputs * self.task.samples
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
