"""The reference itself: the conformance data, and the rules that are easiest to get wrong, values spelled out."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.reference import Counts, FileCounts, InputFile, Table, Warehouse, datetime_of, minified, name_of, parse

CONFORMANCE = Path(__file__).parent / "conformance"
MODIFIED = datetime(2024, 6, 1, 12, tzinfo=UTC)
STARTED = datetime(2024, 6, 2, 3, tzinfo=UTC)
DAY = timedelta(days=1)
CALL_TABLES = {"tracks", "identifies", "pages", "screens", "groups", "aliases", "resets"}


def conformance(name: str) -> list[dict[str, Any]]:
    text = (CONFORMANCE / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def load(warehouse: Warehouse, *lines: str | dict[str, Any]) -> Counts:
    """One load of one file."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return warehouse.load([InputFile("a.json", MODIFIED, "\n".join(texts).encode())], STARTED)


def track(properties: str, event: str = "E", **fields: Any) -> str:
    """A track's line; `properties` is JSON text, so that numbers and repeated keys come as they are written."""
    rest = json.dumps({"type": "track", "event": event, **fields})
    return f'{rest[:-1]}, "properties": {properties}}}'


def loaded(*lines: str | dict[str, Any], **settings: Any) -> Warehouse:
    warehouse = Warehouse(**settings)
    load(warehouse, *lines)
    return warehouse


def user_columns(table: Table) -> dict[str, str]:
    """The columns that aren't rule columns."""
    empty = loaded(track("{}"), store_full_event=True)
    rule_columns = empty.tables["e"].columns | empty.tables["tracks"].columns
    return {name: kind for name, kind in table.columns.items() if name not in rule_columns}


def user_cells(table: Table) -> list[dict[str, Any]]:
    names = user_columns(table)
    return [{name: row[name] for name in names if row.get(name) is not None} for row in table.rows]


def discards(warehouse: Warehouse) -> set[tuple[str, str, str, str]]:
    lost = [(d["table_name"], d["column_name"], d["column_value"], d["reason"]) for d in warehouse.discards]
    assert len(lost) == len(set(lost))
    return set(lost)


# --- conformance data ------------------------------------------------------------------------------------------------


def comparable(value: Any, kind: str) -> Any:
    """A cell as the conformance data compares it: instants cut to milliseconds, JSON parsed."""
    if kind == "TIMESTAMPTZ":
        instant = datetime_of(value) if isinstance(value, str) else value
        assert instant is not None
        return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
    if kind == "JSON":
        return json.loads(value) if isinstance(value, str) else value
    return value


@pytest.mark.parametrize("case", conformance("events.jsonl"), ids=lambda case: case["name"])
def test_events(case: dict[str, Any]) -> None:
    warehouse = Warehouse(**case["settings"])
    load(warehouse, case["event"])
    assert [reject["reason"] for reject in warehouse.rejects] == ([case["rejected"]] if "rejected" in case else [])
    expected = {table["table"]: table for table in case["expected"]}
    filled = {name for name, table in warehouse.tables.items() if table.rows}
    assert filled - {"other_events"} == expected.keys()
    for name, want in expected.items():
        table = warehouse.tables[name]
        [row] = table.rows
        got = {column: value for column, value in row.items() if value is not None}
        for computed in ["timestamp", "uuid_ts", "received_date", "loader_file_id", "loader_line", "loader_element"]:
            if computed not in want["row"]:
                got.pop(computed, None)
        types = {column: table.columns[column] for column in got}
        assert types == want["types"]
        assert {column: comparable(value, types[column]) for column, value in got.items()} == {
            column: comparable(value, types[column]) for column, value in want["row"].items()
        }


@pytest.mark.parametrize("case", conformance("names.jsonl"), ids=lambda case: repr(case["input"]))
def test_names(case: dict[str, str]) -> None:
    assert name_of(case["input"], escape=False) == case["name"]
    assert name_of(case["input"], divide_numbers=True, escape=False) == case["name_divide_numbers"]
    assert name_of(case["input"]) == case["escaped"]
    assert name_of(case["escaped"]) == case["escaped"]


@pytest.mark.parametrize("case", conformance("datetimes.jsonl"), ids=lambda case: case["input"])
def test_datetimes(case: dict[str, Any]) -> None:
    instant = datetime_of(case["input"])
    assert (instant is not None) == case["datetime"]
    if instant is not None:
        assert comparable(instant, "TIMESTAMPTZ") == datetime.fromisoformat(case["value"])


