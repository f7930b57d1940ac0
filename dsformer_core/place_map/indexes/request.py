"""What somebody wants of a map's index, before it is known how many references there will be."""

import math
from dataclasses import dataclass, fields
from typing import Any

from dsformer_core.errors import UsageError

AUTO = "auto"
WANTED_RECALL = 0.99


@dataclass(frozen=True)
class IndexRequest:
    """Which index a map is to get. What is None the index decides by itself.

    Attributes:
        kind: one of `INDEX_KINDS`, or "auto": by count, memory limit and recall (`choose_index`).
        candidates: of kinds that find some references and put these in order by their descriptors: how many, >= 1.
        memory_limit: bytes that the index may take beside the program itself, while it is made and while it is
            searched, > 0; None without limit.
        recall: share of queries whose most similar reference must be found, in (0, 1]; 1 asks for an exact index.
        factory: what FAISS calls the index that is wanted, of kinds that take such a name, e.g. "IVF4096,PQ64".
        effort: how much of the index a query goes through, >= 1: lists of `ivf_pq` (nprobe), the width of `hnsw`'s
            search (efSearch). None: as little as reaches `recall` among the map's own references.

    Raises:
        UsageError: a number is out of range.
    """

    kind: str = AUTO
    candidates: int | None = None
    memory_limit: int | None = None
    recall: float = WANTED_RECALL
    factory: str | None = None
    effort: int | None = None

    def __post_init__(self) -> None:
        for name in ("candidates", "memory_limit", "effort"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} = {value}: there must be 1 or more")
        if not math.isfinite(self.recall) or not 0 < self.recall <= 1:
            raise UsageError(f"recall = {self.recall}: it is a share of queries, above 0 and at most 1")
        if self.factory is not None and not self.factory.strip():
            raise UsageError("factory is empty: name an index as FAISS does, e.g. 'IVF4096,PQ64'")

    @classmethod
    def of(cls, index: "str | IndexRequest", candidates: int | None = None) -> "IndexRequest":
        """A request from a kind's name alone, or as it is."""
        return index if isinstance(index, IndexRequest) else cls(index, candidates)

    def asked(self) -> dict[str, Any]:
        """What was asked for, without what the index decides by itself: `map.yaml` keeps it for when the map grows."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "kind"}
        defaults = {field.name: field.default for field in fields(self)}
        return {"kind": self.kind} | {name: value for name, value in values.items() if value != defaults[name]}
