"""What is gained by not answering: precision and share of answers when queries below a score are declined.

A robot that is told a wrong place is worse off than one that is told nothing. So what counts beside recall@1 is how
many queries can be answered before answers go wrong, when the most confident are answered first.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PRECISIONS = (0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True, eq=False)
class Abstention:
    """Precision against the share of queries answered, one point per distinct score, most confident first.

    Attributes:
        score: what decides, in words.
        thresholds: (P,) answered are queries with at least this score.
        precision: (P,) share of the answers that are right.
        recall: (P,) share of all queries that are answered rightly.
        answered: (P,) share of all queries that are answered.
    """

    score: str
    thresholds: npt.NDArray[np.floating]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    answered: npt.NDArray[np.float64]

    @property
    def average_precision(self) -> float:
        """Area under precision over recall, as a step function; NaN without queries."""
        if not len(self.recall):
            return float("nan")
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())

    def recall_at_precision(self, precision: float) -> tuple[float, float]:
        """The largest recall at which precision is still at least this, and its threshold; (0, NaN) where never."""
        enough = np.flatnonzero(self.precision >= precision)
        if not len(enough):
            return 0.0, float("nan")
        return float(self.recall[enough[-1]]), float(self.thresholds[enough[-1]])


def abstention(scores: npt.NDArray[np.floating], right: npt.NDArray[np.bool_], score: str) -> Abstention:
    """Precision and recall of answering only above a score.

    Args:
        scores: (Q,) confidence in each query's answer; -inf or NaN is never answered.
        right: (Q,) whether that answer is right.
        score: what the scores are, in words.
    """
    scores = np.asarray(scores, np.float64)
    order = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable")
    ranked, correct = scores[order], right[order]
    answerable = int(np.isfinite(ranked).sum())
    ranked, correct = ranked[:answerable], correct[:answerable]
    # Queries with equal scores are answered together or not at all.
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True)) if answerable else np.zeros(0, np.int64)
    hits, answered = np.cumsum(correct)[ends], ends + 1
    return Abstention(
        score=score,
        thresholds=ranked[ends],
        precision=hits / answered,
        recall=hits / max(len(scores), 1),
        answered=answered / max(len(scores), 1),
    )