# --- JSON, names, datetimes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        r'"\u00e9\u0041\/ / \b\f\n\r\t\" \\ \u0000 \u001f é 日 \ud83d\ude00 \u2028 <>&"',
        r'{"b" : 1 , "b":2, "\u0061\n":[ 1.10 , {"x" : null, "y": true} , 1E2, -0, -0.0, 1e999, 2.0 ], "": {} }',
        "[12345678.9012345678901234567, 18446744073709551616, 1e22, 0.0000001, 1e-400, -9223372036854775809, 1e16]",
        ' "x" ',
    ],
)
def test_minified_text_is_what_duckdb_gives(text: str) -> None:
    duckdb_text = duckdb.execute("SELECT json_extract(?, '$.a')::VARCHAR", [f'{{"a":{text}}}']).fetchone()
    assert duckdb_text == (minified(parse(text)),)


def test_number_text() -> None:
    numbers = "[1.10,1E2,-0,1e999,18446744073709551616,12345678.9012345678901234567]"
    assert minified(parse(numbers)) == "[1.1,100.0,0,1e999,18446744073709551616,12345678.901234567]"


def test_names_beyond_ascii_and_length() -> None:
    names = {
        "日本語": "日本語",
        "context_address.Город": "context_address_город",
        "1日": "_1",  # an ASCII digit in the run
        "１日": "_1_日",  # fullwidth: NFKC makes it ASCII
        "٣ب": "_٣ب",
        "ﷺ": "صلى_الله_عليه_وسلم",
        "²": "",
        "_²": "_",
        "": "",
        "$_": "",
    }
    assert {text: name_of(text) for text in names} == names
    assert {name: name_of(name) for name in names.values()} == {name: name for name in names.values()}
    assert name_of("a" * 127) == "a" * 127
    digits = hashlib.sha256(b"a" * 128).hexdigest()[:8]
    assert name_of("a" * 128) == "a" * 118 + "_" + "".join(chr(ord("a") + int(digit, 16)) for digit in digits)
    long = name_of("é日" * 50)
    assert long.startswith("é日" * 23 + "é_")  # 117 bytes: the next character does not fit into 118
    assert len(long.encode()) == 117 + 9


def test_datetimes_of_section_5() -> None:
    assert datetime_of("2024-02-29 10:11-2359") == datetime(2024, 3, 1, 10, 10, tzinfo=UTC)
    assert datetime_of("2024-01-01T00:00:00.1234569Z") == datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    for text in [
        "2024-02-31",
        "2024-01-01T10:00+24:00",
        "2024-01-01T10:00+00:60",
        "2024-01-01\n",
        "٢٠٢٤-01-01",
        "epoch",
    ]:
        assert datetime_of(parse(json.dumps(text))) is None


# --- input (§1, §8) --------------------------------------------------------------------------------------------------


def test_lines_and_rejects() -> None:
    lines = [
        b'\xef\xbb\xbf{"type":"Track"}\r',
        b" \t\r",
        b"{",
        b'{"type":"track","event":"\xff"}',
        b"[1]",
        b'{"type":null}',
        b'{"event":"x"}',
        b'{"type":"track","event":"\\ud800"}',
        b'{"batch":[]}',
        b'{"batch":{}}',
        b'{"batch":[7,{"batch":[]},{"type":"reset"}]}',
        b'{"type":"x","batch":[]}',
    ]
    warehouse = Warehouse()
    counts = warehouse.load([InputFile("a", MODIFIED, b""), InputFile("b", MODIFIED, b"\n".join(lines))], STARTED)
    assert counts == [FileCounts(), FileCounts(lines=12, blank=1, items=13, loaded=2, duplicates=0, rejected=11)]
    assert [(r["loader_file_id"], r["loader_line"], r["loader_element"], r["reason"]) for r in warehouse.rejects] == [
        (2, 3, None, "invalid_json"),
        (2, 4, None, "invalid_utf8"),
        (2, 5, None, "not_an_object"),
        (2, 6, None, "unknown_type"),
        (2, 7, None, "missing_type"),
        (2, 8, None, "invalid_json"),
        (2, 9, None, "empty_batch"),
        (2, 10, None, "bad_batch"),
        (2, 11, 0, "not_an_object"),
        (2, 11, 1, "missing_type"),
        (2, 12, None, "unknown_type"),
    ]
    assert warehouse.rejects[8]["raw"] == "7"
    [row] = warehouse.tables["tracks"].rows  # the line as read: without byte order mark and line end
    assert row["id"] == "auto-" + hashlib.sha256(b'{"type":"Track"}').hexdigest()[:32]
    [row] = warehouse.tables["resets"].rows
    assert (row["loader_line"], row["loader_element"]) == (11, 2)
    assert row["id"] == "auto-" + hashlib.sha256(b'{"type":"reset"}').hexdigest()[:32]


