"""Hugging Face encoders and encoder-decoders of text, tiny, from their configuration alone."""

import torch

from zoo.architecture import add
from zoo.families.causal_lms import build, with_mask
from zoo.families.parts import tokens

BERT = {
    "vocab_size": 7,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 12,
    "pad_token_id": 0,
    "num_labels": 3,
}
DISTIL = {
    "vocab_size": 7,
    "dim": 8,
    "hidden_dim": 12,
    "n_layers": 1,
    "n_heads": 2,
    "max_position_embeddings": 8,
    "num_labels": 3,
}
T5 = {
    "vocab_size": 7,
    "d_model": 8,
    "d_kv": 4,
    "d_ff": 12,
    "num_layers": 1,
    "num_heads": 2,
    "decoder_start_token_id": 0,
    "use_cache": False,
}
BART = {
    "vocab_size": 7,
    "d_model": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 12,
    "decoder_ffn_dim": 12,
    "max_position_embeddings": 8,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
    "use_cache": False,
}
ALBERT = {**BERT, "embedding_size": 4, "num_hidden_layers": 2, "inner_group_num": 1}
ELECTRA = {**BERT, "embedding_size": 4}
DEBERTA = {
    **BERT,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "max_relative_positions": 4,
    "position_buckets": 4,
    "type_vocab_size": 0,
}

CLASSIFIERS = {
    "bert": ("BertConfig", "BertForSequenceClassification", BERT),
    "roberta": ("RobertaConfig", "RobertaForSequenceClassification", {**BERT, "pad_token_id": 1}),
    "distilbert": ("DistilBertConfig", "DistilBertForSequenceClassification", DISTIL),
    "albert": ("AlbertConfig", "AlbertForSequenceClassification", ALBERT),
    "deberta-v2": ("DebertaV2Config", "DebertaV2ForSequenceClassification", DEBERTA),
    "electra": ("ElectraConfig", "ElectraForSequenceClassification", ELECTRA),
    "mpnet": ("MPNetConfig", "MPNetForSequenceClassification", {**BERT, "pad_token_id": 1}),
    "camembert": ("CamembertConfig", "CamembertForSequenceClassification", {**BERT, "pad_token_id": 1}),
    "modernbert": (
        "ModernBertConfig",
        "ModernBertForSequenceClassification",
        {**BERT, "bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2, "eos_token_id": 2, "local_attention": 2},
    ),
    "fnet": ("FNetConfig", "FNetForSequenceClassification", {**BERT, "use_tpu_fourier_optimizations": False}),
    "squeezebert": (
        "SqueezeBertConfig",
        "SqueezeBertForSequenceClassification",
        {
            **BERT,
            "embedding_size": 8,
            "q_groups": 2,
            "k_groups": 2,
            "v_groups": 2,
            "post_attention_groups": 1,
            "intermediate_groups": 2,
            "output_groups": 2,
        },
    ),
}
LANGUAGE_MODELS = {
    "bert-masked-lm": ("BertConfig", "BertForMaskedLM", BERT),
    "roberta-masked-lm": ("RobertaConfig", "RobertaForMaskedLM", {**BERT, "pad_token_id": 1}),
    "distilbert-masked-lm": ("DistilBertConfig", "DistilBertForMaskedLM", DISTIL),
    "albert-masked-lm": ("AlbertConfig", "AlbertForMaskedLM", ALBERT),
}


def _sequence_pair():
    return {"input_ids": tokens(2, 3), "decoder_input_ids": tokens(2, 3)}


for name, (config, model, settings) in CLASSIFIERS.items():
    add(
        name,
        lambda config=config, model=model, settings=settings: build(config, model, settings, inputs=with_mask),
        family=__name__,
        losses=("mse", "cross_entropy"),
        tolerance=1e-6,
    )
for name, (config, model, settings) in LANGUAGE_MODELS.items():
    add(
        name,
        lambda config=config, model=model, settings=settings: build(config, model, settings),
        family=__name__,
        losses=("cross_entropy",),
        tolerance=1e-6,
        ignored=1,
    )
for name, (config, model, settings) in {
    "t5": ("T5Config", "T5ForConditionalGeneration", T5),
    "t5-gated": (
        "T5Config",
        "T5ForConditionalGeneration",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "bart": ("BartConfig", "BartForConditionalGeneration", BART),
    "marian": ("MarianConfig", "MarianMTModel", {**BART, "decoder_vocab_size": 7}),
    "pegasus": ("PegasusConfig", "PegasusForConditionalGeneration", BART),
}.items():
    add(
        name,
        lambda config=config, model=model, settings=settings: build(config, model, settings, inputs=_sequence_pair),
        family=__name__,
        losses=("cross_entropy",),
        tolerance=1e-6,
    )
for name in ("bert", "roberta"):
    add(
        f"{name}-hidden-states",
        lambda name=name: build(
            CLASSIFIERS[name][0],
            f"{'Bert' if name == 'bert' else 'Roberta'}Model",
            CLASSIFIERS[name][2],
            inputs=with_mask,
        ),
        family=__name__,
        losses=("mse",),
        output="last_hidden_state",
        tolerance=1e-6,
    )
    add(
        f"{name}-pooled",
        lambda name=name: build(
            CLASSIFIERS[name][0],
            f"{'Bert' if name == 'bert' else 'Roberta'}Model",
            CLASSIFIERS[name][2],
            inputs=with_mask,
        ),
        family=__name__,
        losses=("mse",),
        output="pooler_output",
        tolerance=1e-6,
    )


def _token_classifier():
    net, _ = build("BertConfig", "BertForTokenClassification", BERT)
    return net, {"input_ids": tokens(2, 4), "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])}


def _sentence_pair():
    net, _ = build("BertConfig", "BertForSequenceClassification", BERT)
    return net, {"input_ids": tokens(2, 4), "token_type_ids": torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])}


add(
    "bert-token-classification",
    _token_classifier,
    family=__name__,
    losses=("cross_entropy",),
    tolerance=1e-6,
    ignored=2,
)
add("bert-sentence-pair", _sentence_pair, family=__name__, losses=("cross_entropy",), tolerance=1e-6)
