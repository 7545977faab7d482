"""The vendor's realtime client: one session over a WebSocket, some turns of text.

Usage: realtime_client.py [--turns N] [--text TEXT] --ready FIFO --go FIFO     TEXT is what the first turn says. Before it connects it
says so in the ready pipe and waits for a line in the go pipe. Prints one JSON line.
"""

import argparse

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

    client = openai.OpenAI(api_key=common.API_KEY, max_retries=0)
    tokens = []
    # Other tests may have the machine to themselves for a while.
    patient = {"open_timeout": 120}
    with client.realtime.connect(model="gpt-realtime", websocket_connection_options=patient) as connection:
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"], "instructions": "You help."})
        for turn in range(arguments.turns):
            text = arguments.text if turn == 0 else f"And then? ({turn})"
            content = [{"type": "input_text", "text": text}]
            connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            connection.response.create()
            for event in connection:
                common.check(event.type != "error", f"the server said {event}")
                if event.type == "response.done":
                    tokens.append([event.response.usage.input_tokens, event.response.usage.output_tokens])
                    break
    common.report("realtime", tokens=tokens)


main()
