"""The JSON schema of the sweep file, shipped as `sweep.schema.json` for editors.

It is made from the tables that the checks use, and refuses what is wrong within one key. Rules between several keys
(min below max, a sweep that ends) are left to the checks.
"""

from collections.abc import Mapping
from typing import Any

from tuner.spec.domains import FORMS, PARAMETER, RANGES
from tuner.spec.fields import Field
from tuner.spec.keys import (
    BUDGET,
    CHECKPOINTS,
    EARLY_TERMINATE,
    FAILURES,
    METRIC,
    NONE,
    RESOURCES,
    RULE_TYPE,
    SWEEP,
)

_NON_EMPTY = {"minItems": 1, "uniqueItems": True}


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    metric = _mapping(METRIC) | {"dependentRequired": {"min_delta": ["patience"]}}
    inside: dict[str, dict[str, Any]] = {
        "metric": {"oneOf": [metric, {"type": "array", "minItems": 1, "items": metric}]},
        "parameters": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"$ref": "#/$defs/parameter"},
        },
        "early_terminate": _early_terminate(),
        "budget": _mapping(BUDGET),
        "resources": _resources(),
        "start_with": {"items": {"type": "object"}},
        "start_from": {"items": {"type": "string", "minLength": 1}},
        "checkpoints": _mapping(CHECKPOINTS),
        "failures": _mapping(FAILURES),
    }
    sweep = _mapping(SWEEP)
    for key, schema in inside.items():
        sweep["properties"][key] |= schema
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tuner sweep",
        "description": "A hyperparameter sweep, as `tuner run` takes it.",
        **sweep,
        "$defs": {"parameter": _parameter()},
    }


def _mapping(table: Mapping[str, Field]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: {"title": key, **field.json_schema()} for key, field in table.items()},
    }
    required = [key for key, field in table.items() if field.required]
    return schema | ({"required": required} if required else {})


def _resources() -> dict[str, Any]:
    schema = _mapping(RESOURCES)
    schema["properties"]["gpu"]["anyOf"][1]["anyOf"] = [{"maximum": 1}, {"multipleOf": 1}]
    return schema


def _early_terminate() -> dict[str, Any]:
    rules = []
    for name, table in EARLY_TERMINATE.items():
        rule = _mapping({"type": RULE_TYPE, **table})
        rule["properties"]["type"] = {"title": "type", "description": RULE_TYPE.about, "const": name}
        rules.append(rule | {"title": name})
    with_defaults = [name for name, table in EARLY_TERMINATE.items() if not any(x.required for x in table.values())]
    return {"oneOf": [*rules, {"title": "a rule as it comes, or none", "enum": [*with_defaults, NONE]}]}


def _parameter() -> dict[str, Any]:
    range_form = _form("min", "max", "q", required=["min", "max"], title="a range")
    range_form["allOf"] = [_range_rule(name) for name in RANGES]
    range_form["dependentRequired"] = {"q": ["distribution"]}
    lists = [_form(key, required=[key], title="one of some values") for key in ("values", "grid")]
    for key, form in zip(("values", "grid"), lists, strict=True):
        form["properties"][key] |= _NON_EMPTY
    value = _form("value", required=["value"], title="one value")
    bare = {"title": "one value", "type": ["string", "number", "boolean"]}
    return {"oneOf": [bare, value, *lists, range_form]}


def _form(*keys: str, required: list[str], title: str) -> dict[str, Any]:
    form = _mapping({key: PARAMETER[key] for key in (*keys, "distribution", "when")})
    form["properties"]["distribution"] = {
        "title": "distribution",
        "description": PARAMETER["distribution"].about,
        "enum": list(FORMS[keys[0]]),
    }
    form["properties"]["when"]["additionalProperties"] = {"not": {"type": "array", "maxItems": 0}}
    return {"title": title, **form, "required": required}


def _range_rule(distribution: str) -> dict[str, Any]:
    shape = RANGES[distribution]
    bound = ({"type": "integer"} if shape.whole else {}) | ({"exclusiveMinimum": 0} if shape.log else {})
    then: dict[str, Any] = {"properties": {"min": bound, "max": bound}}
    if not shape.quantised:
        then["properties"]["q"] = False
    given = {"required": ["distribution"], "properties": {"distribution": {"const": distribution}}}
    return {"if": given, "then": then}
