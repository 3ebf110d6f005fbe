"""Whether a live model's parameters changed, with and without a copy of them."""

from collections.abc import Mapping
from operator import attrgetter

import torch
from torch import Tensor, nn

__all__ = ["LiveParameters", "are_equal"]


_VERSION = attrgetter("_version")


class LiveParameters:
    """Tells, at the cost of a few nanoseconds a parameter, whether an optimizer has written since the last look.

    By the counters that PyTorch keeps of changes in place. Writing through `.data` leaves no trace in them.
    """

    def __init__(self, model: nn.Module):
        self._parameters = list(model.parameters())  # going through the modules takes much longer than a look
        self._seen = self._versions()

    def have_changed(self) -> bool:
        """Whether any parameter was written to since the last `look`; True where that is not known."""
        return self._seen is None or self._versions() != self._seen

    def look(self) -> None:
        """Remember how things stand."""
        self._seen = self._versions()

    def _versions(self) -> list[int] | None:
        try:
            return list(map(_VERSION, self._parameters))
        except RuntimeError:  # tensors made under inference mode do not count
            return None


def are_equal(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> bool:
    """Whether two sets of parameters are the same, bit for bit."""
    return all(torch.equal(tensor, after[name]) for name, tensor in before.items())
