"""Light: where it comes from, how much of it there is, and how pictures of light are stored."""

from dataclasses import dataclass

import numpy as np

from dsformer_core.sample_world.conditions import Condition
from dsformer_core.sample_world.seeding import generator

BRIGHTEST = 4.0
ALBEDO = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)
"""Linear reflectance of an sRGB value."""


@dataclass(frozen=True, eq=False)
class Light:
    """The light of one drive. Colours are linear RGB, in units of what the exposure renders as bright.

    Attributes:
        sun_direction: (3,) unit vector towards the sun.
        sun: (3,) its light on a surface that faces it.
        sky: (3,) light of the whole sky on a horizontal surface.
        zenith: (3,) colour of the sky overhead.
        horizon: (3,) colour of the sky at the horizon.
        haze: (3,) colour into which distance fades.
        haze_per_m: share of light lost per metre.
        clouds: cover in [0, 1].
        lamps: brightness of street lamps, 0 by day.
        lit_windows: share of windows with light inside.
        exposure: jitter about 1 that the camera adds.
        white_balance: (3,) jitter about 1.
        noise: standard deviation of the sensor's noise in the final picture's grey levels.
    """

    sun_direction: np.ndarray
    sun: np.ndarray
    sky: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    haze: np.ndarray
    haze_per_m: float
    clouds: float
    lamps: float
    lit_windows: float
    exposure: float
    white_balance: np.ndarray
    noise: float


def make_light(condition: Condition, seed: int) -> Light:
    """The light of a drive.

    Args:
        condition: light, weather and season.
        seed: of the drive; moves the sun, the exposure and the white balance.

    Returns:
        The light.
    """
    random = generator(seed, "light")
    azimuth = random.uniform(0, 2 * np.pi)
    low_sun = {"day": (0.5, 1.0), "dusk": (0.05, 0.16), "night": (0.6, 0.9)}[condition.light]
    elevation = random.uniform(*low_sun) * (0.55 if condition.season == "winter" and condition.light == "day" else 1.0)
    direction = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    sun, sky, zenith, horizon = _COLOURS[condition.light]
    clouds = {"clear": random.uniform(0.1, 0.55), "overcast": 1.0, "rain": 1.0}[condition.weather]
    grey = condition.weather != "clear"
    if grey:
        brightness = {"overcast": 0.95, "rain": 0.7}[condition.weather] * (0.5 if condition.light == "dusk" else 1.0)
        sun = sun * 0.04
        sky = np.full(3, sky.mean()) * np.array([0.98, 1.0, 1.04]) * 1.35 * brightness
        horizon = np.full(3, horizon.mean()) * np.array([0.97, 1.0, 1.03]) * brightness
        zenith = horizon * 0.75
    haze = {"clear": 0.0016, "overcast": 0.0035, "rain": 0.0045}[condition.weather] * random.uniform(0.7, 1.4)
    return Light(
        sun_direction=direction,
        sun=sun * random.uniform(0.85, 1.15),
        sky=sky,
        zenith=zenith,
        horizon=horizon,
        haze=horizon * 0.9,
        haze_per_m=haze,
        clouds=clouds,
        lamps={"day": 0.0, "dusk": 0.45, "night": 1.0}[condition.light],
        lit_windows={"day": 0.0, "dusk": 0.35, "night": 0.30}[condition.light] * random.uniform(0.7, 1.3),
        exposure=float(np.exp(random.normal(0, 0.12))),
        white_balance=np.exp(random.normal(0, 0.035, 3) * [1, 0.3, 1]),
        noise={"day": 1.2, "dusk": 2.5, "night": 5.0}[condition.light],
    )


# Sun, sky, zenith and horizon, each as its member of `Light`.
_COLOURS = {
    "day": np.array([[2.1, 1.88, 1.52], [0.72, 0.80, 0.92], [0.16, 0.34, 0.75], [0.72, 0.83, 0.95]]),
    "dusk": np.array([[1.2, 0.62, 0.28], [0.34, 0.33, 0.44], [0.10, 0.14, 0.34], [0.95, 0.52, 0.28]]),
    "night": np.array([[0.006, 0.008, 0.012], [0.030, 0.034, 0.050], [0.004, 0.006, 0.014], [0.030, 0.028, 0.034]]),
}


ALBEDO_ROOT = np.sqrt(ALBEDO / BRIGHTEST) * 255
"""What `encode` makes of a surface with an sRGB value under unit light; scales with the root of the light."""


def encode(light: np.ndarray) -> np.ndarray:
    """Stores linear light in 8 bits, with fine steps in the dark: the square root of light up to `BRIGHTEST`."""
    return (np.sqrt(np.clip(light, 0, BRIGHTEST) * np.float32(1 / BRIGHTEST)) * 255 + 0.5).astype(np.uint8)


DECODED = ((np.arange(256) / 255.0) ** 2 * BRIGHTEST).astype(np.float32)
"""Linear light of an encoded value."""
