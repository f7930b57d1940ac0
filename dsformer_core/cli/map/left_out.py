"""What of a source did not become references, said while a map is made and once more at the end."""

from typing import TYPE_CHECKING, Any

from dsformer_core.cli.console import errors

if TYPE_CHECKING:
    from dsformer_core.sources import Skipped


class LeftOut:
    """Says each picture that is skipped, and counts them."""

    def __init__(self) -> None:
        self._skipped: list[Skipped] = []

    def add(self, one: "Skipped") -> None:
        """Says it at once, in one line on stderr."""
        self._skipped.append(one)
        errors.print(f"skipped {one.image}: {one.reason}", style="yellow", markup=False, highlight=False)

    def words(self, kind: str = "picture") -> str:
        """`, 3 pictures skipped`; nothing where there were none."""
        count = sum(one.count for one in self._skipped)
        return f", {count} {kind}{'s' if count > 1 else ''} skipped" if count else ""

    def values(self) -> list[dict[str, Any]]:
        """For JSON."""
        return [{"image": one.image, "reason": one.reason, "count": one.count} for one in self._skipped]
