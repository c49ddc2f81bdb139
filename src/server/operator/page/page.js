// The live page: reads events from /admin/live, one a second, and shows them; /api/flags for the switches, /admin/what-if for
// simulations. No library, and
// nothing from elsewhere. What comes from the gateway is only ever set as text.
const LATE = 3500; // Milliseconds without an event after which the connection counts as lost.
const AGAIN = 1500; // ... and between two tries to get it back.
const FLAGS = 2000; // ... and between two looks at the switches.
const ASKED = 1000; // ... and between two looks at a simulation that runs.

const at = (id) => document.getElementById(id);
const say = (node, text) => { if (node.textContent !== String(text)) node.textContent = text; };
const mark = (node, is) => { if (node.dataset.is !== is) node.dataset.is = is; };

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Brings a list's nodes in line with its items: what has the same key stays the same node, so that focus stays too.
function keep(parent, items, key, build, update) {
  const known = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  items.forEach((item, index) => {
    const name = String(key(item));
    let node = known.get(name);
    known.delete(name);
    if (!node) {
      node = build(item);
      node.dataset.key = name;
    }
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] || null);
    update(node, item);
  });
  known.forEach((node) => node.remove());
}

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const percent = (share) => share === 1 ? "100 %" : `${(Math.floor(share * 1000) / 10).toFixed(1)} %`;
const sum = (numbers) => numbers.reduce((left, right) => left + right, 0);
const plural = (count, one, many) => `${whole.format(count)} ${count === 1 ? one : many}`;
const clock = (text) => new Date(text).toLocaleTimeString("en-GB");

function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}

function age(seconds) {
  const steps = [[86400, "d"], [3600, "h"], [60, "min"]];
  const step = steps.find(([size]) => seconds >= size);
  return step ? `${Math.floor(seconds / step[0])} ${step[1]}` : `${seconds} s`;
}

function dollars(amount) {
  return amount === 0 ? "0" : amount < 0.01 ? amount.toPrecision(2) : amount.toFixed(2);
}

// The token, for this tab only.
const token = {
  read: () => sessionStorage.getItem("token"),
  keep: (text) => sessionStorage.setItem("token", text),
  forget: () => sessionStorage.removeItem("token"),
};

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token.read()) headers.authorization = `Bearer ${token.read()}`;
  return fetch(path, { ...options, headers, cache: "no-store" });
}

async function problem(response) {
  const body = await response.json().catch(() => ({}));
  return body.detail || `The gateway answered with status ${response.status}.`;
}

// Header and notices

const STATES = { healthy: ["good", "healthy"], degraded: ["warn", "degraded"], unhealthy: ["bad", "unhealthy"] };

function showHead(picture) {
  const [is, word] = STATES[picture.status] || ["wait", picture.status];
  mark(at("status"), is);
  say(at("status").firstElementChild, word);
  say(at("environment"), picture.environment);
  say(at("version"), picture.version);
  say(at("uptime"), age(picture.uptimeSeconds));
  say(at("generation"), `no. ${picture.generation}`);
  say(at("memory"), picture.memoryBytes ? `${whole.format(picture.memoryBytes / 1048576)} MiB` : "–");
  const bad = picture.notices.filter((notice) => notice.level === "bad").length;
  say(document.querySelector("title"), bad ? `(${bad}) Tidegate` : "Tidegate");
}

function showNotices(notices) {
  const shown = notices.length ? notices : [{ level: "good", text: "No problems known to the gateway." }];
  // By its text: what stays true is not read out again, nor how long it has been true.
  const build = (notice) => make("li", {}, notice.text, " ", make("small", { "aria-live": "off" }));
  keep(at("notices"), shown, (notice) => notice.text, build, (node, notice) => {
    if (node.className !== notice.level) node.className = notice.level;
    say(node.lastElementChild, notice.agoSeconds === undefined ? "" : `${age(notice.agoSeconds)} ago`);
  });
}

// Traffic

