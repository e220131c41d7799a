"""What a person gives as the value of a setting: text of a flag or the environment, or TOML. ValueError says what it
should be."""

import re
import shlex
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from loader import calls

CONFLICTS = ("discard", "widen", "fail")
DEVICES = ("attach", "merge")
SHARED_DEVICE = ("by_time", "none")
_TIES = ("seen", "alias", "link")  # kinds of ties beside traits


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:(|[KMGT])B|([KMGT])iB)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def switch(value: Any) -> bool:
    """True or false; in text also 1/0, yes/no, on/off."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError("true or false")


def whole(value: Any, least: int = 1) -> int:
    """A whole number that is not less than `least`."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ValueError(f"a whole number from {least} on")


def count(value: Any) -> int:
    """A whole number, 0 included."""
    return whole(value, 0)


def size(value: Any) -> int:
    """Bytes: a whole number, or text such as `1GB` (1000³), `64MiB` (64 · 1024²), `1.5 GB`."""
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        number, decimal, binary = match.groups()
        base, power = (1024, _POWERS[binary.upper()]) if binary else (1000, _POWERS[(decimal or "").upper()])
        found = int(float(number) * base**power) if "." in number else int(number) * base**power
    else:
        found = 0
    if found < 1:
        raise ValueError("a size, such as 1GB, 64MiB, or a number of bytes")
    return found


def share(value: Any) -> float:
    """A share from 0 to 1; in text also per cent: `5%`."""
    try:
        if isinstance(value, str) and value.strip().endswith("%"):
            found = float(value.strip().removesuffix("%")) / 100
        else:
            found = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        found = float("nan")
    if 0 <= found <= 1:
        return found
    raise ValueError("a share from 0 to 1, such as 0.05 or 5%")


def days(value: Any) -> int | None:
    """Days: `30` or `30d`; None for `all`."""
    if isinstance(value, str):
        if value.strip().lower() == "all":
            return None
        value = value.strip().lower().removesuffix("d")
    try:
        return whole(value, 0)
    except ValueError:
        raise ValueError("days, such as 30 or 30d, or all") from None


def retention(value: str) -> int:
    """Days, one at least: `7` or `7d`. (Who queries opens warehouse.duckdb, and its files have to stay meanwhile.)"""
    try:
        return whole(value.strip().lower().removesuffix("d"))
    except ValueError:
        raise ValueError("days, such as 7 or 7d, from 1d on") from None


def sources(value: Any) -> tuple[str, ...]:
    """Files, folders, globs, `-` and places in buckets: a list, or text as on a command line."""
    found = shlex.split(value) if isinstance(value, str) else value
    if isinstance(found, list | tuple) and found and all(isinstance(each, str) and each for each in found):
        return tuple(found)
    raise ValueError("a list of files, folders, globs and places in buckets")


def conflict(value: Any) -> str:
    """What to do with a value that does not fit its column."""
    return _one_of(CONFLICTS, value)


def devices(value: Any) -> str:
    """Whether devices attach to persons, or make them one."""
    return _one_of(DEVICES, value)


def shared_device(value: Any) -> str:
    """Whose events without user id are on a device of several persons."""
    return _one_of(SHARED_DEVICE, value)


def _one_of(words: tuple[str, ...], value: Any) -> str:
    if isinstance(value, str) and value.strip().lower() in words:
        return value.strip().lower()
    raise ValueError(f"one of {', '.join(words)}")


def traits(value: Any) -> tuple[str, ...]:
    """Names of traits, as columns of identifies: a list, or text with commas between them."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("a list of traits, such as email")
    found = tuple(dict.fromkeys(name.strip() for name in names))
    none = {*_TIES, *(column.name for column in calls.rule_columns("identify", event_table=False, full_event=True))}
    for name in found:
        if name in none or name.startswith("context_"):
            raise ValueError(f"a list of traits, such as email, and {name} is none")
    return found


def text(value: Any) -> str:
    """Text that is not blank."""
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError("a text that is not empty")


def folder(value: Any) -> Path:
    """A path."""
    return Path(text(value)).expanduser()


def json_paths(value: Any) -> tuple[str, ...]:
    """Paths such as `track.properties.items`: a list, or text with commas between them."""
    paths = [path.strip() for path in value.split(",") if path.strip()] if isinstance(value, str) else value
    if not isinstance(paths, list | tuple) or not all(isinstance(path, str) for path in paths):
        raise ValueError("a list of paths, such as track.properties.items")
    for path in paths:
        call, _, rest = path.partition(".")
        parts = calls.parts(call, True, True) if call in calls.CALL_TABLES else ()
        if not parts:
            raise ValueError(f"paths that begin with a call ({', '.join(calls.CALL_TABLES)}), and {path!r} does not")
        if not any(rest.startswith(part.field + ".") and all(rest.split(".")) for part in parts):
            fields = " or ".join(f"{call}.{part.field}.…" for part in parts if part.prefix or not part.under)
            raise ValueError(f"paths such as {fields}, and {path!r} is none")
    return tuple(dict.fromkeys(paths))


# --- times ------------------------------------------------------------------------------------------------------------

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def since(value: Any) -> date:
    """A day, `2026-03-01`, or days before today in UTC: `7d`."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    text = value.strip().lower() if isinstance(value, str) else ""
    try:
        if text.endswith("d"):
            return datetime.now(UTC).date() - timedelta(days=_whole(text[:-1]))
        return date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError("a day, such as 2026-03-01, or days before today, such as 7d") from None


def duration(value: Any) -> float:
    """Seconds, of text such as `45s`, `30m`, `26h`, `2d`."""
    text = value.strip().lower() if isinstance(value, str) else ""
    try:
        return float(_whole(text[:-1]) * _SECONDS[text[-1:]])
    except (ValueError, KeyError):
        raise ValueError("a time with its unit, such as 45s, 30m, 26h or 2d") from None


def seconds(value: Any) -> float:
    """Seconds, parts of them too, 0 included."""
    try:
        found = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        found = float("nan")
    if 0 <= found < float("inf"):
        return found
    raise ValueError("seconds, such as 5 or 0.5, or 0")


def written(seconds: float) -> str:
    """A duration as `duration` reads it."""
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _SECONDS[unit] == 0)
    return f"{seconds / _SECONDS[unit]:.0f}{unit}"


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)
