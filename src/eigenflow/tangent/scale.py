"""What measuring takes on many devices, on paper: memory, operations and communication of a sharded probe.

The formulas are those of the code: a product with M by automatic differentiation is one forward pass, one backward
pass and the transpose of it; gradients of each vector are summed over the devices; the solver holds basis and images.
They are held against counted operations and bytes in tests and in benchmarks/scaling_out.py.
"""

import math
from dataclasses import dataclass

from eigenflow.core.checks import check_number
from eigenflow.core.display import AbstractPrinted, Card
from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.choice import LEAST_PRODUCTS, PRODUCTS_A_MODE
from eigenflow.tangent.sharded.products import GROUP_BYTES

__all__ = ["ScalePlan", "Traffic", "plan_scale", "product_operations", "product_traffic"]

BYTES = {"float64": 8, "float32": 4}
# Vectors of one product, as in cold solves.
BLOCK = 4


@dataclass(frozen=True)
class Traffic:
    """Of one product with several vectors.

    Attributes:
        handed_bytes: What every device hands to collective calls.
        wire_bytes: What every device sends in a ring: 2 (p - 1) / p of it.
    """

    handed_bytes: int
    wire_bytes: float


def product_traffic(parameters: int, vectors: int, itemsize: int, devices: int = 2) -> Traffic:
    """One all-reduce of P numbers for each vector, and one number that says whether all is finite.

    Args:
        parameters: Trainable ones, P.
        vectors: In the block.
        itemsize: Bytes of a number of the products.
        devices: p.
    """
    handed = int(parameters) * vectors * itemsize + 8
    return Traffic(handed, 2.0 * (devices - 1) / devices * handed)


@dataclass(frozen=True, repr=False)
class ScalePlan(AbstractPrinted):
    """A measurement of some modes by products, on every device.

    Attributes:
        parameters: Trainable ones.
        rows: Of M: samples * outputs, of all devices.
        devices: How many.
        modes: Followed.
        products: Products with M that are assumed.
        parameter_bytes: The live model, and the copy that is measured.
        gradient_bytes: Gradients of the vectors that are taken at once, pulled and summed.
        activation_bytes: Recorded passes over this device's samples.
        basis_bytes: The solver's basis and images, this device's rows.
        device_bytes: All of it, at most held at once.
        device_flops: Operations of a measurement.
        wire_bytes: Sent by each device in a measurement.
        fits: Whether it fits the memory of a device.
        advice: What to do if not, or what is cheaper; may be empty.
    """

    parameters: float
    rows: float
    devices: int
    modes: int
    products: int
    parameter_bytes: float
    gradient_bytes: float
    activation_bytes: float
    basis_bytes: float
    device_bytes: float
    device_flops: float
    wire_bytes: float
    fits: bool
    advice: tuple[str, ...]

    def _card(self) -> Card:
        shares = self.parameter_bytes, self.gradient_bytes, self.activation_bytes, self.basis_bytes
        names = "model", "gradients", "activations", "basis"
        parts = ", ".join(f"{name} {part / 2**30:.3g}" for name, part in zip(names, shares, strict=True))
        rows = [
            ("operator", f"{self.rows:.3g} rows, {self.parameters:.3g} parameters, {self.modes} modes"),
            ("devices", f"{self.devices}, {self.rows / self.devices:.3g} rows on each"),
            ("memory of one", f"{self.device_bytes / 2**30:.3g} GiB ({parts}): {'fits' if self.fits else 'too much'}"),
            ("work of one", f"{self.device_flops:.2g} operations for {self.products} products"),
            ("sent by one", f"{self.wire_bytes / 2**30:.3g} GiB"),
            *(("advice", line) for line in self.advice),
        ]
        return Card("ScalePlan", rows)


