// A place map on a Leaflet map: layers that are painted on canvases from packed arrays, and a panel to switch them on.
//
// Positions are whole numbers in units of 2^-32 of the Mercator square, 9 mm at the equator. At ordinary sizes of a
// screen a million references are counted into pixels in some milliseconds, so every zoom is painted from them all.

const WORLD = 2 ** -32, UNKNOWN_HEADING = 65535, UNKNOWN_SHARE = 255;
// More references than this in sight are painted as a density, fewer as dots with arrows.
const MOST_DOTS = 6000;
const BIN = 2;
// Pixels of width from which on there is room for a panel beside the map.
const ROOMY = 800;

const RAMPS = {
  density: ["#9ecbf0", "#4f97d7", "#1f6fb4", "#134a83", "#0a2850"],
  cells: ["#fde68a", "#8fd18f", "#2fa39a", "#21689a", "#2a2f7c"],
  alike: ["#fde9b5", "#fdc46b", "#f08c3c", "#d7412a", "#8c0f1f"],
};
const DIRECTIONS = [
  ["#e0662b", "one direction: not recognized on the way back"],
  ["#3aa199", "two directions"],
  ["#27598c", "all round"],
  ["#8a8a8a", "headings unknown"],
];

// Base64 of zlib of the four byte planes of differences between neighbours -> numbers.
async function unpack(text) {
  const coded = atob(text), bytes = new Uint8Array(coded.length);
  for (let i = 0; i < coded.length; i++) bytes[i] = coded.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function numbers(text) {
  const planes = await unpack(text), count = planes.length / 4, values = new Uint32Array(count);
  let last = 0;
  for (let i = 0; i < count; i++) {
    last += planes[i] | planes[count + i] << 8 | planes[2 * count + i] << 16 | planes[3 * count + i] << 24;
    values[i] = last;
  }
  return values;
}

const between = (low, high, value) => Math.min(high, Math.max(low, value));

function mixed(ramp, share) {
  const at = between(0, 1, share) * (ramp.length - 1), from = Math.min(Math.floor(at), ramp.length - 2);
  const part = (colour, i) => parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16);
  return [0, 1, 2].map((i) => part(ramp[from], i) + (at - from) * (part(ramp[from + 1], i) - part(ramp[from], i)));
}
const css = (ramp, share) => `rgb(${mixed(ramp, share).map(Math.round).join()})`;

// A canvas over the map that `paint(context, view)` fills again whenever the map has moved.
const Painted = L.Layer.extend({
  initialize(paint, pane) { this._paint = paint; this._pane = pane; },
  onAdd(map) {
    this._canvas = L.DomUtil.create("canvas", "leaflet-zoom-animated", map.getPane(this._pane));
    this._canvas.style.pointerEvents = "none";
    this._repaint();
  },
  onRemove() { this._canvas.remove(); },
  getEvents() { return {moveend: this._repaint, resize: this._repaint, zoomanim: this._follow}; },
  _follow(event) {
    const scale = this._map.getZoomScale(event.zoom, this._zoom);
    const corner = this._map._latLngToNewLayerPoint(this._corner, event.zoom, event.center);
    L.DomUtil.setTransform(this._canvas, corner, scale);
  },
  _repaint() {
    const map = this._map, size = map.getSize(), sharp = window.devicePixelRatio || 1, canvas = this._canvas;
    L.DomUtil.setTransform(canvas, map.containerPointToLayerPoint([0, 0]), 1);
    this._zoom = map.getZoom();
    this._corner = map.containerPointToLatLng([0, 0]);
    canvas.width = size.x * sharp;
    canvas.height = size.y * sharp;
    canvas.style.width = `${size.x}px`;
    canvas.style.height = `${size.y}px`;
    const context = canvas.getContext("2d");
    context.scale(sharp, sharp);
    this._paint(context, viewOf(map));
  },
});

// What is in sight, and how numbers become pixels: x * scale - left.
function viewOf(map) {
  const size = map.getSize(), scale = 256 * 2 ** map.getZoom() * WORLD, corner = map.getPixelBounds().min;
  const latitude = map.getCenter().lat * Math.PI / 180;
  return {
    width: size.x, height: size.y, scale, left: corner.x, top: corner.y,
    // Pixels per metre.
    metre: 256 * 2 ** map.getZoom() / (40075016.7 * Math.cos(latitude)),
  };
}

