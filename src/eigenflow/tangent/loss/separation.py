"""How a loss that is known as a function only is put together: which outputs meet in it, and how samples add up."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vjp

__all__ = ["find_reduction", "is_separate", "outputs_are_separate", "weight_beside"]

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


def weight_beside(
    gradient: Callable[[Tensor, Tensor], Tensor], targets: Tensor, others: Tensor, outputs_a_sample: int
) -> float | None:
    """How much some samples weigh in a mean with others, in units of those: W in (W l + W' l') / (W + W').

    A gradient by the outputs of the samples among all is W / (W + W') of what it is without the others. It has to be
    so for all of them, wherever they stand, or the loss is no such mean.

    Returns:
        W / W'; infinite for a sum, where the others do not matter; None if it is neither.
    """
    generator = torch.Generator().manual_seed(3)
    dtype = targets.dtype if targets.is_floating_point() else torch.float64
    count = len(targets)
    outputs = torch.rand((count + len(others), outputs_a_sample), generator=generator, dtype=torch.float64)
    outputs = outputs.to(device=targets.device, dtype=dtype)
    own, rest = outputs[:count], outputs[count:]
    try:
        alone = gradient(own, targets)
        before = gradient(outputs, torch.cat([targets, others]))[:count]
        behind = gradient(torch.cat([rest, own]), torch.cat([others, targets]))[len(others) :]
    except Exception:
        return None
    size = float(alone.square().sum())
    if not size > 0:
        return None
    ratio = float((alone * before).sum()) / size
    allowed = torch.finfo(dtype).eps ** 0.5 * size**0.5
    is_mean = all(bool((found - ratio * alone).norm() <= allowed) for found in (before, behind))
    if not is_mean or not 0.0 < ratio <= 1.0 + torch.finfo(dtype).eps ** 0.5:
        return None
    return torch.inf if ratio >= 1.0 - torch.finfo(dtype).eps ** 0.5 else ratio / (1.0 - ratio)
