"""The unmodified OpenAI SDK for Python against a running `tidegate demo`; only its base URL is changed."""

import asyncio

import openai
from demo import (
    DOUBLE,
    MESSAGES,
    PATIENCE,
    PROVIDER_SECRETS,
    QUESTION,
    SINGLE,
    TOOLS,
    URL,
    Streamed,
    answered,
    broken,
    check,
    counted,
    decoded,
    equal,
    floats,
    raises,
    recording,
    run,
    same_vector,
    tool_call,
    true,
)

# No retries of its own: every check sees what the gateway did with one request.
OPTIONS = {"base_url": f"{URL}/v1", "api_key": "caller-key", "max_retries": 0, "timeout": PATIENCE}
client = openai.OpenAI(**OPTIONS)


def chat(model=SINGLE, **more):
    return client.chat.completions.create(model=model, messages=MESSAGES, **more)


def plain_text(model=SINGLE):
    return answered(chat(model))


# Answers


@check("chat")
def _():
    reply = chat()
    answered(reply)
    true(reply._request_id, "x-request-id is readable", reply._request_id)
    equal(reply.object, "chat.completion", "the object")


@check("chat, streamed")
def _():
    streamed = Streamed.of(chat(stream=True))
    equal(streamed.text, plain_text(), "the pieces add up to the plain answer")
    true(streamed.pieces > 1, "it comes in pieces", streamed.pieces)
    equal(streamed.finish_reason, "stop", "the finish reason")
    equal(len(streamed.ids), 1, "one id for all chunks")


@check("chat, streamed, with usage")
def _():
    streamed = Streamed.of(chat(stream=True, stream_options={"include_usage": True}))
    equal(streamed.finish_reason, "stop", "the finish reason")
    counted(streamed.usage)


@check("chat, streamed, by the stream helper")
def _():
    with client.chat.completions.stream(model=SINGLE, messages=MESSAGES) as stream:
        stream.until_done()
        equal(stream.get_final_completion().choices[0].message.content, plain_text(), "the accumulated answer")


@check("chat, async and at the same time")
async def _():
    async with openai.AsyncOpenAI(**OPTIONS) as caller:

        async def plain():
            return answered(await caller.chat.completions.create(model=SINGLE, messages=MESSAGES))

        async def streamed():
            stream = await caller.chat.completions.create(model=SINGLE, messages=MESSAGES, stream=True)
            return (await Streamed.of_async(stream)).text

        texts = await asyncio.gather(*(make() for make in [plain, streamed] * 4))
        equal(len(set(texts)), 1, "eight calls at once, one answer")


@check("a caller that stops reading")
def _():
    with chat(stream=True) as stream:
        next(iter(stream))
    plain_text()


@check("tools")
def _():
    choice = chat(tools=TOOLS).choices[0]
    call = choice.message.tool_calls[0]
    true(call.id, "a tool call has an id", call.id)
    tool_call(call.function.name, call.function.arguments, choice.finish_reason)


@check("tools, streamed")
def _():
    streamed = Streamed.of(chat(tools=TOOLS, stream=True))
    call = streamed.tool_calls[0]
    true(call["id"], "a tool call has an id", call)
    tool_call(call["name"], call["arguments"], streamed.finish_reason)
    whole = chat(tools=TOOLS).choices[0].message.tool_calls[0].function.arguments
    equal(call["arguments"], whole, "the pieces add up to the plain arguments")


@check("embeddings")
def _():
    # Without an encoding format the SDK decides; what it hands out is floats all the same.
    texts = [QUESTION, "another text"]
    reply = client.embeddings.create(model="text-embedding-3-small", input=texts)
    equal([item.index for item in reply.data], [0, 1], "one vector for each text, in order")
    as_floats = client.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")
    for default, explicit in zip(reply.data, as_floats.data):
        same_vector(floats(default.embedding), floats(explicit.embedding), "default and float agree")
    true(reply.data[0].embedding != reply.data[1].embedding, "different texts, different vectors")
    true(reply.usage.prompt_tokens > 0, "usage is reported", reply.usage)


@check("embeddings, base64")
def _():
    def create(encoding):
        return client.embeddings.create(model="text-embedding-3-small", input=QUESTION, encoding_format=encoding)

    encoded, explicit = create("base64").data[0].embedding, create("float").data[0].embedding
    true(isinstance(encoded, str), "base64 was asked for, and came", type(encoded))
    same_vector(decoded(encoded), floats(explicit), "base64 and float agree")


@check("an answer that comes packed")
def _():
    texts = [f"text number {number}" for number in range(100)]
    ask = client.embeddings.with_raw_response.create
    raw = ask(model="text-embedding-3-small", input=texts, encoding_format="float")
    true(raw.headers.get("content-encoding"), "it is packed", dict(raw.headers))
    equal(len(raw.parse().data), len(texts), "one vector for each text")


@check("models")
def _():
    ids = [model.id for model in client.models.list()]
    true(ids, "there are models", ids)
    equal(len(ids), len(set(ids)), "no model twice")
    # One with a slash in its name is the harder one: the SDK sends it percent-encoded.
    for name in {ids[0], next((name for name in ids if "/" in name), ids[-1])}:
        model = client.models.retrieve(name)
        equal((model.id, model.object), (name, "model"), "the model that was asked for")


@check("completions")
def _():
    def create(**more):
        return client.completions.create(model="gpt-3.5-turbo-instruct", prompt=QUESTION, **more)

    reply = create()
    true(reply.choices[0].text, "there is a text", reply)
    counted(reply.usage)
    pieces = [choice.text for chunk in create(stream=True) for choice in chunk.choices]
    equal("".join(pieces), reply.choices[0].text, "the pieces add up to the plain answer")


