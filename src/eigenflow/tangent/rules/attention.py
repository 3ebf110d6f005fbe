"""Multi-head attention taken apart into its linear maps, so that their rules apply.

`torch.nn.functional.multi_head_attention_forward` projects inside itself. Here the projections are made outside, and
the function itself is called with identities in their place: masks, dropout, head weights and everything else stay
its own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["attention_by_linear_maps"]

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def attention_by_linear_maps(
    linear: Linear, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Call multi-head attention with its projections made by `linear(x, weight, bias)`, sample axis first.

    Returns:
        What the function returns, or None if it was called in a way that does not come apart: packed weights for
        different query, key and value, or an added bias_k, bias_v.
    """
    a = _named(args, kwargs)
    if a["bias_k"] is not None or a["bias_v"] is not None or query.ndim != 3:
        return None
    width = query.shape[-1]

    def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return linear(x.transpose(0, 1), weight, bias).transpose(0, 1)

    if not a["use_separate_proj_weight"]:
        if key is not query or value is not key:
            return None
        q, k, v = project(query, a["in_proj_weight"], a["in_proj_bias"]).chunk(3, -1)
    elif a["in_proj_bias"] is None:
        weights = a["q_proj_weight"], a["k_proj_weight"], a["v_proj_weight"]
        q, k, v = (project(x, weight, None) for x, weight in zip((query, key, value), weights, strict=True))
    else:
        return None
    identity = torch.eye(width, dtype=query.dtype, device=query.device)
    inner = {
        **a,
        "in_proj_weight": None,
        "in_proj_bias": None,
        "out_proj_weight": identity,
        "out_proj_bias": None,
        "use_separate_proj_weight": True,
        "q_proj_weight": identity,
        "k_proj_weight": identity,
        "v_proj_weight": identity,
    }
    mixed, weights = functional.multi_head_attention_forward(q, k, v, **inner)
    return project(mixed, a["out_proj_weight"], a["out_proj_bias"]), weights


_NAMES = (
    "embed_dim_to_check",
    "num_heads",
    "in_proj_weight",
    "in_proj_bias",
    "bias_k",
    "bias_v",
    "add_zero_attn",
    "dropout_p",
    "out_proj_weight",
    "out_proj_bias",
)


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"use_separate_proj_weight": False, **dict(zip(_NAMES, args, strict=False)), **kwargs}
