// The legend of the curves: groups are switched on and off, and unfolded to their single runs. Stands behind curves.js in one script.

// What the switches of a curve are known by; without a run: those of a whole group.
function keyOf(group, run) {
  return run === undefined ? `${group}` : `${group} ${run}`;
}

// Whether a curve is drawn. Folded groups are their means; of unfolded ones the mean and every run have a switch of their own.
function shows(shared, group, run) {
  if (shared.hidden.has(keyOf(group))) return false;
  return shared.open.has(group) ? !shared.hidden.has(keyOf(group, run)) : run === MEAN;
}

// A button that switches a curve or a group, and raises it while it is pointed at.
class Switch {
  constructor(shared, group, run, content, render) {
    Object.assign(this, { shared, key: keyOf(group, run), button: make("button", { type: "button" }, ...content) });
    this.button.addEventListener("click", () => { shared.hidden[shared.hidden.has(this.key) ? "delete" : "add"](this.key); render(); });
    for (const [event, raised] of [["pointerenter", { group, run }], ["pointerleave", null]]) {
      this.button.addEventListener(event, () => { shared.raised = raised; render(); });
    }
  }

  update() { this.button.setAttribute("aria-pressed", String(!this.shared.hidden.has(this.key))); }
}

// A group's line of the legend: its switch, and where it has several runs a button that unfolds theirs.
class Entry {
  constructor(item, shared, render) {
    const group = Number(item.dataset.group), { label, runs } = shared.groups[group], sample = item.querySelector("svg");
    Object.assign(this, { shared, group, whole: new Switch(shared, group, undefined, [...item.childNodes], render), parts: [] });
    item.append(this.whole.button);
    if (!runs.length) return;
    this.list = make("ul", { id: `runs-${group}`, "aria-label": `runs of ${label}` });
    this.unfolding = make("button", { type: "button", class: "unfold", "aria-controls": this.list.id }, `${runs.length} runs`);
    this.unfolding.append(make("span", { class: "unseen" }, ` of ${label}`));
    this.unfolding.addEventListener("click", () => { this.unfold(!shared.open.has(group)); render(); });
    for (const [run, title] of [[MEAN, "mean"], ...runs.map((one, place) => [place, one.label])]) {
      const drawn = sample.cloneNode(true);
      drawn.firstElementChild.setAttribute("class", `line ${look(group, run, shared)}`);
      this.parts.push(new Switch(shared, group, run, [drawn, make("span", {}, title)], render));
      this.list.append(make("li", {}, this.parts.at(-1).button));
    }
    item.append(this.unfolding, this.list);
  }

  unfold(open) { this.shared.open[open ? "add" : "delete"](this.group); }

  update() {
    this.whole.update();
    if (!this.list) return;
    const open = this.shared.open.has(this.group), off = this.shared.hidden.has(this.whole.key);
    this.unfolding.setAttribute("aria-expanded", String(open));
    this.list.hidden = !open;
    this.list.parentElement.classList.toggle("open", open);
    for (const part of this.parts) { part.update(); part.button.disabled = off; }
  }
}

function curves(section, data) {
  const chosen = section.querySelector("input[name=axis]:checked");
  const shared = { groups: data.groups, hidden: new Set(), open: new Set(), raised: null, axis: chosen ? chosen.value : "steps" };
  const plots = [...section.querySelectorAll("figure[data-chart]")].map(figure => new Plot(figure, data.charts[figure.dataset.chart], shared));
  const entries = [...section.querySelectorAll(".legend > li")].map(item => new Entry(item, shared, render));
  for (const input of section.querySelectorAll("input[name=axis]")) input.addEventListener("change", () => {
    shared.axis = input.value;
    plots.forEach(plot => plot.show(null));
    render();
  });
  const tools = make("span", { class: "tools" }), foldable = entries.filter(entry => entry.list), single = make("button", { type: "button" }, "single runs");
  const unfolded = () => foldable.every(entry => shared.open.has(entry.group));
  function tool(button, action) {
    button.addEventListener("click", () => { action(); render(); });
    tools.append(button);
  }
  function render() {
    entries.forEach(entry => entry.update());
    single.setAttribute("aria-pressed", String(unfolded()));
    plots.forEach(plot => plot.render());
  }
  if (entries.length > 2) {
    tools.append("curves: ");
    tool(make("button", { type: "button" }, "all"), () => shared.hidden.clear());
    tool(make("button", { type: "button" }, "none"), () => entries.forEach(entry => shared.hidden.add(entry.whole.key)));
  }
  if (foldable.length) tool(single, () => { const open = !unfolded(); foldable.forEach(entry => entry.unfold(open)); });
  if (tools.hasChildNodes()) section.querySelector(".choices").append(tools);
  render();
}
