"""The smallest and largest value of a column in a file, as Delta has them: outwards where they are cut. Pure."""

from datetime import UTC, datetime, timedelta

TEXT_BOUND = 64  # characters kept of a text
LAST_CHARACTER = "\U0010ffff"


def bounds_of(type_: str, low: str, high: str) -> tuple[str, str] | tuple[int, int] | None:
    """A column's bounds as Delta has them, from DuckDB's text; None where they would be uncertain."""
    match type_:
        case "VARCHAR" | "JSON":
            if len(high) > TEXT_BOUND:
                if high[TEXT_BOUND] == LAST_CHARACTER:
                    return None
                high = high[:TEXT_BOUND] + LAST_CHARACTER
            return low[:TEXT_BOUND], high
        case "BIGINT":
            return int(low), int(high)
        case "TIMESTAMPTZ":
            try:
                return _milliseconds(low, up=False), _milliseconds(high, up=True)
            except (ValueError, OverflowError):  # infinity, years before 1 or after 9999
                return None
    return None  # DOUBLE: engines sort NaN differently. BOOLEAN, DATE: not worth it


def _milliseconds(text: str, *, up: bool) -> str:
    at = datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
    if up:
        at += timedelta(microseconds=-at.microsecond % 1000)
    return at.isoformat(timespec="milliseconds") + "Z"  # cuts the rest off
