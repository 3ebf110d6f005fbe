"""Networks as people train them through Trainer: a record, an analysis, claims, and a page come out."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
)

import eigenflow as ef
from eigenflow.integrations.huggingface import SpectralCallback
from eigenflow.report import analyse, write_report

# peft 0.21 asks transformers by a name that it has given up.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

WORDS, LENGTH = 24, 10


def llama():
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=LENGTH, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config), texts(), {}


def gpt2_with_lora():
    config = GPT2Config(
        vocab_size=WORDS, n_positions=LENGTH, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    adapted = LoraConfig(r=2, target_modules=["c_attn"], lora_dropout=0.1, fan_in_fan_out=True)
    return get_peft_model(GPT2LMHeadModel(config), adapted), texts(), {"learning_rate": 3e-2}


def bert_classifier():
    config = BertConfig(
        vocab_size=WORDS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=LENGTH, num_labels=3,
    )  # fmt: skip
    rows = [
        {"input_ids": row["input_ids"], "attention_mask": torch.ones(LENGTH, dtype=torch.long), "labels": index % 3}
        for index, row in enumerate(texts())
    ]
    return BertForSequenceClassification(config), rows, {"optim": "sgd", "learning_rate": 0.1}


def masked(rows):
    """Random masks, as of DataCollatorForLanguageModeling, which needs a tokenizer."""
    tokens = torch.stack([row["input_ids"] for row in rows])
    is_masked = torch.rand(tokens.shape) < 0.3
    return {"input_ids": torch.where(is_masked, 1, tokens), "labels": torch.where(is_masked, tokens, -100)}


def bert_masked():
    config = BertConfig(
        vocab_size=WORDS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=LENGTH,
    )  # fmt: skip
    return BertForMaskedLM(config), texts(), {"data_collator": masked}


def texts():
    generator = torch.Generator().manual_seed(1)
    return [
        {"input_ids": (t := torch.randint(0, WORDS, (LENGTH,), generator=generator)), "labels": t} for _ in range(32)
    ]


def train(folder, kind, steps=40, **options):
    torch.manual_seed(0)
    network, rows, told = kind()
    told = {"learning_rate": 3e-3, **told}
    collator = told.pop("data_collator", None)
    arguments = TrainingArguments(
        str(folder / "trainer"),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_steps=steps,
        max_grad_norm=0.5,
        warmup_steps=4,
        lr_scheduler_type="cosine",
        bf16=True,
        use_cpu=True,
        save_strategy="no",
        logging_steps=10,
        report_to=[],
        disable_tqdm=True,
        **told,
    )
    callback = SpectralCallback(
        folder / "run", samples=6, max_rows=150, modes=24, count=12, max_overhead=None, forecast=False, **options
    )
    trainer = Trainer(network, arguments, train_dataset=rows, data_collator=collator, callbacks=[callback])
    trainer.train()
    return ef.open_run(folder / "run"), trainer


@pytest.mark.parametrize("kind", [llama, gpt2_with_lora, bert_classifier, bert_masked])
def test_record_claims_and_report_come_out(kind, tmp_path):
    said = []
    run, trainer = train(tmp_path, kind, say=said.append)
    # Adam's first update is measured late if it has no state yet, and rates of 0 move nothing.
    assert run.status == "complete" and len(run.measured_steps) >= 10, run.gaps
    assert len(run.losses) == 40 and np.isfinite(run.losses.loss).all()
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    assert run.header["probe"]["parameters"] == trainable
    assert run.header["preconditioner"] == (None if kind is bert_classifier else "AdamW")
    # Trainer logs means of ten updates, in float32 and under autocast.
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    np.testing.assert_allclose(run.losses.loss.to_numpy().reshape(4, 10).mean(1), logged, rtol=1e-4)
    analysis = analyse(run)
    assert {f"C{number}" for number in range(1, 9)} <= {row.claim for row in analysis.claims}
    assert write_report(analysis).stat().st_size > 100_000
    assert "recording into" in said[-2] + said[0] + said[1]


def test_the_first_batch_of_a_random_collator_is_always_the_same(tmp_path):
    """Bert's masks are drawn anew by every call; the probe's are those of one seed, and training's stay as they are."""
    first, one = train(tmp_path / "a", bert_masked, steps=2)
    second, two = train(tmp_path / "b", bert_masked, steps=2)
    assert first.header["probe"]["checksum"] == second.header["probe"]["checksum"]
    assert first.losses.loss.equals(second.losses.loss)
    del one, two


def test_the_example_runs(tmp_path, capsys):
    example = Path(__file__).parents[2] / "examples" / "huggingface_callback.py"
    runpy.run_path(str(example))["main"](str(tmp_path / "run"), steps=40)
    run = ef.open_run(tmp_path / "run")
    assert run.header["preconditioner"] == "AdamW" and len(run.measured_steps) > 10
    assert "eigenflow/edge" in capsys.readouterr().out
