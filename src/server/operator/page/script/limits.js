// Rate limits.
import { keep, make, mark, say } from "./dom.js";
import { number, whole } from "./words.js";

function allows(limit) {
  const window = limit.windowSeconds % 3600 === 0 ? `${limit.windowSeconds / 3600} h` : limit.windowSeconds % 60 === 0 ? `${limit.windowSeconds / 60} min` : `${limit.windowSeconds} s`;
  return `${number.format(limit.count)} ${limit.quantity} in ${window}${limit.isEnforced ? "" : ", shadow mode"}`;
}

export function buildLimit(limit) {
  const cell = (name, kind) => make("td", { "data-cell": name, class: kind });
  const refused = make("td", { class: "number" }, make("span", { class: "word", "data-cell": "refused" }), make("small", { "data-cell": "would" }));
  return make("tr", {}, make("th", { scope: "row" }, limit.rule), cell("allows", "more"), cell("calls", "number"), refused, make("td", {}, make("div", { class: "keys", "data-cell": "keys" })));
}

export function showLimit(row, limit) {
  const cell = (name) => row.querySelector(`[data-cell=${name}]`);
  say(cell("allows"), allows(limit));
  say(cell("calls"), whole.format(limit.calls));
  say(cell("refused"), whole.format(limit.refused));
  mark(cell("refused"), limit.refused ? "warn" : "good");
  say(cell("would"), limit.wouldRefuse ? `would have refused ${whole.format(limit.wouldRefuse)}` : "");
  const refusals = (busy) => `${busy.refused ? `, ${whole.format(busy.refused)} refused` : ""}${busy.wouldRefuse ? `, ${whole.format(busy.wouldRefuse)} would have been refused` : ""}`;
  const busiest = (busy) => `${whole.format(busy.calls)} calls, ${number.format(busy.remaining)} left${refusals(busy)}`;
  keep(cell("keys"), limit.busiest, (busy) => `${busy.key} ${busy.who || ""}`, (busy) => make("span", {}, make("code", {}, busy.who || busy.key), " ", make("span")), (node, busy) => say(node.lastElementChild, busiest(busy)));
}
