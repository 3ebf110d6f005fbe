"""`torch.nn.functional.grid_sample` by gathers, for pictures and volumes; it has no forward mode in PyTorch 2.13."""

from itertools import product

import torch
from torch import Tensor

__all__ = ["grid_sample"]


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The same values and derivatives; NotImplemented for bicubic samples.

    Args:
        input: (samples, channels, *sizes), two or three sizes.
        grid: (samples, *places, axes), coordinates in [-1, 1], the last axis of `input` first.
        mode: "bilinear" or "nearest".
        padding_mode: "zeros", "border" or "reflection".
        align_corners: Whether -1 and 1 are the centres of the outermost entries, or their outer edges.
    """
    if mode not in ("bilinear", "nearest"):
        return NotImplemented
    sizes = input.shape[2:]
    places = [
        _padded(_place(grid[..., -1 - axis], size, align_corners), size, padding_mode, align_corners)
        for axis, size in enumerate(sizes)
    ]
    if mode == "nearest":
        return _gathered(input, [torch.round(x) for x in places], grid)
    lower = [torch.floor(x.detach()) for x in places]
    total = None
    for corner in product((0, 1), repeat=len(sizes)):
        weight = torch.ones_like(places[0])
        for step, place, low in zip(corner, places, lower, strict=True):
            weight = weight * (place - low if step else 1.0 - (place - low))
        part = _gathered(input, [low + step for low, step in zip(lower, corner, strict=True)], grid) * weight[:, None]
        total = part if total is None else total + part
    assert total is not None
    return total


def _place(x: Tensor, size: int, align_corners: bool | None) -> Tensor:
    """From [-1, 1] to entries."""
    return (x + 1) * (0.5 * (size - 1)) if align_corners else ((x + 1) * size - 1) * 0.5


def _padded(x: Tensor, size: int, padding_mode: str, align_corners: bool | None) -> Tensor:
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        low, span = (0.0, float(size - 1)) if align_corners else (-0.5, float(size))
        if span == 0:
            return torch.zeros_like(x)
        distance = (x - low).abs()
        turns = torch.floor(distance.detach() / span)
        rest = distance - turns * span
        x = torch.where(turns.remainder(2) == 0, rest, span - rest) + low
    return x.clamp(0.0, float(size - 1))


def _gathered(input: Tensor, indices: list[Tensor], grid: Tensor) -> Tensor:
    """Entries at whole-numbered places, zero outside."""
    sizes = input.shape[2:]
    flat, inside = torch.zeros_like(grid[..., 0], dtype=torch.long), torch.ones_like(grid[..., 0], dtype=torch.bool)
    for index, size in zip(indices, sizes, strict=True):
        whole = index.detach().long()
        inside = inside & (whole >= 0) & (whole < size)
        flat = flat * size + whole.clamp(0, size - 1)
    samples, channels = input.shape[:2]
    picked = flat.reshape(samples, 1, -1).expand(samples, channels, -1)
    values = input.reshape(samples, channels, -1).gather(2, picked).reshape(samples, channels, *grid.shape[1:-1])
    return torch.where(inside[:, None], values, 0.0)