def plan_scale(
    *,
    parameters: float,
    rows: float,
    devices: int = 1,
    modes: int = 64,
    precision: str = "float32",
    outputs: int = 1,
    uses: float = 1.0,
    activations: float = 0.0,
    products: int | None = None,
    memory_gib: float = 80.0,
) -> ScalePlan:
    """Plan a measurement before anything is made.

    Args:
        parameters: Trainable ones, such as 1e9.
        rows: Of M: samples * outputs of the whole probe set, such as 1e5.
        devices: Processes that share the samples.
        modes: Leading modes.
        precision: Arithmetic of the products: "float32" or "float64". Basis and images are float64.
        outputs: Rows of one sample: the passes are over rows / outputs samples.
        uses: How often a sample uses a parameter: 1 for vectors, the number of positions for tokens and images.
        activations: Numbers that a pass records for one sample; 0 leaves them out.
        products: Products with M; None: what a cold solve takes for spectra of trained networks.
        memory_gib: Of a device.

    Raises:
        ArgumentError: For a number out of range.
    """
    for name, value in {"parameters": parameters, "rows": rows, "outputs": outputs, "memory_gib": memory_gib}.items():
        if not check_number(name, value) > 0:
            raise ArgumentError(f"`{name}` must be a number > 0, but is {value}.")
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise ArgumentError(f"`devices` must be a whole number >= 1, but is {devices!r}.")
    if precision not in BYTES:
        raise ArgumentError(f"`precision` must be one of 'float32', 'float64', but is {precision!r}.")
    itemsize = BYTES[precision]
    made = max(LEAST_PRODUCTS, PRODUCTS_A_MODE * modes) if products is None else products
    samples, local = rows / outputs / devices, rows / devices
    basis = min(rows, 4 * modes + 16 * BLOCK)
    at_once = min(BLOCK, max(1, int(GROUP_BYTES // (4 * parameters * itemsize))))
    model = 2.0 * parameters * itemsize
    gradients = 2.0 * at_once * parameters * itemsize
    recorded = 2.0 * (1 + at_once) * samples * activations * itemsize
    held = 16.0 * basis * local
    flops = made * product_operations(parameters, samples, uses, vectors=at_once) / at_once
    flops += 5.0 * made * basis * local
    traffic = product_traffic(int(parameters), 1, itemsize, devices).wire_bytes * made
    total = model + gradients + recorded + held
    allowed = memory_gib * 2**30
    advice = []
    if model + gradients > allowed:
        advice.append("spread the parameters too: spread_parameters, SpreadJacobian")
    if held > 0.25 * allowed:
        advice.append(f"more devices, or {math.ceil(held / (0.25 * allowed))} times fewer rows by sketched outputs")
    if recorded > 0.5 * allowed:
        advice.append("fewer samples on a device: activations are what is held")
    if outputs > 64:
        advice.append(f"sketch the {outputs} outputs of a sample: vectors get shorter, passes stay as they are")
    return ScalePlan(
        parameters=parameters,
        rows=rows,
        devices=devices,
        modes=modes,
        products=made,
        parameter_bytes=model,
        gradient_bytes=gradients,
        activation_bytes=recorded,
        basis_bytes=held,
        device_bytes=total,
        device_flops=flops,
        wire_bytes=traffic,
        fits=total <= allowed,
        advice=tuple(advice),
    )


def product_operations(
    parameters: float, samples: float, uses: float = 1.0, *, vectors: int = BLOCK, first_share: float = 0.0
) -> float:
    """Operations of one product with some vectors at once, by automatic differentiation.

    Two forward passes, one for each way, and a recorded backward pass; for every vector a backward pass, and the
    transpose of one. A backward pass takes two operations a use of a parameter for the parameters and two for the
    activations, which the first layer does not need.

    Args:
        parameters: Trainable ones.
        samples: Of this device.
        uses: How often a sample uses a parameter.
        vectors: Taken at once.
        first_share: The first layer's share of the parameters.
    """
    backward = 2.0 - first_share
    return 2.0 * parameters * uses * samples * (2.0 + backward * (1.0 + 2.0 * vectors))
