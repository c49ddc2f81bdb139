// What a person does with the live page, and what must be seen then; driven in Chromium. `tests/page.rs` starts it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";

const { PAGE_URL, CALLERS_URL, ADMIN_TOKEN, NODE_MODULES, SHOTS } = process.env;
const require = createRequire(`${NODE_MODULES}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const PATIENCE = 30_000; // Milliseconds for what must appear; it takes far less.

function browserPath() {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch { /* the next one */ }
  }
  throw new Error("there is no Chromium; run: make setup");
}

// In a container there is no user namespace for Chromium's sandbox; the only site it visits is the gateway's.
const browser = await chromium.launch({ executablePath: browserPath(), args: ["--no-sandbox"] });

// A new visitor. What goes wrong in the page, and what it loads from elsewhere, is kept.
async function visit(options = {}, url = PAGE_URL) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const mishaps = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) mishaps.push(`console: ${message.text()}`); });
  page.on("pageerror", (fault) => mishaps.push(`error: ${fault.message}`));
  page.on("request", (request) => {
    const isOurs = request.url().startsWith(`${url}/`) || request.url().startsWith("data:");
    if (!isOurs) mishaps.push(`outside: ${request.url()}`);
  });
  await page.goto(`${url}/`);
  return { context, page, mishaps };
}

const has = (page, selector, text) => page.locator(selector, { hasText: text }).first().waitFor();
const card = (page, name) => page.locator("#providers > li", { has: page.locator("h3 > span:first-child", { hasText: name }) });

async function judge(page, when) {
  const { violations } = await page.evaluate(`${axe}; axe.run()`);
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(told, [], `axe, ${when}`);
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(excess <= 0, `${when}: the page is ${excess} px too wide`);
}

async function shoot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
}

async function call(id, path = "/api/v1/ai/chat", body = { message: "a secret question" }) {
  const headers = { "content-type": "application/json", "x-restaurant-id": "the-tenants-name", "x-request-id": id };
  const response = await fetch(`${CALLERS_URL}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const text = await response.text();
  assert.equal(response.status, 200, `${id}: ${text}`);
}

const chat = (id) => call(id, "/v1/chat/completions", { model: "m", messages: [{ role: "user", content: "a secret question" }] });

async function behave(fault, provider = "buildpanel") {
  const response = await fetch(`${CALLERS_URL}/demo/providers/${provider}`, { method: "PUT", body: JSON.stringify({ fault }) });
  assert.equal(response.status, 200);
}

// Every look of the page: wide and narrow, light and dark, calm and in trouble.
async function looks(trouble) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 360]) {
      const { context, page, mishaps } = await visit({ colorScheme, viewport: { width, height: 800 }, reducedMotion: "reduce" });
      await has(page, "#providers .state", trouble ? "breaker open" : "in use");
      await has(page, "#switches button", "on");
      const name = `${trouble ? "trouble" : "calm"}-${colorScheme}-${width}`;
      await judge(page, name);
      await shoot(page, name);
      assert.deepEqual(mishaps, [], name);
      await context.close();
    }
  }
}

async function all() {
  for (const number of [1, 2, 3]) await call(`calm-${number}`);
  await looks(false);
  const { page, mishaps, context } = await visit();
  await has(page, "#notices li.good", "No problems known");
  await has(page, "#what-if-off", "Not available: this process cannot simulate its own configuration");
  await has(page, "#recent tr", "calm-3");

  // What happened to a call, and nothing of what was said.
  await page.locator("#recent a", { hasText: "calm-3" }).click();
  await has(page, "#story-text", "attempt 1    BuildPanel (first)");
  const story = await page.locator("#story-text").textContent();
  assert.ok(!/secret|the-tenants-name/.test(story), story);
  await judge(page, "with a story");
  await page.keyboard.press("Escape");

  // It fails.
  await behave("refuse");
  for (const number of [1, 2, 3, 4, 5]) await call(`trouble-${number}`);
  await card(page, "buildpanel").locator(".state", { hasText: "breaker open" }).waitFor();
  await has(page, "#notices li.bad", "BuildPanel keeps failing, last with provider_unreachable");
  await has(page, "#recent tr", "together");
  assert.match(await page.title(), /^\(\d\) Tidegate$/);
  await looks(true);

  // It recovers.
  await behave("none");
  await card(page, "buildpanel").locator(".state", { hasText: "in use" }).waitFor();

  // A switch, by keyboard; first with a wrong token.
  const button = page.getByRole("switch", { name: "use_buildpanel" });
  await button.focus();
  await page.keyboard.press("Space");
  await page.getByLabel("Admin token").last().fill("a-wrong-token");
  await judge(page, "with the question");
  await page.keyboard.press("Enter");
  await has(page, "#throw-error", "the admin token is required");
  assert.equal(await button.getAttribute("aria-checked"), "true");
  const refused = mishaps.splice(0);
  assert.ok(refused.every((mishap) => mishap.includes("401")), refused.join("\n"));
  await page.getByLabel("Admin token").last().fill(ADMIN_TOKEN);
  await page.keyboard.press("Enter");
  await page.locator("[role=switch][aria-label=use_buildpanel][aria-checked=false]").waitFor();
  await card(page, "buildpanel").locator(".state", { hasText: "disabled" }).waitFor();
  await call("switched");
  await has(page, "#recent tr:has-text('switched')", "together");

  // ... and back; the token is known by now.
  await button.click();
  await page.getByRole("button", { name: "Confirm" }).click();
  await card(page, "buildpanel").locator(".state", { hasText: "in use" }).waitFor();
  await call("back");
  await has(page, "#recent tr:has-text('back')", "buildpanel");
  assert.deepEqual(mishaps, []);

  await context.close();
}

