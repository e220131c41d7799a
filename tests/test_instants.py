"""What is a datetime (section 5), of texts that are nearly one: the engine and the reference say the same."""

import random

import pyarrow as pa
import pytest

from loader.db import connect
from tests import reference

CHARACTERS = "0123456789 \t\n+-.,:;/TZtzx\u00a0\u0663é"
YEARS = (0, 1, 2, 999, 1900, 1969, 2000, 2023, 2024, 9998, 9999)


def nearly(chance: random.Random) -> str:
    """A datetime as SDKs write it, whose numbers may be too large, with up to three characters changed."""
    numbers = [chance.choice(YEARS), *(chance.randint(0, most) for most in (13, 32, 25, 61, 61, 999))]
    text = "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z".format(*numbers)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(("", chance.choice(CHARACTERS))) + text[at + chance.randint(0, 1) :]
    while chance.random() < 0.8 and len(text.encode()) < 24:  # of the usual length again
        at = chance.randint(0, len(text))
        text = text[:at] + chance.choice(CHARACTERS) + text[at:]
    return text


USUAL = {
    "2024-02-29T23:59:59.999Z": "2024-02-29T23:59:59.999000Z",
    "0002-01-01T00:00:00.000Z": "0002-01-01T00:00:00.000000Z",
    "0001-01-01T00:00:00.000Z": "0001-01-01T00:00:00.000000Z",
    "9999-12-31T23:59:59.999Z": "9999-12-31T23:59:59.999000Z",
    "2023-02-29T00:00:00.000Z": None,
    "2024-05-06T24:00:00.000Z": None,
    "2024-05-06T07:08:60.000Z": None,
    "2024-05-06T07:08:09.01 Z": None,
    "2024-05-06T07:08:09.01Z ": None,
    " 2024-05-06T07:08:09.01Z": None,
    "2024-05-06T07: 8:09.010Z": None,
    "2024-05-06T07:08:09,010Z": None,
    "+024-05-06T07:08:09.010Z": None,
    "2024-05-06T07:08:09.010z": "2024-05-06T07:08:09.010000Z",
    "2024-05-06T07:08+05:30Z.": None,
    "2024-05-06T07:08:09+0530": "2024-05-06T01:38:09.000000Z",
}


def instants(texts: list[str]) -> list[str | None]:
    with connect() as connection:
        connection.register("text", pa.table({"place": range(len(texts)), "t": texts}))
        rows = connection.execute("SELECT instant_text(instant(t)) FROM text ORDER BY place").fetchall()
    return [found for (found,) in rows]


def test_of_the_usual_length() -> None:
    assert dict(zip(USUAL, instants([*USUAL]), strict=True)) == USUAL


@pytest.mark.parametrize("seed", range(3))
def test_nearly_datetimes(seed: int) -> None:
    chance = random.Random(seed)
    texts = [nearly(chance) for _ in range(20_000)]
    wanted = [instant and reference.datetime_text(instant) for instant in map(reference.datetime_of, texts)]
    found = instants(texts)
    assert [each for each in zip(texts, found, wanted, strict=True) if each[1] != each[2]] == []
    assert 2_000 < sum(each is not None for each in wanted) < 18_000
