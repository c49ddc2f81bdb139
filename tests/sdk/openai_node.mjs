// The unmodified OpenAI SDK for Node.js against a running `tidegate demo`; only its base URL is changed.
//
// The SDK is not installed beside this file, and an ES module resolves packages from where it stands: so it is loaded
// from the folder that TIDEGATE_NODE_MODULES names.

import assert from "node:assert/strict";
import { Buffer, File } from "node:buffer";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";

// Node.js 18 has File, but not as a global, where the SDK looks for it.
globalThis.File ??= File;

const load = createRequire(path.resolve(process.env.TIDEGATE_NODE_MODULES, "index.js"));
const OpenAI = load("openai");

const URL = process.env.TIDEGATE_URL.replace(/\/+$/, "");
const PROVIDERS = ["buildpanel", "together", "openai"];
// Milliseconds. Longer than the gateway's own patience for a provider that is silent.
const PATIENCE = 40_000;
// A model with one target, OpenAI: what that provider does is what the caller sees.
const SINGLE = "gpt-4";
// A model with two targets, Together.ai and then OpenAI.
const DOUBLE = "meta-llama/Llama-3-70b-chat-hf";
// More than ASCII, and more than one byte a letter: a cut in the wrong place would show.
const QUESTION = "Zwei Käsebrötchen für 3 €, bitte: 日本語 🍰 done";
const MESSAGES = [
  { role: "system", content: "Be brief." },
  { role: "user", content: QUESTION },
];
const TOOLS = [
  {
    type: "function",
    function: {
      name: "find_table",
      description: "Find a free table.",
      parameters: { type: "object", properties: { guests: { type: "integer" } }, required: ["guests"] },
    },
  },
];
// Words that only a provider's own complaint about our key would hold.
const PROVIDER_SECRETS = ["sk-", "incorrect api key", "invalid api key", "api key provided", "platform.openai.com"];

// No retries of its own: every check sees what the gateway did with one request.
const options = { baseURL: `${URL}/v1`, apiKey: "caller-key", maxRetries: 0, timeout: PATIENCE };
const client = new OpenAI(options);

const checks = [];
const check = (name, run) => checks.push({ name, run });

async function put(provider, state) {
  const response = await fetch(`${URL}/demo/providers/${provider}`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(state),
    signal: AbortSignal.timeout(PATIENCE),
  });
  assert.ok(response.ok, `the demo takes the fault; status ${response.status}`);
}

async function heal() {
  for (const provider of PROVIDERS) await put(provider, { fault: "none" });
}

/** `providers` have this fault while `run` runs, and work again after it. */
async function broken(providers, state, run) {
  try {
    for (const provider of providers) await put(provider, state);
    return await run();
  } finally {
    await heal();
  }
}

/** `run` must throw an error of exactly this class, which is returned. */
async function thrown(expected, run) {
  const outcome = await run().then(
    () => "nothing was thrown",
    (error) => error,
  );
  if (outcome?.constructor === expected) return outcome;
  const seen = outcome instanceof Error ? `${outcome.constructor.name}: ${outcome.message}` : outcome;
  assert.fail(`expected ${expected.name}; seen: ${seen}`);
}

const chat = (more = {}, request = {}) =>
  client.chat.completions.create({ model: SINGLE, messages: MESSAGES, ...more }, request);

/** The text of a whole chat reply, after looking at what any reply must have. */
function answered(reply) {
  const [{ message, finish_reason }] = reply.choices;
  assert.ok(reply.id, "a reply has an id");
  assert.ok(message.content, "a reply has a text");
  const missing = QUESTION.split(" ").filter((word) => !message.content.includes(word));
  assert.deepEqual(missing, [], "words of the question that the answer lacks");
  assert.equal(message.role, "assistant");
  assert.equal(finish_reason, "stop");
  counted(reply.usage);
  return message.content;
}

function counted(usage) {
  assert.ok(usage?.prompt_tokens > 0 && usage?.completion_tokens > 0, "both kinds of tokens are counted");
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "the sum of tokens");
}

const plainText = async (model = SINGLE) => answered(await chat({ model }));

/** What the chunks of a streamed chat add up to; `into` keeps what came before an error. */
async function collected(stream, into = { text: "", pieces: 0, finishReason: null, usage: null, call: {} }) {
  for await (const chunk of stream) {
    into.usage = chunk.usage ?? into.usage;
    for (const { delta, finish_reason } of chunk.choices) {
      into.finishReason = finish_reason ?? into.finishReason;
      if (delta?.content) {
        into.text += delta.content;
        into.pieces += 1;
      }
      for (const { id, function: part } of delta?.tool_calls ?? []) {
        into.call.id ??= id;
        into.call.name = (into.call.name ?? "") + (part?.name ?? "");
        into.call.arguments = (into.call.arguments ?? "") + (part?.arguments ?? "");
      }
    }
  }
  return into;
}

