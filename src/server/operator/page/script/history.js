// History: the last hour or day, from /admin/history: when it began, what changed before, and charts of the rest.
import { ask, bodyOf, problem } from "./ask.js";
import { buildChart, clock } from "./chart.js";
import { at, keep, make, mark, say } from "./dom.js";
import { age, dollars, duration, number, percent, plural, sum, whole } from "./words.js";

const STEP = 10_000; // Milliseconds of the gateway's short steps: there is something new after each.
const LAG = 300; // ... after which the step that has ended can be read.
const BAD = 0.01; // From this share of failures on somebody should look, as in the notices.
const CALM = { "1h": 60_000, "24h": 600_000 }; // Milliseconds without failures after which they are over.
const BEFORE = { "1h": 300_000, "24h": 900_000 }; // Milliseconds before failures in which a change is named beside them.
const MANY = 0.05; // Two failures below this share of calls are no outage; one never is.

const KINDS = {
  start: { letter: "S", word: "start" },
  reload: { letter: "R", word: "reload" },
  reloadFailed: { letter: "R", word: "reload failed", isBad: true },
  flag: { letter: "F", word: "flag" },
  breaker: { letter: "B", word: "breaker" },
};

const known = (values) => values.filter((value) => value !== null);
const total = (values) => sum(known(values));
const latest = (values) => known(values).at(-1) ?? null;
const highest = (values) => known(values).reduce((most, value) => (most === null || value > most ? value : most), null);
const count = (value) => (value === null ? "–" : whole.format(value));
const brief = (ms) => (ms < 1000 ? `${number.format(ms)} ms` : `${number.format(ms / 1000)} s`);
const money = (value) => (value === null ? "–" : `${dollars(value)} USD`);
const share = (value) => (value === null ? "–" : percent(value));
const perStep = ({ step }) => (step === STEP ? "per 10 s" : `per ${step / 60_000} min`);

let span = sessionStorage.getItem("history-span") === "24h" ? "24h" : "1h";
let due = 0; // When there is something new, by the gateway's clock.
let isAsking = false;
let cursor = null; // The time that is pointed at, in all charts.
const charts = new Map();

function follow(time) {
  cursor = time;
  for (const { point } of charts.values()) point(time);
}

const bar = (key, label) => ({ key, label, kind: "bar", total });
const RANKS = ["p50", "p95", "p99"].map((key) => ({ key, label: key, kind: "line", total: latest }));

const CHARTS = [
  { key: "calls", title: "Calls", unit: perStep, format: count, rest: "in all", letters: true, series: [bar("failed", "failed"), bar("refused", "refused"), bar("left", "cancelled"), bar("answered", "answered")] },
  { key: "duration", title: "Duration", unit: () => "of calls that were answered or failed", format: duration, axis: brief, rest: "latest", series: RANKS },
  { key: "first", title: "Time to first token", unit: () => "or whole answer", format: duration, axis: brief, rest: "latest", series: RANKS },
  { key: "cache", title: "Cache hit rate", unit: () => "of lookups", format: share, axis: (value) => `${Math.round(value * 100)} %`, least: 0.5, peak: 1, rest: "latest", series: [{ key: "rate", label: "hits", kind: "line", total: latest }] },
  { key: "cost", title: "Cost", unit: (frame) => `USD ${perStep(frame)}`, format: money, axis: (value) => String(Number(value.toPrecision(2))), least: 1e-9, rest: "in all", series: [bar("cost", "cost")] },
];
const PROVIDER = { unit: (frame) => `attempts ${perStep(frame)}`, format: count, rest: "in all", series: [bar("failures", "failed"), bar("well", "other")] };

function chartOf(key, options, place) {
  if (!charts.has(key)) charts.set(key, buildChart({ ...options, follow }));
  const { figure } = charts.get(key);
  figure.id = `chart-${key}`;
  if (figure.parentElement !== place) place.append(figure);
  return charts.get(key);
}

// The steps, and the axis of time that they are on.
function frameOf(history) {
  const end = Date.parse(history.at);
  const marks = history.marks.map((it) => ({ ...it, at: Date.parse(it.at), ...KINDS[it.kind], isBad: KINDS[it.kind].isBad || it.to === "open" }));
  return {
    start: end - (span === "24h" ? 86_400_000 : 3600_000),
    end,
    from: Date.parse(history.from),
    step: history.stepSeconds * 1000,
    last: history.lastStepSeconds * 1000,
    count: history.calls.length,
    known: history.calls.map((calls) => calls !== null),
    marks: marks.filter((it) => it.at <= end && it.at >= end - (span === "24h" ? 86_400_000 : 3600_000)),
  };
}

