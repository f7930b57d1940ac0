"""Describers that have many workers: processes of this machine, or a Ray cluster.

    >>> network = Network.find("dsformer_tiny")
    >>> with LocalWorkers(network, workers=4) as describer:
    ...     build_place_map(source, describer, "town.map")

The driver, which builds the map, finds the pictures, hands out shards and writes what comes back; a worker loads the
network once and describes one shard after the other. What a lost worker had in hand is described by another. The map is
that of an ordinary build on the same kind of device, in the same precision and with as many threads, bit for bit.
"""

from dsformer_core.place_map.building.workers.local import LocalWorkers
from dsformer_core.place_map.building.workers.network import Network
from dsformer_core.place_map.building.workers.ray_cluster import RayWorkers

__all__ = ["LocalWorkers", "Network", "RayWorkers"]
