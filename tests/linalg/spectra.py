"""Symmetric matrices with chosen spectra."""

import torch


def rotation(size: int, seed: int = 0) -> torch.Tensor:
    """A random orthogonal matrix."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]


def with_spectrum(values, seed: int = 0) -> torch.Tensor:
    """A symmetric matrix with the given eigenvalues and random eigenvectors."""
    values = torch.as_tensor(values, dtype=torch.float64)
    Q = rotation(len(values), seed)
    matrix = (Q * values) @ Q.T
    return 0.5 * (matrix + matrix.T)


def power_law(size: int, exponent: float = 1.0) -> torch.Tensor:
    """1, 2^-b, 3^-b, ..."""
    return torch.arange(1, size + 1, dtype=torch.float64) ** -exponent
