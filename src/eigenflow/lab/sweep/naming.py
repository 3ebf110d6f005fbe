"""Names of runs, made from their swept values alone: the same values have the same name, whatever else is swept."""

import hashlib
from collections.abc import Mapping

__all__ = ["run_name", "value_text"]

LONGEST = 90  # bytes, of the 100 that a name may have
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+")


def run_name(values: Mapping[str, object]) -> str:
    """A name such as "model.width=64,train.learning_rate=0.5,repeat=0".

    Args:
        values: Swept keys and their values as the checked configuration holds them, so that 1 and 1.0 are one where
            they mean the same; in their order.

    Returns:
        A plain folder name of at most 90 bytes. Longer ones are cut and end with a sum of the whole.
    """
    name = ",".join(f"{key}={value_text(value)}" for key, value in values.items())
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: LONGEST - len(digest) - 1]}~{digest}"


def value_text(value: object) -> str:
    """A value as part of a name; what could not stand in one is a sum of it."""
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, float) else str(value)
    return text if text and set(text) <= _PLAIN else hashlib.sha256(text.encode()).hexdigest()[:12]
