"""What is right: dense, in float64, by plain reverse mode and differences; shares no code with the package.

J is that of reverse mode, one output at a time, so J^T r is the gradient that training uses, whatever custom backward
passes say. The model is built anew, never shared with the probe. Rates are sixth-order central differences of M along
minus the loss's gradient.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.overrides import TorchFunctionMode

from zoo.architecture import Architecture, Inputs, keep_random_states, quiet, select

__all__ = ["Reference", "cluster_sums", "draw_targets", "find_clusters", "reference"]

# Eigenvalues closer than this, relative to the largest, form a cluster.
GAP = 1e-6
# Largest change of any parameter at the nearest node of the stencil. Away from kinks the first one will do.
STEPS = (1e-3, 3e-4, 3e-3, 1e-4, 3e-5, 1e-5, 3e-6)
# Offset and weights of the sixth-order stencil, which is odd, and of the fourth-order one on the same nodes.
STENCIL = ((1, 45.0 / 60.0, 8.0 / 12.0), (2, -9.0 / 60.0, -1.0 / 12.0), (3, 1.0 / 60.0, 0.0))
# Of the two orders, relative to the largest rate: far below what anything is judged by.
AGREEMENT = 1e-9


@dataclass(frozen=True)
class Reference:
    """Right values of one architecture and loss.

    Attributes:
        eigenvalues: Of M, decreasing.
        clusters: First index of each cluster, and the end.
        coefficients: Norm of P e, per cluster.
        rates: Sum of d lambda / dt along minus the gradient, per cluster.
        rate_error: Differences of fourth and of sixth order differ by this at most, over all clusters.
        rate_floor: What rounding leaves of rates, where all are zero: eps-like part of lambda_1 |dtheta| / |theta|.
        trace: Tr M.
        loss: The loss.
    """

    eigenvalues: Tensor
    clusters: tuple[int, ...]
    coefficients: Tensor
    rates: Tensor
    rate_error: float
    rate_floor: float
    trace: float
    loss: float


class _Upcast(TorchFunctionMode):
    """float32 that a model makes or casts to inside forward is float64 here, so that the reference has no rounding."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is Tensor.float:
            return args[0].double()
        if getattr(func, "__name__", "") in ("grouped_mm", "_grouped_mm"):
            return _grouped_product(*args[:2], offs=(kwargs or {}).get("offs", args[-1]))
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        return func(*args, **kwargs)


def _grouped_product(rows: Tensor, weights: Tensor, *, offs: Tensor) -> Tensor:
    """grouped_mm, which knows no float64: rows up to each offset times the matrix of their group."""
    parts = torch.tensor_split(rows, offs[:-1].tolist())
    return torch.cat([part @ weight for part, weight in zip(parts, weights, strict=True)])


@contextmanager
def _in_float64() -> Iterator[None]:
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with quiet(), torch.compiler.set_stance("force_eager"), torch.enable_grad(), _Upcast():
            yield
    finally:
        torch.set_default_dtype(kept)


