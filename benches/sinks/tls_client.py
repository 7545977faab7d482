"""One TLS connection to a vendor's name, one call for each line in a pipe, each with an e-mail address of its own.

Usage: tls_client.py READY_FIFO GO_FIFO CALLS

The clock is read right before the one SSL_write that carries a whole request, and when the whole answer is there. Prints one JSON line: the
TLS libraries that this process has mapped, and both times of each call in nanoseconds (CLOCK_MONOTONIC).
"""

import http.client
import json
import socket
import ssl
import sys
import time

HOST = "api.openai.com"


def request(number: int) -> bytes:
    """Model and prompt hold nothing to find but the address."""
    content = f"refund for person-{number}@outflow-bench-shop.com"
    body = json.dumps({"model": "gpt-4o-2024-08-06", "messages": [{"role": "user", "content": content}]}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer outflow-local-fixture\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def mapped_tls() -> list:
    """The proof of which copy of the library this is."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return sorted({line.split(None, 5)[5].strip() for line in maps if "libssl" in line})


def main() -> None:
    ready_path, go_path, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
    plain = socket.create_connection((HOST, 443))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = ssl.create_default_context().wrap_socket(plain, server_hostname=HOST)
    with open(ready_path, "w", encoding="utf-8") as ready:
        ready.write("ready\n")
    times = []
    with open(go_path, encoding="utf-8") as go:
        for number in range(calls):
            if go.readline() != "go\n":
                sys.exit("told to stop")
            whole = request(number)
            sent_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            connection.sendall(whole)
            answer = http.client.HTTPResponse(connection, method="POST")
            answer.begin()
            answer.read()
            times.append((sent_ns, time.clock_gettime_ns(time.CLOCK_MONOTONIC)))
            if answer.status != 200:
                sys.exit(f"status {answer.status}")
    print(json.dumps({"libssl": mapped_tls(), "calls": times}))


if __name__ == "__main__":
    main()
