"""What is kept of a state's parameters, so that the distance of two states is known without both of them.

Up to `EXACT` parameters the vector itself is kept. Above, a count sketch: every entry is added, with a fixed random
sign, to one of `EXACT` fixed random buckets. It is linear, so the sketch of a difference is the difference of the
sketches, and its squared norm has the right mean and a relative standard error of at most sqrt(2 / EXACT), 0.14 %.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["EXACT", "parameter_distance", "parameter_vector", "sketch_error"]

# Entries kept: 8 MB.
EXACT = 2**20
# Entries that are sketched at once.
CHUNK = 2**22
SEED = 20260


@torch.no_grad()
def parameter_vector(parameters: Mapping[str, Tensor], exact: int = EXACT) -> Float[Tensor, " entries"]:
    """All parameters in the order of their names, or their sketch if they are more than `exact`."""
    ordered = [parameters[name].detach().reshape(-1) for name in sorted(parameters)]
    if sum(len(part) for part in ordered) <= exact:
        return torch.cat([part.cpu().to(torch.float64) for part in ordered])
    sums = torch.zeros(exact, dtype=torch.float64)
    generator = torch.Generator().manual_seed(SEED)
    for part in ordered:
        for chunk in part.split(CHUNK):
            bucket = torch.randint(0, exact, (len(chunk),), generator=generator)
            sign = 2.0 * torch.randint(0, 2, (len(chunk),), generator=generator, dtype=torch.int8) - 1.0
            sums.index_add_(0, bucket, sign.to(torch.float64) * chunk.cpu().to(torch.float64))
    return sums


def parameter_distance(now: Float[Tensor, " entries"], then: Float[Tensor, " entries"]) -> float:
    """||theta - theta'||, exact or estimated, see `sketch_error`."""
    return float(torch.linalg.vector_norm(now - then))


def sketch_error(count: int, exact: int = EXACT) -> float:
    """Relative standard error of a distance of `count` parameters; 0 if it is exact."""
    # Half of that of the square.
    return 0.0 if count <= exact else float((2.0 / exact) ** 0.5 / 2.0)
