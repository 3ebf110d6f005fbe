"""Loss laws by name: `transport` (theory.md section 7) and the published ones that it is compared with."""

from eigenflow.forecast.laws.protocol import History as History
from eigenflow.forecast.laws.protocol import Law as Law
from eigenflow.forecast.laws.protocol import Parameter as Parameter
