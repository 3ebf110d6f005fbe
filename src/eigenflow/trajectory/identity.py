"""The exact identity of an update, r' - r = (path average of H J_net) dtheta, and how well its miss is known.

The average is first taken by Gauss-Legendre quadrature over all samples at once, exact for paths that are polynomials
of degree 15. Where it misses by more than rounding, the path may have kinks (ReLU, max-pooling, clipping), which differ
from sample to sample. Then samples that miss are integrated by themselves, split at their kinks (`piecewise`): a few
that miss most, and then those that miss least, which have the fewest kinks, until a budget is spent. Neither rule uses
the identity, so a wrong one stays wrong.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import jvp, vmap

from eigenflow.tangent import Probe, TangentPoint
from eigenflow.tangent.model.evaluation import undisturbed
from eigenflow.tangent.model.failures import require_memory_left
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.model.samples import Inputs
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory.piecewise import Rates, integrate_panels

__all__ = [
    "HELD",
    "PATH_NODES",
    "Path",
    "PathIdentity",
    "State",
    "evaluations_left",
    "gradient_identity",
    "path_identity",
]

State = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]

# Gauss-Legendre nodes for the path average of the Jacobian: exact for polynomials of degree 15.
PATH_NODES = 8
# Roundings that a miss may be made of: deep networks in float64 stayed below a tenth of it.
ROUNDINGS = 4096
# Evaluations of single samples that one identity may take: times their parameters, in all, and for one of them. As many
# as there are samples are allowed in any case, which costs a few evaluations of all samples at once.
WORK = 2**27
EVALUATIONS = 2**12
FOR_ONE = 2**9
# Evaluations of all samples at once, where one cannot be taken by itself.
WHOLE = 128
# Numbers held at once by evaluations of single samples.
HELD = 2**24
# Samples that are taken together: at first, with some of the largest misses, and at most. One call costs as much as
# some dozens of evaluations, so later groups are as large as half of what is left allows.
TOGETHER = (32, 512)
WORST = 4


@dataclass(frozen=True)
class PathIdentity:
    """How far an update is from the identity.

    Attributes:
        residual: ||r' - r - (average of H J_net along the path) dtheta|| / (||r|| + ||H outputs||), over the samples
            whose average is known; over all of them by plain quadrature if it is known of none.
        error: What `residual` may be wrong by, in its unit: the error of the average, and rounding. As large as
            `residual` itself if the average is known of no sample.
        share: Share of samples whose average is known, in [0, 1].
        evaluations: Of single samples that this process took beyond the quadrature.
    """

    residual: float
    error: float
    share: float
    evaluations: int = 0


@torch.no_grad()
def gradient_identity(probe: Probe | ShardedProbe, before: State, after: State) -> float:
    """How far an update is from the exact identity r' - r = (average of H J_net along the path) dtheta.

    The path is taken at the buffers before the update: the move of buffers is not part of it.

    r is the gradient of the loss by the outputs and H its Hessian, formed as B B^T from the root that the operator
    uses. For squared losses r = sqrt(f) e and H = f, which is equations/identities.md#eq-d1.

    Returns:
        The norm of the miss relative to ||r|| + ||H outputs||, the scale of the numbers whose rounding it shows.
        `path_identity` says how well it is known.
    """
    return path_identity(probe, before, after).residual


@undisturbed()
@torch.no_grad()
def path_identity(probe: Probe | ShardedProbe, before: State, after: State) -> PathIdentity:
    """The same, with the error of the path average: networks with kinks are split at them.

    A network whose outputs at one state differ from call to call has no path: its miss counts as known.
    """
    path = probe.processes.each(lambda: Path.of(probe, before, after))
    rounding = ROUNDINGS * torch.finfo(path.start.dtype).eps
    miss, start, curved, samples = _sums(probe, path.misses, path.start, path.curved, torch.ones_like(path.misses))
    scale = start**0.5 + curved**0.5
    if scale == 0.0 or miss**0.5 <= rounding * scale:
        return PathIdentity(_ratio(miss**0.5, scale), rounding, 1.0)
    allowed = rounding * scale / samples**0.5
    misses, errors, is_known = probe.processes.each(lambda: _resolved(path, allowed))
    if probe.space.sum((~is_known).to(torch.float64).sum()[None]) > 0 and not _is_reproducible(probe, path, before):
        return PathIdentity(_ratio(miss**0.5, scale), rounding, 1.0)
    rows = [torch.where(is_known, x, 0.0) for x in (misses, errors)]
    kept = [x * is_known[:, None] for x in (path.start, path.curved)]
    found, error, start, curved, known = _sums(probe, *rows, *kept, is_known.to(misses))
    if start + curved == 0.0:
        whole = _ratio(miss**0.5, scale)
        return PathIdentity(whole, whole, 0.0, sum(path.evaluated))
    scale = start**0.5 + curved**0.5
    return PathIdentity(found**0.5 / scale, rounding + error**0.5 / scale, known / samples, sum(path.evaluated))


@dataclass(frozen=True)
class Path:
    """The straight path of an update, over this process's samples."""

    at: Callable[[State], TangentPoint]
    old: TangentPoint
    update: dict[str, Tensor]
    start: Float[Tensor, "samples outputs"]
    change: Float[Tensor, "samples outputs"]
    curved: Float[Tensor, "samples outputs"]
    average: Float[Tensor, "samples outputs"]
    evaluated: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, probe: Probe | ShardedProbe, before: State, after: State) -> "Path":
        """With the average by Gauss-Legendre quadrature."""
        old, new = probe.at(before), probe.at((after[0], before[1]))
        update = {name: new.parameters[name] - old.parameters[name] for name in old.parameters}
        start, end = (p.objective.gradient(p.outputs, p.targets) for p in (old, new))
        curved = old.objective.weigh(old.outputs, old.targets, old.outputs)
        curved = old.objective.spread(old.outputs, old.targets, curved)
        path = cls(probe.at, old, update, start, end - start, curved, torch.zeros_like(start))
        nodes, weights = np.polynomial.legendre.leggauss(PATH_NODES)
        for node, weight in zip(0.5 * (nodes + 1.0), 0.5 * weights, strict=True):
            path.average.add_(path.rate(float(node)), alpha=float(weight))
        return path

    @property
    def misses(self) -> Float[Tensor, " samples"]:
        """Of the quadrature, sample by sample."""
        return torch.linalg.vector_norm(self.change - self.average, dim=1, dtype=torch.float64)

    def rate(self, position: float) -> Float[Tensor, "samples outputs"]:
        """H J_net dtheta at a position of the path."""
        moved = {name: p + position * self.update[name] for name, p in self.old.parameters.items()}
        point = self.at((moved, self.old.rest))
        weighed = point.push(self.update).reshape(self.start.shape)
        return point.objective.spread(point.outputs, point.targets, weighed)

    def whole_rates(self, rows: Tensor, positions: Tensor) -> Float[Tensor, "asked entries"]:
        """The same at many positions, all samples as one row."""
        del rows
        self.evaluated.append(len(positions) * len(self.start))
        return torch.stack([self.rate(float(position)).reshape(-1) for position in positions])

    def sample_rates(self, samples: Tensor, positions: Tensor) -> Float[Tensor, "asked outputs"]:
        """The same of single samples, each at a position of its own."""
        self.evaluated.append(len(samples))
        numbers = 3 * sum(p.numel() for p in self.old.parameters.values())
        groups = zip(*(x.split(max(1, HELD // numbers)) for x in (samples, positions)), strict=True)
        return torch.cat([self._sample_rates(*group) for group in groups])

    def _sample_rates(self, samples: Tensor, positions: Tensor) -> Tensor:
        old = self.old

        def single(x: Inputs, moved: Parameters) -> tuple[Tensor, Tensor]:
            found, change, *_ = jvp(lambda p: old.network.apply(p, old.rest, x[None])[0], (moved,), (self.update,))
            return found, change

        at = positions.to(self.start.dtype)
        moved = {name: p + at.reshape(-1, *[1] * p.ndim) * self.update[name] for name, p in self.old.parameters.items()}
        outputs, changes = vmap(single)(old.inputs[samples], moved)
        objective, targets = old.objective.part(samples, len(old.inputs)), old.targets[samples]
        return objective.spread(outputs, targets, objective.weigh(outputs, targets, changes))


def _resolved(
    path: Path, allowed: float
) -> tuple[Float[Tensor, " samples"], Float[Tensor, " samples"], Bool[Tensor, " samples"]]:
    """Misses of the samples, errors of their averages, and of which they are known."""
    misses = path.misses
    errors = torch.full_like(misses, 0.0)
    is_known = misses <= allowed
    order = misses.argsort()[int(is_known.sum()) :]
    order = torch.cat([order[-WORST:], order[:-WORST]])
    if path.old.structure is not None and not path.old.reverse_only and len(misses) > 1:
        try:
            _resolve_samples(path, order, allowed, misses, errors, is_known)
            return misses, errors, is_known
        except Exception as error:  # whatever vmap cannot follow
            require_memory_left(error)
    if not is_known.all():
        limit = torch.full((1,), allowed * len(misses) ** 0.5, dtype=torch.float64, device=misses.device)
        found = integrate_panels(path.whole_rates, 1, limit, budget=WHOLE, most=WHOLE)
        if found.is_known:
            misses = torch.linalg.vector_norm(path.change - found.total.reshape(path.start.shape), dim=1)
            errors = (found.error / len(misses) ** 0.5).expand(len(misses))
            is_known = torch.ones_like(is_known)
    return misses.to(torch.float64), errors, is_known


def _resolve_samples(
    path: Path, order: Tensor, allowed: float, misses: Tensor, errors: Tensor, is_known: Tensor
) -> None:
    """Integrate samples by themselves, in this order, while the budget lasts."""
    left = evaluations_left(path.old.parameters, len(misses))
    most = max(min(FOR_ONE, left // 8), left // max(1, len(order)))
    together = max(2 * WORST, min(TOGETHER[0], left // 128))
    while len(order) and left > 0:
        group, order = order[:together], order[together:]
        limit = torch.full((len(group),), allowed, dtype=torch.float64, device=misses.device)
        found = integrate_panels(_on(path.sample_rates, group), len(group), limit, budget=left, most=most)
        left -= found.spent
        together = max(2 * WORST, min(TOGETHER[1], left * len(group) // (2 * max(found.spent, 1))))
        done = group[found.is_known]
        if len(done):
            change = path.change[done].to(torch.float64)
            misses[done] = torch.linalg.vector_norm(change - found.total[found.is_known], dim=1)
            errors[done] = found.error[found.is_known]
            is_known[done] = True


def evaluations_left(parameters: Parameters, samples: int) -> int:
    """Evaluations of single samples that one identity may take beyond its quadrature."""
    work = WORK // sum(parameter.numel() for parameter in parameters.values())
    return max(samples, min(EVALUATIONS, work))


def _on(rates: Rates, some: Tensor) -> Rates:
    return lambda rows, positions: rates(some[rows], positions)


def _is_reproducible(probe: Probe | ShardedProbe, path: Path, before: State) -> bool:
    """Whether the network gives the same outputs at the same state, but for rounding."""
    again = probe.processes.each(lambda: probe.at(before).outputs)
    change, size = _sums(probe, again - path.old.outputs, path.old.outputs)
    return change <= (ROUNDINGS * torch.finfo(again.dtype).eps) ** 2 * size


def _sums(probe: Probe | ShardedProbe, *rows: Tensor) -> list[float]:
    """Sums of squares over the samples of all processes."""
    return probe.space.sum(torch.stack([x.square().sum(dtype=torch.float64) for x in rows])).tolist()


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
