"""Streamed answers of both vendors: chat with and without usage, responses, messages; plain and compressed.

The server echoes the request, so the canary also comes back, cut into small events.
Usage: stream_client.py [--canary TEXT]     Prints one JSON line with what each stream carried.
"""

import argparse

import anthropic
import openai

import common


def chat(client, canary: str, with_usage: bool, fixture: str) -> dict:
    options = {"stream_options": {"include_usage": True}} if with_usage else {}
    stream = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": canary}],
        stream=True,
        extra_headers={"x-fixture": fixture},
        **options,
    )
    text, usage, events, model = "", None, 0, None
    for chunk in stream:
        events += 1
        model = chunk.model
        usage = chunk.usage or usage
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    common.check(canary in text, "the chat stream lost the canary")
    common.check((usage is not None) == with_usage, "usage must come if and only if it was asked for")
    return {"api": "chat", "model": model, "events": events, "usage": usage.total_tokens if usage else None}


def responses(client, canary: str) -> dict:
    text, events, whole = "", 0, None
    stream = client.responses.create(
        model="gpt-4.1", input=canary, stream=True, extra_headers={"x-fixture": "echo"}
    )
    for event in stream:
        events += 1
        if event.type == "response.output_text.delta":
            text += event.delta
        elif event.type == "response.completed":
            whole = event.response
    common.check(canary in text and whole is not None, "the response stream lost the canary or its end")
    return {"api": "responses", "model": whole.model, "events": events, "usage": whole.usage.total_tokens}


def messages(client, canary: str) -> dict:
    with client.messages.stream(
        model="claude-sonnet-4-5",
        max_tokens=100,
        messages=[{"role": "user", "content": canary}],
        extra_headers={"x-fixture": "echo"},
    ) as stream:
        events = sum(1 for _ in stream)
        whole = stream.get_final_message()
    common.check(canary in whole.content[0].text, "the message stream lost the canary")
    tokens = whole.usage.input_tokens + whole.usage.output_tokens
    return {"api": "messages", "model": whole.model, "events": events, "usage": tokens}


def tool_stream(client) -> dict:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"properties": {"order": {"type": "integer"}}}}}
    stream = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Look it up."}], stream=True, tools=[tool]
    )
    arguments, events, model = "", 0, None
    for chunk in stream:
        events += 1
        model = chunk.model
        for call in chunk.choices[0].delta.tool_calls or []:
            arguments += call.function.arguments or ""
    common.check(arguments == '{"order":7}', "the tool's arguments came apart")
    return {"api": "chat", "model": model, "events": events, "usage": None}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--canary", default="canary-stream")
    canary = parser.parse_args().canary
    client = openai.OpenAI(api_key=common.API_KEY, max_retries=0)
    streams = [
        chat(client, canary, with_usage=False, fixture="echo"),
        chat(client, canary, with_usage=True, fixture="echo"),
        chat(client, canary, with_usage=True, fixture="echo, gzip"),
        tool_stream(client),
        responses(client, canary),
        messages(anthropic.Anthropic(api_key=common.API_KEY, max_retries=0), canary),
    ]
    common.report("stream_client", streams=streams)


if __name__ == "__main__":
    main()
