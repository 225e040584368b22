"""A small judge of JSON Schema, apart from the library that makes ours. No tests here."""

from datetime import datetime
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "type", "properties", "required", "items",
    "anyOf", "enum", "const", "default", "format", "additionalProperties",
}  # fmt: skip


def complaints(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None) -> list[str]:
    """What of ``value`` breaks ``schema``; a keyword that is not judged here is an error."""
    root = schema if root is None else root
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if reference := schema.get("$ref"):
        return complaints(value, root["$defs"][reference.rpartition("/")[2]], root)
    if options := schema.get("anyOf"):
        return [] if any(not complaints(value, one, root) for one in options) else [f"{value!r}"]
    wanted = schema.get("type")
    is_flag = isinstance(value, bool) and wanted != "boolean"
    if wanted and (is_flag or not isinstance(value, TYPES[wanted])):
        return [f"{value!r} is no {wanted}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{value!r} is none of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{value!r} is not {schema['const']!r}")
    if schema.get("format") == "date-time" and datetime.fromisoformat(value).tzinfo is None:
        found.append(f"{value} has no zone")
    if isinstance(value, dict):
        found += _of_object(value, schema, root)
    if isinstance(value, list):
        found += [said for one in value for said in complaints(one, schema.get("items", {}), root)]
    return found


def _of_object(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any]) -> list[str]:
    fields, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    found = [f"{name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, one in value.items():
        if name in fields:
            found += complaints(one, fields[name], root)
        elif others is False:
            found.append(f"{name} is not known")
        elif isinstance(others, dict):
            found += complaints(one, others, root)
    return found
