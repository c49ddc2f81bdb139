"""The unmodified Anthropic SDK for Python against a provider of each API."""

import anthropic
from pydantic import BaseModel
from report import (
    ANSWER, CITY, GUESTS, KEY, PATIENCE, PICTURE, PICTURES, PIXEL, QUESTION, TARGETS, URL, callers_gone, equal, raised,
    tried, true,
)

SDK = "anthropic (Python)"
# No retries of its own: every check sees what the gateway did with one request.
OPTIONS = {"base_url": URL, "max_retries": 0, "timeout": PATIENCE}
client = anthropic.Anthropic(api_key=KEY, **OPTIONS)
TOOL = {"name": "find_table", "description": "Find a free table.", "input_schema": GUESTS}


class City(BaseModel):
    name: str
    population: int


def said(text):
    return [{"role": "user", "content": text}]


def create(target, content, **more):
    return client.messages.create(model=f"of-{target}", max_tokens=64, messages=said(content), system="Be brief.", **more)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def used(usage):
    true(usage.input_tokens == 11 and usage.output_tokens == 5, f"tokens are counted: {usage}")


def chat(target):
    message = create(target, QUESTION)
    equal(text_of(message), ANSWER, "the text")
    equal((message.type, message.role, message.stop_reason), ("message", "assistant", "end_turn"), "its form")
    true(message.id and message._request_id, "it has ids")
    used(message.usage)


def stream(target):
    kinds, text = [], ""
    for event in create(target, QUESTION, stream=True):
        kinds.append(event.type)
        if event.type == "content_block_delta":
            text += event.delta.text
    equal(text, ANSWER, "the pieces")
    equal((kinds[0], kinds[-2:]), ("message_start", ["message_delta", "message_stop"]), "the sequence")
    true(kinds.count("content_block_delta") > 1, "it comes in pieces")
    with client.messages.stream(model=f"of-{target}", max_tokens=64, messages=said(QUESTION)) as helper:
        equal("".join(helper.text_stream), ANSWER, "the helper's text")
        final = helper.get_final_message()
    equal((text_of(final), final.stop_reason), (ANSWER, "end_turn"), "the helper's message")
    used(final.usage)


def called(message, guests):
    calls = [block for block in message.content if block.type == "tool_use"]
    equal([(call.name, call.input) for call in calls], [("find_table", {"guests": it}) for it in guests], "the calls")
    equal(message.stop_reason, "tool_use", "the stop reason")
    true(len({call.id for call in calls}) == len(guests), "each call has an id")
    return calls


def turns(target, question, guests):
    whole = create(target, question, tools=[TOOL])
    called(whole, guests)
    with client.messages.stream(
        model=f"of-{target}", max_tokens=64, messages=said(question), tools=[TOOL]
    ) as helper:
        message = helper.get_final_message()
    calls = called(message, guests)
    results = [{"type": "tool_result", "tool_use_id": it.id, "content": f"table {it.input['guests']}"} for it in calls]
    history = said(question) + [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    last = client.messages.create(model=f"of-{target}", max_tokens=64, messages=history, tools=[TOOL])
    equal(text_of(last), "Results: " + " and ".join(f"table {it}" for it in guests), "the answer to the results")


def tools(target):
    turns(target, "a table, please", [2])


def parallel_tools(target):
    turns(target, "both tables, please", [2, 4])


def images(target):
    pixel = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    parts = [{"type": "image", "source": source} for source in (pixel, {"type": "url", "url": PICTURE})]
    equal(text_of(create(target, [{"type": "text", "text": "look"}, *parts])), PICTURES, "what was seen")


def structured(target):
    parsed = client.messages.parse(
        model=f"of-{target}", max_tokens=64, messages=said("a city, please"), output_format=City
    )
    equal(parsed.parsed_output, City(**CITY), "the parsed answer")


def errors(target):
    stranger = anthropic.Anthropic(api_key="wrong", **OPTIONS)
    ask = {"model": f"of-{target}", "max_tokens": 64, "messages": said("hi")}
    error = raised(anthropic.AuthenticationError, lambda: stranger.messages.create(**ask))
    equal(error.type, "authentication_error", "the type")
    error = raised(anthropic.NotFoundError, lambda: client.messages.create(**{**ask, "model": "nobodys"}))
    equal(error.type, "not_found_error", "the type")
    error = raised(anthropic.BadRequestError, lambda: client.messages.create(**{**ask, "messages": []}))
    equal(error.type, "invalid_request_error", "the type")
    for status, kind, name in [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (413, anthropic._exceptions.RequestTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic._exceptions.OverloadedError, "overloaded_error"),
    ]:
        error = raised(kind, lambda: create(target, f"fail {status}"))
        equal((error.status_code, error.type), (status, name), "the status and the type")
        true(error.request_id, "a failed request has an id")
        raised(kind, lambda: create(target, f"fail {status}", stream=True))
    text = ""
    try:
        for event in create(target, f"break off {QUESTION}", stream=True):
            text += event.delta.text if event.type == "content_block_delta" else ""
    except anthropic.APIStatusError as error:
        equal(error.type, "api_error", "the type of what breaks off")
        true(text and f"You said: break off {QUESTION}".startswith(text), f"what came before: {text!r}")
    else:
        raise AssertionError("a stream that breaks off looks complete")


def cancel(target):
    before = callers_gone(target)
    with client.messages.stream(model=f"of-{target}", max_tokens=64, messages=said("never end, please")) as helper:
        next(iter(helper.text_stream))
    callers_gone(target, before + 1)


FEATURES = {
    "chat": chat, "stream": stream, "tools": tools, "parallel tools": parallel_tools, "images": images,
    "structured output": structured, "errors": errors, "cancel": cancel,
}
for target in TARGETS:
    for name, feature in FEATURES.items():
        with tried(SDK, "messages", target, name):
            feature(target)

# Only a provider of this dialect counts tokens.
counted = client.messages.count_tokens(model="of-messages", messages=said(QUESTION))
equal(counted.input_tokens, 11, "the tokens of a request")
models = client.models.list()
equal({model.id for model in models}, {f"of-{target}" for target in TARGETS}, "the models of all providers")
equal(client.models.retrieve("of-chat").type, "model", "one model")
