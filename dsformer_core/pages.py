"""HTML pages that stand alone: one file, readable without internet, maps included.

Maps are folium's, with Leaflet's own files written into the page instead of links to them. Street tiles lie underneath
where there is internet; without it the background stays plain.
"""

import base64
import html
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsformer_core.errors import DsformerError, UsageError
from dsformer_core.staging import require_folder_of

if TYPE_CHECKING:
    import folium

_MISSING = "pages need folium and XStatic-Leaflet: pip install 'dsformer_ros[viz]'"

# Of what browsers take for a page.
_BEGINNINGS = (b"<!doctype html", b"<html")

# Labels and pictures come from file names and files, so they are set as text and attributes, never as HTML.
_POINTS = """
{% macro script(this, kwargs) %}
(() => {
  const map = {{ this._parent.get_name() }};
  const metre = 1 / 111320;
  for (const point of {{ this.data }}) {
    const at = [point.latitude, point.longitude];
    if (point.heading_deg !== null) {
      const turn = point.heading_deg * Math.PI / 180, east = metre / Math.cos(at[0] * Math.PI / 180);
      const ahead = (metres, side) => [
        at[0] + (metres * Math.cos(turn) - side * Math.sin(turn)) * metre,
        at[1] + (metres * Math.sin(turn) + side * Math.cos(turn)) * east,
      ];
      const length = {{ this.arrow }};
      const tip = ahead(length, 0), barbs = [ahead(0.7 * length, 0.2 * length), ahead(0.7 * length, -0.2 * length)];
      const arrow = {color: point.colour, weight: 1.5, interactive: false};
      L.polyline([at, tip, barbs[0], tip, barbs[1]], arrow).addTo(map);
    }
    const dot = {radius: {{ this.radius }}, color: point.colour, weight: 1.5, fillOpacity: 0.6};
    L.circleMarker(at, dot).addTo(map).bindPopup(() => {
      const box = document.createElement("div"), words = document.createElement("div");
      words.textContent = point.label;
      words.style.whiteSpace = "pre-line";
      box.append(words);
      for (const source of point.pictures) {
        const picture = document.createElement("img");
        picture.src = source;
        picture.style.cssText = "width: 240px; margin-top: 4px; display: block";
        box.append(picture);
      }
      return box;
    }, {minWidth: 240});
  }
})();
{% endmacro %}
"""

_CAPTION = """
{% macro script(this, kwargs) %}
(() => {
  const caption = L.control({position: "topright"});
  caption.onAdd = () => {
    const box = document.createElement("div"), title = document.createElement("b");
    box.style.cssText = "background: #fffd; padding: 8px 12px; border-radius: 4px; max-width: 24em;" +
      " font: 14px/1.45 system-ui, sans-serif";
    title.textContent = {{ this.title }};
    box.append(title);
    for (const [colour, words] of {{ this.lines }}) {
      const line = document.createElement("div");
      if (colour !== null) {
        const dot = document.createElement("span");
        dot.textContent = "● ";
        dot.style.color = colour;
        line.append(dot);
      }
      line.append(words);
      box.append(line);
    }
    return box;
  };
  caption.addTo({{ this._parent.get_name() }});
})();
{% endmacro %}
"""


_PROGRAM = """
{% macro script(this, kwargs) %}
{{ this.function }}({{ this._parent.get_name() }}, {{ this.data }}, {{ this.layer }});
{% endmacro %}
"""


@dataclass(frozen=True)
class Point:
    """Something to show at one position.

    Attributes:
        latitude: degrees, WGS-84.
        longitude: degrees, WGS-84.
        label: what a click shows, plain text; lines break at newlines.
        colour: any CSS colour.
        heading_deg: direction of its arrow, degrees clockwise from true north; None for no arrow.
        pictures: JPEG bytes shown below the label.
    """

    latitude: float
    longitude: float
    label: str
    colour: str
    heading_deg: float | None = None
    pictures: tuple[bytes, ...] = ()


def new_map(bounds: Sequence[tuple[float, float]], *, fitted: bool = True) -> "folium.Map":
    """An empty map that shows the given (latitude, longitude) corners.

    Args:
        bounds: the corners.
        fitted: whether all between them is seen; otherwise their middle is, and a program of the page fits them in.

    Raises:
        DsformerError: the `viz` extra is not installed.
    """
    try:
        import folium
        from branca.element import Element
    except ImportError as error:
        raise DsformerError(_MISSING) from error

    latitudes, longitudes = [corner[0] for corner in bounds], [corner[1] for corner in bounds]
    corners = [[min(latitudes), min(longitudes)], [max(latitudes), max(longitudes)]]
    middle = [sum(side) / 2 for side in zip(*corners, strict=True)]
    page = folium.Map(location=middle, zoom_start=17, max_zoom=22, tiles=None, prefer_canvas=True, control_scale=True)
    # Links to files that a robot in a field cannot reach.
    page.default_js, page.default_css = [], []
    folium.TileLayer("OpenStreetMap", max_native_zoom=19, max_zoom=22).add_to(page)
    if fitted:
        page.fit_bounds(corners, padding=(30, 30), max_zoom=20)
    figure: Any = page.get_root()
    figure.header.add_child(Element(f"<script>{_leaflet_file('leaflet.js')}</script>"))
    figure.header.add_child(Element(f"<style>{_leaflet_styles()}</style>"))
    return page


