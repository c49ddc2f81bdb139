// The list of calls: those in flight, and the latest that are over.
import { ask, problem, token } from "./ask.js";
import { at, keep, make, mark, say } from "./dom.js";
import { countFrom, countSince, isPaused, query } from "./filter.js";
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

function showOutcome(node, call) {
  if (call.status === null) {
    say(node, "running");
    mark(node, "run");
    return;
  }
  const degraded = call.degraded ? `, ${call.degraded}` : "";
  say(node, call.outcome === "ok" ? `${call.status}${degraded}` : `${call.status} ${call.outcome}${degraded}`);
  mark(node, call.tone);
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

let shown = null; // Which list is shown: of which conditions, and with names or without.
let seen = ""; // ... and how many calls there were then.
let isAsking = false;
let latest = null; // The latest picture.

const listWanted = () => `${token.read() ? "names" : "pseudonyms"} ${query()}`;

// Asks for the list when there is something new in it; a paused one stays, unless it is another that is wanted.
export async function followCalls(picture) {
  latest = picture;
  follow();
  if (!picture.remembers) {
    clearCalls();
    say(at("recent-empty"), "The call history is off: set explain.keep.");
    return;
  }
  if (isPaused()) countSince(picture.ended);
  const list = listWanted();
  const now = `${list} ${picture.ended} ${picture.running}`;
  const isSettled = isPaused() ? list === shown : now === seen && picture.running === 0;
  if (isAsking || isSettled) return;
  isAsking = true;
  try {
    await load(list, now, picture.ended);
  } catch {
    // Its answer was cut: what was known stays, and the next picture asks again.
    say(at("recent-span"), "The list could not be read.");
  } finally {
    isAsking = false;
  }
  if (list !== listWanted()) followCalls(latest);
}

async function load(list, now, ended) {
  const wanted = query();
  const response = await ask(`/admin/explain?state=all&limit=${MOST}${wanted ? `&${wanted}` : ""}`);
  const body = response.ok ? await response.json() : { calls: [], running: 0 };
  const why = response.ok ? "" : await problem(response);
  // Meanwhile another list may be wanted, or this one was paused.
  if (list !== listWanted() || (isPaused() && list === shown)) return;
  [shown, seen] = [list, now];
  countFrom(ended);
  keep(at("recent"), body.calls, (call) => `${call.id} ${call.uptimeMs}`, buildCall, showCall);
  at("recent-empty").hidden = body.calls.length > 0;
  say(at("recent-empty"), why || (wanted ? "No call meets these conditions." : "None yet."));
  say(at("recent-span"), why ? "" : `${plural(body.running, "call", "calls")} in flight`);
}

// Nothing of the list stays.
export function clearCalls() {
  [shown, seen] = [null, ""];
  at("recent").replaceChildren();
  at("recent-empty").hidden = false;
  say(at("recent-empty"), "…");
}

// The list again, at once: other calls are wanted, or it goes on.
export function showCallsNow() {
  seen = "";
  if (latest) followCalls(latest);
}
