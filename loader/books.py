"""The books balance, or nothing is committed: nothing read is lost, nothing planned is left unwritten (section 8)."""

from collections.abc import Mapping
from typing import TypeVar

from loader.errors import LoaderError

Key = TypeVar("Key")


class BooksError(LoaderError):
    """A number does not add up: a bug of the loader. Nothing was committed."""


def balance(what: str, expected: Mapping[Key, int], found: Mapping[Key, int]) -> None:
    """Raises BooksError unless both hold the same numbers; a key that is missing counts as 0."""
    wrong = [
        f"{key}: {expected.get(key, 0)} expected, {found.get(key, 0)} found"
        for key in sorted({*expected, *found}, key=str)
        if expected.get(key, 0) != found.get(key, 0)
    ]
    if wrong:
        more = f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""
        raise BooksError(
            f"the books do not balance, {what}: {'; '.join(wrong[:5])}{more}. Nothing was loaded. This is a bug: "
            "please report it with the file, or the line, that shows it."
        )
