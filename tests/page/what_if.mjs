// What another rate of a limit would have refused.
import assert from "node:assert/strict";
import { ADMIN_TOKEN, PATIENCE, has, judge, shoot, visit } from "./shared.mjs";

export async function whatIf() {
  const { page, mishaps, context } = await visit();
  await page.getByLabel("Limit", { exact: true }).selectOption("ai");
  assert.equal(await page.locator("#what-if-limit option:checked").textContent(), "ai (300/min)");
  await page.getByLabel("Rate", { exact: true }).fill("often");
  await page.locator("#what-if").getByLabel("Admin token").fill(ADMIN_TOKEN);
  await page.keyboard.press("Enter");
  await has(page, "#what-if-error", "\"100/15min\"");
  const refused = mishaps.splice(0);
  assert.ok(refused.length > 0 && refused.every((mishap) => mishap.includes("400")), refused.join("\n"));
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
