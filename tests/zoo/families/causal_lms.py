"""Hugging Face language models with tiny configurations, built from the configuration alone."""

import torch

from zoo.architecture import add
from zoo.families.parts import tokens

COMMON = {"vocab_size": 7, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None, "use_cache": False}
LLAMA = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 8,
    **COMMON,
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
# Class of the configuration and of the model, and what the configuration is given.
MODELS = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", LLAMA),
    "llama-tied": ("LlamaConfig", "LlamaForCausalLM", {**LLAMA, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", LLAMA),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**LLAMA, "head_dim": 4}),
    "qwen3-moe": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM", {**LLAMA, **EXPERTS, "head_dim": 4}),
    "mistral": ("MistralConfig", "MistralForCausalLM", {**LLAMA, "sliding_window": 2}),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", {**LLAMA, **EXPERTS}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", {**LLAMA, "head_dim": 4}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {**LLAMA, "head_dim": 4, "query_pre_attn_scalar": 4}),
    "phi": ("PhiConfig", "PhiForCausalLM", {**LLAMA, "num_key_value_heads": 2}),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", LLAMA),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", LLAMA),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM", LLAMA),
    "stablelm": ("StableLmConfig", "StableLmForCausalLM", LLAMA),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8, **COMMON}),
    "gpt-neo": (
        "GPTNeoConfig",
        "GPTNeoForCausalLM",
        {
            "hidden_size": 8,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 2,
            "intermediate_size": 12,
            "max_position_embeddings": 8,
            **COMMON,
        },
    ),
    "gpt-neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", {**LLAMA, "rotary_pct": 0.5}),
    "gptj": (
        "GPTJConfig",
        "GPTJForCausalLM",
        {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8, "rotary_dim": 2, **COMMON},
    ),
    "opt": (
        "OPTConfig",
        "OPTForCausalLM",
        {
            "hidden_size": 8,
            "ffn_dim": 12,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 8,
            "word_embed_proj_dim": 8,
            **COMMON,
            "pad_token_id": 1,
        },
    ),
    "bloom": ("BloomConfig", "BloomForCausalLM", {"hidden_size": 8, "n_layer": 1, "n_head": 2, **COMMON}),
    "falcon": (
        "FalconConfig",
        "FalconForCausalLM",
        {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, **COMMON},
    ),
    "mamba": (
        "MambaConfig",
        "MambaForCausalLM",
        {"hidden_size": 6, "state_size": 3, "num_hidden_layers": 1, "time_step_rank": 2, **COMMON},
    ),
    "mamba2": (
        "Mamba2Config",
        "Mamba2ForCausalLM",
        {
            "hidden_size": 8,
            "state_size": 4,
            "num_hidden_layers": 1,
            "num_heads": 4,
            "head_dim": 4,
            "n_groups": 1,
            "chunk_size": 4,
            "expand": 2,
            **COMMON,
        },
    ),
    "gpt-oss": (
        "GptOssConfig",
        "GptOssForCausalLM",
        {**LLAMA, **EXPERTS, "head_dim": 4, "layer_types": ["full_attention"]},
    ),
    "deepseek-v3": (
        "DeepseekV3Config",
        "DeepseekV3ForCausalLM",
        {
            **LLAMA,
            "num_key_value_heads": 2,
            "num_hidden_layers": 2,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 8,
            "kv_lora_rank": 4,
            "q_lora_rank": 4,
            "qk_rope_head_dim": 2,
            "qk_nope_head_dim": 2,
            "v_head_dim": 4,
        },
    ),
}


def build(config: str, model: str, settings: dict, inputs=None, prepare=None):
    """A model from its configuration alone; nothing is downloaded."""
    import transformers

    transformers.logging.set_verbosity_error()
    net = getattr(transformers, model)(getattr(transformers, config)(**settings))
    # Freshly made models are nearly linear: weights of 0.02. Trained ones are not.
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    if prepare is not None:
        prepared = prepare(net)
        net = net if prepared is None else prepared
    return net, tokens(2, 3) if inputs is None else inputs()


def with_mask():
    """What a tokenizer returns: two texts, one shorter and padded at its end."""
    return {"input_ids": tokens(2, 3), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}


for name, (config, model, settings) in MODELS.items():
    add(
        name,
        lambda config=config, model=model, settings=settings: build(config, model, settings),
        family=__name__,
        losses=("mse", "cross_entropy") if name in ("llama", "gpt2", "mixtral") else ("cross_entropy",),
        tolerance=1e-6,
    )
for name in ("llama", "gpt2", "qwen2"):
    add(
        f"{name}-with-attention-mask",
        lambda made=MODELS[name]: build(*made, inputs=with_mask),
        family=__name__,
        losses=("cross_entropy",),
        tolerance=1e-6,
        ignored=1,
    )
for name in ("llama", "gpt2"):
    add(
        f"{name}-gradient-checkpointing",
        lambda made=MODELS[name]: build(*made, prepare=lambda net: net.gradient_checkpointing_enable()),
        family=__name__,
        losses=("cross_entropy",),
        tolerance=1e-6,
    )
for name in ("mixtral", "qwen3-moe"):
    add(
        f"{name}-experts-in-a-loop",
        lambda made=MODELS[name]: build(*made, prepare=lambda net: net.set_experts_implementation("eager")),
        family=__name__,
        losses=("cross_entropy",),
        tolerance=1e-6,
    )
    add(
        f"{name}-in-float32",
        lambda made=MODELS[name]: build(*made),
        family=__name__,
        losses=("cross_entropy",),
        dtype=torch.float32,
    )
add(
    "llama-eager-attention",
    lambda: build("LlamaConfig", "LlamaForCausalLM", {**LLAMA, "attn_implementation": "eager"}),
    family=__name__,
    losses=("cross_entropy",),
    tolerance=1e-6,
)
add(
    "gpt2-cache-on",
    lambda: build(*MODELS["gpt2"][:2], {**MODELS["gpt2"][2], "use_cache": True}),
    family=__name__,
    losses=("cross_entropy",),
    tolerance=1e-6,
)
