"""What things are called: the table of an event name, the column of a joined key (warehouse-schema.md, section 4).

Pure functions of the text. All are idempotent: a name given back as text is itself, so data exported from a warehouse
and loaded again lands in the same columns. Names are lower case, NFKC, never empty, at most 127 bytes of UTF-8.
"""

import hashlib
import re
import unicodedata
from itertools import groupby

MAX_NAME_BYTES = 127

# Rule 5: key words of PostgreSQL.
# fmt: off
RESERVED_WORDS = frozenset(
    {
        "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization",
        "between", "binary", "both", "case", "cast", "check", "collate", "column", "constraint", "create",
        "cross", "current_date", "current_role", "current_time", "current_timestamp", "current_user", "default",
        "deferrable", "desc", "distinct", "do", "else", "end", "except", "false", "for", "foreign", "freeze",
        "from", "full", "grant", "group", "having", "ilike", "in", "initially", "inner", "intersect", "into",
        "is", "isnull", "join", "leading", "left", "like", "limit", "localtime", "localtimestamp", "natural",
        "new", "not", "notnull", "null", "off", "offset", "old", "on", "only", "or", "order", "outer",
        "overlaps", "placing", "primary", "references", "right", "select", "session_user", "similar", "some",
        "symmetric", "table", "then", "to", "trailing", "true", "union", "unique", "user", "using", "verbose",
        "when", "where",
    }
)
# fmt: on

# Section 2: tables of the calls and of the warehouse itself; no event's own table is one of them.
TAKEN_TABLES = frozenset(
    {"tracks", "identifies", "users", "pages", "screens", "groups", "aliases", "resets", "accounts"}
    | {"sessions", "timeline", "user_traits", "other_events"}
)

# Rule 3: the words of a run, the first alternative that matches. They are applied to text whose separators are all `_`.
_WORD = re.compile(
    r"[A-Z]?[a-z]+[0-9]+"
    r"|[A-Z]+[0-9]+"
    r"|[0-9]+[A-Z]?[a-z]+"
    r"|[0-9]+[A-Z]+"
    r"|[A-Z]?[a-z]+"
    r"|[A-Z]+(?=_|[A-Z][a-z]|$)"
    r"|[A-Z]+"
    r"|[0-9]+"
)
_WORD_DIVIDE_NUMBERS = re.compile(
    r"[A-Z]?[a-z]+"
    r"|[A-Z]+(?=_|[A-Z][a-z]|$)"
    r"|[A-Z]+"
    r"|[0-9]*(?:1ST|2ND|3RD|[04-9]TH)(?=[a-z_]|$)"
    r"|[0-9]*(?:1st|2nd|3rd|[04-9]th)(?=[A-Z_]|$)"
    r"|[0-9]+"
)
_SEPARATOR = re.compile(r"[^A-Za-z0-9]")

# Rule 6: a cut name is a head of at most 118 bytes, `_` and 8 letters that stand for hex digits.
_MAX_HEAD_BYTES = MAX_NAME_BYTES - 9
_HEX_TO_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
_TAIL = re.compile(r"_[a-p]{8}")
# What a head may lack to be the beginning of a name: a word after its `_`, the last letter of `1st`, `2nd`, `4th`, or
# the letter (any of 4 bytes) that makes digits and marks a word under rule 7.
_HEAD_ENDINGS = ("t", "d", "h", "\N{CJK UNIFIED IDEOGRAPH-20000}")


def identifier(text: str, divide_numbers: bool = False) -> str | None:
    """The name of an event or a joined key, reserved words as they are: what the `event` column holds.

    `divide_numbers` is the setting `underscore_divide_numbers`. None: the text has no name (no letter, no digit and no
    `_` in front). The names that later get a `_` are short, so the cut of rule 6 is the same before and after it.
    """
    name = _uncut_name(text, divide_numbers)
    if name is None:
        return None
    if name != text and _is_cut(text, divide_numbers):
        return text
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{_head(name)}_{digest.translate(_HEX_TO_LETTERS)}"


