"""Which validation was the best so far, and whether it is worth while to go on."""

from collections.abc import Mapping
from typing import Any


class Best:
    """The best of the validations of a training.

    Args:
        measure: which of a validation's numbers, added up, make it better than another.
        patience: after so many in a row that were no better, none is expected any more; 0 for never.

    Attributes:
        recalls: those of `measure` in the best one; empty before the first.
        since: how many came after it.
    """

    def __init__(self, measure: tuple[str, ...], patience: int) -> None:
        self.measure, self.patience = measure, patience
        self.recalls: dict[str, float] = {}
        self.since = 0

    def improves(self, numbers: Mapping[str, float]) -> bool:
        """Takes a validation's numbers, those of `measure` among them; says whether it is the best."""
        recalls = {name: numbers[name] for name in self.measure}
        better = not self.recalls or sum(recalls.values()) > sum(self.recalls.values())
        if better:
            self.recalls = recalls
        self.since = 0 if better else self.since + 1
        return better

    @property
    def given_up(self) -> bool:
        """Whether the training should end."""
        return 0 < self.patience <= self.since

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.1%}" for name, value in self.recalls.items())

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"recalls": self.recalls, "since": self.since}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to where it was; it stays at the beginning where that was by other numbers than `measure`."""
        if tuple(state["recalls"]) == self.measure:
            self.recalls, self.since = state["recalls"], state["since"]