// Runs of steps in which calls failed, with pauses that are none.
function failures({ calls, failed, refused, left }, frame) {
  const found = [];
  calls.forEach((all, index) => {
    const judged = all - refused[index] - left[index];
    if (!failed[index] || failed[index] < BAD * judged) return;
    const begins = frame.from + index * frame.step;
    const last = found.at(-1);
    if (last && begins - last.end <= CALM[span]) Object.assign(last, { end: begins + frame.step, to: index + 1 });
    else found.push({ begins, end: begins + frame.step, index, to: index + 1 });
  });
  const within = (values, run) => total(values.slice(run.index, run.to));
  for (const run of found) Object.assign(run, { failed: within(failed, run), judged: within(calls, run) - within(refused, run) - within(left, run) });
  return found.filter((run) => run.failed >= 3 || (run.failed === 2 && run.failed >= MANY * run.judged));
}

// Whether calls still fail: the run has just ended, and not enough were answered since that one of them should have failed as well.
function goesOn(run, { calls, failed, refused, left }, frame) {
  if (frame.end - run.end > CALM[span]) return false;
  const since = (values) => total(values.slice(run.to));
  const answered = since(calls) - since(failed) - since(refused) - since(left);
  return answered * run.failed < Math.max(1, run.judged);
}

function showVerdict(history, frame) {
  const last = frame.failures.at(-1);
  const others = frame.failures.length - 1;
  const words = span === "24h" ? "24 hours" : "hour";
  const isWhole = frame.from - frame.start < frame.step;
  at("history-verdict").replaceChildren();
  const tell = (is, text, ...more) => {
    mark(at("history-verdict"), is);
    at("history-verdict").append(make("b", {}, text), ...more);
  };
  if (!last) {
    const few = total(history.failed);
    const span = isWhole ? `in the last ${words}` : `since the start ${age(Math.round((frame.end - Date.parse(history.since)) / 1000))} ago`;
    return tell("good", few ? `${whole.format(few)} of ${plural(total(history.calls), "call", "calls")} failed ${span}, here and there.` : `No call failed ${span}.`);
  }
  const isOn = goesOn(last, history, frame);
  const time = (ms) => clock(ms, frame.end - frame.start);
  const passed = age(Math.max(1, Math.round(((isOn ? frame.end : last.end) - last.begins) / 1000)));
  const when = isOn ? `Calls have been failing since ${time(last.begins)}` : `Calls failed from ${time(last.begins)} to ${time(last.end)}`;
  const earlier = others ? ` Calls failed ${others === 1 ? "once" : `${others} times`} before that in the last ${words}.` : "";
  // Breakers follow failures. What people changed may precede them; what was refused changed nothing.
  const change = frame.marks.findLast((it) => !["breaker", "reloadFailed"].includes(it.kind) && it.at < last.begins + frame.step && it.at > last.begins - BEFORE[span]);
  tell(isOn ? "bad" : "warn", when, ` (${passed}): ${whole.format(last.failed)} of ${whole.format(last.judged)}, ${percent(last.failed / Math.max(1, last.judged))}.${earlier}`, ...(change ? [` Changed around then: ${clock(change.at, 0)} ${change.text}.`] : []));
}

function buildChange() {
  const button = make("button", { class: "quiet" });
  const node = make("li", {}, button, make("span", { class: "letter" }), make("span", { class: "text" }));
  button.addEventListener("click", () => follow(Number(node.dataset.at)));
  return node;
}

function showChange(node, change) {
  node.dataset.at = change.at;
  say(node.children[0], clock(change.at, 0));
  node.children[0].setAttribute("aria-label", `Show ${clock(change.at, 0)} in the charts`);
  mark(node.children[1], change.isBad ? "bad" : "");
  say(node.children[1], change.letter);
  node.children[1].setAttribute("title", change.word);
  say(node.children[2], change.text);
}

function showChanges(frame) {
  const changes = frame.marks.toReversed();
  keep(at("history-changes"), changes, (change) => `${change.uptimeMs ?? change.at} ${change.text}`, buildChange, showChange);
  at("history-no-changes").hidden = changes.length > 0;
}

