"""What the Python scripts of the table share: whom they ask, what they ask for, and how they say what passes.

A script says of each caller's API, target's API and feature whether it works: one line of JSON each. It fails only where it could
not try. It knows no SDK.
"""

import contextlib
import json
import os
import traceback
import urllib.request

URL = os.environ["TIDEGATE_URL"].rstrip("/")
KEY = os.environ["TIDEGATE_KEY"]
PROVIDER = os.environ["PROVIDER_URL"].rstrip("/")

# Each is the API of one provider, whose only model is `of-TARGET`.
TARGETS = ("chat", "responses", "messages")

# Seconds.
PATIENCE = 40

# More than ASCII, and more than one byte a letter: a cut in the wrong place would show.
QUESTION = "Zwei Käsebrötchen für 3 €, bitte: 日本語 🍰 done"
ANSWER = f"You said: {QUESTION}"

# The arguments' schema of the one tool there is, `find_table`.
GUESTS = {"type": "object", "properties": {"guests": {"type": "integer"}}, "required": ["guests"]}

# The schema of a structured answer, and the answer.
CITY_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["name", "population"],
    "additionalProperties": False,
}
CITY = {"name": "Bonn", "population": 331000}

# A picture of one pixel, and one at an address.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = "https://pictures.example/table.png"
PICTURES = f"Pictures: image/png of {len(PIXEL)} letters and {PICTURE}"


@contextlib.contextmanager
def tried(sdk, caller, target, feature):
    """The block tries a feature; what it raises is why it does not work."""
    why = None
    try:
        yield
    except Exception:
        why = traceback.format_exc(limit=-4)
    said = {"sdk": sdk, "caller": caller, "target": target, "feature": feature, "why": why}
    print(json.dumps(said, ensure_ascii=False), flush=True)


def equal(actual, expected, what):
    assert actual == expected, f"{what}: expected {expected!r}, got {actual!r}"


def true(condition, what):
    assert condition, what


def raised(expected, ask):
    """`ask` must raise an exception of exactly this class, which is returned."""
    try:
        got = ask()
    except Exception as error:
        assert type(error) is expected, f"expected {expected.__name__}, got {type(error).__name__}: {error}"
        return error
    raise AssertionError(f"expected {expected.__name__}, got {got!r}")


def callers_gone(api, at_least=0):
    """How many callers have hung up on the provider's endless streams; it waits until they are this many."""
    with urllib.request.urlopen(f"{PROVIDER}/gone/{api}/{at_least}", timeout=PATIENCE) as answer:
        return json.load(answer)["gone"]