function toolCall(name, text, finishReason) {
  assert.equal(name, "find_table");
  const parsed = JSON.parse(text);
  assert.ok(parsed && typeof parsed === "object" && !Array.isArray(parsed), `arguments are a JSON object: ${text}`);
  assert.equal(finishReason, "tool_calls");
}

/** A tenth of a second of silence, as a WAV file. */
function recording() {
  const samples = 1600;
  const head = Buffer.alloc(44);
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + samples, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(8000, 24);
  head.writeUInt32LE(16000, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write("data", 36);
  head.writeUInt32LE(samples, 40);
  return Buffer.concat([head, Buffer.alloc(samples)]);
}

// Answers

check("chat", async () => {
  const reply = await chat();
  answered(reply);
  assert.ok(reply._request_id, "x-request-id is readable");
});

check("chat, streamed", async () => {
  const streamed = await collected(await chat({ stream: true }));
  assert.equal(streamed.text, await plainText(), "the pieces add up to the plain answer");
  assert.ok(streamed.pieces > 1, "it comes in pieces");
  assert.equal(streamed.finishReason, "stop");
});

check("chat, streamed, with usage", async () => {
  const streamed = await collected(await chat({ stream: true, stream_options: { include_usage: true } }));
  counted(streamed.usage);
});

check("chat, streamed, by the stream helper", async () => {
  const stream = client.chat.completions.stream({ model: SINGLE, messages: MESSAGES });
  assert.equal(await stream.finalContent(), await plainText(), "the accumulated answer");
});

check("chat, at the same time", async () => {
  const calls = Array.from({ length: 4 }, () => [
    plainText(),
    chat({ stream: true }).then(async (stream) => (await collected(stream)).text),
  ]);
  assert.equal(new Set(await Promise.all(calls.flat())).size, 1, "eight calls at once, one answer");
});

check("a caller that stops reading", async () => {
  for await (const _ of await chat({ stream: true })) break;
  await plainText();
});

check("tools", async () => {
  const [{ message, finish_reason }] = (await chat({ tools: TOOLS })).choices;
  const [call] = message.tool_calls;
  assert.ok(call.id, "a tool call has an id");
  toolCall(call.function.name, call.function.arguments, finish_reason);
});

check("tools, streamed", async () => {
  const streamed = await collected(await chat({ tools: TOOLS, stream: true }));
  assert.ok(streamed.call.id, "a tool call has an id");
  toolCall(streamed.call.name, streamed.call.arguments, streamed.finishReason);
});

check("embeddings", async () => {
  // Without an encoding format this SDK asks for base64 and decodes it.
  const ask = (more) => client.embeddings.create({ model: "text-embedding-3-small", input: QUESTION, ...more });
  const [decoded, explicit] = [await ask({}), await ask({ encoding_format: "float" })].map((it) => it.data[0].embedding);
  assert.ok(explicit.length > 0 && explicit.every((value) => typeof value === "number"), "a vector of floats");
  assert.equal(decoded.length, explicit.length, "base64 and float agree");
  decoded.forEach((value, at) => assert.ok(Math.abs(value - explicit[at]) < 1e-5, `base64 and float agree at ${at}`));
});

check("an answer that comes packed", async () => {
  const input = Array.from({ length: 100 }, (_, number) => `text number ${number}`);
  const asked = client.embeddings.create({ model: "text-embedding-3-small", input, encoding_format: "float" });
  const { data, response } = await asked.withResponse();
  assert.ok(response.headers.get("content-encoding"), "it is packed");
  assert.equal(data.data.length, input.length, "one vector for each text");
});

check("models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.length > 0, "there are models");
  for (const id of new Set([ids[0], ids.find((id) => id.includes("/")) ?? ids[0]])) {
    assert.equal((await client.models.retrieve(id)).id, id);
  }
});

check("completions", async () => {
  const ask = (more) => client.completions.create({ model: "gpt-3.5-turbo-instruct", prompt: QUESTION, ...more });
  const reply = await ask({});
  assert.ok(reply.choices[0].text, "there is a text");
  let text = "";
  for await (const chunk of await ask({ stream: true })) text += chunk.choices.map((choice) => choice.text).join("");
  assert.equal(text, reply.choices[0].text, "the pieces add up to the plain answer");
});

