"""Connections that do not come about, and one that does although it should not.

Usage: handshake_client.py CASE [--times N] [--told]

CASE is one of
  untrusting    the client does not know the server's issuer
  other-name    the client reaches a host whose certificate is for other names
  old           the client speaks TLS 1.1 at most, which the server refuses
  unverified    the client does not look at the certificate, and asks its question
With --told it lives on, as a service does, until the agent's output (OUTFLOW_TEST_OUTPUT) says that connections fail.
Prints one JSON line with what its TLS library said.
"""

import argparse
import http.client
import socket
import ssl

import common
import told

HOST = "api.openai.com"
OTHER = "api.mistral.ai"


def context_of(case: str) -> ssl.SSLContext:
    if case == "untrusting":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if case == "old":
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    if case == "unverified":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def attempt(case: str) -> str:
    context = context_of(case)
    plain = socket.create_connection((HOST, 443))
    try:
        with context.wrap_socket(plain, server_hostname=OTHER if case == "other-name" else HOST) as secure:
            connection = http.client.HTTPSConnection(HOST)
            connection.sock = secure
            connection.request("POST", "/v1/chat/completions", '{"model": "gpt-4o", "messages": []}')
            return str(connection.getresponse().status)
    except ssl.SSLCertVerificationError as error:
        return f"verification gave {error.verify_code}"
    except ssl.SSLError as error:
        return error.reason or str(error)
    finally:
        plain.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=["untrusting", "other-name", "old", "unverified"])
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--told", action="store_true")
    args = parser.parse_args()
    said = [attempt(args.case) for _ in range(args.times)]
    if args.told:
        told.wait_until_told("vendor.handshake_failed")
    common.report("handshake_client", said=said)


if __name__ == "__main__":
    main()
