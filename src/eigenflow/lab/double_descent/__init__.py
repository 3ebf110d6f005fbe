"""Double descent measured: networks and random features on digits with noisy labels, over size, samples and time."""

from eigenflow.lab.double_descent.config import DoubleDescentConfig as DoubleDescentConfig
from eigenflow.lab.double_descent.config import load_double_descent as load_double_descent
from eigenflow.lab.double_descent.study import StudyCost as StudyCost
from eigenflow.lab.double_descent.study import estimate_study as estimate_study
from eigenflow.lab.double_descent.study import measure_surfaces as measure_surfaces
