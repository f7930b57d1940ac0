"""Locations into groups of classes, for training by classification.

>>> groups = cluster_blocks(utm)                              # the paper's block clustering
>>> groups[0].classes[0], groups[0].lateral[0]                # rows of a class; where its lateral views look
>>> write_partition("partition/", groups, utm=utm, config=BlockClusteringConfig())
>>> Partition.open("partition/").table
"""

from dsformer_core.clustering.blocks import cluster_blocks
from dsformer_core.clustering.config import BlockClusteringConfig, GridConfig
from dsformer_core.clustering.directions import focal_points
from dsformer_core.clustering.grid import grid_partition
from dsformer_core.clustering.group import FRONTAL, LATERAL, Group
from dsformer_core.clustering.partition import Partition, PartitionError, write_partition
from dsformer_core.clustering.sectors import split_by_heading

__all__ = [
    "FRONTAL",
    "LATERAL",
    "BlockClusteringConfig",
    "GridConfig",
    "Group",
    "Partition",
    "PartitionError",
    "cluster_blocks",
    "focal_points",
    "grid_partition",
    "split_by_heading",
    "write_partition",
]
