"""Lines that are hard to take apart: deep ones are refused, wide ones are not, long batches keep every element."""

import json
from pathlib import Path

import pytest

from loader import fields, split
from tests import warehouses

GOOD = {"type": "track", "event": "Good", "messageId": "good"}


def nested(opening: str, closing: str, levels: int) -> str:
    """An event of which `x` nests this many levels; the event and its properties are two more."""
    value = opening * levels + "1" + closing * levels
    return '{"type":"track","event":"Deep","messageId":"deep","properties":{"x":' + value + "}}"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_deeper_than_the_limit_is_a_reject(opening: str, closing: str, tmp_path: Path) -> None:
    report = warehouses.load(tmp_path, {"deep.jsonl": warehouses.lines(nested(opening, closing, 60_000), GOOD)})
    assert (report.loaded, report.rejects) == (1, {"invalid_json": 1})
    detail = f"nested deeper than {fields.MAX_DEPTH} levels"
    assert warehouses.query(tmp_path, "SELECT reason, detail FROM loader.rejects") == [("invalid_json", detail)]


@pytest.mark.parametrize("levels", [fields.MAX_DEPTH - 1, 60_000])
def test_an_element_that_is_too_deep_leaves_the_others_of_its_batch(levels: int, tmp_path: Path) -> None:
    batch = '{"batch":[' + f"{json.dumps(GOOD)},{nested('[', ']', levels)}" + "]}"
    report = warehouses.load(tmp_path, {"deep.jsonl": batch.encode()})
    assert (report.loaded, report.rejects) == (1, {"invalid_json": 1})
    detail = f"nested deeper than {fields.MAX_DEPTH} levels"
    rows = warehouses.query(tmp_path, "SELECT loader_line, loader_element, reason, detail FROM loader.rejects")
    assert rows == [(1, 1, "invalid_json", detail)]


def test_the_limit_itself_is_loaded(tmp_path: Path) -> None:
    levels = fields.MAX_DEPTH - 2
    lines = warehouses.lines(nested("[", "]", levels), nested("[", "]", levels + 1).replace("deep", "deeper"))
    report = warehouses.load(tmp_path, {"deep.jsonl": lines})
    assert (report.loaded, report.rejects) == (1, {"invalid_json": 1})
    assert warehouses.query(tmp_path, "SELECT id, x FROM deep") == [("deep", "[" * levels + "1" + "]" * levels)]


def test_many_brackets_are_not_deep(tmp_path: Path) -> None:
    products = [{"sku": str(at)} for at in range(3000)]
    wide = {"type": "track", "event": "Wide", "messageId": "wide", "properties": {"products": products, "text": "[[["}}
    report = warehouses.load(tmp_path, {"wide.jsonl": warehouses.lines(wide, {"batch": [wide | {"messageId": "w2"}]})})
    assert report.loaded == 2
    rows = warehouses.query(tmp_path, "SELECT id, json_array_length(products), text FROM wide ORDER BY id")
    assert rows == [("w2", 3000, "[[["), ("wide", 3000, "[[[")]


def test_every_element_of_a_long_batch_is_told_apart(tmp_path: Path) -> None:
    count = 1500
    batch = {"batch": [{"type": "page", "messageId": f"m{at % (count - 1)}"} for at in range(count)]}
    report = warehouses.load(tmp_path, {"batch.jsonl": json.dumps(batch).encode()})
    assert (report.loaded, report.duplicates) == (count - 1, 1)
    rows = warehouses.query(tmp_path, "SELECT max(loader_element), count(DISTINCT loader_element) FROM pages")
    assert rows == [(count - 2, count - 1)]


@pytest.mark.parametrize(
    ("text", "depth"),
    [("", 0), ("1", 0), ("[]", 1), ('{"a":[1,{"b":2}]}', 3), ('["[[[{{"]', 1), (r'["\"[["]', 1), ("[[],[]]", 2)],
)
def test_depth(text: str, depth: int) -> None:
    assert split._depth(text) == depth


def test_contexts_of_nothing_but_empty_objects(tmp_path: Path) -> None:
    events = [{"type": "reset", "messageId": name, "context": {"a": {}}} for name in "ab"]
    assert warehouses.load(tmp_path, {"f": warehouses.lines(*events)}).loaded == 2
    assert warehouses.query(tmp_path, "SELECT id FROM resets ORDER BY id") == [("a",), ("b",)]
