"use strict";
// Colours of the figures on a dark page; a figure's file has those of a light one.
const DARK = {
  "#1f2933": "#e4e9ee", "#66717d": "#a3afba", "#55616d": "#a3afba", "#e3e8ee": "#2d3640", "#ffffff": "#14191f",
  "#0072b2": "#5cb3ea", "#d55e00": "#ff9a4d", "#009e73": "#3ccfa1", "#c3cad2": "#5d6a76", "#8fb8d6": "#41718f",
  "#8a3500": "#ffb070", "#e08a4f": "#a85c27", "#5aa5d6": "#2f74a3", "#004a78": "#8fd0ff",
};
const COLOURS = new RegExp(Object.keys(DARK).join("|"), "gi");
const NARROW = 620;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const plots = [...document.querySelectorAll(".plot[data-spec]")];
let isPrinting = false;

// Panels that stand side by side, in as many columns as there is room for.
const PANEL = 265;
function arranged(spec, width) {
  const layout = spec.layout;
  const order = (key) => Number(key.slice(5) || 1);
  const names = Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key)).sort((a, b) => order(a) - order(b));
  const columns = Math.max(1, Math.min(names.length, Math.floor(width / PANEL)));
  if (columns === names.length) return 1;
  const rows = Math.ceil(names.length / columns);
  const height = (layout.height || 430) * 0.82;
  const margins = layout.margin.t + layout.margin.b;
  const inner = rows * height - margins;
  const down = 92 / inner, across = columns > 1 ? 70 / width : 0;
  const tall = (1 - down * (rows - 1)) / rows, wide = (1 - across * (columns - 1)) / columns;
  names.forEach((name, place) => {
    const vertical = layout[name.replace("x", "y")];
    if (!vertical) return;
    const left = (place % columns) * (wide + across), top = 1 - Math.floor(place / columns) * (tall + down);
    Object.assign(layout[name], { domain: [left, left + wide], anchor: "y" + name.slice(5), showticklabels: true });
    Object.assign(vertical, { domain: [Math.max(0, top - tall), top], anchor: "x" + name.slice(5), showticklabels: true });
    const title = (layout.annotations || [])[place];
    if (title && title.xref === "paper") Object.assign(title, { x: left + wide / 2, y: top, xanchor: "center", yanchor: "bottom" });
  });
  layout.height = Math.round(rows * height);
  const bars = [...spec.data, ...Object.entries(layout).filter(([key]) => /^coloraxis/.test(key)).map(([, axis]) => axis)];
  const shown = bars.filter((one) => one.colorbar || (one.marker && one.marker.colorbar)).map((one) => one.colorbar || one.marker.colorbar);
  shown.forEach((bar, place) => Object.assign(bar, { x: 1.02, xanchor: "left", yanchor: "top",
    ...(shown.length > 1 ? { y: 1 - place * (tall + down), len: tall } : { y: 1, len: Math.min(1, 1.6 / rows) }) }));
  if (layout.legend && layout.legend.orientation === "h" && layout.legend.y < 0) layout.legend.y *= height / (rows * height);
  return rows;
}

function fewerTicks(axis, most) {
  if (axis.tickvals && axis.tickvals.length > most) {
    const every = Math.ceil(axis.tickvals.length / most);
    const kept = axis.tickvals.map((_, place) => place % every === 0);
    if (axis.ticktext) axis.ticktext = axis.ticktext.filter((_, place) => kept[place]);
    axis.tickvals = axis.tickvals.filter((_, place) => kept[place]);
  } else if (!axis.tickvals && axis.type === "log" && axis.range) {
    axis.dtick = Math.max(1, Math.ceil((axis.range[1] - axis.range[0]) / most));
  } else if (!axis.tickvals) {
    delete axis.dtick;
    axis.nticks = most;
  }
}

// Long texts in as many lines as fit.
function broken(text, letters) {
  if (!text || text.length <= letters || text.includes("<br>")) return text;
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines[lines.length - 1];
    if (last && (last + " " + word).replace(/<[^>]*>/g, "").length > letters) lines.push(word);
    else lines[lines.length - 1] = last ? last + " " + word : word;
  }
  return lines.join("<br>");
}

