"""Estimates that are made once: a property that keeps its value, or the error that says why there is none."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from eigenflow.core.errors import EigenflowError

__all__ = ["Estimate"]

T = TypeVar("T")


class Estimate(Generic[T]):
    """A property whose value is made when it is first asked for, and then kept.

    Where `functools.cached_property` would try again each time, an EigenflowError is kept too: what a run does not
    allow, it never will.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "Estimate[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        kept = instance.__dict__
        failed = f"_why_no_{self._name}"
        if failed in kept:
            raise kept[failed].with_traceback(None)
        try:
            value = self._make(instance)
        except EigenflowError as error:
            kept[failed] = error
            raise
        kept[self._name] = value  # from now on found before this descriptor, which has no __set__
        return value
