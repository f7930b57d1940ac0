"""From similarity to probability: how far a map's own pictures can be told apart, fitted when the map is built.

A similarity means nothing by itself: 0.8 is a near-certain match for one network and the everyday score of two
unrelated streets for another. What it means for this network in this place the map can tell, because its references
were taken at known poses. One reference of each spot and direction (`places.thin`) plays a query twice:

* *mapped*: without its immediate neighbourhood (nearly the same picture of the same drive), but with the rest of its
  place: does the right place win, and by what?
* *unmapped*: without its whole surroundings, so that every match is wrong: how well do wrong places score?

The radius of the immediate neighbourhood is drawn for each pseudo-query:

    r ~ U(1 m, min(20 m, 2 · max(d, 3 m)))

with d the map's spacing and 3 m what references are off. A real query lies up to d/2 from the next reference, and sees
it in another light, weather and traffic. References further away look less alike too: that stands in, in part, for
what a map of one drive cannot show. The full 20 m in a dense map would make pseudo-queries far harder than real ones.

The model is a conditional logit over the places that a query's matches fall into (`places.place_leaders`, the same as
for its hypotheses) and the alternative "none of these":

    u_i = bias + similarity_weight · (s_i - impostor_mean) / impostor_spread
               + margin_weight     · (s_i - s_elsewhere)  / impostor_spread
    P_i = ceiling · exp(u_i) / (1 + Σ_j exp(u_j))

with s_i the best similarity of place i and s_elsewhere that of the second best place. Both weights are positive, so
P rises with similarity and with margin, equal places share alike, and something is always left for "none of these".

impostor_mean is the mean best similarity m_q of the unmapped pseudo-queries, and

    impostor_spread² = (5 · v + Σ_q (m_q - impostor_mean)²) / (5 + n),   v = Var{a·b : a, b more than 50 m apart}

so that a map with few pseudo-queries takes its unit from its pairs of references, of which it has many more.

bias and margin_weight maximise

    h/|M| · Σ_{q in M} ln P_q + h/|U| · Σ_{q in U} ln P_q - ½ Σ_k precision_k · (weight_k - prior_k)²

with M the mapped and U the unmapped pseudo-queries, P_q the probability of what was right (a place or "none of these")
and a Gaussian prior around `PRIOR_WEIGHTS`. Mapped and unmapped ground count alike, each as much as h witnesses, the
number of pseudo-queries that are 25 m apart. Pictures four metres apart see the same houses: counted one by one, they
would make 600 m of street as sure of itself as a city. A map with few places, or without overlap between its
references, stays near the prior.

similarity_weight is not fitted but held at `SIMILARITY_WEIGHT`. The map's own pictures share one light, and in it the
absolute similarity looks telling; at night it falls for right and wrong places alike. Fitted, it silences the robot at
dusk; at nought, nothing tells a picture of another world from one of the map.

`ceiling` is the rule of succession: who has seen n unmapped pseudo-queries cannot promise more than 1 - 1 / (n + 2).

Limits: a query far from any condition in the map scores lower than the pseudo-queries did and gets too little
probability rather than too much; copies of a place that lie outside the map cannot be known from the map.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsformer_core.errors import DsformerError
from dsformer_core.place_map.places import REFERENCE_STD, SAME_SPOT, spacing, thin
from dsformer_core.place_map.pseudo_queries import Played, play_queries

RIGHT_PLACE_RADIUS = 25.0
"""Metres within which a match counts as right: the field's convention (recall within 25 m)."""

SURROUNDINGS_RADIUS = 2 * RIGHT_PLACE_RADIUS
"""Metres around a pseudo-query that are taken out of the map to simulate a query from unmapped ground."""

SIMILARITY_WEIGHT = 0.5
"""Log-odds per impostor spread of similarity. A picture of another world lies several spreads below the best wrong
matches of the map, and this rejects it; the map's own streets at dusk lie little below; their margin carries them."""

PRIOR_WEIGHTS = np.array([-2.0, 1.5])
"""Bias and margin weight (per impostor spread) that a map keeps which cannot tell otherwise."""

PRIOR_PRECISION = np.array([1.0, 4.0])
"""How firmly the prior weights are held; a place's information about each is well below 1."""

UNKNOWN_IMPOSTOR_MEAN = 0.7
UNKNOWN_IMPOSTOR_SPREAD = 0.1
SPREAD_PRIOR_COUNT = 5
FEWEST_DISTANT_PAIRS = 50
SMALLEST_SPREAD = 0.005
"""The impostors' level and spread where no reference has another place to be confused with; how many observations the
spread of distant pairs is worth, and from how many pairs on it is known; what float16 and a JPEG's noise move
similarities by, below which no spread is believed."""

MAX_PSEUDO_QUERIES = 1000


