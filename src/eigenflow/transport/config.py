"""A transport problem as a TOML file, checked key by key."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from eigenflow.core.config import Section, read_config
from eigenflow.core.errors import ConfigError
from eigenflow.transport.initial import CellMasses, Initial
from eigenflow.transport.motion.drift import PowerDrift
from eigenflow.transport.problem import TransportProblem
from eigenflow.transport.sources import GivenSource, KernelSource, LogNormalKernel, SgdNoise, Source

__all__ = ["SolveConfig", "load_solve_config"]


class DriftConfig(Section):
    """v = -c (1 + t / t0)^-decay lambda^b."""

    c: float = 0.5
    b: float = 2.0
    decay: float = 0.0
    t0: float = Field(1.0, gt=0)

    def build(self) -> PowerDrift:
        if self.decay == 0.0 or self.c == 0.0:
            return PowerDrift(c=self.c, b=self.b)
        c, p, t0 = self.c, self.decay, self.t0

        def strength(t):
            return c * (1.0 + np.asarray(t) / t0) ** -p

        def integral(t):
            growth = np.log1p(np.asarray(t) / t0)
            return c * t0 * (growth if p == 1.0 else np.expm1((1.0 - p) * growth) / (1.0 - p))

        return PowerDrift(c=strength, b=self.b, integral=integral)


class InitialConfig(Section):
    """Initial density: amplitude lambda^exponent exp(-lower / lambda - (lambda / upper)^2), or a table of cell masses.

    A table is a CSV file with the columns `low`, `high` and `mass`, cells in increasing order without gaps.
    """

    form: Literal["power", "table"] = "power"
    exponent: float = -0.5
    amplitude: float = Field(1.0, gt=0)
    lower: float = Field(1e-5, ge=0)
    upper: float = Field(10.0, gt=0)
    table: Path | None = None

    @model_validator(mode="after")
    def _table_belongs_to_its_form(self) -> "InitialConfig":
        if (self.form == "table") != (self.table is not None):
            raise ValueError("form = 'table' and table = 'masses.csv' go together")
        return self

    def build(self, folder: Path) -> Initial:
        if self.table is not None:
            return _read_cells(folder / self.table)

        def density(lam):
            return self.amplitude * lam**self.exponent * np.exp(-self.lower / lam - (lam / self.upper) ** 2)

        return density


class SourceConfig(Section):
    """What modes gain: nothing, jumps, the noise of stochastic gradient descent, or a given source.

    "jumps" leave at `rate` lambda and land log-normally, `width` wide in ln(lambda). "noise" has the mode density,
    and "given" the source density, amplitude lambda^exponent exp(-lower / lambda - (lambda / upper)^2); that of
    "given" falls as (1 + t / t0)^-decay.
    """

    form: Literal["none", "jumps", "noise", "given"] = "none"
    rate: float = Field(0.5, ge=0)
    width: float = Field(0.5, gt=0)
    learning_rate: float = Field(0.01, gt=0)
    batch_size: float = Field(32.0, ge=1)
    label_noise: float = Field(0.0, ge=0)
    amplitude: float = Field(1.0, ge=0)
    exponent: float = -1.0
    lower: float = Field(1e-5, ge=0)
    upper: float = Field(10.0, gt=0)
    decay: float = 0.0
    t0: float = Field(1.0, gt=0)

    def build(self) -> Source | None:
        def shape(lam):
            return self.amplitude * lam**self.exponent * np.exp(-self.lower / lam - (lam / self.upper) ** 2)

        if self.form == "jumps":
            return KernelSource(self.rate, LogNormalKernel(self.width))
        if self.form == "noise":
            return SgdNoise(self.learning_rate, self.batch_size, shape, self.label_noise)
        if self.form == "given":
            return GivenSource(lambda lam, t: shape(lam) * (1.0 + t / self.t0) ** -self.decay)
        return None


class TimesConfig(Section):
    """Output times, log-spaced."""

    first: float = Field(1e-3, gt=0)
    last: float = Field(1e4, gt=0)
    count: int = Field(50, ge=1, le=10_000)

    @model_validator(mode="after")
    def _in_order(self) -> "TimesConfig":
        if self.count > 1 and self.last <= self.first:
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

    name: str = "transport"
    dissipation: float = Field(2.0, ge=0, description="Factor of lambda: 2 for energies, 1 for amplitudes.")
    domain: tuple[float, float] = (1e-6, 1e2)
    drift: DriftConfig = Field(default_factory=lambda: DriftConfig.model_validate({}))
    initial: InitialConfig = Field(default_factory=lambda: InitialConfig.model_validate({}))
    source: SourceConfig = Field(default_factory=lambda: SourceConfig.model_validate({}))
    times: TimesConfig = Field(default_factory=lambda: TimesConfig.model_validate({}))
    solver: SolverConfig = Field(default_factory=lambda: SolverConfig.model_validate({}))

    def problem(self, folder: Path = Path()) -> TransportProblem:
        """Build the problem; files named in the configuration are looked up from `folder`."""
        return TransportProblem(
            drift=self.drift.build(),
            dissipation=self.dissipation,
            initial=self.initial.build(folder),
            domain=self.domain,
            source=self.source.build(),
        )


def load_solve_config(path: str | Path, overrides: list[str] | None = None) -> SolveConfig:
    """Read a problem from a TOML file and apply `section.key=value` changes.

    Raises:
        ConfigError: If the file is missing or no TOML, or a key or value is not allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"`CONFIG` must be a TOML file, but there is no file '{path}'. See examples/transport.toml.")
    return read_config(path, SolveConfig, overrides)


def _read_cells(path: Path) -> CellMasses:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"`initial.table`: '{path}' cannot be read: {error}.") from None
    missing = {"low", "high", "mass"} - set(table.columns)
    if missing:
        raise ConfigError(f"`initial.table`: '{path}' lacks the column(s) {', '.join(sorted(missing))}.")
    if not np.allclose(table["low"][1:], table["high"][:-1], rtol=1e-9):
        raise ConfigError(f"`initial.table`: in '{path}' a cell's `low` differs from the `high` of the one before.")
    edges = np.concatenate([table["low"].to_numpy(), table["high"].to_numpy()[-1:]])
    return CellMasses(edges, table["mass"].to_numpy())
