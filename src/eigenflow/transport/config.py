"""A transport problem as a TOML file, checked key by key."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import AfterValidator, Field, model_validator

from eigenflow.core.config import FolderName, Section, read_config
from eigenflow.core.errors import ConfigError, FileError
from eigenflow.core.writing import explain
from eigenflow.transport.cell_table import read_cells
from eigenflow.transport.flows.drift import PowerDrift
from eigenflow.transport.initial import Initial
from eigenflow.transport.problem import TransportProblem
from eigenflow.transport.sources import AbstractSource, GivenSource, KernelSource, LogNormalKernel, SgdNoise

__all__ = ["SolveConfig", "load_solve_config"]


# No quantity of a problem is further from 1, in whatever unit: products of a few of them are still numbers.
FARTHEST = 1e100
# ln of the largest density that is allowed, amplitude included.
LARGEST_LOG = 600.0


def _between(low: float, high: float) -> AfterValidator:
    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"must be a number between {low:g} and {high:g}")
        return value

    return AfterValidator(check)


Signed = Annotated[float, _between(-FARTHEST, FARTHEST)]
Positive = Annotated[float, _between(1 / FARTHEST, FARTHEST)]
NotNegative = Annotated[float, _between(0, FARTHEST)]
Exponent = Annotated[float, _between(-100, 100)]


class DriftConfig(Section):
    """v = -c (1 + t / t0)^-decay lambda^b."""

    c: Signed = 0.5
    b: Exponent = 2.0
    decay: Exponent = 0.0
    t0: Positive = 1.0

    def build(self) -> PowerDrift:
        if self.decay == 0.0 or self.c == 0.0:
            return PowerDrift(c=self.c, b=self.b)
        c, p, t0 = self.c, self.decay, self.t0

        def strength(t):
            return c * _falling(t, p, t0)

        def integral(t):
            growth = np.log1p(np.asarray(t) / t0)
            return c * t0 * (growth if p == 1.0 else np.expm1((1.0 - p) * growth) / (1.0 - p))

        return PowerDrift(c=strength, b=self.b, integral=integral)


class InitialConfig(Section):
    """Initial density: amplitude lambda^exponent exp(-lower / lambda - (lambda / upper)^2), or a table of cell masses.

    A table is a CSV file with the columns `low`, `high` and `mass`, cells in increasing order without gaps.
    """

    form: Literal["power", "table"] = "power"
    exponent: Exponent = -0.5
    amplitude: Positive = 1.0
    lower: NotNegative = 1e-5
    upper: Positive = 10.0
    table: Path | None = None

    @model_validator(mode="after")
    def _table_belongs_to_its_form(self) -> "InitialConfig":
        if (self.form == "table") != (self.table is not None):
            raise ValueError("form = 'table' and table = 'masses.csv' go together")
        return self

    def build(self, folder: Path) -> Initial:
        if self.table is not None:
            return read_cells(folder / self.table)
        return _density(self)


class SourceConfig(Section):
    """What modes gain: nothing, jumps, the noise of stochastic gradient descent, or a given source.

    "jumps" leave at `rate` lambda and land log-normally, `width` wide in ln(lambda). "noise" has the mode density,
    and "given" the source density, amplitude lambda^exponent exp(-lower / lambda - (lambda / upper)^2); that of
    "given" falls as (1 + t / t0)^-decay.
    """

    form: Literal["none", "jumps", "noise", "given"] = "none"
    rate: NotNegative = 0.5
    width: Positive = 0.5
    learning_rate: Positive = 0.01
    batch_size: Annotated[float, _between(1, FARTHEST)] = 32.0
    label_noise: NotNegative = 0.0
    amplitude: NotNegative = 1.0
    exponent: Exponent = -1.0
    lower: NotNegative = 1e-5
    upper: Positive = 10.0
    decay: Exponent = 0.0
    t0: Positive = 1.0

    def build(self) -> AbstractSource | None:
        shape = _density(self)
        if self.form == "jumps":
            return KernelSource(self.rate, LogNormalKernel(self.width))
        if self.form == "noise":
            return SgdNoise(self.learning_rate, self.batch_size, shape, self.label_noise)
        if self.form == "given":
            return GivenSource(lambda lam, t: shape(lam) * _falling(t, self.decay, self.t0))
        return None


class TimesConfig(Section):
    """Output times, log-spaced."""

    first: Positive = 1e-3
    last: Positive = 1e4
    count: int = Field(50, ge=1, le=10_000)

    @model_validator(mode="after")
    def _in_order(self) -> "TimesConfig":
        if self.count > 1 and self.last <= self.first * (1 + 1e-12 * self.count):
            raise ValueError(f"last must be later than first = {self.first}")
        return self

    def build(self) -> np.ndarray:
        return np.geomspace(self.first, self.last, self.count)


class SolverConfig(Section):
    """How to solve."""

    cells: int = Field(200, ge=1, le=100_000)
    method: str = "auto"


class SolveConfig(Section):
    """One transport problem with its output times."""

    name: FolderName = "transport"
    dissipation: NotNegative = Field(2.0, description="Factor of lambda: 2 for energies, 1 for amplitudes.")
    domain: tuple[Positive, Positive] = (1e-6, 1e2)
    drift: DriftConfig = Field(default_factory=lambda: DriftConfig.model_validate({}))
    initial: InitialConfig = Field(default_factory=lambda: InitialConfig.model_validate({}))
    source: SourceConfig = Field(default_factory=lambda: SourceConfig.model_validate({}))
    times: TimesConfig = Field(default_factory=lambda: TimesConfig.model_validate({}))
    solver: SolverConfig = Field(default_factory=lambda: SolverConfig.model_validate({}))

    @model_validator(mode="after")
    def _is_finite(self) -> "SolveConfig":
        """Products of settings, each of which is allowed."""
        logs = np.log(np.array(self.domain))
        shapes = [("initial", self.initial)] if self.initial.form == "power" else []
        shapes += [("source", self.source)] if self.source.form in ("noise", "given") else []
        for name, shape in shapes:
            # Without the falling factors, which are 1 at most; of the density per ln(lambda) too.
            highest = max(float(np.max((shape.exponent + k) * logs)) for k in (0.0, 1.0))
            if highest + np.log(max(shape.amplitude, 1 / FARTHEST)) > LARGEST_LOG:
                raise ValueError(
                    f"{name}: amplitude lambda^exponent must stay below 1e260 in the domain {list(self.domain)}, but "
                    f"exponent = {shape.exponent:g} and amplitude = {shape.amplitude:g} do not. Measure masses or "
                    f"eigenvalues in another unit"
                )
        for name, decay, t0 in (
            ("drift", self.drift.decay, self.drift.t0),
            ("source", self.source.decay, self.source.t0),
        ):
            if -decay * np.log1p(self.times.last / t0) > LARGEST_LOG:
                raise ValueError(
                    f"{name}: (1 + t / t0)^-decay must stay below 1e260, but decay = {decay:g} and t0 = {t0:g} do not "
                    f"let it until times.last = {self.times.last:g}"
                )
        return self

    def problem(self, folder: Path = Path()) -> TransportProblem:
        """Build the problem; files named in the configuration are looked up from `folder`."""
        return TransportProblem(
            drift=self.drift.build(),
            dissipation=self.dissipation,
            initial=self.initial.build(folder),
            domain=self.domain,
            source=self.source.build(),
        )


def _density(shape: InitialConfig | SourceConfig) -> Callable[[np.ndarray], np.ndarray]:
    """The density amplitude lambda^exponent exp(-lower / lambda - (lambda / upper)^2)."""

    def density(lam: np.ndarray) -> np.ndarray:
        # Far out the cut-offs overflow, and nothing is left: that is their meaning.
        with np.errstate(over="ignore", under="ignore"):
            kept = np.exp(-shape.lower / lam - (lam / shape.upper) ** 2)
            return shape.amplitude * lam**shape.exponent * kept

    return density


def _falling(times: ArrayLike, decay: float, t0: float) -> np.ndarray:
    with np.errstate(under="ignore"):
        return (1.0 + np.asarray(times) / t0) ** -decay


def load_solve_config(path: str | Path, overrides: list[str] | None = None) -> SolveConfig:
    """Read a problem from a TOML file and apply `section.key=value` changes.

    Raises:
        ConfigError: If the file is missing or no TOML, or a key or value is not allowed.
        FileError: If the file cannot be read.
    """
    path = Path(path)
    try:
        is_there = path.is_file()
    except OSError as error:  # a name that is too long, a loop of links
        raise FileError(explain(path, error, "read")) from None
    if not is_there:
        raise ConfigError(f"`CONFIG` must be a TOML file, but there is no file '{path}'. See examples/transport.toml.")
    return read_config(path, SolveConfig, overrides)