// A wire to the gateway that can be cut.
async function wire() {
  const sockets = new Set();
  const join = (near) => {
    const far = connect(Number(new URL(PAGE_URL).port), "127.0.0.1");
    for (const [from, to] of [[near, far], [far, near]]) {
      sockets.add(from);
      from.on("error", () => {}).on("close", () => to.destroy()).pipe(to);
    }
  };
  let server = null;
  let port = 0;
  const mend = () => new Promise((done) => {
    server = createServer(join).listen(port, "127.0.0.1", () => { port = server.address().port; done(); });
  });
  const cut = () => new Promise((done) => {
    server.close(done);
    sockets.forEach((socket) => socket.destroy());
    sockets.clear();
  });
  await mend();
  return { url: `http://127.0.0.1:${port}`, cut, mend };
}

// The connection is lost and found.
async function lost() {
  const { url, cut, mend } = await wire();
  const { page, context } = await visit({}, url);
  await has(page, "#providers .state", "in use");
  await cut();
  await has(page, "#lost", "The connection to the gateway was lost. This page shows the state of");
  await judge(page, "without a connection");
  await shoot(page, "lost");
  await mend();
  await page.locator("#lost").waitFor({ state: "hidden" });
  await has(page, "#status", "healthy");
  await context.close();
  await cut();
}

// A canary beside what all others get, what it costs, and what its guard does when it fails.
async function beside() {
  const { page, mishaps, context } = await visit();
  for (const number of [1, 2, 3]) await chat(`well-${number}`);
  await has(page, "#recent tr", "well-3");

  const variant = (name) => page.locator("#variants tr", { has: page.locator("th", { hasText: name }) });
  const cells = async (row) => Object.fromEntries(await row.locator("[data-cell]").evaluateAll((nodes) => nodes.map((node) => [node.dataset.cell, node.textContent])));
  await variant("canary").locator("[data-cell=calls]", { hasText: /^3$/ }).waitFor();
  const { success, p50, p95, cost } = await cells(variant("canary"));
  assert.deepEqual([success, cost], ["100 %", "0.0000090"]);
  assert.ok([p50, p95].every((took) => /^[\d.]+ m?s$/.test(took)), `${p50}, ${p95}`);
  assert.deepEqual(await cells(variant("control")), { calls: "0", success: "–", p50: "–", p95: "–", cost: "–" });
  const budget = (name) => page.locator("#budgets tr", { has: page.locator("th", { hasText: name }) });
  await budget("site").locator("[data-cell=spent]", { hasText: "135.0 %" }).waitFor();
  assert.deepEqual(await cells(budget("site")), { allows: "0.00002 USD per month, only reported", spent: "135.0 %", state: "spent", refused: "0" });
  assert.deepEqual(await cells(budget("team")), { allows: "1000 USD per day, then refused", spent: "0.0 %", state: "ok", refused: "0" });

  // It fails until its guard has had enough; its callers are answered all the time.
  await behave("refuse", "new");
  const notice = page.locator("#notices li.warn", { hasText: "A flag guard turned variant_canary off" });
  for (let number = 1; !(await notice.isVisible()); number += 1) {
    assert.ok(number < 5000, "the guard does not trip");
    await chat(`ill-${number}`);
  }
  assert.match(await notice.textContent(), /\(\d+ of \d+ calls failed in 1 s: more than 10 %\).* \d+ (s|min) ago$/);
  await behave("none", "new");
  for (const number of [1, 2, 3]) await chat(`after-${number}`);
  await has(page, "#recent tr", "after-3");
  await variant("control").locator("[data-cell=success]", { hasText: "100 %" }).waitFor();
  const share = Number.parseFloat((await cells(variant("canary"))).success);
  assert.ok(share > 0 && share < 100, `${share} %`);

  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 800 });
      await judge(page, `beside-${colorScheme}-${width}`);
      await shoot(page, `beside-${colorScheme}-${width}`);
    }
  }
  assert.ok(!/the-tenants-name|secret/.test(await page.locator("body").textContent()));

  // Once somebody has switched it on, it is no news any more.
  await page.getByRole("switch", { name: "variant_canary" }).click();
  await page.getByLabel("Admin token").last().fill(ADMIN_TOKEN);
  await page.keyboard.press("Enter");
  await notice.waitFor({ state: "detached" });
  assert.deepEqual(mishaps, []);
  await context.close();
}

