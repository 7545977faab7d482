"""A process that is connected to a vendor and has no TLS library: what a proxy looks like that passes bytes on.

Usage: no_tls.py [HOST]. Connects to HOST:443, says what is no TLS, waits until the server hangs up, and until the agent has said what it thinks of
that.
"""

import socket
import sys

import told

with socket.create_connection((sys.argv[1] if len(sys.argv) > 1 else "api.openai.com", 443)) as connection:
    connection.sendall(b"no TLS at all\r\n")
    try:
        while connection.recv(1024):
            pass
    except ConnectionError:
        pass  # it hangs up in the hard way

told.wait_until_told("coverage.unknown_tls_stack")
