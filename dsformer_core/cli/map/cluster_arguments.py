"""The options of `dsformer map` that say who describes the pictures: this process, others, or a cluster."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from dsformer_core.cli.optimize_argument import say_what_starting_took
from dsformer_core.errors import UsageError

if TYPE_CHECKING:
    from dsformer_core.place_map.building.describe import Describer

# Options of clusters -> those that they are for.
_BELONG = {
    "address": ("ray",),
    "cluster_workers": ("local", "ray"),
    "gpus_per_worker": ("local", "ray"),
    "threads_per_worker": ("local", "ray"),
}


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--cluster` and what goes with it."""
    group = parser.add_argument_group(
        "many workers", "each loads the network once and describes shards; one that is lost is replaced"
    )
    group.add_argument(
        "--cluster",
        choices=("local", "ray"),
        help="describe pictures in processes of this machine, or with a Ray cluster whose machines all see the "
        "pictures under the same paths (default: in this process)",
    )
    group.add_argument(
        "--address", metavar="ADDRESS", help="of the Ray cluster; 'auto' for the one that this machine belongs to"
    )
    group.add_argument(
        "--cluster-workers",
        type=int,
        metavar="N",
        help="how many (default: as many as the GPUs suffice for, or without GPUs one per core)",
    )
    group.add_argument(
        "--gpus-per-worker", type=float, metavar="GPUS", help="0.5 for two to a GPU (default: 1 where there are any)"
    )
    group.add_argument(
        "--threads-per-worker",
        type=int,
        metavar="N",
        help="CPU threads of each worker's network, on which the last bits of descriptors depend there (default: 1)",
    )


@contextmanager
def chosen_describer(arguments: argparse.Namespace) -> "Iterator[Describer]":
    """Who describes pictures, as a command line asks for it; workers live as long as the block.

    Args:
        arguments: with those of `add_cluster_arguments`, and model, weights, device, precision, batch_size, workers.

    Raises:
        UsageError: options do not go together.
        DsformerError: the network cannot be loaded, or the cluster cannot be had.
    """
    for option, clusters in _BELONG.items():
        if getattr(arguments, option) is not None and arguments.cluster not in clusters:
            named = " or ".join(f"--cluster {cluster}" for cluster in clusters)
            raise UsageError(f"--{option.replace('_', '-')} is for {named}")
    if arguments.cluster is None:
        from dsformer_core.extractor import Extractor
        from dsformer_core.place_map.building.describe import Here

        extractor = Extractor(
            arguments.model,
            arguments.weights,
            device=arguments.device,
            precision=arguments.precision,
            optimize=arguments.optimize,
            runtime=arguments.runtime,
        )
        yield Here(extractor, batch_size=arguments.batch_size, workers=arguments.workers)
        say_what_starting_took(extractor)
        return
    from dsformer_core.place_map.building.workers import LocalWorkers, Network, RayWorkers
    from dsformer_core.runtimes import choose_runtime

    choose_runtime(arguments.weights, arguments.runtime)
    network = Network.find(
        arguments.model,
        arguments.weights,
        precision=arguments.precision,
        optimize=arguments.optimize,
        batch_size=arguments.batch_size,
        decoders=arguments.workers,
        threads=1 if arguments.threads_per_worker is None else arguments.threads_per_worker,
    )
    workers: LocalWorkers | RayWorkers
    if arguments.cluster == "local":
        workers = LocalWorkers(
            network,
            workers=arguments.cluster_workers,
            device=arguments.device,
            gpus_per_worker=arguments.gpus_per_worker,
        )
    else:
        workers = RayWorkers(
            network,
            address=arguments.address,
            workers=arguments.cluster_workers,
            device=arguments.device,
            gpus_per_worker=arguments.gpus_per_worker,
        )
    # Ray says on stdout what it mends.
    with redirect_stdout(sys.stderr), workers as describer:
        yield describer
