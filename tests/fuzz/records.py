"""Event files of TensorBoard, record by record: `length, checksum, data, checksum`."""

import struct
from collections.abc import Iterable

import numpy as np

__all__ = ["mutated_records", "to_records"]


def to_records(events: Iterable[bytes]) -> bytes:
    """Put serialised events into a file's form."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    parts = []
    for data in events:
        length = struct.pack("<Q", len(data))
        sums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
        parts += [length, sums[0], data, sums[1]]
    return b"".join(parts)


def mutated_records(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a record's data under a right checksum, its length, or the order of records."""
    records = _from_records(content)
    kind, at = int(rng.integers(7)), int(rng.integers(len(records)))
    if kind <= 2 and records[at]:
        data = bytearray(records[at])
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        records[at] = bytes(data)
    elif kind == 3:
        records[at] = records[at][: int(rng.integers(len(records[at]) + 1))]
    elif kind == 4:
        records.insert(at, records[int(rng.integers(len(records)))])
    elif kind == 5:
        del records[at]
    else:
        start = len(to_records(records[:at]))
        whole = bytearray(to_records(records))
        whole[start : start + 8] = struct.pack("<Q", int(rng.choice([0, 1, 2**31, 2**40, 2**63 - 1])))
        return bytes(whole)
    return to_records(records)


def _from_records(content: bytes) -> list[bytes]:
    records, at = [], 0
    while at + 16 <= len(content):
        (length,) = struct.unpack("<Q", content[at : at + 8])
        records.append(content[at + 12 : at + 12 + length])
        at += 16 + length
    return records