function fitted(spec, width) {
  const layout = spec.layout;
  arranged(spec, width);
  for (const key of Object.keys(layout)) {
    // A label of a power of ten, and a blank beside it, take some sixty pixels.
    const axis = /^xaxis\d*$/.test(key) ? layout[key] : null;
    if (!axis || axis.type !== "log") continue;
    const [from, to] = axis.domain || [0, 1];
    fewerTicks(axis, Math.min(8, Math.max(2, Math.floor(((to - from) * (width - layout.margin.l - layout.margin.r)) / 60))));
  }
  if (width >= NARROW) return;
  const letters = Math.max(18, Math.floor((width - 20) / 9.5));
  if (layout.title && layout.title.text) {
    Object.assign(layout.title, { text: broken(layout.title.text, letters), xref: "container", x: 0.01 });
    layout.margin.t += 20 * (layout.title.text.split("<br>").length - 1);
  }
  for (const note of layout.annotations || []) note.text = broken(note.text, letters);
  const hasBar = JSON.stringify(spec).includes('"colorbar"');
  for (const key of Object.keys(layout)) {
    if (/^xaxis\d*$/.test(key)) {
      fewerTicks(layout[key], layout[key].domain && layout[key].domain[1] - layout[key].domain[0] < 0.9 ? 3 : 4);
      layout[key].automargin = true;
      if (layout[key].title) layout[key].title.text = broken(layout[key].title.text, Math.floor((width - (hasBar ? 170 : 90)) / 8.5));
    }
    if (/^yaxis\d*$/.test(key)) {
      fewerTicks(layout[key], 6);
      layout[key].automargin = true;
      if (layout[key].title) layout[key].title.text = broken(layout[key].title.text, 26);
    }
  }
  layout.margin.l = Math.min(layout.margin.l, 66);
  layout.margin.r = Math.min(layout.margin.r, 14);
  const names = new Set(spec.data.filter((trace) => trace.name && trace.showlegend !== false && trace.visible !== false).map((trace) => trace.name));
  if (layout.showlegend !== false && names.size > 0) {
    // Below everything, one entry a line.
    for (const trace of spec.data) trace.name = broken(trace.name, Math.floor(width / 7.5) - 8);
    const lines = [...names].reduce((sum, name) => sum + broken(name, Math.floor(width / 7.5) - 8).split("<br>").length, 0);
    const room = 24 * lines;
    layout.legend = { ...layout.legend, orientation: "v", x: 0, xanchor: "left", yref: "container", y: 0, yanchor: "bottom" };
    layout.margin.b = 62 + room;
    layout.height = (layout.height || 430) + room;
  }
}

// Traces that a button shows and hides, in every figure that has some of its group.
const toggles = [...document.querySelectorAll("button[data-traces]")];
const isPressed = (button) => button.getAttribute("aria-pressed") === "true";
const groupOf = (trace) => (trace.meta ? trace.meta.group : undefined);
function chosen(spec) {
  for (const trace of spec.data) {
    const button = toggles.find((one) => one.dataset.traces === groupOf(trace));
    if (button) trace.visible = isPressed(button);
  }
}

function toggle(button) {
  button.setAttribute("aria-pressed", String(!isPressed(button)));
  plots.filter((plot) => plot.data && plot.data.some((trace) => groupOf(trace) === button.dataset.traces)).forEach(draw);
}

function onLegend(event) {
  const button = toggles.find((one) => one.dataset.traces === groupOf(event.data[event.curveNumber]));
  if (button) toggle(button);
  return !button; // without a button the legend shows and hides by itself
}

function paint() {
  for (const { dataset: { colour }, style } of toggles)
    if (colour) style.setProperty("--swatch", (dark.matches && DARK[colour.toLowerCase()]) || colour);
}
for (const button of toggles) button.addEventListener("click", () => toggle(button));
paint();

function specOf(plot) {
  let text = document.getElementById(plot.dataset.spec).textContent;
  if (dark.matches && !isPrinting) text = text.replace(COLOURS, (found) => DARK[found.toLowerCase()]);
  const spec = JSON.parse(text);
  spec.layout.uirevision = "kept"; // a reader's zoom outlives another drawing
  chosen(spec);
  fitted(spec, isPrinting ? 680 : plot.clientWidth);
  if (isPrinting) spec.layout.width = 680;
  return spec;
}

const SETTINGS = (plot) => ({
  responsive: true,
  displayModeBar: plot.clientWidth < NARROW ? false : "hover",
  displaylogo: false,
  showSendToCloud: false, // the button of plotly 7 that uploads a figure
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg", filename: plot.dataset.name },
});

const isSeen = (plot) => plot.checkVisibility() && plot.clientWidth > 0;

