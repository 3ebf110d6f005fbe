"use strict";
// What the server tells is text: it becomes text of elements, never markup.
const $ = (id) => document.getElementById(id);
let state = null; // as in the server
let clockOff = 0; // seconds by which this browser's clock is ahead of the server's
let heardAt = 0; // when the server was last heard
let isStale = true; // whether figures are behind the state

function changed(before, change) {
  const now = { ...before, ...change.set };
  for (const [key, [kept, added]] of Object.entries(change.grow || {})) now[key] = before[key].slice(0, kept).concat(added);
  return now;
}

const RAISED = { "+": "", "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const digits = (value, count = 4) => {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    const [mantissa, power] = value.toExponential(count - 1).split("e");
    return `${Number(mantissa)}·10${[...power].map((one) => RAISED[one]).join("")}`;
  }
  return String(Number(value.toPrecision(count)));
};
const whole = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));
const spell = (seconds) => {
  if (seconds === null || seconds === undefined) return "–";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const k = Math.max(parts.findIndex(([size]) => seconds >= size), 0);
  if (seconds < 1) return "0 s";
  const [size, unit] = parts[k];
  const first = Math.floor(seconds / size);
  const rest = parts[k + 1] && first < 10 ? Math.floor((seconds % size) / parts[k + 1][0]) : 0;
  return rest ? `${first} ${unit} ${rest} ${parts[k + 1][1]}` : `${first} ${unit}`;
};
const put = (id, text) => {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
};
const made = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};

const STATUS = {
  waiting: ["waiting for the run", "waiting"],
  running: ["running", "good"],
  complete: ["complete", "good"],
  "complete with gaps": ["complete, with gaps", "good"],
  interrupted: ["not running: killed or interrupted", "bad"],
  failed: ["failed", "bad"],
};
const QUIET_S = 120; // a log does not say that its run has ended
const GRAVE = ["divergence"];

function write() {
  const { name, kind, step, total, unit, loss, rate, forecast, expected, alarms, problem } = state;
  put("kind", kind ? `live page of a ${kind}` : "live page");
  put("name", name || "…");
  const [words, look] = STATUS[state.status] || [state.status, ""];
  put("status", words);
  $("status").className = `pill ${look}`;
  put("step", whole(step));
  put("of", total ? `of ${whole(total)} ${unit}` : unit);
  put("loss", digits(loss));
  put("expected", expected === null || expected === undefined ? "" : `expected ${digits(expected)}`);
  put("end", forecast ? digits(forecast.value) : "–");
  const waits = state.is_catching_up ? "forecasting its past ..." : "no forecast yet";
  put("interval", forecast ? `90 %: ${digits(forecast.lower)} to ${digits(forecast.upper)}` : waits);
  put("left", state.status === "running" ? spell(state.left_s) : "–");
  put("rate", rate === null || rate === undefined ? "" : `learning rate ${digits(rate, 3)}`);
  const share = total ? Math.min(100, (100 * step) / total) : 0;
  $("bar").style.width = `${share}%`;
  $("bar").parentElement.setAttribute("aria-valuenow", share.toFixed(0));
  $("problem").hidden = !problem;
  put("problem", problem || "");
  writeAlarms(alarms || []);
  writeHappened(state.happened || []);
  writeBasis(forecast);
  const warns = (alarms || []).length ? "⚠ " : "";
  document.title = `${warns}step ${whole(step)} · loss ${digits(loss)} · ${name || "eigenflow watch"}`;
}

let toldAlarms = "";
function writeAlarms(alarms) {
  const told = JSON.stringify(alarms);
  if (told === toldAlarms) return; // a screen reader would tell them again
  toldAlarms = told;
  const shown = alarms.slice(-4).reverse().map((alarm) => {
    const box = made("div", undefined, GRAVE.includes(alarm.kind) ? "alarm" : "alarm mild");
    const line = made("p");
    line.append(made("b", alarm.kind), `: ${alarm.sentence}`);
    box.append(line, made("p", `Since step ${whole(alarm.since)}, seen at step ${whole(alarm.raised_at)}. Look at ${alarm.look_at}.`));
    return box;
  });
  $("alarms").replaceChildren(...shown);
}

function writeHappened(happened) {
  const rows = happened.slice().reverse().map((one) => {
    const row = made("li", undefined, one.alarm ? "alarmed" : "");
    const time = made("time", `${new Date(one.at * 1000).toLocaleTimeString()}, step ${whole(one.step)}`);
    row.append(time, made("span", one.text));
    return row;
  });
  $("happened").replaceChildren(...(rows.length ? rows : [made("li", "Nothing to tell so far.")]));
}

