"""Cells that are texts of values as the engine would write them, and datetimes, are the engine's, for any values."""

import random
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa
import pytest

from loader.db import connect
from tests import event_lines
from tests.test_cell_values import cells
from tests.test_cells import LEFT, is_json

# By what is wanted, SQL of the cell (values.sql).
SQL = {"TIMESTAMPTZ": "cell_timestamptz(t, k)", "MIXED": "cell_varchar(t, k)", "ARRAY": "cell_json(t, k)"}


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(threads=1) as connection:
        yield connection


def same(engine: duckdb.DuckDBPyConnection, what: str, values: Sequence[str]) -> int:
    """Of each value the cell is the engine's, or it is left; how many are not."""
    engine.register("given", pa.table({"pos": range(len(values)), "value": values}))
    theirs = engine.sql(f"""
        SELECT {SQL[what]} AS cell
        FROM (SELECT pos, json_extract_string(value, '$') AS t, json_type(value) AS k FROM given) ORDER BY pos
    """).to_arrow_table()
    ours = cells(what, values)
    pairs = zip(values, ours, theirs["cell"].to_pylist(), strict=True)
    assert [each for each in pairs if each[1] is not LEFT and each[1] != each[2]] == []
    return sum(cell is not LEFT for cell in ours)


def test_datetimes(engine: duckdb.DuckDBPyConnection) -> None:
    chance = random.Random(6)
    texts = []
    for _ in range(20_000):
        year = chance.choice([0, 1, 2, 4, 99, 100, 1582, 1600, 1900, 1969, 1970, 2000, 2023, 2024, 2100, 9998, 9999])
        date = f"{year:04}-{chance.randint(0, 13):02}-{chance.randint(0, 32):02}"
        time = f"{chance.choice('TTT t')}{chance.randint(0, 24):02}:{chance.randint(0, 60):02}"
        second = f":{chance.randint(0, 60):02}"
        fraction = "." + "".join(chance.choices("0123456789", k=chance.choice([0, 1, 2, 3, 3, 3, 6, 6, 7, 9, 12])))
        zone = chance.choice(["", "Z", "Z", "Z", "z", " Z", "UTC", "+01", "+0530", "-05:30", "+00:00", "-23:59"])
        zone = chance.choice([zone, f"{chance.choice('+-')}{chance.randint(0, 24):02}:{chance.randint(0, 60):02}"])
        parts = [date, time, second, fraction, zone]
        text = (
            "".join(parts[: chance.choice([1, 2, 3, 4, 5, 5, 5, 5])]) if chance.random() < 0.8 else date + time + zone
        )
        if chance.random() < 0.1:
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(["", "0", "x", " ", "-", ":", ".", "é", "\\n"]) + text[at + 1 :]
        texts.append(f'"{text}"')
    assert same(engine, "TIMESTAMPTZ", texts) > 5_000


def test_all_days_of_some_years(engine: duckdb.DuckDBPyConnection) -> None:
    years = [2, 3, 4, 99, 100, 101, 400, 1899, 1900, 1969, 1970, 1972, 1999, 2000, 2023, 2024, 2100, 9996, 9998]
    days = [f'"{year:04}-{month:02}-{day:02}"' for year in years for month in range(14) for day in range(33)]
    assert same(engine, "TIMESTAMPTZ", days) == sum(
        365 + (not at % 4 and (at % 100 > 0 or not at % 400)) for at in years
    )


def numbers(chance: random.Random) -> str:
    digits = "".join(chance.choices("0123456789", k=chance.randint(1, 17))).lstrip("0") or "0"
    if chance.random() < 0.3:
        digits = digits.rstrip("0") + "0" * chance.randint(0, 3) or "0"
    if chance.random() < 0.3:
        return "-" * (chance.random() < 0.3 and digits != "0") + digits
    behind = chance.randint(1, 20)
    digits = digits.zfill(behind + 1)
    return "-" * (chance.random() < 0.3) + f"{digits[:-behind]}.{digits[-behind:]}"


def values(chance: random.Random, depth: int = 0) -> str:
    lines = event_lines.Lines(chance.randrange(2**40))
    lines.spaced = chance.random() < 0.2
    kind = chance.randrange(7)
    if kind == 0 and depth < 3:
        return "[" + ",".join(values(chance, depth + 1) for _ in range(chance.choice([0, 1, 1, 2, 4]))) + "]"
    if kind == 1 and depth:
        return lines.object()
    return lines.string() if kind < 4 else chance.choice([numbers(chance)] * 8 + ["true", "false", "null"])


@pytest.mark.parametrize("seed", range(3))
def test_whatever_it_is(engine: duckdb.DuckDBPyConnection, seed: int) -> None:
    chance = random.Random(seed)
    mixed = [*filter(is_json, (values(chance) for _ in range(5_000)))]
    assert same(engine, "MIXED", [*mixed, '{"a":1}', "{}"]) > 2_500


@pytest.mark.parametrize("seed", range(3))
def test_arrays(engine: duckdb.DuckDBPyConnection, seed: int) -> None:
    chance = random.Random(seed)
    arrays = ["[" + ",".join(values(chance, 1) for _ in range(chance.choice([1, 2]))) + "]" for _ in range(5_000)]
    arrays = [*filter(is_json, arrays)]
    assert same(engine, "ARRAY", [*arrays, "[]", '[""]', "[[]]", "[{}]", "[null]", '["",""]', "[ ]"]) > 1_000