function draw(plot) {
  if (!isSeen(plot)) return; // folded away: drawn when it is opened
  const spec = specOf(plot);
  plot.style.minHeight = `${spec.layout.height}px`;
  const wasDrawn = plot.dataset.width !== undefined;
  plot.dataset.width = plot.clientWidth;
  Plotly.react(plot, spec.data, spec.layout, SETTINGS(plot)).then(() => {
    if (wasDrawn) return;
    plot.on("plotly_hover", (event) => follow(event));
    plot.on("plotly_legendclick", onLegend);
    plot.on("plotly_unhover", () => document.querySelectorAll(".cursor").forEach((line) => line.remove()));
  });
}

// One line at the same time, or step, in every figure over it.
const clockOf = (axis) => (/^(time|step)/.exec((axis && axis.title && axis.title.text) || "") || [])[1];
function follow(event) {
  const point = event.points[0];
  const clock = clockOf(point.xaxis);
  if (!clock) return;
  document.querySelectorAll(".cursor").forEach((line) => line.remove());
  for (const plot of plots) {
    if (!plot._fullLayout || !isSeen(plot)) continue;
    for (const id of plot._fullLayout._subplots.xaxis) {
      const axis = plot._fullLayout[id.replace("x", "xaxis")];
      const partner = plot._fullLayout[id.replace("x", "yaxis")];
      if (clockOf(axis) !== clock || !partner) continue;
      const place = axis.d2p(point.x);
      if (!(place >= 0 && place <= axis._length)) continue;
      const line = document.createElement("div");
      line.className = "cursor";
      Object.assign(line.style, { left: `${axis._offset + place}px`, top: `${partner._offset}px`, height: `${partner._length}px` });
      plot.append(line);
    }
  }
}

const observer = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const before = Number(target.dataset.width);
    // Plotly fits a figure to its place by itself; another arrangement is wanted where the place is another.
    const isOther = Number.isNaN(before) || Math.abs(before - target.clientWidth) > 40;
    if (isOther && !isPrinting) draw(target);
  }
});
plots.forEach((plot) => { draw(plot); observer.observe(plot); });
for (const part of document.querySelectorAll("details")) part.addEventListener("toggle", () => {
  if (part.open) plots.filter((plot) => part.contains(plot) && plot.dataset.width === undefined).forEach(draw);
});
dark.addEventListener("change", () => { paint(); plots.forEach(draw); });
// Paper is narrower than most windows, and light; printing does not tell plotly.
window.addEventListener("beforeprint", () => { isPrinting = true; plots.forEach(draw); });
window.addEventListener("afterprint", () => { isPrinting = false; plots.forEach(draw); });

// A link to what is folded away opens it.
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let up = target; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
  target.scrollIntoView();
}
window.addEventListener("hashchange", reveal);
reveal();

// Heads of columns beside the cells, for narrow windows.
for (const table of document.querySelectorAll("table.stacks")) {
  const heads = [...table.querySelectorAll("thead th")].map(
    // What is folded away has no inner text; a break stands between two nodes.
    (cell) => [...cell.childNodes].map((node) => node.textContent).join(" ").replace(/\s+/g, " ").trim());
  for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, place) => {
    if (cell.colSpan === 1 && heads[place] && (place > 0 || table.classList.contains("all"))) cell.dataset.head = heads[place];
  });
}

// Search and filter of the claims.
const search = document.getElementById("claim-search");
if (search) {
  const buttons = [...document.querySelectorAll("button[data-verdict]")];
  const count = document.getElementById("claim-count");
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = buttons.filter((button) => button.getAttribute("aria-pressed") === "true").map((button) => button.dataset.verdict);
    let shown = 0;
    for (const claim of document.querySelectorAll(".claim")) {
      const rows = [...claim.querySelectorAll("tr[data-claim]")];
      let some = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        const fits = words.every((word) => text.includes(word)) && (wanted.length === 0 || row.dataset.verdict.split(" ").some((one) => wanted.includes(one)));
        row.hidden = !fits;
        if (fits) some += 1;
      }
      claim.hidden = some === 0;
      if (words.length > 0 && some > 0) claim.open = true;
      shown += some;
    }
    count.textContent = words.length || wanted.length ? `${shown} rows` : "";
  };
  search.addEventListener("input", apply);
  for (const button of buttons) button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "true" ? "false" : "true");
    apply();
  });
  const all = document.getElementById("claims-open");
  all.addEventListener("click", () => {
    const open = all.dataset.open !== "true";
    document.querySelectorAll(".claim").forEach((claim) => { claim.open = open; });
    all.dataset.open = String(open);
    all.textContent = open ? "Fold all" : "Unfold all";
  });
}
