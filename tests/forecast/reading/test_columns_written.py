"""Cells that are written in another way than as plain numbers: read where it is clear what they mean, else refused."""

import numpy as np
import pytest

from eigenflow import read_curves
from eigenflow.core.errors import ArgumentError
from forecast.reading_tables import STEPS, loss_at, one_run, write_csv

LOSSES = [f"{loss:.3f}" for loss in loss_at(STEPS)]
PLAIN = np.array([float(loss) for loss in LOSSES])


def table(steps=None, losses=None, rates=None):
    """Quoted cells of text."""
    steps, losses = steps or [str(step) for step in STEPS], losses or LOSSES
    rates = rates or ["0.001"] * len(losses)
    rows = [f'"{s}","{loss}","{r}"' for s, loss, r in zip(steps, losses, rates, strict=True)]
    return "\n".join(["step,loss,lr", *rows])


def commas(cells):
    return [cell.replace(".", ",") for cell in cells]


CLEAR = {
    "percent": (table(rates=["0.1%"] * 20), "'lr' is in percent"),
    "thousands": (table(steps=[f"{step * 50:,}" for step in STEPS]), "'step' has commas for thousands"),
    "gaps": (
        table(steps=[f"{step * 50:,}".replace(",", " ") for step in STEPS]),
        "'step' has marks of thousands",
    ),
    "underscores": (table(steps=[f"{step * 50:_}" for step in STEPS]), "'step' has marks of thousands"),
    "decimal commas": (table(losses=commas(LOSSES), rates=["0,001"] * 20), "'loss' has decimal commas"),
    "a unit": (table(losses=[f"{loss} nats" for loss in LOSSES]), "'loss' has its unit 'nats'"),
    "exponents": (table(losses=[f"{float(loss):.3e}" for loss in LOSSES], rates=["1.0E-03"] * 20), ""),
    "of a total": (table(steps=[f"{step}/5000" for step in STEPS]), "'step' counts as 'step/total'"),
}


@pytest.mark.parametrize("kind", CLEAR)
def test_clear_writing_is_read_and_said(kind, tmp_path):
    text, note = CLEAR[kind]
    found = read_curves(write_csv(tmp_path, text), warmup=0)
    factor = 50 if kind in {"thousands", "gaps", "underscores"} else 1
    np.testing.assert_array_equal(found[0].steps, factor * STEPS)
    np.testing.assert_allclose(found[0].losses, PLAIN, rtol=1e-12)
    np.testing.assert_allclose(found[0].schedule.rates, 1e-3, rtol=1e-12)
    assert any(note in line for line in found.notes)


def test_steps_in_thousands_and_sizes_in_millions(tmp_path):
    text = "params,step,loss,lr\n" + "".join(
        f"25M,{step / 1000:g}k,{loss},0.001\n" for step, loss in zip(STEPS, LOSSES, strict=True)
    )
    found = read_curves(write_csv(tmp_path, text), warmup=0)
    np.testing.assert_array_equal(found[0].steps, STEPS)
    assert found[0].size == 25e6


def test_the_total_beside_the_step_is_the_planned_length(tmp_path):
    found = read_curves(write_csv(tmp_path, CLEAR["of a total"][0]), warmup=0)
    assert found[0].planned_total == 5000


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table(losses=commas(LOSSES), rates=["1"] * 20), r"row 2: '4,535' may be 4\.535 or 4535"),
        (table(losses=["1,234.5", "2,34", *LOSSES[2:]]), r"comma for decimals in row 3.*thousands in row 2"),
        (table(losses=["4.5%", *LOSSES[1:]]), r"row 2: 'loss' must be a number, but is '4\.5%'"),
        (table(losses=[f"{loss} bits" for loss in LOSSES]), r"row 2: 'loss' must be a number, but is '4\.535 bits'"),
        (table(losses=["True"] * 20), r"row 2: 'loss' must be a number, but is 'True'"),
        (table(losses=["3 nats", "3 mats", *LOSSES[2:]]), r"row 2: 'loss' must be a number"),
    ],
    ids=["either comma", "both commas", "some percent", "bits", "truth", "two units"],
)
def test_unclear_writing_is_refused_with_its_row(text, message, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        read_curves(write_csv(tmp_path, text), warmup=0)


@pytest.mark.rejects
def test_truth_values_are_no_losses():
    with pytest.raises(ArgumentError, match="'loss' must hold numbers, but holds bool"):
        read_curves(one_run(loss=True), warmup=0)


@pytest.mark.parametrize("word", ["null", "None", "N/A", "-", "<NA>"])
def test_words_for_nothing_are_empty_cells(word, tmp_path):
    losses = [*LOSSES[:5], word, *LOSSES[6:]]
    found = read_curves(write_csv(tmp_path, table(losses=losses)), warmup=0)
    assert len(found[0]) == 19 and STEPS[5] not in found[0].steps
