// An outage of the only provider: calls that fail by its limit or the gateway's key count as failed, whatever their status.
import assert from "node:assert/strict";
import { ADMIN_TOKEN, CALLERS_URL, PAGE_URL, behave, has, judge, shoot, visit } from "./shared.mjs";

let asked = 0;
async function ask(status, model = "gpt-4o") {
  asked += 1;
  const body = JSON.stringify({ model, messages: [{ role: "user", content: `question ${asked}` }] });
  const response = await fetch(`${CALLERS_URL}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
  await response.text();
  assert.equal(response.status, status);
}

async function repeat(times, ...what) {
  for (let number = 0; number < times; number += 1) await ask(...what);
}

const notice = (page, text) => page.locator("#notices li.bad", { hasText: text }).first().waitFor();

export async function alone() {
  const { page, mishaps, context } = await visit();
  await repeat(1, 200);
  await behave({ fault: "status", status: 404 }, "openai");
  await repeat(1, 404);
  await has(page, "#success-foot", "1 of 1 answered. Not counted: 1 other 4xx.");

  await behave({ fault: "status", status: 429 }, "openai");
  // Few calls, but most of them.
  await repeat(3, 429);
  await notice(page, "Calls fail. 3 of 5 in the last minute");
  await repeat(27, 429);
  await notice(page, "Calls fail. 30 of 32 in the last minute");
  await has(page, "#success-foot", "1 of 31 answered. Not counted: 1 other 4xx.");
  await has(page, "#status", "degraded");
  await page.locator("#history-verdict[data-is=bad]", { hasText: "Calls have been failing since" }).waitFor();
  await page.locator("#notices li", { hasText: "Calls fail." }).getByRole("link", { name: "Calls" }).click();
  await has(page, "#recent [data-cell=outcome][data-is=bad]", "429 provider_rate_limited");
  assert.ok(!(await page.locator("#recent").textContent()).includes("404"));
  await page.getByRole("button", { name: "Clear" }).click();
  await judge(page, "in an outage");
  await shoot(page, "outage");

  // Another model's circuit breaker stays closed: what is said of one is not said of both.
  await behave({ fault: "status", status: 500 }, "openai");
  await repeat(3, 500, "gpt-4.1");
  await notice(page, "openai keeps failing with gpt-4.1, last with provider_error: that circuit breaker is open, and only other models get calls.");

  await behave({ fault: "status", status: 401 }, "openai");
  await repeat(2, 401);
  await notice(page, "openai rejects the gateway's key: calls go to the next target on routes that have one, and fail on the others.");
  await has(page, "#success-foot", "1 of 36 answered. Not counted: 1 other 4xx.");

  // A 404 is the caller's, one by one; most calls are not.
  await behave({ fault: "status", status: 404 }, "openai");
  const reset = await fetch(`${PAGE_URL}/api/llm/reset`, { method: "POST", headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
  assert.equal(reset.status, 200);
  await repeat(50, 404, "gpt-9");
  await page.locator("#notices li.warn", { hasText: "openai rejects most requests, mostly with status 404. 5" }).waitFor();
  await page.locator("#notices li", { hasText: "rejects most" }).getByRole("link", { name: "Calls" }).click();
  await has(page, "#recent [data-cell=outcome][data-is=warn]", "404 provider_rejected");
  assert.deepEqual(mishaps, []);
  await context.close();
}

// Where others can answer, the page says so, and which calls they answered.
export async function stoodInFor() {
  const { page, mishaps, context } = await visit();
  await behave({ fault: "status", status: 401 }, "together");
  await repeat(2, 200, "meta-llama/Llama-3.3-70B-Instruct-Turbo");
  await notice(page, "together rejects the gateway's key: calls go to the next target");
  await page.locator("#notices li", { hasText: "Some calls are served by fallback targets." }).getByRole("link", { name: "Calls" }).click();
  await has(page, "#recent tr [data-cell=by]", "openai");
  assert.equal(await page.getByLabel("Outcome", { exact: true }).inputValue(), "fallback");
  assert.equal(await page.locator("#recent tr").count(), 2);
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
  const listed = await (await fetch(`${PAGE_URL}/admin/explain?outcome=fallback`, { headers })).json();
  assert.equal(listed.calls.length, 2);
  assert.deepEqual(mishaps, []);
  await context.close();
}
