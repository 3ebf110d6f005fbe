"""What is no loss is refused by its name, its neighbours or its values; what is nearly one gets a caution."""

import json

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.columns.quantities import quantity_of

STEPS = np.arange(10, 810, 10)
LOSSES = 2.0 + 3.0 * STEPS**-0.3


def log(loss="loss", values=LOSSES, **more):
    return pd.DataFrame({"step": STEPS, loss: values, "lr": 1e-3, **more})


def read(frame, loss="loss", **options):
    return ef.read_curves(frame, columns={"loss": loss}, **options)


@pytest.mark.rejects
@pytest.mark.parametrize(
    "name",
    ["accuracy", "val/acc", "evalAccuracy", "metrics/mAP50(B)", "bleu", "rouge_l", "f1", "auroc", "top1", "PSNR", "em"],
)
def test_scores_are_refused_by_their_names(name):
    with pytest.raises(ArgumentError, match=r"of which the values rise: this is no loss.*could be meant: 'val_loss'"):
        quantity_of(name, ["step", name, "val_loss", "lr"], "a.csv")


@pytest.mark.rejects
@pytest.mark.parametrize(
    "name",
    [
        "reward",
        "rewards/accuracies",
        "train/policy_loss",
        "actor_loss",
        "value_loss",
        "advantages",
        "entropy",
        "entropy_loss",
        "objective/kl",
        "approx_kl",
        "clip_frac",
        "ep_return",
    ],
)
def test_rewards_and_policy_losses_are_refused_by_their_names(name):
    with pytest.raises(ArgumentError, match=r"Rewards and policy losses cannot be forecast here.*'sft_loss'"):
        quantity_of(name, ["step", name, "sft_loss"], "a.csv")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("loss", "loss"),
        ("train/cross_entropy", "loss"),
        ("binary_crossentropy", "loss"),
        ("dice_loss", "loss"),
        ("loss_iou", "loss"),
        ("top5_error", "loss"),
        ("kd_loss", "loss"),
        ("kl_loss", "loss"),
        ("lm_loss", "loss"),
        ("c4_eval", "loss"),
        ("misfit", "loss"),
        ("WER", "loss"),
        ("val_ppl", "perplexity"),
        ("eval/perplexity", "perplexity"),
        ("rmse_f_val", "root"),
        ("energy_mae", "root"),
        ("val_bpb", "bits"),
        ("bits_per_char", "bits"),
        ("smooth_loss", "smoothed"),
        ("loss_sum", "summed"),
        ("dpo_loss", "preference"),
        ("clip_loss", "contrastive"),
        ("train/info_nce", "contrastive"),
        ("infonce", "contrastive"),
        ("discriminator_loss", "adversarial"),
    ],
)
def test_names_of_losses_and_of_their_kin(name, kind):
    assert quantity_of(name, ["step", name], "a.csv").kind == kind


@pytest.mark.rejects
@pytest.mark.parametrize("loss", ["loss", "reward"])
def test_policy_losses_are_known_by_the_columns_beside_them(tmp_path, loss):
    """A GRPO log: its column is called loss, is negative, and stands beside rewards."""
    rng = np.random.default_rng(0)
    history = [
        {"step": int(s), "loss": float(v), "reward": float(r), "kl": 1e-4, "learning_rate": 1e-5}
        for s, v, r in zip(STEPS, rng.normal(0, 0.1, 80), rng.normal(1, 0.5, 80), strict=True)
    ]
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": history}))
    with pytest.raises(ArgumentError, match="cannot be forecast here: they may be negative and may rise"):
        ef.read_curves(path, columns={"loss": loss})


@pytest.mark.rejects
@pytest.mark.parametrize(
    "beside",
    [
        "rewards/format_reward/mean",
        "completions/mean_length",
        "rollout/ep_rew_mean",
        "train/approx_kl",
        "objective/rlhf_reward",
        "critic/score/mean",
        "expl/Average Returns",
        "env/reward",
    ],
)
def test_trainers_of_policies_are_known_by_their_other_columns(beside):
    """Names of TRL, Stable-Baselines3, verl and RLkit. A loss of another name beside them may be one."""
    columns = ["step", "train/loss", "sft_loss", beside]
    with pytest.raises(ArgumentError, match=r"beside columns that only the training of a policy logs.*'sft_loss'"):
        quantity_of("train/loss", columns, "a.csv")
    assert quantity_of("sft_loss", columns, "a.csv").kind == "loss"