def test_auto_id_of_a_batch_element_is_of_its_minified_text() -> None:
    warehouse = loaded('{"batch": [ {"type": "alias", "messageId": "\\t ", "x": 1E2, "x": "\\/" } ]}')
    [row] = warehouse.tables["aliases"].rows
    text = b'{"type":"alias","messageId":"\\t ","x":100.0,"x":"/"}'
    assert row["id"] == "auto-" + hashlib.sha256(text).hexdigest()[:32]


def test_sent_at_of_an_envelope() -> None:
    elements: list[dict[str, Any]] = [
        {"type": "reset"},
        {"type": "reset", "sentAt": None},
        {"type": "reset", "sentAt": ""},
    ]
    warehouse = loaded({"batch": [{"messageId": str(i), **e} for i, e in enumerate(elements)], "sentAt": "2024-05-06"})
    sent = datetime(2024, 5, 6, tzinfo=UTC)
    assert [row["sent_at"] for row in warehouse.tables["resets"].rows] == [sent, sent, None]
    assert warehouse.discards == []


def test_received_at_and_timestamp() -> None:
    times: list[dict[str, Any]] = [
        {
            "receivedAt": "2024-05-01T10:00:00Z",
            "sentAt": "2024-05-01T11:00:05Z",
            "originalTimestamp": "2024-05-01T11:00Z",
        },
        {"receivedAt": "2024-06-03T03:00:00Z", "originalTimestamp": "2024-01-01"},
        {"receivedAt": "2024-06-03T03:00:00.000001Z", "sentAt": "2024-01-02", "originalTimestamp": "2024-01-01"},
        {"receivedAt": 5, "sentAt": "2024-01-02", "timestamp": "yesterday"},
        {"sentAt": "", "timestamp": None, "originalTimestamp": []},
    ]
    warehouse = loaded(*[{"type": "reset", "messageId": str(i), **fields} for i, fields in enumerate(times)])
    rows = warehouse.tables["resets"].rows
    assert [(row["received_at"], row["timestamp"]) for row in rows] == [
        (datetime(2024, 5, 1, 10, tzinfo=UTC), datetime(2024, 5, 1, 9, 59, 55, tzinfo=UTC)),
        (STARTED + DAY, datetime(2024, 1, 1, tzinfo=UTC)),
        (MODIFIED, datetime(2024, 1, 1, tzinfo=UTC)),
        (MODIFIED, datetime(2024, 1, 2, tzinfo=UTC)),
        (MODIFIED, MODIFIED),
    ]
    assert rows[1]["received_date"] == date(2024, 6, 3)
    assert discards(warehouse) == {
        ("resets", "receivedAt", '"2024-06-03T03:00:00.000001Z"', "bad_timestamp"),
        ("resets", "receivedAt", "5", "bad_timestamp"),
        ("resets", "timestamp", '"yesterday"', "bad_timestamp"),
        ("resets", "originalTimestamp", "[]", "bad_timestamp"),
    }


def test_discards_of_a_whole_event_come_once_under_the_call_table() -> None:
    line = (
        '{"type":"track","event":"E","userId":{},"channel":[],"request_ip":false,"groupId":{},"traits":1,"name":[],'
        '"context":"c","userProperties":null,"anonymousId":"a","anonymousId":"b","anonymousId":"a","other":1,"other":2}'
    )
    warehouse = loaded(line, skip_tracks_table=True)
    assert discards(warehouse) == {
        ("tracks", "userId", "{}", "not_a_scalar"),
        ("tracks", "channel", "[]", "not_a_scalar"),
        ("tracks", "context", '"c"', "not_an_object"),
        ("tracks", "anonymousId", '"b"', "duplicate_key"),
    }
    assert warehouse.tables["tracks"].rows == []
    [row] = warehouse.tables["e"].rows
    assert (row["user_id"], row["anonymous_id"], row["context_ip"]) == (None, "a", "false")


