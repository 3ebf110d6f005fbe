"""PyTorch's own losses, as modules, functions or `functools.partial` of functions, mapped to losses with closed roots.

What has no curvature in the outputs, takes more than outputs and targets, or cannot be differentiated twice is refused
with what to do instead. Options that no closed form knows leave the function to `GeneralLoss`.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.loss.base import AbstractLoss, SquaredLoss
from eigenflow.tangent.loss.cross_entropy import IGNORED_LABEL, CrossEntropyLoss
from eigenflow.tangent.loss.general import GeneralLoss
from eigenflow.tangent.loss.pointwise_losses import (
    BinaryLogitLoss,
    BinaryProbabilityLoss,
    HuberLoss,
    PoissonLoss,
    SoftMarginLoss,
)

__all__ = ["torch_loss"]

_LINEAR = "is straight in the outputs almost everywhere, so it has no curvature and M = J J^T would be zero. "
_MORE = "takes more than outputs and targets. Pass a function of both that splits the outputs, such as "
_SCORES = (
    "takes log-probabilities, in which it is straight: M = J J^T would be zero. Drop LogSoftmax from the model "
    "and pass loss='cross_entropy' with the same targets, "
)
_DROP = "; where it is not convex, wrap the function: GeneralLoss(function, defect='drop')."
_OWN = "has parameters of its own. Make them part of `model`, whose outputs are then scores, and pass "

# What is refused, and why.
_REFUSED: dict[Callable[..., Any], str] = {
    functional.l1_loss: _LINEAR + "Pass torch.nn.HuberLoss(delta=...) beyond the residuals, or loss='mse'.",
    functional.hinge_embedding_loss: _LINEAR + "Pass torch.nn.SoftMarginLoss(), with targets -1 and 1.",
    functional.multilabel_margin_loss: _LINEAR
    + "Pass torch.nn.BCEWithLogitsLoss(), with targets 0 and 1 for every class.",
    functional.nll_loss: _SCORES + "class labels: it is the same loss.",
    functional.kl_div: _SCORES
    + "probabilities: it is the same loss but for the targets' entropy (and 'mean' divides by the positions alone, as "
    "KLDivLoss(reduction='batchmean') does).",
    functional.gaussian_nll_loss: _MORE
    + "lambda z, y: torch.nn.functional.gaussian_nll_loss(z[:, :1], y, z[:, 1:].exp())"
    + _DROP,
    functional.cosine_embedding_loss: _MORE
    + "lambda z, y: torch.nn.functional.cosine_embedding_loss(z[:, :2], z[:, 2:], y)"
    + _DROP,
    functional.margin_ranking_loss: _LINEAR
    + "Pass a smooth one: lambda z, y: torch.nn.functional.softplus(-y * (z[:, 0] - z[:, 1])).mean().",
    functional.triplet_margin_loss: _MORE
    + "lambda z, y: torch.nn.functional.triplet_margin_loss(z[:, :2], z[:, 2:4], z[:, 4:])"
    + _DROP,
    functional.triplet_margin_with_distance_loss: _MORE
    + "lambda z, y: torch.nn.functional.triplet_margin_loss(z[:, :2], z[:, 2:4], z[:, 4:])"
    + _DROP,
    functional.ctc_loss: "cannot be differentiated twice in PyTorch, so it has no Hessian here. Pass "
    "loss='cross_entropy' with labels aligned to the positions.",
    nn.AdaptiveLogSoftmaxWithLoss: _OWN + "loss='cross_entropy'.",
    nn.LinearCrossEntropyLoss: _OWN + "loss='cross_entropy'.",
}

# The function and the options of every module; modules with several parts are their own.
_MODULES: dict[type[nn.Module], tuple[Callable[..., Any], tuple[str, ...]]] = {
    nn.MSELoss: (functional.mse_loss, ("reduction",)),
    nn.CrossEntropyLoss: (functional.cross_entropy, ("weight", "ignore_index", "reduction", "label_smoothing")),
    nn.BCEWithLogitsLoss: (functional.binary_cross_entropy_with_logits, ("weight", "pos_weight", "reduction")),
    nn.BCELoss: (functional.binary_cross_entropy, ("weight", "reduction")),
    nn.HuberLoss: (functional.huber_loss, ("reduction", "delta")),
    nn.SmoothL1Loss: (functional.smooth_l1_loss, ("reduction", "beta")),
    nn.PoissonNLLLoss: (functional.poisson_nll_loss, ("log_input", "full", "eps", "reduction")),
    nn.SoftMarginLoss: (functional.soft_margin_loss, ("reduction",)),
    nn.MultiLabelSoftMarginLoss: (functional.multilabel_soft_margin_loss, ("weight", "reduction")),
    nn.MultiMarginLoss: (functional.multi_margin_loss, ("p", "margin", "weight", "reduction")),
    nn.L1Loss: (functional.l1_loss, ()),
    nn.NLLLoss: (functional.nll_loss, ()),
    nn.KLDivLoss: (functional.kl_div, ()),
    nn.GaussianNLLLoss: (functional.gaussian_nll_loss, ()),
    nn.HingeEmbeddingLoss: (functional.hinge_embedding_loss, ()),
    nn.MultiLabelMarginLoss: (functional.multilabel_margin_loss, ()),
    nn.CosineEmbeddingLoss: (functional.cosine_embedding_loss, ()),
    nn.MarginRankingLoss: (functional.margin_ranking_loss, ()),
    nn.TripletMarginLoss: (functional.triplet_margin_loss, ()),
    nn.TripletMarginWithDistanceLoss: (functional.triplet_margin_with_distance_loss, ()),
    nn.CTCLoss: (functional.ctc_loss, ()),
}


def torch_loss(loss: Callable[..., Any]) -> AbstractLoss | None:
    """Map a loss of PyTorch.

    Args:
        loss: A module, a function of `torch.nn.functional`, or a `functools.partial` of one with keywords.

    Returns:
        The loss, or None if it is none of PyTorch's, or has options that only the function itself knows.

    Raises:
        ArgumentError: If it cannot be measured, with what to pass instead.
    """
    function, options, title = _taken_apart(loss)
    if function in _REFUSED and "var" not in options:
        raise ArgumentError(f"`loss` {title} {_REFUSED[function]}")
    maker = _MAKERS.get(function)
    if maker is None:
        return None
    options = _with_reduction(dict(options), title)
    known = inspect.signature(maker).parameters
    return maker(**options) if all(name in known for name in options) else None


def _taken_apart(loss: Callable[..., Any]) -> tuple[Callable[..., Any], Mapping[str, Any], str]:
    """The function, its options, and what to call it. Subclasses that compute otherwise are not PyTorch's."""
    if isinstance(loss, nn.Module):
        for kind in (nn.AdaptiveLogSoftmaxWithLoss, nn.LinearCrossEntropyLoss):
            if isinstance(loss, kind):
                return kind, {}, type(loss).__name__
        for kind, (function, names) in _MODULES.items():
            if isinstance(loss, kind) and type(loss).forward is kind.forward:
                return function, {name: getattr(loss, name) for name in names}, type(loss).__name__
        return loss, {}, type(loss).__name__
    if isinstance(loss, functools.partial) and not loss.args:
        return loss.func, loss.keywords, getattr(loss.func, "__name__", "partial")
    return loss, {}, getattr(loss, "__name__", type(loss).__name__)


