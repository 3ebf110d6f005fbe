"""Eigenpairs of symmetric operators, with certificates. Vectors are rows."""

from eigenflow.linalg.certificate import certify_dense as certify_dense
from eigenflow.linalg.clusters import cluster_labels as cluster_labels
from eigenflow.linalg.clusters import match_modes as match_modes
from eigenflow.linalg.clusters import resolve_clusters as resolve_clusters
from eigenflow.linalg.clusters import turn_clusters as turn_clusters
from eigenflow.linalg.dense import EigenPairs as EigenPairs
from eigenflow.linalg.dense import dense_eigenpairs as dense_eigenpairs
from eigenflow.linalg.density import ShellEstimate as ShellEstimate
from eigenflow.linalg.density import SpectralDensity as SpectralDensity
from eigenflow.linalg.density import shell_masses as shell_masses
from eigenflow.linalg.density import spectral_density as spectral_density
from eigenflow.linalg.density import spectral_measures as spectral_measures
from eigenflow.linalg.identity import Crossing as Crossing
from eigenflow.linalg.identity import ModeIdentity as ModeIdentity
from eigenflow.linalg.lanczos import SpectralMeasure as SpectralMeasure
from eigenflow.linalg.lanczos import lanczos as lanczos
from eigenflow.linalg.operator import AbstractRowSpace as AbstractRowSpace
from eigenflow.linalg.operator import RowSpace as RowSpace
from eigenflow.linalg.operator import SymmetricOperator as SymmetricOperator
from eigenflow.linalg.pairs import CertifiedPairs as CertifiedPairs
from eigenflow.linalg.pairs import SolveStats as SolveStats
from eigenflow.linalg.pairs import SolveStatus as SolveStatus
from eigenflow.linalg.solver import block_eigenpairs as block_eigenpairs
from eigenflow.linalg.tracker import ModeTracker as ModeTracker
from eigenflow.linalg.tracker import TrackedPairs as TrackedPairs
