"""How numbers, sizes and tables are written for a person. Pure."""

import unicodedata
from collections.abc import Mapping, Sequence

CUT = "…"


def number(count: int) -> str:
    """A number with commas: 1,234,567."""
    return f"{count:,}"


def many(count: int, one: str, more: str = "") -> str:
    """A number with its noun: `1 file`, `2 files`. more: a plural that is not one + s."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def size(count: float) -> str:
    """Bytes in the unit that suits: `17 B`, `4.2 kB`, `1.3 GB` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.95 or unit == "GB":
            break
        count /= 1000
    return f"{count:,.0f} B" if unit == "B" else f"{count:,.1f} {unit}"


def plain(text: str) -> str:
    """The text in one line, safe for a terminal: what cannot be shown is escaped, as in `\\n` or `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counts(by_name: Mapping[str, int]) -> str:
    """Counts by name, most first: `invalid_json 2, missing_type 1`."""
    ordered = sorted(by_name.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{plain(name)} {count:,}" for name, count in ordered)


def table(
    names: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), cut: int | None = None
) -> str:
    """Lines of aligned columns under their names. right: columns (from 0) that stand to the right, such as numbers.

    cut: the width that a cell may have; None: as wide as it is.
    """
    cells = [[_cut(plain(cell), cut) for cell in row] for row in (names, *rows)]
    widths = [max(_width(row[at]) for row in cells) for at in range(len(names))]
    cells.insert(1, ["-" * width for width in widths])
    return "".join("  ".join(_pad(row, widths, right)).rstrip() + "\n" for row in cells)


def columns_that_fit(names: Sequence[str], rows: Sequence[Sequence[str]], room: int, cut: int) -> int:
    """How many of the columns, from the first on, `table` has room for; at least one."""
    used = 0
    for at, name in enumerate(names):
        used += max(min(_width(plain(cell)), cut) for cell in (name, *(row[at] for row in rows))) + (2 if at else 0)
        if used > room and at:
            return at
    return len(names)


def _pad(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    padding = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
    return [
        space + cell if at in right else cell + space for at, (cell, space) in enumerate(zip(row, padding, strict=True))
    ]


def _cut(text: str, cut: int | None) -> str:
    if cut is None or _width(text) <= cut:
        return text
    kept = text[: cut - 1]
    while _width(kept) > cut - 1:
        kept = kept[:-1]
    return kept + CUT


def _width(text: str) -> int:
    """The columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
