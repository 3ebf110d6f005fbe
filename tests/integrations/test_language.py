"""The probe's loss is the model's own, held against sums written out here and against PyTorch's own loss functions."""

import copy
import pickle

import pytest
import torch
import transformers
from torch.nn import functional
from torch.overrides import TorchFunctionMode

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ModelError
from eigenflow.integrations.language import language_probe, read_batch

pytestmark = [
    pytest.mark.measure,
    # peft 0.19 asks models of transformers 5 for a name that is on its way out.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
VOCABULARY, SAMPLES, LENGTH = 11, 4, 6
# Same terms added in another order, in float64.
EXACT = 1e-10
# Of sums in float32.
ROUNDED = 1e-5

SMALL = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "vocab_size": VOCABULARY,
}
GPT2 = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "vocab_size": VOCABULARY}
T5 = {"d_model": 8, "d_ff": 12, "num_layers": 1, "num_heads": 2, "d_kv": 4, "vocab_size": VOCABULARY}
ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def make(config, model, **settings):
    torch.manual_seed(0)
    made = getattr(transformers, config)(**ENDS | settings)
    return getattr(transformers, model)(made)


def gpt2(model="GPT2LMHeadModel", **settings):
    return make("GPT2Config", model, **GPT2, **settings)


def llama(model="LlamaForCausalLM", **settings):
    return make("LlamaConfig", model, **SMALL, num_key_value_heads=1, **settings)


def bert(model, **settings):
    return make("BertConfig", model, **SMALL, **settings)


class _WithoutRounding(TorchFunctionMode):
    """Models round to float32 in their norms and before their loss; here they do not."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            return args[0].double()
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        return func(*args, **kwargs)


@torch.no_grad()
def called(model, batch):
    twin = copy.deepcopy(model).double().eval()
    batch = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    with _WithoutRounding():
        return twin(**batch)


def text(padded="right", *, decoder=False):
    """Ids, an attention mask, and labels where no token is padding; the first sample is padded."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, VOCABULARY, (SAMPLES, LENGTH), generator=generator)
    mask = torch.ones_like(ids)
    gap = slice(LENGTH - 2, None) if padded == "right" else slice(0, 2)
    mask[0, gap] = 0
    ids[0, gap] = 0
    labels = torch.where(mask == 1, ids, -100)
    if decoder:
        labels = torch.where(torch.arange(LENGTH)[None] < 4, labels, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def logits_of(model, batch, **more):
    known = {k: v for k, v in batch.items() if k not in ("labels", "start_positions", "end_positions")}
    return called(model, known | more)


def summed_cross_entropy(logits, labels):
    """Mean of -log p over labels, term by term."""
    terms = [
        -float(logits[place].log_softmax(-1)[labels[place]])
        for place in (tuple(index) for index in (labels != -100).nonzero().tolist())
    ]
    return sum(terms) / len(terms)


def check(model, batch, expected, **options):
    probe = language_probe(model, batch, **options)
    assert probe.at().loss == pytest.approx(expected, rel=EXACT)
    assert float(called(model, batch)["loss"]) == pytest.approx(expected, rel=EXACT)
    return probe


CAUSAL = {"gpt2": gpt2, "llama": llama}


@pytest.mark.parametrize("make_model", CAUSAL.values(), ids=CAUSAL)
@pytest.mark.parametrize("padded", ["right", "left"])
def test_causal_models_predict_the_next_token(make_model, padded):
    model, batch = make_model(), text(padded)
    logits = logits_of(model, batch).logits
    probe = check(model, batch, summed_cross_entropy(logits[:, :-1], batch["labels"][:, 1:]))
    assert probe.outputs == (LENGTH - 1) * VOCABULARY


def test_the_gradient_is_that_of_the_models_own_loss():
    """In float64, with the one rounding to float32 that the model makes left out."""
    model, batch = gpt2(), text()
    twin = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        expected = torch.func.grad(
            lambda p: functional.cross_entropy(
                torch.func.functional_call(twin, p, (batch["input_ids"],), {"attention_mask": batch["attention_mask"]})
                .logits[:, :-1]
                .flatten(0, 1),
                batch["labels"][:, 1:].flatten(),
            )
        )(dict(twin.named_parameters()))
    point = language_probe(model, batch).at()
    for name, gradient in point.gradient().items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-14)
    pulled = point.pull(point.error[None])
    for name, gradient in pulled.items():  # J^T e is the gradient
        torch.testing.assert_close(gradient[0], expected[name], rtol=1e-8, atol=1e-12)


