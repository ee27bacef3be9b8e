// Live curves: values under the pointer, zoom, logarithms, of groups and of their single runs. Without a script the page has still drawings of the
// groups. What is switched on says legend.js.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 460, HEIGHT = 280, LEFT = 52, RIGHT = 12, TOP = 10, BOTTOM = 38;
const COLOURS = 8, MOST_BANDS = 12, MOST_IN_TIP = 10;
const MEAN = -1; // in the place of a run's number: the mean of its group

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// --- numbers ---------------------------------------------------------------------------------------------------------------------

const UNITS = [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]];

function short(value) {
  for (const [unit, limit] of UNITS) if (Math.abs(value) >= limit) return trimmed(value / limit) + unit;
  return trimmed(value);
}

function trimmed(value) {
  return String(Number(value.toPrecision(3)));
}

function ticks(low, high, logarithmic) {
  const found = [];
  if (logarithmic) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const factors = last - first > 4 ? [1] : [1, 2, 5];
    for (let power = first; power <= last; power++) for (const factor of factors) found.push(factor * 10 ** power);
    const inside = found.filter(tick => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
    if (inside.length > 1) return inside;
    found.length = 0;
  }
  const rough = (high - low) / 6, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(factor => factor * power).find(size => size >= rough * 0.999);
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i++) found.push(i * step);
  return found;
}

// A function from values to places, with its inverse.
function scale(low, high, start, stop, logarithmic) {
  const to = logarithmic ? Math.log : value => value, back = logarithmic ? Math.exp : value => value;
  const span = to(high) - to(low) || 1;
  const place = value => start + (to(value) - to(low)) / span * (stop - start);
  place.back = at => back(to(low) + (at - start) / (stop - start) * span);
  return place;
}

// --- curves ----------------------------------------------------------------------------------------------------------------------

