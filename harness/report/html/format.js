"use strict";
// Elements, names of fields and numbers as text. Nothing here makes markup from a string.

const MIB = 1048576;
const NAMES = {
  trainable: "trained parameters",
  params_adapter: "adapter parameters",
  params_head: "head parameters",
  params_total: "all parameters",
  memory_needed: "memory in training",
  memory_train_peak: "peak memory, process included",
  step_median_s: "time of a step",
  step_cpu_s: "processor time of a step",
  total_s: "time of the trial",
  train_s: "time of training",
  examples_per_s: "examples",
  flops_step: "operations of a step",
  effective_rank_mean: "effective rank, mean",
  adapter_bytes: "adapter file",
  rate: "learning rate",
  lr: "learning rate of base and adapter",
  head_lr: "learning rate of the head",
};
const SPLITS = { val: "validation", test: "test", train: "training" };

function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

const byId = (id) => document.getElementById(id);

function unitOf(field) {
  const unit = (page.data.fields[field] || {}).unit || "";
  return { bytes: "MiB", FLOP: "GFLOP", parameters: "", "1/s": "per second" }[unit] ?? unit;
}

function scaled(value, field) {
  if (typeof value !== "number") return value;
  const unit = (page.data.fields[field] || {}).unit;
  return unit === "bytes" ? value / MIB : unit === "FLOP" ? value / 1e9 : value;
}

function nameOf(field) {
  if (NAMES[field]) return NAMES[field];
  const found = /^(val|test|train)(?:@(\d+))?_(.+)$/.exec(field);
  if (found) return `${SPLITS[found[1]]} ${found[3]}${found[2] ? ` at rank ${found[2]}` : ""}`;
  return field.replace(/_s$/, "").replaceAll("_", " ");
}

function labelOf(field) {
  const unit = unitOf(field);
  return unit ? `${nameOf(field)}, ${unit}` : nameOf(field);
}

function figure(value) {
  if (value == null) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return size >= 0.01 ? String(Number(value.toPrecision(3))) : value.toPrecision(3).replace(/\.?0+(e|$)/, "$1");
}

function isScore(field) {
  return /^(val|test|train)(@\d+)?_/.test(field) && field !== "train_s";
}

function shown(value, field) {
  if (typeof value === "number" && isScore(field)) return value.toFixed(4);
  return figure(scaled(value, field));
}

const signed = (value, digits = 4) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function deviation(values) {
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}

function grouped(values, key) {
  const found = new Map();
  for (const value of values) {
    const name = key(value);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(value);
  }
  return found;
}

// Numbers in numeric order, words after them.
function inOrder(first, second) {
  return String(first).localeCompare(String(second), "en", { numeric: true });
}

function short(arm) {
  return arm.replaceAll("rank=", "r").replaceAll("targets=", "").replaceAll("variant=", "").replaceAll(",", " ");
}