def test_positions_without_labels_are_left_out_and_change_no_eigenvalue():
    model, batch = llama(), text()
    batch["labels"][:, :3] = -100
    probe = language_probe(model, batch)
    assert probe.outputs == 3 * VOCABULARY
    whole = ef.Probe(
        model.eval(),
        {k: batch[k] for k in ("input_ids", "attention_mask")},
        functional.pad(batch["labels"][:, 1:], (0, 1), value=-100),
        "cross_entropy",
        output="logits",
        class_axis=-1,
    )
    few, all_of_them = probe.measure(drift=False), whole.measure(drift=False)
    kept = few.eigenvalues > 1e-12 * few.eigenvalues[0]
    torch.testing.assert_close(few.eigenvalues[kept], all_of_them.eigenvalues[: int(kept.sum())], rtol=1e-8, atol=0)


def test_masked_models_take_labels_as_they_stand():
    model, batch = bert("BertForMaskedLM"), text()
    is_masked = torch.rand(SAMPLES, LENGTH, generator=torch.Generator().manual_seed(3)) < 0.4
    batch["labels"] = torch.where(is_masked, batch["labels"], -100)
    check(model, batch, summed_cross_entropy(logits_of(model, batch).logits, batch["labels"]))


@pytest.mark.parametrize(
    "make_model",
    [lambda **s: bert("BertForTokenClassification", **s), lambda **s: llama("LlamaForTokenClassification", **s)],
    ids=["bert", "llama"],
)
def test_token_classification(make_model):
    model, batch = make_model(num_labels=3), text()
    batch["labels"] = torch.where(batch["labels"] == -100, -100, batch["labels"] % 3)
    check(model, batch, summed_cross_entropy(logits_of(model, batch).logits, batch["labels"]))


@pytest.mark.parametrize("shape", [(SAMPLES,), (SAMPLES, 1)])
@pytest.mark.parametrize(
    "make_model",
    [
        lambda **s: bert("BertForSequenceClassification", **s),
        lambda **s: gpt2("GPT2ForSequenceClassification", **s),
        lambda **s: llama("LlamaForSequenceClassification", **s),
    ],
    ids=["bert", "gpt2", "llama"],
)
def test_sequence_classification(make_model, shape):
    model, batch = make_model(num_labels=3), text()
    batch["labels"] = torch.tensor([0, 2, 1, 2]).reshape(shape)
    check(model, batch, summed_cross_entropy(logits_of(model, batch).logits, batch["labels"].flatten()))


def test_as_many_classes_as_positions():
    """Shapes that leave open what is what."""
    model, batch = bert("BertForTokenClassification", num_labels=LENGTH), text()
    batch["labels"] = torch.where(batch["labels"] == -100, -100, batch["labels"] % LENGTH)
    check(model, batch, summed_cross_entropy(logits_of(model, batch).logits, batch["labels"]))


def test_regression_and_independent_labels():
    batch = text()
    batch["labels"] = torch.tensor([0.3, -1.0, 2.0, 0.0])
    model = bert("BertForSequenceClassification", num_labels=1)
    logits = logits_of(model, batch).logits
    check(model, batch, float((logits[:, 0] - batch["labels"].double()).square().mean()))
    batch["labels"] = torch.tensor([[0.0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1]])
    model = bert("BertForSequenceClassification", num_labels=3, problem_type="multi_label_classification")
    logits, y = logits_of(model, batch).logits, batch["labels"].double()
    check(model, batch, float(-(y * logits.sigmoid().log() + (1 - y) * (-logits).sigmoid().log()).mean()))


def test_choices():
    model = bert("BertForMultipleChoice")
    ids = torch.randint(1, VOCABULARY, (SAMPLES, 3, LENGTH), generator=torch.Generator().manual_seed(2))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 2, 1, 1])}
    check(model, batch, summed_cross_entropy(logits_of(model, batch).logits, batch["labels"]))


