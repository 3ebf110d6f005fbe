"""Eigenpairs of symmetric operators, with certificates. Vectors are rows."""

from eigenflow.linalg.clusters import cluster_labels as cluster_labels
from eigenflow.linalg.clusters import match_modes as match_modes
from eigenflow.linalg.clusters import resolve_clusters as resolve_clusters
from eigenflow.linalg.dense import EigenPairs as EigenPairs
from eigenflow.linalg.dense import dense_eigenpairs as dense_eigenpairs
