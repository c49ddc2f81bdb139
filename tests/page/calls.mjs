// The calls on the page: the waterfall of one, those that run, the filter and the pause, and who may read names.
import assert from "node:assert/strict";
import { ADMIN_TOKEN, CALLERS_URL, PAGE_URL, behave, chat, has, judge, shoot, visit } from "./shared.mjs";

const NAME = "the-tenants-name"; // Of the tenant that all calls are made for.
const USUAL_ID = "0af7651916cd43dd8448eb211c80319c"; // As the gateway makes them,
const LONG_ID = "x".repeat(128); // and the longest that a caller may give.

const row = (page, id) => page.locator("#recent tr", { has: page.locator(`a[title="${id}"]`) });
const step = (page, label) => page.locator("#story-rows tr", { has: page.locator("th", { hasText: label }) });
const facts = (page) => page.locator("#story-facts div").evaluateAll((nodes) => nodes.map((node) => `${node.children[0].textContent}: ${node.children[1].textContent}`));

// A call that goes on until it is aborted.
function hold(id) {
  const leaving = new AbortController();
  const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: "a secret question" }] });
  const headers = { "content-type": "application/json", "x-restaurant-id": NAME, "x-request-id": id };
  const answer = fetch(`${CALLERS_URL}/v1/chat/completions`, { method: "POST", headers, body, signal: leaving.signal }).catch(() => null);
  return async () => { leaving.abort(); await answer; };
}

async function embed(id) {
  const headers = { "content-type": "application/json", "x-restaurant-id": NAME, "x-request-id": id };
  const body = JSON.stringify({ model: "m", input: "a secret question" });
  const response = await fetch(`${CALLERS_URL}/v1/embeddings`, { method: "POST", headers, body });
  await response.text();
  return response.status;
}

// Both themes, wide and narrow, as the page is now.
async function looks(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 360]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.setViewportSize({ width, height: 800 });
      await judge(page, `${name}-${colorScheme}-${width}`);
      await shoot(page, `${name}-${colorScheme}-${width}`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });
}

export async function waterfall() {
  const { page, mishaps, context } = await visit();
  await behave({ fault: "status", status: 429 }, "together");
  await chat(USUAL_ID);
  await row(page, USUAL_ID).getByRole("link").click();
  await step(page, "3 openai (failover)").waitFor();

  // All on one axis: what comes later begins where the one before has ended, or to the right of that.
  const bars = async (label) => {
    const boxes = await Promise.all((await step(page, label).locator(".track span").all()).map((bar) => bar.boundingBox()));
    return { left: Math.min(...boxes.map((box) => box.x)), right: Math.max(...boxes.map((box) => box.x + box.width)) };
  };
  const [first, wait, second, third] = await Promise.all(["1 together (first)", "retry", "2 together (retry)", "3 openai (failover)"].map(bars));
  const order = JSON.stringify([first, wait, second, third]);
  assert.ok(first.left <= wait.left && wait.right <= second.left + 3 && second.left < third.left + 3, order);
  assert.ok(wait.right - wait.left > 100, `the wait takes most of the time: ${order}`);
  const results = await Promise.all(["1 together", "2 together", "3 openai"].map((label) => step(page, label).locator(".result").textContent()));
  const limited = "provider_rate_limited (status 429)";
  assert.deepEqual(results, [limited, limited, "ok"]);
  const told = (await facts(page)).join("\n");
  for (const fact of ["asked for model: m", /answered by: openai, model .+, target 2 of \d \(failover\)/, /fallback: failover/, /budget: tiny: .* USD reserved/, /tokens: \d+ \+ \d+/, /cost: .* USD/, /response id: chatcmpl-/]) {
    assert.match(told, new RegExp(fact), told);
  }
  await page.locator("#story-raw summary").click();
  const text = await page.locator("#story-text").textContent();
  assert.ok(text.split("\n").every((line) => line.length <= 100), text);
  assert.match(text, /3 openai \(failover\) {2,}[ =-]+ /, text);
  await page.locator("#story-raw summary").click();
  assert.ok(!/secret|the-tenants-name/.test(await page.locator("#story").textContent()));
  await looks(page, "waterfall");
  await page.keyboard.press("Escape");

  // One that runs is there before it has ended, and says where it is.
  await behave({ fault: "none", latency_ms: 600_000 }, "together");
  const leave = hold(LONG_ID);
  await row(page, LONG_ID).locator("[data-cell=outcome]", { hasText: "running" }).waitFor();
  await row(page, LONG_ID).locator("[data-cell=by]", { hasText: /attempt 1 at together \(first\) for [\d.]+ s/ }).waitFor();
  assert.equal(await page.locator("#recent tr").first().locator("a").getAttribute("title"), LONG_ID);
  await row(page, LONG_ID).getByRole("link").click();
  await has(page, "#story-facts div", "running after");
  await looks(page, "running");
  await leave();
  await has(page, "#story-facts div", "499 cancelled after");
  await page.keyboard.press("Escape");
  await row(page, LONG_ID).locator("[data-cell=outcome]", { hasText: "499 cancelled" }).waitFor();
  await has(page, "#success-foot", "1 cancelled by their callers");
  assert.deepEqual(mishaps, []);
  await context.close();
}