@check("responses")
def _():
    reply = client.responses.create(model=SINGLE, input=QUESTION)
    equal(reply.status, "completed", "the status")
    true(reply.output_text, "there is a text", reply)
    events = list(client.responses.create(model=SINGLE, input=QUESTION, stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    equal(text, reply.output_text, "the pieces add up to the plain answer")
    equal(events[-1].type, "response.completed", "the last event")


@check("audio")
def _():
    heard = client.audio.transcriptions.create(model="whisper-1", file=("order.wav", recording(), "audio/wav"))
    true(heard.text, "there is a transcription", heard)
    spoken = client.audio.speech.create(model="tts-1", voice="alloy", input=QUESTION)
    true(spoken.content, "there is sound", spoken)
    with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input=QUESTION) as stream:
        equal(stream.read(), spoken.content, "streamed sound is the same sound")


# A provider that fails

for state in (
    {"fault": "refuse"},
    {"fault": "status", "status": 500},
    {"fault": "status", "status": 401},
    {"fault": "status", "status": 429, "retry_after": 2},
    {"fault": "error_first_event"},
):

    @check(f"failover of {state}")
    def _(state=state):
        with broken("together", **state):
            expected = plain_text(DOUBLE)
            streamed = Streamed.of(chat(DOUBLE, stream=True))
        equal(streamed.text, expected, "the other provider answers, streamed too")
        equal(streamed.finish_reason, "stop", "the finish reason")


@check("a cut stream is an error")
def _():
    whole = plain_text()
    streamed = Streamed()
    with broken("openai", fault="cut", after_events=3):
        with raises(openai.APIError) as caught:
            for chunk in chat(stream=True):
                streamed.add(chunk)
    true(caught.error.code, "the error has a code", caught.error.body)
    true(whole.startswith(streamed.text) and streamed.text != whole, "what came is a part of the answer", streamed.text)
    equal(streamed.finish_reason, None, "no finish reason was made up")


@check("a cut stream is an error, async")
async def _():
    async with openai.AsyncOpenAI(**OPTIONS) as caller:
        with broken("openai", fault="cut", after_events=3), raises(openai.APIError):
            await Streamed.of_async(
                await caller.chat.completions.create(model=SINGLE, messages=MESSAGES, stream=True)
            )


@check("a stream without its terminator is completed")
def _():
    with broken("openai", fault="no_done"):
        streamed = Streamed.of(chat(stream=True))
    equal((streamed.text, streamed.finish_reason), (plain_text(), "stop"), "text and finish reason")


@check("a malformed event is left out")
def _():
    with broken("openai", fault="garbage", after_events=2):
        streamed = Streamed.of(chat(stream=True))
    equal(streamed.finish_reason, "stop", "the finish reason")
    true(streamed.text, "the rest came", streamed.text)


@check("an error as the first event is no stream")
def _():
    with broken("openai", fault="error_first_event"), raises(openai.InternalServerError):
        chat(stream=True)


# Errors and their classes


@check("401 is AuthenticationError, without the provider's words")
def _():
    with broken("openai", fault="status", status=401), raises(openai.AuthenticationError) as caught:
        chat()
    said = f"{caught.error} {caught.error.response.text} {dict(caught.error.response.headers)}".lower()
    equal([word for word in PROVIDER_SECRETS if word in said], [], "the provider's words about our key")


@check("404 is NotFoundError")
def _():
    with broken("openai", fault="status", status=404), raises(openai.NotFoundError):
        chat()
    with raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


@check("429 is RateLimitError, with retry-after")
def _():
    with broken("openai", fault="status", status=429, retry_after=7), raises(openai.RateLimitError) as caught:
        chat()
    wait = caught.error.response.headers.get("retry-after", "")
    true(wait.isdigit() and int(wait) >= 7, "retry-after is whole seconds, not earlier than asked", wait)


@check("429 of every provider is RateLimitError, with retry-after")
def _():
    with broken("together", "openai", fault="status", status=429, retry_after=7):
        with raises(openai.RateLimitError) as caught:
            chat(DOUBLE)
    wait = caught.error.response.headers.get("retry-after", "")
    true(wait.isdigit() and int(wait) >= 1, "retry-after is whole seconds", wait)


@check("500 is InternalServerError")
def _():
    with broken("openai", fault="status", status=500):
        with raises(openai.InternalServerError):
            chat()
        with raises(openai.InternalServerError):
            chat(stream=True)


@check("an invalid body is BadRequestError and names the field")
def _():
    for field, body in {
        "messages": {"model": SINGLE},
        "model": {"messages": MESSAGES},
        "stream": {"model": SINGLE, "messages": MESSAGES, "stream": "yes"},
    }.items():
        with raises(openai.BadRequestError) as caught:
            client.post("/chat/completions", body=body, cast_to=object)
        equal(caught.error.param, field, "the field")
        equal(caught.error.type, "invalid_request_error", "the type")


@check("a provider that is silent is a timeout, not a hang")
def _():
    with broken("openai", fault="hang"):
        with raises(openai.InternalServerError) as caught:
            chat()
    equal(caught.error.status_code, 504, "the status")


@check("the caller's own timeout")
def _():
    with broken("openai", fault="hang"):
        try:
            chat(timeout=0.5)
        except (openai.APITimeoutError, openai.InternalServerError) as error:
            # The SDK tells the gateway how long it waits, so that either may be first to give up.
            true(getattr(error, "status_code", 504) == 504, "a timeout", error)
        else:
            raise AssertionError("expected a timeout, but there was an answer")
    plain_text()


@check("a gateway that is not there")
def _():
    # Port 1 is reserved and never listened on.
    with raises(openai.APIConnectionError):
        client.with_options(base_url="http://127.0.0.1:1/v1").models.list()


run()
