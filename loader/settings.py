"""Every default and limit of a run, in one frozen object, and the one place that decides where a value comes from."""

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from loader import storage
from loader.errors import UsageError
from loader.given import (
    conflict,
    count,
    days,
    devices,
    duration,
    folder,
    json_paths,
    seconds,
    share,
    shared_device,
    since,
    size,
    sources,
    switch,
    text,
    traits,
    whole,
)

MIB = 1 << 20
GIB = 1 << 30

FILE = "loader.toml"
WEBHOOK = "LOADER_NOTIFY_WEBHOOK"  # no flag: other users see those


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's limit if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one command. Sizes are bytes, windows days; None means: no limit, or worked out when needed.

    warehouse: the folder that holds the warehouse. sources: files, folders, globs, `-`, places in buckets.
    source: the name that `loader.files.source` gets; None takes it from the path. since: files of days before are left
    out, where their path tells the day. settle_seconds: a file on disk that is younger, and growing, is left out.
    storage: `[storage]`, by name. webhook: gets a summary when something needs a look.
    memory_limit: what the engine may use; None is 60 % of the machine's. max_load_bytes: input of one load;
    None is a third of the memory limit. dedup_window_days: None compares with all that was ever loaded.
    max_reject_share: rejects of a command by its items, 0 to 1; more needs a look. strict: a load with a reject or
    discard is none. max_runtime: seconds after which a command begins no file.
    devices: attach, or merge: two user ids seen with one device are one person, too. shared_device: by_time, or none:
    nobody's where no user id is. merge_on: traits that make user ids one person. max_alias_partners: a user id with
    aliases to more others is a hub, whose aliases are set aside.
    models: the folder of a user's own SQL models. compact_files: small files that a table may have after a run.
    """

    warehouse: Path = Path("warehouse")
    sources: tuple[str, ...] = ()
    source: str | None = None
    since: date | None = None
    settle_seconds: float = 5
    storage: Mapping[str, str] = field(default_factory=dict, repr=False)  # holds keys
    # what becomes of an event (stored at the first load where they change names or types)
    skip_tracks_table: bool = False
    skip_users_table: bool = False
    store_full_event: bool = False
    underscore_divide_numbers: bool = False
    allow_users_context_traits: bool = False
    json_paths: tuple[str, ...] = ()
    dedup_window_days: int | None = 30
    on_type_conflict: str = "discard"
    # limits
    memory_limit: int | None = None
    max_load_bytes: int | None = None
    max_line_bytes: int = 32 * MIB
    max_columns: int = 1600
    max_event_tables: int = 1000
    threads: int | None = None
    # what a run may do
    max_reject_share: float = 0.05
    strict: bool = False
    max_runtime: float | None = None
    webhook: str | None = field(default=None, repr=False)  # who knows it may post there
    accept_new_rules: bool = False
    reload: bool = False
    dry_run: bool = False
    # who is who (identity.md)
    devices: str = "attach"
    shared_device: str = "by_time"
    merge_on: tuple[str, ...] = ()
    max_alias_partners: int = 10
    # what runs after it
    models: Path | None = None
    compact_files: int = 32

    @property
    def engine_memory(self) -> int:
        """Bytes that the engine may use."""
        return self.memory_limit or int(machine_memory() * 0.6)

    @property
    def load_bytes(self) -> int:
        """Bytes of (uncompressed) input that one load takes, a file more at the most."""
        return self.max_load_bytes or max(self.engine_memory // 3, 64 * MIB)


# The settings that change names or types: the warehouse keeps those of its first load (warehouse-schema.md, 2).
RULES = (
    "skip_tracks_table",
    "store_full_event",
    "underscore_divide_numbers",
    "allow_users_context_traits",
    "json_paths",
)


# --- what a user may set ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """One setting as a person gives it. name: in loader.toml. field: in `Settings`. read: makes its value.

    lasting: whether it may be in loader.toml; the others belong to one command. section: the table it is in there.
    """

    name: str
    read: Callable[[Any], Any]
    help: str
    default: str
    lasting: bool = True
    section: str | None = None

    @property
    def field(self) -> str:
        return "dedup_window_days" if self.name == "dedup_window" else self.name

    @property
    def flag(self) -> str:
        """On the command line."""
        special = {"json_paths": "--json-path", "sources": "SOURCE"}
        return special.get(self.name, "--" + self.name.replace("_", "-"))

    @property
    def variable(self) -> str:
        """In the environment."""
        return "LOADER_" + self.name.upper()


OPTIONS = (
    Option("warehouse", folder, "The folder that holds the warehouse.", "warehouse"),
    Option("sources", sources, "What a command without SOURCE reads.", "none"),
    Option("since", since, "Leave out folders of days before: a date, or days such as 7d.", "all days"),
    Option("settle_seconds", seconds, "A file that is younger, and growing, is left for later.", "5"),
    Option("source", text, "Name for where the files come from, kept in loader.files.", "from the path"),
    Option("skip_tracks_table", switch, "Tracks have rows in their event's table only.", "off"),
    Option("skip_users_table", switch, "Do not build the table users.", "off"),
    Option("store_full_event", switch, "Keep each whole event in the column rudder_event.", "off"),
    Option("underscore_divide_numbers", switch, "Numbers in names are words: item2 is item_2.", "off"),
    Option("allow_users_context_traits", switch, "context.traits of identify also without prefix.", "off"),
    Option("json_paths", json_paths, "Keep the value there as JSON, e.g. track.properties.items.", "none"),
    Option("dedup_window", days, "How far apart an event's copies are found: days, or all.", "30d"),
    Option("on_type_conflict", conflict, "A value does not fit its column: discard, widen, fail.", "discard"),
    Option("memory_limit", size, "Memory that the engine may use.", "60 % of the machine's"),
    Option("max_load_bytes", size, "Input of one load; more is loaded in several.", "a third of memory_limit"),
    Option("max_line_bytes", size, "A longer line is a reject.", "32MiB"),
    Option("max_columns", whole, "Columns that a table may have.", "1600"),
    Option("max_event_tables", count, "Event names that get a table of their own.", "1000"),
    Option("threads", whole, "Threads of the engine.", "one a core"),
    Option("max_reject_share", share, "Rejects by items; a command with more ends with exit code 3.", "0.05"),
    Option("strict", switch, "A load with any reject or discard loads nothing; exit code 1.", "off"),
    Option("models", folder, "A folder of SQL models of your own, *.sql.", "none"),
    Option("compact_files", count, "A table with more small files of past days is compacted.", "32"),
    Option("max_runtime", duration, "Begin no more files after that time, such as 45s, 30m, 2h.", "no limit"),
    Option("accept_new_rules", switch, "Load although settings that change names were others before.", "off", False),
    Option("reload", switch, "Read files again that are loaded already; rows stay single.", "off", False),
    Option("dry_run", switch, "Read and plan, load nothing; print what would change.", "off", False),
    Option("devices", devices, "Devices attach to persons, or merge them.", "attach", section="identity"),
    Option("shared_device", shared_device, "Of several persons: by_time, or none's.", "by_time", section="identity"),
    Option("merge_on", traits, "Traits that make user ids one person, e.g. email.", "none", section="identity"),
    Option("max_alias_partners", whole, "A user id with more aliases is a hub.", "10", section="identity"),
)
SECTIONS = {option.section for option in OPTIONS if option.section}


def config_file(given: str | None) -> Path | None:
    """The file to read settings from: the one given, else ./loader.toml if there is one."""
    if given is not None:
        return Path(given)
    return Path(FILE) if Path(FILE).exists() else None


def gather(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None
) -> tuple[Settings, dict[str, str]]:
    """The settings, each from the first that has it: flag, LOADER_<NAME>, file, default; and, by name, from where.

    flags: by name, None or () where not given. Raises UsageError that says where a value is and what it should be.
    """
    in_file = _read_file(file) if file else {}
    values: dict[str, Any] = {}
    origins = {}
    for option in OPTIONS:
        if (raw := flags.get(option.name)) not in (None, ()):
            values[option.field] = _value(option, option.flag, raw)
            origins[option.name] = option.flag
        elif raw := environment.get(option.variable):
            values[option.field] = _value(option, option.variable, raw)
            origins[option.name] = option.variable
        elif option.name in in_file:
            values[option.field] = in_file[option.name]
            origins[option.name] = str(file)
        else:
            origins[option.name] = "default"
    values["storage"] = in_file.get("storage", {})
    values["webhook"] = in_file.get("webhook")
    if there := environment.get(WEBHOOK):
        values["webhook"] = _read_table(WEBHOOK, "notify", {"webhook": there})["webhook"]
    return Settings(**values), origins


def _value(option: Option, place: str, raw: Any) -> Any:
    try:
        return option.read(raw)
    except ValueError as error:
        shown = ", ".join(raw) if isinstance(raw, tuple) else raw
        raise UsageError(f"{place}: {shown!r} is not usable. It takes {error}.") from None


def _read_file(file: Path) -> dict[str, Any]:
    """The settings of a loader.toml, by name; a folder given there is relative to the file."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot read this file: {error.strerror}.") from None
    except ValueError as error:  # also of the encoding
        raise UsageError(f"{file}: is not TOML: {error}.") from None
    values: dict[str, Any] = {}
    for section in SECTIONS & content.keys():
        if not isinstance(content[section], dict):
            raise UsageError(f"{file}: {section}: is a table of settings. Write [{section}] above them.")
        values |= _read_section(file, content.pop(section), section)
    for name in {"storage", "notify"} & content.keys():
        values |= _read_table(f"{file}: [{name}]", name, content.pop(name))
    return values | _read_section(file, content, None)