def _wide(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor


def draw_targets(architecture: Architecture, loss: str, seed: int = 0) -> Tensor:
    """Labels, or targets in the type and shape of what the model returns."""
    model, inputs = architecture.make(seed)
    with quiet(), keep_random_states(), torch.compiler.set_stance("force_eager"):
        outputs = select(_call(model, inputs), architecture.output)
    shape = outputs.shape
    generator = torch.Generator().manual_seed(2000 + seed)
    if loss == "mse":
        return torch.randn(shape, generator=generator).to(outputs.dtype)
    axis = architecture.class_axis % len(shape)
    positions = shape[:axis] + shape[axis + 1 :]
    labels = torch.randint(0, shape[axis], positions, generator=generator)
    if architecture.ignored:
        labels.view(-1)[1 : 1 + architecture.ignored] = -100
    return labels


def reference(architecture: Architecture, loss: str, seed: int = 0, *, rates: bool = True) -> Reference:
    """Compute what a measurement of the architecture must find."""
    problem = _Problem(architecture, loss, seed)
    M, error, value, direction = problem.at_start()
    eigenvalues, vectors = torch.linalg.eigh((M + M.T) / 2)
    eigenvalues, vectors = eigenvalues.flip(0), vectors.flip(1)
    clusters = find_clusters(eigenvalues)
    amplitudes = vectors.T @ error
    coefficients = cluster_sums(amplitudes.square(), clusters).sqrt()
    size = torch.cat([_real(d) for d in direction]).norm()
    theta = torch.cat([_real(p) for p in problem.start]).norm()
    floor = 1e-5 * float(eigenvalues[0].clamp(min=0) * size / theta.clamp(min=1e-300))
    found, error_estimate = torch.full((len(clusters) - 1,), torch.nan), float("inf")
    if rates:
        found, error_estimate = _plateau(problem, direction, vectors, clusters, floor)
    return Reference(
        eigenvalues, clusters, coefficients, found, error_estimate, floor, float(M.diagonal().sum()), value
    )


def find_clusters(eigenvalues: Tensor, gap: float = GAP) -> tuple[int, ...]:
    """Starts of runs of neighbours closer than `gap` times the largest, and the end."""
    limit = gap * float(eigenvalues.abs().max())
    breaks = ((eigenvalues[:-1] - eigenvalues[1:]) > limit).nonzero()[:, 0] + 1
    return (0, *breaks.tolist(), len(eigenvalues))


def cluster_sums(values: Tensor, clusters: tuple[int, ...]) -> Tensor:
    """Sum of each cluster's values."""
    return torch.stack([values[a:b].sum() for a, b in itertools.pairwise(clusters)])


class _Problem:
    """A model in float64 whose parameters can be moved along a line."""

    def __init__(self, architecture: Architecture, loss: str, seed: int):
        self.architecture, self.loss = architecture, loss
        model, inputs = architecture.make(seed)
        self.model = model._apply(_wide)
        for module in model.modules():
            vars(module).update({k: _wide(v) for k, v in vars(module).items() if isinstance(v, Tensor)})
        self.inputs = _map(inputs, _wide)
        self.targets = _wide(draw_targets(architecture, loss, seed))
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.start = [p.detach().clone() for p in self.model.parameters() if p.requires_grad]
        self.buffers = [(b, b.detach().clone()) for b in self.model.buffers()]

    def at_start(self) -> tuple[Tensor, Tensor, float, list[Tensor]]:
        """M, e, the loss and minus its gradient by each parameter."""
        M, error, value, gradient = self._evaluate()
        pieces = gradient.split([_real(p).numel() for p in self.start])
        return M, error, value, [-_shaped_like(g, p) for g, p in zip(pieces, self.start, strict=True)]

    def moved(self, direction: list[Tensor], time: float) -> Tensor:
        """M after a time on the line."""
        self._put(direction, time)
        try:
            return self._evaluate()[0]
        finally:
            self._put(direction, 0.0)

    def _put(self, direction: list[Tensor], time: float) -> None:
        with torch.no_grad():
            for parameter, start, step in zip(self.parameters, self.start, direction, strict=True):
                parameter.copy_(start + time * step)
            for buffer, kept in self.buffers:
                buffer.copy_(kept)

    def _evaluate(self) -> tuple[Tensor, Tensor, float, Tensor]:
        with _in_float64(), keep_random_states():
            outputs = select(_call(self.model, self.inputs), self.architecture.output)
            J = _jacobian(outputs, self.parameters)
        z = outputs.detach()
        value, r, root, inverse = _squared(z, self.targets) if self.loss == "mse" else self._entropy(z)
        K = J @ J.T
        return root @ K @ root, inverse @ r, value, J.T @ r

    def _entropy(self, z: Tensor) -> tuple[float, Tensor, Tensor, Tensor]:
        axis = self.architecture.class_axis % z.ndim
        order = torch.arange(z.numel()).reshape(z.shape).movedim(axis, -1)
        return _cross_entropy(z.movedim(axis, -1), self.targets, order.reshape(-1, z.shape[axis]))


def _squared(z: Tensor, y: Tensor) -> tuple[float, Tensor, Tensor, Tensor]:
    """Loss, gradient by the outputs, and root of the Hessian f I with its inverse; f = 2 / (samples outputs)."""
    f = 2.0 / z.numel()
    eye = torch.eye(z.numel(), dtype=z.dtype)
    return float((z - y).square().mean()), f * (z - y).reshape(-1), f**0.5 * eye, f**-0.5 * eye


def _cross_entropy(z: Tensor, labels: Tensor, index: Tensor) -> tuple[float, Tensor, Tensor, Tensor]:
    """The same for the mean of -log p over positions; Hessian f (diag(p) - p p^T), and its symmetric root."""
    classes = z.shape[-1]
    z, labels = z.reshape(-1, classes), labels.reshape(-1)
    counts = (labels != -100).to(z.dtype)[:, None]
    f = 1.0 / float(counts.sum())
    log_p = z.log_softmax(-1)
    p, y = log_p.exp(), one_hot(labels.clamp(min=0), classes)
    value = -f * float((counts * y * log_p).sum())
    size = z.numel()
    r, root, inverse = (torch.zeros(size, dtype=z.dtype), *torch.zeros(2, size, size, dtype=z.dtype))
    r[index.reshape(-1)] = (f * counts * (p - y)).reshape(-1)
    for position, where in enumerate(index):
        if counts[position]:
            H = f * (torch.diag(p[position]) - torch.outer(p[position], p[position]))
            values, vectors = torch.linalg.eigh(H)
            is_kept = torch.arange(classes) > 0  # the smallest is the sum of the outputs, to which softmax is blind
            roots = torch.where(is_kept, values.clamp(min=0).sqrt(), 0.0)
            inverses = torch.where(is_kept, 1.0 / roots.clamp(min=1e-150), 0.0)
            root[where[:, None], where] = vectors @ torch.diag(roots) @ vectors.T
            inverse[where[:, None], where] = vectors @ torch.diag(inverses) @ vectors.T
    return value, r, root, inverse


def _jacobian(outputs: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """One row at a time, by `backward` as in training: reentrant checkpoints know nothing else."""
    kept = [p.grad for p in parameters]
    rows = []
    for output in outputs.reshape(-1):
        for parameter in parameters:
            parameter.grad = None
        if output.requires_grad:
            output.backward(retain_graph=True)
        rows.append(torch.cat([_dense_gradient(p) for p in parameters]))
    for parameter, grad in zip(parameters, kept, strict=True):
        parameter.grad = grad
    return torch.stack(rows)


def _dense_gradient(parameter: nn.Parameter) -> Tensor:
    grad = parameter.grad
    return _real(torch.zeros_like(parameter) if grad is None else grad.to_dense())


def _real(tensor: Tensor) -> Tensor:
    """All entries in a row; a complex one is two."""
    tensor = tensor.detach()
    return (torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor).reshape(-1)


def _shaped_like(flat: Tensor, parameter: Tensor) -> Tensor:
    if parameter.is_complex():
        flat = torch.view_as_complex(flat.reshape(-1, 2))
    return flat.reshape(parameter.shape)


def _plateau(
    problem: _Problem, direction: list[Tensor], vectors: Tensor, clusters: tuple[int, ...], floor: float
) -> tuple[Tensor, float]:
    """Rates by cluster from the step at which two orders agree best, and how they differ there.

    A kink between the nodes, where both orders are wrong, is seen by their difference, and a smaller step is tried.
    """
    largest = max(float(d.abs().max()) for d in direction if d.numel())
    if largest == 0.0:
        return torch.zeros(len(clusters) - 1, dtype=torch.float64), 0.0
    best, smallest = None, float("inf")
    for step in STEPS:
        h = step / largest
        odd = [(problem.moved(direction, k * h) - problem.moved(direction, -k * h)) / h for k, *_ in STENCIL]
        orders = zip(*(weights for _, *weights in STENCIL), strict=True)
        sixth, fourth = (sum(w * part for w, part in zip(order, odd, strict=True)) for order in orders)
        found, other = (cluster_sums(((M @ vectors) * vectors).sum(0), clusters) for M in (sixth, fourth))
        difference = float((found - other).abs().max())
        if best is None or difference < smallest:
            best, smallest = found, difference
        if smallest <= AGREEMENT * max(float(best.abs().max()), floor):
            break
    assert best is not None
    return best, smallest


def _call(model: nn.Module, inputs: Inputs) -> Any:
    if isinstance(inputs, Tensor):
        return model(inputs)
    return model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)


def _map(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: change(x) for name, x in inputs.items()}
    return tuple(change(x) for x in inputs)
