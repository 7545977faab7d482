"""The vendors' synchronous clients, once through every endpoint that the local server knows.

Usage: sync_client.py [--canary TEXT]     TEXT stands in every prompt. Prints one JSON line with the calls that it made.
"""

import argparse

import anthropic
import openai

import common

TOOL = {
    "type": "object",
    "properties": {"order": {"type": "integer"}, "reason": {"type": "string"}},
    "required": ["order"],
}


def openai_calls(canary: str) -> list:
    client = openai.OpenAI(api_key=common.API_KEY, max_retries=0)
    calls = []

    def done(api: str, asked: str, answer, tokens) -> None:
        calls.append({"vendor": "openai", "api": api, "asked": asked, "answered": answer.model, "tokens": tokens})

    ask = [{"role": "system", "content": "You help."}, {"role": "user", "content": f"Where is my order? {canary}"}]
    chat = client.chat.completions.create(model="gpt-4o", messages=ask)
    common.check(chat.choices[0].finish_reason == "stop", "the chat did not end")
    done("chat", "gpt-4o", chat, chat.usage.total_tokens)

    tools = [{"type": "function", "function": {"name": "look_up_order", "parameters": TOOL}}]
    turn = client.chat.completions.create(model="gpt-4o-2024-08-06", messages=ask, tools=tools)
    call = turn.choices[0].message.tool_calls[0]
    common.check(call.function.name == "look_up_order", "the wrong tool was called")
    ask += [turn.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": f"sent {canary}"}]
    end = client.chat.completions.create(model="gpt-4o-2024-08-06", messages=ask, tools=tools)
    common.check(end.choices[0].message.tool_calls is None, "the tool was called again")
    done("chat", "gpt-4o-2024-08-06", turn, turn.usage.total_tokens)
    done("chat", "gpt-4o-2024-08-06", end, end.usage.total_tokens)

    answer = client.responses.create(model="gpt-5-mini", instructions="You help.", input=f"Hello. {canary}")
    common.check(len(answer.output_text) > 0, "the response is empty")
    done("responses", "gpt-5-mini", answer, answer.usage.total_tokens)

    vectors = client.embeddings.create(model="text-embedding-3-small", input=[canary, "another text"])
    common.check([len(item.embedding) for item in vectors.data] == [1536, 1536], "the vectors have a wrong length")
    done("embeddings", "text-embedding-3-small", vectors, vectors.usage.total_tokens)

    common.check(any(model.id == "gpt-4o-2024-08-06" for model in client.models.list()), "a model is missing")

    moved = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": canary}],
        extra_headers={"x-fixture": "resolve=gpt-4o-2024-11-20, gzip"},
    )
    common.check(moved.model == "gpt-4o-2024-11-20", "the fixture did not resolve as told")
    done("chat", "gpt-4o", moved, moved.usage.total_tokens)

    try:
        client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": canary}],
            extra_headers={"x-fixture": "status=429"},
        )
        common.check(False, "a refusal was taken for an answer")
    except openai.RateLimitError as error:
        common.check(error.code == "rate_limit_exceeded", "the refusal has no code")
    return calls


def anthropic_calls(canary: str) -> list:
    client = anthropic.Anthropic(api_key=common.API_KEY, max_retries=0)
    calls = []

    def done(asked: str, answer) -> None:
        tokens = answer.usage.input_tokens + answer.usage.output_tokens
        calls.append(
            {"vendor": "anthropic", "api": "messages", "asked": asked, "answered": answer.model, "tokens": tokens}
        )

    ask = [{"role": "user", "content": f"Where is my order? {canary}"}]
    plain = client.messages.create(model="claude-sonnet-4-5", max_tokens=100, system="You help.", messages=ask)
    common.check(plain.stop_reason == "end_turn", "the message did not end")
    done("claude-sonnet-4-5", plain)

    tools = [{"name": "look_up_order", "input_schema": TOOL}]
    turn = client.messages.create(model="claude-haiku-4-5-20251001", max_tokens=100, messages=ask, tools=tools)
    use = turn.content[0]
    common.check(use.type == "tool_use" and "order" in use.input, "the tool was not called")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": f"sent {canary}"}
    ask += [{"role": "assistant", "content": turn.content}, {"role": "user", "content": [result]}]
    end = client.messages.create(model="claude-haiku-4-5-20251001", max_tokens=100, messages=ask, tools=tools)
    common.check(end.content[0].type == "text", "the tool was called again")
    done("claude-haiku-4-5-20251001", turn)
    done("claude-haiku-4-5-20251001", end)

    common.check(any(model.id.startswith("claude-") for model in client.models.list()), "a model is missing")

    try:
        client.messages.create(
            model="claude-sonnet-4-5", max_tokens=9, messages=ask[:1], extra_headers={"x-fixture": "status=529"}
        )
        common.check(False, "a refusal was taken for an answer")
    except anthropic.APIStatusError as error:
        common.check(error.status_code == 529, "the refusal has the wrong status")
    return calls


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--canary", default="canary-sync")
    canary = parser.parse_args().canary
    common.report("sync_client", calls=openai_calls(canary) + anthropic_calls(canary), refused=2)


if __name__ == "__main__":
    main()
