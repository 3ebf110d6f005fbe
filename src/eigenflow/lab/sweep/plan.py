"""All runs of a sweep: their names, values, places along the swept dimensions, and configurations."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from pydantic import ValidationError

from eigenflow.core.config import explain_problems
from eigenflow.core.display import AbstractPrinted, Card
from eigenflow.core.errors import ConfigError, LimitError
from eigenflow.lab.config import ExperimentConfig
from eigenflow.lab.sweep.config import MOST_RUNS, Draw, RandomDraws, SweepConfig, config_keys
from eigenflow.lab.sweep.naming import run_name

__all__ = ["Dimension", "PlannedRun", "SweepPlan", "plan_sweep"]

RUN, REPEAT = "run", "repeat"
DIGITS = 6  # of what is drawn, so that names are short and mean what was run
ATTEMPTS = 200  # to draw values that were not drawn before


@dataclass(frozen=True)
class Dimension:
    """Keys that change together along one dimension of the sweep.

    Attributes:
        name: The first key; "run" for random draws, "repeat" for repeats.
        keys: Values along the dimension by dotted name; none for repeats.
        length: Places along it.
    """

    name: str
    keys: dict[str, list[Any]]
    length: int


@dataclass(frozen=True)
class PlannedRun:
    """One run.

    Attributes:
        name: Made from its values; its folder.
        values: Swept keys with the values of this run; with repeats their number, as "repeat".
        index: Its place along every dimension.
        config: What `eigenflow run` would be given.
    """

    name: str
    values: dict[str, Any]
    index: dict[str, int]
    config: ExperimentConfig


@dataclass(frozen=True, repr=False)
class SweepPlan(AbstractPrinted):
    """A sweep, spelt out.

    Attributes:
        config: As it was read.
        dimensions: In their order: grid, zip, random draws, repeats.
        runs: All of them, the last dimension fastest.
    """

    config: SweepConfig
    dimensions: tuple[Dimension, ...]
    runs: tuple[PlannedRun, ...]

    def to_dict(self) -> dict[str, Any]:
        """What the sweep's folder says of it."""
        return {
            "name": self.config.name,
            "base": self.config.base.model_dump(),
            "sweep": self.config.sweep.model_dump(),
            "dimensions": [{"name": one.name, "keys": one.keys, "length": one.length} for one in self.dimensions],
            "runs": [{"name": run.name, "values": run.values, "index": run.index} for run in self.runs],
        }

    def _card(self) -> Card:
        rows = [(one.name, _told(one)) for one in self.dimensions]
        return Card(f"SweepPlan {self.config.name} of {len(self.runs)} runs", rows)


def _told(dimension: Dimension) -> str:
    lists = (f"{key} = {', '.join(map(str, values))}" for key, values in dimension.keys.items())
    return f"{dimension.length}: " + "; ".join(lists) if dimension.keys else f"{dimension.length}"


def plan_sweep(config: SweepConfig) -> SweepPlan:
    """Spell out all runs of a sweep.

    Raises:
        ConfigError: If a combination is no experiment, or two runs would be the same; names the run and the key.
        LimitError: If there are more than 100,000 runs.
    """
    part = config.sweep
    dimensions = [Dimension(key, {key: values}, len(values)) for key, values in part.grid.items()]
    for group in part.zip:
        dimensions.append(Dimension(next(iter(group)), dict(group), len(next(iter(group.values())))))
    if part.random is not None:
        dimensions.append(Dimension(RUN, draw(part.random), part.random.count))
    if part.repeats > 1:
        dimensions.append(Dimension(REPEAT, {}, part.repeats))
    count = prod(one.length for one in dimensions)
    if count > MOST_RUNS:
        raise LimitError(f"`sweep` asks for {count:,} runs, but at most {MOST_RUNS:,} are allowed. Sweep fewer values.")
    runs = tuple(_runs(config, dimensions))
    _refuse_same(runs)
    exact = [_as_validated(one, runs) for one in dimensions]
    return SweepPlan(config, tuple(exact), runs)