// Points sorted into squares, so that those in sight are found without looking at the others.
class Grid {
  constructor(x, y) {
    this.x = x;
    this.y = y;
    const count = x.length, side = between(1, 1024, Math.ceil(Math.sqrt(count / 8)));
    const least = (values) => values.reduce((low, value) => Math.min(low, value), Infinity);
    const most = (values) => values.reduce((high, value) => Math.max(high, value), -Infinity);
    this.side = side;
    this.low_x = least(x);
    this.low_y = least(y);
    this.step_x = (most(x) - this.low_x + 1) / side;
    this.step_y = (most(y) - this.low_y + 1) / side;
    const square = new Uint32Array(count);
    this.starts = new Uint32Array(side * side + 1);
    for (let i = 0; i < count; i++) {
      square[i] = Math.floor((y[i] - this.low_y) / this.step_y) * side + Math.floor((x[i] - this.low_x) / this.step_x);
      this.starts[square[i] + 1]++;
    }
    for (let i = 0; i < side * side; i++) this.starts[i + 1] += this.starts[i];
    const next = this.starts.slice();
    this.order = new Uint32Array(count);
    for (let i = 0; i < count; i++) this.order[next[square[i]]++] = i;
  }

  // Runs of `order`, [start, stop), that hold every point within a rectangle of pixels (and some others).
  *runs(view, x0 = 0, y0 = 0, x1 = view.width, y1 = view.height) {
    const column = (pixel) => Math.floor(((pixel + view.left) / view.scale - this.low_x) / this.step_x);
    const row = (pixel) => Math.floor(((pixel + view.top) / view.scale - this.low_y) / this.step_y);
    const first = Math.max(0, column(x0)), last = Math.min(this.side - 1, column(x1));
    if (first > last) return;
    for (let y = Math.max(0, row(y0)); y <= Math.min(this.side - 1, row(y1)); y++) {
      yield [this.starts[y * this.side + first], this.starts[y * this.side + last + 1]];
    }
  }

  nearest(view, x, y, reach) {
    let best = -1, least = reach ** 2;
    for (const [start, stop] of this.runs(view, x - reach, y - reach, x + reach, y + reach)) {
      for (let at = start; at < stop; at++) {
        const i = this.order[at], dx = this.x[i] * view.scale - view.left - x, dy = this.y[i] * view.scale - view.top - y;
        if (dx * dx + dy * dy <= least) [best, least] = [i, dx * dx + dy * dy];
      }
    }
    return best;
  }
}

// References: `kind` numbers their colour, null for one colour for all.
function paintReferences(context, view, references, kind, colours, arrow) {
  const {grid, heading} = references;
  const in_sight = [...grid.runs(view)];
  const count = in_sight.reduce((sum, [start, stop]) => sum + stop - start, 0);
  const dense = count > MOST_DOTS;
  if (dense) paintDensity(context, view, grid, in_sight, kind, colours);
  else paintDots(context, view, grid, in_sight, heading, kind, colours, arrow * view.metre);
  return dense;
}

function paintDensity(context, view, grid, in_sight, kind, colours) {
  const width = Math.ceil(view.width / BIN), height = Math.ceil(view.height / BIN);
  const counts = new Uint32Array(width * height), kinds = new Uint8Array(kind ? width * height : 0);
  const {x, y, order} = grid, scale = view.scale / BIN, left = view.left / BIN, top = view.top / BIN;
  let most = 1;
  for (const [start, stop] of in_sight) {
    for (let at = start; at < stop; at++) {
      const i = order[at], column = Math.floor(x[i] * scale - left), row = Math.floor(y[i] * scale - top);
      if (column < 0 || row < 0 || column >= width || row >= height) continue;
      const bin = row * width + column, now = ++counts[bin];
      if (now > most) most = now;
      if (kind && kind[i] > kinds[bin]) kinds[bin] = kind[i];
    }
  }
  const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer), steps = 256;
  const packed = ([red, green, blue], alpha) => (alpha << 24 | blue << 16 | green << 8 | red) >>> 0;
  const shade = Array.from({length: steps}, (_, i) => packed(mixed(RAMPS.density, i / (steps - 1)), 235));
  const flat = colours.map((colour) => packed(mixed([colour, colour], 0), 235));
  const whole = Math.log(1 + most);
  for (let bin = 0; bin < counts.length; bin++) {
    if (counts[bin]) {
      pixels[bin] = kind ? flat[kinds[bin]] : shade[Math.round((steps - 1) * Math.log(1 + counts[bin]) / whole)];
    }
  }
  const small = document.createElement("canvas");
  [small.width, small.height] = [width, height];
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, width * BIN, height * BIN);
}