def test_spans_of_answers():
    model, batch = bert("BertForQuestionAnswering"), text()
    del batch["labels"]
    starts, ends = torch.tensor([0, 1, 2, 3]), torch.tensor([2, 1, 4, 5])
    found = logits_of(model, batch)
    expected = (summed_cross_entropy(found.start_logits, starts) + summed_cross_entropy(found.end_logits, ends)) / 2
    check(model, batch | {"start_positions": starts, "end_positions": ends}, expected)


@pytest.mark.parametrize(
    ("config", "name", "settings"),
    [
        ("T5Config", "T5ForConditionalGeneration", {**T5, "decoder_start_token_id": 0}),
        (
            "BartConfig",
            "BartForConditionalGeneration",
            {
                "d_model": 8,
                "encoder_layers": 1,
                "decoder_layers": 1,
                "encoder_attention_heads": 2,
                "decoder_attention_heads": 2,
                "encoder_ffn_dim": 12,
                "decoder_ffn_dim": 12,
                "vocab_size": VOCABULARY,
                "max_position_embeddings": 16,
                "decoder_start_token_id": 0,
            },
        ),
    ],
)
def test_models_with_a_decoder(config, name, settings):
    model, batch = make(config, name, **settings), text(decoder=True)
    before = functional.pad(batch["labels"], (1, 0), value=0)[:, :-1]
    logits = logits_of(model, batch, decoder_input_ids=before.masked_fill(before == -100, 0)).logits
    probe = check(model, batch, summed_cross_entropy(logits, batch["labels"]))
    assert probe.outputs == 4 * VOCABULARY


def test_images_with_labels():
    settings = {"image_size": 4, "patch_size": 2, "num_channels": 1, "num_labels": 3}
    model = make(
        "ViTConfig", "ViTForImageClassification", **{k: v for k, v in SMALL.items() if k != "vocab_size"} | settings
    )
    batch = {"pixel_values": torch.randn(SAMPLES, 1, 4, 4, generator=torch.Generator().manual_seed(1))}
    batch["labels"] = torch.tensor([0, 2, 1, 2])
    logits = logits_of(model, batch).logits
    check(model, batch, summed_cross_entropy(logits, batch["labels"]))


def test_a_head_that_starts_at_zero_does_not_blur_what_labels_mean():
    """All outputs are equal, and so are the losses of every reading at this instant."""
    model, batch = llama(tie_word_embeddings=False), text()
    torch.nn.init.zeros_(model.lm_head.weight)
    found = read_batch(model, batch)
    assert found.own_loss == pytest.approx(torch.tensor(VOCABULARY, dtype=torch.float64).log().item(), rel=EXACT)
    assert found.kind == "next tokens"


def test_adapters_frozen_parts_and_training_mode_stay():
    from peft import LoraConfig, TaskType, get_peft_model

    model = get_peft_model(
        gpt2(), LoraConfig(TaskType.CAUSAL_LM, r=2, target_modules=["c_attn"], fan_in_fan_out=True, lora_dropout=0.5)
    )
    model.train()
    model.base_model.model.transformer.ln_f.eval()
    before = {name: module.training for name, module in model.named_modules()}
    batch = text()
    logits = logits_of(model, batch).logits
    probe = check(model, batch, summed_cross_entropy(logits[:, :-1], batch["labels"][:, 1:]))
    assert {name: module.training for name, module in model.named_modules()} == before
    assert all("lora" in name for name in probe.state()[0])
    probe.measure(modes=2)  # in eval mode, although the model trains
    assert {name: module.training for name, module in model.named_modules()} == before


def test_prompts_of_an_adapter_stand_before_the_labels():
    from peft import PromptTuningConfig, TaskType, get_peft_model

    model = get_peft_model(gpt2(), PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2))
    batch = text()
    logits = logits_of(model, batch).logits[:, 1:-1]  # the first label is predicted by the prompt
    probe = check(model, batch, summed_cross_entropy(logits, batch["labels"]))
    assert probe.outputs == LENGTH * VOCABULARY


def test_smoothing_as_the_trainer_adds_it():
    from transformers.trainer_pt_utils import LabelSmoother

    model, batch = gpt2(), text()
    returned = {"logits": logits_of(model, batch).logits}
    with _WithoutRounding():
        expected = float(LabelSmoother(epsilon=0.1)(returned, batch["labels"], shift_labels=True))
    probe = language_probe(model, batch, label_smoothing=0.1)
    assert probe.at().loss == pytest.approx(expected, rel=EXACT)