def test_duplicate_keys() -> None:
    properties = '{"a":{"x":1,"x":2,"x":null,"x":1.0,"x":1},"a":3,"l":[{"y":1,"y":2}],"j":{"z":1,"z":2},"b":null,"b":4}'
    warehouse = loaded(track(properties, messageId="m"), json_paths=["track.properties.j"])
    assert user_cells(warehouse.tables["e"]) == [{"a_x": 1, "l": '[{"y":1,"y":2}]', "j": '{"z":1,"z":2}'}]
    assert discards(warehouse) == {
        ("tracks", "properties.a.x", "2", "duplicate_key"),
        ("tracks", "properties.a.x", "1.0", "duplicate_key"),
        ("tracks", "properties.a", "3", "duplicate_key"),
        ("tracks", "properties.b", "4", "duplicate_key"),
    }
    assert {d["row_id"] for d in warehouse.discards} == {"m"}


# --- tables and columns (§2, §3) -------------------------------------------------------------------------------------


def test_tables_from_the_first_load_on() -> None:
    warehouse = loaded("")
    assert warehouse.tables.keys() == CALL_TABLES
    assert "other_events" in loaded(track("{}", "%")).tables


def test_tracks_without_own_table() -> None:
    warehouse = loaded(
        track('{"a": 1E2, "id": [], "a": 2}', "$"),
        track("{}", ""),
        track('{"b": 1}', "Second"),
        track('{"c": 1}', "Third", context={"k": 1}),
        track('{"d": 1}', "_tracks", context={"k": 2}),
        track('{"e": 1}', "Tracks"),
        track('{"f": 1}', "second"),
        skip_tracks_table=True,
        max_event_tables=2,
    )
    assert warehouse.tables.keys() == CALL_TABLES | {"other_events", "second", "third"}
    tracks = [(row["event_text"], row["event"], row.get("context_k")) for row in warehouse.tables["tracks"].rows]
    assert tracks == [("$", "", None), (None, "", None), ("_tracks", "_tracks", 2), ("Tracks", "tracks", None)]
    other = warehouse.tables["other_events"]
    properties = ['{"a":100.0,"id":[],"a":2}', None, '{"d":1}', '{"e":1}']
    assert [row.get("properties") for row in other.rows] == properties
    assert user_columns(other) == {"properties": "JSON"}
    assert len(warehouse.tables["second"].rows) == 2
    assert warehouse.discards == []
    load(warehouse, track("{}", "Tracks", messageId="new"), track("{}", "Third", messageId="new2"))
    assert len(other.rows) == 5
    assert len(warehouse.tables["third"].rows) == 2


def test_name_of_event_table_and_event_column() -> None:
    warehouse = loaded(*[track("{}", event, messageId=event) for event in ["Order", "sessions", "9 lives", "Ñandú"]])
    assert warehouse.tables.keys() == CALL_TABLES | {"_order", "_sessions", "_9_lives", "_and"}
    assert [row["event"] for row in warehouse.tables["tracks"].rows] == ["order", "sessions", "_9_lives", "and"]
    assert warehouse.tables["_sessions"].rows[0]["event"] == "sessions"


def test_rule_columns_win() -> None:
    context = {"ip": "1.1.1.1", "IP": "2.2.2.2", "request_ip": "3"}
    properties = (
        '{"userId":7,"user_id":"7","USER-ID":"8","id":"","received_at":"2024-06-01T14:00+02:00","sent_at":0,'
        '"received_date":"2024-06-01","loader_line":1,"loader_element":0,"uuid_ts":"2024-06-02T03:00:00Z","_id":1,'
        '"context_passed_ip":[1],"rudder_event":5}'
    )
    warehouse = loaded(track(properties, userId=7, request_ip=3, context=context), store_full_event=True)
    [row] = warehouse.tables["e"].rows
    assert (row["context_ip"], row["context_request_ip"], row["context_passed_ip"]) == ("1.1.1.1", "3", "1.1.1.1")
    assert {name: row[name] for name in ["user_id", "_id", "rudder_event"]} == {
        "user_id": "7",
        "_id": 1,
        "rudder_event": 5,
    }
    assert discards(warehouse) == {
        ("e", "user_id", '"8"', "rule_column"),
        ("e", "sent_at", "0", "rule_column"),
        ("e", "loader_element", "0", "rule_column"),
        ("e", "uuid_ts", '"2024-06-02T03:00:00Z"', "rule_column"),
        ("e", "context_passed_ip", "[1]", "rule_column"),
        ("e", "context_ip", '"2.2.2.2"', "rule_column"),
        ("tracks", "context_ip", '"2.2.2.2"', "rule_column"),
    }


