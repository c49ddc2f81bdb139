// The unmodified AI SDK with `@ai-sdk/anthropic` against a provider of each API.

import assert from "node:assert/strict";
import { tryAiSdk } from "./ai_sdk.mjs";
import { KEY, URL, load } from "./report.mjs";

const { createAnthropic } = load("@ai-sdk/anthropic");
const anthropic = createAnthropic({ baseURL: `${URL}/v1`, apiKey: KEY });

await tryAiSdk({
  sdk: "@ai-sdk/anthropic (Node.js)",
  caller: "messages",
  model: (name) => anthropic(name),
  forSchema: { anthropic: { structuredOutputMode: "outputFormat" } },
  statuses: [400, 403, 429, 500, 529],
  checkError(error, status) {
    assert.equal(error.isRetryable, status >= 429);
    assert.ok(error.data.error.type, "the error is read");
  },
});