def add_points(
    page: "folium.Map | folium.FeatureGroup", points: Sequence[Point], *, radius: float = 4, arrow: float = 4
) -> None:
    """Draws points on a map or a layer: dots of `radius` pixels, with a heading an arrow of `arrow` metres."""
    from folium import MacroElement
    from folium.template import Template

    layer: Any = MacroElement()
    layer._template = Template(_POINTS)
    layer.radius, layer.arrow = radius, arrow
    layer.data = for_script(
        [
            {
                "latitude": round(float(point.latitude), 8),
                "longitude": round(float(point.longitude), 8),
                "heading_deg": point.heading_deg,
                "colour": point.colour,
                "label": point.label,
                "pictures": [data_uri(picture) for picture in point.pictures],
            }
            for point in points
        ]
    )
    layer.add_to(page)


def add_line(page: "folium.Map", line: Sequence[tuple[float, float]], *, colour: str, weight: float = 2) -> None:
    """Draws a line through (latitude, longitude) positions."""
    import folium

    folium.PolyLine(list(line), color=colour, weight=weight, opacity=0.7).add_to(page)


def add_caption(page: "folium.Map", title: str, lines: Sequence[tuple[str | None, str]]) -> None:
    """Says in a corner of a map what it shows.

    Args:
        page: the map.
        title: plain text.
        lines: (colour, plain text), a dot of the colour before the text; None for no dot.
    """
    from folium import MacroElement
    from folium.template import Template

    box: Any = MacroElement()
    box._template = Template(_CAPTION)
    box.title, box.lines = for_script(title), for_script(list(lines))
    box.add_to(page)


def add_program(
    page: "folium.Map", program: str, function: str, data: Any, layer: "folium.FeatureGroup | None", *, style: str = ""
) -> None:
    """Has a program of its own draw on a map.

    Args:
        page: the map.
        program: JavaScript, without anything that folium's templates would read as theirs.
        function: what of it is called with Leaflet's map, the data, and the layer or null.
        data: as `for_script` takes it.
        layer: one of the map's.
        style: CSS that goes with it.
    """
    from branca.element import Element
    from folium import MacroElement
    from folium.template import Template

    figure: Any = page.get_root()
    figure.header.add_child(Element(f"<script>{program}</script><style>{style}</style>"))
    caller: Any = MacroElement()
    caller._template = Template(_PROGRAM)
    caller.function, caller.data = function, for_script(data)
    caller.layer = layer.get_name() if layer is not None else "null"
    caller.add_to(page)


def data_uri(picture: bytes, kind: str = "image/jpeg") -> str:
    """A picture as an address that holds it whole."""
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"


def for_script(value: Any) -> str:
    """A value as JSON that can neither end the script it stands in nor be taken for a part of folium's templates.

    folium reads what a layer wrote as a template once more, so a file named ``{{ ... }}`` would run there.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    # JSON's own braces are never doubled, nor followed by these: all of them stand in strings.
    return re.sub(r"\{(?=[{%#])", r"\\u007b", text)


def rendered(page: "folium.Map", title: str) -> str:
    """A map as the text of a page of its own."""
    figure: Any = page.get_root()
    figure.title = html.escape(title)
    return str(figure.render())


def require_page_name(path: Path) -> None:
    """Refuses a name that no page can have, before the work that is to fill it. An older page is replaced.

    Raises:
        UsageError: there is no such folder, or something else than a page has the name.
    """
    require_folder_of(path)
    if not path.exists():
        return
    with path.open("rb") as file:
        if not file.read(64).lstrip().lower().startswith(_BEGINNINGS):
            raise UsageError(f"{path} exists and is no page, so it is not overwritten: choose another name")


def write_page(path: Path, text: str) -> None:
    """Writes a page whole or not at all.

    Raises:
        OSError: the disk is full or the folder does not exist; its `filename` is `path`.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            staged = Path(folder) / path.name
            staged.write_text(text, encoding="utf-8")
            staged.replace(path)
    except OSError as error:
        # A full disk names no file, a missing folder one that nobody asked for.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _leaflet_file(name: str) -> str:
    return _leaflet_path(name).read_text(encoding="utf-8")


def _leaflet_styles() -> str:
    """Leaflet's style sheet with its icons inside."""

    def inline(match: re.Match[str]) -> str:
        icon = _leaflet_path(match[1]).read_bytes()
        return f"url(data:image/png;base64,{base64.b64encode(icon).decode()})"

    return re.sub(r"url\((images/[\w.-]+\.png)\)", inline, _leaflet_file("leaflet.css"))


def _leaflet_path(name: str) -> Path:
    try:
        installed = distribution("XStatic-Leaflet")
    except PackageNotFoundError as error:
        raise DsformerError(_MISSING) from error
    return Path(str(installed.locate_file(f"xstatic/pkg/leaflet/data/{name}")))
