// The leaderboard: rows of arms or of trials, sorted by a column, filtered by words.

const board = { rows: "arms", column: null, down: true, words: "" };

function armColumns(group) {
  const field = (name) => ({ key: name, label: labelOf(name), value: (row) => row.fields[name], text: (v) => shown(v, name) });
  const columns = [
    { key: "arm", label: "arm", words: true, value: (row) => row.arm, text: String },
    field(`val_${group.metric}`),
  ];
  if (group.confirmed) {
    const test = { key: "test", label: `${group.confirmed.measure}, mean [95 %]`, value: (row) => row.confirmed?.test?.[0], text: (v, row) => interval(row.confirmed?.test) };
    columns.push(
      ...(Object.values(group.confirmed.arms).some((arm) => arm.test) ? [test] : []),
      { key: "difference", label: `against ${group.confirmed.reference} [95 %, all at once]`, value: (row) => row.confirmed?.difference?.[0], text: (v, row) => interval(row.confirmed?.difference, true) },
      { key: "verdict", label: "verdict", words: true, value: (row) => row.confirmed?.verdict || "", text: String },
    );
  } else if (group.arms.some((arm) => arm.split === "test")) {
    columns.push(
      { key: "test", label: `test ${group.metric}, one run [95 %]`, value: (row) => row.fields[`test_${group.metric}`], text: (v, row) => (v == null ? "" : v.toFixed(4) + brackets(row.interval)) },
      { key: "verdict", label: "these two runs", words: true, value: (row) => row.verdict, text: String },
    );
  }
  const rest = ["params_adapter", "trainable", "rank", "rate", "memory_needed", "step_median_s"];
  const trials = { key: "trials", label: "trials", value: (row) => row.count, text: (v, row) => row.ended };
  return [...columns, ...rest.map(field), trials];
}

function trialColumns(group) {
  const field = (name, words) => ({ key: name, label: labelOf(name), words, value: (row) => row.fields[name], text: (v) => shown(v, name) });
  const known = (name) => page.trials.some((trial) => trial.fields[name] != null);
  const names = [`val_${group.metric}`, `test_${group.metric}`, "trainable", "rank", "rate", "memory_needed", "step_median_s", "total_s"];
  return [field("trial"), field("arm", true), field("phase", true), field("state", true), ...names.filter(known).map((name) => field(name)), ...(known("reason") ? [field("reason", true)] : [])];
}

const brackets = (ends, plus) => (ends ? ` [${ends.map((end) => (plus ? signed(end, 3) : end.toFixed(3))).join(", ")}]` : "");
const interval = (three, plus) => (three ? (plus ? signed(three[0]) : three[0].toFixed(4)) + brackets(three.slice(1), plus) : "");

function armRows(group) {
  return group.arms.map((arm) => {
    const confirmed = group.confirmed?.arms[arm.arm];
    const best = page.byNumber.get(arm.best);
    const { complete, pruned, fail } = arm.states;
    const parts = [`${complete}`, pruned && `${pruned} pruned`, fail && `${fail} failed`].filter(Boolean);
    return { ...arm, confirmed, count: complete + pruned + fail, ended: parts.join(" + "), fields: best ? best.fields : {}, opens: best ? best.fields.trial : firstOf(arm.arm) };
  });
}

const firstOf = (arm) => page.trials.find((trial) => trial.fields.arm === arm)?.fields.trial;

function drawBoard() {
  const arms = board.rows === "arms";
  const columns = arms ? armColumns(page.group) : trialColumns(page.group);
  const rows = arms ? armRows(page.group) : page.trials.map((trial) => ({ fields: trial.fields, opens: trial.fields.trial }));
  const column = columns.find((each) => each.key === board.column) || columns.find((each) => each.key === `val_${page.group.metric}`);
  const words = board.words.toLowerCase().split(/\s+/).filter(Boolean);
  const lines = rows.map((row) => ({ row, cells: columns.map((each) => cellText(each, row)) }));
  const kept = lines.filter((line) => words.every((word) => line.cells.some((cell) => cell.toLowerCase().includes(word))));
  kept.sort((first, second) => compared(column.value(first.row), column.value(second.row), board.down));
  byId("board").replaceChildren(boardHead(columns, column), el("tbody", {}, ...kept.map((line) => boardRow(columns, line))));
  byId("shown").textContent = `${kept.length} of ${rows.length} rows`;
}

const cellText = (column, row) => column.text(column.value(row) ?? null, row);

function compared(first, second, down) {
  if (first == null || second == null) return (first == null) - (second == null); // what is missing comes last
  const order = typeof first === "number" && typeof second === "number" ? first - second : inOrder(first, second);
  return down ? -order : order;
}

function boardHead(columns, sorted) {
  const cells = columns.map((column) => {
    const now = column.key === sorted.key ? (board.down ? "descending" : "ascending") : "none";
    return el("th", { scope: "col", class: column.words ? "text" : "", "aria-sort": now }, el("button", { type: "button", text: column.label, "data-key": column.key, onclick: () => sortBy(column, sorted) }));
  });
  return el("thead", {}, el("tr", {}, ...cells));
}

function sortBy(column, sorted) {
  board.down = column.key === sorted.key ? !board.down : !column.words;
  board.column = column.key;
  drawBoard();
  byId("board").querySelector(`button[data-key="${CSS.escape(column.key)}"]`).focus();
}

function boardRow(columns, { row, cells }) {
  const tones = { better: "good", higher: "good", worse: "bad", lower: "bad", fail: "bad" };
  const made = columns.map((column, index) => el("td", { class: [column.words && "text", column.key === "arm" && "arm", tones[cells[index]]].filter(Boolean).join(" "), text: cells[index] }));
  const open = () => openDrawer(row.opens);
  return el("tr", { tabindex: 0, "data-trial": row.opens, onclick: open, onkeydown: (event) => rowKey(event, open) }, ...made);
}

function rowKey(event, open) {
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    open();
  }
  const next = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (next && event.currentTarget[next]) {
    event.preventDefault();
    event.currentTarget[next].focus();
  }
}
