"""Explicit rows of J: of parameters without a rule, and of layers whose rows are cheaper than Gram matrices."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from eigenflow.tangent.model.network import Network, Parameters
from eigenflow.tangent.model.samples import Inputs
from eigenflow.tangent.rules.layers import Spread
from eigenflow.tangent.rules.parts import Workspace
from eigenflow.tangent.rules.uses import Factors

__all__ = ["FactorRows", "full_rows", "sample_rows"]


@dataclass(frozen=True)
class FactorRows:
    """Rows (samples * outputs, columns) of a sum of factors, made slice by slice of the parameter's first axis.

    Attributes:
        factors: Outer and token factors over one parameter of shape (out, in), in = signal width for tokens.
        dots: Their derivatives, or None.
        length: Length of the sliced axis: outs, or the number of tokens.
        weights: Diagonal of P^(-1), (out, in), whose roots multiply the columns, or None.
    """

    factors: list[Factors]
    dots: list[Factors] | None
    length: int
    weights: Tensor | None

    @property
    def columns(self) -> int:
        """Columns in all."""
        first = self.factors[0]
        assert first.inputs is not None
        return self.length * (first.signals.shape[-1] if first.is_token else first.inputs.shape[-1])

    def slices(self, count: int) -> Iterator[slice]:
        """The sliced axis in `count` nearly equal parts."""
        step = -(-self.length // count)
        for start in range(0, self.length, step):
            yield slice(start, min(start + step, self.length))

    def rows(self, part: slice, workspace: Workspace, name: str) -> tuple[Tensor, Tensor | None]:
        """Rows of a slice, and their derivative, in buffers of that name."""
        first = self.factors[0]
        samples, classes = first.signals.shape[:2]
        shape = samples * classes, self.columns // self.length * (part.stop - part.start)
        rows = workspace.take(f"{name} rows", *shape)
        for number, f in enumerate(self.factors):
            _write_rows(rows, f.inputs, f.signals, part, f.is_token, number > 0)
        dots = None
        if self.dots is not None:
            dots, is_written = workspace.take(f"{name} dots", *shape), False
            for f, d in zip(self.factors, self.dots, strict=True):
                _write_rows(dots, f.inputs, d.signals, part, f.is_token, is_written)
                is_written = True
                # What a network's inputs meet first does not move.
                if not f.is_token and d.inputs is not None and bool(d.inputs.any()):
                    _write_rows(dots, d.inputs, f.signals, part, False, is_written)
        if self.weights is not None:
            roots = self.weights[part].sqrt().reshape(-1)
            rows.mul_(roots)
            dots = None if dots is None else dots.mul_(roots)
        return rows, dots


def _write_rows(
    rows: Tensor, inputs: Tensor | None, signals: Tensor, part: slice, is_token: bool, is_added: bool
) -> None:
    """sum_t g_t (x) a_t over a slice of outs; sum_t onehot(token_t) (x) g_t over a slice of tokens.

    Rows are large: whatever is made beside them costs as much as they do.
    """
    assert inputs is not None
    samples, classes, positions = signals.shape[:3]
    count = part.stop - part.start
    if is_token:
        numbers = torch.arange(part.start, part.stop, device=inputs.device)
        one_hot = (inputs[:, None, :] == numbers[:, None]).to(signals.dtype)  # (samples, tokens, positions)
        found = torch.matmul(one_hot[:, None], signals).reshape(rows.shape)
        _ = rows.add_(found) if is_added else rows.copy_(found)
    elif positions == 1:
        view, g, a = rows.view(samples, classes, count, -1), signals[:, :, 0, part, None], inputs[:, :, None, :]
        _ = view.addcmul_(g, a) if is_added else torch.mul(g, a, out=view)
    else:
        view = rows.view(samples, classes * count, -1)
        g = signals[..., part].transpose(2, 3).reshape(samples, classes * count, positions)
        torch.baddbmm(view, g, inputs, beta=1 if is_added else 0, out=view)


def sample_rows(
    network: Network,
    names: list[str],
    parameters: Parameters,
    rest: Parameters,
    inputs: Inputs,
    direction: Parameters | None,
    spread: Spread,
    width: int,
) -> tuple[Tensor, Tensor | None]:
    """Rows of J, (samples * width, columns), sample by sample: a row costs one backward pass of its own sample."""
    samples = len(inputs)

    def rows(p: Parameters) -> Tensor:
        fixed = {name: tensor for name, tensor in p.items() if name not in names}
        outputs = network.apply(p, rest, inputs)
        basis = torch.eye(width, dtype=outputs.dtype, device=outputs.device)[:, None, :]
        cotangents = spread(outputs, basis.expand(width, samples, width)).transpose(0, 1)

        def single(x: Inputs, cotangent: Tensor) -> Parameters:
            _, pull_back, *_ = vjp(
                lambda some: network.apply({**fixed, **some}, rest, x[None]), {name: p[name] for name in names}
            )
            return vmap(pull_back)(cotangent[:, None])[0]

        gradients = vmap(single)(inputs, cotangents)
        return torch.cat([gradients[name].flatten(2) for name in names], dim=2).flatten(0, 1)

    return _with_rate(rows, parameters, direction)


def _with_rate(
    rows: Callable[[Parameters], Tensor], parameters: Parameters, direction: Parameters | None
) -> tuple[Tensor, Tensor | None]:
    if direction is None:
        return rows(parameters), None
    # PyTorch skips terms of second derivatives, or lacks them, where gradients are switched off.
    with torch.enable_grad():
        values, dots, *_ = jvp(rows, (dict(parameters),), (dict(direction),))
    return values.detach(), dots.detach()


def full_rows(
    network: Network,
    names: list[str],
    parameters: Parameters,
    rest: Parameters,
    inputs: Inputs,
    direction: Parameters | None,
    spread: Spread,
    width: int,
    chunk: int,
) -> tuple[Tensor, Tensor | None]:
    """Rows of J, (samples * width, columns), by one backward pass of the whole probe set each.

    The only way that holds for networks whose outputs depend on other samples' inputs.
    """

    def rows(p: Parameters) -> Tensor:
        fixed = {name: tensor for name, tensor in p.items() if name not in names}
        outputs, pull_back, *_ = vjp(
            lambda some: network.apply({**fixed, **some}, rest, inputs), {name: p[name] for name in names}
        )
        size = len(inputs) * width
        basis = torch.eye(size, dtype=outputs.dtype, device=outputs.device).reshape(size, len(inputs), width)
        (gradients,) = vmap(pull_back, chunk_size=chunk)(spread(outputs, basis))
        return torch.cat([gradients[name].flatten(1) for name in names], dim=1)

    return _with_rate(rows, parameters, direction)
