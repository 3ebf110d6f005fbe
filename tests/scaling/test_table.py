"""Reading tables of finished runs, and counts of parameters and compute."""

import numpy as np
import pandas as pd
import pytest

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.scaling.counts import TransformerShape
from eigenflow.scaling.table import make_table, read_scaling_table


@pytest.fixture
def frame():
    size = np.array([1e8, 2e8, 4e8, 8e8])
    tokens = 20 * size
    return pd.DataFrame(
        {"params": size, "train_tokens": tokens, "val_loss": [3.4, 3.1, 2.9, 2.7], "kind": ["a", "a", "b", "a"]}
    )


def write(frame, tmp_path, name="runs.csv"):
    path = tmp_path / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    return path


def test_columns_are_recognised_mapped_and_filtered(frame, tmp_path):
    table = read_scaling_table(write(frame, tmp_path))
    np.testing.assert_array_equal(table.size, frame.params)
    np.testing.assert_array_equal(table.flops, 6 * frame.params * frame.train_tokens)
    only = read_scaling_table(write(frame, tmp_path), where={"kind": "a"})
    np.testing.assert_array_equal(only.loss, [3.4, 3.1, 2.7])
    odd = frame.rename(columns={"val_loss": "wikitext"})
    assert len(read_scaling_table(write(odd, tmp_path), columns={"loss": "wikitext"})) == 4


def test_tokens_follow_from_compute_where_they_are_missing(frame, tmp_path):
    frame["budget"] = 6 * frame.params * frame.train_tokens
    table = read_scaling_table(write(frame.drop(columns="train_tokens"), tmp_path))
    np.testing.assert_allclose(table.tokens, frame.train_tokens, rtol=1e-14)


def test_counts_of_a_published_shape():
    """GPT-2 small: 12 layers of width 768, 50,257 tokens: 85 M without and 124 M with embeddings (without biases,
    norms and positions, which are under 1 %)."""
    shape = TransformerShape(layers=12, width=768, vocabulary=50_257, context=1024)
    assert shape.block_parameters == 12 * 12 * 768**2 == 84_934_656
    assert shape.parameters == pytest.approx(124e6, rel=0.01)
    # Attention over the context adds 12 layers * context * width; here 15 % of the total.
    assert shape.flops_per_token == 6 * shape.parameters + 12 * 12 * 1024 * 768
    assert shape.flops_per_token / (6 * shape.block_parameters) > 1.6  # 6 N D without embeddings is far off here


@pytest.mark.rejects
def test_bad_rows_are_named_with_file_and_row(frame, tmp_path):
    for column, value, error, words in (
        ("val_loss", np.nan, NonFiniteError, "row 4: `loss` is nan .1 such rows."),
        ("val_loss", np.inf, NonFiniteError, "row 4: `loss` is inf"),
        ("params", -1.0, ArgumentError, "row 4: `size` must be positive, but is -1"),
        ("train_tokens", 0.0, ArgumentError, "row 4: `tokens` must be positive"),
    ):
        bad = frame.copy()
        bad.loc[2, column] = value
        with pytest.raises(error, match=f"runs.csv, {words}"):
            read_scaling_table(write(bad, tmp_path))


@pytest.mark.rejects
def test_mixed_units_missing_columns_and_wrong_flops(frame, tmp_path):
    mixed = frame.copy()
    mixed.loc[1, "params"] = 200.0
    with pytest.raises(ArgumentError, match=r"row 3: `size` jumps from 200 to 1e\+08.*mixed units"):
        read_scaling_table(write(mixed, tmp_path))
    with pytest.raises(ArgumentError, match=r"found no column for loss. It has params, train_tokens, kind"):
        read_scaling_table(write(frame.drop(columns="val_loss"), tmp_path))
    with pytest.raises(ArgumentError, match=r"no row has kind = c. The column holds a, b"):
        read_scaling_table(write(frame, tmp_path), where={"kind": "c"})
    with pytest.raises(ArgumentError, match="`columns` maps loss to 'lost'"):
        read_scaling_table(write(frame, tmp_path), columns={"loss": "lost"})
    frame["flops"] = 6 * frame.params * frame.train_tokens
    frame.loc[3, "flops"] = -7e18  # what an overflowed 64-bit integer looks like
    with pytest.raises(ArgumentError, match=r"row 5: flops = -7e\+18.*overflowed"):
        read_scaling_table(write(frame, tmp_path))
    with pytest.raises(ArgumentError, match="no file"):
        read_scaling_table(tmp_path / "none.csv")
    with pytest.raises(ArgumentError, match="at least 3 runs, but has 2"):
        make_table([1e8, 2e8], [1e9, 2e9], [3.0, 2.9])
    with pytest.raises(ArgumentError, match="one length"):
        make_table([1e8, 2e8], [1e9], [3.0, 2.9])


@pytest.mark.parametrize("key", ["size", "params", "n_params", "N", "n"])
def test_a_quantity_is_mapped_under_any_name_by_which_it_is_recognised(frame, tmp_path, key):
    path = write(frame.rename(columns={"params": "breadth"}), tmp_path)
    np.testing.assert_array_equal(read_scaling_table(path, columns={key: "breadth"}).size, frame.params)


@pytest.mark.rejects
def test_a_quantity_that_is_none_is_refused_with_the_list(frame, tmp_path):
    with pytest.raises(ArgumentError, match=r"'lss', which is no quantity.*size \(.*params.*loss \(.*unique_tokens"):
        read_scaling_table(write(frame, tmp_path), columns={"lss": "val_loss"})
    with pytest.raises(ArgumentError, match=r"'size' and 'params'.*both are the size"):
        read_scaling_table(write(frame, tmp_path), columns={"size": "params", "params": "params"})


@pytest.mark.rejects
def test_all_missing_columns_are_named_and_the_example_maps_all_of_them(frame, tmp_path):
    """The example is taken from the table's own columns, and works as it stands."""
    odd = frame.rename(columns={"params": "n_params", "val_loss": "wiki_nll", "train_tokens": "Dtok"})
    path = write(odd[["kind", "n_params", "Dtok", "wiki_nll"]], tmp_path)
    with pytest.raises(ArgumentError, match=r"no column for loss and tokens \(or flops\)") as error:
        read_scaling_table(path)
    assert "columns={'loss': 'wiki_nll', 'tokens': 'Dtok'} (--column loss=wiki_nll --column tokens=Dtok)" in str(
        error.value
    )
    table = read_scaling_table(path, columns={"loss": "wiki_nll", "tokens": "Dtok"})
    np.testing.assert_array_equal(table.tokens, frame.train_tokens)
