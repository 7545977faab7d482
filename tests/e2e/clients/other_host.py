"""Talks to a host that is no LLM vendor. A tap must not copy a byte of it.

Usage: other_host.py [--host NAME] [--canary TEXT]     TEXT goes out in path, header and body, and comes back.
"""

import argparse
import http.client

import common


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="www.example.test")
    parser.add_argument("--canary", default="canary-other-host")
    args = parser.parse_args()
    connection = http.client.HTTPSConnection(args.host, context=common.counting_context())
    body = f'{{"model": "gpt-4o", "messages": [{{"role": "user", "content": "{args.canary}"}}]}}'
    connection.request("POST", f"/v1/chat/completions?{args.canary}", body, {"x-canary": args.canary})
    answer = connection.getresponse().read().decode()
    connection.close()
    common.check(args.canary in answer, "the page did not echo the canary")
    common.report("other_host", host=args.host, sends=common.CountingSocket.sends)


if __name__ == "__main__":
    main()