def test_name_of_pages_is_the_first_that_is_not_blank() -> None:
    warehouse = loaded(
        {"type": "page", "messageId": "1", "name": "", "event": "E", "properties": {"name": 5}},
        {"type": "page", "messageId": "2", "event": "E", "properties": {"name": ["x"]}},
        {"type": "screen", "messageId": "3", "name": "N", "properties": {"name": "P"}},
    )
    assert [row["name"] for row in warehouse.tables["pages"].rows] == ["5", "E"]
    assert [row["name"] for row in warehouse.tables["screens"].rows] == ["N"]
    assert discards(warehouse) == {
        ("pages", "name", '["x"]', "rule_column"),
        ("screens", "name", '"P"', "rule_column"),
    }


def test_the_last_value_that_is_not_blank_wins() -> None:
    # "A" comes before "a" in UTF-8 byte order, and "a", an object, before "a_b"
    properties = '{"a_b":[],"a":{"b":"y","B":"x"},"A":{"b":"z"},"A_B":"y","a.c":1.50,"a_c":1.5,"%":{"-":0,"_":[""]}}'
    warehouse = loaded(track(properties))
    assert user_cells(warehouse.tables["e"]) == [{"a_b": "y", "a_c": 1.5}]
    assert discards(warehouse) == {
        ("e", "a_b", '"x"', "name_collision"),
        ("e", "a_b", '"z"', "name_collision"),
        ("e", "%_-", "0", "unnameable_key"),
    }


def test_precedence() -> None:
    event = {
        "type": "identify",
        "messageId": "m",
        "userProperties": {"x": "up", "more": 1, "context_z": "up"},
        "traits": {"x": "traits", "y": "traits"},
        "context": {"traits": {"x": "ct", "y": "traits", "w": "ct"}, "z": "context"},
    }
    assert user_cells(loaded(event).tables["identifies"]) == [
        {
            "x": "traits",
            "y": "traits",
            "more": 1,
            "context_z": "context",
            "context_traits_x": "ct",
            "context_traits_y": "traits",
            "context_traits_w": "ct",
        }
    ]
    warehouse = loaded(event, allow_users_context_traits=True)
    assert user_cells(warehouse.tables["identifies"])[0]["w"] == "ct"
    assert discards(warehouse) == {
        ("identifies", "x", '"up"', "name_collision"),
        ("identifies", "x", '"ct"', "name_collision"),
        ("identifies", "context_z", '"up"', "name_collision"),
    }


def test_blank_is_absent() -> None:
    properties = (
        '{"a":null,"b":"","c":[],"d":[""],"e":[[]],"f":{},"g":{"h":{}},"i":[null],"j":["",""],"k":" ","l":false}'
    )
    warehouse = loaded(track(properties))
    assert user_cells(warehouse.tables["e"]) == [{"i": "[null]", "j": '["",""]', "k": " ", "l": False}]
    assert warehouse.discards == []


def test_json_paths() -> None:
    properties = '{"o":{"b":1,"a":{}},"s":"2024-01-01","f":false,"l":[],"n":null,"e":"","p":{"q":{},"r":1}}'
    paths = [f"track.properties.{path}" for path in ["o", "s", "f", "l", "n", "e", "p.q"]]
    warehouse = loaded(track(properties), json_paths=paths)
    cells = {"o": '{"b":1,"a":{}}', "s": '"2024-01-01"', "f": "false", "l": "[]", "p_q": "{}", "p_r": 1}
    assert user_cells(warehouse.tables["e"]) == [cells]
    assert user_columns(warehouse.tables["e"]) == dict.fromkeys(cells, "JSON") | {"p_r": "BIGINT"}


# --- types (§5, §6) --------------------------------------------------------------------------------------------------


