"""Broken inputs: files changed by what they are made of (cells, trees, columns, records), and byte by byte.

Every choice comes from the generator that is given, so an input can be made again.
"""

import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from fuzz.records import mutated_records

__all__ = ["ODD_TEXTS", "ODD_VALUES", "Files", "mutated", "mutated_tree"]

# Content by relative path; None is a folder.
Files = dict[str, bytes | None]
Rng = np.random.Generator

# What has grown beyond this (a bomb) is changed byte by byte.
LARGE = 2**20

# Numbers at the edges of what types hold, and what is no number.
ODD_TEXTS = (
    "", " ", "0", "-1", "0.5", "1e-320", "1e308", "1e400", "-1e308", "nan", "NaN", "inf", "-inf", "Infinity", "null",
    "None", "true", "9999999999999999999", "-9999999999999999999", "9223372036854775807", "9223372036854775808", "1e18",
    "4294967296", "1_000", "0x10", "1,5", "١٢", "text", "\x1b[31mred\x1b[0m", "$t^$", "<b>x</b>", "a\nb", "'", '"',
    "\x00", "=1+1", "../../x", "1e5", "3e-4", "100000000000", "é" * 40, "[1, 2]", "{}", "1970-01-01",
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 1e308, -1e308, 1e-320, float("nan"), float("inf"), float("-inf"), 10**18, 2**63,
    -(2**63), 10**25, "", "text", "nan", "1e400", "\x1b[31mred", "$t^$", "a\nb", [], {}, [1], [[1]], [None], ["a"],
    {"a": 1}, {"kind": "table"}, [float("nan")], 3, 100, 7.0, 1e10, "100",
)  # fmt: skip


def mutated(files: Files, target: str, rng: Rng) -> Files:
    """Change one to three things in the files of an input."""
    found = dict(files)
    for _ in range(1 + min(int(rng.geometric(0.6)) - 1, 2)):
        names = sorted(name for name, content in found.items() if content is not None)
        if not names:
            break
        name = names[int(rng.integers(len(names)))]
        if rng.random() < 0.04:
            _change_folder(found, name, rng)
            continue
        content = found[name]
        assert content is not None
        found[name] = _changed(name, content, rng)
    return found


def _change_folder(files: Files, name: str, rng: Rng) -> None:
    """A file is missing, empty, a folder, or holds what another one should."""
    kind = int(rng.integers(4))
    if kind == 0 and len(files) > 1:
        del files[name]
    elif kind == 1:
        files[name] = b""
    elif kind == 2:
        files[name] = None
    else:
        others = [content for content in files.values() if content]
        files[name] = others[int(rng.integers(len(others)))] if others else b"\x00\xff"


def _changed(name: str, content: bytes, rng: Rng) -> bytes:
    by_bytes = rng.random() < 0.3
    kind = _kind(name)
    if by_bytes or kind is None or len(content) > LARGE:
        return mutated_bytes(content, rng)
    try:
        return kind(content, rng)
    except Exception:  # broken already by a change before: every parser has its own words
        return mutated_bytes(content, rng)


def _kind(name: str) -> Callable[[bytes, Rng], bytes] | None:
    base = name.rpartition("/")[2].lower()
    ending = base.rpartition(".")[2]
    if "tfevents" in base:
        return mutated_records
    if ending == "gz":
        return lambda content, rng: _mutated_gzip(base.removesuffix(".gz"), content, rng)
    kinds: dict[str, Callable[[bytes, Rng], bytes]] = {
        "csv": lambda content, rng: _mutated_cells(content, ",", rng),
        "tsv": lambda content, rng: _mutated_cells(content, "\t", rng),
        "json": _mutated_json,
        "jsonl": _mutated_json_lines,
        "ndjson": _mutated_json_lines,
        "parquet": _mutated_parquet,
        "toml": _mutated_toml,
    }
    return kinds.get(ending) or (lambda content, rng: _mutated_cells(content, " ", rng))


