"""Systems whose training is solved: what a measurement of them must find."""

from eigenflow.lab.exact.aligned import AlignedLinearNetwork as AlignedLinearNetwork
from eigenflow.lab.exact.balanced import BalancedLinearNetwork as BalancedLinearNetwork
from eigenflow.lab.exact.one_pass import OnePassRisk as OnePassRisk
from eigenflow.lab.exact.one_pass import OnePassRuns as OnePassRuns
from eigenflow.lab.exact.one_pass import expected_one_pass as expected_one_pass
from eigenflow.lab.exact.one_pass import largest_one_pass_rate as largest_one_pass_rate
from eigenflow.lab.exact.one_pass import simulate_one_pass as simulate_one_pass
from eigenflow.lab.exact.power_law_features import DrawnFeatures as DrawnFeatures
from eigenflow.lab.exact.power_law_features import PowerLawFeatures as PowerLawFeatures
from eigenflow.lab.exact.relu_kernels import SphereKernel as SphereKernel
from eigenflow.lab.exact.relu_kernels import WideReluNetwork as WideReluNetwork
from eigenflow.lab.exact.relu_kernels import relu_ntk as relu_ntk
from eigenflow.lab.exact.sampled_regression import SimulatedRisk as SimulatedRisk
from eigenflow.lab.exact.sampled_regression import simulate_kernel_regression as simulate_kernel_regression
from eigenflow.lab.exact.sampled_regression import simulate_random_features as simulate_random_features
from eigenflow.lab.exact.scalar_head import ScalarHeadModel as ScalarHeadModel
from eigenflow.lab.exact.scalar_head import ScalarHeadNet as ScalarHeadNet
from eigenflow.lab.exact.scalar_head import ScalarHeadPath as ScalarHeadPath
from eigenflow.lab.exact.turning import TurningOperator as TurningOperator
from eigenflow.lab.exact.twins import AlignedTwin as AlignedTwin
from eigenflow.lab.exact.twins import FrozenTwin as FrozenTwin
