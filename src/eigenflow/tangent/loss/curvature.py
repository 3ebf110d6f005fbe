"""The Hessian of a loss that is known as a function only, its root, and the root's derivative.

Everything is found by reverse mode: the Hessian by reverse over reverse, its derivative along a direction by one more
reverse pass, so that no operation of the function needs forward mode (`huber_loss`, `soft_margin_loss` and `mse_loss`
have none through their gradients in PyTorch 2.13).

Memory. One block of outputs x outputs a sample is held, and nothing else of that size beside what is being made: rows
of the Hessian come in slices, eigenvectors replace the block that they belong to, and products with the root are
batched matrix products whose operands are never expanded. A function of each output alone has vectors for blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor, is_gradtrackingtensor
from torch.func import vjp, vmap

__all__ = [
    "BlockRoot",
    "DiagonalRoot",
    "Root",
    "Rooted",
    "block_root",
    "diagonal_root",
    "root_product",
    "sample_blocks",
    "tolerance",
    "work_bytes",
]

# What making rows of the Hessian may hold at once.
SLICE_BYTES = 32 * 2**20
# Blocks are decomposed and multiplied in slices of about this size, of which a few copies are held.
BLOCK_BYTES = 4 * 2**20
# What reverse mode holds for every number of a row, at a guess.
REVERSE_COPIES = 8

Field = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DiagonalRoot:
    """B = diag(roots).

    Attributes:
        roots: (samples, outputs), >= 0.
    """

    roots: Float[Tensor, "samples outputs"]

    def times(self, rows: Tensor) -> Tensor:
        """B times rows (*block, samples, outputs)."""
        return self.roots * rows

    def transposed_times(self, rows: Tensor) -> Tensor:
        """B^T times rows."""
        return self.roots * rows

    def inverse_times(self, rows: Tensor) -> Tensor:
        """B^+ times rows."""
        return _inverse(self.roots) * rows

    def change(self, curvature: Tensor, rows: Tensor, is_transposed: bool) -> Tensor:
        """dB (or dB^T) times rows, when H changes by `curvature`."""
        del is_transposed
        return 0.5 * curvature * _inverse(self.roots) * rows

    def cotangent(self, left: Tensor, right: Tensor) -> Tensor:
        """S with sum(left . dB right) = sum(S dH)."""
        return 0.5 * _inverse(self.roots) * (left * right).flatten(0, -3).sum(0)

    def part(self, samples: slice | Tensor) -> "DiagonalRoot":
        """Of some samples."""
        return DiagonalRoot(self.roots[samples])


@dataclass(frozen=True)
class BlockRoot:
    """B = V diag(roots) V^T turn: the symmetric root, or one in another frame.

    Attributes:
        vectors: V, (samples, outputs, outputs), columns.
        roots: (samples, outputs), >= 0.
        turn: Rotations (samples, outputs, outputs), or None for the symmetric root.
    """

    vectors: Float[Tensor, "samples outputs outputs"]
    roots: Float[Tensor, "samples outputs"]
    turn: Float[Tensor, "samples outputs outputs"] | None = None

    def times(self, rows: Tensor) -> Tensor:
        """B times rows (*block, samples, outputs)."""
        turned = rows if self.turn is None else _matmul(self.turn, rows)
        return self._function(self.roots, turned)

    def transposed_times(self, rows: Tensor) -> Tensor:
        """B^T times rows."""
        product = self._function(self.roots, rows)
        return product if self.turn is None else _matmul(self.turn.mT, product)

    def inverse_times(self, rows: Tensor) -> Tensor:
        """B^+ times rows."""
        product = self._function(_inverse(self.roots), rows)
        return product if self.turn is None else _matmul(self.turn.mT, product)

    def inverse(self) -> Tensor:
        """B^+."""
        blocks = torch.empty_like(self.vectors)
        for part in _slices(self.vectors):
            inverse = (self.vectors[part] * _inverse(self.roots[part])[:, None, :]) @ self.vectors[part].mT
            blocks[part] = inverse if self.turn is None else self.turn[part].mT @ inverse
        return blocks

    def change(self, curvature: Tensor, rows: Tensor, is_transposed: bool) -> Tensor:
        """dB (or dB^T) times rows, when H changes by `curvature`.

        The symmetric root solves dB B + B dB = dH, which exists where eigenvalues meet; the carried one has B^+ dB
        symmetric, dB = dH (B^+)^T / 2. Both where H keeps its null space.
        """
        parts = _slices(self.vectors)
        if len(parts) > 1:
            some = [self.part(p).change(curvature[p], rows[..., p, :], is_transposed) for p in parts]
            return torch.cat(some, dim=-2)
        if self.turn is None:
            inner = _matmul(self.vectors.mT, rows)
            inner = _matmul((self.vectors.mT @ curvature @ self.vectors) * self._weights(), inner)
            return _matmul(self.vectors, inner)
        if is_transposed:
            return 0.5 * self.inverse_times(_matmul(curvature, rows))
        turned = _matmul(self.turn, rows)
        return 0.5 * _matmul(curvature, self._function(_inverse(self.roots), turned))

    def cotangent(self, left: Tensor, right: Tensor) -> Tensor:
        """S with sum(left . dB right) = sum(S * dH)."""
        if self.turn is None:
            a, b = (_matmul(self.vectors.mT, rows) for rows in (left, right))
            return self.vectors @ (_outer(a, b) * self._weights()) @ self.vectors.mT
        turned = self._function(_inverse(self.roots), _matmul(self.turn, right))
        return 0.5 * _outer(left, turned)

    def carried(self, frame: Float[Tensor, "samples outputs outputs"]) -> "BlockRoot":
        """The root in the frame in which B0^+ B is symmetric, with B0^+ = `frame`."""
        turns = torch.empty_like(self.vectors)
        for part in _slices(self.vectors):
            symmetric = (self.vectors[part] * self.roots[part, None, :]) @ self.vectors[part].mT
            turns[part] = _polar(frame[part] @ symmetric).mT
        return replace(self, turn=turns)

    def part(self, samples: slice | Tensor) -> "BlockRoot":
        """Of some samples."""
        return BlockRoot(self.vectors[samples], self.roots[samples], None if self.turn is None else self.turn[samples])

    def _function(self, values: Tensor, rows: Tensor) -> Tensor:
        """V diag(values) V^T times rows."""
        return _matmul(self.vectors, values * _matmul(self.vectors.mT, rows))

    def _weights(self) -> Tensor:
        """1 / (s_i + s_j), and zero where both are."""
        return _inverse(self.roots[..., :, None] + self.roots[..., None, :])


Root = DiagonalRoot | BlockRoot


@runtime_checkable
class Rooted(Protocol):
    """A loss as `root_product` sees it."""

    def root(self, outputs: Tensor, targets: Tensor) -> Root:
        """B."""
        ...

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """H: blocks, or their diagonals."""
        ...

    def hessian_along(self, outputs: Tensor, targets: Tensor, change: Tensor) -> Tensor:
        """dH when the outputs change."""
        ...


def root_product(loss: Rooted, outputs: Tensor, targets: Tensor, rows: Tensor, is_transposed: bool) -> Tensor:
    """B (or B^T) times rows (*block, samples, outputs), differentiable once by the outputs, in either mode."""
    return _RootProduct.apply(outputs, rows, loss, targets, is_transposed)  # pyright: ignore[reportReturnType]


class _RootProduct(torch.autograd.Function):
    """Own derivatives, because those of an eigendecomposition divide by gaps and torch's need forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(outputs: Tensor, rows: Tensor, loss: Rooted, targets: Tensor, is_transposed: bool) -> Tensor:
        root = loss.root(outputs, targets)
        return root.transposed_times(rows) if is_transposed else root.times(rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        outputs, rows, ctx.loss, ctx.targets, ctx.is_transposed = inputs
        ctx.save_for_forward(outputs, rows)
        ctx.save_for_backward(outputs, rows)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        change, moved = tangents[:2]
        outputs, rows = ctx.saved_tensors
        outputs, rows = plain(outputs), rows.detach()
        root = ctx.loss.root(outputs, ctx.targets)
        total = None
        if change is not None:
            curvature = ctx.loss.hessian_along(outputs, ctx.targets, plain(change))
            total = root.change(curvature, rows, ctx.is_transposed)
        if moved is not None:
            product = root.transposed_times(moved) if ctx.is_transposed else root.times(moved)
            total = product if total is None else total + product
        return torch.zeros_like(rows) if total is None else total

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (cotangent,) = cotangents
        outputs, rows = ctx.saved_tensors
        root = ctx.loss.root(outputs.detach(), ctx.targets)
        by_outputs = by_rows = None
        if ctx.needs_input_grad[0]:
            left, right = (rows, cotangent) if ctx.is_transposed else (cotangent, rows)
            weights = root.cotangent(*torch.broadcast_tensors(left, right))
            _, pull_back, *_ = vjp(lambda z: ctx.loss.hessian(z, ctx.targets), outputs)
            (by_outputs,) = pull_back(weights)
        if ctx.needs_input_grad[1]:
            by_rows = root.times(cotangent) if ctx.is_transposed else root.transposed_times(cotangent)
        return by_outputs, by_rows, None, None, None


def sample_blocks(field: Field, outputs: Float[Tensor, "samples outputs"]) -> Float[Tensor, "samples outputs outputs"]:
    """The Jacobian of a field of vectors, sample by sample, by one reverse pass per output for all samples at once."""
    samples, width = outputs.shape
    _, pull_back, *_ = vjp(field, outputs)
    step = max(1, SLICE_BYTES // (REVERSE_COPIES * outputs.numel() * outputs.element_size()))

    def rows(first: int) -> Tensor:
        count = min(step, width - first)
        basis = torch.zeros(count, width, dtype=outputs.dtype, device=outputs.device)
        basis.diagonal(first).fill_(1.0)
        return vmap(pull_back)(basis[:, None, :].expand(count, samples, width))[0].transpose(0, 1)

    part = rows(0)
    if step >= width or _is_tracked(part):
        return torch.cat([part, *(rows(first) for first in range(step, width, step))], dim=1)
    blocks = outputs.new_empty(samples, width, width)
    blocks[:, :step] = part
    for first in range(step, width, step):
        blocks[:, first : first + step] = rows(first)
    return blocks


def block_root(blocks: Float[Tensor, "samples outputs outputs"]) -> tuple[BlockRoot, Float[Tensor, "samples outputs"]]:
    """The symmetric root and all eigenvalues of H; the blocks are overwritten by their eigenvectors."""
    if _is_tracked(blocks):
        values, vectors = torch.linalg.eigh(blocks)
        return BlockRoot(vectors, _roots(values)), values
    values = blocks.new_empty(blocks.shape[:2])
    for part in _slices(blocks):
        values[part], blocks[part] = torch.linalg.eigh(blocks[part])
    return BlockRoot(blocks, _roots(values)), values


def diagonal_root(diagonal: Float[Tensor, "samples outputs"]) -> DiagonalRoot:
    """The root of a diagonal H: each entry is exact, so zero is zero."""
    return DiagonalRoot(diagonal.clamp(min=0.0).sqrt())


def tolerance(values: Tensor) -> Tensor:
    """Eigenvalues below this are zero up to rounding, per sample."""
    return 100 * values.shape[-1] * torch.finfo(values.dtype).eps * values.abs().amax(-1, keepdim=True)


def plain(tensor: Tensor) -> Tensor:
    """The tensor without its tangent, and without functorch's wrapper where that is the only one."""
    tensor = tensor.detach()
    if is_gradtrackingtensor(tensor):
        inner = get_unwrapped(tensor)
        if not is_functorch_wrapped_tensor(inner):
            return inner  # any operation here, detach too, would wrap it again
    return tensor


def _is_tracked(tensor: Tensor) -> bool:
    """Whether a derivative or a batch goes through the tensor, so that it must not be written into."""
    if is_functorch_wrapped_tensor(tensor):
        return True
    is_dual = torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None if _in_forward_mode() else False
    return is_dual or (torch.is_grad_enabled() and tensor.requires_grad)


def _in_forward_mode() -> bool:
    return torch.autograd.forward_ad._current_level >= 0


def _polar(blocks: Tensor) -> Tensor:
    """The nearest rotations.

    LAPACK's divide and conquer fails now and then where many singular values agree, which is what nearby roots give;
    its slower QR iteration does not.
    """
    try:
        left, _, right = torch.linalg.svd(blocks)
        return left @ right
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        found = [scipy.linalg.svd(block, lapack_driver="gesvd") for block in blocks.cpu().numpy()]
        return torch.stack([torch.from_numpy(left @ right) for left, _, right in found]).to(blocks)


def work_bytes(block_bytes: int) -> int:
    """What making and decomposing blocks of this size holds beside them, at most."""
    return min(2 * SLICE_BYTES, 8 * block_bytes)


def _roots(values: Tensor) -> Tensor:
    return torch.where(values > tolerance(values), values, 0.0).sqrt()


def _inverse(values: Tensor) -> Tensor:
    return torch.where(values > 0, 1.0 / torch.where(values > 0, values, 1.0), 0.0)


def _slices(blocks: Tensor) -> list[slice]:
    step = max(1, BLOCK_BYTES // max(1, blocks[0].numel() * blocks.element_size()))
    return [slice(first, first + step) for first in range(0, len(blocks), step)]


def _matmul(matrices: Tensor, rows: Tensor) -> Tensor:
    """One matrix a sample times rows (*block, samples, outputs), with one batched product and no expanded operand."""
    flat = rows.reshape(-1, *rows.shape[-2:])
    return torch.bmm(flat.transpose(0, 1), matrices.mT).transpose(0, 1).reshape(rows.shape)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """Sum over the block of left right^T, sample by sample."""
    left, right = (rows.reshape(-1, *rows.shape[-2:]).transpose(0, 1) for rows in (left, right))
    return left.mT @ right