def mutated_bytes(content: bytes, rng: Rng) -> bytes:
    """Flips, cuts, splices, and what no text holds."""
    data = bytearray(content)
    kind = int(rng.integers(7))
    at = int(rng.integers(len(data) + 1))
    if kind == 0 and data:
        for _ in range(int(rng.integers(1, 5))):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + int(rng.integers(1, 40))]
    elif kind == 3:
        start = int(rng.integers(len(data) + 1))
        data[at:at] = data[start : start + int(rng.integers(1, 200))]
    elif kind == 4:
        data[at:at] = _pick(
            (b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"[" * 5000, b"{", b"\x80\x81"), rng
        )
    elif kind == 5:
        data[at:at] = bytes(rng.integers(0, 256, size=int(rng.integers(1, 30)), dtype=np.uint8))
    else:
        data[at : at + 8] = _pick(ODD_TEXTS, rng).encode()
    return bytes(data)


def _mutated_cells(content: bytes, separator: str, rng: Rng) -> bytes:
    rows = [line.split(separator) for line in content.decode("utf-8").split("\n")]
    kind, at = int(rng.integers(12)), int(rng.integers(len(rows)))
    column = int(rng.integers(max(len(rows[0]), 1)))
    if kind <= 3:
        rows[at][min(column, len(rows[at]) - 1)] = _pick(ODD_TEXTS, rng)
    elif kind == 4:
        rows[at] = rows[at][:column]
    elif kind == 5:
        rows = [[cell for k, cell in enumerate(row) if k != column] for row in rows]
    elif kind == 6:
        rows = [[*row, row[min(column, len(row) - 1)]] for row in rows]
    elif kind == 7:
        other = int(rng.integers(len(rows)))
        rows[at], rows[other] = rows[other], rows[at]
    elif kind == 8:
        rows[at:at] = [list(rows[int(rng.integers(len(rows)))]) for _ in range(int(rng.integers(1, 4)))]
    elif kind == 9:
        del rows[at : at + int(rng.integers(1, len(rows) + 1))]
    elif kind == 10:
        rows[0][column] = _pick((*ODD_TEXTS, "step", "loss", "lr", "tokens", "curve", "size", "batch", "unit"), rng)
    else:
        text = _pick(ODD_TEXTS, rng)
        rows[1:] = [[text if k == column else cell for k, cell in enumerate(row)] for row in rows[1:]]
    return "\n".join(separator.join(row) for row in rows).encode()


def _mutated_json(content: bytes, rng: Rng) -> bytes:
    if rng.random() < 0.02:
        depth = int(rng.integers(10, 30000))
        return b"[" * depth + b"]" * depth
    return json.dumps(mutated_tree(json.loads(content), rng)).encode()


def _mutated_json_lines(content: bytes, rng: Rng) -> bytes:
    lines = content.split(b"\n")
    kind, at = int(rng.integers(8)), int(rng.integers(len(lines)))
    if kind <= 4:
        lines[at] = _mutated_json(lines[at], rng)
    elif kind == 5:
        del lines[at : at + int(rng.integers(1, len(lines) + 1))]
    elif kind == 6:
        lines[at:at] = [lines[int(rng.integers(len(lines)))]] * int(rng.integers(1, 4))
    else:
        lines[at] = lines[at][: int(rng.integers(len(lines[at]) + 1))]
    return b"\n".join(lines)


def mutated_tree(tree: Any, rng: Rng) -> Any:
    """Change one node of a tree of JSON values."""
    holders: list[tuple[Any, Any]] = []
    _collect(tree, holders)
    if not holders:
        return _pick(ODD_VALUES, rng)
    # Long lists of numbers hold most nodes: the levels above get half of the changes.
    short = [one for one in holders if len(one[0]) < 30]
    holder, key = _pick(short if short and rng.random() < 0.5 else holders, rng)
    kind = int(rng.integers(10))
    if kind <= 4:
        holder[key] = _pick(ODD_VALUES, rng)
    elif kind == 5:
        del holder[key]
    elif kind == 6:
        other, place = _pick(holders, rng)
        holder[key] = json.loads(json.dumps(other[place]))
    elif kind == 7:
        holder[key] = [holder[key]]
    elif kind == 8 and isinstance(holder, dict):
        holder[_pick(ODD_TEXTS, rng)] = holder.pop(key)
    elif kind == 8:
        holder.insert(key, holder[key])
    elif isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = holder[key] * _pick((-1, 0, 1e-3, 1e3, 1e12, 0.999), rng)
    elif isinstance(holder[key], list):
        holder[key] = holder[key][: int(rng.integers(len(holder[key]) + 1))]
    else:
        for _ in range(int(rng.integers(1, 200))):
            holder[key] = {"a": holder[key]}
    return tree


