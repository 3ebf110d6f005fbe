"""Products by either library are the same to rounding, whatever the layout, and leave the number of threads alone."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from eigenflow.linalg import matrix_product


@pytest.mark.parametrize("layout", ["plain", "transposed", "strided"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_product_agrees_with_numpy_in_extended_precision(dtype, layout):
    """Sums of 300 products of standard normal numbers: rounding stays below 300 unit roundoffs of their size, 17."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(200, 300, generator=generator, dtype=dtype)
    right = torch.randn(300, 200, generator=generator, dtype=dtype)
    if layout == "transposed":
        left, right = left.T.contiguous().T, right.T.contiguous().T
    if layout == "strided":
        left, right = torch.stack([left, left], 2)[:, :, 0], torch.stack([right, right], 1)[:, 0]
    exact = left.numpy().astype(np.longdouble) @ right.numpy().astype(np.longdouble)
    product = matrix_product(left, right)
    assert product.dtype == dtype
    assert np.abs(product.numpy() - exact).max() <= 300 * 17 * torch.finfo(dtype).eps / 2


def test_small_products_and_parameters_work_too():
    weight = torch.nn.Parameter(torch.ones(500, 500))
    assert torch.equal(matrix_product(weight, torch.ones(500, 30)), torch.full((500, 30), 500.0))
    assert torch.equal(matrix_product(torch.eye(2), torch.ones(2, 1)), torch.ones(2, 1))


def test_number_of_threads_is_as_before():
    before = [library["num_threads"] for library in threadpool_info()]
    matrix_product(torch.ones(300, 300), torch.ones(300, 300))
    assert [library["num_threads"] for library in threadpool_info()] == before
