"""The handwritten digits that scikit-learn carries."""

import importlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

__all__ = ["load_digits"]

TABLE = Path("datasets") / "data" / "digits.csv.gz"


@lru_cache(maxsize=1)
def load_digits() -> tuple[Float[np.ndarray, "digit pixel"], Int[np.ndarray, " digit"]]:
    """Grey values from 0 to 16 of 1797 pictures of 8 x 8 pixels, and what they show, as of `sklearn.datasets`.

    The table is read without importing scikit-learn, which takes two seconds.
    """
    found = find_spec("sklearn")
    place = Path(found.origin).parent / TABLE if found is not None and found.origin else None
    if place is None or not place.is_file():
        pixels, labels = importlib.import_module("sklearn.datasets").load_digits(return_X_y=True)
        return np.ascontiguousarray(pixels, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    table = np.loadtxt(place, delimiter=",")
    return table[:, :-1].copy(), table[:, -1].astype(np.int64)
