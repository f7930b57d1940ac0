"""Several sources as one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from dsformer_core.sources.source import GeotaggedPicture, Skipped, Source


class JoinedSource:
    """The pictures of several sources, one source after the other. Ids that several have get the source's name."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """Nothing is read yet.

        Args:
            sources: at least one.
        """
        self.name = " + ".join(dict.fromkeys(source.name for source in sources))
        self._sources = list(sources)

    def scan(self, on_progress: Callable[[int], None] | None = None) -> tuple[list[GeotaggedPicture], list[Skipped]]:
        """Finds the pictures of every source. See `Source.scan`."""
        found: list[tuple[str, GeotaggedPicture]] = []
        skipped: list[Skipped] = []
        for name, source in zip(self._distinct_names(), self._sources, strict=True):
            pictures, left_out = source.scan(on_progress)
            found += [(name, picture) for picture in pictures]
            skipped += left_out
        count = Counter(picture.id for _, picture in found)
        taken = {identity for identity, times in count.items() if times == 1}
        joined = []
        for name, picture in found:
            identity = picture.id
            if count[identity] > 1:
                identity = f"{name}/{identity}"
                while identity in taken:
                    identity = f"{name}/{identity}"
                taken.add(identity)
            joined.append(replace(picture, id=identity, source=name))
        return joined, skipped

    def _distinct_names(self) -> list[str]:
        times = Counter(source.name for source in self._sources)
        return [
            source.name if times[source.name] == 1 else f"{number}-{source.name}"
            for number, source in enumerate(self._sources, 1)
        ]
