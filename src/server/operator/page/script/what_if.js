// What another rate of a limit would do: /admin/what-if simulates it.
import { ask, askForToken, askWithToken, bodyOf, problem } from "./ask.js";
import { at, keep, make, mark, say } from "./dom.js";
import { age, clock, dollars, duration, percent, plural, whole } from "./words.js";

const ASKED = 1000; // Milliseconds between two looks at a simulation that runs.

const MEASURES = [
  ["calls", "Calls", (column) => whole.format(column.calls)],
  ["refused", "Refused", (column) => `${whole.format(column.refused)}${column.calls ? `, ${percent(column.refused / column.calls)}` : ""}`],
  ["limit", "Refused by this limit", (column) => whole.format(column.refusedByLimit)],
  ["errors", "Errors", (column) => whole.format(column.errors)],
  ["p95", "Duration, p95", (column) => duration(column.p95Ms)],
  ["cost", "Cost, USD", (column) => dollars(column.costUsd)],
  ["hits", "Cache hits", (column) => column.hitRate === null ? "–" : percent(column.hitRate)],
];

let askedGeneration = null; // Of the configuration whose limits can be chosen.
let nextLook = 0;

// The limits change with the configuration, and an answer comes only after a question: nobody asks otherwise.
export function followGeneration(generation) {
  if (askedGeneration === generation) return;
  askedGeneration = generation;
  lookAtWhatIf();
}

async function lookAtWhatIf() {
  clearTimeout(nextLook);
  const response = await ask("/admin/what-if").catch(() => null);
  if (response && !response.ok) return;
  const body = response && await bodyOf(response);
  if (body) showWhatIf(body);
  else nextLook = setTimeout(lookAtWhatIf, ASKED);
}

function showWhatIf({ obstacle, limits, running, last }) {
  at("what-if").hidden = false;
  at("what-if-off").hidden = !obstacle;
  say(at("what-if-off"), obstacle ? `Not available: ${obstacle}.` : "");
  at("what-if-form").hidden = Boolean(obstacle);
  askForToken("what-if");
  const label = ({ name, rate, quantity, isEnforced }) => `${name} (${rate}${quantity === "requests" ? "" : ` ${quantity}`}${isEnforced ? "" : ", shadow mode"})`;
  keep(at("what-if-limit"), limits, (limit) => limit.name, (limit) => make("option", { value: limit.name }), (node, limit) => say(node, label(limit)));
  at("what-if-ask").disabled = Boolean(running);
  say(at("what-if-state"), running ? `Simulating ${running.limit} at ${running.rate}, for ${age(running.seconds)}.` : "");
  if (last && !running) showAnswer(last);
  if (running) nextLook = setTimeout(lookAtWhatIf, ASKED);
}

function showAnswer({ limit, rate, isShadow, at: asked, problem: why, outcome }) {
  say(at("what-if-error"), why ? `${limit} at ${rate}: ${why}` : "");
  at("what-if-outcome").hidden = !outcome;
  if (!outcome) return;
  const then = `At ${rate}${isShadow ? ", enforced" : ""}`;
  say(at("what-if-asked"), `Limit ${limit}`);
  say(at("what-if-rate-head"), then);
  say(at("what-if-who-head"), then);
  const column = (name) => outcome.columns.find((column) => column.name === name);
  const [recorded, configured, wanted] = ["recorded", "configured", "asked"].map(column);
  const cell = (name, kind) => make("td", { "data-cell": name, class: kind });
  const cells = () => [cell("recorded", "number more"), cell("configured", "number"), make("td", { class: "number" }, make("span", { class: "word", "data-cell": "asked" }))];
  const fill = (node, values, isMore) => {
    for (const [name, value] of Object.entries(values)) say(node.querySelector(`[data-cell=${name}]`), value);
    mark(node.querySelector("[data-cell=asked]"), isMore ? "warn" : "");
  };
  keep(at("what-if-numbers"), MEASURES, ([key]) => key, ([, name]) => make("tr", {}, make("th", { scope: "row" }, name), ...cells()), (node, [key, , text]) => {
    const isMore = { refused: wanted.refused > configured.refused, limit: wanted.refusedByLimit > configured.refusedByLimit, errors: wanted.errors > configured.errors }[key];
    fill(node, { recorded: recorded ? text(recorded) : "–", configured: text(configured), asked: text(wanted) }, isMore);
  });
  const build = (who) => make("tr", {}, make("td", {}, `${who.kind} `, make("code", {}, who.name)), cell("calls", "number"), ...cells());
  keep(at("what-if-refused"), outcome.refused, (who) => `${who.kind} ${who.name}`, build, (node, who) => {
    const values = { calls: whole.format(who.calls), recorded: who.recorded === null ? "–" : whole.format(who.recorded), configured: whole.format(who.configured), asked: whole.format(who.asked) };
    fill(node, values, who.asked > who.configured);
  });
  at("what-if-who").hidden = outcome.refused.length === 0;
  const lost = [wanted.unplayed && `${plural(wanted.unplayed, "call", "calls")} could not be simulated`, outcome.skipped && `${plural(outcome.skipped, "line", "lines")} of the trace could not be read`].filter(Boolean);
  say(at("what-if-foot"), `Calls from ${clock(outcome.from)} to ${clock(outcome.to)}, asked at ${clock(asked)}. Compare the two simulations: their providers are simulated, and behave as recorded where the trace shows it.${lost.length ? ` ${lost.join("; ")}.` : ""}`);
}

async function askWhatIf() {
  at("what-if-ask").disabled = true;
  say(at("what-if-error"), "");
  const response = await askWithToken("what-if", "/admin/what-if", "POST", { limit: at("what-if-limit").value, rate: at("what-if-rate").value });
  at("what-if-ask").disabled = false;
  if (response && response.ok) {
    const body = await bodyOf(response);
    return body ? showWhatIf(body) : lookAtWhatIf();
  }
  say(at("what-if-error"), response ? await problem(response) : "Could not reach the gateway.");
  askForToken("what-if");
  if (response && response.status === 401) at("what-if-key").focus();
}

at("what-if-form").addEventListener("submit", (event) => { event.preventDefault(); askWhatIf(); });