function paintDots(context, view, grid, in_sight, heading, kind, colours, arrow) {
  const radius = between(2, 4, 0.3 * arrow + 1.2);
  context.lineWidth = 1.5;
  for (const [start, stop] of in_sight) {
    for (let at = start; at < stop; at++) {
      const i = grid.order[at], x = grid.x[i] * view.scale - view.left, y = grid.y[i] * view.scale - view.top;
      const colour = colours[kind ? kind[i] : 0];
      context.strokeStyle = context.fillStyle = colour;
      if (arrow > 5 && heading[i] !== UNKNOWN_HEADING) {
        const turn = heading[i] * Math.PI / 180;
        const ahead = (far, side) => [x + far * Math.sin(turn) + side * Math.cos(turn),
          y - far * Math.cos(turn) + side * Math.sin(turn)];
        context.beginPath();
        context.moveTo(x, y);
        context.lineTo(...ahead(arrow, 0));
        context.moveTo(...ahead(0.7 * arrow, 0.2 * arrow));
        context.lineTo(...ahead(arrow, 0));
        context.lineTo(...ahead(0.7 * arrow, -0.2 * arrow));
        context.stroke();
      }
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.globalAlpha = 0.6;
      context.fill();
      context.globalAlpha = 1;
      context.stroke();
    }
  }
}

function paintCells(context, view, cells, colourOf) {
  const {x, y, east, north} = cells, scale = view.scale;
  const reach = Math.abs(east[0] * scale) + Math.abs(north[1] * scale) + 2, tiny = reach < 6;
  context.globalAlpha = tiny ? 1 : 0.6;
  for (let i = 0; i < x.length; i++) {
    const left = x[i] * scale - view.left, top = y[i] * scale - view.top;
    if (left < -reach || top < -reach || left > view.width + reach || top > view.height + reach) continue;
    context.fillStyle = colourOf(i);
    if (tiny) {
      const side = Math.max(2, reach - 2);
      context.fillRect(left, top - side, side, side);
      continue;
    }
    context.beginPath();
    context.moveTo(left, top);
    context.lineTo(left + east[0] * scale, top + east[1] * scale);
    context.lineTo(left + (east[0] + north[0]) * scale, top + (east[1] + north[1]) * scale);
    context.lineTo(left + north[0] * scale, top + north[1] * scale);
    context.fill();
  }
}

// Warm spots, one colour for each step of the score; the worst come last in the arrays, and lie on top.
function paintAlike(context, view, alike, worst) {
  const radius = Math.max(5, 14 * view.metre), side = Math.ceil(2 * radius), steps = 24;
  const spots = Array.from({length: steps}, (_, i) => {
    const spot = document.createElement("canvas");
    spot.width = spot.height = side;
    const brush = spot.getContext("2d"), colour = mixed(RAMPS.alike, i / (steps - 1)).map(Math.round).join();
    const glow = brush.createRadialGradient(radius, radius, 0, radius, radius, radius);
    glow.addColorStop(0, `rgba(${colour},0.95)`);
    glow.addColorStop(0.45, `rgba(${colour},0.75)`);
    glow.addColorStop(1, `rgba(${colour},0)`);
    brush.fillStyle = glow;
    brush.fillRect(0, 0, side, side);
    return spot;
  });
  for (let i = 0; i < alike.x.length; i++) {
    const x = alike.x[i] * view.scale - view.left, y = alike.y[i] * view.scale - view.top;
    if (x < -radius || y < -radius || x > view.width + radius || y > view.height + radius) continue;
    const step = Math.floor(between(0, 0.999, alike.score[i] / 100 / worst) * steps);
    context.drawImage(spots[step], x - radius, y - radius);
  }
}

function element(kind, style = "", words = "") {
  const made = document.createElement(kind);
  made.style.cssText = style;
  made.textContent = words;
  return made;
}

