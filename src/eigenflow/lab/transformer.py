"""A small transformer over bytes: embeddings, blocks of causal attention and a hidden layer, layer norms, a head."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from eigenflow.lab.parametrised import readout

__all__ = ["ByteGPT"]

HIDDEN = 4  # Hidden units of a block, in widths.


class ByteGPT(nn.Module):
    """Scores of the next symbol at every position, from it and those before it.

    Blocks normalise first; head and embedding are not tied.

    Args:
        symbols: Kinds of symbols that come in and are told apart.
        context: Positions.
        width: Of the embeddings; a multiple of `heads`.
        depth: Blocks.
        heads: Of attention.
        activation: Makes the one between the two layers of a block's network.
        output_scale: Factor on the scores.
        base_width: In maximal update, the width at which it is the standard parametrisation; None for the latter.
    """

    def __init__(
        self,
        symbols: int,
        context: int,
        width: int,
        depth: int,
        heads: int,
        activation: Callable[[], nn.Module],
        output_scale: float,
        base_width: int | None = None,
    ):
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.place = nn.Embedding(context, width)
        base = base_width or width
        self.blocks = nn.Sequential(*(_Block(width, heads, activation(), base) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols) if base_width is None else readout(width, symbols, base_width / width)
        self.output_scale = output_scale

    def forward(self, inputs: Int[Tensor, "sequence position"]) -> Float[Tensor, "sequence position symbol"]:
        places = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
        hidden = self.blocks(self.embedding(inputs) + self.place(places))
        return self.output_scale * self.head(self.norm(hidden))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, activation: nn.Module, base_width: int):
        super().__init__()
        # 1 / sqrt(size of a head) at the base width, and falling as 1 / size from there.
        self.heads, self.scale = heads, (heads * base_width) ** 0.5 / width
        self.before_attention, self.before_hidden = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.hidden = nn.Sequential(nn.Linear(width, HIDDEN * width), activation, nn.Linear(HIDDEN * width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        attended = inputs + self._attention(self.before_attention(inputs))
        return attended + self.hidden(self.before_hidden(attended))

    def _attention(self, inputs: Tensor) -> Tensor:
        n, positions, width = inputs.shape
        parts = (n, positions, self.heads, width // self.heads)
        layers = self.query, self.key, self.value
        query, key, value = (layer(inputs).reshape(parts).transpose(1, 2) for layer in layers)
        found = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=self.scale)
        return self.out(found.transpose(1, 2).reshape(n, positions, width))
