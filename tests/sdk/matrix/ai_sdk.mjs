// What the scripts for the AI SDK share: each tries a provider package of it, unmodified, with every target.

import assert from "node:assert/strict";
import {
  ANSWER, CITY, CITY_SCHEMA, GUESTS, PICTURE, PICTURES, PIXEL, QUESTION, callersGone, load, results, tryAll,
} from "./report.mjs";

const { APICallError, Output, generateText, jsonSchema, stepCountIs, streamText, tool } = load("ai");

/**
 * Tries `sdk`, whose API is `caller`. `model` gives its model for a name. `always` and `forSchema` are the package's own options, for
 * every call and for an answer of a shape. `statuses` are the errors to raise; `checkError` looks closer at each.
 */
export async function tryAiSdk({ sdk, caller, model, always = {}, forSchema = {}, statuses, checkError }) {
  const ask = (target, prompt, more = {}) => ({
    model: model(`of-${target}`), maxOutputTokens: 64, maxRetries: 0, prompt, providerOptions: always, ...more,
  });

  async function turns(target, prompt, guests) {
    const seen = [];
    const find_table = tool({
      description: "Find a free table.",
      inputSchema: jsonSchema(GUESTS),
      execute: async ({ guests }) => {
        seen.push(guests);
        return `table ${guests}`;
      },
    });
    const { text } = await generateText(ask(target, prompt, { tools: { find_table }, stopWhen: stepCountIs(2) }));
    assert.deepEqual(seen, guests);
    assert.equal(text, results(guests));
  }

  await tryAll(sdk, caller, {
    async chat(target) {
      const { text, finishReason, usage } = await generateText(ask(target, QUESTION, { system: "Be brief." }));
      assert.equal(text, ANSWER);
      assert.equal(finishReason, "stop");
      assert.equal(usage.totalTokens, 16);
    },
    async stream(target) {
      let [text, pieces] = ["", 0];
      for await (const piece of streamText(ask(target, QUESTION)).textStream) {
        text += piece;
        pieces += 1;
      }
      assert.equal(text, ANSWER);
      assert.ok(pieces > 1, "it comes in pieces");
    },
    tools: (target) => turns(target, "a table, please", [2]),
    "parallel tools": (target) => turns(target, "both tables, please", [2, 4]),
    async images(target) {
      const images = [`data:image/png;base64,${PIXEL}`, PICTURE].map((image) => ({ type: "image", image, mediaType: "image/png" }));
      const messages = [{ role: "user", content: [{ type: "text", text: "look" }, ...images] }];
      const { text } = await generateText({ ...ask(target), prompt: undefined, messages });
      assert.equal(text, PICTURES);
    },
    async "structured output"(target) {
      const output = Output.object({ schema: jsonSchema(CITY_SCHEMA) });
      const answer = await generateText(ask(target, "a city, please", { output, providerOptions: { ...always, ...forSchema } }));
      assert.deepEqual(answer.output, CITY);
    },
    async errors(target) {
      for (const status of statuses) {
        const error = await generateText(ask(target, `fail ${status}`)).then(
          () => assert.fail("nothing was thrown"),
          (error) => error,
        );
        assert.ok(APICallError.isInstance(error), error);
        assert.equal(error.statusCode, status);
        checkError(error, status);
      }
      const kinds = [];
      for await (const part of streamText(ask(target, `break off ${QUESTION}`, { onError() {} })).fullStream) {
        kinds.push(part.type);
      }
      // An event that it cannot read it skips: the error would be a clean end.
      assert.ok(kinds.includes("error"), kinds.join());
    },
    async cancel(target) {
      const before = await callersGone(target);
      const abort = new AbortController();
      for await (const _ of streamText(ask(target, "never end, please", { abortSignal: abort.signal })).textStream) {
        abort.abort();
        break;
      }
      await callersGone(target, before + 1);
    },
  });
}
