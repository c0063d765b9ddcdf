"""JSON Schema of what travels, generated from the types.

`python -m preempt.schemas docs/schema` writes those of every topic.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from orders.events import Instant


def json_schema(event: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one message of this type."""
    (reference,), definitions = msgspec.json.schema_components([event], schema_hook=_instant)
    own = definitions.pop(reference["$ref"].rpartition("/")[2])
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **own}
    return schema | ({"$defs": definitions} if definitions else {})


def _instant(type_: type) -> dict[str, Any]:
    if type_ is not Instant:
        raise NotImplementedError(type_)
    return {
        "anyOf": [
            {"type": "integer", "minimum": 0, "description": "UTC milliseconds since 1970"},
            {"type": "string", "format": "date-time", "description": "ISO 8601 with a zone"},
        ]
    }


def write_schemas(folder: Path, events: Sequence[type[msgspec.Struct]]) -> list[Path]:
    """Write `<schema>.schema.json` for each type, named by the value of its `schema` field."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for event in events:
        name = next(
            field.default for field in msgspec.structs.fields(event) if field.name == "schema"
        )
        file = folder / f"{name}.schema.json"
        file.write_text(json.dumps(json_schema(event), indent=2, ensure_ascii=False) + "\n")
        files.append(file)
    return files
