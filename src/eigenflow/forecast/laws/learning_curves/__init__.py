"""Bayesian extrapolation of one learning curve by the published prior: a mixture of three parametric curves."""

from eigenflow.forecast.laws.learning_curves.fit import LearningCurveFit as LearningCurveFit
from eigenflow.forecast.laws.learning_curves.fit import LearningCurveForecast as LearningCurveForecast
from eigenflow.forecast.laws.learning_curves.fit import LearningCurveStatus as LearningCurveStatus
from eigenflow.forecast.laws.learning_curves.fit import fit_learning_curve as fit_learning_curve
from eigenflow.forecast.laws.learning_curves.fit import learning_curve_fitter as learning_curve_fitter
