"""Whether to form M or to make products with it."""

from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.cost import MeasureCost

__all__ = ["METHODS", "choose_method"]

METHODS = ("auto", "dense", "products")
# Products of a cold solve for each mode, and at least; from spectra of trained networks.
PRODUCTS_A_MODE = 4
LEAST_PRODUCTS = 40
# Rows up to which forming and diagonalising M costs less than the calls of a solver.
SMALL = 512


def choose_method(
    method: str,
    size: int,
    modes: int | None,
    is_tracked: bool,
    drift: bool,
    dense: MeasureCost,
    product_flops: float,
    allowed_bytes: int,
) -> str:
    """Take the method that the user asks for, or the cheaper one.

    Args:
        method: One of METHODS.
        size: Rows of M.
        modes: Eigenpairs wanted; None: all.
        is_tracked: Whether a tracker takes part.
        drift: Whether Mdot is wanted.
        dense: What measuring by the dense operator costs.
        product_flops: Operations of one product.
        allowed_bytes: Memory that may be held.

    Raises:
        ArgumentError: For an unknown method, or one that cannot do what is asked.
    """
    if method not in METHODS:
        raise ArgumentError(f"`method` must be one of {', '.join(map(repr, METHODS))}, but is {method!r}.")
    if method == "products" and modes is None:
        raise ArgumentError("`method='products'` finds some of the modes: say how many with `modes`.")
    if method == "dense" and is_tracked:
        raise ArgumentError("`tracker` works by products: leave `method` out, or the tracker.")
    if method != "auto":
        return method
    if is_tracked:
        return "products"
    if modes is None or size <= SMALL:
        return "dense"
    products = product_flops * (max(LEAST_PRODUCTS, PRODUCTS_A_MODE * modes) + 3 * drift * modes)
    return "products" if products < dense.flops or dense.peak_bytes > allowed_bytes else "dense"