function writeBasis(forecast) {
  const rows = [];
  const add = (name, text) => rows.push(made("dt", name), made("dd", text));
  if (forecast) {
    add("made at", `step ${whole(forecast.made_at)}, for the end at step ${whole(forecast.total)}`);
    add("end", forecast.told);
    add("learning rates", forecast.rates);
    add("length", state.length || forecast.length);
    for (const caution of forecast.cautions) add("caution", caution);
  } else add("forecast", "none yet: a dozen losses are needed, then a forecast takes some seconds");
  for (const line of state.events || []) add("note", line);
  $("basis").replaceChildren(...rows);
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const one = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(["ink", "muted", "line", "page", "accent", "fan", "raw", "bad"].map((name) => [name, one(name)]));
}
const faded = (colour, share) => {
  const number = parseInt(colour.slice(1), 16);
  return `rgba(${number >> 16},${(number >> 8) & 255},${number & 255},${share})`;
};

function layout(colour, more) {
  const axis = { gridcolor: colour.line, linecolor: colour.muted, showline: true, ticks: "outside", tickcolor: colour.muted,
    zeroline: false, exponentformat: "power", automargin: true, title: { standoff: 8 } };
  const font = { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colour.ink };
  const made = { font, paper_bgcolor: colour.page, plot_bgcolor: colour.page, margin: { l: 56, r: 14, t: 10, b: 48 },
    hovermode: "x unified", hoverlabel: { bgcolor: colour.page, font }, uirevision: "kept", showlegend: true,
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { size: 12 } }, ...more };
  made.xaxis = { ...axis, ...more.xaxis };
  made.yaxis = { ...axis, ...more.yaxis };
  return made;
}
const isNarrow = () => matchMedia("(max-width: 760px)").matches;
const CONFIG = () => ({ displayModeBar: isNarrow() ? false : "hover", responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], toImageButtonOptions: { format: "svg" } });
const column = (rows, k) => rows.map((row) => row[k]);