// What each chart shows, and says in a sentence.
function valuesOf(history) {
  const both = (left, right, of) => left.map((value, index) => (value === null ? null : of(value, right[index])));
  const answered = history.calls.map((calls, index) => (calls === null ? null : calls - history.failed[index] - history.refused[index] - history.left[index]));
  const ranks = ({ p50, p95, p99 }) => `p50 ${duration(latest(p50))}, p95 ${duration(latest(p95))}, p99 ${duration(latest(p99))} at last; p99 at most ${duration(highest(p99))}`;
  return {
    calls: [{ failed: history.failed, refused: history.refused, left: history.left, answered }, `${plural(total(history.calls), "call", "calls")}: ${count(total(history.failed))} failed, ${count(total(history.refused))} refused, ${count(total(history.left))} canceled`],
    duration: [history.durationMs, `Duration: ${ranks(history.durationMs)}`],
    first: [history.firstTokenMs, `Time to first token: ${ranks(history.firstTokenMs)}`],
    cache: [{ rate: both(history.hits, history.lookups, (hits, lookups) => (lookups ? hits / lookups : null)) }, `Cache: ${count(total(history.hits))} hits in ${plural(total(history.lookups), "lookup", "lookups")}`],
    cost: [{ cost: history.costUsd }, `Cost: ${money(total(history.costUsd))}`],
  };
}

function showProviders(history, frame) {
  const busy = history.providers.filter(({ attempts, breaker }) => total(attempts) || breaker.some((state) => state && state !== "closed"));
  const worst = ({ failures: counts, breaker }) => (breaker.some((state) => state === "open") ? 1e9 : 0) + total(counts);
  busy.sort((one, other) => worst(other) - worst(one) || total(other.attempts) - total(one.attempts));
  const names = new Set(busy.map(({ name }) => `provider-${name}`));
  for (const [key, { figure }] of charts) {
    if (!key.startsWith("provider-") || names.has(key)) continue;
    figure.remove();
    charts.delete(key);
  }
  for (const { name, attempts, failures: counts, breaker } of busy) {
    const well = attempts.map((all, index) => (all === null ? null : all - counts[index]));
    const seen = { ...frame, known: breaker.map((state) => state !== null), marks: frame.marks.filter((it) => it.kind !== "breaker" || it.provider === name) };
    const state = breaker.at(-1) || "unknown";
    const summary = `${name}: ${plural(total(attempts), "attempt", "attempts")}, ${count(total(counts))} failed; circuit breaker ${state}`;
    chartOf(`provider-${name}`, { ...PROVIDER, title: name }, at("history-charts")).show(seen, { failures: counts, well }, { summary, band: breaker });
  }
  const idle = history.providers.filter(({ name }) => !names.has(`provider-${name}`)).map(({ name }) => name);
  const more = history.hasMoreProviders ? ["No history is kept of providers beyond the first 96."] : [];
  say(at("history-idle"), [...(idle.length ? [`No attempts: ${idle.join(", ")}.`] : []), ...more].join(" "));
}

function show(history) {
  const frame = frameOf(history);
  frame.failures = failures(history, frame);
  showVerdict(history, frame);
  const values = valuesOf(history);
  for (const options of CHARTS) {
    const [numbers, summary] = values[options.key];
    chartOf(options.key, options, at(options.key === "calls" ? "history-calls" : "history-charts")).show(frame, numbers, { summary });
  }
  showProviders(history, frame);
  showChanges(frame);
  follow(cursor);
}

async function load() {
  if (isAsking) return;
  isAsking = true;
  const asked = span;
  try {
    const response = await ask(`/admin/history?span=${asked}`).catch(() => null);
    say(at("history-error"), response && !response.ok ? `The history could not be read: ${await problem(response)}` : "");
    if (!response || !response.ok) return;
    const history = await bodyOf(response);
    if (!history) return;
    if (history.span === span) show(history);
    const [now, since] = [Date.parse(history.at), Date.parse(history.since)];
    due = since + (Math.floor((now - since) / STEP) + 1) * STEP + LAG;
  } finally {
    isAsking = false;
    if (asked !== span) load();
  }
}

// With each picture: once more whenever a step has ended.
export function followHistory(now) {
  if (Date.parse(now) < due) return;
  due = Date.parse(now) + STEP;
  load();
}

function choose(chosen) {
  span = chosen;
  sessionStorage.setItem("history-span", span);
  showSpan();
  follow(null);
  load();
}

function showSpan() {
  for (const button of at("history-spans").children) button.setAttribute("aria-pressed", String(button.dataset.span === span));
}

for (const button of at("history-spans").children) button.addEventListener("click", () => choose(button.dataset.span));
// On a phone they would push everything else out of sight.
at("history-more").open = matchMedia("(min-width: 40rem)").matches;
showSpan();