def test_losses_beside_parts_that_other_trainers_have_as_well_are_losses():
    """Semi-supervised training, a regression, a variational model, a network that learns moves from games."""
    for beside in ("entropy_loss", "explained_variance", "kl", "kl_loss", "policy_loss", "value_loss", "accuracy"):
        assert quantity_of("loss", ["step", "loss", beside], "a.csv").kind == "loss"


def test_reward_models_and_preference_losses_are_no_policies():
    model = log(accuracy=0.7, mean_reward=0.1, min_reward=-1.0, max_reward=1.0)
    assert read(model)[0].cautions == ()
    dpo = log(**{"rewards/chosen": -0.1, "rewards/rejected": -0.2, "rewards/accuracies": 0.6, "logps/chosen": -50.0})
    (caution,) = read(dpo)[0].cautions
    assert "preference loss" in caution and "ln 2" in caution


@pytest.mark.rejects
def test_values_that_rise_are_no_loss_whatever_they_are_called():
    """An accuracy under a name that says nothing, 0.28 to 0.82, with and without scatter."""
    rng = np.random.default_rng(1)
    rising = 0.82 - 0.54 * np.exp(-STEPS / 100)
    for values in (rising, rising * np.exp(0.05 * rng.standard_normal(80))):
        with pytest.raises(ArgumentError, match=r"the values rise: column 'metric' goes from 0\.[345].* to 0\.[78]"):
            read(log("metric", values), "metric")


@pytest.mark.rejects
def test_a_warmup_does_not_hide_that_values_rise():
    rates = 1e-3 * np.minimum(STEPS / 200, 1.0)
    with pytest.raises(ArgumentError, match=r"the values rise: column 'metric'"):
        read(log("metric", 0.82 - 0.54 * np.exp(-STEPS / 100)).assign(lr=rates), "metric")
    # A second warm-up of a trained model: its loss rises by a tenth.
    (caution,) = read(log(values=2.0 + 0.2 * rates / 1e-3).assign(lr=rates))[0].cautions
    assert "the values rise from 2." in caution and "rise of the learning rate" in caution


@pytest.mark.rejects
def test_a_part_of_a_loss_that_rises_names_the_losses_beside_it():
    """The box loss of a detector rises while more boxes count."""
    frame = log("loss_bbox", 0.3 - 0.25 * np.exp(-STEPS / 200), total_loss=LOSSES)
    with pytest.raises(ArgumentError, match=r"the values rise.*could be meant: 'total_loss'.*--column loss=NAME"):
        read(frame, "loss_bbox")


def test_values_that_rise_a_little_are_read_with_a_caution():
    """A contrastive loss whose queue fills, up by 8 %: no forecast of a law, but no mistake of its owner either."""
    (caution,) = read(log("total", 6.5 + 0.5 * (1 - np.exp(-STEPS / 150))), "total")[0].cautions
    assert caution.startswith("the values rise from 6.") and "the law only falls" in caution


@pytest.mark.long
@pytest.mark.parametrize("scatter", [0.003, 0.03, 0.3])
def test_flat_curves_are_not_taken_for_rising_ones(scatter):
    """Of 100 curves without a trend none is refused, at most 10 get a caution: 3 % are expected, three sigma more."""
    rng = np.random.default_rng(2)
    curves = [read(log(values=np.exp(scatter * rng.standard_normal(80))))[0] for _ in range(100)]
    assert sum(bool(curve.cautions) for curve in curves) <= 10


def test_perplexities_become_losses_in_nats():
    curve = read(log("ppl", np.exp(LOSSES)), "ppl")[0]
    np.testing.assert_allclose(curve.losses, LOSSES, rtol=1e-14)
    assert any("perplexities: their logarithms are the losses, in nats" in line for line in curve.changes)
    # 2 decimals of a perplexity of about exp(2.4) are 0.01 / 11 of its logarithm.
    rounded = read(log("ppl", np.round(np.exp(LOSSES), 2)), "ppl")[0]
    late = float(np.median(LOSSES[-16:]))
    assert rounded.rounding == pytest.approx(0.01 / np.exp(late), rel=0.02)


