"""Under what light, weather, season and traffic a drive happens."""

from dataclasses import dataclass, replace

from dsformer_core.errors import UsageError

LIGHTS = ("day", "dusk", "night")
WEATHERS = ("clear", "overcast", "rain")
SEASONS = ("summer", "autumn", "winter")


@dataclass(frozen=True)
class Condition:
    """One combination; any is possible.

    Attributes:
        light: one of `LIGHTS`.
        weather: one of `WEATHERS`.
        season: one of `SEASONS`.
        traffic: vehicles and people on the move, 0 none, 1 busy.
    """

    light: str = "day"
    weather: str = "clear"
    season: str = "summer"
    traffic: float = 0.25

    def __post_init__(self) -> None:
        for value, known in ((self.light, LIGHTS), (self.weather, WEATHERS), (self.season, SEASONS)):
            if value not in known:
                raise UsageError(f"condition {value!r} is unknown; choose from {', '.join(known)}")
        if not 0 <= self.traffic <= 1:
            raise UsageError(f"traffic {self.traffic} lies outside [0, 1]")


CONDITIONS = {
    "daylight": Condition(),
    "overcast": Condition(weather="overcast"),
    "dusk": Condition(light="dusk"),
    "night": Condition(light="night"),
    "rain": Condition(weather="rain"),
    "traffic": Condition(traffic=1.0),
    "autumn": Condition(season="autumn"),
    "winter": Condition(season="winter"),
}


def parse_condition(text: str) -> Condition:
    """Reads a condition as the command line takes it.

    Args:
        text: names of `CONDITIONS` joined by "+", e.g. ``"night+rain"``; each adds what it changes about daylight.

    Returns:
        The combination.

    Raises:
        UsageError: a name is unknown.
    """
    condition = CONDITIONS["daylight"]
    for name in text.split("+"):
        if name not in CONDITIONS:
            raise UsageError(
                f"condition {name!r} is unknown; choose from {', '.join(CONDITIONS)}, or join some with '+'"
            )
        changes = {key: value for key, value in vars(CONDITIONS[name]).items() if value != getattr(Condition(), key)}
        condition = replace(condition, **changes)
    return condition
