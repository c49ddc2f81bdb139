// What each part of the test of the live page needs: a browser, a visitor, callers, and providers that behave.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

export const { PAGE_URL, CALLERS_URL, ADMIN_TOKEN, NODE_MODULES, SHOTS } = process.env;
const require = createRequire(`${NODE_MODULES}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const PATIENCE = 30_000; // Milliseconds for what must appear; it takes far less.

function browserPath() {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch { /* the next one */ }
  }
  throw new Error("there is no Chromium; run: make setup");
}

// In a container there is no user namespace for Chromium's sandbox; the only site it visits is the gateway's.
export const browser = await chromium.launch({ executablePath: browserPath(), args: ["--no-sandbox"] });

// A new visitor. What goes wrong in the page, and what it loads from elsewhere, is kept.
export async function visit(options = {}, url = PAGE_URL, { prepare = async () => {}, hash = "" } = {}) {
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
  await prepare(page);
  await page.goto(`${url}/${hash}`);
  return { context, page, mishaps };
}

export const has = (page, selector, text) => page.locator(selector, { hasText: text }).first().waitFor();
export const card = (page, name) => page.locator("#providers > li", { has: page.locator("h3 > span:first-child", { hasText: name }) });

export async function judge(page, when) {
  const { violations } = await page.evaluate(`${axe}; axe.run()`);
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(told, [], `axe, ${when}`);
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(excess <= 0, `${when}: the page is ${excess} px too wide`);
  // What is in a dialog does not make the document wider: it is cut off.
  const cut = await page.locator("dialog[open]").evaluateAll((dialogs) => dialogs.map((it) => it.scrollWidth - it.clientWidth));
  assert.ok(cut.every((px) => px <= 0), `${when}: the dialog cuts off ${cut} px`);
}

export async function shoot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
}

export async function call(id, path = "/api/v1/ai/chat", body = { message: "a secret question" }) {
  const headers = { "content-type": "application/json", "x-restaurant-id": "the-tenants-name", "x-request-id": id };
  const response = await fetch(`${CALLERS_URL}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const text = await response.text();
  assert.equal(response.status, 200, `${id}: ${text}`);
}

export const chat = (id) => call(id, "/v1/chat/completions", { model: "m", messages: [{ role: "user", content: "a secret question" }] });

// A provider behaves: a fault by its name, or with settings.
export async function behave(fault, provider = "buildpanel") {
  const response = await fetch(`${CALLERS_URL}/demo/providers/${provider}`, { method: "PUT", body: JSON.stringify(typeof fault === "string" ? { fault } : fault) });
  assert.equal(response.status, 200);
}
