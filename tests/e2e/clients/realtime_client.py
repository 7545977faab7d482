"""The vendor's realtime client: one session over a WebSocket, some turns of text.

The asynchronous one: the other one uses one connection of OpenSSL in two threads, and without anybody's tap 12 of 2,832 sessions hung at their
beginning so (websockets 15.0.1, OpenSSL 3).

Usage: realtime_client.py [--turns N] [--text TEXT] --ready FIFO --go FIFO     TEXT is what the first turn says. Before it connects it
says so in the ready pipe and waits for a line in the go pipe. Prints one JSON line.
"""

import argparse
import asyncio

import openai

import common


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--turns", type=int, default=2)
    arguments.add_argument("--text", default="Where is my order?")
    arguments.add_argument("--ready", required=True)
    arguments.add_argument("--go", required=True)
    arguments = arguments.parse_args()
    common.meet(arguments.ready, arguments.go)

    common.report("realtime", tokens=asyncio.run(turns(arguments)))


async def turns(arguments: argparse.Namespace) -> list[list[int]]:
    client = openai.AsyncOpenAI(api_key=common.API_KEY, max_retries=0)
    tokens = []
    # Other tests may have the machine to themselves for a while; the test waits a minute for all of it.
    patient = {"open_timeout": 40}
    async with client.realtime.connect(model="gpt-realtime", websocket_connection_options=patient) as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"], "instructions": "You help."})
        for turn in range(arguments.turns):
            text = arguments.text if turn == 0 else f"And then? ({turn})"
            content = [{"type": "input_text", "text": text}]
            await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            await connection.response.create()
            async for event in connection:
                common.check(event.type != "error", f"the server said {event}")
                if event.type == "response.done":
                    tokens.append([event.response.usage.input_tokens, event.response.usage.output_tokens])
                    break
    return tokens


main()