function showTraffic(traffic) {
  const [calls, failures] = [sum(traffic.calls), sum(traffic.failures)];
  say(at("rate"), number.format(sum(traffic.calls.slice(-10)) / 10));
  say(at("rate-foot"), `${plural(calls, "call", "calls")}, ${whole.format(traffic.refused)} refused, ${whole.format(traffic.left)} canceled`);
  // Who was refused has got what the rules say: that is no failure.
  const judged = calls - traffic.refused - traffic.left;
  say(at("success"), judged > 0 ? percent((judged - failures) / judged) : "–");
  say(at("success-foot"), failures ? `${whole.format(failures)} failed` : "none failed");
  for (const [name, times] of [["took", traffic.durationMs], ["first", traffic.firstTokenMs]]) {
    for (const rank of ["p50", "p95", "p99"]) say(at(`${name}-${rank}`), duration(times && times[rank]));
  }
  say(at("hits"), traffic.lookedFor ? percent(traffic.kept / traffic.lookedFor) : "–");
  say(at("hits-foot"), traffic.lookedFor ? `${whole.format(traffic.kept)} of ${whole.format(traffic.lookedFor)}` : "no lookups");
  say(at("cost"), dollars(traffic.costUsd));
  showSpark(traffic, calls, failures);
}

function showSpark(traffic, calls, failures) {
  const spark = at("spark");
  const [width, height] = [240, 44];
  const peak = Math.max(4, ...traffic.calls);
  const step = width / traffic.calls.length;
  const bars = (counts) => counts.map((count, index) => {
    const tall = (count / peak) * (height - 2);
    return count ? `M${(index * step).toFixed(1)} ${height}v${-tall.toFixed(1)}h${(step - 1).toFixed(1)}v${tall.toFixed(1)}z` : "";
  }).join("");
  if (!spark.firstChild) {
    for (const name of ["calls", "failures"]) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", name);
      spark.append(path);
    }
  }
  spark.children[0].setAttribute("d", bars(traffic.calls));
  spark.children[1].setAttribute("d", bars(traffic.failures));
  const most = Math.max(...traffic.calls);
  spark.setAttribute("aria-label", `Calls in the last minute: ${calls}, at most ${most} per second; ${failures} failed`);
}

// Providers

const BREAKERS = { closed: "closed", open: "open: no calls", "half-open": "half-open: probing" };

function providerState(provider) {
  if (!provider.isSetUp) return ["off", "not configured"];
  if (!provider.isOn) return ["off", "disabled"];
  if (provider.refusesKey) return ["bad", "rejects our key"];
  if (provider.breaker === "open") return ["bad", "breaker open"];
  if (provider.health === "disconnected" && provider.error) return ["bad", "unreachable"];
  if (provider.health === "error") return ["bad", "failing"];
  if (provider.breaker !== "closed") return ["warn", "recovering"];
  return ["good", "in use"];
}

// Attempts of the last minute, as far as they are remembered.
function lately({ attempts, failures }) {
  const asked = attempts ? plural(attempts, "attempt", "attempts") : "no attempts";
  return failures ? `${asked}, ${whole.format(failures)} failed` : asked;
}

function buildProvider(provider) {
  const fact = (name, label) => [make("dt", {}, label), make("dd", { "data-fact": name })];
  const title = make("h3", {}, make("span", {}, provider.name), make("span", { class: "state" }, make("span")));
  const facts = [["breaker", "breaker"], ["flight", "in flight"], ["lately", "last minute"], ["probe", "probe"], ["instances", "instances"], ["faults", "last faults"]];
  return make("li", {}, title, make("dl", {}, ...facts.flatMap(([name, label]) => fact(name, label))));
}

function showProvider(node, provider) {
  const [is, word] = providerState(provider);
  const state = node.querySelector(".state");
  mark(state, is);
  say(state.firstElementChild, word);
  const fact = (name, text) => say(node.querySelector(`[data-fact=${name}]`), text);
  const models = provider.brokenModels.length ? ` (${provider.brokenModels.map((model) => model || "any model").join(", ")})` : "";
  fact("breaker", (BREAKERS[provider.breaker] || provider.breaker) + models);
  const waiting = provider.waiting ? `, ${provider.waiting} waiting` : "";
  fact("flight", provider.limit === null ? provider.inFlight : `${provider.inFlight} of ${provider.limit}${waiting}`);
  fact("lately", lately(provider.lately));
  fact("probe", provider.error || (provider.latencyMs === null ? provider.health : `${provider.health}, ${duration(provider.latencyMs)}`));
  fact("instances", provider.leftOut ? `${provider.instances}, ${provider.leftOut} ejected` : provider.instances);
  const faults = provider.mishaps.map((fault) => `${fault.code} ×${fault.count}, ${age(fault.agoSeconds)} ago`);
  fact("faults", faults.slice(0, 3).join("; ") || "none");
}