function legendLine(colour, words) {
  const line = element("div", "display: flex; gap: 6px; align-items: baseline");
  line.append(element("span", `flex: none; width: 10px; height: 10px; border-radius: 5px; background: ${colour}`));
  line.append(element("span", "overflow-wrap: anywhere", words));
  return line;
}

function legendRamp(ramp, low, high) {
  const box = element("div"), ends = element("div", "display: flex; justify-content: space-between");
  const stops = ramp.join();
  box.append(element("div", `height: 8px; border-radius: 4px; background: linear-gradient(to right, ${stops})`), ends);
  ends.append(element("span", "", low), element("span", "", high));
  return box;
}

function picture(source, width) {
  const shown = element("img", `width: ${width}px; margin-top: 4px; display: block; border-radius: 3px`);
  shown.src = source;
  return shown;
}

const JPEG = "image/jpeg";
const jpeg = (text) => `data:${JPEG};base64,${text}`;

// Shows everything; `ready` is a layer that the page has drawn by itself, null where references are painted here.
async function showPlaceMap(map, data, ready) {
  const panel = addPanel(map, data);
  // Beside the panel, where there is room for both.
  const beside = map.getSize().x > ROOMY ? panel.offsetWidth + 20 : 0;
  map.fitBounds(data.corners, {paddingTopLeft: [50, 30], paddingBottomRight: [30 + beside, 40], maxZoom: 20, animate: false});
  if (!("DecompressionStream" in window)) {
    panel.append(element("p", "", "This browser is too old to draw the layers of this page."));
    return;
  }
  for (const [name, height] of [["cells", 350], ["references", 380], ["alike", 396], ["drives", 405]]) {
    map.createPane(name).style.zIndex = height;
    map.getPane(name).style.pointerEvents = "none";
  }
  const unpacked = async (fields, ...names) => Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await numbers(fields[name])])));
  const references = await unpacked(data.references, "x", "y", "heading", "drive", "change");
  references.grid = new Grid(references.x, references.y);
  const painted = (kind, colours, pane) => new Painted((context, view) => {
    const dense = paintReferences(context, view, references, kind, colours, data.arrow);
    // Dots leave squares to be seen around them, a density would cover them.
    map.getPane("cells").style.zIndex = dense ? 395 : 350;
  }, pane);
  const change = data.changes.length ? references.change : null;
  const base = ready || painted(change, data.changes.map(([colour]) => colour).concat(data.colour), "references");
  const layers = [["references", "references", base, data.changes.map(([colour, words]) => legendLine(colour, words))]];

  const cells = {...await unpacked(data.cells, "x", "y", "count", "share"), ...data.cells.edges};
  const most = cells.count.reduce((high, count) => Math.max(high, count), 2), ramp = RAMPS.cells;
  const shades = Array.from({length: 64}, (_, i) => css(ramp, i / 63));
  layers.push(["density", `references per ${data.cells.size} m square`, new Painted((context, view) => paintCells(
    context, view, cells, (i) => shades[Math.round(63 * Math.log(cells.count[i]) / Math.log(most))]), "cells"),
    [legendRamp(ramp, "1", `${most}`)]]);
  const direction = (share) => share === UNKNOWN_SHARE ? 3 : share < data.cells.one_direction ? 0 : share < 90 ? 1 : 2;
  layers.push(["headings", "headings covered", new Painted((context, view) => paintCells(
    context, view, cells, (i) => DIRECTIONS[direction(cells.share[i])][0]), "cells"),
    DIRECTIONS.map(([colour, words]) => legendLine(colour, words))]);

  if (data.alike) {
    const alike = await unpacked(data.alike, "x", "y", "score"), highest = alike.score.at(-1) / 100;
    const worst = Math.max(4, Math.ceil(highest));
    const spots = new Painted((context, view) => paintAlike(context, view, alike, worst), "alike");
    const lines = data.pairs.map((pair) => L.polyline(pair.ends.map((end) => end.at),
      {color: "#8c0f1f", weight: 1.5, dashArray: "4 4", interactive: false}));
    const legend = [
      element("div", "", `asked: ${data.alike.words}; score: impostor spreads above ordinary wrong matches`),
      legendRamp(RAMPS.alike, "0", `${worst}`),
      ...data.pairs.map((pair) => pairLine(map, pair)),
    ];
    layers.push(["alike", "looks like another place", L.layerGroup([spots, ...lines]), legend]);
  }
  layers.push(["drives", "drives", painted(references.drive, data.drives.map(([colour]) => colour), "drives"),
    data.drives.map(([colour, , words]) => legendLine(colour, words))]);

  const asked = location.hash.slice(1).split(",").filter(Boolean);
  for (const [key, words, layer, legend] of layers) {
    addSwitch(panel, map, words, layer, legend, key === "references" || asked.includes(key));
  }
  if (!ready) answerClicks(map, data, references, change);
}

