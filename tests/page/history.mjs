// The history: what a real gateway did, and a made-up hour and day with everything that can be in them.
import assert from "node:assert/strict";
import { ADMIN_TOKEN, CALLERS_URL, PAGE_URL, behave, call, has, judge, shoot, visit } from "./shared.mjs";

const STEP = 10_000;

async function fail(id, body, status) {
  const response = await fetch(`${CALLERS_URL}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json", "x-request-id": id }, body });
  await response.text();
  assert.ok(response.status >= status && response.status < status + 100, `${id}: ${response.status}`);
}

async function flip(flag, enabled) {
  const headers = { "content-type": "application/json", authorization: `Bearer ${ADMIN_TOKEN}` };
  const response = await fetch(`${PAGE_URL}/api/flags/${flag}`, { method: "PUT", headers, body: JSON.stringify({ enabled, note: "an experiment" }) });
  assert.equal(response.status, 200);
}

// What the legend of a chart says, by its labels.
const legend = async (page, chart) => Object.fromEntries(await page.locator(`#chart-${chart} .legend li`).evaluateAll((items) => items.map((item) => [item.childNodes[1].textContent.trim(), item.querySelector("b").textContent])));

export async function real() {
  await flip("use_together", false);
  await flip("use_together", true);
  for (const number of [1, 2, 3]) await call(`well-${number}`);
  await fail("unclear", "{", 400);
  for (const name of ["buildpanel", "together", "openai"]) await behave("refuse", name);
  for (let number = 1; number <= 8; number += 1) await fail(`ill-${number}`, JSON.stringify({ model: "m", messages: [{ role: "user", content: `a secret question ${number}` }] }), 500);
  for (const name of ["buildpanel", "together", "openai"]) await behave("none", name);

  const { page, mishaps, context } = await visit();
  await page.locator("#history-verdict[data-is=bad]", { hasText: "Calls have been failing since" }).waitFor();
  assert.match(await page.locator("#history-verdict").textContent(), /\(\d+ s\): 8 of 11, 72\.7 %\. Changed around then: \d\d:\d\d:\d\d .*\.$/);
  assert.deepEqual(await legend(page, "calls"), { failed: "8", refused: "1", cancelled: "0", answered: "3" });
  await page.locator("#chart-provider-openai[data-breaker=open]").waitFor();
  await page.locator("#chart-provider-openai rect.band.open").waitFor();
  assert.equal((await legend(page, "provider-buildpanel")).other, "3");
  for (const text of ["The process started", "Configuration 2 applied", "Configuration refused: page.toml:1:1: a mistake", "Flag use_together → off, by admin: an experiment", "Flag use_together → on", /Circuit breaker of openai, .*: closed → open \(consecutive failures\)/]) {
    await has(page, "#history-changes li", text);
  }
  assert.ok(!/the-tenants-name|secret/.test(await page.locator("#history").textContent()));

  // By keyboard: one time in all charts, read aloud and shown.
  const slider = page.locator("#chart-calls [role=slider]");
  await slider.focus();
  await page.keyboard.press("Home");
  const read = await slider.getAttribute("aria-valuetext");
  assert.match(read, /^\d\d:\d\d:\d\d: failed \d+, refused \d+, cancelled \d+, answered \d+, .*Configuration 2 applied/);
  const time = read.slice(0, 8);
  await has(page, "#chart-calls .reading", time);
  await has(page, "#chart-provider-openai .reading", time);
  await page.keyboard.press("Escape");
  await has(page, "#chart-calls .reading", "in all");

  // The same as a table.
  await page.locator("#chart-calls summary").click();
  await has(page, "#chart-calls table tbody tr", time);
  assert.deepEqual(await page.locator("#chart-calls thead th").allTextContents(), ["Time", "failed", "refused", "cancelled", "answered"]);
  await page.locator("#chart-calls summary").click();

  // A day; the tab remembers it.
  await page.getByRole("button", { name: "24 h" }).click();
  await has(page, "#chart-calls small", "per 5 min");
  await page.reload();
  await has(page, "#chart-calls small", "per 5 min");
  await page.locator("#chart-calls path.failed:not([d='M0 0'])").waitFor();
  assert.equal(await page.getByRole("button", { name: "24 h" }).getAttribute("aria-pressed"), "true");
  await judge(page, "with a real history");
  assert.deepEqual(mishaps, []);
  await context.close();
}

// A made-up history: a wave of calls, a gap, an outage of one provider that another one answers for, and every kind of mark.
function history(span, isYoung) {
  const [step, most] = span === "24h" ? [30 * STEP, 288] : [STEP, 360];
  const now = Date.now();
  const from = Math.floor(now / STEP) * STEP - (isYoung ? 80 : most) * step;
  const count = isYoung ? 80 : most;
  const begins = (index) => from + index * step;
  const spread = (index) => ((index * 7919) % 101) / 101;
  const steps = Array.from({ length: count }, (_, index) => {
    const share = index / count;
    if (share > 0.34 && share < 0.37) return null;
    const isDown = share > 0.7 && share < 0.9;
    const calls = Math.round((step / STEP) * (40 + 15 * Math.sin(index / 20) + 8 * spread(index)));
    return { calls, isDown, isOpen: isDown && share > 0.72, slow: isDown ? 3 : 1, failed: isDown ? Math.round(calls * 0.15 * spread(index)) : 0, part: spread(index) };
  });
  const each = (of) => steps.map((it, index) => it && of(it, index));
  const times = (middle) => Object.fromEntries([["p50", 1], ["p95", 3], ["p99", 7]].map(([rank, times]) => [rank, each(({ slow, part }) => middle * times * slow * (1 + part / 3))]));
  const provider = (name, attempts, failures, breaker) => ({ name, attempts: each(attempts), failures: each(failures), breaker: each(breaker) });
  const mark = (share, kind, text, more) => ({ at: new Date(begins(0) + share * count * step).toISOString(), kind, text, ...more });
  const turn = (share, from, to) => mark(share, "breaker", `Circuit breaker of BuildPanel: ${from} → ${to}`, { provider: "buildpanel", from, to });
  return {
    span,
    at: new Date(now).toISOString(),
    since: new Date(from - (isYoung ? 0 : STEP)).toISOString(),
    from: new Date(from).toISOString(),
    stepSeconds: step / 1000,
    lastStepSeconds: step / 1000,
    calls: each(({ calls }) => calls),
    failed: each(({ failed }) => failed),
    refused: each(({ part }) => (part < 0.2 ? 2 : 0)),
    left: each(({ part }) => (part > 0.95 ? 1 : 0)),
    durationMs: times(420),
    firstTokenMs: times(120),
    lookups: each(({ calls }) => calls),
    hits: each(({ calls, part }) => Math.round(calls * (0.2 + part / 5))),
    costUsd: each(({ calls }) => calls * 0.0004),
    providers: [
      provider("buildpanel", ({ calls, isOpen, part }) => (isOpen ? Math.round(part) : calls), ({ isDown, isOpen, calls, part }) => (isOpen ? Math.round(part) : isDown ? Math.round(calls * 0.8) : 0), ({ isOpen }, index) => (isOpen ? "open" : index / count > 0.9 && index / count < 0.93 ? "half-open" : "closed")),
      provider("together", ({ calls, isOpen }) => (isOpen ? calls : 1), ({ failed, isOpen }) => (isOpen ? failed : 0), () => "closed"),
      provider("openai", () => 0, () => 0, () => "closed"),
    ],
    hasMoreProviders: false,
    marks: [
      ...(isYoung ? [mark(0, "start", "The process started: the history begins here")] : []),
      mark(0.2, "flag", "Flag variant_canary → on for 5 % of callers, by admin: try the new model", { flag: "variant_canary", to: "on for 5 % of callers", by: "admin" }),
      mark(0.7, "reload", "Configuration 3 applied"),
      turn(0.72, "closed", "open"),
      mark(0.8, "reloadFailed", "Configuration refused: gateway.toml:12:3: unknown key `retrys`; did you mean `retry`?"),
      turn(0.9, "open", "half-open"),
      turn(0.93, "half-open", "closed"),
    ],
  };
}

export async function looks() {
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, span, isYoung] of [[1280, "1h"], [360, "1h"], [1280, "24h"], [360, "1h", true]]) {
      const { context, page, mishaps } = await visit({ colorScheme, viewport: { width, height: 800 }, reducedMotion: "reduce" }, undefined, { prepare: (fresh) => fresh.route("**/admin/history*", (route) => route.fulfill({ json: history(new URL(route.request().url()).searchParams.get("span"), isYoung) })) });
      const name = `history-${isYoung ? "young" : span}-${colorScheme}-${width}`;
      if (span === "24h") await page.getByRole("button", { name: "24 h" }).click();
      await has(page, "#chart-calls small", span === "24h" ? "per 5 min" : "per 10 s");
      await page.locator("#history-verdict[data-is=warn]", { hasText: "Calls failed from" }).waitFor();
      await has(page, "#history-verdict", "Configuration 3 applied");
      await page.locator("#chart-calls rect.unknown").first().waitFor();
      await page.locator("#chart-calls rect.failing").waitFor();
      // On a phone the rest waits behind a summary.
      const more = page.locator("#history-more > summary");
      assert.equal(await page.locator("#chart-duration").isVisible(), width > 640);
      if (width <= 640) await more.click();
      await page.locator("#chart-provider-buildpanel rect.band.half-open").waitFor();
      await has(page, "#history-idle", "No attempts: openai.");
      assert.equal(await page.evaluate(() => document.getAnimations().length), 0);

      // Who points at a mark reads what it is, whatever is beside it; who goes from mark to mark by keyboard too.
      const x = await page.locator("#chart-calls path.mark.flag").evaluate((node) => node.getBBox().x);
      await page.locator("#chart-calls [role=slider]").hover({ position: { x: x + 3, y: 60 } });
      await has(page, "#chart-calls .reading", "Flag variant_canary → on for 5 %");
      await page.mouse.move(2, 2);
      await page.locator("#chart-duration [role=slider]").focus();
      await page.keyboard.press("PageUp");
      assert.match(await page.locator("#chart-duration [role=slider]").getAttribute("aria-valuetext"), /p50 [\d.]+ m?s, .*half-open → closed$/);
      await judge(page, name);
      await shoot(page, name);
      assert.deepEqual(mishaps, [], name);
      await context.close();
    }
  }
}

