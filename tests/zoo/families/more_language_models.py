"""More language models of Hugging Face, tiny, from their configuration alone: other kinds of layers and heads."""

import torch

from zoo.architecture import add
from zoo.families.causal_lms import COMMON, EXPERTS, LLAMA, build, with_mask
from zoo.families.encoders import BART, BERT, T5
from zoo.families.parts import tokens

CAUSAL = {
    "granite": ("GraniteConfig", "GraniteForCausalLM", LLAMA),
    "cohere": ("CohereConfig", "CohereForCausalLM", LLAMA),
    "olmoe": ("OlmoeConfig", "OlmoeForCausalLM", {**LLAMA, **EXPERTS, "intermediate_size": 8}),
    "gemma3": (
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {**LLAMA, "head_dim": 4, "query_pre_attn_scalar": 4, "layer_types": ["sliding_attention"], "sliding_window": 2},
    ),
    "qwen2-moe": ("Qwen2MoeConfig", "Qwen2MoeForCausalLM", {**LLAMA, **EXPERTS, "shared_expert_intermediate_size": 8}),
    "qwen3-next": (
        "Qwen3NextConfig",
        "Qwen3NextForCausalLM",
        {
            **LLAMA,
            **EXPERTS,
            "head_dim": 4,
            "layer_types": ["linear_attention"],
            "linear_num_value_heads": 2,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 4,
            "linear_value_head_dim": 4,
            "shared_expert_intermediate_size": 8,
        },
    ),
    "starcoder2": ("Starcoder2Config", "Starcoder2ForCausalLM", LLAMA),
    "codegen": (
        "CodeGenConfig",
        "CodeGenForCausalLM",
        {"n_embd": 16, "n_layer": 1, "n_head": 4, "n_positions": 8, "rotary_dim": 2, **COMMON},
    ),
    "mpt": ("MptConfig", "MptForCausalLM", {"d_model": 8, "n_layers": 1, "n_heads": 2, "max_seq_len": 8, **COMMON}),
    "xglm": (
        "XGLMConfig",
        "XGLMForCausalLM",
        {
            "d_model": 8,
            "ffn_dim": 12,
            "num_layers": 1,
            "attention_heads": 2,
            "max_position_embeddings": 8,
            **COMMON,
            "pad_token_id": 1,
        },
    ),
    "biogpt": ("BioGptConfig", "BioGptForCausalLM", {**LLAMA, "pad_token_id": 1}),
    "jamba": (
        "JambaConfig",
        "JambaForCausalLM",
        {
            **LLAMA,
            "num_hidden_layers": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 4,
            "expert_layer_offset": 3,
            "mamba_d_state": 3,
            "mamba_dt_rank": 2,
            "use_mamba_kernels": False,
        },
    ),
    "recurrent-gemma": (
        "RecurrentGemmaConfig",
        "RecurrentGemmaForCausalLM",
        {**LLAMA, "lru_width": 8, "block_types": ["recurrent"], "attention_window_size": 2, "pad_token_id": 0},
    ),
    "nemotron": ("NemotronConfig", "NemotronForCausalLM", LLAMA),
    "persimmon": ("PersimmonConfig", "PersimmonForCausalLM", {**LLAMA, "num_key_value_heads": 2}),
    "diffllama": (
        "DiffLlamaConfig",
        "DiffLlamaForCausalLM",
        {**LLAMA, "num_attention_heads": 4, "num_key_value_heads": 2},
    ),
    "lfm2": ("Lfm2Config", "Lfm2ForCausalLM", {**LLAMA, "layer_types": ["conv"], "block_multiple_of": 4}),
    "llama-rope-scaled": (
        "LlamaConfig",
        "LlamaForCausalLM",
        {**LLAMA, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    ),
    "llama-biased": ("LlamaConfig", "LlamaForCausalLM", {**LLAMA, "attention_bias": True, "mlp_bias": True}),
}
ENCODERS = {
    "funnel": (
        "FunnelConfig",
        "FunnelForSequenceClassification",
        {
            "vocab_size": 7,
            "block_sizes": [1, 1],
            "num_decoder_layers": 1,
            "d_model": 8,
            "n_head": 2,
            "d_head": 4,
            "d_inner": 12,
            "num_labels": 3,
        },
    ),
    "xlnet": (
        "XLNetConfig",
        "XLNetForSequenceClassification",
        {"vocab_size": 7, "d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 12, "num_labels": 3},
    ),
    "nystromformer": (
        "NystromformerConfig",
        "NystromformerForSequenceClassification",
        {**BERT, "num_landmarks": 3, "segment_means_seq_len": 3, "conv_kernel_size": 3},
    ),
    "roformer": ("RoFormerConfig", "RoFormerForSequenceClassification", {**BERT, "embedding_size": 4}),
    "longformer": (
        "LongformerConfig",
        "LongformerForSequenceClassification",
        {**BERT, "attention_window": [4], "max_position_embeddings": 16, "pad_token_id": 1},
    ),
    "canine-like-deberta": (
        "DebertaConfig",
        "DebertaForSequenceClassification",
        {
            **BERT,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "type_vocab_size": 0,
            "max_relative_positions": 4,
        },
    ),
    "mobilebert": (
        "MobileBertConfig",
        "MobileBertForSequenceClassification",
        {**BERT, "embedding_size": 8, "intra_bottleneck_size": 8},
    ),
    "xlm-roberta": ("XLMRobertaConfig", "XLMRobertaForSequenceClassification", {**BERT, "pad_token_id": 1}),
    "llama-classifier": (
        "LlamaConfig",
        "LlamaForSequenceClassification",
        {**LLAMA, "num_labels": 3, "pad_token_id": 0},
    ),
    "gpt2-classifier": (
        "GPT2Config",
        "GPT2ForSequenceClassification",
        {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8, **COMMON, "num_labels": 3, "pad_token_id": 0},
    ),
}
PAIRS = {
    "mt5": ("MT5Config", "MT5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu"}),
    "umt5": ("UMT5Config", "UMT5ForConditionalGeneration", T5),
    "mbart": ("MBartConfig", "MBartForConditionalGeneration", BART),
    "m2m100": ("M2M100Config", "M2M100ForConditionalGeneration", BART),
    "blenderbot": ("BlenderbotConfig", "BlenderbotForConditionalGeneration", BART),
    "prophetnet": (
        "ProphetNetConfig",
        "ProphetNetForConditionalGeneration",
        {
            "vocab_size": 7,
            "hidden_size": 8,
            "num_encoder_layers": 1,
            "num_decoder_layers": 1,
            "num_encoder_attention_heads": 2,
            "num_decoder_attention_heads": 2,
            "encoder_ffn_dim": 12,
            "decoder_ffn_dim": 12,
            "max_position_embeddings": 8,
            "ngram": 2,
            "num_buckets": 4,
            "relative_max_distance": 4,
            "use_cache": False,
            "decoder_start_token_id": 1,
        },
    ),
}
OPTIONS = {"family": __name__, "losses": ("cross_entropy",), "tolerance": 1e-6}


def _sequence_pair():
    return {
        "input_ids": tokens(2, 3),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "decoder_input_ids": tokens(2, 3),
    }


for name, made in CAUSAL.items():
    add(name, lambda made=made: build(*made), **OPTIONS)
for name, made in ENCODERS.items():
    add(name, lambda made=made: build(*made, inputs=with_mask), **OPTIONS)
for name, made in PAIRS.items():
    add(name, lambda made=made: build(*made, inputs=_sequence_pair), **OPTIONS)
add("llama-in-float32", lambda: build("LlamaConfig", "LlamaForCausalLM", LLAMA), dtype=torch.float32, **OPTIONS)
add(
    "t5-in-float32",
    lambda: build("T5Config", "T5ForConditionalGeneration", T5, inputs=_sequence_pair),
    dtype=torch.float32,
    **OPTIONS,
)
add(
    "bert-in-float32",
    lambda: build("BertConfig", "BertForSequenceClassification", {**BERT}, inputs=with_mask),
    dtype=torch.float32,
    **OPTIONS,
)


def _batch_encoding():
    """What a tokenizer returns: no dict, but a mapping."""
    from transformers import BatchEncoding

    net, inputs = build("BertConfig", "BertForSequenceClassification", BERT, inputs=with_mask)
    return net, BatchEncoding(dict(inputs))


add("bert-batch-encoding", _batch_encoding, **OPTIONS)
add(
    "bert-regression",
    lambda: build("BertConfig", "BertForSequenceClassification", {**BERT, "num_labels": 1}, inputs=with_mask),
    family=__name__,
    losses=("mse",),
    tolerance=1e-6,
)
add(
    "bert-start-logits",
    lambda: build("BertConfig", "BertForQuestionAnswering", {**BERT, "num_labels": 2}, inputs=with_mask),
    family=__name__,
    losses=("cross_entropy",),
    output="start_logits",
    tolerance=1e-6,
)
add(
    "gpt2-last-logit",
    lambda: build(
        "GPT2Config", "GPT2LMHeadModel", {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8, **COMMON}
    ),
    family=__name__,
    losses=("cross_entropy",),
    output=lambda out: out.logits[:, -1],
    tolerance=1e-6,
)