function addPanel(map, data) {
  const control = L.control({position: "topright"}), box = element("details");
  box.className = "place-map-panel";
  // Folded up where it would cover the map.
  box.open = map.getSize().x > ROOMY;
  const title = element("summary", "font-weight: 600; font-size: 15px; cursor: pointer", data.title);
  box.append(title, ...data.lines.map(([colour, words]) =>
    colour === null ? element("div", "", words) : legendLine(colour, words)));
  control.onAdd = () => {
    L.DomEvent.disableClickPropagation(box);
    L.DomEvent.disableScrollPropagation(box);
    return box;
  };
  control.addTo(map);
  return box;
}

function addSwitch(panel, map, words, layer, legend, on) {
  const label = element("label", "display: flex; gap: 6px; margin-top: 6px; cursor: pointer");
  const box = element("input"), lines = element("div", "font-size: 12px; margin: 2px 0 4px 20px");
  box.type = "checkbox";
  box.checked = on;
  label.append(box, element("span", "", words));
  lines.append(...legend);
  const show = () => {
    lines.hidden = !box.checked;
    if (box.checked) layer.addTo(map); else layer.remove();
  };
  box.addEventListener("change", show);
  show();
  panel.append(label, lines);
}

function pairLine(map, pair) {
  const line = element("div", "margin-top: 8px; cursor: pointer");
  line.title = pair.ends.map((end) => end.name).join("\n");
  const pictures = element("div", "display: flex; gap: 4px");
  for (const end of pair.ends) if (end.picture) pictures.append(picture(jpeg(end.picture), 136));
  line.append(pictures, element("div", "", pair.words));
  line.addEventListener("click", () => map.fitBounds(pair.ends.map((end) => end.at), {padding: [60, 60], maxZoom: 19}));
  return line;
}

// A click shows the name, the heading and, where the page holds one, the picture of the nearest reference.
async function answerClicks(map, data, references, change) {
  const rows = await numbers(data.pictures.rows), number = new Map();
  rows.forEach((row, i) => number.set(row, i));
  const pictured = new Grid(rows.map((row) => references.x[row]), rows.map((row) => references.y[row]));
  const nameOf = async (row) => {
    const group = await unpack(data.names.groups[Math.floor(row / data.names.size)]);
    return new TextDecoder().decode(group).split("\n")[row % data.names.size];
  };
  map.on("click", async (event) => {
    const at = event.containerPoint, view = viewOf(map), row = references.grid.nearest(view, at.x, at.y, 12);
    if (row < 0) return;
    const heading = references.heading[row] === UNKNOWN_HEADING ? "heading unknown" : `heading ${references.heading[row]}°`;
    const words = [await nameOf(row), heading, data.drives[references.drive[row]][1]];
    if (change) words.push(data.changes[change[row]][1]);
    const box = element("div", "white-space: pre-line; overflow-wrap: anywhere", words.join("\n"));
    const x = references.x[row] * view.scale - view.left, y = references.y[row] * view.scale - view.top;
    const near = number.has(row) ? number.get(row) : pictured.nearest(view, x, y, data.pictures.reach * view.metre);
    if (near >= 0) {
      if (rows[near] !== row) {
        box.append(element("div", "margin-top: 4px; opacity: 0.7", `nearest picture in this page: ${await nameOf(rows[near])}`));
      }
      box.append(picture(jpeg(data.pictures.jpegs[near]), 240));
    }
    const place = map.containerPointToLatLng([x, y]);
    L.popup({minWidth: 240, maxWidth: 260}).setLatLng(place).setContent(box).openOn(map);
  });
}
