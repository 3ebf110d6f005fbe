"""Loss laws by name: `transport` (equations/loss_law.md#loss-law) and the published ones that it is compared with."""

from eigenflow.forecast.laws.protocol import History as History
from eigenflow.forecast.laws.protocol import Law as Law
from eigenflow.forecast.laws.protocol import Parameter as Parameter
from eigenflow.forecast.laws.registry import LAWS as LAWS
from eigenflow.forecast.laws.registry import law_named as law_named
from eigenflow.forecast.laws.transport import TransportLaw as TransportLaw
