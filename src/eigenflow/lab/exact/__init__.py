"""Systems whose training is solved: what a measurement of them must find."""

from eigenflow.lab.exact.scalar_head import ScalarHeadModel as ScalarHeadModel
from eigenflow.lab.exact.scalar_head import ScalarHeadNet as ScalarHeadNet
from eigenflow.lab.exact.scalar_head import ScalarHeadPath as ScalarHeadPath
from eigenflow.lab.exact.twins import AlignedTwin as AlignedTwin
from eigenflow.lab.exact.twins import FrozenTwin as FrozenTwin
