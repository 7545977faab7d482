"""Sends one text to a host that is no vendor's and another to a vendor, and then stands still, so that a test can look where they are.

Usage: canary_client.py --ready FIFO --go FIFO

Says that it is ready and waits for a line, twice: before it sends, and after. The texts are not on its command line: they follow from
its process id, `word(pid)`. The first goes out on a connection whose server is named, and on one without a name after a request that
is longer than a tap may look at. Prints one JSON line.
"""

import argparse
import http.client
import os
import socket

import common

OTHER = "www.example.test"


def word(kind: str, pid: int) -> str:
    """What the test can work out too."""
    return f"{kind}-{pid * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF:016x}"


def post(connection: http.client.HTTPSConnection, text: str) -> None:
    body = f'{{"model": "gpt-4o-2024-08-06", "messages": [{{"role": "user", "content": "{text}"}}]}}'
    connection.request("POST", "/v1/chat/completions", body, {"x-text": text, "host": connection.host})
    connection.getresponse().read()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready", required=True)
    parser.add_argument("--go", required=True)
    args = parser.parse_args()
    canary, control = word("canary", os.getpid()), word("control", os.getpid())

    def meet() -> None:
        with open(args.ready, "w", encoding="utf-8") as ready:
            ready.write("ready\n")
        with open(args.go, encoding="utf-8") as go:
            common.check(go.readline() == "go\n", "told to stop")

    context = common.counting_context()
    named = http.client.HTTPSConnection(OTHER, context=context)
    meet()
    post(named, canary)

    nameless = http.client.HTTPSConnection(OTHER, context=context)
    context.check_hostname = False
    nameless.sock = context.wrap_socket(socket.create_connection((OTHER, 443)), server_hostname=None)
    post(nameless, "x" * 9000)
    post(nameless, canary)

    context.check_hostname = True
    post(http.client.HTTPSConnection("api.openai.com", context=context), control)
    meet()
    common.report("canary_client", sends=common.CountingSocket.sends)


if __name__ == "__main__":
    main()
