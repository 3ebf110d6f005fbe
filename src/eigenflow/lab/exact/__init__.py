"""Systems whose training is solved: what a measurement of them must find."""

from eigenflow.lab.exact.scalar_head import ScalarHeadModel as ScalarHeadModel
from eigenflow.lab.exact.scalar_head import ScalarHeadNet as ScalarHeadNet
from eigenflow.lab.exact.scalar_head import ScalarHeadPath as ScalarHeadPath
