"""Opens connections and uses them as it is told, a command a line on standard input; answers each with one JSON line.

    open NAME SERVER     TLS to the server, which is to be called SERVER ("-": nobody), kept under NAME
    cut NAME SERVER      the same, with a ClientHello in two TCP segments
    ask NAME             a request on that connection, and its answer
    dial NAME ADDRESS    a TCP connection to `address:port`, kept under NAME
    say NAME             plain text on that connection, and a part of the answer
    udp ADDRESS          a datagram to `address:port`
    close NAME

Only the standard library: what is tested is the kernel.
"""

import json
import socket
import ssl
import sys
import time

LIMIT_S = float(sys.argv[3])
HOST, PORT = sys.argv[1].rsplit(":", 1)
CONTEXT = ssl.create_default_context(cafile=sys.argv[2])
OPEN = {}


def address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def connected(to):
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(LIMIT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    OPEN["connecting"] = sock
    sock.connect(to)
    return OPEN.pop("connecting")


def context(server):
    if server != "-":
        return CONTEXT
    nobody = ssl.create_default_context(cafile=sys.argv[2])
    nobody.check_hostname = False
    return nobody


def open_(name, server):
    sock = connected((HOST, int(PORT)))
    wrapped = context(server).wrap_socket(sock, server_hostname=None if server == "-" else server, do_handshake_on_connect=False)
    OPEN[name] = wrapped
    wrapped.do_handshake()


def cut(name, server):
    sock = connected((HOST, int(PORT)))
    OPEN[name] = sock
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(server).wrap_bio(incoming, outgoing, server_hostname=server)
    parts = None
    while True:
        try:
            tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            done = False
        data = outgoing.read()
        if parts is None:
            # The first part ends inside the record's header.
            parts = [data[:3], data[3:]]
            for part in parts:
                sock.sendall(part)
        elif data:
            sock.sendall(data)
        if done:
            return
        received = sock.recv(65536)
        if not received:
            raise ConnectionError("closed")
        incoming.write(received)


def ask(name):
    sock = OPEN[name]
    sock.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return take(sock)


def take(sock):
    answer = sock.recv(65536)
    if not answer.startswith(b"HTTP/1.1"):
        raise ConnectionError(f"answered {answer[:20]!r}")
    # The rest of the answer, which is short and comes at once.
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    left = int(lengths[0]) - len(body) if lengths else 0
    while left > 0:
        left -= len(sock.recv(left))


def await_(name):
    """The answer to a request that was sent before."""
    take(OPEN[name])


def dial(name, to):
    OPEN[name] = connected(address(to))


def say(name):
    sock = OPEN[name]
    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    if not sock.recv(65536):
        raise ConnectionError("closed")


def udp(to):
    to = address(to)
    with socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x" * 1200, to)


def close(name):
    OPEN.pop(name).close()


COMMANDS = {"open": open_, "cut": cut, "ask": ask, "await": await_, "dial": dial, "say": say, "udp": udp, "close": close}

print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    command, *arguments = line.split()
    began = time.monotonic()
    try:
        COMMANDS[command](*arguments)
        outcome = {"ok": True}
    except OSError as error:
        outcome = {"ok": False, "error": type(error).__name__, "errno": error.errno}
    print(json.dumps({**outcome, "ms": round((time.monotonic() - began) * 1000, 3)}), flush=True)