class Plot {
  constructor(figure, chart, shared) {
    Object.assign(this, { figure, chart, shared, window: null, logX: false, logY: false });
    this.svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: "0" });
    this.tip = make("div", { class: "tip", hidden: "" });
    const tools = make("div", { class: "tools" });
    this.button(tools, "+", "zoom in", () => this.zoom(0.5));
    this.button(tools, "−", "zoom out", () => this.zoom(2));
    this.button(tools, "reset", "show all", () => this.show(null));
    this.button(tools, "log x", "logarithmic horizontal axis", () => (this.logX = !this.logX));
    this.button(tools, "log y", "logarithmic vertical axis", () => (this.logY = !this.logY));
    figure.prepend(make("div", { class: "head" }, figure.querySelector("h3"), tools), make("div", { class: "plot" }, this.svg, this.tip));
    figure.classList.add("live");
    this.svg.addEventListener("pointermove", event => this.move(event));
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("pointerdown", event => this.press(event));
    this.svg.addEventListener("pointerup", event => this.release(event));
    this.svg.addEventListener("dblclick", () => { this.show(null); this.render(); });
    this.svg.addEventListener("keydown", event => this.key(event));
  }

  button(tools, text, title, action) {
    const button = make("button", { type: "button", title, "aria-label": title }, text);
    if (text.startsWith("log")) button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      action();
      if (text.startsWith("log")) button.setAttribute("aria-pressed", String(text === "log x" ? this.logX : this.logY));
      this.render();
    });
    tools.append(button);
  }

  show(part) { this.window = part; }

  // The curves that are switched on, means last, as points (x, y, spread) over the chosen axis; what a logarithm cannot hold is left out.
  lines() {
    const means = this.chart.lines.map(({ group, x, y, sd }) => ({ group, run: MEAN, x, y, sd }));
    const single = this.chart.lines.flatMap(({ group, runs }) => runs.map(({ run, x, y }) => ({ group, run, x: { ...runs[0].x, ...x }, y, sd: null })));
    return [...single, ...means].filter(({ group, run, x }) => shows(this.shared, group, run) && x[this.shared.axis]).map(({ group, run, x, y, sd }) => ({
      group,
      run,
      points: y.map((value, i) => ({ x: x[this.shared.axis][i], y: value, sd: sd ? sd[i] : null }))
        .filter(({ x, y }) => x !== null && !(this.logX && x <= 0) && !(this.logY && y !== null && y <= 0)),
    }));
  }

  render() {
    const lines = this.lines(), reference = this.chart.reference;
    this.svg.replaceChildren();
    this.svg.setAttribute("aria-label", `${this.chart.metric} over ${this.shared.axis}; arrow keys show values`);
    this.tip.hidden = true;
    const everywhere = lines.flatMap(line => line.points.filter(point => point.y !== null));
    if (!everywhere.length) {
      this.x = null;
      this.svg.append(draw("text", { class: "tick", x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "nothing to draw"));
      return;
    }
    const places = everywhere.map(point => point.x);
    this.full = [least(places), most(places)];
    const [low, high] = this.window || this.full;
    const inside = everywhere.filter(point => point.x >= low && point.x <= high);
    const bands = lines.filter(({ run }) => run === MEAN).length <= MOST_BANDS;
    const edges = (inside.length ? inside : everywhere).flatMap(({ y, sd }) => (bands && sd !== null ? [y - sd, y + sd] : [y]));
    if (reference) edges.push(reference[1]);
    const heights = this.logY ? edges.filter(value => value > 0) : edges;
    let [bottom, top] = [least(heights), most(heights)];
    if (this.logY) [bottom, top] = [bottom / 1.05, top * 1.05];
    else { const pad = (top - bottom) * 0.05 || Math.abs(top) * 0.05 || 0.5; [bottom, top] = [bottom - pad, top + pad]; }
    this.x = scale(low, high, LEFT, WIDTH - RIGHT, this.logX);
    this.y = scale(bottom, top, HEIGHT - BOTTOM, TOP, this.logY);
    this.shown = lines;
    this.frame(low, high, bottom, top);
    const inner = draw("svg", { x: LEFT, y: TOP, width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM, class: "inner",
      viewBox: `${LEFT} ${TOP} ${WIDTH - LEFT - RIGHT} ${HEIGHT - TOP - BOTTOM}`, overflow: "hidden" });
    if (reference) {
      const at = this.y(reference[1]);
      inner.append(draw("line", { class: "reference", x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at }));
      inner.append(draw("text", { class: "tick", x: LEFT + 4, y: at - 4 }, reference[0]));
    }
    if (bands) for (const line of lines) if (line.run === MEAN) inner.append(this.band(line, bottom));
    for (const line of lines) inner.append(this.line(line));
    this.cursor = draw("g", {});
    this.svg.append(inner, this.cursor);
  }

  frame(low, high, bottom, top) {
    for (const tick of ticks(bottom, top, this.logY)) {
      const at = this.y(tick);
      this.svg.append(draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at }));
      this.svg.append(draw("text", { class: "tick", x: LEFT - 6, y: at + 4, "text-anchor": "end" }, short(tick)));
    }
    for (const tick of ticks(low, high, this.logX)) {
      this.svg.append(draw("text", { class: "tick", x: this.x(tick), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, short(tick)));
    }
    this.svg.append(draw("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
    const name = { steps: "steps", tokens: "tokens", flops: "FLOPs", seconds: "seconds" }[this.shared.axis];
    this.svg.append(draw("text", { class: "tick", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, name));
  }

  line({ group, run, points }) {
    let path = "", up = true;
    for (const { x, y } of points) {
      if (y !== null) path += `${up ? "M" : "L"}${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`;
      up = y === null;
    }
    return draw("path", { class: `line ${look(group, run, this.shared)} ${this.emphasis(group, run)}`, d: path, "data-group": group, "data-run": run });
  }

  band({ group, run, points }, bottom) {
    const known = points.filter(({ y, sd }) => y !== null && sd !== null);
    const floor = value => this.y(this.logY ? Math.max(value, bottom) : value).toFixed(1);
    const upper = known.map(({ x, y, sd }) => `${this.x(x).toFixed(1)} ${floor(y + sd)}`);
    const lower = known.map(({ x, y, sd }) => `${this.x(x).toFixed(1)} ${floor(y - sd)}`).reverse();
    return draw("path", { class: `band c${group % COLOURS} ${this.emphasis(group, run)}`, d: known.length ? `M${[...upper, ...lower].join("L")}Z` : "" });
  }

  emphasis(group, run) {
    const raised = this.shared.raised;
    return raised === null ? "" : raised.group === group && (raised.run === undefined || raised.run === run) ? "raised" : "faded";
  }

  // Where the pointer is in the drawing's own units.
  place(event) {
    const box = this.svg.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * WIDTH, (event.clientY - box.top) / box.height * HEIGHT];
  }

  press(event) {
    if (event.button || event.pointerType === "touch" || !this.x) return;
    this.start = this.place(event)[0];
    this.svg.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.x) return;
    const [at, height] = this.place(event);
    if (this.start === undefined) return this.point(at, height);
    const [left, right] = [Math.min(at, this.start), Math.max(at, this.start)];
    this.tip.hidden = true;
    this.cursor.replaceChildren(draw("rect", { class: "zone", x: left, y: TOP, width: right - left, height: HEIGHT - TOP - BOTTOM }));
  }

  release(event) {
    if (this.start === undefined) return;
    const ends = [this.start, this.place(event)[0]].map(at => this.x.back(Math.min(Math.max(at, LEFT), WIDTH - RIGHT))).sort((a, b) => a - b);
    const dragged = Math.abs(this.place(event)[0] - this.start) > 8;
    this.start = undefined;
    if (dragged) this.show(ends);
    this.render();
  }

  leave() {
    if (this.start !== undefined || !this.x) return;
    this.tip.hidden = true;
    this.cursor.replaceChildren();
  }

  zoom(factor) {
    if (!this.x) return;
    const middle = (LEFT + WIDTH - RIGHT) / 2, half = (WIDTH - RIGHT - LEFT) / 2 * factor;
    const [low, high] = [this.x.back(middle - half), this.x.back(middle + half)];
    const part = [Math.max(low, this.full[0]), Math.min(high, this.full[1])];
    this.show(factor > 1 && part[0] === this.full[0] && part[1] === this.full[1] ? null : part);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.leave();
    if (!step || !this.x) return;
    event.preventDefault();
    this.at = Math.min(Math.max((this.at ?? (LEFT + WIDTH - RIGHT) / 2) + step * 10, LEFT), WIDTH - RIGHT);
    this.point(this.at, HEIGHT / 2);
  }

  // The values nearest to a place, those closest to its height first, in a box beside it.
  point(at, height) {
    this.at = at;
    const wanted = this.x.back(at);
    const near = this.shown.map(({ group, run, points }) => ({ group, run, point: nearest(points, wanted) })).filter(({ point }) => point);
    const distance = ({ point }) => Math.abs(this.y(point.y) - height);
    const listed = near.sort((a, b) => distance(a) - distance(b)).slice(0, MOST_IN_TIP).sort((a, b) => b.point.y - a.point.y);
    if (!listed.length) return this.leave();
    const centre = this.x(near[0].point.x);
    this.cursor.replaceChildren(draw("line", { class: "cross", x1: centre, x2: centre, y1: TOP, y2: HEIGHT - BOTTOM }));
    this.tip.replaceChildren(make("b", {}, `${short(near[0].point.x)} ${this.shared.axis === "flops" ? "FLOPs" : this.shared.axis}`));
    for (const { group, run, point } of listed) {
      this.cursor.append(draw("circle", { class: `dot c${group % COLOURS}`, cx: this.x(point.x), cy: this.y(point.y), r: 3.5 }));
      const spread = point.sd === null ? "" : ` ± ${Number(point.sd.toPrecision(2))}`;
      const value = make("strong", {}, `${Number(point.y.toPrecision(4))}${spread}`);
      this.tip.append(make("div", {}, make("i", { class: `c${group % COLOURS}` }), make("span", {}, called(this.shared, group, run)), value));
    }
    if (near.length > listed.length) this.tip.append(make("div", {}, `and ${near.length - listed.length} more`));
    this.tip.hidden = false;
    const box = this.svg.getBoundingClientRect(), left = centre / WIDTH * box.width;
    const room = left + this.tip.offsetWidth + 14 <= box.width ? left + 14 : Math.max(0, left - this.tip.offsetWidth - 14);
    this.tip.style.left = `${Math.min(room, Math.max(0, box.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = "12px";
  }
}

function look(group, run, shared) {
  const turn = Math.floor(group / COLOURS) % 4 || (shared.groups[group].finished ? 0 : 1);
  const single = run === MEAN ? "" : ` single${shared.groups[group].runs[run].finished ? "" : " cut"}`;
  return `c${group % COLOURS}${turn ? ` dash${turn}` : ""}${single}`;
}

// Single runs before their group: long labels are cut at their end.
function called(shared, group, run) {
  const { label, runs } = shared.groups[group];
  return run === MEAN ? (shared.open.has(group) ? `mean · ${label}` : label) : `${runs[run].label} · ${label}`;
}

function nearest(points, wanted) {
  let best = null;
  for (const point of points) if (point.y !== null && (!best || Math.abs(point.x - wanted) < Math.abs(best.x - wanted))) best = point;
  return best;
}

const least = values => values.reduce((a, b) => Math.min(a, b)), most = values => values.reduce((a, b) => Math.max(a, b));