def draw(random: RandomDraws) -> dict[str, list[Any]]:
    """Values of all draws by key, each draw another one.

    Each key and place has a stream of its own: more draws, or another key, change none of those that are there.

    Raises:
        ConfigError: If there are not as many different draws.
    """
    types, drawn = config_keys(), {}
    for place in range(random.count):
        for attempt in range(ATTEMPTS):
            values = tuple(
                _one(how, np.random.default_rng([random.seed, zlib.crc32(key.encode()), place, attempt]), types[key])
                for key, how in random.keys.items()
            )
            if values not in drawn:
                break
        else:
            raise ConfigError(
                f"`sweep.random.count` = {random.count} asks for more draws than there are different ones: after "
                f"{place}, {ATTEMPTS} attempts gave none that is new. Draw fewer, or sweep these keys as a grid."
            )
        drawn[values] = None
    return {key: [values[place] for values in drawn] for place, key in enumerate(random.keys)}


def _one(how: Draw, rng: np.random.Generator, kind: Any) -> Any:
    if how.choice is not None:
        return how.choice[int(rng.integers(len(how.choice)))]
    assert how.low is not None and how.high is not None
    is_whole = kind is int
    low, high = (how.low, how.high) if not is_whole else (how.low - 0.5, how.high + 0.5)
    if how.scale == "log":
        value = float(np.exp(rng.uniform(np.log(max(low, 1e-300)), np.log(high))))
    else:
        value = float(rng.uniform(low, high))
    if is_whole:
        return int(np.clip(round(value), np.ceil(how.low), np.floor(how.high)))
    return float(np.clip(float(f"{value:.{DIGITS}g}"), how.low, how.high))


def _runs(config: SweepConfig, dimensions: list[Dimension]) -> Iterator[PlannedRun]:
    base = config.base.model_dump()
    for places in product(*(range(one.length) for one in dimensions)):
        index = {one.name: place for one, place in zip(dimensions, places, strict=True)}
        values = {
            key: given[place] for one, place in zip(dimensions, places, strict=True) for key, given in one.keys.items()
        }
        yield _run(config, base, values, index)


def _run(config: SweepConfig, base: dict[str, Any], values: dict[str, Any], index: dict[str, int]) -> PlannedRun:
    changed = {section: dict(entry) if isinstance(entry, dict) else entry for section, entry in base.items()}
    for key, value in values.items():
        section, name = key.split(".")
        changed[section][name] = value
    repeat = index.get(REPEAT)
    for key in config.sweep.repeat_seeds if repeat else ():
        section, name = key.split(".")
        changed[section][name] += repeat
    try:
        checked = ExperimentConfig.model_validate(changed)
    except ValidationError as error:
        told = ", ".join(f"{key} = {value!r}" for key, value in values.items())
        lines = "\n".join(explain_problems(error, ExperimentConfig))
        raise ConfigError(f"`sweep`: the run with {told} is no experiment:\n{lines}") from None
    exact = {key: getattr(getattr(checked, key.split(".")[0]), key.split(".")[1]) for key in values}
    if repeat is not None:
        exact[REPEAT] = repeat
    # The first repeat is named like a run without any, so that repeats can be added later.
    name = run_name({key: value for key, value in exact.items() if key != REPEAT or value}) or config.name
    return PlannedRun(name, exact, index, checked.model_copy(update={"name": name}))


def _refuse_same(runs: tuple[PlannedRun, ...]) -> None:
    names: dict[str, PlannedRun] = {}
    for run in runs:
        twin = names.setdefault(run.name.lower(), run)  # some file systems do not tell capitals apart
        if twin is not run:
            raise ConfigError(
                f"`sweep` holds the run {run.name} twice: two of the swept values are the same, or differ only in "
                f"capitals. Leave one out; for repeats of a run use sweep.repeats."
            )


def _as_validated(dimension: Dimension, runs: tuple[PlannedRun, ...]) -> Dimension:
    """With values as the runs' configurations hold them."""
    first = {run.index[dimension.name]: run for run in reversed(runs)}
    keys = {key: [first[place].values[key] for place in range(dimension.length)] for key in dimension.keys}
    return Dimension(dimension.name, keys, dimension.length)