function band(x, lower, upper, colour, name, share) {
  const common = { x, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  return [{ ...common, y: lower }, { ...common, y: upper, fill: "tonexty", fillcolor: faded(colour, share), name, showlegend: Boolean(name) }];
}

// Bounds that hold all values, with some room; in powers of ten where the axis is logarithmic.
function bounds(values, isLog, room = 0.04) {
  const kept = values.filter((one) => Number.isFinite(one) && (!isLog || one > 0)).map((one) => (isLog ? Math.log10(one) : one));
  if (!kept.length) return undefined;
  const low = kept.reduce((a, b) => Math.min(a, b)), high = kept.reduce((a, b) => Math.max(a, b));
  const more = room * (high - low) || 0.1 * Math.abs(high) || 1;
  return [low - more, high + more];
}

// Labels of a logarithmic axis: powers of ten, or 1, 2 and 5 of each where there are few.
function labels([low, high]) {
  if (high - low > 1.6) return { dtick: Math.ceil((high - low) / 7) };
  const powers = [...Array(Math.ceil(high) - Math.floor(low) + 1).keys()].map((k) => 10 ** (Math.floor(low) + k));
  const few = high - low > 0.9 ? [1, 2, 5] : high - low > 0.5 ? [1, 1.5, 2, 3, 5, 7] : high - low > 0.2 ? [1, 1.5, 2, 3, 4, 5, 6, 8] : [];
  return few.length ? { tickvals: powers.flatMap((power) => few.map((one) => one * power)) } : {};
}
const axisOf = (text, range, isLog) => ({ title: { text, standoff: 8 }, type: isLog ? "log" : "linear", range,
  ...(isLog && range ? labels(range) : {}) });

function drawLoss(colour) {
  const { curve, forecast, trail, bad } = state;
  const x = column(curve, 0), data = [];
  if (curve.some((row) => row[2] < row[3])) data.push(...band(x, column(curve, 2), column(curve, 3), colour.raw, "", 0.35));
  if (forecast) {
    const steps = column(forecast.path, 0);
    data.push(...band(steps, column(forecast.path, 2), column(forecast.path, 3), colour.fan, "90 % interval", 0.22));
    data.push({ x: steps, y: column(forecast.path, 1), mode: "lines", name: "forecast",
      line: { color: colour.fan, width: 2, dash: "dash" } });
    const earlier = trail.slice(0, -1).filter((row) => row[1] <= 1.02 * forecast.total);
    if (earlier.length)
      data.push({ x: column(earlier, 1), y: column(earlier, 2), mode: "markers", name: "earlier ends",
        error_y: { type: "data", symmetric: false, color: faded(colour.fan, 0.35), thickness: 1.2, width: 3,
          array: earlier.map((row) => row[4] - row[2]), arrayminus: earlier.map((row) => row[2] - row[3]) },
        marker: { color: faded(colour.fan, 0.5), size: 5 }, customdata: column(earlier, 0),
        hovertemplate: "from step %{customdata}: %{y:.4g}<extra></extra>" });
  }
  data.push({ x, y: column(curve, 1), mode: curve.length < 40 ? "lines+markers" : "lines", name: "loss",
    line: { color: colour.accent, width: 1.8 }, marker: { size: 4 } });
  const isLog = { x: $("logx").checked, y: $("logy").checked };
  const path = forecast ? forecast.path : [];
  const ahead = path.filter((row) => row[0] >= forecast.made_at);
  const range = { x: bounds([...x, ...column(path, 0)], isLog.x, 0.02),
    y: bounds([...column(curve, 1), ...column(ahead, 1), ...column(ahead, 2), ...column(ahead, 3)], isLog.y) };
  const shapes = (bad || []).map((step) => ({ type: "line", x0: step, x1: step, yref: "paper", y0: 0, y1: 1,
    line: { color: colour.bad, width: 1, dash: "dot" } }));
  if (forecast) shapes.push({ type: "line", x0: forecast.made_at, x1: forecast.made_at, yref: "paper", y0: 0, y1: 1,
    line: { color: colour.muted, width: 1, dash: "dot" } });
  Plotly.react("plot-loss", data, layout(colour, { shapes, uirevision: `${state.generation}${isLog.x}${isLog.y}`,
    xaxis: axisOf(`${state.unit} completed`, range.x, isLog.x), yaxis: axisOf("loss", range.y, isLog.y) }), CONFIG());
  put("loss-caption", !curve.length ? "No loss yet." : `${whole(state.rows)} logged losses; each point is the mean of equally many, the pale band their lowest and highest.`
    + (forecast ? " The fan is the forecast of the rest with its 90 % interval; the dotted line is where it was made." : "")
    + (state.is_catching_up ? " Forecasts of the run's past are still being made." : "")
    + (bad && bad.length ? " Red dotted lines: losses that are no numbers." : ""));
}

function drawTrail(colour) {
  const { trail, loss } = state;
  $("trail-part").hidden = trail.length < 2;
  if (trail.length < 2) return;
  const x = column(trail, 0);
  const data = [...band(x, column(trail, 3), column(trail, 4), colour.fan, "90 % interval", 0.2),
    { x, y: column(trail, 2), mode: "lines+markers", name: "forecast of the end", line: { color: colour.fan, width: 1.8 },
      marker: { size: 6 }, customdata: trail, hovertemplate: "%{y:.4g}, %{customdata[3]:.4g} to %{customdata[4]:.4g}<extra></extra>" }];
  const shapes = loss === null ? [] : [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: loss, y1: loss,
    line: { color: colour.accent, width: 1.2, dash: "dot" } }];
  const isLog = x[x.length - 1] > 20 * x[0];
  Plotly.react("plot-trail", data, layout(colour, { shapes, uirevision: `${state.generation}${isLog}`,
    xaxis: axisOf("step at which it was made", bounds(x, isLog), isLog), yaxis: axisOf("loss at the end") }), CONFIG());
}

