// The figures. Each reads the group that is shown; a click on a point opens its trial.

// Okabe and Ito's colours: told apart with any colour vision.
const LIGHT = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C7A00"];
const DARK = ["#56B4E9", "#FF9A5C", "#2FC18F", "#E59CC6", "#F0C04A", "#8AA9FF", "#E6EBF1", "#C9B94A"];
const METHODS = ["lora", "full", "head", "bitfit", "norms", "peft"]; // in the order of the colours, as in the pictures
const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "x", "star"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const CLEAR = 6; // lines that are told apart by colour; the others are grey

const palette = () => (page.dark ? DARK : LIGHT);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const narrow = () => window.innerWidth < 640;

function layoutOf(extra) {
  const axis = { gridcolor: css("--grid"), linecolor: css("--line"), zerolinecolor: css("--line"), automargin: true, title: { standoff: 8 } };
  const layout = {
    font: { family: "system-ui, sans-serif", size: narrow() ? 11 : 12.5, color: css("--ink") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 56, r: 14, t: 10, b: 46 },
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--accent"), font: { color: css("--ink"), size: 12.5 }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--quiet"), activecolor: css("--accent") },
    hovermode: "closest", dragmode: narrow() ? false : "zoom", ...extra,
  };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key)).concat("xaxis", "yaxis")) {
    const given = layout[name] || {};
    const ticks = given.type === "log" && given.decades >= 1 ? { dtick: given.decades >= 2 ? 1 : "D2" } : {};
    layout[name] = { ...axis, ...ticks, ...given, title: { ...axis.title, ...given.title }, fixedrange: narrow() };
    delete layout[name].decades;
  }
  return layout;
}

