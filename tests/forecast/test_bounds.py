"""Files that ask for much: each is refused by its limit, before the memory or the time is spent."""

import gzip
import json
import os
import sys
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, LimitError
from eigenflow.core.reading import parse_json, read_bytes
from eigenflow.forecast import load_study, read_schedules
from eigenflow.forecast.reading.judging import units
from eigenflow.scaling.table import read_scaling_table
from forecast.logs import SCHEDULES, csv_of, rows, study

READERS = {
    "curves": (ef.read_curves, ".csv"),
    "schedules": (read_schedules, ".json"),
    "study": (load_study, ".json"),
    "table": (read_scaling_table, ".csv"),
}


@pytest.mark.rejects
@pytest.mark.parametrize("reader", READERS)
def test_only_files_on_a_disk_are_read(tmp_path, reader):
    """A pipe would wait for ever, /dev/zero never ends."""
    read, ending = READERS[reader]
    os.mkfifo(tmp_path / f"pipe{ending}")
    (tmp_path / f"zero{ending}").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(ArgumentError, match=f"{name}{ending}|no file"):
            read(tmp_path / f"{name}{ending}")


@pytest.mark.rejects
def test_a_file_is_bounded_after_it_is_unpacked(tmp_path):
    for name, content in (("b.csv.gz", gzip.compress(b"step,loss\n" + b"0" * 2**22)), ("b.csv", b"x" * 2**21)):
        (tmp_path / name).write_bytes(content)
        with ef.limits(file_bytes=2**20), pytest.raises(LimitError, match=r"1,048,576.*--limit file_bytes"):
            ef.read_curves(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", b"0" * 2**22)
    with ef.limits(file_bytes=2**20), pytest.raises(LimitError, match="unpacked"):
        read_scaling_table(tmp_path / "t.csv.zip")


@pytest.mark.rejects
@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zip"])
def test_damaged_archives_are_refused(tmp_path, ending):
    import bz2
    import lzma

    packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zip": lambda data: b"PK\x03\x04" + data}
    content = packed[ending](os.urandom(5000))
    path = tmp_path / f"a.csv.{ending}"
    for broken in (content[: len(content) // 2], b"", content[::-1], content[:-9] + b"123456789"):
        path.write_bytes(broken)
        with pytest.raises(ArgumentError, match=r"cannot be unpacked|is not text|not text in UTF-8|No columns"):
            read_scaling_table(path)


def test_archives_hold_what_was_packed(tmp_path):
    text = b"a,b\n1,2\n" * 1000
    (tmp_path / "a.gz").write_bytes(gzip.compress(text[:4000]) + gzip.compress(text[4000:]))
    assert read_bytes(tmp_path / "a.gz") == text
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", text)
    assert read_bytes(tmp_path / "a.zip") == text


@pytest.mark.rejects
def test_depth_is_counted_outside_of_strings():
    with ef.limits(depth=3):
        assert parse_json('{"a": [["[[[[", "\\"[[["]]}', "x") == {"a": [["[[[[", '"[[[']]}
        with pytest.raises(LimitError, match="asks for 4 levels"):
            parse_json('{"a": [[[1]]]}', "x")
    with pytest.raises(LimitError, match="100,000 levels"):
        parse_json("[" * 100_000, "x")
    with ef.limits(depth=10**6), pytest.raises(ArgumentError, match=r"too deeply|not JSON"):
        parse_json("[" * (50 * sys.getrecursionlimit()), "x")


@pytest.mark.rejects
def test_tokens_in_the_step_column_say_how_to_read_them(tmp_path):
    frame = rows("cosine").drop(columns=["curve", "model_size_M", "role"])
    path = csv_of(frame.assign(step=frame["step"] * 1_000_000), tmp_path)
    with pytest.raises(LimitError, match=r"look like tokens.*columns=\{'tokens'.*tokens_per_step"):
        ef.read_curves(path)
    again = ef.read_curves(path, columns={"tokens": "step"}, tokens_per_step=1_000_000)
    np.testing.assert_array_equal(again[0].steps, frame["step"])


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("limit", "frame"),
    [("curves", study()), ("steps", rows("cosine")), ("total_steps", study()), ("rows", study())],
)
def test_limits_of_tables(tmp_path, limit, frame):
    lowered = {"curves": 5, "steps": 2000, "total_steps": 8000, "rows": 50}
    with ef.limits(**{limit: lowered[limit]}), pytest.raises(LimitError, match=f"--limit {limit}"):
        ef.read_curves(csv_of(frame, tmp_path))


@pytest.mark.rejects
def test_few_bytes_do_not_become_many_cells(tmp_path):
    """Short rows below a long header, keys that every row has for itself, metrics that every row has for itself."""
    (tmp_path / "a.csv").write_text(",".join(f"c{k}" for k in range(2000)) + "\n" + "1\n" * 2000)
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({f"k{k}": 1}) for k in range(2000)))
    pd.DataFrame({"metric": [f"m{k}" for k in range(2000)], "value": 1.0, "step": 1}).to_csv(tmp_path / "c.csv")
    for name in ("a.csv", "b.jsonl", "c.csv"):
        with ef.limits(table_cells=10**6), pytest.raises(LimitError, match=r"2,00[01] .*--limit table_cells"):
            ef.read_curves(tmp_path / name)


