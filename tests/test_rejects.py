"""`loader rejects list` and `export`: which rejects are open, and their lines as they are to be mended."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from loader import open_rejects
from tests import warehouses
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("nothing_from_elsewhere")

ROOT = Path(__file__).parent.parent

A = warehouses.lines(
    {"type": "reset", "messageId": "good"},
    "{no",
    {"batch": [{"type": "walk"}, {"type": "reset", "messageId": "g2"}, {"messageId": "g3"}]},
    '{"type":"reset","messageId":"a"}{"type":"reset","messageId":"b"}',
)
B = warehouses.lines(b'{"type":"page","name":"\xff"}', "[]", {"batch": []}, {"batch": 1}, "#!", '"\u2028é"')


def load(run: Run, *more: str, **files: bytes) -> None:
    Path("in").mkdir(exist_ok=True)
    for name, data in files.items():
        Path("in", name).write_bytes(data)
    assert run("load", "in", "--quiet", "--max-reject-share", "1", *more).exit_code == 0


def marks(text: str) -> list[tuple[str, str]]:
    """The marks of an export (without the digest and what follows it), each with the line below it."""
    found = re.findall(r"^# reject ([0-9:]+)/[0-9a-f]{8} [^\n]*\n([^\n]*)\n", text, re.MULTILINE)
    return [(name, line) for name, line in found]


def listed(run: Run, *args: str) -> list[tuple[str, str, int]]:
    rows = json.loads(run("rejects", "list", "--json", *args).stdout)
    return [(row["reason"], Path(row["file"]).name, row["rejects"]) for row in rows]


def test_the_list(run: Run, tmp_path: Path) -> None:
    load(run, a=A, b=B)
    done = run("rejects", "list")
    assert (done.exit_code, done.stderr) == (0, "10 rejects; to mend them: loader rejects export -o mend.jsonl\n")
    file = f"{tmp_path}/in/"
    wide = len(file) + 1
    assert done.stdout.splitlines() == [
        f"reason         rejects  {'file':<{wide}}  first line    what",
        f"-------------  -------  {'-' * wide}  ------------  --------------------------------------------",
        f"invalid_json         2  {file}a  2             the line is not valid JSON",
        f"not_an_object        2  {file}b  2             an event is a JSON object, this is: array",
        f"bad_batch            1  {file}b  4             batch is no array but: number",
        f"empty_batch          1  {file}b  3             the batch holds no event",
        f"invalid_json         1  {file}b  5             the line is not valid JSON",
        f"invalid_utf8         1  {file}b  1             bytes that are not UTF-8 are shown as U+FFFD",
        f'missing_type         1  {file}a  3, element 2  the event has no key "type"',
        f'unknown_type         1  {file}a  3, element 0  type is "walk"',
    ]
    assert json.loads(run("rejects", "list", "--json").stdout)[-1] == {
        "reason": "unknown_type",
        "file": f"{file}a",
        "rejects": 1,
        "line": 3,
        "element": 0,
        "detail": 'type is "walk"',
    }


def test_which_are_meant(run: Run, tmp_path: Path) -> None:
    load(run, a=A, b=B)
    assert listed(run, "--reason", "invalid_json") == [("invalid_json", "a", 2), ("invalid_json", "b", 1)]
    assert listed(run, "--reason", "bad_batch", "--reason", "empty_batch") == [
        ("bad_batch", "b", 1),
        ("empty_batch", "b", 1),
    ]
    for file in ("a", "in/a", f"{tmp_path}/in/a", "*/a", "[a]"):
        assert {name for _, name, _ in listed(run, "--file", file)} == {"a"}
    assert listed(run, "--file", "n/a") == []
    done = run("rejects", "list", "--file", "nowhere")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no rejects are open\n")
    done = run("rejects", "export", "--reason", "bad")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: --reason: there is no reason 'bad'. There are: invalid_json, invalid_utf8, not_an_object, "
        "missing_type, unknown_type, empty_batch, bad_batch, line_too_long.\n"
    )


def test_the_reasons_are_those_that_there_are(run: Run) -> None:
    load(run, "--max-line-bytes", "200", a=A, b=B + b"x" * 300)
    found = {reason for reason, *_ in listed(run)}
    assert found == {*open_rejects.REASONS}
    documented = re.findall(
        r"^\| `(\w+)` \| is|^\| `(\w+)` \| has", (ROOT / "docs/warehouse.md").read_text(), re.MULTILINE
    )
    assert {*open_rejects.REASONS} <= {name for pair in documented for name in pair}


def test_a_file_that_was_read_again_has_the_rejects_of_its_last_reading(run: Run) -> None:
    load(run, a=A)
    load(run, a=A.replace(b"{no\n", b'{"type":"reset"}\n') + b"more\n")
    assert listed(run) == [("invalid_json", "a", 2), ("missing_type", "a", 1), ("unknown_type", "a", 1)]
    assert listed(run, "--all") == [("invalid_json", "a", 4), ("missing_type", "a", 2), ("unknown_type", "a", 2)]
    assert marks(run("rejects", "export", "--reason", "invalid_json").stdout) == [
        ("2:4", '{"type":"reset","messageId":"a"}{"type":"reset","messageId":"b"}'),
        ("2:5", "more"),
    ]
    assert json.loads(run("status", "--json").stdout)["rejects"] == {
        "invalid_json": 2,
        "missing_type": 1,
        "unknown_type": 1,
    }
    assert (
        "rejects: 4 (invalid_json 2, missing_type 1, unknown_type 1); see loader rejects list\n" in run("status").stdout
    )


def test_an_export(run: Run, tmp_path: Path) -> None:
    load(run, a=A, b=B)
    done = run("rejects", "export")
    assert (done.exit_code, done.stderr) == (0, "10 rejects; when mended: loader rejects replay FILE\n")
    lines = done.stdout.split("\n")
    assert lines[0].startswith("# 10 rejects. Mend the lines, ")
    assert lines[0].endswith(" then: loader rejects replay FILE")
    assert lines[2] == f"# reject 1:2/11400f55 invalid_json, {tmp_path}/in/a line 2: the line is not valid JSON"
    assert marks(done.stdout) == [
        ("1:2", "{no"),
        ("1:3:0", '{"type":"walk"}'),
        ("1:3:2", '{"messageId":"g3"}'),
        ("1:4", '{"type":"reset","messageId":"a"}{"type":"reset","messageId":"b"}'),
        ("2:1", '{"type":"page","name":"\ufffd"}'),
        ("2:2", "[]"),
        ("2:3", '{"batch": []}'),
        ("2:4", '{"batch": 1}'),
        ("2:5", "#!"),
        ("2:6", '"\u2028é"'),
    ]
    assert lines[-1] == ""


def test_an_export_to_a_file_that_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    load(run, "--warehouse", "w h", b=B)
    done = run("rejects", "export", "-o", "mend it", "--warehouse", "w h", "--reason", "bad_batch")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "1 reject; when mended: loader rejects replay 'mend it' --warehouse 'w h'\n"
    assert marks(Path("mend it").read_text()) == [("1:4", '{"batch": 1}')]
    Path("mend it").write_text("mended")
    done = run("rejects", "export", "-o", "mend it", "--warehouse", "w h")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "error: mend it: is there already, and may hold lines that you mended. Give another name.\n"
    assert Path("mend it").read_text() == "mended"
    assert run("rejects", "export", "--warehouse", "w h", "--file", "x", "-o", "none").stderr == "no rejects are open\n"
    assert not Path("none").exists()
    done = run("rejects", "export", "--warehouse", "w h", "-o", "c", "--json")
    assert (done.stdout, done.stderr) == ('{"rejects": 6, "cut": 0}\n', "")


def test_line_ends_in_the_name_of_a_file_or_a_detail_do_no_harm(run: Run) -> None:
    load(run, **{"a\nb": warehouses.lines('{"type":"x\\ny"}', "{")})
    text = run("rejects", "export").stdout
    assert len(text.splitlines()) == 6
    assert marks(text) == [("1:1", '{"type":"x\\ny"}'), ("1:2", "{")]
    assert "/in/a b line 2: the line" in text


LARGE = 1 << 20


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        (b"x" * (LARGE - 4), True),
        (b"x" * LARGE, False),
        (b"x" * (LARGE + 1), False),
        (b"x" * (3 * LARGE), False),
        ("é".encode() * (LARGE // 2 + 1), False),
        (b"x" + "€".encode() * LARGE, False),
        (b"xy" + "😀".encode() * LARGE, False),
        ("é".encode() * (LARGE // 4 - 1), True),
        ("é".encode() * (LARGE // 4 + 1), True),
    ],
)
def test_a_line_of_which_there_is_only_the_beginning_is_not_written(run: Run, line: bytes, whole: bool) -> None:
    """Lines of more than 2 MiB are line_too_long here, the others no JSON."""
    load(run, "--max-line-bytes", "2MiB", a=line + b"\n")
    done = run("rejects", "export")
    ((name, text),) = marks(done.stdout)
    assert name == "1:1"
    if whole:
        assert text.encode() == line
        assert done.stderr == "1 reject; when mended: loader rejects replay FILE\n"
    else:
        assert text == "# Only its beginning is kept: put the whole line, mended, in place of this one."
        assert done.stderr.startswith("1 reject, 1 of them without their line, of which only the beginning is kept; ")


def test_many_rejects_in_order(run: Run) -> None:
    """More than the engine hands out at a time."""
    texts = [f"{{{at}" for at in range(12_000)]
    load(run, a=warehouses.lines(*texts))
    assert marks(run("rejects", "export").stdout) == [(f"1:{at}", text) for at, text in enumerate(texts, 1)]


def test_where_there_is_nothing(run: Run, tmp_path: Path) -> None:
    for args in (["list"], ["export"], ["replay", "x"], ["replay", "--as-is"]):
        done = run("rejects", *args)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == (
            f"error: {tmp_path}/warehouse: there is no warehouse here. Load something first, or give --warehouse.\n"
        )
    load(run, a=warehouses.lines({"type": "reset"}))
    for args in (["list"], ["export"]):
        assert run("rejects", *args).output == "no rejects are open\n"
    assert run("rejects", "list", "--json").stdout == "[]\n"


def test_help_tells_the_variables(run: Run) -> None:
    for command in ("list", "export", "replay"):
        text = " ".join(run("rejects", command, "--help").stdout.split())
        options: list[Any] = re.findall(r" --([a-z-]+)", text)
        assert "warehouse" in options
        assert ("source" in options, "threads" in options) == (False, command == "replay")
        for option in options:
            name = option.removeprefix("no-").replace("-", "_").upper()
            assert option == "help" or f"LOADER_{name}" in text.replace("JSON_PATHS", "JSON_PATH"), option
