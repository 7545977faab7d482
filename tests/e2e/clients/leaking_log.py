"""An invented service that writes into its log what it should not.

Enters: the log's path. Leaves: some lines at its end, most of them harmless. What leaks is ordinary: a customer's data in a message for
people, and a command line with a token in it.
"""

import sys

import fakes

LINES = [
    "refund-service starting, 4 workers",
    "POST /refunds order=7 status=202",
    f"refund of order 7 for Maria Keller <{fakes.EMAIL}>, reason: bicycle light",
    f"payment gateway answered 402 for card {fakes.card_number()}, will retry",
    "POST /refunds order=8 status=202",
    f"updating rules: git clone https://x-access-token:{fakes.github_token()}@github.com/outflow-demo/refunds",
    "rules updated in 412 ms",
]


def main() -> None:
    with open(sys.argv[1], "a", encoding="utf-8") as log:
        for second, line in enumerate(LINES):
            log.write(f"2026-11-22T10:03:{second:02} INFO {line}\n")


if __name__ == "__main__":
    main()