export async function list() {
  const { page, mishaps, context } = await visit();
  await chat("well");
  await behave({ fault: "status", status: 503 }, "together");
  await chat("elsewhere");
  await behave("none", "together");
  assert.deepEqual([await embed("let-in"), await embed("too-many")], [200, 429]);
  await row(page, "too-many").waitFor();

  // What happened is said, with what to do about it and the calls behind it.
  const notice = page.locator("#notices li", { hasText: "The rate limit few refuses calls." });
  await notice.waitFor();
  assert.match(await notice.textContent(), /1 of \d+ in the last minute \([\d.]+ %\)/);
  await has(page, "#notices li", "The budget tiny is spent for at least one account: further calls are only counted until the day ends.");
  await has(page, "#success-foot", "Not counted: 1 refused by limits and budgets.");
  // A rule in shadow mode refuses nothing.
  const trial = page.locator("#limits tr", { has: page.locator("th", { hasText: "trial" }) });
  assert.equal(await trial.locator("[data-cell=refused]").textContent(), "0");
  await trial.locator("[data-cell=would]", { hasText: "would have refused 1" }).waitFor();
  await trial.locator("[data-cell=keys]", { hasText: "1 would have been refused" }).waitFor();
  await notice.getByRole("link", { name: "Runbook" }).click();
  await has(page, "#story-text", "A rate limit refuses calls; those callers read 429");
  await page.keyboard.press("Escape");
  await notice.getByRole("link", { name: "Calls" }).click();
  await row(page, "well").waitFor({ state: "detached" });
  assert.equal(await page.locator("#recent tr").count(), 1);
  await row(page, "too-many").waitFor();
  await has(page, "#filter-others", "limit rule few");
  await page.getByRole("button", { name: "Clear" }).click();
  await row(page, "well").waitFor();

  // The conditions are in the address, and whoever is sent it sees the same.
  await page.getByLabel("Outcome", { exact: true }).selectOption("refused");
  await page.getByLabel("Route", { exact: true }).selectOption("openai-embeddings");
  await row(page, "let-in").waitFor({ state: "detached" });
  assert.equal(new URL(page.url()).hash, "#calls?outcome=refused&route=openai-embeddings");
  const sent = await visit({}, PAGE_URL, { hash: new URL(page.url()).hash });
  await row(sent.page, "too-many").waitFor();
  assert.equal(await sent.page.locator("#recent tr").count(), 1);
  assert.equal(await sent.page.getByLabel("Outcome", { exact: true }).inputValue(), "refused");
  await sent.context.close();
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByLabel("Provider", { exact: true }).selectOption("openai");
  await row(page, "well").waitFor({ state: "detached" });
  await row(page, "elsewhere").waitFor();
  await page.getByLabel("Tenant", { exact: true }).fill("nobody");
  await page.keyboard.press("Enter");
  await page.getByLabel("Tenant", { exact: true }).blur();
  await has(page, "#recent-empty", "No call meets these conditions.");
  await page.getByLabel("Tenant", { exact: true }).fill(NAME);
  await page.getByLabel("Tenant", { exact: true }).blur();
  await row(page, "elsewhere").waitFor();
  await page.getByRole("button", { name: "Clear" }).click();

  // Paused it stays as it is, and says what it does not show.
  await row(page, "well").waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await chat("meanwhile");
  await has(page, "#pause-state", "Paused. 1 call has ended since.");
  assert.equal(await row(page, "meanwhile").count(), 0);
  await page.getByRole("button", { name: "Resume" }).click();
  await row(page, "meanwhile").waitFor();

  // Names: nobody's without the token.
  assert.ok(!/the-tenants-name|secret/.test(await page.locator("body").textContent()));
  await page.getByRole("button", { name: "Show names" }).click();
  const field = page.locator("#sign").getByLabel("Admin token");
  await field.fill("a-wrong-token");
  await judge(page, "asked for the token");
  await page.keyboard.press("Enter");
  await has(page, "#sign-error", "the admin token is required");
  const refused = mishaps.splice(0);
  assert.ok(refused.length === 1 && refused[0].includes("401"), refused.join("\n"));
  await field.fill(ADMIN_TOKEN);
  await page.keyboard.press("Enter");
  await row(page, "well").locator("[data-cell=tenant]", { hasText: NAME }).waitFor();
  await page.locator("#limits tr", { hasText: "few" }).locator("code", { hasText: `tenant ${NAME}` }).waitFor();
  await looks(page, "calls");
  await page.getByRole("button", { name: "Hide names" }).click();
  await page.waitForFunction((name) => !document.body.textContent.includes(name), NAME);

  // On a phone a call has two lines, and each part of it one.
  await page.setViewportSize({ width: 360, height: 800 });
  for (const id of ["well", "elsewhere", "too-many"]) {
    const cells = await row(page, id).locator("td:visible").evaluateAll((nodes) => nodes.map((node) => {
      const { x, y, width, height } = node.getBoundingClientRect();
      return { name: node.dataset.cell || node.className, x, y, width, height, text: node.textContent };
    }));
    assert.deepEqual(cells.map(({ name }) => name), ["came", "id", "outcome", "took", "route", "by"]);
    assert.ok(cells.every(({ height }) => height < 30), JSON.stringify(cells));
    assert.ok(cells.every(({ width, x }) => width > 30 && x >= 0 && x + width <= 360), JSON.stringify(cells));
    assert.equal(new Set(cells.map(({ y }) => Math.round(y))).size, 2, JSON.stringify(cells));
  }
  assert.deepEqual(mishaps, []);
  await context.close();
}
