"""The unmodified `langchain-anthropic` against a provider of each API."""

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel
from report import ANSWER, CITY, KEY, PATIENCE, PICTURE, PICTURES, PIXEL, QUESTION, TARGETS, URL, equal, tried, true

SDK = "langchain-anthropic (Python)"


class City(BaseModel):
    """A city."""

    name: str
    population: int


@tool
def find_table(guests: int) -> str:
    """Find a free table."""
    return f"table {guests}"


def model(target):
    return ChatAnthropic(
        model=f"of-{target}", base_url=URL, api_key=KEY, max_tokens=64, max_retries=0, timeout=PATIENCE
    )


def chat(target):
    message = model(target).invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)])
    equal(message.content, ANSWER, "the text")
    equal(message.usage_metadata["total_tokens"], 16, "the tokens")


def stream(target):
    chunks = list(model(target).stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    equal(whole.text, ANSWER, "the pieces")
    true(len(chunks) > 2, "it comes in pieces")


def turns(target, question, guests):
    bound = model(target).bind_tools([find_table])
    message = bound.invoke(question)
    equal([(call["name"], call["args"]) for call in message.tool_calls], [("find_table", {"guests": it}) for it in guests], "the calls")
    results = [ToolMessage(find_table.invoke(call["args"]), tool_call_id=call["id"]) for call in message.tool_calls]
    last = bound.invoke([HumanMessage(question), message, *results])
    equal(last.text, "Results: " + " and ".join(f"table {it}" for it in guests), "the answer to the results")


def tools(target):
    turns(target, "a table, please", [2])


def parallel_tools(target):
    turns(target, "both tables, please", [2, 4])


def images(target):
    sources = [{"type": "base64", "media_type": "image/png", "data": PIXEL}, {"type": "url", "url": PICTURE}]
    parts = [{"type": "text", "text": "look"}, *({"type": "image", "source": source} for source in sources)]
    equal(model(target).invoke([HumanMessage(parts)]).text, PICTURES, "what was seen")


def structured(target):
    city = model(target).with_structured_output(City, method="json_schema").invoke("a city, please")
    equal(city, City(**CITY), "the parsed answer")


FEATURES = {
    "chat": chat, "stream": stream, "tools": tools, "parallel tools": parallel_tools, "images": images,
    "structured output": structured,
}
for target in TARGETS:
    for name, feature in FEATURES.items():
        with tried(SDK, "messages", target, name):
            feature(target)