@dataclass(frozen=True)
class SimilarityCalibration:
    """What similarity and margin are worth in one map.

    Attributes:
        bias: log-odds of a place against "none of these" at zero margin and the impostors' mean similarity.
        similarity_weight: log-odds per impostor spread of similarity, >= 0; `SIMILARITY_WEIGHT` from a fit.
        margin_weight: log-odds per impostor spread of margin over the second best place, >= 0.
        impostor_mean: mean over unmapped pseudo-queries of their best similarity (cosine).
        impostor_spread: its standard deviation, > 0.
        ceiling: upper bound of the sum of all probabilities, in (0, 1).
        mapped_queries: pseudo-queries whose place was left in the map.
        unmapped_queries: pseudo-queries whose whole surroundings were taken out.
    """

    bias: float
    similarity_weight: float
    margin_weight: float
    impostor_mean: float
    impostor_spread: float
    ceiling: float
    mapped_queries: int
    unmapped_queries: int

    def probabilities(self, similarities: ArrayLike, *, elsewhere: float | None = None) -> NDArray[np.float64]:
        """Probability of each place that a query's matches fall into.

        Args:
            similarities: (H,) best cosine similarity of each place, in any order.
            elsewhere: similarity of the best reference of another place than the best one. None: the second highest of
                `similarities`; where there is only one, the impostors' mean if that is lower.

        Returns:
            (H,) probabilities, sum < 1; the rest belongs to "none of these".
        """
        similarity = np.asarray(similarities, dtype=np.float64)
        if similarity.size == 0:
            return np.empty(0)
        if elsewhere is None:
            lone = min(self.impostor_mean, float(similarity.max()))
            elsewhere = float(np.partition(similarity, -2)[-2]) if similarity.size > 1 else lone
        level = (similarity - self.impostor_mean) / self.impostor_spread
        margin = (similarity - elsewhere) / self.impostor_spread
        utility = self.bias + self.similarity_weight * level + self.margin_weight * margin
        # Relative to the highest, so that nothing overflows.
        top = max(float(utility.max()), 0.0)
        raised = np.exp(utility - top)
        return np.asarray(self.ceiling * raised / (raised.sum() + np.exp(-top)))

    def probability(self, similarity: float, margin: float) -> float:
        """Probability that the best match is of the right place.

        Args:
            similarity: its cosine similarity.
            margin: how far the best match of any other place stays below it, >= 0.
        """
        return float(self.probabilities([similarity, similarity - margin])[0])

    def to_dict(self) -> dict[str, float | int]:
        """Plain numbers, for `map.yaml`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SimilarityCalibration":
        """The reverse of `to_dict`.

        Raises:
            DsformerError: a value is missing, unknown, not a number or out of range.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            raise DsformerError(f"calibration: expected the values {', '.join(sorted(names))}")
        try:
            numbers = {name: float(value) for name, value in values.items()}
        except (TypeError, ValueError) as error:
            raise DsformerError(f"calibration: not a number: {error}") from error
        wrong = [name for name, value in numbers.items() if not np.isfinite(value)]
        wrong += [name for name in ("similarity_weight", "margin_weight") if numbers[name] < 0]
        wrong += [name for name in ("mapped_queries", "unmapped_queries") if numbers[name] < 0]
        wrong += ["impostor_spread"] if not numbers["impostor_spread"] > 0 else []
        wrong += ["ceiling"] if not 0 < numbers["ceiling"] < 1 else []
        if wrong:
            raise DsformerError(f"calibration: {wrong[0]} = {values[wrong[0]]} is out of range")
        mapped, unmapped = int(numbers.pop("mapped_queries")), int(numbers.pop("unmapped_queries"))
        return cls(mapped_queries=mapped, unmapped_queries=unmapped, **numbers)


