"""What the Python SDK scripts share: the address of a running `tidegate demo`, its faults, and a list of checks.

It knows no SDK. A script registers its checks with `@check(name)` and ends with `run()`.
"""

import asyncio
import base64
import contextlib
import difflib
import inspect
import io
import json
import os
import sys
import traceback
import urllib.request
import wave

URL = os.environ["TIDEGATE_URL"].rstrip("/")

PROVIDERS = ("buildpanel", "together", "openai")

# Seconds. SDKs announce it, and the gateway answers a little before it ends.
PATIENCE = 40

# A model with one target, OpenAI: what that provider does is what the caller sees.
SINGLE = "gpt-4"
# A model with two targets, Together.ai and then OpenAI.
DOUBLE = "meta-llama/Llama-3-70b-chat-hf"

# More than ASCII, and more than one byte a letter: a cut in the wrong place would show.
QUESTION = "Zwei Käsebrötchen für 3 €, bitte: 日本語 🍰 done"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find_table",
            "description": "Find a free table.",
            "parameters": {"type": "object", "properties": {"guests": {"type": "integer"}}, "required": ["guests"]},
        },
    }
]

# Words that only a provider's own complaint about our key would hold.
PROVIDER_SECRETS = ("sk-", "incorrect api key", "invalid api key", "api key provided", "platform.openai.com")

_checks = []


def check(name):
    """Register a function, plain or async, as the check `name`."""

    def register(function):
        _checks.append((name, function))
        return function

    return register


def equal(actual, expected, what):
    """Both must be the same; the failure shows where they differ."""
    if actual == expected:
        return
    left, right = (json.dumps(value, indent=1, ensure_ascii=False, default=str) for value in (expected, actual))
    lines = difflib.unified_diff(left.splitlines(), right.splitlines(), "expected", "actual", lineterm="")
    raise AssertionError(f"{what}\n" + "\n".join(lines))


def true(condition, what, seen=None):
    """`condition` must hold; the failure says what was wanted and what was seen."""
    if not condition:
        raise AssertionError(f"{what}; seen: {seen!r}")


@contextlib.contextmanager
def raises(expected):
    """The block must raise an exception of exactly the class `expected`; it is the `error` of what is yielded."""

    class Caught:
        error = None

    try:
        yield Caught
    except Exception as error:
        if type(error) is not expected:
            raise AssertionError(f"expected {expected.__name__}, got {type(error).__name__}: {error}") from error
        Caught.error = error
        return
    raise AssertionError(f"expected {expected.__name__}, but nothing was raised")


def _put(provider, state):
    request = urllib.request.Request(
        f"{URL}/demo/providers/{provider}",
        data=json.dumps(state).encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        true(200 <= response.status < 300, "the demo takes the fault", response.status)


def heal():
    """Every provider works again."""
    for provider in PROVIDERS:
        _put(provider, {"fault": "none"})


@contextlib.contextmanager
def broken(*providers, **state):
    """`providers` have this fault within the block, and work again after it: `broken("together", fault="refuse")`."""
    try:
        for provider in providers:
            _put(provider, state)
        yield
    finally:
        heal()


def floats(embedding):
    """An embedding as a list of numbers, which it must be."""
    true(isinstance(embedding, list) and embedding, "an embedding is a list", embedding)
    true(all(isinstance(value, float) for value in embedding), "an embedding holds floats", embedding[:4])
    return embedding


def decoded(embedding):
    """An embedding that came as base64: little-endian 32-bit floats."""
    raw = base64.b64decode(embedding, validate=True)
    true(raw and len(raw) % 4 == 0, "base64 embeddings are 32-bit floats", len(raw))
    return list(memoryview(raw).cast("f"))


def same_vector(actual, expected, what):
    """Equal but for the precision of 32-bit floats."""
    equal(len(actual), len(expected), f"{what}: length")
    apart = max(abs(a - b) for a, b in zip(actual, expected))
    true(apart < 1e-5, what, apart)


def recording():
    """A tenth of a second of silence, as a WAV file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    return out.getvalue()


class Streamed:
    """What the chunks of a streamed chat add up to."""

    def __init__(self):
        self.text = ""
        self.pieces = 0
        self.ids = set()
        self.finish_reason = None
        self.usage = None
        self.tool_calls = {}

    def add(self, chunk):
        self.ids.add(chunk.id)
        self.usage = getattr(chunk, "usage", None) or self.usage
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            if choice.delta is None:
                continue
            if choice.delta.content:
                self.text += choice.delta.content
                self.pieces += 1
            for part in choice.delta.tool_calls or []:
                call = self.tool_calls.setdefault(part.index, {"id": None, "name": "", "arguments": ""})
                call["id"] = part.id or call["id"]
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""

    @classmethod
    def of(cls, stream):
        streamed = cls()
        for chunk in stream:
            streamed.add(chunk)
        return streamed

    @classmethod
    async def of_async(cls, stream):
        streamed = cls()
        async for chunk in stream:
            streamed.add(chunk)
        return streamed


def answered(chat):
    """The text of a whole chat reply, after looking at what any reply must have."""
    text = chat.choices[0].message.content
    true(chat.id, "a reply has an id", chat.id)
    true(text, "a reply has a text", text)
    missing = [word for word in QUESTION.split() if word not in text]
    equal(missing, [], "words of the question that the answer lacks")
    equal(chat.choices[0].message.role, "assistant", "the role")
    equal(chat.choices[0].finish_reason, "stop", "the finish reason")
    counted(chat.usage)
    return text


def counted(usage):
    """Token counts are there and add up."""
    true(usage is not None, "usage is reported", usage)
    true(usage.prompt_tokens > 0 and usage.completion_tokens > 0, "both kinds of tokens are counted", usage)
    equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "the sum of tokens")


def tool_call(name, arguments, finish_reason):
    """A call of the first tool, with arguments that are a JSON object."""
    equal(name, "find_table", "the tool")
    true(isinstance(json.loads(arguments), dict), "arguments are a JSON object", arguments)
    equal(finish_reason, "tool_calls", "the finish reason")


def run():
    """Run every check, print a line for each, and exit with 1 when one failed."""
    failed = 0
    heal()
    try:
        for name, function in _checks:
            try:
                result = function()
                if inspect.isawaitable(result):
                    asyncio.run(asyncio.wait_for(result, PATIENCE * 2))
                print(f"ok {name}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
    finally:
        heal()
    print(f"{len(_checks) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)
