// Reads the data, fills in the choices, draws all, and listens.

const page = { data: null, group: null, trials: [], byNumber: new Map(), dark: false };

function take(data) {
  page.data = data;
  const title = page.group?.title;
  const largest = [...data.groups].sort((a, b) => b.arms.length - a.arms.length)[0];
  useGroup(data.groups.find((group) => group.title === title) || largest);
}

function useGroup(group) {
  const mine = new Set(group.trials);
  page.group = group;
  page.trials = page.data.trials.filter((trial) => mine.has(trial.fields.trial));
  page.byNumber = new Map(page.trials.map((trial) => [trial.fields.trial, trial]));
}

function options(id, pairs, wanted) {
  const place = byId(id);
  const now = place.options.length ? place.value : null;
  place.replaceChildren(...pairs.map(([value, text]) => el("option", { value, text })));
  const values = pairs.map(([value]) => value);
  place.value = values.includes(now) ? now : values.includes(wanted) ? wanted : values[0] ?? "";
}

function fillChoices() {
  const group = page.group;
  options("group", page.data.groups.map((each, index) => [String(index), `${each.title} (${each.trials.length})`]), String(page.data.groups.indexOf(group)));
  byId("group-choice").hidden = page.data.groups.length < 2;
  const fields = numericFields().sort((a, b) => isScore(b) - isScore(a) || inOrder(nameOf(a), nameOf(b))).map((name) => [name, labelOf(name)]);
  options("front-x", fields, "trainable");
  options("front-y", fields, `val_${group.metric}`);
  const searched = phaseOf("search").length, confirmed = phaseOf("confirm").length;
  options("front-phase", [...(searched ? [["search", "search"]] : []), ...(confirmed ? [["confirm", "confirmed, means"]] : [])], "search");
  const words = ["lora", "targets", "rank", "phase", "task", "model", "arm"].filter((name) => new Set(page.trials.map((trial) => trial.fields[name])).size > 1);
  options("front-colour", (words.length ? words : ["lora"]).map((name) => [name, name === "lora" ? "method" : name]), "lora");
  options("curves-phase", [...(confirmed ? [["confirm", "confirmed, mean and range"]] : []), ["best", "search, best of each arm"], ["all", "search, all"]], "confirm");
  const curves = new Set(page.trials.flatMap((trial) => Object.keys(trial.curve)));
  options("curves-y", [["objective", `validation ${group.objective}`], ...[...curves].sort().map((name) => [name, nameOf(name)])], "objective");
  options("factors-y", [[`val_${group.metric}`, `validation ${group.metric}, best of the search`], ...(Object.values(group.confirmed?.arms ?? {}).some((arm) => arm.test) ? [["confirmed", `${group.confirmed.measure}, mean of fresh seeds`]] : [])]);
  const factors = factorsOf(group).map((factor) => [factor.name, factor.name]);
  options("facet-x", factors, "rank");
  const others = factors.filter(([name]) => name !== byId("facet-x").value);
  options("facet-colour", others, others[0]?.[0]);
  options("facet-panel", [["", "none"], ...factors], others[1]?.[0]);
}

const automaticLog = (way) => {
  const field = byId(`front-${way}`).value;
  const values = complete().map((trial) => trial.fields[field]).filter((value) => typeof value === "number");
  byId(`front-log-${way}`).checked = values.length > 0 && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 30;
};

function fillTexts() {
  const { data, group } = page;
  const states = grouped(page.trials, (trial) => trial.fields.state);
  const ended = ["complete", "pruned", "fail"].filter((state) => states.has(state)).map((state) => `${states.get(state).length} ${state === "fail" ? "failed" : state}`);
  byId("subtitle").textContent = `${group.title}: ${page.trials.length} trials, ${ended.join(", ")}. Written ${data.written.slice(0, 16).replace("T", " ")} UTC.`;
  const said = (each, text) => el("p", { text: data.groups.length > 1 ? `${each.title}: ${text}` : text });
  byId("answer").replaceChildren(...data.groups.flatMap((each) => [each.answer, each.chance].filter(Boolean).map((text) => said(each, text))));
  const failed = page.trials.filter((trial) => trial.fields.state === "fail");
  byId("failures").hidden = !failed.length;
  byId("failures-list").replaceChildren(...failed.map((trial) => el("li", {}, el("button", { type: "button", text: `trial ${trial.fields.trial}`, onclick: () => openDrawer(trial.fields.trial) }), ` ${trial.fields.arm}: ${trial.fields.reason || "no reason recorded"}`)));
  byId("provenance-list").replaceChildren(...provenanceRows(data));
  fillImportances(data.importances);
}

function fillImportances(found) {
  byId("importances").hidden = !found;
  if (!found) return;
  const shares = Object.entries(found.shares);
  const row = (kind, cells) => el("tr", {}, ...cells.map((cell) => el(kind, {}, cell)));
  const cellsOf = ([key, share]) => [key, el("meter", { min: 0, max: 1, value: share }), `${Math.round(100 * share)} %`, found.p[key].toFixed(2), found.p[key] < 0.05 ? "more than chance" : "not told from chance"];
  const rows = [row("th", ["dimension", "", "importance", "p", ""]), ...shares.map((each) => row("td", cellsOf(each)))];
  byId("importances-table").replaceChildren(...(shares.length ? rows : []));
  byId("importances-note").textContent = shares.length
    ? `What decided whether a trial was among the best ${Math.round(100 * found.best)} % by validation ${found.metric}, of ${found.trials} complete trials: PED-ANOVA, as a share of the sum. p: how often shuffled scores give as much.`
    : `Too few trials: ${found.trials} complete ones of at least ${found.needed}.`;
}

