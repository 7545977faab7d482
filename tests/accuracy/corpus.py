#!/usr/bin/env python3
"""The labelled corpus. Enters: a seed and how many items of each kind. Leaves: corpus.jsonl, one item a line:
{id, set, kind, text, spans: [{start, end, entity}]}, offsets in bytes of UTF-8; no spans means that nothing may be found.

    corpus.py OUT --seed 7 --each 8 --exchanges ../shared/exchanges
"""

import argparse
import json
import pathlib

import pii_items
import secret_items
import secret_negatives
import shipped
from chance import Chance


def generated(seed, each, exchanges):
    r = Chance(f"secrets-{seed}")
    for kind, text, spans in secret_items.items(r, each):
        yield "secrets", kind, text, spans
    for kind, text in secret_negatives.items(Chance(f"secret-negatives-{seed}"), each * 6, exchanges):
        yield "secrets", kind, text, None
    r = Chance(f"pii-{seed}")
    for kind, text, spans in pii_items.items(r, each):
        yield "pii", kind, text, spans
    for kind, text in pii_items.negatives(Chance(f"pii-negatives-{seed}"), each * 5):
        yield "pii", kind, text, None


def bytes_of(text, position):
    return len(text[:position].encode())


def build(seed, each, exchanges, fetched):
    rows = list(generated(seed, each, exchanges))
    if fetched:
        rows += [("examples", *row) for row in shipped.examples(fetched)]
        rows += [("presidio", *row) for row in shipped.sentences(fetched)]
    items, seen = [], set()
    for number, (group, kind, text, spans) in enumerate(rows):
        # A negative that has come before says nothing new.
        if spans is None and (group, text) in seen:
            continue
        seen.add((group, text))
        places = [{"start": bytes_of(text, start), "end": bytes_of(text, end), "entity": kind} for start, end in spans or []]
        items.append({"id": f"{group}-{number:06d}", "set": group, "kind": kind, "text": text, "spans": places})
    return items


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", default="tune")
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--exchanges", type=pathlib.Path, default=pathlib.Path("../shared/exchanges"))
    parser.add_argument("--fetched", type=pathlib.Path, help="folder for what packages ship; without it only what is generated")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    if given.fetched:
        given.fetched.mkdir(parents=True, exist_ok=True)
    items = build(given.seed, given.each, given.exchanges, given.fetched)
    given.out.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    print(f"{len(items)} items in {given.out}")


if __name__ == "__main__":
    main()
