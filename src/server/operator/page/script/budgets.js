// Budgets.
import { make, mark, say } from "./dom.js";
import { percent, whole } from "./words.js";

const BUDGETS = { ok: "good", warned: "warn", refusing: "bad", spent: "bad" };

export function buildBudget(budget) {
  const cell = (name, kind) => make("td", { "data-cell": name, class: kind });
  const word = (name, kind) => make("td", { class: kind }, make("span", { class: "word", "data-cell": name }));
  const spent = make("td", {}, make("span", { class: "bar", "aria-hidden": "true" }, make("span")), make("span", { "data-cell": "spent" }));
  return make("tr", {}, make("th", { scope: "row" }, budget.budget), cell("allows", "more"), spent, word("state", ""), word("refused", "number"));
}

export function showBudget(row, budget) {
  const cell = (name) => row.querySelector(`[data-cell=${name}]`);
  const is = BUDGETS[budget.state];
  say(cell("allows"), `${budget.amountUsd} USD per ${budget.period}, ${budget.then}`);
  say(cell("spent"), percent(budget.share));
  const bar = row.querySelector(".bar");
  mark(bar, is);
  bar.firstElementChild.style.width = `${Math.min(100, budget.share * 100)}%`;
  say(cell("state"), budget.state);
  mark(cell("state"), is);
  say(cell("refused"), whole.format(budget.refused));
  mark(cell("refused"), budget.refused ? "warn" : "good");
}