def column_of(*values: str) -> tuple[str, list[Any]]:
    """Type and cells of a new column that these values, JSON texts, come for."""
    warehouse = loaded(*[track(f'{{"v":{value}}}', messageId=str(i)) for i, value in enumerate(values)])
    assert warehouse.discards == []
    table = warehouse.tables["e"]
    return table.columns["v"], [row["v"] for row in table.rows]


@pytest.mark.parametrize(
    ("values", "kind", "cells"),
    [
        (["-0", "9223372036854775807", "-9223372036854775808"], "BIGINT", [0, 2**63 - 1, -(2**63)]),
        (["9223372036854775808", "1e999"], "VARCHAR", ["9223372036854775808", "1e999"]),
        (["2.0", "1E2"], "DOUBLE", [2.0, 100.0]),
        (["1152921504606846976", "1.5"], "DOUBLE", [2.0**60, 1.5]),
        (["9007199254740993", "1.50"], "VARCHAR", ["9007199254740993", "1.5"]),
        (["true", "1"], "VARCHAR", ["true", "1"]),
        (['"01"', '"true"'], "VARCHAR", ["01", "true"]),
        (['"2024-01-01"'], "TIMESTAMPTZ", [datetime(2024, 1, 1, tzinfo=UTC)]),
        (['"0099-01-01 10:00+01:00"', '"x"'], "VARCHAR", ["0099-01-01T09:00:00.000000Z", "x"]),
        (['"2024-01-01"', "1E2"], "VARCHAR", ["2024-01-01T00:00:00.000000Z", "100.0"]),
        (["[1.10]", '"2024-01-01"', "1e999", "true"], "JSON", ["[1.1]", '"2024-01-01"', "1e999", "true"]),
    ],
)
def test_type_of_a_new_column(values: Sequence[str], kind: str, cells: list[Any]) -> None:
    assert column_of(*values) == (kind, cells)
    assert [type(cell) for cell in column_of(*values)[1]] == [type(cell) for cell in cells]


def test_values_that_come_for_an_existing_column() -> None:
    names = {"i": "1", "d": "1.5", "b": "true", "s": '"x"', "j": "[1]", "t": '"2024-01-01"'}
    warehouse = loaded(track("{" + ",".join(f'"{name}":{value}' for name, value in names.items()) + "}"))

    def cells(value: str) -> dict[str, Any]:
        """What becomes of a value in each of the columns; `None`: a discard."""
        del warehouse.discards[:]
        properties = "{" + ",".join(f'"{name}":{value}' for name in names) + "}"
        load(warehouse, track(properties, messageId=value))
        row = warehouse.tables["e"].rows[-1]
        lost = {(d["column_name"], d["column_value"], d["reason"], d["row_id"]) for d in warehouse.discards}
        assert lost == {(name, minified(parse(value)), "type_mismatch", value) for name in names if row[name] is None}
        return {name: row[name] for name in names if row[name] is not None}

    assert cells("9007199254740992") == {
        "i": 2**53,
        "d": 2.0**53,
        "s": "9007199254740992",
        "j": "9007199254740992",
    }
    assert cells("9007199254740993") == {"i": 2**53 + 1, "s": "9007199254740993", "j": "9007199254740993"}
    assert cells("2.50") == {"d": 2.5, "s": "2.5", "j": "2.5"}
    assert cells("1e999") == {"s": "1e999", "j": "1e999"}
    assert cells("false") == {"b": False, "s": "false", "j": "false"}
    assert cells('"2024-01-01T10:00"') == {
        "s": "2024-01-01T10:00:00.000000Z",
        "j": '"2024-01-01T10:00"',
        "t": datetime(2024, 1, 1, 10, tzinfo=UTC),
    }
    assert cells('"é"') == {"s": "é", "j": '"é"'}
    assert cells('[1, "a"]') == {"s": '[1,"a"]', "j": '[1,"a"]'}
    assert user_columns(warehouse.tables["e"])["i"] == "BIGINT"


def test_a_context_value_that_does_not_fit_is_lost_once_a_table() -> None:
    warehouse = loaded(track("{}", "A", context={"v": 1}), track('{"context_v":"s"}', "B"))
    load(warehouse, track("{}", "A", context={"v": "x"}), track("{}", "B", context={"v": "y"}))
    assert discards(warehouse) == {
        ("tracks", "context_v", '"x"', "type_mismatch"),
        ("a", "context_v", '"x"', "type_mismatch"),
        ("tracks", "context_v", '"y"', "type_mismatch"),
    }