def _read_section(file: Path, content: Mapping[str, Any], section: str | None) -> dict[str, Any]:
    known = {option.name: option for option in OPTIONS if option.section == section}
    values = {}
    for name, raw in content.items():
        option = known.get(name)
        if option is None:
            close = difflib.get_close_matches(name, [o.name for o in OPTIONS if o.lasting], 1)
            place = next((f" under [{o.section}]" for o in OPTIONS if close and o.name == close[0] and o.section), "")
            at = f"[{section}] {name}" if section else name
            raise UsageError(f"{file}: {at}: there is no such setting.{f' Is it {close[0]}{place}?' if close else ''}")
        if not option.lasting:
            raise UsageError(f"{file}: {name}: belongs to one command, not into a file. Give {option.flag} there.")
        values[name] = _value(option, f"{file}: {name}", raw)
        if option.read is folder:
            values[name] = file.parent / values[name]
        if name == "sources":
            kept = (each == "-" or "://" in each for each in values[name])
            pairs = zip(values[name], kept, strict=True)
            values[name] = tuple(each if as_is else str(file.parent / each) for each, as_is in pairs)
    return values


def _read_table(place: str, name: str, raw: Any) -> dict[str, Any]:
    """The setting of `[storage]` or `[notify]`, or of a variable for it. What is wrong is told without its value."""
    try:
        if not isinstance(raw, dict):
            raise ValueError("a table")
        if name == "storage":
            return {"storage": storage.check(raw)}
        if set(raw) - {"webhook"} or not str(raw.get("webhook")).startswith(("https://", "http://")):
            raise ValueError("webhook, an address that begins with https://")
        return {"webhook": raw["webhook"]}
    except ValueError as error:
        raise UsageError(f"{place}: is not usable. It takes {error}.") from None
