"""What `zarr.json` files say, as zarr 3 writes them.

zarr itself takes milliseconds for each array, and a record has seventy. The tests hold every file against zarr's own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eigenflow.store.chunks import LEVEL
from eigenflow.store.folder import read_json, write_json
from eigenflow.store.schema import STEP, Variable

__all__ = ["GROUP_METADATA", "describe_array", "describe_group", "gather", "scatter"]

GROUP_METADATA = "zarr.json"
GATHERED = "consolidated_metadata"


def describe_group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a group."""
    return {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}


def describe_array(name: str, variable: Variable, length: int | None) -> dict[str, Any]:
    """The metadata of an array with one chunk a step, or of a constant in one chunk.

    Args:
        name: Of the array.
        variable: Its axes, type and meaning.
        length: Along `step`; None for a constant.
    """
    shape, dtype = list(variable.values.shape), variable.values.dtype
    chunk = [max(1, size) for size in shape]
    # Types of one byte have no byte order.
    order = {"configuration": {"endian": "little"}} if dtype.itemsize > 1 else {}
    return {
        "shape": shape if length is None else [length, *shape],
        "data_type": dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": chunk if length is None else [1, *chunk]},
        },
        # One folder level: a folder for each chunk would double the cost of an append.
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": _fill_value(name, dtype),
        "codecs": [
            {"name": "bytes", **order},
            {"name": "zstd", "configuration": {"level": LEVEL, "checksum": True}},
        ],
        "attributes": {
            "units": variable.units,
            "long_name": variable.long_name,
            "label_dependent": variable.label_dependent,
        },
        "dimension_names": list(variable.dims) if length is None else [STEP, *variable.dims],
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _fill_value(name: str, dtype: np.dtype[Any]) -> Any:
    """What stands where nothing was measured: no number that could be taken for one."""
    if name == STEP:
        return -1
    return {"f": "NaN", "b": False}.get(dtype.kind, 0)


def gather(group: Path, names: tuple[str, ...]) -> None:
    """Put the metadata of all arrays into the group's, so that other readers open one file and not one an array."""
    told = {name: read_json(group / name / GROUP_METADATA) for name in sorted(names)}
    metadata = read_json(group / GROUP_METADATA)
    metadata[GATHERED] = {"kind": "inline", "must_understand": False, "metadata": told}
    write_json(group / GROUP_METADATA, metadata)


def scatter(group: Path) -> None:
    """Take it out again: once an array grows it would be wrong, and zarr would believe it."""
    metadata = read_json(group / GROUP_METADATA)
    if metadata.pop(GATHERED, None) is not None:
        write_json(group / GROUP_METADATA, metadata)