def test_max_columns() -> None:
    warehouse = loaded(track('{"b":1}'), max_columns=20)  # an event table has 18 rule columns
    assert len(warehouse.tables["e"].columns) == 19
    load(warehouse, track('{"d":1,"c":[2],"C":3,"a":"x","b":true}'))
    assert user_columns(warehouse.tables["e"]) == {"a": "VARCHAR", "b": "BIGINT"}
    load(warehouse, track('{"a":1}'))
    assert user_cells(warehouse.tables["e"]) == [{"b": 1}, {"a": "x"}, {"a": "1"}]
    assert discards(warehouse) == {
        ("e", "b", "true", "type_mismatch"),
        ("e", "c", "3", "name_collision"),
        ("e", "c", "[2]", "too_many_columns"),
        ("e", "d", "1", "too_many_columns"),
    }


# --- duplicates and users (§7) ---------------------------------------------------------------------------------------


def reset(message_id: str, received_at: str, **fields: Any) -> dict[str, Any]:
    return {"type": "reset", "messageId": message_id, "receivedAt": received_at, **fields}


def test_the_earliest_received_wins_inside_a_load() -> None:
    late = reset("m", "2024-05-02", properties={"late": {"$": 1}})
    early = [reset("m", "2024-05-01", properties={"n": n}) for n in [1, 2]]
    warehouse = Warehouse()
    lines = [json.dumps(late), json.dumps({"batch": early}), json.dumps({**late, "type": "page"})]
    counts = warehouse.load([InputFile("a", MODIFIED, line.encode()) for line in lines], STARTED)
    assert [(c.loaded, c.duplicates) for c in counts] == [(0, 1), (1, 1), (1, 0)]
    assert user_cells(warehouse.tables["resets"]) == [{"n": 1}]
    assert user_columns(warehouse.tables["resets"]) == {"n": "BIGINT"}
    assert {discard["table_name"] for discard in warehouse.discards} == set()


def test_duplicates_of_the_warehouse_go_first() -> None:
    first, inside, outside = "2024-03-31", "2024-04-30", "2024-04-30T00:00:00.000001Z"
    warehouse = loaded(reset("m", first))
    [counts] = load(warehouse, reset("m", inside), reset("m", "2024-05-02"), reset("m", outside))
    assert (counts.loaded, counts.duplicates) == (1, 2)
    assert [row["received_at"] for row in warehouse.tables["resets"].rows] == [datetime_of(first), datetime_of(outside)]
    assert load(warehouse, reset("m", "2024-03-01"))[0].duplicates == 1
    assert load(loaded(reset("m", first), dedup_window_days=None), reset("m", "1999-01-01"))[0].duplicates == 1


def test_a_duplicate_leaves_nothing_under_skip_tracks_table() -> None:
    warehouse = loaded(track("{}", "A", messageId="m"), skip_tracks_table=True)
    load(warehouse, track('{"x":1,"-":1}', "B", messageId="m", sentAt="bad"))
    assert warehouse.tables.keys() == CALL_TABLES | {"a"}
    assert warehouse.discards == []


def test_users() -> None:
    def identify(user: str | None, received_at: str, **traits: Any) -> dict[str, Any]:
        return {
            "type": "identify",
            "userId": user,
            "messageId": received_at,
            "receivedAt": received_at,
            "traits": traits,
        }

    warehouse = loaded(
        identify("u", "2024-05-03", plan="pro"),
        identify("u", "2024-05-01", plan="free", city="x", context_a=[1]),
        identify("v", "2024-05-02", city=""),
        identify(None, "2024-05-04", city="z"),
    )
    users = warehouse.users()
    columns = warehouse.tables["identifies"].columns
    assert users.columns.keys() == columns.keys() - {"user_id", "loader_file_id", "loader_line", "loader_element"}
    by_id = {row["id"]: row for row in users.rows}
    assert by_id.keys() == {"u", "v"}
    assert {name: by_id["u"][name] for name in ["plan", "city", "context_a", "received_at", "received_date"]} == {
        "plan": "pro",
        "city": "x",
        "context_a": "[1]",
        "received_at": datetime(2024, 5, 3, tzinfo=UTC),
        "received_date": date(2024, 5, 3),
    }
    assert "city" not in by_id["v"]
