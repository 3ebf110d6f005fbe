"""Counts of parameters and of training compute, each convention by its own name.

Exponents depend on the convention: leaving embeddings out raises the compute-optimal exponent of small models from
about 0.5 towards 0.7 ([@pearce2024reconciling]; [@porian2024resolving]), and C = 6 N D misses attention and, without
embeddings, the output layer. A fit keeps to one convention; these functions say what the others would be.
"""

from dataclasses import dataclass

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError

__all__ = ["FLOPS_PER_PARAMETER_TOKEN", "TransformerShape"]

# Two for the forward pass (multiply and add), four for the backward one.
FLOPS_PER_PARAMETER_TOKEN = 6.0


@dataclass(frozen=True, repr=False)
class TransformerShape(FieldsPrinted):
    """A decoder: what its counts depend on.

    Attributes:
        layers: Blocks.
        width: Model dimension.
        vocabulary: Tokens of the vocabulary.
        context: Tokens of a sequence.
        feed_forward: Hidden width of the feed-forward part; None for 4 * width.
        gated: Whether the feed-forward part has three matrices (SwiGLU) instead of two.
        tied_embedding: Whether input and output embeddings are one matrix.
    """

    layers: int
    width: int
    vocabulary: int
    context: int
    feed_forward: int | None = None
    gated: bool = False
    tied_embedding: bool = True

    def __post_init__(self) -> None:
        for name in ("layers", "width", "vocabulary", "context"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"`{name}` must be at least 1, but is {getattr(self, name)}.")

    @property
    def block_parameters(self) -> int:
        """Matrices of the blocks: the count without embeddings (Kaplan's N)."""
        hidden = 4 * self.width if self.feed_forward is None else self.feed_forward
        return self.layers * (4 * self.width**2 + (3 if self.gated else 2) * self.width * hidden)

    @property
    def embedding_parameters(self) -> int:
        """Input and output embeddings."""
        return self.vocabulary * self.width * (1 if self.tied_embedding else 2)

    @property
    def parameters(self) -> int:
        """All matrices (Chinchilla's N)."""
        return self.block_parameters + self.embedding_parameters

    @property
    def flops_per_token(self) -> float:
        """Training FLOP for one token: 6 for each weight of blocks and output layer, and attention over the context.

        Attention's two products cost 2 * 2 * context * width a layer forward (no causal saving counted, as in
        [@hoffmann2022training], appendix F), three times that with the backward pass. The look-up of an embedding is
        free.
        """
        matrices = self.block_parameters + self.vocabulary * self.width
        return FLOPS_PER_PARAMETER_TOKEN * matrices + 12.0 * self.layers * self.context * self.width
