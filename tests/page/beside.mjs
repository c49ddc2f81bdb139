// A canary beside what all others get, what it costs, and what its guard does when it fails.
import assert from "node:assert/strict";
import { ADMIN_TOKEN, behave, chat, has, judge, shoot, visit } from "./shared.mjs";

export async function beside() {
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
  assert.deepEqual(await cells(budget("site")), { allows: "0.00002 USD per month, further calls are only counted", spent: "135.0 %", state: "spent", refused: "0" });
  assert.deepEqual(await cells(budget("team")), { allows: "1000 USD per day, further calls get 402", spent: "0.0 %", state: "ok", refused: "0" });

  // It fails until its guard has had enough; its callers are answered all the time.
  await behave("refuse", "new");
  const notice = page.locator("#notices li.warn", { hasText: "A flag guard turned variant_canary off" });
  for (let number = 1; !(await notice.isVisible()); number += 1) {
    assert.ok(number < 5000, "the guard does not trip");
    await chat(`ill-${number}`);
  }
  assert.match(await notice.textContent(), /\(\d+ of \d+ calls failed in 1 s: more than 10 %\).* \d+ (s|min) ago Runbook$/);
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
