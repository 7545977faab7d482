"""What the clients share: keys that open nothing, a TLS context that counts its sends, and the one line that they print.

The keys look like no vendor's, so that a scanner finds what the client planted and not its plumbing.
"""

import json
import os
import platform
import ssl
import sys

API_KEY = "outflow-local-fixture"
"""Sent as the vendors' API key; the local server does not look at it."""


class CountingSocket(ssl.SSLSocket):
    """Counts SSL-level writes. Every `send` of Python's ssl module is one SSL_write_ex; `sendall` is a loop of sends."""

    sends = 0
    sent_bytes = 0
    largest_send_bytes = 0

    def send(self, data, flags=0):
        taken = super().send(data, flags)
        kind = type(self)
        kind.sends += 1
        kind.sent_bytes += taken
        kind.largest_send_bytes = max(kind.largest_send_bytes, taken)
        return taken


def counting_context() -> ssl.SSLContext:
    """The default context of this process (SSL_CERT_FILE), with counted sends."""
    context = ssl.create_default_context()
    context.sslsocket_class = CountingSocket
    return context


def mapped_tls() -> list:
    """The TLS libraries that this process has mapped: the proof of which copy it uses."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        paths = {line.split(None, 5)[5].strip() for line in maps if line.count("/") and "libssl" in line}
    return sorted(paths)


def versions() -> dict:
    """Who ran, and over which TLS."""
    vendors = [f"{name} {sys.modules[name].__version__}" for name in ("openai", "anthropic") if name in sys.modules]
    return {"version": ", ".join([platform.python_version(), *vendors]), "tls": ssl.OPENSSL_VERSION.split()[1]}


def report(client: str, **facts) -> None:
    """Prints the client's one line."""
    line = {"client": client, "pid": os.getpid(), "libssl": mapped_tls(), **versions(), **facts}
    print(json.dumps(line), flush=True)


def check(condition: bool, message: str) -> None:
    """Ends the client with a reason: an answer that is not what the server promises is no success."""
    if not condition:
        sys.exit(f"{sys.argv[0]}: {message}")


def meet(ready: str, go: str) -> None:
    """Says in one pipe that the program stands ready, and waits in the other until it is told to go on."""
    with open(ready, "w", encoding="utf-8") as pipe:
        pipe.write("ready\n")
    with open(go, encoding="utf-8") as pipe:
        check(pipe.readline() == "go\n", "told to stop")
