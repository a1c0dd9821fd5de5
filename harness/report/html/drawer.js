// A trial: what it was, how to train it again, what it scored and cost, and where its files are.

let cameFrom = null;

function openDrawer(number) {
  const trial = page.byNumber.get(number);
  if (!trial) return;
  const drawer = byId("drawer");
  if (!drawer.open) cameFrom = document.activeElement;
  const { arm, state, phase, reason } = trial.fields;
  const close = el("button", { type: "button", text: "Close", id: "drawer-close", onclick: () => drawer.close() });
  const parts = [
    el("div", { class: "top" }, el("h2", { id: "drawer-title", text: `${arm}, trial ${number}` }), close),
    el("p", { class: "quiet", text: [state, phase === "confirm" ? "confirms with a fresh seed" : "of the search", trial.attempt > 1 && `attempt ${trial.attempt}`].filter(Boolean).join(", ") }),
    reason ? el("p", { text: reason }) : null,
    el("div", { id: "drawer-plot", class: "drawer-plot" }),
    ...fieldLists(trial),
    el("h3", { text: "Configuration" }),
    list(Object.entries({ ...trial.config, ...trial.point }).sort((a, b) => inOrder(a[0], b[0]))),
    Object.keys(page.data.common).length ? el("details", {}, el("summary", { text: `${Object.keys(page.data.common).length} keys that all trials share` }), list(Object.entries(page.data.common))) : null,
    ...filesOf(trial),
    ...notesOf(trial),
  ];
  drawer.replaceChildren(...parts.filter(Boolean));
  if (!drawer.open) drawer.showModal();
  drawer.scrollTop = 0;
  close.focus();
  drawTrialCurves(trial);
}

const list = (pairs) => el("dl", {}, ...pairs.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));

function fieldLists(trial) {
  const names = Object.keys(trial.fields).filter((name) => !["arm", "state", "phase", "reason", "trial"].includes(name) && trial.fields[name] !== "");
  const scores = names.filter(isScore);
  const costs = names.filter((name) => !isScore(name) && /^(memory|time|step|train|total|flops|merge|examples|adapter|load)/.test(name));
  const rest = names.filter((name) => !scores.includes(name) && !costs.includes(name));
  const part = (title, mine, open) => (mine.length ? el("details", { open }, el("summary", { text: title }), list(mine.map((name) => [labelOf(name), shown(trial.fields[name], name)]))) : null);
  return [part("Scores", scores, true), part("Cost", costs, false), part("Settings and counts", rest, false)];
}

function filesOf(trial) {
  const made = [el("h3", { text: "Train it again, and its files" })];
  if (trial.fields.state === "complete") made.push(el("pre", { text: trial.repeat }));
  made.push(el("p", { class: "quiet", text: "It was made by" }), el("pre", { text: page.data.commands[trial.command] }));
  const digests = Object.entries(trial.sha256).map(([name, digest]) => [name, `sha256 ${digest}…`]);
  return [...made, list([["folder", trial.folder], ...(trial.adapter ? [["adapter", trial.adapter]] : []), ["fingerprint", trial.fingerprint], ...digests])];
}

function notesOf(trial) {
  const lines = [...trial.notes, ...trial.dead.map((name) => `never got a gradient: ${name}`)];
  return lines.length ? [el("h3", { text: "Notes" }), el("ul", {}, ...lines.map((text) => el("li", { text })))] : [];
}

function drawTrialCurves(trial) {
  const named = Object.entries(trial.curve).filter(([name]) => name !== "lr");
  const losses = named.filter(([name]) => name.includes("loss"));
  const scores = named.filter(([name]) => !name.includes("loss"));
  const lines = named.length ? (scores.length ? [...losses, ...scores] : losses) : trial.reports.length ? [["objective", trial.reports]] : [];
  byId("drawer-plot").hidden = !lines.length;
  if (!lines.length) return;
  const second = losses.length > 0 && scores.length > 0;
  const traces = lines.map(([name, points], index) => ({ x: points.map((p) => p[0]), y: points.map((p) => p[1]), name: name === "objective" ? `validation ${page.group.objective}` : nameOf(name), mode: points.length < 15 ? "lines+markers" : "lines", line: { color: palette()[index % palette().length], width: 1.8 }, yaxis: second && !name.includes("loss") ? "y2" : "y" }));
  const axes = { xaxis: { title: { text: "optimiser steps" } }, yaxis: { title: { text: losses.length ? "loss" : "score" } } };
  if (second) axes.yaxis2 = { title: { text: "score" }, overlaying: "y", side: "right", showgrid: false, tickmode: "auto" };
  draw("drawer-plot", traces, axes, 280);
}

function mendFocus() {
  if (cameFrom && cameFrom.isConnected) cameFrom.focus();
  else if (cameFrom && cameFrom.dataset) document.querySelector(`tr[data-trial="${cameFrom.dataset.trial}"]`)?.focus();
}
