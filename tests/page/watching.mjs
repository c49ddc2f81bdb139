// The page while a provider fails and recovers, when it has lost the gateway, and at its door.
import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { ADMIN_TOKEN, PAGE_URL, behave, call, card, has, judge, shoot, visit } from "./shared.mjs";

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

export async function all() {
  for (const number of [1, 2, 3]) await call(`calm-${number}`);
  await looks(false);
  const { page, mishaps, context } = await visit();
  await has(page, "#notices li.good", "No problems known");
  await has(page, "#what-if-off", "Not available: this process cannot simulate its own configuration");
  await has(page, "#recent tr", "calm-3");

  // What happened to a call, and nothing of what was said.
  await page.locator("#recent a", { hasText: "calm-3" }).click();
  await has(page, "#story-rows tr", "1 BuildPanel (first)");
  await page.locator("#story-raw summary").click();
  await has(page, "#story-text", "attempt 1    BuildPanel (first)");
  const story = await page.locator("#story").textContent();
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
  assert.ok(refused.length > 0 && refused.every((mishap) => mishap.includes("401")), refused.join("\n"));
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
export async function lost() {
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

export async function door() {
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
  await page.keyboard.press("Escape");

  // Without the token there is nothing to see here, with names or without.
  await has(page, "#names-state", "Tenants and keys have their names.");
  await page.getByRole("button", { name: "Sign out" }).click();
  await field.waitFor();
  assert.equal(await page.locator("#picture").isVisible(), false);
  assert.ok(mishaps.length > 0 && mishaps.every((mishap) => mishap.includes("401")), mishaps.join("\n"));
  await context.close();
}
