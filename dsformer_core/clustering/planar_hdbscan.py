"""HDBSCAN compiled for the strips of block clustering: points in the plane, spread along one axis.

A strip is ten metres wide and kilometres long and holds a few hundred to a few thousand points, so a general library
spends most of its time on being called. Here sorting along the strip is the whole spatial index: what lies within d
metres of a point stands within d metres along the axis, and hardly anything else does.

The method is that of Campello, Moulavi, Sander, "Density-based clustering based on hierarchical density estimates"
(PAKDD 2013), in the form of the `hdbscan` package: core distances, the minimum spanning tree of mutual reachability
distances (Borůvka), the condensed tree, and excess of mass. Edges of equal mutual reachability, which are common, are
ordered by plain distance, so a point joins the side it is nearer to and exact duplicates never part: the answer depends
on the points alone, where the package's depends on their order.

Everything is squared metres until the tree is done. Points must come centred (see `strips`): UTM's millions squared
leave no digits for centimetres.
"""

import numpy as np
import numpy.typing as npt

from dsformer_core.errors import DsformerError

try:
    import numba
except ImportError as error:
    raise DsformerError("clustering needs numba: pip install 'dsformer_ros[train]'") from error

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]

NOISE = -1

# Metres. Shorter distances count as this: stacked points are dense, but not infinitely so.
_FINEST = 1e-3

compiled = numba.njit(nogil=True, cache=True)


def cluster_strip(along: Array, across: Array, min_cluster_size: int, min_samples: int, next_street: float) -> Labels:
    """Clusters of one strip's points; all of them may be one.

    The root of the hierarchy competes like any other cluster, as though beyond the strip's ends there were more streets
    `next_street` metres away. So a strip that crosses a single street is one cluster, noise is what is noise inside any
    cluster, and a strip of many streets is judged as it would be in a larger city.

    Args:
        along: (n,) metres along the strip, ascending.
        across: (n,) metres across it.
        min_cluster_size: points from which on a group is a cluster, 2 or more.
        min_samples: the core distance is that to this many other points.
        next_street: metres.

    Returns:
        (n,) int32, a cluster number from 0 upwards in the order of their first points, or `NOISE`.
    """
    count = len(along)
    if count < min_cluster_size:
        return np.full(count, NOISE, np.int32)
    point_cluster, _, _, parents, stabilities = _hierarchy(along, across, min_cluster_size, min_samples)
    stabilities[0] -= count / next_street
    return _numbered(_excess_of_mass(parents, stabilities, True)[point_cluster])


def hdbscan_labels(
    along: Array, across: Array, min_cluster_size: int, min_samples: int, allow_single_cluster: bool
) -> Labels:
    """Clusters by the conventions of the `hdbscan` package, which make agreement with it measurable.

    With `allow_single_cluster` the root is born at infinite distance, which favours it, and where it is chosen only the
    points that are as dense as its last split belong to it: a strip across one street becomes mostly noise. Without, it
    is never chosen, and such a strip is all noise or arbitrary pieces. Arguments and result as of `cluster_strip`.
    """
    count = len(along)
    if count < min_cluster_size:
        return np.full(count, NOISE, np.int32)
    point_cluster, point_density, root_end, parents, stabilities = _hierarchy(
        along, across, min_cluster_size, min_samples
    )
    chosen = _excess_of_mass(parents, stabilities, allow_single_cluster)[point_cluster]
    for point in range(count):
        if chosen[point] == 0 and point_density[point] < root_end:
            chosen[point] = NOISE
    return _numbered(chosen)


@compiled
def _numbered(chosen: npt.NDArray[np.int64]) -> Labels:
    """Clusters renumbered from 0 in the order of their first points."""
    labels = np.full(len(chosen), NOISE, np.int32)
    number = np.full(len(chosen) + 1, NOISE, np.int32)
    found = np.int32(0)
    for point, cluster in enumerate(chosen):
        if cluster == NOISE:
            continue
        if number[cluster] == NOISE:
            number[cluster] = found
            found += np.int32(1)
        labels[point] = number[cluster]
    return labels