// Latest calls

function buildCall(call) {
  const link = make("a", { href: `/admin/explain/${encodeURIComponent(call.id)}?format=text` }, make("code", {}, call.id.slice(0, 12)));
  link.addEventListener("click", (event) => { event.preventDefault(); tell(call.id); });
  const cell = (name, kind) => make("td", kind ? { "data-cell": name, class: kind } : { "data-cell": name });
  const outcome = make("td", {}, make("span", { class: "word", "data-cell": "outcome" }));
  return make("tr", {}, cell("came"), make("td", {}, link), outcome, cell("took", "number"), cell("route", "more"), cell("by", "more"), cell("attempts", "more number"));
}

function showCall(row, call) {
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

// Limits

function allows(limit) {
  const window = limit.windowSeconds % 3600 === 0 ? `${limit.windowSeconds / 3600} h` : limit.windowSeconds % 60 === 0 ? `${limit.windowSeconds / 60} min` : `${limit.windowSeconds} s`;
  return `${number.format(limit.count)} ${limit.quantity} in ${window}${limit.isEnforced ? "" : ", shadow mode"}`;
}

function buildLimit(limit) {
  const cell = (name, kind) => make("td", { "data-cell": name, class: kind });
  const refused = make("td", { class: "number" }, make("span", { class: "word", "data-cell": "refused" }));
  return make("tr", {}, make("th", { scope: "row" }, limit.rule), cell("allows", "more"), cell("calls", "number"), refused, make("td", {}, make("div", { class: "keys", "data-cell": "keys" })));
}

function showLimit(row, limit) {
  const cell = (name) => row.querySelector(`[data-cell=${name}]`);
  say(cell("allows"), allows(limit));
  say(cell("calls"), whole.format(limit.calls));
  say(cell("refused"), whole.format(limit.refused));
  mark(cell("refused"), limit.refused ? "warn" : "good");
  const busiest = (busy) => `${whole.format(busy.calls)} calls, ${number.format(busy.remaining)} left${busy.refused ? `, ${whole.format(busy.refused)} refused` : ""}`;
  keep(cell("keys"), limit.busiest, (busy) => busy.key, (busy) => make("span", {}, make("code", {}, busy.key), " ", make("span")), (node, busy) => say(node.lastElementChild, busiest(busy)));
}

// Budgets

const BUDGETS = { ok: "good", warned: "warn", spent: "bad" };

function buildBudget(budget) {
  const cell = (name, kind) => make("td", { "data-cell": name, class: kind });
  const word = (name, kind) => make("td", { class: kind }, make("span", { class: "word", "data-cell": name }));
  const spent = make("td", {}, make("span", { class: "bar", "aria-hidden": "true" }, make("span")), make("span", { "data-cell": "spent" }));
  return make("tr", {}, make("th", { scope: "row" }, budget.budget), cell("allows", "more"), spent, word("state", ""), word("refused", "number"));
}

function showBudget(row, budget) {
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

// Variants

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
function showVariants(variants, remembers) {
  at("variants-section").hidden = !variants;
  if (!variants) return;
  const { rows, calls, sinceSeconds } = variants;
  const span = calls ? `latest ${plural(calls, "call", "calls")} of these routes, the first ${age(sinceSeconds)} ago` : "no calls yet";
  say(at("variants-span"), remembers ? span : "the call history is off: set explain.keep");
  keep(at("variants"), rows, (row) => `${row.route} ${row.variant}`, buildVariant, showVariant);
}

function showJobs(jobs) {
  at("jobs-section").hidden = !jobs;
  if (!jobs) return;
  const counts = [jobs.queued, jobs.delayed, jobs.active, jobs.completed, jobs.failed, jobs.cancelled, jobs.webhooks];
  [...at("jobs").children].forEach((cell, place) => say(cell, counts[place]));
  say(at("jobs-oldest"), jobs.oldestSeconds == null ? "" : `the oldest has been queued for ${age(jobs.oldestSeconds)}`);
}

// What if

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
async function lookAtWhatIf() {
  clearTimeout(nextLook);
  const response = await ask("/admin/what-if").catch(() => null);
  if (!response || !response.ok) return;
  showWhatIf(await response.json());
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

// A field for the token, where it is not known.
function askForToken(place) {
  at(`${place}-token`).hidden = Boolean(token.read());
  at(`${place}-key`).required = !token.read();
}

async function askWhatIf() {
  if (at("what-if-key").value) token.keep(at("what-if-key").value);
  at("what-if-key").value = "";
  at("what-if-ask").disabled = true;
  say(at("what-if-error"), "");
  const body = JSON.stringify({ limit: at("what-if-limit").value, rate: at("what-if-rate").value });
  const response = await ask("/admin/what-if", { method: "POST", body, headers: { "content-type": "application/json" } }).catch(() => null);
  at("what-if-ask").disabled = false;
  if (response && response.ok) {
    showWhatIf(await response.json());
    return;
  }
  say(at("what-if-error"), response ? await problem(response) : "Could not reach the gateway.");
  const isRefused = response && response.status === 401;
  if (isRefused) token.forget();
  askForToken("what-if");
  if (isRefused) at("what-if-key").focus();
}

function show(picture) {
  showHead(picture);
  if (askedGeneration !== picture.generation) {
    askedGeneration = picture.generation;
    lookAtWhatIf();
  }
  showNotices(picture.notices);
  showTraffic(picture.traffic);
  keep(at("providers"), picture.providers, (provider) => provider.name, buildProvider, showProvider);
  keep(at("recent"), picture.recent, (call) => `${call.id} ${call.at}`, buildCall, showCall);
  at("recent-empty").hidden = picture.recent.length > 0;
  say(at("recent-empty"), picture.remembers ? "None yet." : "The call history is off: set explain.keep.");
  keep(at("limits"), picture.limits, (limit) => limit.rule, buildLimit, showLimit);
  at("limits-empty").hidden = picture.limits.length > 0;
  showVariants(picture.variants, picture.remembers);
  showJobs(picture.jobs);
  keep(at("budgets"), picture.budgets, (budget) => budget.budget, buildBudget, showBudget);
  at("budgets-section").hidden = picture.budgets.length === 0;
}

// Switches

async function showFlags() {
  const response = await ask("/api/flags").catch(() => null);
  if (!response || !response.ok) {
    // Without the API there is nothing to switch; while the gateway is away, what was known stays.
    if (response) at("switches-section").hidden = true;
    return;
  }
  const flags = (await response.json()).flags || [];
  at("switches-section").hidden = flags.length === 0;
  // In sight is what sends calls elsewhere, and what is not as it usually is.
  const isInSight = (flag) => flag.key.startsWith("use_") || label(flag) !== "on";
  const others = flags.filter((flag) => !isInSight(flag));
  keep(at("switches"), flags.filter(isInSight), (flag) => flag.key, buildFlag, showFlag);
  keep(at("others"), others, (flag) => flag.key, buildFlag, showFlag);
  at("other-switches").hidden = others.length === 0;
  say(at("other-summary"), `${plural(others.length, "other flag is", "other flags are")} on`);
}

function buildFlag(flag) {
  const button = make("button", { role: "switch", type: "button", "aria-label": flag.key });
  button.addEventListener("click", () => askToThrow(shown.get(flag.key), button));
  return make("li", {}, make("code", { "aria-hidden": "true" }, flag.key), button);
}

const shown = new Map(); // Flags as they were seen last.

function showFlag(node, flag) {
  shown.set(flag.key, flag);
  const button = node.querySelector("button");
  if (button.getAttribute("aria-checked") !== String(flag.enabled)) button.setAttribute("aria-checked", flag.enabled);
  say(button, label(flag));
}

function label(flag) {
  if (!flag.enabled) return "off";
  const isForSome = (flag.tenants || []).length + (flag.tiers || []).length > 0;
  const share = flag.rolloutPercentage ?? 100;
  return `on${share < 100 ? `, ${share} %` : ""}${isForSome ? ", for some" : ""}`;
}

let thrown = null;

// Who is meant stays as it is; and nobody's change that was not seen here is undone by this one.
function askToThrow({ key, enabled: wasEnabled, rolloutPercentage, tenants, tiers, version }, button) {
  const enabled = !wasEnabled;
  thrown = { key, button, wanted: { enabled, rolloutPercentage, tenants, tiers, version } };
  say(at("throw-title"), `Turn ${key} ${enabled ? "on" : "off"}?`);
  say(at("throw-text"), "It takes effect with the next call, at every gateway that shares a store with this one.");
  say(at("throw-error"), "");
  askForToken("throw");
  at("throw").showModal();
}

async function throwIt() {
  if (at("throw-key").value) token.keep(at("throw-key").value);
  at("throw-key").value = "";
  at("throw-yes").disabled = true;
  const body = JSON.stringify(thrown.wanted);
  const response = await ask(`/api/flags/${encodeURIComponent(thrown.key)}`, { method: "PUT", body, headers: { "content-type": "application/json" } }).catch(() => null);
  at("throw-yes").disabled = false;
  if (response && response.ok) {
    at("throw").close();
    await showFlags();
    return;
  }
  say(at("throw-error"), response ? await problem(response) : "Could not reach the gateway; nothing was changed.");
  if (response && response.status === 401) {
    token.forget();
    at("throw-token").hidden = false;
    at("throw-key").required = true;
    at("throw-key").focus();
  }
}

// The connection

let latest = null; // The time of the last picture, by the gateway's clock.
let watchdog = 0;
let leaving = null;

function lost(why) {
  document.body.dataset.lost = "";
  mark(at("status"), "bad");
  say(at("status").firstElementChild, "connection lost");
  say(document.querySelector("title"), "(lost) Tidegate");
  say(at("lost"), `${why}${latest ? ` This page shows the state of ${clock(latest)}.` : ""} Reconnecting.`);
  at("lost").hidden = false;
}

function found() {
  delete document.body.dataset.lost;
  at("lost").hidden = true;
}

function awaitNext() {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => {
    lost("The connection to the gateway was lost.");
    if (leaving) leaving.abort();
  }, LATE);
}

function closeDoor(is) {
  at("door").hidden = !is;
  at("picture").hidden = is;
}

async function watch() {
  leaving = new AbortController();
  awaitNext();
  const response = await ask("/admin/live", { signal: leaving.signal });
  if (response.status === 401 || response.status === 403 || response.status === 429) {
    clearTimeout(watchdog);
    say(at("door-error"), token.read() || response.status !== 401 ? await problem(response) : "");
    token.forget();
    closeDoor(true);
    return false;
  }
  if (!response.ok) throw new Error(await problem(response));
  closeDoor(false);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return true;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (!data) continue;
      const picture = JSON.parse(data.slice(6));
      latest = picture.at;
      found();
      show(picture);
      awaitNext();
    }
  }
}

