"""One TLS connection to a vendor's name, one call for each line in a pipe, each with e-mail addresses of its own.

Usage: tls_client.py READY_FIFO GO_FIFO CALLS [PACE LEAKS]

With PACE, one line starts all calls: so many a second, each at its time, with LEAKS addresses each; one that comes late does not move the next.

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


def request(number: int, pace: int, leaks: int) -> bytes:
    """Model and prompt hold nothing to find but the addresses. The feature says of which call they are."""
    names = (f"person-{number}-{leak}-at-{pace}-of-{leaks}@outflow-bench-shop.com" for leak in range(leaks))
    content = f"refund for {' and for '.join(names)}"
    body = json.dumps({"model": "gpt-4o-2024-08-06", "messages": [{"role": "user", "content": content}]}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\nx-feature: call-{number}\r\n"
        f"authorization: Bearer outflow-local-fixture\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def mapped_tls() -> list:
    """The proof of which copy of the library this is."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return sorted({line.split(None, 5)[5].strip() for line in maps if "libssl" in line})


def main() -> None:
    ready_path, go_path, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
    pace, leaks = (int(sys.argv[4]), int(sys.argv[5])) if len(sys.argv) > 4 else (0, 1)
    plain = socket.create_connection((HOST, 443))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = ssl.create_default_context().wrap_socket(plain, server_hostname=HOST)
    with open(ready_path, "w", encoding="utf-8") as ready:
        ready.write("ready\n")
    times = []
    with open(go_path, encoding="utf-8") as go:
        begun = None
        for number in range(calls):
            if (begun is None or not pace) and go.readline() != "go\n":
                sys.exit("told to stop")
            begun = begun or time.monotonic()
            whole = request(number, pace, leaks)
            if pace:
                time.sleep(max(0, begun + number / pace - time.monotonic()))
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
