"""Times as people and devices write them -> seconds since 1970."""

from datetime import datetime, timezone


def parse_time(text: str) -> float:
    """ISO 8601, UTC where it names no offset; of fractions of a second as many digits as there are.

    Raises:
        ValueError: that is no time.
    """
    whole, point, rest = text.strip().partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    # Python 3.10 knows neither "Z" nor nanoseconds.
    moment = datetime.fromisoformat((whole + rest[len(digits) :]).replace("Z", "+00:00"))
    if point and not digits:
        raise ValueError(f"no fraction of a second in {text!r}")
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return seconds + (float(f"0.{digits}") if digits else 0.0)