def escape(name: str) -> str:
    """A `_` in front of a reserved word; any other name is itself."""
    return f"_{name}" if name in RESERVED_WORDS else name


def column_name(text: str, divide_numbers: bool = False) -> str | None:
    """The column of a joined key such as `context.device.id`. None: the key has no name."""
    name = identifier(text, divide_numbers)
    return None if name is None else escape(name)


def table_name(text: str, divide_numbers: bool = False) -> str | None:
    """The table of an event name, never one of `TAKEN_TABLES`. None: the event has no name."""
    name = column_name(text, divide_numbers)
    return f"_{name}" if name in TAKEN_TABLES else name


def _uncut_name(text: str, divide_numbers: bool) -> str | None:
    """The name however long it is: rules 1 to 4, 7 and 8."""
    front = text[: len(text) - len(text.lstrip("_"))]
    pattern = _WORD_DIVIDE_NUMBERS if divide_numbers else _WORD
    words = _ascii_words(text, pattern) if text.isascii() else _words(text, pattern)
    name = front + "_".join(words)
    # isdigit, not 0-9: a word of rule 7 can start with a digit of another script.
    return f"_{name}" if name[:1].isdigit() else name or None


def _ascii_words(text: str, pattern: re.Pattern[str]) -> list[str]:
    """The words of the runs of ASCII letters and digits, lower case."""
    words: list[str] = pattern.findall(_SEPARATOR.sub("_", text))
    return [word.lower() for word in words]


def _words(text: str, pattern: re.Pattern[str]) -> list[str]:
    """The words of any text, lower case: rule 7 for the runs that it is about, rules 2 and 3 for the others."""
    words: list[str] = []
    for is_run, characters in groupby(text, _is_letter_digit_or_mark):
        run = "".join(characters)
        if not is_run:
            continue
        if any(map(str.isascii, run)):
            words += _ascii_words(run, pattern)
        elif any(map(str.isalpha, run)):
            words += _normalised_words(run, pattern)
    return words


def _normalised_words(run: str, pattern: re.Pattern[str]) -> list[str]:
    """The one word of a run without ASCII, NFKC and lower case; several where NFKC makes it a mixture.

    NFKC turns `住所` and a fullwidth 1 into `住所1`. Read again, that would be `_1`: it has an ASCII digit, so rule 7
    isn't about it. Hence a mixture is divided where ASCII begins and ends: `住所_1`, which keeps both parts.
    """
    # Lower case can leave a letter and its mark apart that have one character only in lower case; hence NFKC again.
    word = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", run).lower())
    words: list[str] = []
    for is_ascii, characters in groupby(word, str.isascii):
        part = "".join(characters)
        if is_ascii:
            words += _ascii_words(part, pattern)
        else:
            words += _lettered_runs(part)
    return words


def _lettered_runs(text: str) -> list[str]:
    """The runs of letters, digits and marks that have a letter."""
    runs = ("".join(characters) for is_run, characters in groupby(text, _is_letter_digit_or_mark) if is_run)
    return [run for run in runs if any(map(str.isalpha, run))]


def _is_letter_digit_or_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


def _head(name: str) -> str:
    """The longest beginning of at most 118 bytes, on a character border."""
    return name.encode()[:_MAX_HEAD_BYTES].decode(errors="ignore")


def _is_cut(text: str, divide_numbers: bool) -> bool:
    """Whether the text is a name that rule 6 has cut, though the other rules would change it.

    A head can end in `_` (`a__bcdefghi`) or inside a word (`21s` of `21st`); read as any other text, such a name would
    not be itself.
    """
    head, tail = text[:-9], text[-9:]
    if len(text) > MAX_NAME_BYTES or not _TAIL.fullmatch(tail):
        return False
    wholes = (head + ending for ending in _HEAD_ENDINGS)
    return any(_uncut_name(whole, divide_numbers) == whole and _head(whole) == head for whole in wholes)
