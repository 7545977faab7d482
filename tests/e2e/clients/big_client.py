"""One very long request on one connection, through the vendor's client.

Usage: big_client.py [--size BYTES] [--canary TEXT]     BYTES of prompt (default 8 MiB); TEXT stands at its start and end.
Prints one JSON line that counts the SSL-level writes.
"""

import argparse

import openai

import common


def prompt(size: int, canary: str) -> str:
    """ASCII text of `size` bytes in which every line differs, with the canary first and last."""
    ends = f"{canary}-start\n", f"{canary}-end"
    room = size - sum(map(len, ends))
    common.check(room >= 0, "the size is too small for the canary")
    lines = "".join(f"line {number} of a long document\n" for number in range(room // 27 + 1))
    return ends[0] + lines[:room] + ends[1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=8 << 20)
    parser.add_argument("--canary", default="canary-big")
    args = parser.parse_args()
    text = prompt(args.size, args.canary)
    with openai.DefaultHttpxClient(verify=common.counting_context()) as http:
        client = openai.OpenAI(api_key=common.API_KEY, max_retries=0, http_client=http)
        answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}])
    sends = common.CountingSocket
    common.check(answer.usage.prompt_tokens > args.size // 4, "the server did not read all of it")
    common.report(
        "big_client",
        prompt_bytes=len(text),
        sends=sends.sends,
        sent_bytes=sends.sent_bytes,
        largest_send_bytes=sends.largest_send_bytes,
    )


if __name__ == "__main__":
    main()