@pytest.mark.rejects
def test_a_parquet_file_is_bounded_by_its_rows_and_by_what_it_unpacks_to(tmp_path):
    path = tmp_path / "a.parquet"
    study().to_parquet(path)
    with ef.limits(rows=50), pytest.raises(LimitError, match="--limit rows"):
        ef.read_curves(path)
    # A long text that is repeated is stored once: a gigabyte in a few kilobytes.
    names = pa.DictionaryArray.from_arrays(np.zeros(20_000, dtype=np.int32), ["x" * 50_000])
    pq.write_table(pa.table({"step": np.arange(20_000), "loss": np.ones(20_000), "curve": names}), path)
    assert path.stat().st_size < 10**6
    with ef.limits(file_bytes=2**22), pytest.raises(LimitError, match="unpacked"):
        ef.read_curves(path, schedules="constant")


@pytest.mark.long
def test_work_on_many_curves_grows_with_their_number(monkeypatch):
    """Pairs of curves that are compared, counted; every pair would be four times as many for twice the curves."""
    compared = []
    monkeypatch.setattr(units, "_refuse_losses", lambda first, second: compared.append((first, second)))
    counts = {}
    steps = np.arange(50, 501, 50)
    for many in (80, 160):
        compared.clear()
        frames = [
            pd.DataFrame({"curve": f"r{k}", "step": steps, "loss": (2 + k / many) * steps**-0.1, "lr": 1e-3})
            for k in range(many)
        ]
        ef.read_curves(pd.concat(frames))
        counts[many] = len(compared)
    assert counts[160] == pytest.approx(2 * counts[80], rel=0.1)


@pytest.mark.rejects
def test_mixed_units_are_found_among_many_curves():
    """One curve in bits among a hundred in nats, as in a set of few curves, of which every pair is compared."""
    steps = np.arange(50, 501, 50)
    frames = [
        pd.DataFrame({"curve": f"r{k}", "step": steps, "loss": (2 + k / 2000) * steps**-0.1, "lr": 1e-3})
        for k in range(100)
    ]
    frames[37]["loss"] /= np.log(2)
    with pytest.raises(ArgumentError, match=r"'r37'.*units of the loss are mixed|units of the loss are mixed.*'r37'"):
        ef.read_curves(pd.concat(frames))


def test_shared_beginnings_are_those_that_comparing_all_pairs_finds():
    rng = np.random.default_rng(3)
    steps = np.arange(10, 201, 10)
    trunk = 3.0 * steps**-0.1
    lengths = [0, 3, 5, 8, 8, 20, 12, 12]
    losses = []
    for k, length in enumerate(lengths):
        source = losses[2] if k in (6, 7) else trunk
        losses.append(np.concatenate([source[:length], trunk[length:] * (1 + 0.01 * rng.random(20 - length))]))
    frame = pd.concat(
        [pd.DataFrame({"curve": f"r{k}", "step": steps, "loss": one, "lr": 1e-3}) for k, one in enumerate(losses)]
    )
    curves = ef.read_curves(frame)
    for k, one in enumerate(curves):
        best, owner = 0, ""
        for other in list(curves)[:k]:
            same = (other.losses == one.losses).cumprod().sum()
            if same >= 5 and same > best:
                best, owner = int(same), other.name
        assert one.branch == (steps[best - 1] if best else 0)
        assert not owner or any(repr(owner) in line for line in one.changes)


def test_schedules_serve_as_before():
    assert len(ef.read_curves(study(), schedules=SCHEDULES)) == 6
