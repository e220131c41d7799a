"""Days and durations as a person writes them. ValueError says what is expected."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

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