check("responses", async () => {
  const reply = await client.responses.create({ model: SINGLE, input: QUESTION });
  assert.equal(reply.status, "completed");
  assert.ok(reply.output_text, "there is a text");
  let text = "";
  let last;
  for await (const event of await client.responses.create({ model: SINGLE, input: QUESTION, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event.type;
  }
  assert.equal(text, reply.output_text, "the pieces add up to the plain answer");
  assert.equal(last, "response.completed");
});

check("audio", async () => {
  const file = await OpenAI.toFile(recording(), "order.wav", { type: "audio/wav" });
  const heard = await client.audio.transcriptions.create({ model: "whisper-1", file });
  assert.ok(heard.text, "there is a transcription");
  const spoken = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: QUESTION });
  assert.ok((await spoken.arrayBuffer()).byteLength > 0, "there is sound");
});

// A provider that fails

for (const state of [
  { fault: "refuse" },
  { fault: "status", status: 500 },
  { fault: "status", status: 401 },
  { fault: "status", status: 429, retry_after: 2 },
  { fault: "error_first_event" },
]) {
  check(`failover of ${JSON.stringify(state)}`, () =>
    broken(["together"], state, async () => {
      const streamed = await collected(await chat({ model: DOUBLE, stream: true }));
      assert.equal(streamed.text, await plainText(DOUBLE), "the other provider answers, streamed too");
      assert.equal(streamed.finishReason, "stop");
    }),
  );
}

check("a cut stream is an error", async () => {
  const whole = await plainText();
  const came = { text: "", pieces: 0, finishReason: null, usage: null, call: {} };
  const error = await broken(["openai"], { fault: "cut", after_events: 3 }, () =>
    thrown(OpenAI.APIError, async () => collected(await chat({ stream: true }), came)),
  );
  assert.ok(error.code, "the error has a code");
  assert.ok(whole.startsWith(came.text) && came.text !== whole, `what came is a part of the answer: ${came.text}`);
  assert.equal(came.finishReason, null, "no finish reason was made up");
});

check("a stream without its terminator is completed", async () => {
  const streamed = await broken(["openai"], { fault: "no_done" }, async () => collected(await chat({ stream: true })));
  assert.deepEqual([streamed.text, streamed.finishReason], [await plainText(), "stop"]);
});

check("an error as the first event is no stream", () =>
  broken(["openai"], { fault: "error_first_event" }, () => thrown(OpenAI.InternalServerError, () => chat({ stream: true }))),
);

// Errors and their classes

check("401 is AuthenticationError, without the provider's words", async () => {
  const error = await broken(["openai"], { fault: "status", status: 401 }, () =>
    thrown(OpenAI.AuthenticationError, () => chat()),
  );
  const said = `${error.message} ${JSON.stringify(error.error)} ${JSON.stringify([...error.headers])}`.toLowerCase();
  assert.deepEqual(
    PROVIDER_SECRETS.filter((word) => said.includes(word)),
    [],
    "the provider's words about our key",
  );
});

check("404 is NotFoundError", async () => {
  await broken(["openai"], { fault: "status", status: 404 }, () => thrown(OpenAI.NotFoundError, () => chat()));
  await thrown(OpenAI.NotFoundError, () => client.models.retrieve("no-such-model"));
});

check("429 is RateLimitError, with retry-after", async () => {
  const error = await broken(["openai"], { fault: "status", status: 429, retry_after: 7 }, () =>
    thrown(OpenAI.RateLimitError, () => chat()),
  );
  const wait = error.headers.get("retry-after");
  assert.match(wait ?? "none", /^\d+$/, "retry-after is whole seconds");
  assert.ok(Number(wait) >= 7, `not earlier than asked: ${wait}`);
});

check("500 is InternalServerError", () =>
  broken(["openai"], { fault: "status", status: 500 }, async () => {
    await thrown(OpenAI.InternalServerError, () => chat());
    await thrown(OpenAI.InternalServerError, () => chat({ stream: true }));
  }),
);

check("an invalid body is BadRequestError and names the field", async () => {
  const error = await thrown(OpenAI.BadRequestError, async () =>
    client.post("/chat/completions", { body: { model: SINGLE } }),
  );
  assert.equal(error.param, "messages");
  assert.equal(error.type, "invalid_request_error");
});

check("the caller's own timeout", async () => {
  await broken(["openai"], { fault: "hang" }, async () => {
    const error = await chat({}, { timeout: 500 }).catch((error) => error);
    // The SDK tells the gateway how long it waits, so that either may be first to give up.
    assert.ok(error instanceof OpenAI.APIConnectionTimeoutError || error?.status === 504, `a timeout: ${error}`);
  });
  await plainText();
});

check("a caller that gives up", () =>
  broken(["openai"], { fault: "hang" }, async () => {
    const control = new AbortController();
    const asked = thrown(OpenAI.APIUserAbortError, async () => chat({}, { signal: control.signal }));
    control.abort();
    await asked;
  }),
);

let failed = 0;
await heal();
try {
  for (const { name, run } of checks) {
    try {
      await run();
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}\n${error.stack}`);
    }
  }
} finally {
  await heal();
}
console.log(`${checks.length - failed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
