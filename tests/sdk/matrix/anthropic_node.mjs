// The unmodified Anthropic SDK for Node.js against a provider of each API.

import assert from "node:assert/strict";
import {
  ANSWER, CITY, CITY_SCHEMA, GUESTS, KEY, PATIENCE, PICTURE, PICTURES, PIXEL, QUESTION, URL, callersGone, load, results,
  thrown, tryAll,
} from "./report.mjs";

const Anthropic = load("@anthropic-ai/sdk");
const { ContentTooLargeError, OverloadedError } = load("@anthropic-ai/sdk/error");

// No retries of its own: every check sees what the gateway did with one request.
const options = { baseURL: URL, maxRetries: 0, timeout: PATIENCE };
const client = new Anthropic({ ...options, apiKey: KEY });
// As agents do it that have a token in the place of a key.
const byToken = new Anthropic({ ...options, apiKey: null, authToken: KEY });
const stranger = new Anthropic({ ...options, apiKey: "wrong" });
const TOOL = { name: "find_table", description: "Find a free table.", input_schema: GUESTS };

const asked = (target, content, more = {}) => ({
  model: `of-${target}`, max_tokens: 64, messages: [{ role: "user", content }], ...more,
});
const create = (target, content, more, caller = client) => caller.messages.create(asked(target, content, more));
const textOf = (message) => message.content.map((block) => block.text ?? "").join("");

function called(message, guests) {
  const calls = message.content.filter((block) => block.type === "tool_use");
  assert.deepEqual(calls.map((call) => [call.name, call.input]), guests.map((count) => ["find_table", { guests: count }]));
  assert.equal(message.stop_reason, "tool_use");
  return calls;
}

async function turns(target, question, guests) {
  called(await create(target, question, { tools: [TOOL] }), guests);
  const message = await client.messages.stream(asked(target, question, { tools: [TOOL] })).finalMessage();
  const content = called(message, guests).map((call) => ({
    type: "tool_result", tool_use_id: call.id, content: [{ type: "text", text: `table ${call.input.guests}` }],
  }));
  const history = [
    { role: "user", content: question },
    { role: "assistant", content: message.content },
    { role: "user", content },
  ];
  const last = await client.messages.create({ ...asked(target, ""), messages: history, tools: [TOOL] });
  assert.equal(textOf(last), results(guests));
}

await tryAll("@anthropic-ai/sdk (Node.js)", "messages", {
  async chat(target) {
    for (const caller of [client, byToken]) {
      const message = await create(target, QUESTION, { system: [{ type: "text", text: "Be brief." }] }, caller);
      assert.equal(textOf(message), ANSWER);
      assert.deepEqual([message.type, message.stop_reason], ["message", "end_turn"]);
      assert.deepEqual([message.usage.input_tokens, message.usage.output_tokens], [11, 5]);
      assert.ok(message._request_id, "request-id is readable");
    }
  },
  async stream(target) {
    let [text, pieces] = ["", 0];
    for await (const event of await create(target, QUESTION, { stream: true })) {
      if (event.type !== "content_block_delta") continue;
      text += event.delta.text;
      pieces += 1;
    }
    assert.equal(text, ANSWER);
    assert.ok(pieces > 1, "it comes in pieces");
    assert.equal(await client.messages.stream(asked(target, QUESTION)).finalText(), ANSWER);
  },
  tools: (target) => turns(target, "a table, please", [2]),
  "parallel tools": (target) => turns(target, "both tables, please", [2, 4]),
  async images(target) {
    const sources = [{ type: "base64", media_type: "image/png", data: PIXEL }, { type: "url", url: PICTURE }];
    const parts = sources.map((source) => ({ type: "image", source }));
    assert.equal(textOf(await create(target, [{ type: "text", text: "look" }, ...parts])), PICTURES);
  },
  async "structured output"(target) {
    const format = { type: "json_schema", schema: CITY_SCHEMA };
    const message = await create(target, "a city, please", { output_config: { format } });
    assert.deepEqual(JSON.parse(textOf(message)), CITY);
  },
  async errors(target) {
    await thrown(Anthropic.AuthenticationError, () => create(target, "hi", {}, stranger));
    await thrown(Anthropic.NotFoundError, () => create("nobody", "hi"));
    for (const [status, kind, type] of [
      [400, Anthropic.BadRequestError, "invalid_request_error"],
      [403, Anthropic.PermissionDeniedError, "permission_error"],
      [413, ContentTooLargeError, "request_too_large"],
      [429, Anthropic.RateLimitError, "rate_limit_error"],
      [500, Anthropic.InternalServerError, "api_error"],
      [529, OverloadedError, "overloaded_error"],
    ]) {
      const error = await thrown(kind, () => create(target, `fail ${status}`));
      assert.deepEqual([error.status, error.error.error.type], [status, type]);
      assert.ok(error.requestID, "a failed request has an id");
      await thrown(kind, () => create(target, `fail ${status}`, { stream: true }));
    }
    let text = "";
    const broken = async () => {
      for await (const event of await create(target, `break off ${QUESTION}`, { stream: true })) {
        if (event.type === "content_block_delta") text += event.delta.text;
      }
    };
    const error = await broken().then(
      () => assert.fail("a stream that breaks off looks complete"),
      (error) => error,
    );
    assert.ok(error instanceof Anthropic.APIError, error);
    assert.ok(text && `You said: break off ${QUESTION}`.startsWith(text), text);
  },
  async cancel(target) {
    const before = await callersGone(target);
    for await (const event of await create(target, "never end, please", { stream: true })) {
      if (event.type === "content_block_delta") break;
    }
    await callersGone(target, before + 1);
  },
});
