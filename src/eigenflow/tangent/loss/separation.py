"""How a loss that is known as a function only is put together: which outputs meet in it, and how samples add up."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vjp

__all__ = ["find_reduction", "is_separate", "outputs_are_separate"]

# Random subsets of the samples whose weights are compared: equal sums by chance do not happen six times.
SUBSETS = 6


def is_separate(field: Callable[[Tensor], Tensor], outputs: Tensor, axis: int) -> bool | None:
    """Whether the field's entries at one index of an axis depend on the outputs at that index alone.

    Any two indices differ in a binary digit, so moving the indices with a digit set shows, digit by digit, whether the
    others answer. Between samples rounding is allowed for, between outputs nothing is: zeros of such a field are exact.
    None where the answer is not finite.
    """
    length = outputs.shape[axis]
    generator = torch.Generator().manual_seed(0)
    directions = torch.rand(outputs.shape, generator=generator, dtype=outputs.dtype).to(outputs.device) + 0.5
    indices = torch.arange(length, device=outputs.device)
    allowed = torch.finfo(outputs.dtype).eps ** 0.5 if axis == 0 else 0.0
    _, pull_back, *_ = vjp(field, outputs)
    for digit in range(max(0, length - 1).bit_length()):
        is_moved = ((indices >> digit) & 1).bool()
        is_moved = is_moved[:, None] if axis == 0 else is_moved[None]
        (change,) = pull_back(directions * is_moved)
        if not bool(torch.isfinite(change).all()):
            return None
        if bool((change * ~is_moved).norm() > allowed * change.norm()):
            return False
    return True


def outputs_are_separate(
    gradient: Callable[[Tensor, Tensor], Tensor], targets: Tensor, output_shape: torch.Size, dtype: torch.dtype
) -> bool:
    """Whether the Hessian is diagonal, tried at values of any sign and at values between zero and one."""
    generator = torch.Generator().manual_seed(1)
    shape = output_shape[0], output_shape.numel() // output_shape[0]
    tries = (torch.randn(shape, generator=generator, dtype=dtype), torch.rand(shape, generator=generator, dtype=dtype))
    found = []
    for outputs in (z.to(targets.device) for z in tries):
        try:
            if bool(torch.isfinite(gradient(outputs, targets)).all()):
                found.append(is_separate(lambda z: gradient(z, targets), outputs, axis=1))
        except Exception:
            return False  # `require_usable` says what is wrong, on the real outputs
    return bool(found) and all(one is True for one in found)


def find_reduction(
    gradient: Callable[[Tensor, Tensor], Tensor], targets: Tensor, output_shape: torch.Size, dtype: torch.dtype
) -> str:
    """Whether some samples alone have the gradients that they have among all: "sum", "mean", or "unknown"."""
    samples = output_shape[0]
    generator = torch.Generator().manual_seed(2)
    outputs = torch.rand((samples, output_shape.numel() // samples), generator=generator, dtype=dtype)
    outputs = outputs.to(targets.device)
    lengths = [1 + index * (samples - 1) // SUBSETS for index in range(SUBSETS)]
    drawn = [torch.randperm(samples, generator=generator)[:length] for length in lengths]
    subsets = [torch.arange(max(1, samples // 2)), *drawn]
    names = {"sum", "mean"}
    try:
        whole = gradient(outputs, targets)
        for subset in (s.to(targets.device) for s in subsets):
            alone, ratio = gradient(outputs[subset], targets[subset]), samples / len(subset)
            allowed = torch.finfo(dtype).eps ** 0.5 * alone.norm()
            among = {"sum": whole[subset], "mean": ratio * whole[subset]}
            names &= {name for name, expected in among.items() if (alone - expected).norm() <= allowed}
    except Exception:
        return "unknown"  # `require_usable` says what is wrong, on the real outputs
    # Gradients that vanish, as where a margin is kept, tell nothing.
    return names.pop() if len(names) == 1 else "sum" if samples == 1 and names else "unknown"
