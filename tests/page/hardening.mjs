// The live page with answers that are late, cut or doubled, links that ask for too much, and tokens that come and go.
import assert from "node:assert/strict";
import { ADMIN_TOKEN, CALLERS_URL, PAGE_URL, behave, chat, has, visit } from "./shared.mjs";

const NAME = "the-tenants-name"; // Of the tenant that all calls are made for.

const row = (page, id) => page.locator("#recent tr", { has: page.locator(`a[title="${id}"]`) });
const tenant = (page, id) => row(page, id).locator("[data-cell=tenant]");
const rows = (page) => page.locator("#recent tr").count();
const isList = (url) => url.pathname === "/admin/explain";
const isCall = (id) => (url) => url.pathname === `/admin/explain/${id}`;

// A call that goes on: the list is drawn with each picture.
async function hold(id) {
  await behave({ fault: "none", latency_ms: 600_000 }, "together");
  const leaving = new AbortController();
  const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: "a secret question" }] });
  const headers = { "content-type": "application/json", "x-request-id": id };
  const answer = fetch(`${CALLERS_URL}/v1/chat/completions`, { method: "POST", headers, body, signal: leaving.signal }).catch(() => null);
  return async () => { leaving.abort(); await answer; await behave("none", "together"); };
}

// A promise, and what keeps it.
function gate() {
  let open;
  const opened = new Promise((done) => { open = done; });
  return { opened, open };
}

async function giveToken(page) {
  await page.getByRole("button", { name: "Show names" }).click();
  await page.locator("#sign").getByLabel("Admin token").fill(ADMIN_TOKEN);
  await page.keyboard.press("Enter");
}

const shows = (page, text) => page.evaluate((text) => document.body.textContent.includes(text), text);

export async function twins() {
  const { page, mishaps, context } = await visit();
  await chat("other");
  await chat("twin");
  const leave = await hold("runs-on");
  await row(page, "runs-on").waitFor();
  // One id that its callers have forwarded, three times in the same moment.
  let drawn = 0;
  const enough = gate();
  await page.route(isList, async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    const twin = body.calls.find(({ id }) => id === "twin");
    await route.fulfill({ response, json: { ...body, calls: [twin, ...body.calls, twin] } });
    drawn += 1;
    if (drawn === 4) enough.open();
  });
  await row(page, "twin").nth(2).waitFor();
  await row(page, "twin").first().getByRole("link").focus();
  await enough.opened;
  assert.deepEqual([await row(page, "twin").count(), await rows(page)], [3, 5]);
  assert.equal(await page.evaluate(() => document.activeElement.title), "twin");
  await page.unrouteAll({ behavior: "wait" });
  await row(page, "twin").nth(1).waitFor({ state: "detached" });
  assert.equal(await rows(page), 3);
  await leave();
  assert.deepEqual(mishaps, []);
  await context.close();
}

export async function cut() {
  const { page, mishaps, context } = await visit();
  await chat("before");
  await row(page, "before").waitFor();
  await page.route(isList, (route) => route.fulfill({ contentType: "application/json", body: "{\"calls\": [" }));
  await chat("meanwhile");
  await has(page, "#recent-span", "The list could not be read.");
  assert.equal(await row(page, "before").count(), 1);
  await page.unrouteAll({ behavior: "wait" });
  await row(page, "meanwhile").waitFor();
  await has(page, "#recent-span", "0 calls in flight");
  assert.deepEqual(mishaps, []);
  await context.close();
}

export async function hashes() {
  await chat("well");
  const asked = [];
  const prepare = async (page) => page.on("request", (request) => { if (isList(new URL(request.url()))) asked.push(new URL(request.url()).search); });
  const { page, mishaps, context } = await visit({}, PAGE_URL, { prepare, hash: "#calls?format=text&limit=1000&state=running&__proto__=x&route=openai-chat&slow=" });
  await row(page, "well").waitFor();
  assert.deepEqual([...new Set(asked)], ["?state=all&limit=25&route=openai-chat"]);
  assert.equal(await page.locator("#filter-others").textContent(), "");

  // Names that nothing has, one after the other, leave no options behind.
  for (const name of ["<b>one</b>", "two", "%F0%9F", "three"]) await page.evaluate((name) => { location.hash = `#calls?route=${name}`; }, name);
  await has(page, "#recent-empty", "No call meets these conditions.");
  assert.equal(await page.getByLabel("Route", { exact: true }).inputValue(), "three");
  assert.equal(await page.locator("#filter b").count(), 0);

  // Another place of the page says nothing of the calls.
  await page.evaluate(() => { location.hash = "#calls?route=openai-embeddings"; });
  await page.locator("a.skip").focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => location.hash === "#now");
  assert.equal(await page.getByLabel("Route", { exact: true }).inputValue(), "openai-embeddings");
  await page.getByRole("button", { name: "Clear" }).click();
  await row(page, "well").waitFor();
  assert.deepEqual(mishaps, []);
  await context.close();
}

