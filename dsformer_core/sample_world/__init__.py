"""A small world of invented streets: pictures that may be shipped, for the demo, the tests and training."""

from dsformer_core.sample_world.camera import Camera, CameraPose, projection
from dsformer_core.sample_world.conditions import CONDITIONS, Condition, parse_condition
from dsformer_core.sample_world.rendering import render
from dsformer_core.sample_world.survey import Survey, write_survey
from dsformer_core.sample_world.town import Town, make_town
from dsformer_core.sample_world.writing import write_drive

__all__ = [
    "CONDITIONS",
    "Camera",
    "CameraPose",
    "Condition",
    "Survey",
    "Town",
    "make_town",
    "parse_condition",
    "projection",
    "render",
    "write_drive",
    "write_survey",
]
