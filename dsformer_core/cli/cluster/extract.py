"""Placeholder until the verb is there."""

from typing import Any


def register(verbs: Any) -> None:
    """Adds nothing yet."""
