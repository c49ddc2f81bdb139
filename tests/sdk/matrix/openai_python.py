"""The unmodified OpenAI SDK for Python, its chat completions and its responses, against a provider of each API."""

import json

import openai
from pydantic import BaseModel
from report import (
    ANSWER, CITY, GUESTS, KEY, PATIENCE, PICTURE, PICTURES, PIXEL, QUESTION, TARGETS, URL, callers_gone, equal, raised,
    tried, true,
)

SDK = "openai (Python)"
# No retries of its own: every check sees what the gateway did with one request.
OPTIONS = {"base_url": f"{URL}/v1", "max_retries": 0, "timeout": PATIENCE}
client = openai.OpenAI(api_key=KEY, **OPTIONS)
stranger = openai.OpenAI(api_key="wrong", **OPTIONS)
DATA = f"data:image/png;base64,{PIXEL}"


class City(BaseModel):
    name: str
    population: int


def refusals(ask):
    """`ask(client, model, question, stream)` must raise the right classes."""
    for status, kind in [
        (400, openai.BadRequestError),
        (403, openai.PermissionDeniedError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ]:
        for streams in (False, True):
            error = raised(kind, lambda: ask(client, None, f"fail {status}", streams))
            equal(error.status_code, status, "the status")
    raised(openai.AuthenticationError, lambda: ask(stranger, None, "hi", False))
    raised(openai.NotFoundError, lambda: ask(client, "nobodys", "hi", False))


def breaks_off(stream, piece_of):
    text = ""
    try:
        for event in stream:
            text += piece_of(event)
    except openai.APIError:
        true(text and f"You said: break off {QUESTION}".startswith(text), f"what came before: {text!r}")
        return
    raise AssertionError("a stream that breaks off looks complete")


class Chat:
    api = "chat"

    def __init__(self, target):
        self.target = target

    def create(self, content, **more):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
        return client.chat.completions.create(model=f"of-{self.target}", messages=messages, **more)

    @staticmethod
    def piece(chunk):
        return (chunk.choices[0].delta.content or "") if chunk.choices else ""

    def chat(self):
        reply = self.create(QUESTION)
        equal((reply.choices[0].message.content, reply.choices[0].finish_reason), (ANSWER, "stop"), "the answer")
        equal((reply.object, reply.usage.total_tokens), ("chat.completion", 16), "its form")

    def stream(self):
        chunks = list(self.create(QUESTION, stream=True, stream_options={"include_usage": True}))
        equal("".join(map(self.piece, chunks)), ANSWER, "the pieces")
        true(sum(1 for chunk in chunks if self.piece(chunk)) > 1, "it comes in pieces")
        equal([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1], "stop", "the finish reason")
        equal(chunks[-1].usage.total_tokens, 16, "the tokens")

    def turns(self, question, guests):
        tool = {"type": "function", "function": {"name": "find_table", "parameters": GUESTS}}
        whole = self.create(question, tools=[tool]).choices[0]
        with client.chat.completions.stream(
            model=f"of-{self.target}", messages=[{"role": "user", "content": question}], tools=[tool]
        ) as helper:
            streamed = helper.get_final_completion().choices[0]
        wanted = [("find_table", {"guests": it}) for it in guests]
        for choice in (whole, streamed):
            calls = choice.message.tool_calls
            equal([(it.function.name, json.loads(it.function.arguments)) for it in calls], wanted, "the calls")
            equal(choice.finish_reason, "tool_calls", "the finish reason")
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": f"table {count}"} for call, count in zip(calls, guests)
        ]
        said = {
            "role": "assistant", "content": None,
            "tool_calls": [
                {"id": it.id, "type": "function", "function": {"name": it.function.name, "arguments": it.function.arguments}}
                for it in calls
            ],
        }
        last = client.chat.completions.create(
            model=f"of-{self.target}", messages=[{"role": "user", "content": question}, said, *results], tools=[tool]
        )
        wanted = "Results: " + " and ".join(f"table {it}" for it in guests)
        equal(last.choices[0].message.content, wanted, "the answer to the results")

    def images(self):
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in (DATA, PICTURE)]
        reply = self.create([{"type": "text", "text": "look"}, *parts])
        equal(reply.choices[0].message.content, PICTURES, "what was seen")

    def structured(self):
        parsed = client.chat.completions.parse(
            model=f"of-{self.target}", messages=[{"role": "user", "content": "a city, please"}], response_format=City
        )
        equal(parsed.choices[0].message.parsed, City(**CITY), "the parsed answer")

    def errors(self):
        def ask(client, model, question, streams):
            messages = [{"role": "user", "content": question}]
            return client.chat.completions.create(model=model or f"of-{self.target}", messages=messages, stream=streams)

        refusals(ask)
        breaks_off(self.create(f"break off {QUESTION}", stream=True), self.piece)

    def cancel(self):
        before = callers_gone(self.target)
        with self.create("never end, please", stream=True) as stream:
            next(iter(stream))
        callers_gone(self.target, before + 1)


