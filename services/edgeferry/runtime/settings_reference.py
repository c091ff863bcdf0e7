"""Writes the reference page of all settings: ``python -m edgeferry.runtime.settings_reference
> docs/settings.md``."""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from edgeferry.runtime.settings import Settings
from edgeferry.runtime.settings_sources import PREFIX

_HEAD = """# Settings

Generated from `services/edgeferry/runtime/settings.py`; change it there, then run
`python -m edgeferry.runtime.settings_reference > docs/settings.md`.

A site reads, the later winning over the earlier:
1. a YAML (or JSON) file, nested as the names below: `http: {port: 8081}`;
2. a folder of secrets that `EDGEFERRY_SECRETS` names: one file per setting, such as
   `api__read_token`;
3. the environment: `EDGEFERRY_HTTP__PORT=8081`. Lists are written with commas;
4. options of the command.

A path in the file counts from the folder that the file is in, any other from where the process
is started. All problems are told at once, each with its name and where it comes from.
`EDGEFERRY_ADMIN_PASSWORD` is no setting of the site: it sets the administrator's password.

| setting | environment | values | default | meaning |
|---|---|---|---|---|
"""
_KINDS = {"integer": "whole number", "number": "number", "string": "text", "array": "list"}


class _Row(NamedTuple):
    name: str
    values: str
    default: object
    meaning: str


def reference() -> str:
    schema = Settings.model_json_schema()
    return _HEAD + "".join(_line(row) for row in _rows(schema, schema["$defs"], "", {}))


def _rows(
    section: dict[str, Any], defs: dict[str, Any], prefix: str, defaults: dict[str, Any]
) -> Iterator[_Row]:
    for name, field in section["properties"].items():
        default = defaults.get(name, field.get("default"))
        if "$ref" in field:
            below = defs[field["$ref"].rpartition("/")[2]]
            yield from _rows(below, defs, f"{prefix}{name}.", default or {})
        else:
            yield _Row(f"{prefix}{name}", _values(field), default, field.get("description", ""))


def _values(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return _values(field["anyOf"][0])
    if field.get("format") == "path":
        return "path"
    if field.get("format") == "password":
        return "secret text"
    kind = _KINDS[field["type"]]
    if "pattern" in field:
        return f"{kind} like `{field['pattern']}`"
    if "maximum" in field:
        return f"{kind}, {field['minimum']} to {field['maximum']}"
    return f"{kind} from {field['minimum']}" if "minimum" in field else kind


def _line(row: _Row) -> str:
    variable = PREFIX + row.name.upper().replace(".", "__")
    default = row.default
    if isinstance(default, list | tuple):
        default = ",".join(default)
    shown = f"`{default}`" if default not in (None, "") else ""
    cells = (f"`{row.name}`", f"`{variable}`", row.values, shown, row.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
