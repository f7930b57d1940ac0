"""An invented town: streets, houses, trees and lamps, all of which follow from one seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dsformer_core.geodesy import UtmZone
from dsformer_core.sample_world.buildings import Building, building_surfaces
from dsformer_core.sample_world.camera import CameraPose
from dsformer_core.sample_world.lots import Fence, build_up
from dsformer_core.sample_world.route import LANE_M, lane_polyline, make_route, sample_polyline
from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.street_network import StreetNetwork, make_street_network
from dsformer_core.sample_world.street_sides import Fixture, furnish
from dsformer_core.sample_world.surfaces import Surface

NOON = 1_750_068_000.0
"""2025-06-16 10:00:00 UTC: when drives begin unless told otherwise."""


@dataclass(frozen=True, eq=False)
class Town:
    """A town about its own origin.

    Attributes:
        seed: from which everything follows.
        size_m: length of its side, metres.
        zone: UTM zone in which it lies.
        origin: (2,) easting and northing of the origin of its frame.
        altitude: of its ground, metres.
        network: its streets.
        buildings: its houses.
        fences: what closes the gaps between them.
        fixtures: trees, lamps and signs.
    """

    seed: int
    size_m: float
    zone: UtmZone
    origin: np.ndarray
    altitude: float
    network: StreetNetwork
    buildings: tuple[Building, ...]
    fences: tuple[Fence, ...]
    fixtures: tuple[Fixture, ...]

    @cached_property
    def route(self) -> list[int]:
        """Crossings of the closed walk that drives follow."""
        return make_route(self.seed, self.network)

    @cached_property
    def surfaces(self) -> tuple[Surface, ...]:
        """The surfaces of every house and fence."""
        houses = (surface for building in self.buildings for surface in building_surfaces(building))
        return (*houses, *(fence.surface for fence in self.fences))

    def drive(
        self,
        seed: int = 0,
        spacing: float = 5.0,
        lateral_offset: float = 0.0,
        *,
        count: int | None = None,
        start: float = 0.0,
        reverse: bool = False,
        wander: float = 0.3,
        heading_jitter_deg: float = 1.0,
        tilt_jitter_deg: float = 0.6,
        speed: float = 8.0,
        begin: float = NOON,
    ) -> list[CameraPose]:
        """Poses of a camera that looks ahead from a vehicle on the town's route.

        Args:
            seed: of the jitter.
            spacing: metres between poses.
            lateral_offset: metres to the right of the middle of the lane.
            count: number of poses; the whole loop when None. More than the loop holds wraps around.
            start: metres along the loop at which to begin.
            reverse: drive the loop the other way round (and so on the other side of the street).
            wander: standard deviation of the slow drift to either side, metres.
            heading_jitter_deg: standard deviation, degrees.
            tilt_jitter_deg: standard deviation of pitch and roll, degrees.
            speed: metres per second; sets the timestamps.
            begin: timestamp of the first pose, seconds since 1970.

        Returns:
            The poses in the order of driving.
        """
        random = generator(seed, "drive")
        route = self.route[::-1] if reverse else self.route
        line = lane_polyline(self.network, route, LANE_M + lateral_offset)
        positions, yaws = sample_polyline(line, spacing, random.normal(0, wander, max(4, len(line) // 60)))
        order = (np.arange(len(yaws) if count is None else count) + round(start / spacing)) % len(yaws)
        heading, pitch, roll = random.normal(0, 1, (3, len(order))) * np.radians(
            [[heading_jitter_deg], [tilt_jitter_deg], [tilt_jitter_deg]]
        )
        utm = positions[order] + self.origin
        return [
            CameraPose(
                easting=float(utm[i, 0]),
                northing=float(utm[i, 1]),
                yaw=float(np.angle(np.exp(1j * (yaws[row] + heading[i])))),
                pitch=float(pitch[i]),
                roll=float(roll[i]),
                timestamp=begin + i * spacing / speed,
            )
            for i, row in enumerate(order)
        ]


def make_town(
    seed: int,
    size_m: float = 330.0,
    *,
    repeated_facades: float = 0.25,
    zone: UtmZone = UtmZone(33, True),  # noqa: B008 - frozen
    utm: Sequence[float] = (412_000.0, 5_543_000.0),
    altitude: float = 200.0,
) -> Town:
    """Builds a town.

    Args:
        seed: equal seeds give equal towns.
        size_m: length of its side, metres. Time and memory grow with its square.
        repeated_facades: share of houses that take one of a few designs that their district repeats to the brick, so
            that different places look alike.
        zone: UTM zone in which it lies.
        utm: easting and northing of its middle.
        altitude: of its ground, metres.

    Returns:
        The town.
    """
    network = make_street_network(seed, size_m)
    buildings, fences = build_up(seed, network, repeated_facades)
    fixtures = furnish(seed, network, buildings)
    return Town(seed, size_m, zone, np.array(utm, float), altitude, network, buildings, fences, fixtures)
