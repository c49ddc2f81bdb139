"""The unmodified OpenAI SDK for Python parses answers of every model, where the route sees to their schema."""

import os

import openai
import pydantic

URL = os.environ["TIDEGATE_URL"]
# The first knows no `response_format`, the second does.
MODELS = ["meta-llama/Llama-3-70b-chat-hf", "gpt-4o"]
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Plan my day"}]


class Step(pydantic.BaseModel):
    what: str
    minutes: int
    note: str | None


class Plan(pydantic.BaseModel):
    title: str
    steps: list[Step]


class Bad(pydantic.BaseModel):
    text: str = pydantic.Field(description="x" * 70_000)


client = openai.OpenAI(base_url=f"{URL}/v1", api_key="caller-key", max_retries=0, timeout=20)
for model in MODELS:
    raw = client.chat.completions.with_raw_response.parse(model=model, messages=MESSAGES, response_format=Plan)
    told = raw.headers.get("x-tidegate-structured")
    assert told in ("valid", "enforced"), (model, told)
    plan = raw.parse().choices[0].message.parsed
    assert isinstance(plan, Plan) and plan.title and plan.steps, plan
    with client.chat.completions.stream(model=model, messages=MESSAGES, response_format=Plan) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_completion().choices[0].message.parsed
    assert streamed == plan and "content.delta" in kinds, (streamed, kinds)
try:
    client.chat.completions.parse(model=MODELS[0], messages=MESSAGES, response_format=Bad)
except openai.BadRequestError as error:
    assert error.param == "response_format.json_schema.schema", error.param
else:
    raise SystemExit("a schema that nobody can check was taken")
print("ok")
