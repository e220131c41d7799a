"""`loader.toml` as text: the settings in force with where each comes from, and a new file to start with."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from loader.errors import LoaderError
from loader.given import size, written
from loader.settings import GIB, MIB, OPTIONS, Option, Settings

_HEAD = """\
# Settings of loader. A flag or a variable LOADER_<NAME> goes before what is here. Take the # away to set a value.
# Paths are relative to this file. `loader config` prints what is in force, and where it comes from.
"""
_EXAMPLES = {
    "warehouse": '"warehouse"',
    "sources": '["s3://bucket/rudder-logs", "/data/events"]',
    "since": '"7d"',
    "settle_seconds": "5",
    "source": '"web"',
    "json_paths": '["track.properties.items"]',
    "dedup_window": '"30d"',
    "on_type_conflict": '"discard"',
    "memory_limit": '"4GB"',
    "max_load_bytes": '"1GB"',
    "max_line_bytes": '"32MiB"',
    "max_columns": "1600",
    "max_event_tables": "1000",
    "threads": "4",
    "max_reject_share": "0.05",
    "models": '"models"',
    "compact_files": "32",
    "max_runtime": '"2h"',
    "devices": '"attach"',
    "shared_device": '"by_time"',
    "merge_on": '["email"]',
    "max_alias_partners": "10",
}
_TABLES = """\
# Where buckets are and whose keys to use, under the names that the environment has, in lower case. That goes first.
# [storage]
# aws_endpoint_url = "https://s3.example.com"

# What gets a summary as JSON by POST when a load failed, changed the schema or has too many rejects. A variable
# LOADER_NOTIFY_WEBHOOK goes first.
# [notify]
# webhook = "https://example.com/hook"
"""


def as_toml(settings: Settings, origins: Mapping[str, str]) -> str:
    """The settings in force as a loader.toml, each with where it comes from. What is not set is a comment."""
    lines: list[tuple[str, str]] = []
    section = None
    for option in OPTIONS:
        if option.section != section:
            section = option.section
            lines.append((f"[{section}]", ""))
        value = _toml(option, getattr(settings, option.field))
        origin = origins[option.name]
        if value is None:
            lines.append((f"# {option.name}", f"{origin}: {option.default}"))
        elif option.lasting:
            lines.append((f"{option.name} = {value}", origin))
        elif origin != "default":
            lines.append((f"# {option.name} = {value}", f"{origin}; not for loader.toml"))
    lines += [
        (f"# [{table}] {', '.join(names)}", "is set, and not shown") for table, names in _hidden(settings).items()
    ]
    width = max(len(setting) for setting, _ in lines)
    return "".join(f"{setting:<{width}}  # {origin}\n" if origin else f"{setting}\n" for setting, origin in lines)


def as_json(settings: Settings, origins: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The settings in force by name: value (sizes in bytes, null: worked out when needed) and `from`."""
    found = {}
    for option in OPTIONS:
        value = getattr(settings, option.field)
        if option.name == "dedup_window" and value is None:
            value = "all"
        value = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        value = str(value) if isinstance(value, date) else value
        found[option.name] = {"value": value, "from": origins[option.name]}
    for table, names in _hidden(settings).items():
        found[table] = {"value": names, "from": "names only"}
    return found


def _hidden(settings: Settings) -> dict[str, list[str]]:
    """The tables of settings that are not shown, with the names of what is set."""
    tables = {"storage": sorted(settings.storage), "notify": ["webhook"] if settings.webhook else []}
    return {table: names for table, names in tables.items() if names}


def write_template(path: Path) -> None:
    """Writes a loader.toml in which every setting is a comment. LoaderError if there is a file already."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        raise LoaderError(f"{path}: is there already. Edit it, or move it away first.") from None


def template() -> str:
    """The content of a new loader.toml."""
    parts = [_HEAD]
    section = None
    for option in OPTIONS:
        if option.section != section:
            section = option.section
            parts.append(f"[{section}]\n")
        if option.lasting:
            example = _EXAMPLES.get(option.name, "false")
            parts.append(f"# {option.help} Default: {option.default}.\n# {option.name} = {example}\n")
    return "\n".join([*parts, _TABLES])


def _toml(option: Option, value: Any) -> str | None:
    """A value as TOML; None where there is none to write."""
    if option.name == "dedup_window":
        return '"all"' if value is None else f'"{value}d"'
    if value is None or (option.name == "sources" and not value):
        return None
    if option.read is size:
        unit = next(((unit, name) for unit, name in ((GIB, "GiB"), (MIB, "MiB")) if value % unit == 0), None)
        return f'"{value // unit[0]}{unit[1]}"' if unit else str(value)
    if option.name == "max_runtime":
        return f'"{written(value)}"'
    if isinstance(value, Path | date):
        return json.dumps(str(value), ensure_ascii=False)
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
