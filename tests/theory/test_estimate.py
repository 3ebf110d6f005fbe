"""An estimate is made once, whether it succeeds or not."""

from dataclasses import dataclass, field

import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.estimate import Estimate


@dataclass(frozen=True)
class Counted:
    calls: list[str] = field(default_factory=list)

    @Estimate
    def value(self) -> float:
        """A value."""
        self.calls.append("value")
        return 2.5

    @Estimate
    def nothing(self) -> float:
        self.calls.append("nothing")
        raise ArgumentError("too short")

    @Estimate
    def broken(self) -> float:
        self.calls.append("broken")
        raise KeyError("a mistake")


def test_a_value_is_kept():
    one, other = Counted(), Counted()
    assert one.value == one.value == 2.5 and one.calls == ["value"]
    assert other.calls == [] and Counted.value.__doc__ == "A value."


def test_so_is_the_reason_why_there_is_none():
    one = Counted()
    for _ in range(2):
        with pytest.raises(ArgumentError, match="too short"):
            _ = one.nothing
    assert one.calls == ["nothing"]


def test_a_mistake_of_the_program_is_not():
    one = Counted()
    for _ in range(2):
        with pytest.raises(KeyError):
            _ = one.broken
    assert one.calls == ["broken", "broken"]