@pytest.mark.rejects
def test_perplexities_below_one_or_in_bits_are_refused():
    with pytest.raises(ArgumentError, match=r"row 40: the perplexity is 0.9, but one is at least 1"):
        read(log("ppl", np.where(STEPS == 400, 0.9, 8.0 + 100 / STEPS)), "ppl")
    with pytest.raises(ArgumentError, match="perplexity is in nats, so leave `unit`"):
        read(log("ppl", np.exp(LOSSES)), "ppl", unit="bits")


@pytest.mark.parametrize(
    ("name", "said", "unit"),
    [
        ("rmse_val", "root of mean squares", "its own unit"),
        ("val_bpb", "counts bits, not nats", "bits"),
        ("smooth_loss", "lags behind", "nats"),
        ("loss_sum", "is a sum", "nats"),
        ("g_loss", "need not fall", "nats"),
    ],
)
def test_what_is_nearly_a_loss_is_fitted_with_a_caution(name, said, unit):
    curves = read(log(name), name)
    np.testing.assert_array_equal(curves[0].losses, LOSSES)
    (caution,) = curves[0].cautions
    assert said in caution and repr(name) in caution and curves.loss_unit == unit
    assert any("caution" in note and said in note for note in curves.notes)
    assert said.split()[0] in str(curves[0])


def test_bits_that_are_converted_need_no_caution():
    curves = read(log("val_bpb"), "val_bpb", unit="bits")
    assert curves[0].cautions == () and curves.loss_unit == "nats"
    np.testing.assert_allclose(curves[0].losses, LOSSES * np.log(2), rtol=1e-15)


def test_zeros_of_a_filter_of_nan_are_left_out_and_counted():
    curve = read(log(values=np.where(np.isin(STEPS, (300, 310, 500)), 0.0, LOSSES)))[0]
    np.testing.assert_array_equal(curve.steps, STEPS[~np.isin(STEPS, (300, 310, 500))])
    (line,) = (line for line in curve.changes if "exactly 0" in line)
    assert line.startswith("3 rows with a loss of exactly 0 (row 30 first) left out") and "filter of NaN" in line


def test_zeros_to_the_end_are_the_end_of_a_run_that_diverged():
    """20 rows, and one zero before them that is none of them."""
    curve = read(log(values=np.where((STEPS > 600) | (STEPS == 200), 0.0, LOSSES)))[0]
    assert curve.steps[-1] == 600 and len(curve) == 59
    (caution,) = curve.cautions
    assert caution.startswith("the run diverged: its loss is exactly 0 from step 610 (row 61) to the end")
    assert any("1 row with a loss of exactly 0 (row 20 first) left out" in line for line in curve.changes)


@pytest.mark.parametrize("failed", [1, 20])
def test_a_run_that_ends_without_finite_losses_has_a_caution(failed):
    values = [f"{loss}" for loss in LOSSES[: 80 - failed]] + ["nan"] * failed
    (caution,) = read(log(values=values))[0].cautions
    assert caution.startswith("the run diverged") and caution.endswith("a forecast is of a run that does not")


def test_zeros_that_were_rounded_away_are_not_called_failures():
    values = np.round(0.01 * STEPS**-0.8, 4)  # 0.0016 ... 0.0000
    curve = read(log(values=values))[0]
    assert len(curve) == np.sum(values > 0) < 80
    assert any("rounded away" in line for line in curve.changes)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.where(STEPS > 300, 0.0, LOSSES), r"row 31: the loss is 0 in 50 of 80 rows"),
        (
            np.where(STEPS == 300, -0.5, LOSSES),
            r"row 30: the loss is -0.5.*1 of 80 values of column 'loss' are negative",
        ),
    ],
)
def test_values_without_a_logarithm_are_refused_with_their_row(values, message):
    with pytest.raises(ArgumentError, match=message):
        read(log(values=values))
