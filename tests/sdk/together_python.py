"""The unmodified Together SDK for Python against a running `tidegate demo`. It adds `/v1` to its base URL itself.

Models are not among the checks: this SDK asks for them under `/v2`, with paths of Together.ai's own.
"""

import asyncio

import together
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
    equal,
    floats,
    raises,
    recording,
    run,
    tool_call,
    true,
)

OPTIONS = {"base_url": URL, "api_key": "caller-key", "max_retries": 0, "timeout": PATIENCE}
client = together.Together(**OPTIONS)


def chat(model=DOUBLE, **more):
    return client.chat.completions.create(model=model, messages=MESSAGES, **more)


def plain_text(model=DOUBLE):
    return answered(chat(model))


# Answers


@check("chat")
def _():
    answered(chat())


@check("chat, streamed")
def _():
    streamed = Streamed.of(chat(stream=True))
    equal(streamed.text, plain_text(), "the pieces add up to the plain answer")
    true(streamed.pieces > 1, "it comes in pieces", streamed.pieces)
    equal(streamed.finish_reason, "stop", "the finish reason")


@check("chat, streamed, with usage")
def _():
    streamed = Streamed.of(chat(stream=True, extra_body={"stream_options": {"include_usage": True}}))
    counted(streamed.usage)


@check("chat, async and at the same time")
async def _():
    async with together.AsyncTogether(**OPTIONS) as caller:

        async def plain():
            return answered(await caller.chat.completions.create(model=DOUBLE, messages=MESSAGES))

        async def streamed():
            stream = await caller.chat.completions.create(model=DOUBLE, messages=MESSAGES, stream=True)
            return (await Streamed.of_async(stream)).text

        texts = await asyncio.gather(*(make() for make in [plain, streamed] * 4))
        equal(len(set(texts)), 1, "eight calls at once, one answer")


@check("tools")
def _():
    choice = chat(tools=TOOLS).choices[0]
    call = choice.message.tool_calls[0]
    tool_call(call.function.name, call.function.arguments, choice.finish_reason)


@check("tools, streamed")
def _():
    streamed = Streamed.of(chat(tools=TOOLS, stream=True))
    call = streamed.tool_calls[0]
    tool_call(call["name"], call["arguments"], streamed.finish_reason)


@check("embeddings")
def _():
    reply = client.embeddings.create(model="BAAI/bge-base-en-v1.5", input=[QUESTION, "another text"])
    equal([item.index for item in reply.data], [0, 1], "one vector for each text, in order")
    true(floats(reply.data[0].embedding) != floats(reply.data[1].embedding), "different texts, different vectors")


@check("completions")
def _():
    reply = client.completions.create(model=DOUBLE, prompt=QUESTION)
    true(reply.choices[0].text, "there is a text", reply)
    counted(reply.usage)


@check("audio")
def _():
    heard = client.audio.transcriptions.create(
        model="openai/whisper-large-v3", file=("order.wav", recording(), "audio/wav")
    )
    true(heard.text, "there is a transcription", heard)
    spoken = client.audio.speech.create(model="cartesia/sonic", voice="friendly sidekick", input=QUESTION)
    true(spoken.read(), "there is sound", spoken)


# A provider that fails

for state in (
    {"fault": "refuse"},
    {"fault": "status", "status": 503},
    {"fault": "status", "status": 401},
    {"fault": "error_first_event"},
):

    @check(f"failover of {state}")
    def _(state=state):
        with broken("together", **state):
            expected = plain_text()
            streamed = Streamed.of(chat(stream=True))
        equal(streamed.text, expected, "the other provider answers, streamed too")


@check("a cut stream is an error")
def _():
    # This SDK overlooks an error in an event that has a name (`event: error`): it must come as bare data.
    streamed = Streamed()
    with broken("openai", fault="cut", after_events=3):
        with raises(together.APIError):
            for chunk in chat(SINGLE, stream=True):
                streamed.add(chunk)
    whole = plain_text(SINGLE)
    true(whole.startswith(streamed.text) and streamed.text != whole, "what came is a part of the answer", streamed.text)
    equal(streamed.finish_reason, None, "no finish reason was made up")


# Errors and their classes


@check("401 is AuthenticationError, without the provider's words")
def _():
    with broken("openai", fault="status", status=401), raises(together.AuthenticationError) as caught:
        chat(SINGLE)
    said = f"{caught.error} {caught.error.response.text} {dict(caught.error.response.headers)}".lower()
    equal([word for word in PROVIDER_SECRETS if word in said], [], "the provider's words about our key")


@check("404 is NotFoundError")
def _():
    with broken("openai", fault="status", status=404), raises(together.NotFoundError):
        chat(SINGLE)


@check("429 of every provider is RateLimitError, with retry-after")
def _():
    with broken("together", "openai", fault="status", status=429, retry_after=7):
        with raises(together.RateLimitError) as caught:
            chat()
    wait = caught.error.response.headers.get("retry-after", "")
    true(wait.isdigit() and int(wait) >= 1, "retry-after is whole seconds", wait)


@check("500 of every provider is InternalServerError")
def _():
    with broken("together", "openai", fault="status", status=500), raises(together.InternalServerError):
        chat()


@check("an invalid body is BadRequestError and names the field")
def _():
    with raises(together.BadRequestError) as caught:
        client.post("/v1/chat/completions", body={"model": DOUBLE}, cast_to=object)
    equal(caught.error.response.json()["error"]["param"], "messages", "the field")


@check("the caller's own timeout")
def _():
    with broken("together", "openai", fault="hang"):
        try:
            chat(timeout=0.5)
        except (together.APITimeoutError, together.InternalServerError) as error:
            # The SDK tells the gateway how long it waits, so that either may be first to give up.
            true(getattr(error, "status_code", 504) == 504, "a timeout", error)
        else:
            raise AssertionError("expected a timeout, but there was an answer")
    plain_text()


run()
