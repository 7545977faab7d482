"""Checks events against the schema of OCSF 1.8.0, offline. Enters: one event a line. Leaves: one JSON list of errors a line; called with
`recommended`, one object a line instead: which fields that OCSF recommends it `holds`, and which it `lacks`.

The package ocsf-json-schema carries the schema. JSON Schema says which fields a class has and of which types; what it cannot say is
checked here against the same schema: that a caption is the one of its number, that profiles exist, that nothing is deprecated.
"""

import json
import sys

from jsonschema.validators import validator_for
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

SCHEMA = get_ocsf_schema("1.8.0")
MAKER = OcsfJsonSchemaEmbedded(SCHEMA)
CLASSES = {described["uid"]: described for described in SCHEMA["classes"].values()}
validators = {}


def validator(name, profiles):
    key = (name, *profiles)
    if key not in validators:
        schema = MAKER.get_class_schema(name, profiles=list(profiles))
        assert schema["additionalProperties"] is False, f"{name} takes any field: nothing is checked"
        validators[key] = validator_for(schema)(schema)
    return validators[key]


def unique(pairs):
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"twice in one object: {', '.join(twice)}")
    return dict(pairs)


def meaning(value, attributes, path):
    """Captions, deprecations and nulls below one object."""
    for name, inner in value.items():
        here, described = f"{path}.{name}", attributes.get(name)
        if inner is None:
            yield f"{here}: null"
        if described is None:
            continue  # JSON Schema refuses it, or the object takes any field.
        if "@deprecated" in described:
            yield f"{here}: deprecated"
        if "sibling" in described:
            expected = described["enum"].get(str(inner), {}).get("caption")
            found = value.get(described["sibling"])
            if found != expected:
                yield f"{here}: {inner} is {expected!r}, not {found!r}"
        if described.get("object_type") in SCHEMA["objects"]:
            below = SCHEMA["objects"][described["object_type"]]["attributes"]
            for item in inner if isinstance(inner, list) else [inner]:
                if isinstance(item, dict):
                    yield from meaning(item, below, here)


def errors(line):
    try:
        event = json.loads(line, object_pairs_hook=unique)
        described = CLASSES[event["class_uid"]]
        profiles = event["metadata"]["profiles"]
        if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
            yield "$.type_uid: not of this class and activity"
        for profile in profiles:
            if profile not in described["profiles"]:
                yield f"$.metadata.profiles: {described['name']} has no {profile}"
    except (KeyError, TypeError, ValueError) as error:
        yield f"$: {error!r}"
        return
    for error in validator(described["name"], profiles).iter_errors(event):
        yield f"{error.json_path}: {error.message}"
    yield from meaning(event, described["attributes"], "$")


def recommended(value, attributes, path, profiles):
    """Recommended fields of one object and of those below it, with whether they are there."""
    for name, described in attributes.items():
        here, inner = f"{path}.{name}", value.get(name)
        theirs = described.get("profiles")
        if "@deprecated" in described or (theirs is not None and not set(theirs) & set(profiles)):
            continue
        if described["requirement"] == "recommended":
            yield here, inner is not None
        below = SCHEMA["objects"].get(described.get("object_type"), {}).get("attributes", {})
        for item in inner if isinstance(inner, list) else [inner]:
            if isinstance(item, dict):
                yield from recommended(item, below, here, profiles)


def holdings(line):
    event = json.loads(line)
    described = CLASSES[event["class_uid"]]
    found = list(recommended(event, described["attributes"], described["name"], event["metadata"]["profiles"]))
    return {"holds": sorted({path for path, held in found if held}), "lacks": sorted({path for path, held in found if not held})}


answer = holdings if sys.argv[1:] == ["recommended"] else lambda line: list(errors(line))
for line in sys.stdin:
    print(json.dumps(answer(line)))
