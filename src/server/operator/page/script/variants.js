// Variants side by side.
import { at, keep, make, say } from "./dom.js";
import { age, dollars, duration, percent, plural, whole } from "./words.js";

function buildVariant(row) {
  const cell = (name, kind) => make("td", { "data-cell": name, class: kind });
  return make("tr", {}, make("th", { scope: "row" }, row.variant, " ", make("small", {}, row.route)), cell("calls", "more number"), cell("success", "number"), cell("p50", "number"), cell("p95", "number"), cell("cost", "number"));
}

function showVariant(node, row) {
  const cell = (name, text) => say(node.querySelector(`[data-cell=${name}]`), text);
  cell("calls", whole.format(row.calls));
  cell("success", row.success === null ? "–" : percent(row.success));
  cell("p50", duration(row.p50Ms));
  cell("p95", duration(row.p95Ms));
  cell("cost", row.costUsd === null ? "–" : dollars(row.costUsd));
}

// Calls that are remembered, and so as far back as they reach.
export function showVariants(variants, remembers) {
  at("variants-section").hidden = !variants;
  if (!variants) return;
  const { rows, calls, sinceSeconds } = variants;
  const span = calls ? `latest ${plural(calls, "call", "calls")} of these routes, the first ${age(sinceSeconds)} ago` : "no calls yet";
  say(at("variants-span"), remembers ? span : "the call history is off: set explain.keep");
  keep(at("variants"), rows, (row) => `${row.route} ${row.variant}`, buildVariant, showVariant);
}