def _hierarchy(
    along: Array, across: Array, min_cluster_size: int, min_samples: int
) -> tuple[npt.NDArray[np.int64], Array, float, npt.NDArray[np.int64], Array]:
    """The condensed tree of a strip's points; see `_condensed_tree`."""
    count = len(along)
    core = _squared_core_distances(along, across, min(min_samples, count - 1))
    ends, reach, plain = _spanning_tree(along, across, core)
    shortest_first = np.lexsort((ends[:, 1], ends[:, 0], plain, reach))
    children, sizes = _single_linkage(ends[shortest_first], count)
    return _condensed_tree(children, sizes, np.sqrt(reach[shortest_first]), count, min_cluster_size)


@compiled
def _squared_core_distances(along: Array, across: Array, neighbours: int) -> Array:
    """(n,) squared distance to the `neighbours`-th other point."""
    count = len(along)
    core = np.empty(count)
    nearest = np.empty(neighbours)
    for point in range(count):
        nearest[:] = np.inf
        left, right = point - 1, point + 1
        while left >= 0 or right < count:
            to_left = along[point] - along[left] if left >= 0 else np.inf
            to_right = along[right] - along[point] if right < count else np.inf
            if to_left < to_right:
                other, gap = left, to_left
                left -= 1
            else:
                other, gap = right, to_right
                right += 1
            if gap * gap >= nearest[-1]:
                break
            side = across[other] - across[point]
            distance = gap * gap + side * side
            if distance < nearest[-1]:
                slot = neighbours - 1
                while slot > 0 and nearest[slot - 1] > distance:
                    nearest[slot] = nearest[slot - 1]
                    slot -= 1
                nearest[slot] = distance
        core[point] = nearest[-1]
    return core


@compiled
def _spanning_tree(along: Array, across: Array, core: Array) -> tuple[npt.NDArray[np.int64], Array, Array]:
    """Borůvka's minimum spanning tree over mutual reachability distances.

    The order of edges is total: (mutual reachability, distance, lower point, higher point). A search from a point walks
    outwards along the strip, jumps over what belongs to its own component, and ends where the gap along the axis alone
    exceeds the component's best edge.

    Returns:
        (n - 1, 2) int64 ends of the edges, the lower one first, and (n - 1,) their mutual reachability and plain
        distances, squared.
    """
    count = len(along)
    component = np.arange(count)
    ends = np.empty((count - 1, 2), np.int64)
    reach = np.empty(count - 1)
    plain = np.empty(count - 1)
    edges = 0
    # Nearest points right and left that belong to another component.
    after, before = np.empty(count, np.int64), np.empty(count, np.int64)
    best_reach, best_plain = np.empty(count), np.empty(count)
    best_low, best_high = np.empty(count, np.int64), np.empty(count, np.int64)
    while edges < count - 1:
        after[count - 1], before[0] = count, -1
        for point in range(count - 2, -1, -1):
            after[point] = after[point + 1] if component[point] == component[point + 1] else point + 1
        for point in range(1, count):
            before[point] = before[point - 1] if component[point] == component[point - 1] else point - 1
        best_reach[:] = np.inf
        for point in range(count):
            own = component[point]
            for step in (1, -1):
                other = after[point] if step == 1 else before[point]
                while 0 <= other < count and core[point] <= best_reach[own]:
                    gap = along[other] - along[point]
                    if gap * gap > best_reach[own]:
                        break
                    if component[other] == own:
                        other = after[other] if step == 1 else before[other]
                        continue
                    side = across[other] - across[point]
                    distance = gap * gap + side * side
                    mutual = max(distance, core[point], core[other])
                    low, high = min(point, other), max(point, other)
                    if mutual < best_reach[own] or (
                        mutual == best_reach[own]
                        and (
                            distance < best_plain[own]
                            or (
                                distance == best_plain[own]
                                and (low < best_low[own] or (low == best_low[own] and high < best_high[own]))
                            )
                        )
                    ):
                        best_reach[own], best_plain[own] = mutual, distance
                        best_low[own], best_high[own] = low, high
                    other += step
        # `component` holds roots here, which serve as the union-find's parents until they are flattened.
        parent = np.arange(count)
        for own in range(count):
            if component[own] != own:
                continue
            low, high = _root(parent, component[best_low[own]]), _root(parent, component[best_high[own]])
            if low != high:
                parent[max(low, high)] = min(low, high)
                ends[edges, 0], ends[edges, 1] = best_low[own], best_high[own]
                reach[edges], plain[edges] = best_reach[own], best_plain[own]
                edges += 1
        for point in range(count):
            component[point] = _root(parent, component[point])
    return ends, reach, plain


