"""A closed route through the streets, and the camera poses of a drive along it."""

from collections import defaultdict

import numpy as np

from dsformer_core.sample_world.seeding import generator
from dsformer_core.sample_world.street_network import StreetNetwork

LANE_M = 1.7
TURN_M = 9.0
STEP_M = 0.25


def make_route(seed: int, network: StreetNetwork) -> list[int]:
    """A closed walk over many streets, none of them twice.

    The sum (modulo 2) of any set of block outlines has even degree at every crossing, so its largest connected part
    has an Eulerian circuit. The blocks are picked greedily so that outlines rarely cancel.

    Args:
        seed: of the town.
        network: its streets.

    Returns:
        Crossings in order; the last one joins the first.
    """
    random = generator(seed, "route")
    edges: set[tuple[int, int]] = set()
    for index in random.permutation(len(network.blocks)):
        block = network.blocks[index]
        outline = {(min(a, b), max(a, b)) for a, b in zip(block, block[1:] + block[:1], strict=True)}
        if len(edges ^ outline) > len(edges):
            edges ^= outline
    neighbours: dict[int, list[int]] = defaultdict(list)
    for a, b in sorted(edges):
        neighbours[a].append(b)
        neighbours[b].append(a)
    circuits = []
    while any(neighbours.values()):
        circuits.append(_eulerian_circuit(min(node for node in neighbours if neighbours[node]), neighbours))
    return max(circuits, key=len)[:-1]


def _eulerian_circuit(start: int, neighbours: dict[int, list[int]]) -> list[int]:
    """Hierholzer's algorithm; uses up the edges that it walks."""
    stack, circuit = [start], []
    while stack:
        node = stack[-1]
        if neighbours[node]:
            following = neighbours[node].pop()
            neighbours[following].remove(node)
            stack.append(following)
        else:
            circuit.append(stack.pop())
    return circuit


def lane_polyline(network: StreetNetwork, route: list[int], lateral_offset: float) -> np.ndarray:
    """The line that a vehicle follows along a closed route, with rounded turns.

    Args:
        network: the streets.
        route: crossings in order.
        lateral_offset: metres to the right of the middle of the street.

    Returns:
        (P, 2) metres in the town frame, densely sampled, closed (the end is where the beginning is).
    """
    nodes = network.nodes[route]
    ahead = np.roll(nodes, -1, axis=0) - nodes
    length = np.linalg.norm(ahead, axis=1, keepdims=True)
    ahead /= length
    right = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1) * lateral_offset
    trim = np.minimum(TURN_M, length / 3)
    begin = nodes + right + ahead * trim
    end = np.roll(nodes, -1, axis=0) + right - ahead * trim
    pieces = []
    for leg in range(len(route)):
        following = (leg + 1) % len(route)
        pieces.append(np.linspace(begin[leg], end[leg], max(2, int(length[leg, 0] / STEP_M)), endpoint=False))
        pieces.append(_turn(end[leg], ahead[leg], begin[following], ahead[following]))
    return np.concatenate([*pieces, begin[:1]])


def _turn(start: np.ndarray, leaving: np.ndarray, end: np.ndarray, arriving: np.ndarray) -> np.ndarray:
    """A cubic Bezier curve that leaves and arrives along the two streets."""
    reach = np.linalg.norm(end - start) * 0.45
    controls = np.stack([start, start + leaving * reach, end - arriving * reach, end])
    t = np.linspace(0, 1, max(4, int(np.linalg.norm(end - start) / STEP_M)), endpoint=False)[:, None]
    return np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]) @ controls


def sample_polyline(line: np.ndarray, spacing: float, wander: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points at equal distances along a closed line.

    Args:
        line: (P, 2) metres, closed.
        spacing: metres.
        wander: (W,) metres to the right, interpolated smoothly from begin to end of the line.

    Returns:
        positions (N, 2) and yaws (N,) radians.
    """
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    travelled = np.concatenate([[0], np.cumsum(steps)])
    stations = np.arange(0, travelled[-1], spacing)

    def at(stations: np.ndarray) -> np.ndarray:
        wrapped = stations % travelled[-1]
        return np.stack([np.interp(wrapped, travelled, line[:, axis]) for axis in (0, 1)], axis=1)

    ahead = at(stations + 0.5) - at(stations - 0.5)
    yaw = np.arctan2(ahead[:, 1], ahead[:, 0])
    aside = np.interp(stations / travelled[-1] * (len(wander) - 1), np.arange(len(wander)), wander)
    right = np.stack([np.sin(yaw), -np.cos(yaw)], axis=1)
    return at(stations) + right * aside[:, None], yaw
