"""What a reader would use for leading eigenpairs of M: scipy or hessian-eigenthings over torch.func products."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.func import functional_call, jvp, vjp


@dataclass(frozen=True)
class Found:
    """Eigenvalues, largest first, with what they cost."""

    eigenvalues: np.ndarray
    products: int
    cpu_s: float
    says: str = ""


def products(model: nn.Module, inputs: torch.Tensor, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """v -> J J^T v / samples by one reverse and one forward pass, the usual recipe."""
    parameters = {name: p.detach().to(dtype) for name, p in model.named_parameters()}
    inputs = inputs.to(dtype)

    def apply(p: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional_call(model, p, (inputs,))

    outputs, pull_back, *_ = vjp(apply, parameters)

    def product(v: torch.Tensor) -> torch.Tensor:
        (gradient,) = pull_back(v.to(dtype).reshape(outputs.shape))
        change = jvp(apply, (parameters,), (gradient,))[1]
        return change.reshape(-1) / len(inputs)

    return product


def scipy_eigsh(
    model: nn.Module,
    inputs: torch.Tensor,
    modes: int,
    *,
    tolerance: float,
    basis: int,
    dtype: torch.dtype,
    start: np.ndarray | None = None,
) -> Found:
    """scipy.sparse.linalg.eigsh; the cost is that of everything from the weights on."""
    began, counted = time.process_time(), [0]
    product = products(model, inputs, dtype)
    size = len(inputs) * model(inputs[:1]).shape[1]

    def matvec(v: np.ndarray) -> np.ndarray:
        counted[0] += 1
        return product(torch.from_numpy(v.reshape(-1))).double().numpy()

    operator = LinearOperator((size, size), matvec=matvec, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size) if start is None else start
    values = eigsh(operator, k=modes, tol=tolerance, ncv=basis, v0=start, return_eigenvectors=True)[0]
    return Found(np.sort(values)[::-1], counted[0], time.process_time() - began)


def eigenthings(model: nn.Module, inputs: torch.Tensor, modes: int, **options: int | bool) -> Found | None:
    """hessian-eigenthings' Lanczos, on the same products; None if it is not installed."""
    if find_spec("hessian_eigenthings") is None:
        return None
    from hessian_eigenthings.algorithms.lanczos import lanczos
    from hessian_eigenthings.operators.base import LambdaOperator

    began, counted = time.process_time(), [0]
    product = products(model, inputs, torch.float64)

    def matvec(v: torch.Tensor) -> torch.Tensor:
        counted[0] += 1
        return product(v)

    size = len(inputs) * model(inputs[:1]).shape[1]
    result = lanczos(LambdaOperator(matvec, size, dtype=torch.float64), k=modes, seed=0, **options)
    values = result.eigenvalues.numpy()
    says = f"{int(result.converged.sum())} of {modes} flagged converged"
    return Found(np.sort(values)[::-1], counted[0], time.process_time() - began, says)
