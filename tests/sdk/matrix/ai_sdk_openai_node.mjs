// The unmodified AI SDK with `@ai-sdk/openai`, which speaks Responses, against a provider of each API.

import assert from "node:assert/strict";
import { tryAiSdk } from "./ai_sdk.mjs";
import { KEY, URL, load } from "./report.mjs";

const { createOpenAI } = load("@ai-sdk/openai");
const openai = createOpenAI({ baseURL: `${URL}/v1`, apiKey: KEY });

await tryAiSdk({
  sdk: "@ai-sdk/openai (Node.js)",
  caller: "responses",
  model: (name) => openai.responses(name),
  // What is stored it would name by its id in the next request, and no other provider knows it.
  always: { openai: { store: false } },
  statuses: [400, 403, 429, 500],
  checkError: (error) => assert.ok(error.data.error.message, "the error is read"),
});
