// The unmodified OpenAI SDK for Node.js, its responses, against a provider of each API.

import assert from "node:assert/strict";
import { File } from "node:buffer";
import {
  ANSWER, CITY, CITY_SCHEMA, GUESTS, KEY, PATIENCE, PICTURE, PICTURES, PIXEL, QUESTION, URL, callersGone, load, results,
  thrown, tryAll,
} from "./report.mjs";

// Node.js 18 has File, but not as a global, where the SDK looks for it.
globalThis.File ??= File;
const OpenAI = load("openai");

// No retries of its own: every check sees what the gateway did with one request.
const options = { baseURL: `${URL}/v1`, maxRetries: 0, timeout: PATIENCE };
const client = new OpenAI({ ...options, apiKey: KEY });
const stranger = new OpenAI({ ...options, apiKey: "wrong" });
const TOOL = { type: "function", name: "find_table", parameters: GUESTS, strict: false };

const asked = (target, input, more = {}) => ({ model: `of-${target}`, input, store: false, ...more });
const create = (target, input, more, caller = client) => caller.responses.create(asked(target, input, more));
const pieceOf = (event) => (event.type === "response.output_text.delta" ? event.delta : "");

function called(response, guests) {
  const calls = response.output.filter((item) => item.type === "function_call");
  const seen = calls.map((call) => [call.name, JSON.parse(call.arguments)]);
  assert.deepEqual(seen, guests.map((count) => ["find_table", { guests: count }]));
  return calls;
}

async function turns(target, question, guests) {
  called(await create(target, question, { tools: [TOOL] }), guests);
  const stream = client.responses.stream(asked(target, question, { tools: [TOOL] }));
  const calls = called(await stream.finalResponse(), guests);
  const outputs = calls.map((call, index) => ({
    type: "function_call_output", call_id: call.call_id, output: `table ${guests[index]}`,
  }));
  const said = calls.map(({ call_id, name, arguments: text }) => ({ type: "function_call", call_id, name, arguments: text }));
  const last = await create(target, [{ role: "user", content: question }, ...said, ...outputs], { tools: [TOOL] });
  assert.equal(last.output_text, results(guests));
}

await tryAll("openai (Node.js)", "responses", {
  async chat(target) {
    const response = await create(target, QUESTION, { instructions: "Be brief." });
    assert.equal(response.output_text, ANSWER);
    assert.deepEqual([response.status, response.usage.total_tokens], ["completed", 16]);
  },
  async stream(target) {
    let text = "";
    const kinds = [];
    for await (const event of await create(target, QUESTION, { stream: true })) {
      kinds.push(event.type);
      text += pieceOf(event);
    }
    assert.equal(text, ANSWER);
    assert.deepEqual([kinds.at(0), kinds.at(-1)], ["response.created", "response.completed"]);
    const whole = await client.responses.stream(asked(target, QUESTION)).finalResponse();
    assert.equal(whole.output_text, ANSWER);
  },
  tools: (target) => turns(target, "a table, please", [2]),
  "parallel tools": (target) => turns(target, "both tables, please", [2, 4]),
  async images(target) {
    const urls = [`data:image/png;base64,${PIXEL}`, PICTURE];
    const parts = urls.map((image_url) => ({ type: "input_image", image_url, detail: "auto" }));
    const response = await create(target, [{ role: "user", content: [{ type: "input_text", text: "look" }, ...parts] }]);
    assert.equal(response.output_text, PICTURES);
  },
  async "structured output"(target) {
    const format = { type: "json_schema", name: "city", schema: CITY_SCHEMA, strict: true };
    const response = await client.responses.parse(asked(target, "a city, please", { text: { format } }));
    assert.deepEqual(response.output_parsed ?? JSON.parse(response.output_text), CITY);
  },
  async errors(target) {
    await thrown(OpenAI.AuthenticationError, () => create(target, "hi", {}, stranger));
    await thrown(OpenAI.NotFoundError, () => create("nobody", "hi"));
    for (const [status, kind] of [
      [400, OpenAI.BadRequestError],
      [403, OpenAI.PermissionDeniedError],
      [429, OpenAI.RateLimitError],
      [500, OpenAI.InternalServerError],
    ]) {
      assert.equal((await thrown(kind, () => create(target, `fail ${status}`))).status, status);
      await thrown(kind, () => create(target, `fail ${status}`, { stream: true }));
    }
    let text = "";
    const broken = async () => {
      for await (const event of await create(target, `break off ${QUESTION}`, { stream: true })) text += pieceOf(event);
    };
    const error = await broken().then(
      () => assert.fail("a stream that breaks off looks complete"),
      (error) => error,
    );
    assert.ok(error instanceof OpenAI.APIError, error);
    assert.ok(text && `You said: break off ${QUESTION}`.startsWith(text), text);
  },
  async cancel(target) {
    const before = await callersGone(target);
    for await (const event of await create(target, "never end, please", { stream: true })) {
      if (pieceOf(event)) break;
    }
    await callersGone(target, before + 1);
  },
});