function provenanceRows(data) {
  const words = (value) => Object.entries(value).map(([name, each]) => `${name} ${typeof each === "object" ? JSON.stringify(each) : each}`).join(", ");
  const rows = [["command", data.provenance.command]];
  for (const name of ["data", "base", "source", "hardware", "versions"]) {
    const found = data.provenance[name].filter((each) => Object.keys(each.value).length);
    found.slice(0, 3).forEach((each) => rows.push([name, words(each.value) + (found.length > 1 ? ` (${each.trials} trials)` : "")]));
    if (found.length > 3) rows.push([name, `and ${found.length - 3} others`]);
  }
  const made = rows.flatMap(([name, text]) => [el("dt", { text: name }), el("dd", { text })]);
  const links = data.pictures.flatMap(({ name, formats }) => [`${name.replaceAll("_", " ")}: `, ...formats.flatMap((end) => [el("a", { href: `${name}.${end}`, text: end.toUpperCase() }), " "])]);
  const files = ["table.csv", "table.md", "records.jsonl"].flatMap((name) => [el("a", { href: name, text: name }), " "]);
  made.push(el("dt", { text: "files beside this page" }), el("dd", {}, ...files));
  if (links.length) made.push(el("dt", { text: "figures" }), el("dd", {}, ...links));
  return made;
}

const DRAWINGS = { front: drawFront, differences: drawDifferences, curves: drawCurves, rate: drawRates, memory: drawMemory, factors: drawFactors, layers: drawLayers };
const waiting = new Set();
const nearby = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => drawOne(entry.target.id)), { rootMargin: "500px" });

function drawOne(id) {
  if (waiting.delete(id)) DRAWINGS[id]();
}

// A figure is drawn once it comes near the screen; `all` draws those too that are far from it.
function drawAll(all) {
  arrange();
  for (const id of Object.keys(DRAWINGS)) {
    waiting.add(id);
    nearby.unobserve(byId(id));
    if (all || byId(id).getBoundingClientRect().top < window.innerHeight) drawOne(id);
    else nearby.observe(byId(id));
  }
}

// Which sections have something to show, and which two share a row.
function arrange() {
  const { group } = page;
  byId("rate").hidden = ratedTrials().length < 2;
  byId("memory").hidden = !measuredTrials().length;
  byId("factors").hidden = factorsOf(group).length < 2;
  byId("layers").hidden = !layeredTrials().length;
  const sections = [...document.querySelectorAll("section[data-title]")].filter((section) => !section.hidden);
  byId("contents").replaceChildren(...sections.map((section) => el("a", { href: `#${section.id}`, text: section.dataset.title })));
  byId("differences").classList.toggle("alone", !group.confirmed);
  const halves = ["differences", "curves", "rate", "memory"].map(byId).filter((section) => !section.hidden && !(section.id === "differences" && !group.confirmed));
  halves.forEach((section, index) => section.classList.toggle("alone", halves.length % 2 === 1 && index === halves.length - 1));
}

function useTheme(dark) {
  page.dark = dark;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = dark ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Use ${dark ? "light" : "dark"} colours`);
}

function listen() {
  const on = (ids, event, does) => ids.forEach((id) => byId(id).addEventListener(event, does));
  on(["rows"], "change", () => { board.rows = byId("rows").value; board.column = null; drawBoard(); });
  on(["filter"], "input", () => { board.words = byId("filter").value; drawBoard(); });
  for (const way of ["x", "y"]) on([`front-${way}`], "change", () => { automaticLog(way); drawFront(); });
  on(["front-log-x", "front-log-y", "front-phase", "front-colour"], "change", drawFront);
  on(["curves-phase", "curves-y"], "change", drawCurves);
  on(["layers-z"], "change", drawLayers);
  on(["factors-y", "facet-x", "facet-colour", "facet-panel"], "change", drawFactors);
  on(["group"], "change", () => { useGroup(page.data.groups[Number(byId("group").value)]); show(); });
  on(["theme"], "click", () => { useTheme(!page.dark); drawAll(); });
  window.addEventListener("beforeprint", () => drawAll(true));
  byId("drawer").addEventListener("close", mendFocus);
  byId("drawer").addEventListener("click", (event) => { if (event.target === byId("drawer")) byId("drawer").close(); });
  let width = narrow();
  window.addEventListener("resize", () => { if (narrow() !== width) { width = narrow(); drawAll(); } });
}

function show() {
  fillChoices();
  board.down = page.group.better > 0;
  ["x", "y"].forEach(automaticLog);
  fillTexts();
  drawBoard();
  drawAll();
}

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let index = 0; index < letters.length; index++) bytes[index] = letters.charCodeAt(index);
  return bytes;
}

async function unpack() {
  const stream = new Blob([bytesOf(byId("plotly").textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = await new Response(stream).text();
  document.head.append(el("script", { text: script }));
  byId("plotly").remove();
}

async function start() {
  useTheme(window.matchMedia("(prefers-color-scheme: dark)").matches);
  take(JSON.parse(byId("data").textContent));
  fillTexts();
  drawBoard();
  listen();
  await unpack();
  show();
  document.documentElement.dataset.drawn = String(Math.round(performance.now()));
  if (document.documentElement.dataset.live === "true") follow();
}

start();
