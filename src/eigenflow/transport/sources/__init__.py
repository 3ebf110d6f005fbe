"""What modes gain from outside or from each other: the term S of the transport equation."""

from eigenflow.transport.sources.given import GivenSource as GivenSource
from eigenflow.transport.sources.kernel import KernelSource as KernelSource
from eigenflow.transport.sources.kernel import LogNormalKernel as LogNormalKernel
from eigenflow.transport.sources.noise import SgdNoise as SgdNoise
from eigenflow.transport.sources.source import AbstractSource as AbstractSource
from eigenflow.transport.sources.state import StateSource as StateSource