export async function paused() {
  const { page, mishaps, context } = await visit();
  await chat("well");
  await row(page, "well").waitFor();
  await giveToken(page);
  await tenant(page, "well").filter({ hasText: NAME }).waitFor();
  await row(page, "well").getByRole("link").click();
  await has(page, "#story-facts div", NAME);
  await page.keyboard.press("Escape");

  // A named answer that comes after names were hidden shows none.
  const [caught, late] = [gate(), gate()];
  await page.route(isList, async (route) => {
    const response = await route.fetch();
    if (route.request().headers().authorization) { caught.open(); await late.opened; }
    await route.fulfill({ response }).catch(() => {});
  });
  await chat("more");
  await caught.opened;
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: "Hide names" }).click();
  assert.equal(await shows(page, NAME), false);
  late.open();
  await tenant(page, "more").filter({ hasText: /^[0-9a-f]{8}$/ }).waitFor();
  await has(page, "#names-state", "Tenants and keys are shown as pseudonyms.");
  assert.equal(await shows(page, NAME), false);
  await page.unrouteAll({ behavior: "wait" });

  // Paused, it still shows the calls that are asked for, and counts from then on.
  await page.getByLabel("Route", { exact: true }).selectOption("openai-embeddings");
  await row(page, "well").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Clear" }).click();
  await row(page, "well").waitFor();
  await chat("unseen");
  await has(page, "#pause-state", "Paused. 1 call has ended since.");
  assert.equal(await row(page, "unseen").count(), 0);

  // Another process counts from zero.
  const picture = await page.evaluate(async () => {
    const reader = (await fetch("/admin/live")).body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.includes("\n\n")) text += (await reader.read()).value;
    await reader.cancel();
    return text.slice(0, text.indexOf("\n\n"));
  });
  const restarted = picture.replace(/"ended":\d+/, "\"ended\":0");
  assert.notEqual(restarted, picture);
  await page.route((url) => url.pathname === "/admin/live", (route) => route.fulfill({ contentType: "text/event-stream", body: `${restarted}\n\n` }));
  // The stream that runs gives way to the next one.
  await giveToken(page);
  await has(page, "#pause-state", "Paused. 0 calls have ended since.");
  assert.deepEqual(mishaps, []);
  await context.close();
}

export async function late() {
  const { page, mishaps, context } = await visit();
  for (const id of ["slow-one", "quick-one"]) await chat(id);
  await row(page, "quick-one").waitFor();
  const [caught, release, done] = [gate(), gate(), gate()];
  let held = 0;
  await page.route(isCall("slow-one"), async (route) => {
    const response = await route.fetch();
    held += 1;
    if (held === 2) caught.open();
    await release.opened;
    await route.fulfill({ response });
    held -= 1;
    if (held === 0) done.open();
  });
  await row(page, "slow-one").getByRole("link").click();
  await caught.opened;
  await page.keyboard.press("Escape");
  await row(page, "quick-one").getByRole("link").click();
  await page.locator("#story-text", { hasText: "quick-one" }).waitFor({ state: "attached" });
  release.open();
  await done.opened;
  // What was answered before is in the page before a list that is asked for now.
  await chat("later");
  await row(page, "later").waitFor();
  assert.match(await page.locator("#story-title").textContent(), /quick-one/);
  assert.match(await page.locator("#story-text").textContent(), /quick-one/);
  assert.ok(!(await shows(page, "slow-one  POST")), "the text of another call");
  await page.keyboard.press("Escape");

  // An error goes when the next answer is well.
  await page.unrouteAll({ behavior: "wait" });
  const leave = await hold("runs-on");
  await row(page, "runs-on").waitFor();
  await page.route(isCall("runs-on"), (route) => route.fulfill({ contentType: "application/json", body: "{\"id\":" }));
  await row(page, "runs-on").getByRole("link").click();
  await has(page, "#story-error", "Could not reach the gateway.");
  await page.unrouteAll({ behavior: "wait" });
  await has(page, "#story-facts div", "running after");
  assert.equal(await page.locator("#story-error").textContent(), "");
  await leave();
  assert.deepEqual(mishaps, []);
  await context.close();
}

export async function tokens() {
  const { page, mishaps, context } = await visit();
  await chat("well");
  await tenant(page, "well").filter({ hasText: /^[0-9a-f]{8}$/ }).waitFor();

  // Given for a switch, it shows names all over the page; a wrong one is not kept.
  const button = page.getByRole("switch", { name: "use_together" });
  await button.click();
  for (const key of ["a-wrong-token", ADMIN_TOKEN]) {
    await page.locator("#throw").getByLabel("Admin token").fill(key);
    await page.keyboard.press("Enter");
    if (key !== ADMIN_TOKEN) await has(page, "#throw-error", "the admin token is required");
    else await page.locator("#throw").waitFor({ state: "hidden" });
  }
  const refused = mishaps.splice(0);
  assert.ok(refused.length === 1 && refused[0].includes("401"), refused.join("\n"));
  await has(page, "#names-state", "Tenants and keys have their names.");
  await tenant(page, "well").filter({ hasText: NAME }).waitFor();
  await page.getByRole("button", { name: "Hide names" }).click();
  await has(page, "#names-state", "Tenants and keys are shown as pseudonyms.");
  await page.getByRole("button", { name: "Show names" }).waitFor();

  // One that the gateway does not take any more is forgotten.
  await page.evaluate(() => sessionStorage.setItem("token", "of-yesterday"));
  await page.reload();
  await tenant(page, "well").filter({ hasText: /^[0-9a-f]{8}$/ }).waitFor();
  await page.getByRole("button", { name: "Show names" }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.getItem("token")), null);
  assert.deepEqual(mishaps, []);
  await context.close();
}