def _collect(tree: Any, holders: list[tuple[Any, Any]]) -> None:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        holders.append((tree, key))
        _collect(value, holders)


def _mutated_toml(content: bytes, rng: Rng) -> bytes:
    lines = content.decode("utf-8").split("\n")
    kind, at = int(rng.integers(8)), int(rng.integers(len(lines)))
    key, equals, _ = lines[at].partition("=")
    if kind <= 3 and equals:
        lines[at] = f"{key}= {_toml_value(rng)}"
    elif kind == 4:
        del lines[at]
    elif kind == 5:
        lines.insert(at, lines[int(rng.integers(len(lines)))])
    elif kind == 6 and equals:
        lines[at] = f"{_pick(('x', 'steps', 'name', 'a.b', ''), rng)} ={lines[at].partition('=')[2]}"
    else:
        other = int(rng.integers(len(lines)))
        lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines).encode()


def _toml_value(rng: Rng) -> str:
    value = _pick(ODD_VALUES, rng)
    if rng.random() < 0.05:
        depth = int(rng.integers(10, 3000))
        return "[" * depth + "]" * depth
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value) if value is not None else _pick(ODD_TEXTS, rng)


def _mutated_gzip(name: str, content: bytes, rng: Rng) -> bytes:
    inner = gzip.decompress(content)
    kind = int(rng.integers(20))
    if kind == 0:
        return gzip.compress(gzip.compress(inner, mtime=0), mtime=0)
    if kind == 1:
        return gzip.compress(inner + b"\n" * 2**24, mtime=0)
    if kind == 2:
        return content + gzip.compress(inner, mtime=0)
    if kind == 3:
        return inner
    return gzip.compress(_changed(name, inner, rng), mtime=0)


def _mutated_parquet(content: bytes, rng: Rng) -> bytes:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    names = list(table.column_names)
    at, kind = int(rng.integers(len(names))), int(rng.integers(7))
    if kind <= 3:
        table = table.set_column(at, names[at], _odd_column(table.column(at), rng))
    elif kind == 4:
        names[at] = _pick((*ODD_TEXTS, "step", "loss", "lr", "curve"), rng)
        table = table.rename_columns(names)
    elif kind == 5:
        table = table.slice(0, int(rng.integers(0, 4)))
    else:
        table = table.remove_column(at)
    if rng.random() < 0.2:
        table = table.replace_schema_metadata({b"pandas": _pick((b"{", b"{}", b'{"index_columns": [1]}'), rng)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _odd_column(column: Any, rng: Rng) -> Any:
    import pyarrow as pa

    values = column.to_pylist()
    count = len(values)
    kind = int(rng.integers(9))
    at = int(rng.integers(count))
    if kind <= 2:
        values[at] = _pick((None, float("nan"), float("inf"), -1.0, 1e308, 1e19, 0.0), rng)
        return pa.array([float(one) if isinstance(one, int) else one for one in values])
    if kind == 3:
        return pa.array([str(one) for one in values])
    columns = (
        [bool(k % 2) for k in range(count)],
        [[1.0, 2.0]] * count,
        [{"a": 1}] * count,
        [b"\xff"] * count,
        [None] * count,
    )
    return pa.array(columns[kind - 4])


def _pick(options: Any, rng: Rng) -> Any:
    return options[int(rng.integers(len(options)))]
