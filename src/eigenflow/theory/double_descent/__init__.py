"""Test risk over samples, size, ridge and time, from a spectrum; its peaks, and what transport does to them."""

from eigenflow.theory.double_descent.least_squares import feature_subset_risk as feature_subset_risk
from eigenflow.theory.double_descent.least_squares import isotropic_risk as isotropic_risk
from eigenflow.theory.double_descent.least_squares import linear_regression_risk as linear_regression_risk
from eigenflow.theory.double_descent.least_squares import linear_task as linear_task
from eigenflow.theory.double_descent.mei_montanari import mei_montanari_risk as mei_montanari_risk
from eigenflow.theory.double_descent.mei_montanari import sphere_task as sphere_task
from eigenflow.theory.double_descent.optimal_ridge import optimal_ridge_risk as optimal_ridge_risk
from eigenflow.theory.double_descent.peaks import RiskPeaks as RiskPeaks
from eigenflow.theory.double_descent.peaks import risk_peaks as risk_peaks
from eigenflow.theory.double_descent.random_features import random_features_risk as random_features_risk
from eigenflow.theory.double_descent.surface import PointStatus as PointStatus
from eigenflow.theory.double_descent.surface import RiskSurface as RiskSurface
from eigenflow.theory.double_descent.vanishing import PeakVanishing as PeakVanishing
from eigenflow.theory.double_descent.vanishing import peak_vanishing as peak_vanishing
