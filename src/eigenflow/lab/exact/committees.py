"""Teacher and student committees: two-layer networks on Gaussian inputs, whose test error is known exactly.

Both are f(x) = sum_k v_k g(w_k . x / sqrt(N)) with x ~ N(0, 1) in N dimensions. The mean square of their difference
over all inputs depends on products of weights alone: for g = erf(x / sqrt 2) by arcsines, for ReLU by the arc-cosine
kernel. So a student's test error needs no test set, at any time of its training.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eigenflow.core.checks import check_choice, check_kind, check_number, check_whole
from eigenflow.core.display import FieldsPrinted

__all__ = ["Committee", "CommitteeTask", "TeacherStudent"]


class Committee(nn.Module):
    """f(x) = sum_k v_k g(w_k . x / sqrt(N)) in float64.

    Attributes:
        hidden: w, units x inputs.
        readout: v, one row.
        activation: "erf" or "relu".
    """

    def __init__(self, hidden: Tensor, readout: Tensor, activation: str, *, trains_readout: bool = True):
        super().__init__()
        check_choice("activation", activation, ("erf", "relu"))
        self.hidden = nn.Parameter(hidden.to(torch.float64))
        self.readout = nn.Parameter(readout.to(torch.float64).reshape(1, -1), requires_grad=trains_readout)
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        fields = nn.functional.linear(inputs, self.hidden) / math.sqrt(inputs.shape[-1])
        units = torch.erf(fields / math.sqrt(2.0)) if self.activation == "erf" else torch.relu(fields)
        return nn.functional.linear(units, self.readout)


@dataclass(frozen=True, repr=False)
class CommitteeTask(FieldsPrinted):
    """A draw: a teacher, an untrained student, and samples.

    Attributes:
        teacher: Never trained.
        student: To be trained; ordinary PyTorch.
        inputs: Training inputs.
        targets: The teacher's outputs with noise.
        noise: Variance of the noise.
    """

    teacher: Committee
    student: Committee
    inputs: Tensor
    targets: Tensor
    noise: float

    def test_error(self, student: Committee | None = None) -> float:
        """Mean square of student minus teacher over all inputs, exact to rounding; without noise.

        Args:
            student: Of another state; the one of the task by default.
        """
        student = self.student if student is None else student
        check_kind("student", student, Committee, "a Committee")
        with torch.no_grad():
            weights = torch.cat([student.hidden, self.teacher.hidden])
            signs = torch.cat([student.readout[0], -self.teacher.readout[0]])
            products = _moments(weights @ weights.T / weights.shape[1], self.teacher.activation)
            return max(float(signs @ products @ signs), 0.0)


@dataclass(frozen=True)
class TeacherStudent:
    """What is drawn.

    Attributes:
        inputs: N.
        teacher_units: K. The student can represent its teacher if it has as many.
        student_units: Of the student.
        activation: "erf" (soft committee) or "relu".
        noise: Variance of labels about the teacher.
        scale: Standard deviation of the student's first weights; those of the teacher are 1.
        trains_readout: Whether the student's second layer is trained; if not, it is the teacher's v = 1 / sqrt(units).
    """

    inputs: int = 50
    teacher_units: int = 2
    student_units: int = 4
    activation: str = "erf"
    noise: float = 0.0
    scale: float = 0.1
    trains_readout: bool = True

    def __post_init__(self) -> None:
        for name in ("inputs", "teacher_units", "student_units"):
            check_whole(name, getattr(self, name), 1, what="number")
        check_choice("activation", self.activation, ("erf", "relu"))
        check_number("noise", self.noise, 0.0)
        check_number("scale", self.scale, 0.0)
        check_kind("trains_readout", self.trains_readout, bool, "True or False")

    def draw(self, samples: int, generator: torch.Generator) -> CommitteeTask:
        """Draw teacher, student and samples.

        Args:
            samples: Of the training set.
            generator: Of all of them: the same state gives the same task.
        """
        samples = check_whole("samples", samples, 1, what="number of samples")
        check_kind("generator", generator, torch.Generator, "a generator of PyTorch, as of `torch.Generator()`")

        def drawn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        def readout(units: int) -> Tensor:
            return torch.full((units,), 1.0 / math.sqrt(units), dtype=torch.float64)

        teacher = Committee(drawn(self.teacher_units, self.inputs), readout(self.teacher_units), self.activation)
        teacher.requires_grad_(False)
        student = Committee(
            self.scale * drawn(self.student_units, self.inputs),
            readout(self.student_units),
            self.activation,
            trains_readout=self.trains_readout,
        )
        inputs = drawn(samples, self.inputs)
        targets = teacher(inputs) + math.sqrt(self.noise) * drawn(samples, 1)
        return CommitteeTask(teacher, student, inputs, targets, self.noise)


def _moments(covariance: Tensor, activation: str) -> Tensor:
    """E g(a) g(b) of Gaussian fields of known covariance."""
    variance = covariance.diagonal()
    if activation == "erf":
        norms = torch.sqrt(1.0 + variance)
        return 2.0 / math.pi * torch.asin(covariance / (norms[:, None] * norms))
    norms = torch.sqrt(variance)
    sizes = norms[:, None] * norms
    cosines = (covariance / torch.where(sizes > 0, sizes, torch.ones_like(sizes))).clamp(-1.0, 1.0)
    angles = torch.acos(cosines)
    return sizes / (2.0 * math.pi) * (torch.sin(angles) + (math.pi - angles) * cosines)
