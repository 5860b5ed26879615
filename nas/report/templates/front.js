"use strict";
const MEASURED = "latency_measured_s", LATENCY = "latency_s", ENERGY = "energy_j", SEARCH = "accuracy_search", TEST = "accuracy_test";
const SPACE = "space"; // in the place of a cost: latency and energy together, in three dimensions
const page = JSON.parse(document.getElementById("data").textContent);
const chosen = { device: 0, cost: LATENCY, source: "predicted", scale: "linear" };
// Named one by one: Plotly's own set has one that sends the chart to a server.
const BUTTONS = [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d"], ["autoScale2d", "resetScale2d"]];
const SPACE_BUTTONS = [["toImage"], ["zoom3d", "pan3d", "orbitRotation", "tableRotation"], ["resetCameraDefault3d"]];
const narrow = () => innerWidth < 600;
const at = (id) => document.getElementById(id);

// plotly.js is packed: a third of its size. Browsers unpack gzip since 2023 (Firefox 113, Safari 16.4, Chrome 80).
async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function fail(error) {
  at("loading").textContent = `The chart cannot be drawn here (${error.message}): a browser of 2023 or later can; front.png shows the same.`;
}

function start() {
  at("loading").remove();
  const names = page.devices.map((each) => each.device);
  if (names.length > 1) names.push("all devices");
  names.forEach((name, index) => at("device").add(new Option(name, index)));
  at("device-field").hidden = names.length < 2;
  at("device").addEventListener("change", (event) => { chosen.device = Number(event.target.value); offer(); draw(); });
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  offer();
  draw();
}

// The devices that are shown: one, or all.
function shown() { return chosen.device < page.devices.length ? [page.devices[chosen.device]] : page.devices; }

// Choices that make sense for what is shown.
function offer() {
  const devices = shown();
  const known = devices.filter((each) => each.costs.length);
  const costs = known.length ? known[0].costs.filter((name) => known.every((each) => each.costs.includes(name))) : [];
  if (known.length && known.every((each) => each.in_space) && drawsSpace()) costs.push(SPACE);
  if (!costs.includes(chosen.cost)) chosen.cost = costs[0];
  buttons("cost", costs.map((name) => [name, name === SPACE ? "both (3-D)" : page.metrics[name].label]));
  buttons("scale", [["linear", "linear"], ["log", "log"]]);
  const both = chosen.cost === LATENCY && devices.some((each) => each.metrics[MEASURED]);
  if (!both) chosen.source = "predicted";
  buttons("source", both ? [["predicted", page.metrics[LATENCY].sources], ["measured", "measured"]] : []);
}

// Whether this browser has WebGL, which the third dimension needs.
function drawsSpace() {
  drawsSpace.known ??= Boolean(document.createElement("canvas").getContext("webgl"));
  return drawsSpace.known;
}

function buttons(id, choices) {
  at(id + "-field")?.toggleAttribute("hidden", choices.length < 2);
  at(id).replaceChildren(...choices.map(([value, words]) => {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "radio", name: id, value, checked: chosen[id] === value });
    input.addEventListener("change", () => { chosen[id] = value; if (id === "cost") offer(); draw(); });
    label.append(input, words);
    return label;
  }));
}

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const clear = (colour, share) => colour + Math.round(255 * share).toString(16).padStart(2, "0");
const escaped = (words) => words.replace(/[&<>"]/g, (letter) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[letter]);

function wrapped(words) {
  const most = narrow() ? 34 : 64;
  const lines = [""];
  for (const word of words.split(" ")) {
    if ((lines.at(-1) + word).length > most) lines.push("");
    lines[lines.length - 1] += word + " ";
  }
  return lines.map((line) => escaped(line.trimEnd())).join("<br>");
}

function number(value, percent) {
  if (percent) return value.toFixed(2);
  for (const [size, letter] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
    if (Math.abs(value) >= size) return Number((value / size).toPrecision(3)) + letter;
  }
  return String(Number(value.toPrecision(3)));
}

// A figure with its error and its source, as the command line writes it.
function figure(device, name, row) {
  const known = device.metrics[name], { label, unit, percent } = page.metrics[name];
  if (!known || known.value[row] === null) return null;
  let words = `${label}: <b>${number(known.value[row], percent)}</b>`;
  if (known.std[row] !== null) words += ` ± ${Number(known.std[row].toPrecision(2))}`;
  if (unit) words += ` ${unit}`;
  if (known.low[row] !== null) words += ` (${number(known.low[row])} to ${number(known.high[row])})`;
  return `${words}, ${known.source[row]}`;
}

function about(device, row) {
  const marks = ["on the front", "finalist", "gain may be chance", "knee", "pruned"].filter((_, bit) => device.marks[row] >> bit & 1);
  const lines = [`<b>${escaped(device.ids[row])}</b>`, marks.join(", ") || WHY[reason(device, row)], wrapped(device.titles[row])];
  for (const name of Object.keys(page.metrics)) lines.push(figure(device, name, row));
  lines.push(escaped(device.targets[row] ?? device.target), device.notes[row] ? wrapped(device.notes[row]) : null);
  return lines.filter(Boolean).join("<br>");
}

// Points of some rows that know both metrics, cheapest first.
function points(device, rows, cost, accuracy) {
  const x = device.metrics[cost], y = device.metrics[accuracy];
  const kept = !x || !y ? [] : rows.filter((row) => x.value[row] !== null && y.value[row] !== null);
  kept.sort((one, two) => x.value[one] - x.value[two] || y.value[one] - y.value[two]);
  return {
    rows: kept, x: kept.map((row) => x.value[row]), y: kept.map((row) => y.value[row]),
    text: kept.map((row) => about(device, row)), hovertemplate: "%{text}<extra></extra>", type: "scatter", mode: "markers",
  };
}

function bars(device, trace, name, colour) {
  const known = device.metrics[name];
  if (!known) return undefined;
  const reach = (end, sign) => trace.rows.map((row) => known[end][row] !== null ? sign * (known[end][row] - known.value[row]) : known.std[row] ?? 0);
  return { type: "data", symmetric: false, array: reach("high", 1), arrayminus: reach("low", -1), color: clear(colour, 0.35), thickness: 1.2, width: 0 };
}

// A staircase says that nothing found lies above it: true only where the points form a front on these two axes.
const rises = (trace) => trace.y.every((value, index) => !index || value > trace.y[index - 1]);

function front(device, cost, colour, name) {
  const every = device.ids.map((_, row) => row), members = every.filter((row) => device.marks[row] & 1);
  const trace = points(device, members, cost, SEARCH);
  const hollow = trace.rows.map((row) => device.marks[row] & 4);
  const whole = trace.rows.length === members.length && rises(trace);
  return Object.assign(trace, {
    name, meta: "front", error_x: bars(device, trace, cost, colour), error_y: bars(device, trace, SEARCH, colour),
    mode: whole ? "lines+markers" : "markers", line: { shape: "hv", width: 2, color: colour },
    marker: { size: 9, color: hollow.map((is) => is ? style("paper") : colour), line: { width: 2, color: colour } },
  });
}

// Why a candidate is not on the front, by the bit of those outside the constraints: nobody asked what dominates them.
const WHY = { 0: "dominated", 32: "outside the constraints" }, META = { 0: "dominated", 32: "outside" };
const reason = (device, row) => device.marks[row] & 32;
const others = (device, rows, bit) => rows.filter((row) => !(device.marks[row] & 1) && reason(device, row) === bit);

// Of the bit that says that a finalist is pruned.
const TESTED = { 0: "finalists, test accuracy", 16: "pruned finalists, test accuracy" };
const diamond = (bit, size) => bit
  ? { size, symbol: "diamond-open", color: style("second"), line: { width: 2, color: style("second") } }
  : { size, symbol: "diamond", color: style("second"), line: { width: 1, color: style("paper") } };

function traces(device, cost) {
  const every = device.ids.map((_, row) => row), main = style("main"), second = style("second");
  const beaten = [0, 32].map((bit) => Object.assign(points(device, others(device, every, bit), cost, SEARCH),
    { name: WHY[bit], meta: META[bit], marker: { size: 6, symbol: bit ? "triangle-down" : "circle", color: clear(style("faint"), 0.45) } }));
  const middle = every.filter((row) => device.marks[row] & 8); // a pruned one has no search accuracy: it is marked where it is drawn
  const knee = points(device, middle, cost, middle.some((row) => device.marks[row] & 16) ? TEST : SEARCH);
  Object.assign(knee, {
    name: "knee", meta: "knee", hoverinfo: "skip", hovertemplate: null, mode: "markers+text", text: knee.x.map(() => "<b>knee</b>"),
    textposition: middle.some((row) => device.marks[row] & 16) ? "top right" : "bottom right", textfont: { color: main, size: 14 }, showlegend: false,
    marker: { size: 19, color: "rgba(0,0,0,0)", line: { width: 1.5, color: main } },
  });
  const tested = [0, 16].map((bit) => {
    const trace = points(device, every.filter((row) => (device.marks[row] & 16) === bit), cost, TEST);
    return Object.assign(trace, { name: TESTED[bit], meta: "tested", error_y: bars(device, trace, TEST, second), marker: diamond(bit, 10) });
  });
  const tied = { name: "tied: its gain may be chance", meta: "key", x: [null], y: [null], mode: "markers", type: "scatter", hoverinfo: "skip",
    marker: { size: 9, color: style("paper"), line: { width: 2, color: main } } };
  const found = [...beaten, knee, front(device, cost, main, "front, search accuracy"), ...tested].filter((trace) => trace.x.length);
  return device.marks.some((mark) => mark & 4) ? [...found, tied] : found;
}

// The same points over latency and energy: no bars, which nobody could tell apart, and no staircase, which is a surface here.
function spaced(device, rows, accuracy, name, meta, marker) {
  const known = [LATENCY, ENERGY, accuracy].map((metric) => device.metrics[metric]?.value);
  const kept = known.every(Boolean) ? rows.filter((row) => known.every((values) => values[row] !== null)) : [];
  const [x, y, z] = known.map((values) => kept.map((row) => values[row]));
  return { type: "scatter3d", mode: "markers", name, meta, marker, x, y, z,
    text: kept.map((row) => about(device, row)), hovertemplate: "%{text}<extra></extra>" };
}

function tracesInSpace(devices) {
  const all = devices.length > 1, rim = { width: 1, color: style("paper") };
  const found = devices.flatMap((device, index) => {
    const every = device.ids.map((_, row) => row), members = every.filter((row) => device.marks[row] & 1);
    const colour = all ? style(`series-${index % 8}`) : style("main");
    const front = spaced(device, members, SEARCH, all ? device.device : "front, search accuracy", "front", { size: 5, color: colour, line: rim });
    if (all) return [front];
    const middle = every.filter((row) => device.marks[row] & 8);
    return [
      ...[0, 32].map((bit) => spaced(device, others(device, every, bit), SEARCH, WHY[bit], META[bit], { size: 3, color: style("faint"), opacity: 0.45, symbol: bit ? "cross" : "circle" })),
      front,
      Object.assign(spaced(device, middle, middle.some((row) => device.marks[row] & 16) ? TEST : SEARCH, "knee", "knee", { size: 9, color: colour, symbol: "circle-open", line: { width: 2, color: colour } }),
        { mode: "markers+text", hoverinfo: "skip", hovertemplate: null, showlegend: false, textfont: { color: colour, size: 13 }, textposition: "bottom right" }),
      ...[0, 16].map((bit) => spaced(device, every.filter((row) => (device.marks[row] & 16) === bit), TEST, TESTED[bit], "tested", diamond(bit, 5))),
    ];
  });
  for (const trace of found) if (trace.meta === "knee") trace.text = trace.x.map(() => "knee");
  return found.filter((trace) => trace.x.length);
}

function drawInSpace(devices, axes, font) {
  const data = tracesInSpace(devices), look = { ...axes, tickfont: { size: font.size - 2 }, backgroundcolor: style("paper"), showbackground: true };
  const axis = (name, end) => ({ ...look, ...ticks(reach(data, end)), type: chosen.scale, range: reach(data, end), title: { text: page.metrics[name].axis, font: { size: font.size } } });
  Plotly.react("chart", data, {
    paper_bgcolor: style("paper"), font, margin: { l: 0, r: 0, t: 0, b: 64 }, showlegend: true, uirevision: JSON.stringify(chosen),
    legend: { orientation: "h", x: 0, y: 0, yanchor: "top", bgcolor: "rgba(0,0,0,0)", itemsizing: "constant" },
    hoverlabel: { align: "left", bgcolor: style("paper"), bordercolor: style("faint"), font: { color: style("ink"), size: narrow() ? 11 : 13 } },
    scene: { xaxis: axis(LATENCY, "x"), yaxis: axis(ENERGY, "y"), zaxis: { ...look, title: { text: "accuracy, %", font: { size: font.size } }, range: limits(devices) },
      aspectmode: "manual", aspectratio: { x: 1.2, y: 1.2, z: 0.9 }, camera: { eye: { x: -0.75, y: -1.75, z: 0.75 }, center: { x: 0, y: 0, z: -0.26 } } },
  }, { displaylogo: false, responsive: true, displayModeBar: narrow() ? false : "hover", modeBarButtons: SPACE_BUTTONS });
}

// Of an axis: candidates far off the front would press it into a corner.
function reach(data, end) {
  const inner = data.filter((trace) => ["front", "tested"].includes(trace.meta)).flatMap((trace) => trace[end]);
  if (!inner.length) return undefined;
  const right = 1.5 * Math.max(...inner), left = 0.85 * Math.min(...inner);
  return chosen.scale === "log" ? [Math.log10(left), Math.log10(right)] : [0, right];
}

function draw() {
  const devices = shown(), cost = chosen.source === "measured" ? MEASURED : chosen.cost, { axis } = page.metrics[cost] ?? { axis: "" };
  const all = devices.length > 1, inSpace = chosen.cost === SPACE;
  const data = !cost || inSpace ? [] : all
    ? devices.map((each, index) => front(each, cost, style(`series-${index % 8}`), each.device)).filter((trace) => trace.x.length)
    : traces(devices[0], cost);
  const small = narrow(), ink = style("ink"), words = { size: small ? 12 : 14 }, { range, outside } = frame(data);
  const axes = { color: ink, gridcolor: style("grid"), linecolor: style("faint"), showline: true, zeroline: false, ticks: "outside", tickcolor: style("faint") };
  const font = { color: ink, size: small ? 12 : 14, family: getComputedStyle(document.body).fontFamily };
  at("found").textContent = all ? devices.map((each) => `${each.device}: ${each.members} on the front`).join("; ") : devices[0].found;
  at("note").textContent = [
    cost === MEASURED ? "Only networks that were run on the target are shown." : "",
    all ? "Fronts only: choose a device for its other networks and finalists." : devices[0].thinned,
    outside ? `${outside} more outside the frame: a double click shows all.` : "",
    ...devices.map((each) => each.absent),
    devices.every((each) => each.in_space) && !drawsSpace() ? "The front in three dimensions needs WebGL, which this browser does not have." : "",
    inSpace ? page.in_space : page.bars,
  ].filter(Boolean).join(" ");
  if (inSpace) return drawInSpace(devices, axes, font);
  Plotly.react("chart", data, {
    paper_bgcolor: style("paper"), plot_bgcolor: style("paper"), font,
    margin: { l: small ? 48 : 64, r: small ? 10 : 24, t: 12, b: 56 }, hovermode: "closest", showlegend: true, uirevision: JSON.stringify(chosen),
    legend: { orientation: "h", x: 0, y: -0.16, yanchor: "top", bgcolor: "rgba(0,0,0,0)" },
    hoverlabel: { align: "left", bgcolor: style("paper"), bordercolor: style("faint"), font: { color: ink, size: small ? 11 : 13 } },
    xaxis: { ...axes, ...ticks(range), title: { text: axis, standoff: 10, font: words }, type: chosen.scale, range, autorange: !range, automargin: true },
    yaxis: { ...axes, title: { text: "accuracy, %", standoff: 8, font: words }, range: limits(devices), automargin: true },
    annotations: data.some((trace) => trace.meta !== "key" && trace.x.length) ? [] : [
      { text: "No candidate is known on these axes.", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: { color: style("soft"), size: 16 } },
    ],
  }, { displaylogo: false, responsive: true, displayModeBar: small ? false : "hover", modeBarButtons: BUTTONS });
}

// Whole numbers on a logarithmic axis: 1, 2, 5, 10 ... rather than the small digits that are Plotly's own.
function ticks(range) {
  if (!range || chosen.scale !== "log") return { tickmode: "auto" };
  const values = [];
  for (let power = Math.floor(range[0]) - 2; power <= Math.ceil(range[1]) + 2; power++) values.push(...[1, 2, 5].map((step) => step * 10 ** power));
  return { tickmode: "array", tickvals: values, ticktext: values.map((value) => number(value)) };
}

function limits(devices) {
  return [Math.min(...devices.map((each) => each.limits[0])), Math.max(...devices.map((each) => each.limits[1]))];
}

// Candidates far off the front would press it into a corner: they are outside the frame at first.
function frame(data) {
  const inner = data.filter((trace) => ["front", "tested"].includes(trace.meta)).flatMap((trace) => trace.x);
  if (!inner.length) return { range: null, outside: 0 };
  const every = data.flatMap((trace) => trace.x).filter((x) => x !== null);
  const ends = data.filter((trace) => trace.meta === "front").flatMap((trace) => trace.x.map((x, index) => x + (trace.error_x?.array[index] ?? 0)));
  const right = Math.max(...inner, Math.min(1.5 * Math.max(...inner), 1.04 * Math.max(...ends, ...every)));
  const left = 0.85 * Math.min(...every), low = limits(shown())[0];
  const outside = data.filter((trace) => Object.values(META).includes(trace.meta))
    .flatMap((trace) => trace.x.filter((x, index) => x > right || trace.y[index] < low)).length;
  return { range: chosen.scale === "log" ? [Math.log10(left), Math.log10(right)] : [0, right], outside };
}