def test_holdout_batch_with_labels_elsewhere():
    model, batch, test = gpt2(), text(), text("left")
    batch["labels"][:, :3] = -100
    probe = language_probe(model, batch, holdout=test)
    logits = logits_of(model, test).logits
    expected = summed_cross_entropy(logits[:, :-1], test["labels"][:, 1:])
    assert probe.holdout_loss(probe.at()) == pytest.approx(expected, rel=EXACT)


def test_a_sketch_keeps_loss_and_gradient():
    model, batch = gpt2(), text()
    generator = torch.Generator().manual_seed(0)
    probe = language_probe(model, batch, sketch=lambda loss: ef.sketched(loss, count=2, generator=generator))
    assert probe.size == 2 * SAMPLES
    assert probe.at().loss == pytest.approx(language_probe(model, batch).at().loss, rel=EXACT)


def test_float32_bfloat16_and_what_is_recorded():
    model, batch = gpt2(), text()
    probe = language_probe(model, batch, dtype=torch.float32)
    assert probe.at().loss == pytest.approx(language_probe(model, batch).at().loss, rel=ROUNDED)
    assert probe.describe()["output"] == f"logits of {LENGTH - 1} positions"
    half = copy.deepcopy(model).to(torch.bfloat16)
    expected = summed_cross_entropy(logits_of(half, batch).logits[:, :-1], batch["labels"][:, 1:])
    assert language_probe(half, batch).at().loss == pytest.approx(expected, rel=EXACT)
    found = read_batch(model, batch)
    assert pickle.loads(pickle.dumps(found.output)) == found.output  # it goes to other processes


def test_batch_encodings_and_models_that_return_tuples():
    batch = text()
    model = bert("BertForMaskedLM", return_dict=False)
    encoded = transformers.BatchEncoding(dict(batch))
    expected = summed_cross_entropy(logits_of(bert("BertForMaskedLM"), batch).logits, batch["labels"])
    assert language_probe(model, encoded).at().loss == pytest.approx(expected, rel=EXACT)


class Plain(torch.nn.Module):
    """Called in the way of Hugging Face, and none of it."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(VOCABULARY, VOCABULARY)

    def forward(self, input_ids, attention_mask, labels=None):
        logits = self.table(input_ids)
        loss = None if labels is None else functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "logits": logits}


def test_a_model_of_ones_own():
    model, batch = Plain(), text()
    check(model, batch, summed_cross_entropy(called(model, batch)["logits"], batch["labels"]))


@pytest.mark.rejects
def test_what_cannot_be_read_is_named():
    batch = text()
    unlabelled = {k: v for k, v in batch.items() if k != "labels"}
    with pytest.raises(ArgumentError, match=r"`batch` must hold `labels`.*holds 'input_ids', 'attention_mask'"):
        language_probe(gpt2(), unlabelled)
    with pytest.raises(ArgumentError, match=r"`batch` holds 'length', which Plain.forward does not"):
        language_probe(Plain(), batch | {"length": torch.ones(SAMPLES)})
    with pytest.raises(ArgumentError, match="NaN or infinite"):
        language_probe(gpt2(), batch | {"labels": torch.full((SAMPLES, LENGTH), -100)})
    with pytest.raises(ModelError, match="no reading of its logits and 'labels' does: next tokens"):
        language_probe(mixtral(output_router_logits=True), batch)
    with pytest.raises(ArgumentError, match=r"`holdout` must be.*logits of 3 positions.*max_length"):
        language_probe(gpt2(), batch, holdout={k: v[:, :4] for k, v in batch.items()})
    with pytest.raises(ArgumentError, match="`batch` must be a mapping"):
        language_probe(gpt2(), batch["input_ids"])


def mixtral(**settings):
    return make(
        "MixtralConfig",
        "MixtralForCausalLM",
        **SMALL,
        num_key_value_heads=1,
        num_local_experts=2,
        experts_implementation="eager",
        **settings,
    )


def test_experts_without_their_balance():
    model, batch = mixtral(), text()
    logits = logits_of(model, batch).logits
    check(model, batch, summed_cross_entropy(logits[:, :-1], batch["labels"][:, 1:]))
