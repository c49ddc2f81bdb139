// The latest calls, and what happened to one of them.
import { ask, problem } from "./ask.js";
import { at, make, mark, say } from "./dom.js";
import { clock, duration } from "./words.js";

export function buildCall(call) {
  const link = make("a", { href: `/admin/explain/${encodeURIComponent(call.id)}?format=text` }, make("code", {}, call.id.slice(0, 12)));
  link.addEventListener("click", (event) => { event.preventDefault(); tell(call.id); });
  const cell = (name, kind) => make("td", kind ? { "data-cell": name, class: kind } : { "data-cell": name });
  const outcome = make("td", {}, make("span", { class: "word", "data-cell": "outcome" }));
  return make("tr", {}, cell("came"), make("td", {}, link), outcome, cell("took", "number"), cell("route", "more"), cell("by", "more"), cell("attempts", "more number"));
}

export function showCall(row, call) {
  const cell = (name) => row.querySelector(`[data-cell=${name}]`);
  say(cell("came"), clock(call.at));
  const outcome = cell("outcome");
  const degraded = call.degraded ? `, ${call.degraded}` : "";
  say(outcome, call.outcome === "ok" ? `${call.status}${degraded}` : `${call.status} ${call.outcome}${degraded}`);
  const isFailure = call.status >= 500 || (call.status < 400 && !["ok", "cancelled"].includes(call.outcome));
  mark(outcome, isFailure ? "bad" : call.status >= 400 || degraded ? "warn" : "good");
  say(cell("took"), duration(call.durationMs));
  say(cell("route"), call.route);
  const isKept = call.cache === "hit" || call.cache === "stale";
  say(cell("by"), isKept ? `cache (${call.cache})` : [call.provider, call.model].filter(Boolean).join(", ") || "nobody");
  say(cell("attempts"), call.attempts);
}

const tell = (id) => read(`Call ${id}`, `/admin/explain/${encodeURIComponent(id)}?format=text`);

// What a link cannot show where the token is needed: it does not send one.
async function read(title, path) {
  say(at("story-title"), title);
  say(at("story-text"), "…");
  at("story").showModal();
  const response = await ask(path).catch(() => null);
  say(at("story-text"), !response ? "Could not reach the gateway." : response.ok ? await response.text() : await problem(response));
}

at("configuration").addEventListener("click", (event) => { event.preventDefault(); read("Configuration", "/config"); });
