"""A provider that speaks three APIs, each below a path of its own: `/chat/v1`, `/responses/v1`, `/messages/v1`.

What it answers is decided by the question, so that every caller can ask for the same thing in any API. It is strict about what a
real one is strict about: limits that must be there, results that belong to a call. It knows no SDK and no gateway.

    python provider.py        prints `listening on http://127.0.0.1:PORT`, and ends with its standard input
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What a structured answer is.
CITY = {"name": "Bonn", "population": 331000}

# How long a stream that never ends says nothing between two looks at its caller, in seconds.
PAUSE = 0.05

# How many callers have hung up on a stream that never ends, by API.
gone = {"chat": 0, "responses": 0, "messages": 0}
changed = threading.Condition()


class Wrong(Exception):
    """The request is refused."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status, self.message = status, message


class Question:
    """What is asked, in no API's words."""

    def __init__(self):
        self.text, self.pictures, self.results = "", [], []
        self.has_tools = self.wants_json = False


def picture(url):
    """How a picture came."""
    if url.startswith("data:"):
        kind, _, data = url[5:].partition(";base64,")
        return f"{kind} of {len(data)} letters"
    return url


def texts(content):
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


def of_chat(body):
    question, calls = Question(), set()
    question.has_tools = bool(body.get("tools")) and body.get("tool_choice") != "none"
    question.wants_json = body.get("response_format", {}).get("type") == "json_schema"
    for message in body["messages"]:
        calls |= {call["id"] for call in message.get("tool_calls") or []}
        if message["role"] == "tool":
            if message["tool_call_id"] not in calls:
                raise Wrong(400, "a tool message answers no call")
            question.results.append(texts(message["content"]))
        if message["role"] == "user":
            question.text, question.results = texts(message["content"]), []
            parts = message["content"] if isinstance(message["content"], list) else []
            question.pictures += [picture(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
    return question


def of_responses(body):
    question, calls = Question(), set()
    question.has_tools = bool(body.get("tools")) and body.get("tool_choice") != "none"
    question.wants_json = body.get("text", {}).get("format", {}).get("type") == "json_schema"
    items = body["input"]
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        kind = item.get("type", "message")
        if kind == "function_call":
            calls.add(item["call_id"])
        if kind == "function_call_output":
            if item["call_id"] not in calls:
                raise Wrong(400, "an output answers no call")
            question.results.append(texts(item["output"]))
        if kind == "message" and item["role"] == "user":
            question.text, question.results = texts(item["content"]), []
            parts = item["content"] if isinstance(item["content"], list) else []
            question.pictures += [picture(part["image_url"]) for part in parts if part["type"] == "input_image"]
    return question


def of_messages(body, counts=False):
    question, calls, before = Question(), set(), None
    if not counts and not isinstance(body.get("max_tokens"), int):
        raise Wrong(400, "max_tokens: Field required")
    question.has_tools = bool(body.get("tools")) and body.get("tool_choice", {}).get("type") != "none"
    question.wants_json = body.get("output_config", {}).get("format", {}).get("type") == "json_schema"
    for message in body["messages"]:
        if message["role"] == before:
            raise Wrong(400, "messages: roles must alternate")
        before, parts = message["role"], message["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        results = [part for part in parts if part["type"] == "tool_result"]
        if {part["tool_use_id"] for part in results} != calls:
            raise Wrong(400, "messages: each tool_use must have a tool_result in the next message")
        calls = {part["id"] for part in parts if part["type"] == "tool_use"}
        if message["role"] == "user":
            question.text = texts([part for part in parts if part["type"] == "text"]) or question.text
            question.results = [texts(part.get("content", "")) for part in results]
            sources = [part["source"] for part in parts if part["type"] == "image"]
            question.pictures += [
                source["url"]
                if source["type"] == "url"
                else f"{source['media_type']} of {len(source['data'])} letters"
                for source in sources
            ]
    return question


def answer(question):
    """The parts of the answer: `("text", words)` or `("call", id, name, arguments)`."""
    words = question.text.split()
    if words[:1] == ["fail"]:
        raise Wrong(int(words[1]), f"it was asked to fail with {words[1]}")
    if question.results:
        return [("text", "Results: " + " and ".join(question.results))]
    if question.has_tools:
        guests = [2, 4] if "both" in words else [2]
        return [("call", f"call_{number}", "find_table", json.dumps({"guests": number})) for number in guests]
    if question.wants_json:
        return [("text", json.dumps(CITY))]
    if question.pictures:
        return [("text", "Pictures: " + " and ".join(question.pictures))]
    return [("text", f"You said: {question.text}")]


def pieces(text):
    return [text[at : at + 7] for at in range(0, len(text), 7)]


# Chat completions


def chat_whole(body, parts):
    message = {"role": "assistant", "content": None}
    calls = []
    for part in parts:
        if part[0] == "text":
            message["content"] = part[1]
        else:
            calls.append({"id": part[1], "type": "function", "function": {"name": part[2], "arguments": part[3]}})
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": body["model"],
        "choices": [choice], "usage": usage,
    }


def chat_events(body, parts):
    def chunk(delta, finish=None, **more):
        choices = [] if more else [{"index": 0, "delta": delta, "finish_reason": finish}]
        return None, {
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": body["model"],
            "choices": choices, **more,
        }

    yield chunk({"role": "assistant", "content": ""})
    calls = -1
    for part in parts:
        if part[0] == "text":
            for piece in pieces(part[1]):
                yield chunk({"content": piece})
            continue
        calls += 1
        function = {"name": part[2], "arguments": ""}
        yield chunk({"tool_calls": [{"index": calls, "id": part[1], "type": "function", "function": function}]})
        for piece in pieces(part[3]):
            yield chunk({"tool_calls": [{"index": calls, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if calls >= 0 else "stop")
    if body.get("stream_options", {}).get("include_usage"):
        yield chunk({}, usage={"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16})
    yield None, "[DONE]"


# Responses


def response(body, output, status):
    usage = {
        "input_tokens": 11, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 16,
    }
    return {
        "id": "resp_1", "object": "response", "created_at": 1700000000, "status": status, "model": body["model"],
        "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": body.get("tools", []),
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "usage": usage if status == "completed" else None,
    }


def item(part, index, status="completed"):
    if part[0] == "text":
        content = {"type": "output_text", "text": part[1], "annotations": []}
        return {"id": f"msg_{index}", "type": "message", "role": "assistant", "status": status, "content": [content]}
    return {
        "id": f"fc_{index}", "type": "function_call", "status": status, "call_id": part[1], "name": part[2],
        "arguments": part[3],
    }


def responses_whole(body, parts):
    return response(body, [item(part, index) for index, part in enumerate(parts)], "completed")


def responses_events(body, parts):
    number = -1

    def event(kind, **fields):
        nonlocal number
        number += 1
        return kind, {"type": kind, "sequence_number": number, **fields}

    yield event("response.created", response=response(body, [], "in_progress"))
    yield event("response.in_progress", response=response(body, [], "in_progress"))
    for index, part in enumerate(parts):
        whole = item(part, index)
        place = {"item_id": whole["id"], "output_index": index}
        if part[0] == "text":
            yield event("response.output_item.added", output_index=index, item={**whole, "content": [], "status": "in_progress"})
            place["content_index"] = 0
            empty = {"type": "output_text", "text": "", "annotations": []}
            yield event("response.content_part.added", **place, part=empty)
            for piece in pieces(part[1]):
                yield event("response.output_text.delta", **place, delta=piece, logprobs=[])
            yield event("response.output_text.done", **place, text=part[1], logprobs=[])
            yield event("response.content_part.done", **place, part=whole["content"][0])
        else:
            added = {**whole, "arguments": "", "status": "in_progress"}
            yield event("response.output_item.added", output_index=index, item=added)
            for piece in pieces(part[3]):
                yield event("response.function_call_arguments.delta", **place, delta=piece)
            yield event("response.function_call_arguments.done", **place, arguments=part[3], name=part[2])
        yield event("response.output_item.done", output_index=index, item=whole)
    yield event("response.completed", response=responses_whole(body, parts))


# Messages


def message(body, content, stop, tokens):
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content,
        "stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 11, "output_tokens": tokens},
    }


def block(part):
    if part[0] == "text":
        return {"type": "text", "text": part[1]}
    return {"type": "tool_use", "id": part[1], "name": part[2], "input": json.loads(part[3])}


def stop_of(parts):
    return "tool_use" if parts[-1][0] == "call" else "end_turn"


def messages_whole(body, parts):
    return message(body, [block(part) for part in parts], stop_of(parts), 5)


def messages_events(body, parts):
    def event(kind, **fields):
        return kind, {"type": kind, **fields}

    yield event("message_start", message=message(body, [], None, 1))
    yield event("ping")
    for index, part in enumerate(parts):
        is_text = part[0] == "text"
        start = {"type": "text", "text": ""} if is_text else {**block(part), "input": {}}
        yield event("content_block_start", index=index, content_block=start)
        for piece in pieces(part[1] if is_text else part[3]):
            delta = {"type": "text_delta", "text": piece} if is_text else {"type": "input_json_delta", "partial_json": piece}
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    yield event("message_delta", delta={"stop_reason": stop_of(parts), "stop_sequence": None}, usage={"output_tokens": 5})
    yield event("message_stop")


APIS = {
    "/chat/v1/chat/completions": ("chat", of_chat, chat_whole, chat_events),
    "/responses/v1/responses": ("responses", of_responses, responses_whole, responses_events),
    "/messages/v1/messages": ("messages", of_messages, messages_whole, messages_events),
}

# The types of errors with these statuses: Anthropic's, and OpenAI's where theirs is another one.
ERRORS = {
    400: "invalid_request_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 500: "api_error", 503: "service_unavailable", 529: "overloaded_error",
}


def error(api, wrong):
    kind = ERRORS.get(wrong.status, "invalid_request_error")
    if api == "messages":
        return {"type": "error", "error": {"type": kind, "message": wrong.message}, "request_id": "req_1"}
    return {"error": {"message": wrong.message, "type": kind, "param": None, "code": None}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def whole(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("request-id", "req_1")
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith("/gone/"):
            _, _, api, count = path.split("/")
            with changed:
                changed.wait_for(lambda: gone[api] >= int(count), timeout=20)
                return self.whole(200, {"gone": gone[api]})
        if path.endswith("/models"):
            api = path.split("/")[1]
            return self.whole(200, {"object": "list", "data": [{"id": f"of-{api}", "object": "model", "created": 0}]})
        return self.whole(404, {"error": {"message": "no such path"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        path = self.path.partition("?")[0]
        if path == "/messages/v1/messages/count_tokens":
            of_messages(body, counts=True)
            return self.whole(200, {"input_tokens": 11})
        if path not in APIS:
            return self.whole(404, {"error": {"message": f"no such path: {path}"}})
        api, read, write, events = APIS[path]
        try:
            question = read(body)
            parts = answer(question)
        except Wrong as wrong:
            return self.whole(wrong.status, error(api, wrong))
        except (KeyError, TypeError, ValueError) as odd:
            return self.whole(400, error(api, Wrong(400, f"the request cannot be read: {odd!r}")))
        if not body.get("stream"):
            return self.whole(200, write(body, parts))
        return self.stream(api, question, list(events(body, parts)))

    def stream(self, api, question, events):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # Enough for some words of the answer.
        some = events[:6]
        if question.text.startswith("break off"):
            for event in some:
                self.event(*event)
            # Nothing says that this is the end.
            self.close_connection = True
            return self.wfile.flush()
        if question.text.startswith("never end"):
            return self.endless(api, some)
        for event in events:
            self.event(*event)
        self.chunk(b"")

    def endless(self, api, events):
        try:
            for event in events:
                self.event(*event)
            while True:
                time.sleep(PAUSE)
                self.chunk(b": still here\n\n")
        except OSError:
            with changed:
                gone[api] += 1
                changed.notify_all()
        self.close_connection = True

    def event(self, name, data):
        data = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        named = f"event: {name}\n" if name else ""
        self.chunk(f"{named}data: {data}\n\n".encode())

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    # Whoever has started it closes this when it is not needed any more.
    sys.stdin.read()


main()