function drawModes(colour) {
  const { modes } = state;
  $("modes-part").hidden = !modes.length;
  if (!modes.length) return;
  const x = column(modes, 0), count = Math.max(...modes.map((row) => row.length)) - 2, data = [];
  for (let k = 0; k < count; k++)
    data.push({ x, y: modes.map((row) => row[k + 2] ?? null), mode: modes.length < 25 ? "lines+markers" : "lines", name: `λ${k + 1}`,
      line: { color: faded(colour.accent, 1 - 0.75 * (k / Math.max(count - 1, 1))), width: k ? 1.3 : 2.2 }, marker: { size: 4 },
      hovertemplate: `λ${k + 1} %{y:.4g}<extra></extra>`, showlegend: k === 0 || k === count - 1 });
  if (modes.some((row) => row[1] !== null))
    data.push({ x, y: column(modes, 1), mode: "lines", name: state.preconditioner ? "2 / learning rate" : "edge of stability", line: { color: colour.bad, width: 1.8, dash: "dash" },
      hovertemplate: "edge %{y:.4g}<extra></extra>" });
  // A rate that falls to 0 takes the edge out of the picture.
  const highest = Math.max(...modes.flatMap((row) => row.slice(2)));
  const values = bounds(modes.flatMap((row) => [Math.min(row[1] ?? highest, 4 * highest), ...row.slice(2)]), true), isLog = $("logx").checked;
  put("modes-caption", state.preconditioner ? `The largest eigenvalues of the operator of ${state.preconditioner} where it was measured. Steps without `
    + "averaged gradients are unstable along a mode above 2 / learning rate; with averages of β = 0.9, as Adam takes them, above 19 times that."
    : "The largest eigenvalues of the tangent operator where it was measured. Gradient descent is unstable along a mode above the edge, "
    + "2 / learning rate (with momentum β, 2 (1 + β) / learning rate).");
  Plotly.react("plot-modes", data, layout(colour, { uirevision: `${state.generation}${isLog}`,
    xaxis: axisOf("updates completed", bounds(x, isLog, 0.02), isLog), yaxis: axisOf("eigenvalue [1 / time]", values, true) }), CONFIG());
}

function draw() {
  isStale = true;
  if (document.hidden || !state || !("curve" in state)) return; // drawn when somebody looks
  isStale = false;
  const colour = colours();
  drawLoss(colour);
  drawTrail(colour);
  drawModes(colour);
}

function tellAge() {
  const silent = Date.now() / 1000 - heardAt;
  if (heardAt && silent > 35) connection("connection lost", "bad");
  if (!state || state.changed_at === null || state.changed_at === undefined) return put("age", "");
  const age = Math.max(0, Date.now() / 1000 - clockOff - state.changed_at);
  const isQuiet = state.kind === "log" && state.status === "running" && age > QUIET_S;
  if (isQuiet) put("status", "no news");
  put("age", `last written ${age < 2 ? "now" : `${spell(age)} ago`}`);
}

const connection = (words, look) => {
  put("connection", words);
  $("connection").className = `pill ${look}`;
};
const heard = () => {
  heardAt = Date.now() / 1000;
  connection("live", "good");
};

let events = null; // the stream, where somebody looks
function listen() {
  events = new EventSource("events");
  const stream = events;
  stream.addEventListener("open", heard);
  stream.addEventListener("state", (event) => take(JSON.parse(event.data)));
  stream.addEventListener("change", (event) => take(changed(state || {}, JSON.parse(event.data))));
  stream.addEventListener("beat", (event) => {
    heard();
    clockOff = Date.now() / 1000 - JSON.parse(event.data).now;
  });
  stream.addEventListener("end", () => connection("the server has ended", "bad"));
  stream.addEventListener("error", () => {
    connection(stream.readyState === EventSource.CLOSED ? "connection lost" : "reconnecting", "waiting");
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => stream === events && listen(), 5000);
  });
}

// A browser keeps six connections to one server, so pages that nobody looks at must not hold one each: a seventh page
// would stay empty. They ask now and then instead, so that their titles still warn.
const ASKS_MS = 15000;
let asking = null;
function ask() {
  fetch("state.json", { cache: "no-store" }).then((answer) => answer.json()).then((now) => events === null && take(now))
    .catch(() => connection("connection lost", "waiting"));
}
function attend() {
  if (document.hidden === (events === null)) return;
  clearInterval(asking);
  if (document.hidden) {
    events.close();
    events = null;
    asking = setInterval(ask, ASKS_MS);
  } else listen();
}

let isDrawing = false;
function take(now) {
  heard();
  state = now;
  write();
  tellAge();
  if (isDrawing) return;
  isDrawing = true; // many changes at once are drawn once
  setTimeout(() => {
    isDrawing = false;
    draw();
  }, 100);
}

document.addEventListener("visibilitychange", () => {
  attend();
  if (isStale) draw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
for (const id of ["logx", "logy"]) $(id).addEventListener("change", draw);
setInterval(tellAge, 1000);
if (document.hidden) asking = setInterval(ask, ASKS_MS), ask();
else listen();