@compiled
def _root(parent: npt.NDArray[np.int64], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _single_linkage(ends: npt.NDArray[np.int64], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The merges that the edges make, shortest first.

    Returns:
        (n - 1, 2) the two nodes that merge i joins into node n + i (nodes below n are points), and (2n - 1,) sizes.
    """
    children = np.empty((count - 1, 2), np.int64)
    sizes = np.ones(2 * count - 1, np.int64)
    parent = np.arange(2 * count - 1)
    for merge in range(count - 1):
        left, right = _root(parent, ends[merge, 0]), _root(parent, ends[merge, 1])
        node = count + merge
        children[merge, 0], children[merge, 1] = left, right
        sizes[node] = sizes[left] + sizes[right]
        parent[left] = parent[right] = node
    return children, sizes


@compiled
def _condensed_tree(
    children: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    heights: Array,
    count: int,
    min_cluster_size: int,
) -> tuple[npt.NDArray[np.int64], Array, float, npt.NDArray[np.int64], Array]:
    """The hierarchy with only those splits that leave two sides of at least `min_cluster_size` points.

    Density is one over distance, in 1/m.

    Returns:
        (n,) the cluster each point falls out of; (n,) the density at which it does; the density at which the root loses
        its last points or splits; (C,) every cluster's parent, -1 for the root 0, always below the cluster's own
        number; (C,) stabilities: the sum over a cluster's points of (density where they leave it - density at birth).
    """
    limit = 2 * (count // min_cluster_size) + 1
    parents = np.full(limit, -1, np.int64)
    births = np.zeros(limit)
    stabilities = np.zeros(limit)
    root_end = 0.0
    clusters = 1
    cluster_of = np.zeros(2 * count - 1, np.int64)
    # Density at which everything below a node fell out of its cluster together; zero while it has not.
    left_at = np.zeros(2 * count - 1)
    # A merge's node number is above its children's, so counting down meets every parent before its children.
    for node in range(2 * count - 2, count - 1, -1):
        cluster = cluster_of[node]
        left, right = children[node - count]
        if left_at[node] > 0:
            for child in (left, right):
                cluster_of[child], left_at[child] = cluster, left_at[node]
            continue
        density = 1 / max(heights[node - count], _FINEST)
        split = sizes[left] >= min_cluster_size and sizes[right] >= min_cluster_size
        for child in (left, right):
            if split:
                parents[clusters], births[clusters] = cluster, density
                cluster_of[child] = clusters
                clusters += 1
            else:
                cluster_of[child] = cluster
                if sizes[child] >= min_cluster_size:
                    continue
                left_at[child] = density
            stabilities[cluster] += sizes[child] * (density - births[cluster])
            if cluster == 0:
                root_end = max(root_end, density)
    return cluster_of[:count], left_at[:count], root_end, parents[:clusters], stabilities[:clusters]


@compiled
def _excess_of_mass(
    parents: npt.NDArray[np.int64], stabilities: Array, allow_single_cluster: bool
) -> npt.NDArray[np.int64]:
    """(C,) for every cluster the chosen one it lies in, or `NOISE`: those that together are most stable."""
    clusters = len(parents)
    below = np.zeros(clusters)
    chosen = np.full(clusters, NOISE, np.int64)
    for cluster in range(clusters - 1, -1, -1):
        eligible = cluster > 0 or allow_single_cluster
        if eligible and below[cluster] <= stabilities[cluster]:
            chosen[cluster] = cluster
            below[cluster] = stabilities[cluster]
        if cluster > 0:
            below[parents[cluster]] += below[cluster]
    for cluster in range(1, clusters):
        if chosen[parents[cluster]] != NOISE:
            chosen[cluster] = chosen[parents[cluster]]
    return chosen
