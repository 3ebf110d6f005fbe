"""What a run folder's files held when they were written, so that a changed or lost byte is noticed.

The sums stand in `run.json`. They find damage and mix-ups; who wants to forge a run can forge them too.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import Any

__all__ = ["Checksums", "LossBlock", "canonical", "digest", "new_sum"]

# Eight bytes: one accident in 10^19 goes unnoticed.
_BYTES = 8


def new_sum() -> blake2b:
    """A sum of nothing yet."""
    return blake2b(digest_size=_BYTES)


def digest(*parts: bytes) -> str:
    """The sum of some bytes, as text."""
    total = new_sum()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def canonical(value: Any) -> bytes:
    """JSON in the one form that does not depend on spaces and the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True)
class LossBlock:
    """A stretch of whole lines of the loss log, behind the stretch before.

    Attributes:
        rows: Number of its lines.
        size: Its length in bytes.
        sum: Of its bytes.
    """

    rows: int
    size: int
    sum: str

    @classmethod
    def of(cls, content: bytes) -> "LossBlock":
        """The block that holds these lines."""
        return cls(content.count(b"\n"), len(content), digest(content))

    @classmethod
    def is_sound(cls, entry: Any) -> bool:
        """Whether an entry of a file is a block."""
        return (
            isinstance(entry, dict)
            and set(entry) == {"rows", "size", "sum"}
            and all(type(entry[key]) is int and 0 < entry[key] < 2**63 for key in ("rows", "size"))
            and isinstance(entry["sum"], str)
        )


@dataclass(frozen=True)
class Checksums:
    """The sums of one run.

    Attributes:
        layout: Of the constants of the run, and of what the arrays of `measurements.zarr` say of themselves; None
            before the first measurement.
        measurements: One for each committed measurement, of the chunks of all arrays.
        losses: The loss log, stretch after stretch, up to the last commit.
        files: Of other files, the sums that they may have: the new one and, while it is being put in place, the old
            one; None stands for a file that is not there.
    """

    layout: str | None = None
    measurements: tuple[str, ...] = ()
    losses: tuple[LossBlock, ...] = ()
    files: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict[str, tuple[str | None, ...]])

    @property
    def logged_bytes(self) -> int:
        """Length of the loss log that the sums cover."""
        return sum(block.size for block in self.losses)

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "layout": self.layout,
            "measurements": list(self.measurements),
            "losses": [asdict(block) for block in self.losses],
            "files": {name: list(sums) for name, sums in self.files.items()},
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Checksums":
        """What `to_dict` wrote."""
        return cls(
            layout=entry["layout"],
            measurements=tuple(entry["measurements"]),
            losses=tuple(LossBlock(**block) for block in entry["losses"]),
            files={name: tuple(sums) for name, sums in entry["files"].items()},
        )

    @staticmethod
    def is_sound(entry: Any, measured: int) -> bool:
        """Whether an entry of `run.json` is one that `to_dict` wrote, of a run with so many measurements."""
        if not isinstance(entry, dict):
            return False
        layout, sums, losses, files = (entry.get(key) for key in ("layout", "measurements", "losses", "files"))
        return (
            isinstance(layout, str | None)
            and (layout is not None or not measured)
            and _are(sums, str)
            and len(sums or []) == measured
            and isinstance(losses, list)
            and all(LossBlock.is_sound(block) for block in losses)
            and isinstance(files, dict)
            and all(_is_plain(name) and _are(allowed, str | None) and allowed for name, allowed in files.items())
        )

    def changed(self, **changes: Any) -> "Checksums":
        """The same with other fields."""
        return replace(self, **changes)

    def with_file(self, name: str, sums: Iterable[str | None]) -> "Checksums":
        """The same with other sums that a file may have."""
        return replace(self, files={**self.files, name: tuple(sums)})


def _are(values: Any, kind: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and not any(part in name for part in ("/", "\\", "\0"))
