"""Requests without a vendor's client: http.client over one kept-alive connection, with every write counted.

Usage: raw_client.py [--host NAME] [--port N] [--address A] [--no-sni] [--requests N] [--size BYTES] [--canary TEXT]
                     [--answer-size BYTES] [--ready FIFO] [--go FIFO] [--stop FILE]

The handshake comes first; then the client says so in the ready pipe (if given) and waits for a line in the go pipe (if
given); then the requests go out, at most N, until the stop file (if given) is there. So a test can attach a tap between a
connection's start and its first request, and keep the connection busy until it has seen what it waits for.
Request I carries the text TEXT-I and is BYTES long. Prints one JSON line.
"""

import argparse
import http.client
import json
import os
import socket

import common


def body(size: int, canary: str) -> bytes:
    """A chat request of exactly `size` bytes, or the smallest that holds the canary."""
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": canary}]}
    padding = max(size - len(json.dumps(request)), 0)
    request["messages"][0]["content"] = canary + " " + "x" * (padding - 1) if padding else canary
    return json.dumps(request).encode()


def connect(args) -> http.client.HTTPSConnection:
    context = common.counting_context()
    connection = http.client.HTTPSConnection(args.host, args.port, context=context)
    plain = socket.create_connection((args.address or args.host, args.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if args.no_sni:
        context.check_hostname = False
    connection.sock = context.wrap_socket(plain, server_hostname=None if args.no_sni else args.host)
    return connection


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="api.openai.com")
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--address", help="connect here instead of looking the host up")
    parser.add_argument("--no-sni", action="store_true")
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--canary", default="canary-raw")
    parser.add_argument("--answer-size", type=int)
    parser.add_argument("--traceparent", help="the span that the calls hang below")
    parser.add_argument("--ready")
    parser.add_argument("--go")
    parser.add_argument("--stop")
    args = parser.parse_args()

    connection = connect(args)
    if args.ready:
        with open(args.ready, "w", encoding="utf-8") as ready:
            ready.write("ready\n")
    if args.go:
        with open(args.go, encoding="utf-8") as go:
            common.check(go.readline() == "go\n", "told to stop")

    headers = {"content-type": "application/json", "authorization": f"Bearer {common.API_KEY}"}
    if args.answer_size is not None:
        headers["x-fixture"] = f"size={args.answer_size}"
    if args.traceparent:
        headers["traceparent"] = args.traceparent
    received = 0
    requests = 0
    while requests < args.requests and not (args.stop and os.path.exists(args.stop)):
        number, requests = requests, requests + 1
        connection.request("POST", "/v1/chat/completions", body(args.size, f"{args.canary}-{number}"), headers)
        response = connection.getresponse()
        received += len(response.read())
        common.check(response.status == 200, f"status {response.status}")
    connection.close()
    sends = common.CountingSocket
    common.report(
        "raw_client",
        requests=requests,
        sends=sends.sends,
        sent_bytes=sends.sent_bytes,
        largest_send_bytes=sends.largest_send_bytes,
        received_body_bytes=received,
    )


if __name__ == "__main__":
    main()
