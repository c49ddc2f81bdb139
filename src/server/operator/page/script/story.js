// What happened to one call: facts, and a waterfall of its policies, waits and attempts on one time axis; and texts to read.
import { ask, problem } from "./ask.js";
import { at, make, mark, say } from "./dom.js";
import { clock, duration } from "./words.js";

let shownId = null; // The call that is shown, while it runs.

// Where a row's bar begins and ends on the axis, in percent.
function place(node, from, to, whole) {
  node.style.left = `${(from / whole) * 100}%`;
  node.style.width = `${Math.max(0, ((to - from) / whole) * 100)}%`;
}

function track(row, whole) {
  const part = (kind, from, to) => {
    const bar = make("span", { class: kind });
    place(bar, from, to, whole);
    return bar;
  };
  const end = row.atMs + row.tookMs;
  const line = make("div", { class: "track", "aria-hidden": "true", "data-is": row.tone });
  if (row.kind === "decision") line.append(part("moment", row.atMs, row.atMs));
  else if (row.kind === "wait") line.append(part("waits", row.atMs, end));
  else if (row.kind === "answer") line.append(part("works", row.atMs, end));
  else if (row.answeredMs === null) line.append(part("asks", row.atMs, end));
  else line.append(part("asks", row.atMs, row.atMs + row.answeredMs), part("works", row.atMs + row.answeredMs, end));
  return line;
}

function buildRow(row, whole) {
  const result = make("span", { class: "word" }, row.result);
  mark(result, row.tone);
  const takes = row.kind === "decision" ? "–" : duration(row.tookMs);
  const cell = (kind, ...children) => make("td", { role: "cell", class: kind }, ...children);
  return make("tr", { role: "row", class: row.kind }, make("th", { scope: "row", role: "rowheader" }, row.label), cell("axis", track(row, whole)), cell("number at", duration(row.atMs)), cell("number", takes), cell("result", result));
}

function showCall(call) {
  say(at("story-title"), `Call ${call.id}`);
  const outcome = call.status === null ? "running" : `${call.status} ${call.outcome}`;
  const facts = [
    ["outcome", `${outcome} after ${duration(call.durationMs)}`],
    ["request", `${call.method} ${call.path}, route ${call.route}`],
    ["came", `${clock(call.at)}, configuration no. ${call.generation}`],
    ["tenant", call.tenant || "unknown"],
    ["API key", call.apiKey],
    ...call.summary.map(({ about, text }) => [about, text]),
  ];
  at("story-facts").replaceChildren(...facts.filter(([, text]) => text).map(([about, text]) => make("div", {}, make("dt", {}, about), make("dd", {}, text))));
  const whole = Math.max(0.001, ...call.timeline.map((row) => row.atMs + row.tookMs));
  say(at("story-end"), duration(whole));
  at("story-rows").replaceChildren(...call.timeline.map((row) => buildRow(row, whole)));
}

// One after the other: the call, and the same as the text that `tidegate explain` prints.
async function load(id) {
  const path = `/admin/explain/${encodeURIComponent(id)}`;
  const [response, text] = await Promise.all([ask(path), ask(`${path}?format=text`)]).catch(() => []);
  if (!response) return say(at("story-error"), "Could not reach the gateway.");
  if (!response.ok) return say(at("story-error"), await problem(response));
  const call = await response.json();
  say(at("story-text"), text.ok ? await text.text() : "");
  if (!at("story").open || at("story").dataset.id !== id) return;
  showCall(call);
  shownId = call.status === null ? id : null;
  at("story-call").hidden = false;
}

function open(title, id) {
  say(at("story-title"), title);
  say(at("story-error"), "");
  say(at("story-text"), "…");
  at("story").dataset.id = id;
  at("story-call").hidden = true;
  at("story-raw").open = !id;
  at("story-raw").className = id ? "" : "alone";
  if (!at("story").open) at("story").showModal();
}

export function tell(id) {
  open(`Call ${id}`, id);
  load(id);
}

// A call that runs is shown as it goes on.
export function follow() {
  if (shownId && at("story").open) load(shownId);
}

// What a link cannot show where the token is needed: it does not send one.
export async function read(title, path) {
  open(title, "");
  const response = await ask(path).catch(() => null);
  say(at("story-text"), !response ? "Could not reach the gateway." : response.ok ? await response.text() : await problem(response));
}

at("story").addEventListener("close", () => { shownId = null; at("story").dataset.id = ""; });
at("configuration").addEventListener("click", (event) => { event.preventDefault(); read("Configuration", "/config"); });
