"""Labelled examples that packages of the registries ship. Enters: a folder to keep them in. Leaves: items. They are fetched when
they are needed and never committed; each stays under its own licence (presidio-evaluator MIT, ripsecrets MIT, kingfisher-rules Apache-2.0).
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile

PRESIDIO, RIPSECRETS, KINGFISHER = "presidio-evaluator==0.3.2", "ripsecrets@0.1.11", "kingfisher-rules@3.0.1"
# What the scanner is for; free text names and places are not (issue 7).
COVERED = {"CREDIT_CARD", "PHONE_NUMBER", "EMAIL_ADDRESS", "IBAN_CODE", "US_SSN", "IP_ADDRESS"}
NEUTRAL = {"GPE", "ORGANIZATION", "NRP", "AGE", "TITLE"}


def unpack(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


def crate(folder, spec):
    name = spec.replace("@", "-")
    if not (folder / name).is_dir():
        subprocess.run(["cargo", "info", "--quiet", spec], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
        unpack(next((home / "registry" / "cache").glob(f"*/{name}.crate")), folder)
    return folder / name


def presidio(folder):
    name = PRESIDIO.replace("==", "-").replace("-evaluator", "_evaluator")
    if not (folder / name).is_dir():
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--no-binary",
                ":all:",
                "-d",
                folder,
                PRESIDIO,
            ],
            check=True,
        )
        unpack(folder / f"{name}.tar.gz", folder)
    return folder / name


def listed(text, key):
    """The texts of a YAML list `key:`, single- or double-quoted, one a line."""
    found, inside = [], False
    for line in text.splitlines():
        if re.fullmatch(rf"\s*{key}:\s*", line):
            inside = True
        elif inside and (match := re.fullmatch(r"\s*- (['\"])(.*)\1\s*", line)):
            found.append(match[2].replace("''", "'") if match[1] == "'" else json.loads(f'"{match[2]}"'))
        else:
            inside = False
    return found


def examples(folder):
    """(kind, text, spans or None for a negative) of the rule examples: only whether an item is found counts."""
    root = crate(folder, RIPSECRETS) / "test"
    for file in sorted((root / "one_per_line").iterdir()):
        for line in file.read_text().splitlines():
            if line.strip():
                yield f"ripsecrets/{file.name}", line, [(0, len(line))]
    for file in sorted((root / "one_per_file").iterdir()):
        text = file.read_text()
        yield f"ripsecrets/{file.name}", text, [(0, len(text))]
    for line in (root / "none").read_text().splitlines():
        # These two are secrets that its own ignore lists name.
        if line.strip() and "pragma:" not in line and ".secretsignore" not in line:
            yield "ripsecrets/none", line, None
    text = (crate(folder, KINGFISHER) / "data" / "kingfisher-rules.yml").read_text()
    for line in listed(text, "examples"):
        yield "kingfisher/examples", line, [(0, len(line))]
    for line in listed(text, "negative_examples"):
        yield "kingfisher/negative", line, None


def sentences(folder):
    """presidio-evaluator's synthetic sentences, as far as they hold what the scanner covers, or nothing personal at all."""
    for row in json.loads((presidio(folder) / "data" / "synth_dataset_v2.json").read_text()):
        kinds = {span["entity_type"] for span in row["spans"]}
        wanted = [span for span in row["spans"] if span["entity_type"] in COVERED]
        for span in wanted:
            yield span["entity_type"], row["full_text"], [(span["start_position"], span["end_position"])]
        if kinds <= NEUTRAL:
            yield "presidio/none", row["full_text"], None