const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));
let isWatching = false;

async function keepWatching() {
  if (isWatching) return;
  isWatching = true;
  while (!document.hidden) {
    try {
      if (!(await watch())) break;
      lost("The gateway closed the connection.");
    } catch (fault) {
      if (document.hidden) break;
      const why = fault.name === "AbortError" || fault instanceof TypeError ? "The connection to the gateway was lost." : fault.message;
      lost(why);
    }
    clearTimeout(watchdog);
    await pause(AGAIN);
  }
  clearTimeout(watchdog);
  isWatching = false;
}

// Nobody looks at a hidden page: it gives its seat to others.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { if (leaving) leaving.abort(); } else keepWatching();
});
at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  token.keep(at("key").value);
  at("key").value = "";
  closeDoor(false);
  keepWatching();
});
at("configuration").addEventListener("click", (event) => { event.preventDefault(); read("Configuration", "/config"); });
at("throw-form").addEventListener("submit", (event) => { event.preventDefault(); throwIt(); });
at("what-if-form").addEventListener("submit", (event) => { event.preventDefault(); askWhatIf(); });
at("throw-no").addEventListener("click", () => at("throw").close());
at("throw").addEventListener("close", () => thrown && thrown.button.focus());
setInterval(() => { if (!document.hidden && at("door").hidden) showFlags(); }, FLAGS);
keepWatching();
showFlags();
