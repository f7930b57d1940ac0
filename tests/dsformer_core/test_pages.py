"""Pages hold what they are given, and nothing of it becomes a program."""

import json
import re

import pytest

from dsformer_core.pages import Point, add_caption, add_points, for_script, new_map, rendered

NAMES = [
    "{{ 7*7 }}.jpg",
    "{% for a in 'ab' %}{{ a }}{% endfor %}",
    "{# a comment",
    "{{{",
    "</script><b>",
    "a {plain} name",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_stay_names(name: str) -> None:
    page = new_map([(50.0, 13.0), (50.1, 13.1)])
    add_points(page, [Point(50.0, 13.0, name, "#000")])
    add_caption(page, name, [(None, name)])
    text = rendered(page, name)
    labels = re.search(r"for \(const point of (\[.*?\])\) \{\n", text)
    assert labels
    assert json.loads(labels[1])[0]["label"] == name
    assert "<b>" not in text
    assert "49.jpg" not in text


@pytest.mark.parametrize("value", [*NAMES, {"a": {"b": [{}, [{}]]}}, ["{", "{%"]])
def test_what_a_script_reads_is_what_was_written(value: object) -> None:
    assert json.loads(for_script(value)) == value