function draw(id, traces, layout, height) {
  const place = byId(id);
  const legend = { orientation: "h", y: -58 / Math.max(140, height - 100), yanchor: "top", x: 0, font: { size: narrow() ? 10.5 : 12 }, ...layout.legend };
  if (height) place.style.height = `${height}px`;
  const options = { displaylogo: false, responsive: true, displayModeBar: narrow() ? false : undefined, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"], toImageButtonOptions: { format: "svg", filename: `${page.data.study}-${id}` } };
  Plotly.react(place, traces, layoutOf({ ...layout, legend }), options);
  if (place.dataset.opens) return;
  place.dataset.opens = "true";
  place.on("plotly_click", (event) => {
    const trial = event.points.map((point) => point.customdata).find((value) => Number.isInteger(value));
    if (trial != null) openDrawer(trial);
  });
}

// A text that Plotly would read as markup is shown as it is.
const safe = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function describe(trial, fields) {
  const lines = fields.filter((name) => trial.fields[name] != null).map((name) => `${labelOf(name)}: ${shown(trial.fields[name], name)}`);
  return [`<b>${safe(trial.fields.arm)}</b>`, `trial ${trial.fields.trial}`, ...lines].map((line, index) => (index ? safe(line) : line)).join("<br>");
}

const methodColour = (method) => palette()[Math.max(0, METHODS.indexOf(method)) % palette().length];
const complete = () => page.trials.filter((trial) => trial.fields.state === "complete");
const phaseOf = (phase) => complete().filter((trial) => trial.fields.phase === phase);

// Front

function numericFields() {
  const names = new Set(complete().flatMap((trial) => Object.keys(trial.fields).filter((name) => typeof trial.fields[name] === "number")));
  names.delete("trial");
  return [...names].filter((name) => new Set(complete().map((trial) => trial.fields[name])).size > 1 || isScore(name));
}

function frontPoints(x, y, phase) {
  if (phase === "search") {
    return phaseOf("search").filter((trial) => trial.fields[x] != null && trial.fields[y] != null).map((trial) => ({ x: scaled(trial.fields[x], x), y: scaled(trial.fields[y], y), trial, runs: [trial] }));
  }
  const runs = grouped(phaseOf("confirm").filter((trial) => trial.fields[x] != null && trial.fields[y] != null), (trial) => trial.fields.arm);
  return [...runs.values()].map((same) => {
    const [xs, ys] = [x, y].map((name) => same.map((trial) => scaled(trial.fields[name], name)));
    return { x: mean(xs), y: mean(ys), xs, ys, trial: same[0], runs: same };
  });
}

function notBeaten(points, betterX, betterY) {
  const ordered = [...points].sort((a, b) => betterX * (b.x - a.x) || betterY * (b.y - a.y));
  const kept = [];
  for (const point of ordered) if (!kept.length || betterY * (point.y - kept.at(-1).y) > 0) kept.push(point);
  return kept.sort((a, b) => a.x - b.x);
}

// The standard deviation of one trial's value over seeds, from trials that differ in nothing else.
function noiseOf(field, points, phase) {
  const alike = [...grouped(phaseOf("confirm").filter((trial) => trial.fields[field] != null), (trial) => trial.fields.arm + JSON.stringify(trial.point)).values()].filter((same) => same.length > 1);
  if (alike.length) {
    const freedom = alike.reduce((sum, same) => sum + same.length - 1, 0);
    const squares = alike.reduce((sum, same) => sum + deviation(same.map((trial) => scaled(trial.fields[field], field))) ** 2 * (same.length - 1), 0);
    const runs = phase === "confirm" ? Math.min(...points.map((point) => point.runs.length)) : 1;
    return { sd: Math.sqrt(squares / freedom / runs), said: `spread over seeds, from ${alike.length} arms trained ${alike[0].length} times` };
  }
  const found = /^(val|test)_accuracy$/.exec(field);
  const rows = found && page.group.rows[found[1] === "val" ? "validation" : "test"];
  if (!rows || !points.length) return null;
  const best = Math.max(...points.map((point) => point.y));
  return { sd: Math.sqrt((best * (1 - best)) / rows), said: `the ${rows.toLocaleString("en-US")} rows that it is measured on; no arm was trained twice, so the spread over seeds is not in it` };
}

function frontBand(front, sd, leftToRight) {
  const upper = front.map((point) => point.y + 2 * sd), lower = front.map((point) => point.y - 2 * sd), xs = front.map((point) => point.x);
  const line = { width: 0, shape: leftToRight ? "hv" : "vh" };
  const bare = { mode: "lines", line, hoverinfo: "skip", x: xs };
  return [{ ...bare, y: lower, showlegend: false }, { ...bare, y: upper, fill: "tonexty", fillcolor: page.dark ? "rgba(157,171,185,0.20)" : "rgba(90,101,115,0.15)", name: "± 2 sd of noise" }];
}

function drawFront() {
  const [x, y, phase, colour] = ["x", "y", "phase", "colour"].map((name) => byId(`front-${name}`).value);
  const points = frontPoints(x, y, phase);
  const [betterX, betterY] = [x, y].map((name) => page.data.fields[name]?.better || 0);
  const front = betterX && betterY && x !== y ? notBeaten(points, betterX, betterY) : [];
  const noise = front.length > 1 ? noiseOf(y, points, phase) : null;
  const traces = noise ? frontBand(front, noise.sd, betterX < 0) : [];
  if (front.length > 1) traces.push({ x: front.map((p) => p.x), y: front.map((p) => p.y), mode: "lines", line: { color: css("--quiet"), width: 1.5, shape: betterX < 0 ? "hv" : "vh" }, name: "front", hoverinfo: "skip" });
  const groups = [...grouped(points, (point) => String(point.trial.fields[colour] ?? "none"))].sort((a, b) => inOrder(a[0], b[0]));
  groups.forEach(([name, mine], index) => traces.push(frontMarkers(name, mine, index, colour, x, y)));
  traces.push(...frontNames(front, points));
  const axis = (way, field) => ({ type: byId(`front-log-${way}`).checked ? "log" : "linear", decades: decades(points.map((p) => p[way])), title: { text: labelOf(field) } });
  draw("front-plot", traces, { xaxis: axis("x", x), yaxis: axis("y", y) }, narrow() ? 440 : 480);
  byId("front-note").textContent = [
    `${points.length} ${phase === "search" ? "complete trials of the search" : "confirmed arms: means over seeds, bars from the least to the most"}.`,
    front.length > 1 ? "Line: the front, which nothing beats on both axes." : "",
    noise ? `Band: ± 2 standard deviations (${noise.said}).` : "",
  ].join(" ");
}

const decades = (values) => Math.log10(Math.max(...values) / Math.min(...values));

function frontMarkers(name, points, index, colour, x, y) {
  const bars = (key, values) => ({ type: "data", symmetric: false, array: points.map((p) => Math.max(...p[values]) - p[key]), arrayminus: points.map((p) => p[key] - Math.min(...p[values])), thickness: 1.2, width: 3 });
  const paint = colour === "lora" ? methodColour(name) : palette()[index % palette().length];
  return {
    x: points.map((p) => p.x), y: points.map((p) => p.y), mode: "markers", name, customdata: points.map((p) => p.trial.fields.trial),
    marker: { size: 10, color: paint, symbol: SYMBOLS[(colour === "lora" ? Math.max(0, METHODS.indexOf(name)) : index) % SYMBOLS.length], opacity: 0.85 },
    text: points.map((p) => describe(p.trial, [x, y, "lr", "scale"])), hovertemplate: "%{text}<extra></extra>",
    ...(points[0].ys ? { error_y: bars("y", "ys"), error_x: bars("x", "xs") } : {}),
  };
}

// Names beside the front, the best first; one that would lie on another is left out.
function frontNames(front, points) {
  if (!front.length || narrow()) return [];
  const [placeX, placeY] = ["x", "y"].map((way) => placeOf(points.map((p) => p[way]), byId(`front-log-${way}`).checked));
  const named = [];
  for (const point of [...front].sort((a, b) => page.group.better * (b.y - a.y))) {
    if (!named.some((other) => Math.abs(placeX(other.x) - placeX(point.x)) < 0.13 && Math.abs(placeY(other.y) - placeY(point.y)) < 0.07)) named.push(point);
  }
  const texts = named.map((p) => safe(short(p.trial.fields.arm))).map((text) => (text.length > 24 ? `${text.slice(0, 23)}…` : text));
  const sides = named.map((p) => (placeX(p.x) > 0.9 ? "top left" : placeX(p.x) < 0.1 ? "top right" : "top center"));
  return [{ x: named.map((p) => p.x), y: named.map((p) => p.y), mode: "text", text: texts.map((text) => `${text}<br> `), textposition: sides, textfont: { size: 11, color: css("--ink") }, hoverinfo: "skip", showlegend: false }];
}

// Where a value lies between the least and the most, from 0 to 1.
function placeOf(values, log) {
  const at = (value) => (log ? Math.log(value) : value);
  const [low, high] = [at(Math.min(...values)), at(Math.max(...values))];
  return (value) => (at(value) - low) / (high - low || 1);
}

// Differences

function drawDifferences() {
  const found = page.group.confirmed;
  const arms = found ? Object.entries(found.arms).filter(([, arm]) => arm.difference).sort((a, b) => found.up * (a[1].difference[0] - b[1].difference[0])) : [];
  byId("differences-plot").hidden = !arms.length;
  if (!arms.length) {
    byId("differences-note").textContent = `Nothing was confirmed yet: one run of each arm says little of the arm. run=confirm study=${page.data.study} trains the best arms again with fresh seeds and compares them pair by pair.`;
    return;
  }
  const paints = arms.map(([, arm]) => ({ better: css("--good"), worse: css("--bad") })[arm.verdict] || css("--accent"));
  const trace = {
    x: arms.map(([, arm]) => arm.difference[0]), y: arms.map(([name]) => axisName(name)), mode: "markers", customdata: arms.map(([, arm]) => arm.trials[0]),
    marker: { size: 10, color: paints },
    error_x: { type: "data", symmetric: false, array: arms.map(([, arm]) => arm.difference[2] - arm.difference[0]), arrayminus: arms.map(([, arm]) => arm.difference[0] - arm.difference[1]), color: css("--quiet"), thickness: 1.6, width: 5 },
    text: arms.map(([name, arm]) => `<b>${safe(name)}</b><br>${interval(arm.difference, true)}<br>${safe(found.cannot_rank ? "cannot rank" : arm.verdict)}`), hovertemplate: "%{text}<extra></extra>", showlegend: false,
  };
  const edge = { type: "line", yref: "paper", y0: 0, y1: 1, line: { color: css("--quiet"), width: 1.2 } };
  const shapes = [{ type: "rect", yref: "paper", x0: -found.margin, x1: found.margin, y0: 0, y1: 1, fillcolor: css("--accent-soft"), line: { width: 0 }, layer: "below" }, { ...edge, x0: 0, x1: 0 }];
  draw("differences-plot", [trace], { shapes, xaxis: { zeroline: false, autorange: found.up < 0 ? "reversed" : true, title: { text: `${found.measure} against ${safe(found.reference)}${narrow() ? "" : ", right is better"}` } }, yaxis: { type: "category" }, margin: { l: 20, r: 14, t: 10, b: 46 } }, Math.max(narrow() ? 280 : 400, 90 + 34 * arms.length));
  const rows = found.items ? ` and ${found.items.toLocaleString("en-US")} test rows` : "";
  byId("differences-note").textContent = `Over ${found.repeats} that the search never had${rows}; bars hold for all arms at once in 95 % of studies. Shaded: the margin of ±${found.margin}, too small to matter.`;
}

const axisName = (arm) => safe(short(arm).length > 26 ? `${short(arm).slice(0, 25)}…` : short(arm));

// Learning curves

function curveOf(trial, name) {
  return name === "objective" ? trial.reports : trial.curve[name] || [];
}

function curveLines() {
  const [phase, name] = [byId("curves-phase").value, byId("curves-y").value];
  if (phase !== "confirm") {
    const best = phase === "best" ? page.group.arms.map((arm) => page.byNumber.get(arm.best)).filter(Boolean) : phaseOf("search");
    return best.map((trial) => ({ arm: trial.fields.arm, trial, points: curveOf(trial, name) })).filter((line) => line.points.length);
  }
  return [...grouped(phaseOf("confirm"), (trial) => trial.fields.arm)].map(([arm, runs]) => {
    const curves = runs.map((trial) => new Map(curveOf(trial, name)));
    const steps = [...curves[0].keys()].filter((step) => curves.every((curve) => curve.has(step)));
    const values = steps.map((step) => curves.map((curve) => curve.get(step)));
    return { arm, trial: runs[0], points: steps.map((step, index) => [step, mean(values[index])]), low: values.map((row) => Math.min(...row)), high: values.map((row) => Math.max(...row)) };
  }).filter((line) => line.points.length);
}

function drawCurves() {
  const name = byId("curves-y").value;
  const up = name === "objective" ? page.group.better : name.includes("loss") ? -1 : 1;
  const lines = curveLines().sort((a, b) => up * (b.points.at(-1)[1] - a.points.at(-1)[1]));
  const many = lines.length > 8;
  const traces = lines.flatMap((line, index) => curveTraces(line, many && index >= CLEAR ? null : index));
  draw("curves-plot", traces.reverse(), { xaxis: { title: { text: "optimiser steps" } }, yaxis: { title: { text: name === "objective" ? `validation ${page.group.objective}` : nameOf(name) } }, legend: { traceorder: "reversed" } }, 420);
  byId("curves-note").textContent = [
    byId("curves-phase").value === "confirm" ? "Lines: means over seeds; shaded: from the least to the most." : "",
    many ? `Coloured: the best ${CLEAR} at their end of ${lines.length}; hover names the others.` : "",
  ].join(" ");
}

function curveTraces(line, index) {
  const paint = index == null ? (page.dark ? "#4a5562" : "#c3cad2") : palette()[index % palette().length];
  const xs = line.points.map((point) => point[0]);
  const trace = {
    x: xs, y: line.points.map((point) => point[1]), mode: xs.length < 15 ? "lines+markers" : "lines", name: safe(short(line.arm)), customdata: xs.map(() => line.trial.fields.trial),
    line: { color: paint, width: index == null ? 1 : 2, dash: index == null ? "solid" : DASHES[index % DASHES.length] }, marker: { size: 5 }, showlegend: index != null, hovertemplate: `<b>${safe(line.arm)}</b><br>trial ${line.trial.fields.trial}<br>step %{x}: %{y:.4f}<extra></extra>`,
  };
  if (!line.low || index == null) return [trace];
  const band = { x: [...xs, ...[...xs].reverse()], y: [...line.high, ...[...line.low].reverse()], fill: "toself", mode: "lines", line: { width: 0 }, fillcolor: `${paint}2b`, hoverinfo: "skip", showlegend: false };
  return [trace, band];
}

// Rank and learning rate

function rateTicks(rates) {
  const known = [...new Set(rates)].sort((a, b) => a - b);
  if (decades(known) >= 1) return { decades: decades(known) };
  const shownRates = known.length <= 4 ? known : [known[0], known.at(-1)];
  return { tickvals: shownRates, ticktext: shownRates.map(figure) };
}

const ratedTrials = () => phaseOf("search").filter((trial) => trial.fields.rank != null && trial.fields.lr > 0 && trial.fields[`val_${page.group.metric}`] != null);

function drawRates() {
  const field = `val_${page.group.metric}`;
  const trials = ratedTrials();
  if (trials.length < 2) return;
  const best = [...grouped(trials, (trial) => trial.fields.rank).values()].map((same) => same.reduce((a, b) => (page.group.better * (b.fields[field] - a.fields[field]) > 0 ? b : a)));
  const kinds = [...new Set(trials.map((trial) => withoutRank(trial.fields.arm)))].sort(inOrder);
  const ranks = [...new Set(trials.map((trial) => trial.fields.rank))].sort((a, b) => a - b);
  const values = trials.map((trial) => trial.fields[field]);
  // Arms of one rank would lie on each other: each kind has its own height within the rank's row.
  const height = (trial) => ranks.indexOf(trial.fields.rank) + (kinds.length > 1 ? (0.5 * kinds.indexOf(withoutRank(trial.fields.arm))) / (kinds.length - 1) - 0.25 : 0);
  const traces = kinds.map((kind, index) => {
    const mine = trials.filter((trial) => withoutRank(trial.fields.arm) === kind);
    return {
      x: mine.map((trial) => trial.fields.lr), y: mine.map(height), mode: "markers", name: safe(kind || "LoRA"), customdata: mine.map((trial) => trial.fields.trial), showlegend: kinds.length > 1 && kinds.length <= 8,
      marker: { size: narrow() ? 11 : 13, symbol: SYMBOLS[index % SYMBOLS.length], color: mine.map((trial) => trial.fields[field]), coloraxis: "coloraxis", line: { width: 0.5, color: css("--card") } },
      text: mine.map((trial) => describe(trial, ["rank", "lr", "scale", field])), hovertemplate: "%{text}<extra></extra>",
    };
  });
  traces.push({ x: best.map((trial) => trial.fields.lr), y: best.map(height), mode: "markers", name: "best of its rank", marker: { size: narrow() ? 17 : 20, symbol: "circle-open", color: css("--ink"), line: { width: 2 } }, hoverinfo: "skip" });
  draw("rate-plot", traces, {
    xaxis: { type: "log", ...rateTicks(trials.map((trial) => trial.fields.lr)), title: { text: "learning rate" } }, yaxis: { title: { text: "LoRA rank" }, tickvals: ranks.map((_, index) => index), ticktext: ranks.map(String), zeroline: false },
    coloraxis: { cmin: Math.min(...values), cmax: Math.max(...values), colorscale: "Viridis", reversescale: page.group.better < 0, colorbar: { thickness: 12, title: { text: nameOf(field), side: "right", font: { size: 11.5 } } } },
  }, Math.max(360, 110 + 46 * ranks.length));
  byId("rate-note").textContent = `${trials.length} complete trials of the search that have a rank; ringed: the best on validation of each rank.`;
}

const withoutRank = (arm) => arm.split(",").filter((part) => !part.startsWith("rank=")).map((part) => part.replace(/^(targets|variant)=/, "")).join(" ");

// Memory

// At most so many arms are shown where each has a row or column of its own: the best on validation.
const SHOWN_ARMS = 40;

function leadingArms() {
  const score = (arm) => page.byNumber.get(arm.best)?.fields[`val_${page.group.metric}`];
  const scored = page.group.arms.filter((arm) => score(arm) != null);
  if (scored.length <= SHOWN_ARMS) return scored;
  const best = new Set([...scored].sort((a, b) => page.group.better * (score(b) - score(a))).slice(0, SHOWN_ARMS));
  return scored.filter((arm) => best.has(arm));
}

const measuredTrials = () => leadingArms().map((arm) => page.byNumber.get(page.group.confirmed?.arms[arm.arm]?.trials[0] ?? arm.best)).filter((trial) => trial && trial.fields.memory_train_peak).reverse();

const PARTS = { parameters: 0, gradients: 4, optimizer: 3, activations: 5, step: 5, process: -1 }; // with their colours
const PART_NAMES = { optimizer: "optimiser", step: "a step's tensors" };

function drawMemory() {
  const arms = measuredTrials();
  if (!arms.length) return;
  const counted = arms.every((trial) => trial.fields.memory_step != null); // a resident set tells arms badly apart
  const parts = counted ? ["parameters", "optimizer", "step"] : ["parameters", "gradients", "optimizer", "activations", "process"];
  const traces = parts.map((part) => ({
    type: "bar", orientation: "h", name: PART_NAMES[part] || part, visible: part === "process" ? "legendonly" : true, customdata: arms.map((trial) => trial.fields.trial),
    x: arms.map((trial) => trial.fields[`memory_${part}`] / MIB), y: arms.map((trial) => axisName(trial.fields.arm)), marker: { color: palette()[PARTS[part]] || css("--line") },
    hovertemplate: `%{y}<br>${part}: %{x:,.1f} MiB<extra></extra>`,
  }));
  draw("memory-plot", traces, { barmode: "stack", xaxis: { title: { text: counted ? "MiB, counted" : "MiB at the peak of training" } }, yaxis: { type: "category" }, margin: { l: 20, r: 14, t: 10, b: 46 } }, Math.max(300, 120 + 24 * arms.length));
  const whose = `Of each arm ${page.group.confirmed ? "its first confirmed trial, else its best" : "its best trial"}`;
  byId("memory-note").textContent = counted
    ? `${whose}: weights, optimiser state, and the most that a step's tensors (gradients and what is kept for them) hold at once.`
    : `${whose} (${arms[0].fields.memory_kind || "kind not recorded"}). The process before the model was built is left out; the legend brings it in.`;
}

// Ranks by layer

const layeredTrials = () => leadingArms().map((arm) => page.byNumber.get(arm.best)).filter((trial) => trial && Object.keys(trial.ranks).length);

function drawLayers() {
  const key = byId("layers-z").value;
  const best = layeredTrials();
  if (!best.length) return;
  const layers = [...new Set(best.flatMap((trial) => Object.keys(trial.ranks)))].sort(inOrder);
  const cells = layers.map((layer) => best.map((trial) => trial[key][layer] ?? null));
  const values = cells.flat().filter((value) => value != null);
  if (!values.length) values.push(1);
  const ticks = [...new Set(values.map((value) => Math.round(Math.log2(Math.max(value, 0.5)))))].sort((a, b) => a - b);
  const trace = {
    type: "heatmap", z: cells.map((row) => row.map((value) => (value == null ? null : Math.log2(Math.max(value, 0.5))))), customdata: cells.map(() => best.map((trial) => trial.fields.trial)),
    x: best.map((trial) => axisName(trial.fields.arm)), y: layers.map((layer) => safe(shortLayer(layer))), text: cells.map((row) => row.map((value) => value ?? "")), colorscale: "Viridis", xgap: 2, ygap: 1, hoverongaps: false,
    hovertemplate: `%{x}<br>%{y}<br>${key.replaceAll("_", " ").slice(0, -1)}: %{text}<extra></extra>`, texttemplate: best.length <= 12 && !narrow() ? "%{text}" : undefined,
    colorbar: { thickness: 12, tickvals: ticks, ticktext: ticks.map((tick) => String(2 ** tick)), title: { text: key === "ranks" ? "rank" : "effective rank", side: "right" } },
  };
  draw("layers-plot", [trace], { xaxis: { type: "category", tickangle: best.length > 6 || narrow() ? -40 : 0 }, yaxis: { type: "category", autorange: "reversed", dtick: layers.length > 60 ? undefined : 1, tickfont: { size: 10.5 } }, margin: { l: 20, r: 14, t: 10, b: 60 } }, Math.min(1400, 150 + 17 * layers.length));
  byId("layers-note").textContent = "Of each arm its best trial on validation; a blank cell is a layer that the arm leaves alone.";
}

const shortLayer = (name) => name.replace(/^(?:base\.)?(?:encoder|model|transformer|decoder)\./, "").replace("layer.", "").replace("layers.", "").replace("attention.self.", "attention.");
