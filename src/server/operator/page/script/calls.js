// The list of calls: those in flight, and the latest that are over.
import { ask, problem } from "./ask.js";
import { at, keep, make, mark, say } from "./dom.js";
import { countSince, isPaused, query } from "./filter.js";
import { follow, tell } from "./story.js";
import { clock, duration, plural } from "./words.js";

const MOST = 25; // Calls in the list.

function buildCall(call) {
  const link = make("a", { href: `/admin/explain/${encodeURIComponent(call.id)}?format=text`, title: call.id }, make("code", {}, call.id.slice(0, 12)));
  link.addEventListener("click", (event) => { event.preventDefault(); tell(call.id); });
  const cell = (name, kind) => make("td", { "data-cell": name, role: "cell", class: kind || "" });
  const outcome = make("td", { role: "cell", class: "outcome" }, make("span", { class: "word", "data-cell": "outcome" }));
  return make("tr", { role: "row" }, cell("came"), make("td", { role: "cell", class: "id" }, link), outcome, cell("took", "number"), cell("route"), cell("by"), cell("tenant", "more"), cell("attempts", "more number"));
}

const isFailure = (call) => call.status >= 500 || (call.status < 400 && !["ok", "cancelled"].includes(call.outcome));

function showOutcome(node, call) {
  if (call.status === null) {
    say(node, "running");
    mark(node, "run");
    return;
  }
  const degraded = call.degraded ? `, ${call.degraded}` : "";
  say(node, call.outcome === "ok" ? `${call.status}${degraded}` : `${call.status} ${call.outcome}${degraded}`);
  mark(node, isFailure(call) ? "bad" : call.status >= 400 || degraded ? "warn" : "good");
}

function showCall(row, call) {
  const cell = (name) => row.querySelector(`[data-cell=${name}]`);
  say(cell("came"), clock(call.at));
  showOutcome(cell("outcome"), call);
  say(cell("took"), duration(call.durationMs));
  say(cell("route"), call.route);
  const isKept = call.cache === "hit" || call.cache === "stale";
  const by = isKept ? `cache (${call.cache})` : [call.provider, call.model].filter(Boolean).join(", ") || "nobody";
  say(cell("by"), call.doing || by);
  say(cell("tenant"), [call.tenant, call.apiKey].filter(Boolean).join(", ") || "–");
  say(cell("attempts"), call.attempts);
  for (const name of ["route", "by"]) cell(name).title = cell(name).textContent;
}

let seen = ""; // What the list shows, and how many calls there were then.
let isAsking = false;
let latest = null; // The latest picture.

// Asks for the list when there is something new in it.
export async function followCalls(picture) {
  latest = picture;
  follow();
  if (!picture.remembers) {
    at("recent-empty").hidden = false;
    say(at("recent-empty"), "The call history is off: set explain.keep.");
    return;
  }
  if (isPaused()) {
    countSince(picture.ended);
    return;
  }
  const wanted = query();
  const now = `${wanted} ${picture.ended} ${picture.running}`;
  if (isAsking || (now === seen && picture.running === 0)) return;
  isAsking = true;
  const response = await ask(`/admin/explain?state=all&limit=${MOST}${wanted ? `&${wanted}` : ""}`).catch(() => null);
  const body = response && response.ok ? await response.json() : null;
  const why = response && !response.ok ? await problem(response) : "";
  isAsking = false;
  if (!response || isPaused() || wanted !== query()) return;
  seen = now;
  const calls = body ? body.calls : [];
  keep(at("recent"), calls, (call) => `${call.id} ${call.at}`, buildCall, showCall);
  at("recent-empty").hidden = calls.length > 0;
  say(at("recent-empty"), why || (wanted ? "No call meets these conditions." : "None yet."));
  say(at("recent-span"), body ? `${plural(body.running, "call", "calls")} in flight` : "");
}

// The list again, at once: other calls are wanted, or it goes on.
export function showCallsNow() {
  seen = "";
  if (latest) followCalls(latest);
}
