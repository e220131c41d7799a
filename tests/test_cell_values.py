"""What cell each value makes, by type, when it is taken out of its JSON; and of which the engine makes it."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loader.cells import TEXT, Paths
from tests.test_cells import LEFT, array, take

ARROW = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMPTZ": pa.timestamp("us", "Etc/UTC"),
    **dict.fromkeys(("VARCHAR", "MIXED", "ARRAY", "JSON"), TEXT),
}


def cells(type_: str, values: str | Sequence[str]) -> list[Any]:
    """The cells that values make in this type."""
    texts = values.split() if isinstance(values, str) else values
    paths = Paths({"a": (("a",), type_), "b": (("b",), "VARCHAR")})
    rows = take(paths, array([f'{{"b":"as usual","a":{text}}}' for text in texts]))
    assert [row["b"] for row in rows if row is not LEFT] == ["as usual" for row in rows if row is not LEFT]
    return [row if row is LEFT else row.get("a") for row in rows]


# --- a value ----------------------------------------------------------------------------------------------------------

NINES = "9" * 18


@pytest.mark.parametrize("type_", ARROW)
def test_the_type_of_the_cells(type_: str) -> None:
    found = Paths({"a": (("a",), type_)}).take(array(["{}"]))[1]["a"]
    assert (found.type, found.to_pylist()) == (ARROW[type_], [None])
    assert cells(type_, "null") == [None]


@pytest.mark.parametrize("type_", ARROW)
def test_of_what_is_not_plain_the_engine_makes_the_cell(type_: str) -> None:
    numbers = f"-0 1e5 1E5 1.5e5 1.5E+5 {NINES}9 -{NINES}9 {NINES}9.5 0.{'1' * 39} 18446744073709551616 {'9' * 30}"
    strings = r'"\u0000" "\ud800" "\udc00" "\ud800x" "\ud83d\u0041" "\ud83d\ud83d"'
    assert {*cells(type_, f"{numbers} {strings} [-0] [1e5] NaN Infinity -inf")} == {LEFT}


def test_bigint() -> None:
    assert cells("BIGINT", "0 7 -1 123456789012345") == [0, 7, -1, 123456789012345]
    assert cells("BIGINT", f"{NINES} -{NINES} 9007199254740993") == [10**18 - 1, 1 - 10**18, 2**53 + 1]
    assert {*cells("BIGINT", '1.0 -0.5 "7" "" true false [] {} [1] {"a":1}')} == {LEFT}


def test_boolean() -> None:
    assert cells("BOOLEAN", "true false") == [True, False]
    assert {*cells("BOOLEAN", '1 0 "true" "" 1.5 [] {} [true]')} == {LEFT}
    chance = random.Random(1)
    values = [chance.choice(["true", "false", "null"]) for _ in range(1000)]
    assert cells("BOOLEAN", values) == [{"true": True, "false": False, "null": None}[value] for value in values]


def test_double() -> None:
    assert cells("DOUBLE", "0 7 -1 1.5 -0.5 1.50 0.1") == [0.0, 7.0, -1.0, 1.5, -0.5, 1.5, 0.1]
    assert [*map(str, cells("DOUBLE", "0.0 -0.0 0.000 -0.000"))] == ["0.0", "-0.0", "0.0", "-0.0"]
    assert cells("DOUBLE", f"9007199254740993 {NINES}") == [2.0**53, 1e18]
    assert {*cells("DOUBLE", '"1.5" "" true [] {} [1.5] NaN')} == {LEFT}


def test_double_of_many_digits() -> None:
    """Up to 19 from the first that is not 0 on, and up to 19 behind the point."""
    texts = f"0.1234567890123456789 1.234567890123456789 {NINES}.9 0.{'0' * 18}1 -0.{'0' * 18}9"
    assert cells("DOUBLE", texts) == [*map(float, texts.split())]
    assert {*cells("DOUBLE", f"1.2345678901234567890 {NINES}.99 0.{'0' * 19}1 0.{'0' * 20}")} == {LEFT}


def test_varchar() -> None:
    assert cells("VARCHAR", ['"x"', '""', '" "', '"2024-05-06"', '"null"', '"[1]"']) == [
        *("x", None, " ", "2024-05-06", "null", "[1]")
    ]
    assert cells("VARCHAR", f"0 -1 {NINES} true false") == ["0", "-1", NINES, "true", "false"]
    assert {*cells("VARCHAR", '1.5 -0.0 [] {} [""] {"a":1}')} == {LEFT}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 11, 12, 13, 14, 100, 70_000])
def test_a_text_of_any_size(size: int) -> None:
    texts = ["x" * size, "é" * size, "x" * (size - 1) + "\n"]
    assert cells("VARCHAR", [f'"{text}"'.replace("\n", r"\n") for text in texts]) == texts


def test_escapes() -> None:
    written = r'"\"" "\\" "\/" "\b\f\n\r\t" "\u0001" "\u007f" "\u0080" "\u07ff" "\u0800" "\uffff" "\uD83D\uDE00"'
    meant = ['"', "\\", "/", "\b\f\n\r\t", "\x01", "\x7f", "\x80", "\u07ff", "\u0800", "\uffff", "😀"]
    assert cells("VARCHAR", written) == meant
    assert cells("VARCHAR", r'"\\n" "\\u0041" "\ud800\udc00" "\udbff\udfff" "\ud7ff\ue000"') == [
        *("\\n", "\\u0041", "\U00010000", "\U0010ffff", "\ud7ff\ue000")
    ]
    assert cells("VARCHAR", [rf'"{"x" * at}\u00e9{"y" * 9}\n"' for at in range(20)]) == [
        "x" * at + "é" + "y" * 9 + "\n" for at in range(20)
    ]


def test_timestamptz() -> None:
    texts = ["2024-05-06T07:08:09.010Z", "2024-05-06T07:08:09.1234567z", "2024-05-06 07:08", "2024-05-06"]
    assert cells("TIMESTAMPTZ", [f'"{text}"' for text in texts]) == [
        datetime(2024, 5, 6, 7, 8, 9, 10_000, UTC),
        datetime(2024, 5, 6, 7, 8, 9, 123_456, UTC),
        datetime(2024, 5, 6, 7, 8, tzinfo=UTC),
        datetime(2024, 5, 6, tzinfo=UTC),
    ]
    texts = ["2024-05-06T07:08:09+05:30", "2024-05-06T07:08:09-0530", "2024-03-01T00:00:00+00:01"]
    assert cells("TIMESTAMPTZ", [f'"{text}"' for text in texts]) == [
        datetime(2024, 5, 6, 1, 38, 9, tzinfo=UTC),
        datetime(2024, 5, 6, 12, 38, 9, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, tzinfo=UTC),
    ]
    assert cells("TIMESTAMPTZ", ['""']) == [None]
    odd = "x 2024 2024-05 2024-05-06x 2024-05-06T 2024-05-06T07 2024-05-06T24:00 2024-05-06T07:60 2023-02-29 0001-01-01"
    odd += r" 9999-12-31 2024-05-06T07:08:60 2024-05-06T07:08:09. 2024-05-06T07:08+5"
    odd += r" 2024-05-06T07:08+05:30x 2024-05-06Z 2024\u002d05-06"
    assert {*cells("TIMESTAMPTZ", [f'"{text}"' for text in odd.split()])} == {LEFT}
    assert {*cells("TIMESTAMPTZ", "1 1.5 true [] {}")} == {LEFT}


def test_mixed_is_the_text_that_the_engine_makes_of_the_value() -> None:
    taken = ["x", "7", "-1.5", "0.001", "100.0", "0.00123456789012345", "true", '[1,"é"]', r'["\n"]']
    assert cells("MIXED", ['"x"', *taken[1:]]) == taken
    assert cells("MIXED", '"" {} {"a":1} [] [""] [[]]') == [None] * 6
    left = r'1.50 0.0001 0.1234567890123456 12345678901234.56 "\u00e9" "2024-05-06" [1.50]'
    assert {*cells("MIXED", [*left.split(), "[ ]", "[1, 2]"])} == {LEFT}


def test_array_is_the_text_that_the_engine_makes_of_it() -> None:
    texts = r'[1] [null] [{}] ["",""] [[[]]] [{"a":[1.5,true]}] ["\\u00e9\"\n"] [-0.0]'.split()
    assert cells("ARRAY", texts) == texts
    assert cells("ARRAY", '[] [""] [[]] null') == [None] * 4
    left = [r'["\u00e9"]', r'["\/"]', "[ ]", "[1 ,2]", "[1.0e1]", "[0.10]", '"[]"', '""', "1", "true", "{}"]
    assert {*cells("ARRAY", left)} == {LEFT}


def test_json_is_the_text_of_the_value() -> None:
    texts = [r'"x\n"', '""', "1.50", "-7", "true", "{}", "[ ]", '[1, "é"]', '{"b" : [null]}', '"' + "x" * 20 + '"']
    assert cells("JSON", texts) == texts


# --- doubles ----------------------------------------------------------------------------------------------------------


def same_doubles(texts: Sequence[str]) -> int:
    """Each is the nearest double, bit by bit, or is left; how many are not."""
    paths = Paths({"a": (("a",), "DOUBLE")})
    done, found = paths.take(array([f'{{"a":{text}}}' for text in texts]))
    ours = found["a"].fill_null(0).to_numpy().view(np.int64)
    theirs = np.array([*map(float, texts)]).view(np.int64)
    assert [text for text, wrong in zip(texts, done & (ours != theirs), strict=True) if wrong] == []
    return int(np.sum(done))


def test_a_double_is_the_nearest_one() -> None:
    chance = random.Random(3)
    texts = []
    for _ in range(20_000):
        digits = "".join(chance.choices("0123456789", k=chance.randint(1, 19))).lstrip("0") or "0"
        behind = chance.randint(0, 19)
        digits = digits.zfill(behind + 1)
        point = len(digits) - behind
        text = digits[:point] + ("." + digits[point:] if behind else "")
        texts.append(chance.choice(["", "-"]) + text if text.strip("0.") else text)
    assert same_doubles(texts) > 19_000


def test_a_double_halfway_between_two_is_the_even_one() -> None:
    """And of those next to it, each is the nearer one."""
    chance = random.Random(4)
    texts = []
    for _ in range(5_000):
        behind = chance.randint(1, 3)
        half = Decimal(chance.randrange(2**53, 2**54) | 1) / 2**behind
        more = Decimal(1).scaleb(half.adjusted() - 18)
        texts += [f"{number:f}" for number in (half, half + more, half - more)]
    assert same_doubles(texts) == len(texts)


def test_a_double_next_to_the_middle_of_two_is_the_nearer_one() -> None:
    """Where the number has as many digits as it takes to be nearly there, on one side or the other."""
    chance = random.Random(5)
    texts = []
    for behind in range(8, 20):
        for bits in range(1, 45):
            # Twice the middle, a number of 54 bits, times 10**behind / 2**(behind + bits) is nearly a whole one.
            off = chance.choice([-1, 1]) * chance.randrange(1, 2 ** min(bits, 4), 2)
            low = off * pow(5**behind, -1, 2**bits) % 2**bits
            for _ in range(20):
                middle = chance.randrange(2**53, 2**54) >> bits << bits | low
                digits = (middle * 5**behind - off) >> bits
                if 2**53 <= digits < 10**19:
                    texts.append(f"{Decimal(digits).scaleb(-behind):f}")
    assert len(texts) > 1000
    assert same_doubles(texts) == len(texts)


def test_a_double_of_a_power() -> None:
    powers = [str(2**at + off) for at in range(50, 60) for off in (-1, 0, 1)]
    digits = [*powers, "9" * 19, "1" + "0" * 18, "9007199254740992", "9007199254740993"]
    texts = [each[:at] + "." + each[at:] for each in digits for at in range(1, min(len(each), 19))]
    assert same_doubles(texts) == len(texts)
