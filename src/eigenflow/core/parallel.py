"""Many independent calls, on the engine that the user has chosen in joblib.

`with joblib.parallel_config("loky", n_jobs=8):` around a call of this package puts its fits on eight processes; "ray",
"dask" and every other backend that was registered are taken in the same way. Neither a backend nor a number of jobs is
chosen here, so without such a line calls are made one after another, in this process.
"""

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["map_calls"]

ItemT = TypeVar("ItemT")
FoundT = TypeVar("FoundT")


def map_calls(function: Callable[[ItemT], FoundT], items: Iterable[ItemT]) -> list[FoundT]:
    """Call a function for every item.

    Args:
        function: What it returns must follow from the item alone. A closure is allowed: joblib sends it as a whole.
        items: Taken one by one, as there is room for them.

    Returns:
        What came of the items, in their order, whatever the engine.
    """
    # Who has chosen an engine has imported joblib; and it is no dependency of the reading side.
    joblib = sys.modules.get("joblib")
    if joblib is None:
        return [function(item) for item in items]
    return list(joblib.Parallel()(joblib.delayed(function)(item) for item in items))
