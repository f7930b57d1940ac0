"""Locations into groups of classes, for training by classification.

    >>> groups = cluster_blocks(utm)                              # the paper's block clustering
    >>> groups[0].classes[0], groups[0].lateral[0]                # rows of a class; where its lateral views look
    >>> write_partition("partition/", groups, ...)
    >>> Partition.open("partition/").table
"""

from dsformer_core.clustering.blocks import cluster_blocks
from dsformer_core.clustering.config import BlockClusteringConfig, GridConfig
from dsformer_core.clustering.directions import focal_points
from dsformer_core.clustering.group import FRONTAL, LATERAL, Group

__all__ = [
    "FRONTAL",
    "LATERAL",
    "BlockClusteringConfig",
    "GridConfig",
    "Group",
    "cluster_blocks",
    "focal_points",
]
