// What happened to one call: facts, and a waterfall of its policies, waits and attempts on one time axis; and texts to read.
import { ask, problem } from "./ask.js";
import { at, make, mark, say } from "./dom.js";
import { clock, duration } from "./words.js";

let opened = null; // What the dialog shows, with the id of a call: another object each time, so that late answers are known.

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
    ["arrived", `${clock(call.at)}, configuration no. ${call.generation}`],
    ["tenant", call.tenant || "unknown"],
    ["API key", call.apiKey],
    ...call.summary.map(({ about, text }) => [about, text]),
  ];
  at("story-facts").replaceChildren(...facts.filter(([, text]) => text).map(([about, text]) => make("div", {}, make("dt", {}, about), make("dd", {}, text))));
  const whole = Math.max(0.001, ...call.timeline.map((row) => row.atMs + row.tookMs));
  say(at("story-end"), duration(whole));
  at("story-rows").replaceChildren(...call.timeline.map((row) => buildRow(row, whole)));
}

const UNREACHABLE = "Could not reach the gateway.";

// The call, and the same as the text that `tidegate explain` prints. While it runs it is asked for again, and so it is where the
// answer did not come.
async function load(mine) {
  if (mine.isAsking) return;
  mine.isAsking = true;
  const path = `/admin/explain/${encodeURIComponent(mine.id)}`;
  try {
    const [response, text] = await Promise.all([ask(path), ask(`${path}?format=text`)]);
    const why = response.ok ? "" : await problem(response);
    const call = why ? null : await response.json();
    const lines = !why && text.ok ? await text.text() : "";
    if (opened !== mine) return;
    say(at("story-error"), why);
    if (why) return;
    say(at("story-text"), lines);
    showCall(call);
    mine.goesOn = call.status === null;
    at("story-call").hidden = false;
  } catch {
    mine.goesOn = true;
    if (opened === mine) say(at("story-error"), UNREACHABLE);
  } finally {
    mine.isAsking = false;
  }
}

function clear() {
  say(at("story-error"), "");
  say(at("story-text"), "");
  at("story-facts").replaceChildren();
  at("story-rows").replaceChildren();
  at("story-call").hidden = true;
}

function open(title, id) {
  clear();
  say(at("story-title"), title);
  say(at("story-text"), "…");
  at("story-raw").open = !id;
  at("story-raw").className = id ? "" : "alone";
  if (!at("story").open) at("story").showModal();
  opened = { id };
  return opened;
}

export const tell = (id) => load(open(`Call ${id}`, id));

// A call that runs is shown as it goes on; called with each picture.
export function follow() {
  if (opened && opened.goesOn) load(opened);
}

// The call again, with names or without; an answer with the others is dropped.
export function tellAgain() {
  if (opened && opened.id) tell(opened.id);
}

// What a link cannot show where the token is needed: it does not send one.
export async function read(title, path) {
  const mine = open(title, "");
  const response = await ask(path).catch(() => null);
  const text = response && await (response.ok ? response.text() : problem(response)).catch(() => null);
  if (opened === mine) say(at("story-text"), text ?? UNREACHABLE);
}

// What is not looked at holds no names.
at("story").addEventListener("close", () => { opened = null; clear(); });
at("configuration").addEventListener("click", (event) => { event.preventDefault(); read("Configuration", "/config"); });
