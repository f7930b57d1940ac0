"""From located images to a partition on disk."""

from collections.abc import Callable
from pathlib import Path

from dsformer_core.clustering.blocks import cluster_blocks
from dsformer_core.clustering.config import BlockClusteringConfig, GridConfig
from dsformer_core.clustering.grid import grid_partition
from dsformer_core.clustering.group import Group
from dsformer_core.clustering.inputs import Located
from dsformer_core.clustering.partition import KINDS, PICTURES, Partition, write_partition
from dsformer_core.clustering.sectors import split_by_heading
from dsformer_core.clustering.statistics import statistics_of_groups
from dsformer_core.errors import DsformerError, UsageError


def build_partition(
    located: Located,
    output: str | Path,
    config: BlockClusteringConfig | GridConfig,
    *,
    kind: str,
    workers: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Partition:
    """Partitions images and writes the result, whole or not at all.

    Beside it, partition.yaml keeps what EigenPlaces' grid gives on the same input (`grid`): with the same least number
    of images, the same rule for directions, and pictures split by heading alike.

    Args:
        located: the images' positions and headings.
        output: directory to make.
        config: decides the method: blocks or grid.
        kind: ``panoramas``, or ``pictures``, whose classes are split by heading.
        workers: threads; by default as many as there are cores.
        overwrite: whether a partition that is already there is replaced.
        on_progress: called with strips done and strips in all; never for a grid.

    Raises:
        UsageError: positions cannot be clustered, or pictures have no headings.
        DsformerError: no class came out, or the partition cannot be written.
    """
    if kind not in KINDS:
        raise UsageError(f"kind = {kind!r} is not one of {', '.join(KINDS)}")
    headings = located.grid_headings_deg

    def partitioned(config: BlockClusteringConfig | GridConfig) -> list[Group]:
        if isinstance(config, GridConfig):
            groups = grid_partition(located.utm, config, headings_deg=headings)
        else:
            groups = cluster_blocks(
                located.utm, config, headings_deg=headings, workers=workers, on_progress=on_progress
            )
        if kind == PICTURES:
            groups = split_by_heading(groups, located.utm, headings, min_images=config.min_images)
        return groups

    groups = partitioned(config)
    if not any(group.classes for group in groups):
        looser = (
            "enlarge cell_size (--cell-size)"
            if isinstance(config, GridConfig)
            else "min_cluster_size (--min-cluster-size), or widen the radius (--radius)"
        )
        raise DsformerError(
            f"{len(located.utm)} locations give no class of at least {config.min_images}: they are too sparse; "
            f"lower min_images (--min-images) or {looser}"
        )
    squares = partitioned(GridConfig(min_images=config.min_images, direction=config.direction))
    return write_partition(
        output,
        groups,
        utm=located.utm,
        config=config,
        kind=kind,
        images=located.images,
        images_root=located.images_root,
        headings_deg=located.headings_deg,
        zone=located.zone,
        remarks={"grid": statistics_of_groups(squares, len(located.utm))},
        overwrite=overwrite,
    )