def fit_calibration(descriptors: ArrayLike, utm: ArrayLike, yaw: ArrayLike, *, seed: int = 0) -> SimilarityCalibration:
    """Fits the calibration of a map to its own references.

    Time is O(sample · N), memory O(sample · chunk): a memory-mapped array of a million descriptors is fine.

    Args:
        descriptors: (N, D) unit descriptors, any float type, N >= 0.
        utm: (N, 2) easting, northing in metres.
        yaw: (N,) radians, NaN where unknown.
        seed: of the sample and the drawn neighbourhoods; the same map gives the same calibration.

    Returns:
        The fitted calibration; the documented defaults as far as the map cannot tell.
    """
    positions = np.asarray(utm, dtype=np.float64).reshape(-1, 2)
    yaws = np.asarray(yaw, dtype=np.float64).reshape(-1)
    random = np.random.default_rng(seed)
    spots = thin(positions, yaw=yaws)
    sample = np.sort(random.permutation(spots)[:MAX_PSEUDO_QUERIES])
    immediate = immediate_neighbourhoods(spacing(positions), len(sample), random)

    surroundings = np.full(len(sample), SURROUNDINGS_RADIUS)
    mapped, unmapped = play_queries(descriptors, positions, yaws, sample, (immediate, surroundings), RIGHT_PLACE_RADIUS)
    mapped = mapped.only(mapped.place_in_reach)
    unmapped = unmapped.only(np.isfinite(unmapped.similarities[:, 0]))

    best_impostors = unmapped.similarities[:, 0]
    impostor_mean = float(best_impostors.mean()) if len(best_impostors) else UNKNOWN_IMPOSTOR_MEAN
    squares = SPREAD_PRIOR_COUNT * _distant_variance(descriptors, positions, sample)
    squares += float(((best_impostors - impostor_mean) ** 2).sum())
    impostor_spread = max(float(np.sqrt(squares / (SPREAD_PRIOR_COUNT + len(best_impostors)))), SMALLEST_SPREAD)

    witnesses = len(thin(positions[sample], RIGHT_PLACE_RADIUS, yaw=yaws[sample]))
    bias, margin_weight = _fit_weights([mapped, unmapped], witnesses, impostor_mean, impostor_spread)
    return SimilarityCalibration(
        bias=bias,
        similarity_weight=SIMILARITY_WEIGHT,
        margin_weight=margin_weight,
        impostor_mean=impostor_mean,
        impostor_spread=impostor_spread,
        ceiling=1.0 - 1.0 / (len(best_impostors) + 2.0),
        mapped_queries=len(mapped.similarities),
        unmapped_queries=len(best_impostors),
    )


def immediate_neighbourhoods(spacing: float, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Radii in metres around references that play queries, within which the map is not to answer with its own picture.

    Args:
        spacing: of the map, metres.
        count: how many play.
        random: draws them, r ~ U(1 m, min(20 m, 2 · max(d, 3 m))).
    """
    widest = min(0.8 * RIGHT_PLACE_RADIUS, 2 * max(spacing, REFERENCE_STD))
    return random.uniform(SAME_SPOT, widest, count)


def _distant_variance(descriptors: ArrayLike, utm: NDArray[np.float64], sample: NDArray[np.int64]) -> float:
    """Variance of the similarity of two references of the sample more than `SURROUNDINGS_RADIUS` apart."""
    table: Any = descriptors
    vectors = np.asarray(table[sample], dtype=np.float32)
    first, second = np.triu_indices(len(sample), k=1)
    distant = np.hypot(*(utm[sample[first]] - utm[sample[second]]).T) > SURROUNDINGS_RADIUS
    if distant.sum() < FEWEST_DISTANT_PAIRS:
        return UNKNOWN_IMPOSTOR_SPREAD**2
    return float((vectors @ vectors.T)[first, second][distant].astype(np.float64).var())


def _fit_weights(
    samples: list[Played], witnesses: int, impostor_mean: float, impostor_spread: float
) -> tuple[float, float]:
    """Maximum a posteriori bias and margin weight; each sample counts as `witnesses` pseudo-queries, if it has them."""
    if not all(len(played.similarities) for played in samples):
        # One side alone would only drive the bias away: it shows where places end, not how they differ.
        bias, margin_weight = PRIOR_WEIGHTS.tolist()
        return bias, margin_weight
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    similarities = np.vstack([played.similarities for played in samples])
    right = np.concatenate([played.right for played in samples])
    total = len(right)
    weight = np.concatenate([np.full(len(p.right), min(1.0, witnesses / len(p.right))) for p in samples])

    exists = np.isfinite(similarities)
    finite = np.where(exists, similarities, 0.0)
    elsewhere = np.where(exists[:, 1], finite[:, 1], np.minimum(impostor_mean, finite[:, 0]))[:, None]
    level = SIMILARITY_WEIGHT * (finite - impostor_mean) / impostor_spread
    margin = (finite - elsewhere) / impostor_spread
    chosen = np.arange(total), np.maximum(right, 0)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        utility = parameters[0] + level + parameters[1] * margin
        utility = np.where(exists, utility, -np.inf)
        log_total = logsumexp(np.hstack([utility, np.zeros((total, 1))]), axis=1)
        probability = np.exp(utility - log_total[:, None])
        log_likelihood = np.where(right >= 0, utility[chosen], 0.0) - log_total
        residual = probability
        residual[chosen] -= right >= 0
        residual *= weight[:, None]
        gradient = np.array([residual.sum(), (residual * margin).sum()])
        away = parameters - PRIOR_WEIGHTS
        value = -(weight * log_likelihood).sum() + 0.5 * (PRIOR_PRECISION * away**2).sum()
        return float(value), gradient + PRIOR_PRECISION * away

    # The margin's weight stays clearly positive, so that a better match never counts for less.
    bounds = [(None, None), (0.05, None)]
    fitted = minimize(loss, PRIOR_WEIGHTS, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(fitted[0]), float(fitted[1])
