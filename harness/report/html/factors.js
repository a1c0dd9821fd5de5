// Factorial studies: each factor over all the others, and every arm in its place.

function factorsOf(group) {
  const levels = new Map();
  for (const arm of group.arms) {
    for (const [name, value] of Object.entries(arm.factors)) {
      if (!levels.has(name)) levels.set(name, new Set());
      levels.get(name).add(value);
    }
  }
  const found = [...levels].map(([name, values]) => ({ name, levels: [...values].sort(inOrder) }));
  return found.filter((factor) => factor.levels.length > 1);
}

// What an arm is shown by: its best trial on validation, or its mean on test where that was confirmed.
function armScore(arm, field) {
  if (field === "confirmed") return page.group.confirmed?.arms[arm.arm]?.test?.[0];
  return page.byNumber.get(arm.best)?.fields[field];
}

function drawFactors() {
  const factors = factorsOf(page.group);
  if (factors.length < 2) return;
  drawMarginals(factors);
  drawFacets(factors);
}

const factorLabel = (field) => (field === "confirmed" ? page.group.confirmed.measure : nameOf(field));

function scoredArms(field) {
  return page.group.arms.map((arm) => ({ ...arm, score: armScore(arm, field) })).filter((arm) => arm.score != null);
}

function drawMarginals(factors) {
  const field = byId("factors-y").value;
  const arms = scoredArms(field).filter((arm) => Object.keys(arm.factors).length);
  const columns = narrow() ? 1 : factors.length;
  const layout = { grid: { rows: narrow() ? factors.length : 1, columns, pattern: "independent", xgap: 0.08, ygap: 0.35 }, showlegend: false };
  const traces = [];
  const scores = arms.map((arm) => arm.score);
  const room = 0.06 * (Math.max(...scores) - Math.min(...scores) || 1);
  factors.forEach((factor, index) => {
    const end = index ? index + 1 : "";
    const mine = arms.filter((arm) => factor.name in arm.factors);
    const means = factor.levels.map((level) => mine.filter((arm) => arm.factors[factor.name] === level).map((arm) => arm.score));
    const names = factor.levels.map(safe);
    traces.push({ x: mine.map((arm) => safe(arm.factors[factor.name])), y: mine.map((arm) => arm.score), mode: "markers", xaxis: `x${end}`, yaxis: `y${end}`, customdata: mine.map((arm) => arm.best), marker: { size: 8, color: palette()[0], opacity: 0.45 }, text: mine.map((arm) => safe(arm.arm)), hovertemplate: "<b>%{text}</b><br>%{y:.4f}<extra></extra>" });
    traces.push({ x: names, y: means.map((values) => (values.length ? mean(values) : null)), mode: factor.levels.every((level) => !Number.isNaN(Number(level))) ? "lines+markers" : "markers", xaxis: `x${end}`, yaxis: `y${end}`, line: { color: palette()[1], width: 2 }, marker: { size: 9, symbol: "line-ew-open", line: { width: 3, color: palette()[1] } }, hovertemplate: "mean of %{x}: %{y:.4f}<extra></extra>" });
    layout[`xaxis${end}`] = { type: "category", categoryarray: names, categoryorder: "array", title: { text: safe(factor.name) }, tickangle: 0 };
    layout[`yaxis${end}`] = { range: [Math.min(...scores) - room, Math.max(...scores) + room], title: { text: index && !narrow() ? "" : factorLabel(field) } };
  });
  draw("marginals-plot", traces, layout, narrow() ? 260 * factors.length : 320);
  const confirmed = field === "confirmed" ? "confirmed arms, means over seeds" : "of each arm its best trial";
  byId("factors-note").textContent = `Points: arms (${confirmed}). Lines above: the mean of all arms with a value; dashed lines below: arms outside the factors. These are one study's figures without intervals: the verdict is in the paired differences.`;
}

function drawFacets(factors) {
  const field = byId("factors-y").value;
  const [x, colour, panel] = ["x", "colour", "panel"].map((way) => factors.find((factor) => factor.name === byId(`facet-${way}`).value));
  const arms = scoredArms(field);
  const inside = arms.filter((arm) => x.name in arm.factors);
  const panels = panel && panel !== x ? panel.levels : [null];
  const layout = { grid: { rows: narrow() ? panels.length : 1, columns: narrow() ? 1 : panels.length, pattern: "independent", xgap: 0.06, ygap: 0.4 }, annotations: [], shapes: [] };
  const traces = [];
  const scores = arms.map((arm) => arm.score);
  const room = 0.06 * (Math.max(...scores) - Math.min(...scores) || 1);
  panels.forEach((level, index) => {
    const end = index ? index + 1 : "";
    const mine = inside.filter((arm) => level == null || arm.factors[panel.name] === level);
    traces.push(...facetLines(mine, x, colour, [x, colour, panel], index, end), ...outsideLines(arms, x, index, end));
    layout[`xaxis${end}`] = { type: "category", categoryarray: x.levels.map(safe), categoryorder: "array", title: { text: safe(x.name) } };
    layout[`yaxis${end}`] = { range: [Math.min(...scores) - room, Math.max(...scores) + room], title: { text: index && !narrow() ? "" : factorLabel(field) } };
    if (level != null) layout.annotations.push({ text: `<b>${safe(panel.name)} ${safe(level)}</b>`, xref: `x${end} domain`, yref: `y${end} domain`, x: 0.5, y: 1, yanchor: "bottom", showarrow: false });
  });
  draw("facets-plot", traces, { ...layout, margin: { l: 56, r: 14, t: 30, b: 46 } }, narrow() ? 280 * panels.length + 120 : 400);
}

function facetLines(arms, x, colour, used, index, end) {
  const levels = colour && colour !== x ? colour.levels : [null];
  return levels.map((level, place) => {
    const mine = arms.filter((arm) => level == null || arm.factors[colour.name] === level).sort((a, b) => inOrder(a.factors[x.name], b.factors[x.name]));
    const paint = palette()[place % palette().length];
    return { x: mine.map((arm) => safe(arm.factors[x.name])), y: mine.map((arm) => arm.score), mode: "lines+markers", xaxis: `x${end}`, yaxis: `y${end}`, name: level == null ? "arms" : `${safe(colour.name)} ${safe(level)}`, legendgroup: String(level), showlegend: !index && level != null, customdata: mine.map((arm) => arm.best), line: { color: paint, dash: DASHES[place % DASHES.length] }, marker: { size: 9, symbol: SYMBOLS[place % SYMBOLS.length] }, text: mine.map((arm) => safe(arm.arm)), hovertemplate: "<b>%{text}</b><br>%{y:.4f}<extra></extra>" };
  });
}

function outsideLines(arms, x, index, end) {
  return arms.filter((arm) => !Object.keys(arm.factors).length).slice(0, 4).map((arm) => {
    const method = page.byNumber.get(arm.best).fields.lora;
    return { x: x.levels.map(safe), y: x.levels.map(() => arm.score), mode: "lines", xaxis: `x${end}`, yaxis: `y${end}`, name: safe(arm.arm), legendgroup: arm.arm, showlegend: !index, customdata: x.levels.map(() => arm.best), line: { color: method === "lora" ? css("--quiet") : methodColour(method), width: 1.5, dash: "dash" }, hovertemplate: `<b>${safe(arm.arm)}</b><br>%{y:.4f}<extra></extra>` };
  });
}