async function door() {
  const { page, mishaps, context } = await visit({ viewport: { width: 360, height: 800 } });
  const field = page.locator("#door").getByLabel("Admin token");
  await field.waitFor();
  assert.equal(await page.locator("#picture").isVisible(), false);
  await judge(page, "at the door");
  await shoot(page, "door");
  await field.fill("a-wrong-token");
  await page.keyboard.press("Enter");
  await has(page, "#door-error", "the admin token is required");
  await field.fill(ADMIN_TOKEN);
  await page.keyboard.press("Enter");
  await has(page, "#providers .state", "in use");
  await has(page, "#switches button", "on");
  await page.getByRole("link", { name: "Configuration" }).click();
  await has(page, "#story-text", "buildpanel");
  assert.ok(mishaps.every((mishap) => mishap.includes("401")), mishaps.join("\n"));
  await context.close();
}

// What another rate of a limit would have refused.
async function whatIf() {
  const { page, mishaps, context } = await visit();
  await page.getByLabel("Limit", { exact: true }).selectOption("ai");
  assert.equal(await page.locator("#what-if-limit option:checked").textContent(), "ai (300/min)");
  await page.getByLabel("Rate", { exact: true }).fill("often");
  await page.locator("#what-if").getByLabel("Admin token").fill(ADMIN_TOKEN);
  await page.keyboard.press("Enter");
  await has(page, "#what-if-error", "\"100/15min\"");
  const refused = mishaps.splice(0);
  assert.ok(refused.every((mishap) => mishap.includes("400")), refused.join("\n"));
  await judge(page, "with a wrong rate");

  // The token is known by now.
  await page.getByLabel("Rate", { exact: true }).fill("3/min");
  await page.getByRole("button", { name: "Simulate" }).click();
  await has(page, "#what-if-state", "Simulating ai at 3/min");
  await page.locator("#what-if-outcome").waitFor({ timeout: 4 * PATIENCE });
  const cells = (row) => row.locator("[data-cell]").evaluateAll((nodes) => nodes.map((node) => node.textContent));
  const row = (list, name) => page.locator(`#what-if-${list} tr`, { hasText: name });
  assert.deepEqual(await cells(row("numbers", "Calls")), ["12", "12", "12"]);
  assert.deepEqual(await cells(row("numbers", "Refused by this limit")), ["0", "0", "7"]);
  assert.deepEqual(await cells(row("refused", "ann")), ["10", "0", "0", "7"]);
  assert.equal(await page.locator("#what-if-refused tr").count(), 1);
  assert.equal(await page.locator("#what-if-error").textContent(), "");
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 800 });
      await judge(page, `what-if-${colorScheme}-${width}`);
      await shoot(page, `what-if-${colorScheme}-${width}`);
    }
  }

  // Whoever comes later sees the last answer, and needs the token for a question only.
  const later = await visit();
  await has(later.page, "#what-if-refused tr", "ann");
  assert.ok(await later.page.locator("#what-if").getByLabel("Admin token").isVisible());
  await later.context.close();
  assert.deepEqual(mishaps, []);
  await context.close();
}

try {
  await { all, lost, beside, door, whatIf }[process.argv[2]]();
} finally {
  await browser.close();
}
