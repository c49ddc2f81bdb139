"""The unmodified OpenAI SDK for Python against a gateway that wants to know who calls: the right exceptions, with the right words."""

import os

import openai

URL = os.environ["TIDEGATE_URL"]
MESSAGES = [{"role": "user", "content": "hello"}]


def chat(key, model="gpt-4", retries=2):
    client = openai.OpenAI(base_url=f"{URL}/v1", api_key=key, max_retries=retries, timeout=20)
    return client.chat.completions.create(model=model, messages=MESSAGES)


def raised(kind, key, **more):
    try:
        chat(key, **more)
    except kind as error:
        return error
    raise SystemExit(f"{kind.__name__} was not raised for {key!r}")


wrong = raised(openai.AuthenticationError, "sk-wrong")
assert wrong.status_code == 401 and wrong.code == "invalid_api_key", (wrong.status_code, wrong.code)
assert "Bearer" in wrong.response.headers["www-authenticate"], wrong.response.headers
forbidden = raised(openai.PermissionDeniedError, os.environ["TIDEGATE_KEY"], model="gpt-3.5-turbo")
assert forbidden.status_code == 403 and forbidden.code == "forbidden", (forbidden.status_code, forbidden.code)
assert chat(os.environ["TIDEGATE_KEY"]).choices[0].message.content
# What is wrong stays wrong, so nothing was tried again; after five of them the address is told to wait.
for _ in range(4):
    raised(openai.AuthenticationError, "sk-wrong")
locked = raised(openai.RateLimitError, "sk-wrong", retries=0)
assert int(locked.response.headers["retry-after"]) >= 1, locked.response.headers
print("ok")