// A made-up quarter of an hour with four calls in each step: `failed` and `calls` say what is different, by steps before the end.
function quietly(failed, calls = {}) {
  const whole = history("1h", true);
  const steps = whole.calls.length;
  const each = (of, usual) => Array.from({ length: steps }, (_, index) => of[steps - 1 - index] ?? usual);
  return { ...whole, marks: [], calls: each(calls, 4), failed: each(failed, 0), refused: each({}, 0), left: each({}, 0) };
}

export async function verdicts() {
  const idle = Object.fromEntries(Array.from({ length: 4 }, (_, index) => [index, 0]));
  for (const [told, is, text] of [
    [quietly({ 3: 1 }), "good", /^1 of 320 calls failed .*, here and there\.$/],
    [quietly({ 0: 1 }), "good", /^1 of 320 calls failed/],
    // Of those that came since, one should have failed as well.
    [quietly({ 3: 2 }), "warn", /^Calls failed from .*: 2 of 4, 50\.0 %\.$/],
    [quietly({ 1: 2, 0: 1 }), "bad", /^Calls have been failing since .*: 3 of 8, 37\.5 %\.$/],
    [quietly({ 4: 2 }, idle), "bad", /^Calls have been failing since .*: 2 of 4, 50\.0 %\.$/],
  ]) {
    const { context, page, mishaps } = await visit({}, undefined, { prepare: (fresh) => fresh.route("**/admin/history*", (route) => route.fulfill({ json: told })) });
    const verdict = page.locator("#history-verdict");
    await page.locator(`#history-verdict[data-is=${is}]`).waitFor();
    assert.match(await verdict.textContent(), text);
    assert.deepEqual(mishaps, []);
    await context.close();
  }
}
