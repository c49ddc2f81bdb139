// What the scripts for Node.js share: whom they ask, what they ask for, and how they say what passes. See report.py.
//
// The SDKs are not installed beside these files, and an ES module resolves packages from where it stands: so they are loaded from
// the folder that TIDEGATE_NODE_MODULES names.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";

export const load = createRequire(path.resolve(process.env.TIDEGATE_NODE_MODULES, "index.js"));

export const URL = process.env.TIDEGATE_URL.replace(/\/+$/, "");
export const KEY = process.env.TIDEGATE_KEY;
const PROVIDER = process.env.PROVIDER_URL.replace(/\/+$/, "");

export const TARGETS = ["chat", "responses", "messages"];
// Milliseconds.
export const PATIENCE = 40_000;
export const QUESTION = "Zwei Käsebrötchen für 3 €, bitte: 日本語 🍰 done";
export const ANSWER = `You said: ${QUESTION}`;
export const GUESTS = { type: "object", properties: { guests: { type: "integer" } }, required: ["guests"] };
export const CITY_SCHEMA = {
  type: "object",
  properties: { name: { type: "string" }, population: { type: "integer" } },
  required: ["name", "population"],
  additionalProperties: false,
};
export const CITY = { name: "Bonn", population: 331000 };
export const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const PICTURE = "https://pictures.example/table.png";
export const PICTURES = `Pictures: image/png of ${PIXEL.length} letters and ${PICTURE}`;

export const results = (guests) => `Results: ${guests.map((count) => `table ${count}`).join(" and ")}`;

/** Tries each feature of `features` with each target, and says what passes. */
export async function tryAll(sdk, caller, features) {
  for (const target of TARGETS) {
    for (const [feature, run] of Object.entries(features)) {
      const why = await run(target).then(
        () => null,
        (error) => String(error?.stack ?? error),
      );
      console.log(JSON.stringify({ sdk, caller, target, feature, why }));
    }
  }
}

/** `run` must throw an error of exactly this class, which is returned. */
export async function thrown(expected, run) {
  const outcome = await run().then(
    () => "nothing was thrown",
    (error) => error,
  );
  if (outcome?.constructor === expected) return outcome;
  const seen = outcome instanceof Error ? `${outcome.constructor.name}: ${outcome.message}` : outcome;
  assert.fail(`expected ${expected.name}; seen: ${seen}`);
}

/** How many callers have hung up on the provider's endless streams; it waits until they are this many. */
export async function callersGone(api, atLeast = 0) {
  const answer = await fetch(`${PROVIDER}/gone/${api}/${atLeast}`, { signal: AbortSignal.timeout(PATIENCE) });
  return (await answer.json()).gone;
}
