"""What commands that work for minutes share: the cost first, and the line that goes on after an interruption."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from eigenflow.cli.console import err, print_json

if TYPE_CHECKING:
    from eigenflow.core.config import Section

__all__ = ["resumable", "stated_only"]


@runtime_checkable
class Cost(Protocol):
    """A dataclass of numbers that says itself in words."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def summary(self) -> str: ...


def stated_only(name: str, settings: "Section", cost: Cost, *, dry_run: bool, as_json: bool) -> bool:
    """State the cost on stderr; with `dry_run` also as JSON if that is wanted, and say that this was all."""
    err.print(f"{name}: {cost.summary()}", markup=False, soft_wrap=True)
    if dry_run and as_json:
        print_json({"config": settings.model_dump(), "cost": asdict(cost)})
    return dry_run


@contextmanager
def resumable(command: str, config: str | None, changes: Sequence[str] | None, folder: Path) -> Iterator[None]:
    """Where a person interrupts the work inside, say the command line that goes on with it."""
    try:
        yield
    except KeyboardInterrupt:
        given = [*([config] if config else []), *(word for change in changes or [] for word in ("--set", change))]
        again = shlex.join(["eigenflow", command, *given, "--out", str(folder), "--resume"])
        err.print(f"Interrupted. What was recorded stays; go on with: {again}", markup=False, soft_wrap=True)
        raise