class Responses:
    api = "responses"

    def __init__(self, target):
        self.target = target

    def create(self, question, **more):
        return client.responses.create(model=f"of-{self.target}", input=question, instructions="Be brief.", store=False, **more)

    @staticmethod
    def piece(event):
        return event.delta if event.type == "response.output_text.delta" else ""

    def chat(self):
        reply = self.create(QUESTION)
        equal((reply.output_text, reply.status, reply.object), (ANSWER, "completed", "response"), "the answer")
        equal(reply.usage.total_tokens, 16, "the tokens")

    def stream(self):
        events = list(self.create(QUESTION, stream=True))
        equal("".join(map(self.piece, events)), ANSWER, "the pieces")
        kinds = [event.type for event in events]
        equal((kinds[0], kinds[-1]), ("response.created", "response.completed"), "the first and the last event")
        for kind in ("output_item.added", "content_part.added", "output_text.done", "content_part.done", "output_item.done"):
            true(f"response.{kind}" in kinds, f"{kind} is among {kinds}")
        numbers = [event.sequence_number for event in events]
        equal(numbers, sorted(set(numbers)), "the numbers of events")
        equal((events[-1].response.output_text, events[-1].response.usage.total_tokens), (ANSWER, 16), "the whole")

    def turns(self, question, guests):
        tool = {"type": "function", "name": "find_table", "parameters": GUESTS, "strict": False}
        wanted = [("find_table", {"guests": it}) for it in guests]
        whole = self.create(question, tools=[tool])
        with client.responses.stream(model=f"of-{self.target}", input=question, tools=[tool], store=False) as helper:
            helper.until_done()
            streamed = helper.get_final_response()
        for reply in (whole, streamed):
            calls = [item for item in reply.output if item.type == "function_call"]
            equal([(it.name, json.loads(it.arguments)) for it in calls], wanted, "the calls")
        said = [
            {"type": "function_call", "call_id": it.call_id, "name": it.name, "arguments": it.arguments} for it in calls
        ]
        results = [
            {"type": "function_call_output", "call_id": it.call_id, "output": f"table {count}"}
            for it, count in zip(calls, guests)
        ]
        last = self.create([{"role": "user", "content": question}, *said, *results], tools=[tool])
        equal(last.output_text, "Results: " + " and ".join(f"table {it}" for it in guests), "the answer to the results")

    def images(self):
        parts = [{"type": "input_image", "image_url": url, "detail": "auto"} for url in (DATA, PICTURE)]
        reply = self.create([{"role": "user", "content": [{"type": "input_text", "text": "look"}, *parts]}])
        equal(reply.output_text, PICTURES, "what was seen")

    def structured(self):
        parsed = client.responses.parse(
            model=f"of-{self.target}", input="a city, please", text_format=City, store=False
        )
        equal(parsed.output_parsed, City(**CITY), "the parsed answer")

    def errors(self):
        def ask(client, model, question, streams):
            return client.responses.create(model=model or f"of-{self.target}", input=question, stream=streams)

        refusals(ask)
        breaks_off(self.create(f"break off {QUESTION}", stream=True), self.piece)

    def cancel(self):
        before = callers_gone(self.target)
        with self.create("never end, please", stream=True) as stream:
            for event in stream:
                if self.piece(event):
                    break
        callers_gone(self.target, before + 1)


FEATURES = {
    "chat": lambda it: it.chat(),
    "stream": lambda it: it.stream(),
    "tools": lambda it: it.turns("a table, please", [2]),
    "parallel tools": lambda it: it.turns("both tables, please", [2, 4]),
    "images": lambda it: it.images(),
    "structured output": lambda it: it.structured(),
    "errors": lambda it: it.errors(),
    "cancel": lambda it: it.cancel(),
}
for caller in (Chat, Responses):
    for target in TARGETS:
        for name, feature in FEATURES.items():
            with tried(SDK, caller.api, target, name):
                feature(caller(target))