def _with_reduction(options: dict[str, Any], title: str) -> dict[str, Any]:
    """Options with the older ways of saying the reduction put into the present one."""
    size_average, reduce = options.pop("size_average", None), options.pop("reduce", None)
    if size_average is not None or reduce is not None:
        is_mean = size_average is None or bool(size_average)
        options["reduction"] = "none" if reduce is False else "mean" if is_mean else "sum"
    reduction = options.get("reduction", "mean")
    if reduction not in ("mean", "sum"):
        raise ArgumentError(
            f"`loss` {title} must have reduction='mean' or 'sum', but has {reduction!r}: the operator belongs to one "
            f"number. To weight samples by hand, pass a function that returns the weighted sum."
        )
    return options


def _mse(reduction: str = "mean") -> AbstractLoss:
    return SquaredLoss(kind="mse" if reduction == "mean" else "sum_squares", is_exact=True)


def _cross_entropy(
    weight: Tensor | None = None,
    ignore_index: int = IGNORED_LABEL,
    reduction: Any = "mean",
    label_smoothing: float = 0.0,
) -> AbstractLoss:
    return CrossEntropyLoss(
        weight=weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )


def _huber(reduction: Any = "mean", delta: float = 1.0) -> AbstractLoss:
    return HuberLoss(reduction=reduction, delta=float(delta))


def _smooth_l1(reduction: Any = "mean", beta: float = 1.0) -> AbstractLoss:
    if beta == 0:
        raise ArgumentError(f"`loss` SmoothL1Loss with beta=0 {_REFUSED[functional.l1_loss]}")
    return HuberLoss(reduction=reduction, delta=float(beta), scale=1.0 / beta)


def _multilabel_soft_margin(weight: Tensor | None = None, reduction: Any = "mean") -> AbstractLoss:
    return BinaryLogitLoss(weight=weight, reduction=reduction, is_class_mean=True)


def _multi_margin(
    p: int = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: Any = "mean"
) -> AbstractLoss:
    if p == 1:
        raise ArgumentError(
            f"`loss` MultiMarginLoss with p=1 {_LINEAR}Pass torch.nn.MultiMarginLoss(p=2), or loss='cross_entropy'."
        )

    def multi_margin_loss(z: Tensor, y: Tensor) -> Tensor:
        own = torch.take_along_dim(z, y[:, None].long(), 1)
        terms = (margin - own + z).clamp(min=0.0).square()
        if weight is not None:
            terms = terms * weight.detach().to(z)[y.long()][:, None]
        # A class is not held against itself.
        total = (torch.scatter(terms, 1, y[:, None].long(), 0.0) / z.shape[1]).sum()
        return total / len(z) if reduction == "mean" else total

    return GeneralLoss(multi_margin_loss)


_MAKERS: dict[Callable[..., Any], Callable[..., AbstractLoss]] = {
    functional.mse_loss: _mse,
    functional.cross_entropy: _cross_entropy,
    functional.binary_cross_entropy_with_logits: BinaryLogitLoss,
    functional.binary_cross_entropy: BinaryProbabilityLoss,
    functional.huber_loss: _huber,
    functional.smooth_l1_loss: _smooth_l1,
    functional.poisson_nll_loss: PoissonLoss,
    functional.soft_margin_loss: SoftMarginLoss,
    functional.multilabel_soft_margin_loss: _multilabel_soft_margin,
    functional.multi_margin_loss: _multi_margin,
}
