"""What `map.yaml` says of an index, looked at before anything is done with it."""

import math
from collections.abc import Mapping
from typing import Any

from dsformer_core.errors import DsformerError


def check_name(fields: Mapping[str, Any], key: str, *known: str) -> None:
    """Refuses what is no text, or none of those known.

    Raises:
        DsformerError: names the key and what it is.
    """
    value = fields.get(key)
    if known and (not isinstance(value, str) or value not in known):
        raise DsformerError(f"index.{key} is {value!r}, this program knows {' and '.join(map(repr, known))}")
    if not isinstance(value, str) or not value:
        raise DsformerError(f"index.{key} is {value!r}, not a name")


def check_count(fields: Mapping[str, Any], key: str, of: str) -> None:
    """Refuses what is no whole number of 1 or more.

    Raises:
        DsformerError: as above.
    """
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DsformerError(f"index.{key} is {value!r}, not a number of {of}")


def check_share(fields: Mapping[str, Any], key: str) -> None:
    """Refuses what is no number from 0 to 1.

    Raises:
        DsformerError: as above.
    """
    value = fields.get(key)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= 1:  # type: ignore[arg-type, operator]
        raise DsformerError(f"index.{key} is {value!r}, not a share")
