"""Parquet tables, read piece by piece, so that what they claim and what they unpack to stays within the limits."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.core.limits import within
from eigenflow.core.reading import require_regular

__all__ = ["read_parquet"]

_PIECE = 8192


def read_parquet(path: Path) -> pd.DataFrame:
    """Read the columns of a Parquet file that hold numbers, times, text or truth values; others cannot be of use here.

    Raises:
        ArgumentError: If it is no Parquet file, or damaged, or pyarrow is not installed.
        LimitError: If it is too large.
    """
    require_regular(path)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ArgumentError(
            f"{path}: Parquet needs pyarrow, which is not installed. Install it with: pip install -c constraints.txt "
            f"'eigenflow[logs]'"
        ) from None
    try:
        return _read(path, pa, pq)
    except (EigenflowError, KeyboardInterrupt):
        raise
    except Exception as error:  # pyarrow has some ten kinds for one damaged file
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ArgumentError(f"{path} is not a Parquet file, or is damaged: {reason}.") from None


def _read(path: Path, pa: Any, pq: Any) -> pd.DataFrame:
    schema = pq.ParquetFile(path).schema_arrow
    names = [str(field.name) for field in schema]
    doubled = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if doubled:
        raise ArgumentError(f"{path}: two columns are called {doubled[0]!r}. Rename or remove one.")
    # A column of text is read as it is stored, each text once, until it is known how large it is unpacked.
    texts = [field.name for field in schema if _is_text(field.type, pa)]
    file = pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False)
    kept = [field.name for field in schema if _is_text(field.type, pa) or _is_plain(field.type, pa)]
    within("rows", file.metadata.num_rows, f"{path}")
    within("table_cells", file.metadata.num_rows * len(kept), f"{path}, with {len(kept):,} columns,")
    pieces, rows, size = [], 0, 0
    for piece in file.iter_batches(batch_size=_PIECE, columns=kept, use_threads=False):
        rows, size = rows + piece.num_rows, size + _unpacked(piece, pa)
        within("rows", rows, f"{path}")
        within("file_bytes", size, f"{path}, unpacked,")
        pieces.append(piece)
    table = pa.Table.from_batches(pieces) if pieces else schema.empty_table().select(kept)
    # Notes that pandas left in the file name an index; without them it is a column, as one without a name need not be.
    frame = table.to_pandas(ignore_metadata=True, use_threads=False)
    return frame[[name for name in frame.columns if not str(name).startswith("__index_level_")]]


def _unpacked(piece: Any, pa: Any) -> int:
    """Bytes of a piece with every text written out."""
    compute: Any = import_module("pyarrow.compute")  # its functions are made when it is loaded
    size = piece.nbytes
    for column in piece.columns:
        if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type, pa):
            size += compute.sum(compute.binary_length(column.dictionary).take(column.indices)).as_py() or 0
    return size


def _is_text(kind: Any, pa: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_plain(kind: Any, pa: Any) -> bool:
    types = pa.types
    return (
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_temporal(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
        or types.is_dictionary(kind)
        or types.is_string_view(kind)
    )
