"""`loader rejects replay`: mended lines are events of the place that their reject was in, each once, whatever dies."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import loader
from loader import pipeline, store
from loader.cli import main
from loader.errors import LoaderError
from loader.replay import Request
from tests import warehouses
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("nothing_from_elsewhere")

MODIFIED = datetime(2024, 5, 10, 12, 0, 0, 123456, UTC)
WEB, APP = "rudder-logs/src1/web.json", "app.json"
FILES = {
    WEB: warehouses.lines(
        {"type": "page", "messageId": "w1", "name": "Home"},
        '{"type":"page","messageId":"w2","name":"Cut"',
        '{"type":"page","messageId":"w3"}{"type":"page","messageId":"w4"}',
        {"batch": [{"type": "page", "messageId": "w5"}, {"type": "pagee", "messageId": "w6"}, {"messageId": "w7"}]},
    ),
    APP: warehouses.lines("hello", b'{"type":"reset","messageId":"\xff"}', {"batch": {"type": "reset"}}),
}
# What becomes of the lines of an export.
MENDS = {
    '"Cut"\n': '"Cut"}\n',
    '"w3"}{': '"w3"}\n{',
    '{"type":"pagee"': '{"type":"Page"',
    '{"batch": {"type": "reset"}}': '{"batch": [{"type":"reset"},{"type":"reset","receivedAt":"2024-05-01"}]}',
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse of one load, that of `FILES`, and an export of its rejects with some of them mended."""
    folder = tmp_path_factory.mktemp("loaded")
    for name, data in FILES.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (MODIFIED.timestamp(), MODIFIED.timestamp()))
    wanted = loader.Settings(warehouse=folder / "warehouse", sources=(str(folder / "in"),))
    assert pipeline.load_only(wanted).rejected == 7
    exported = CliRunner().invoke(main, ["rejects", "export", "--warehouse", str(folder / "warehouse")]).stdout
    for old, new in MENDS.items():
        assert exported.count(old) == 1
        exported = exported.replace(old, new)
    (folder / "mend.jsonl").write_text(exported)
    return folder


@pytest.fixture
def folder(loaded: Path, tmp_path: Path) -> Path:
    """The same in the current folder, but for the files that were loaded."""
    shutil.copytree(loaded, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("in"))
    pipeline.republish(loader.Settings(warehouse=tmp_path / "warehouse"))
    return tmp_path


def query(sql: str, folder: Path = Path()) -> list[tuple[Any, ...]]:
    return warehouses.query(folder, sql)


def content(folder: Path) -> list[Any]:
    """All that is published, but for when it was loaded."""
    rows: list[Any] = [
        (name, table.columns, warehouses.filled(table.rows, without=("uuid_ts",)))
        for name, table in sorted(warehouses.tables(folder).items())
    ]
    for table in ("loads EXCLUDE (started_at, finished_at)", "files", "rejects", "discards", "schema_changes"):
        name, _, left_out = table.partition(" ")
        rows += query(f"SELECT '{name}', * {left_out} FROM loader.{name} ORDER BY ALL", folder)
    return rows


REJECTS = "SELECT loader_file_id, loader_line, loader_element, replayed_by FROM loader.rejects ORDER BY ALL"


def check_books(folder: Path = Path()) -> None:
    """Every item of a file is a row, a duplicate or a reject; every row has a file that counts it."""
    assert query("SELECT uri FROM loader.files WHERE items <> loaded + duplicates + rejected", folder) == []
    tables = " UNION ALL ".join(f"SELECT loader_file_id FROM {table}" for table in warehouses.CALL_TABLES)
    assert (
        query(
            f"""SELECT file_id, loaded, rows FROM loader.files FULL JOIN
            (SELECT loader_file_id AS file_id, count(*) AS rows FROM ({tables}) GROUP BY ALL) USING (file_id)
            WHERE loaded <> coalesce(rows, 0) OR loaded IS NULL""",
            folder,
        )
        == []
    )
    assert (
        query(
            """SELECT load_id, items, loaded, rejected FROM loader.loads l WHERE (items, loaded, duplicates, rejected)
            <> (SELECT (sum(items), sum(loaded), sum(duplicates), sum(rejected)) FROM loader.files f
                WHERE f.load_id = l.load_id)
            OR rejected <> (SELECT count(*) FROM loader.rejects r WHERE r.load_id = l.load_id)""",
            folder,
        )
        == []
    )


# --- what comes of it -------------------------------------------------------------------------------------------------


def test_mended_lines_are_rows_of_where_they_were(run: Run, loaded: Path, folder: Path) -> None:
    """The three of the web's file and the batch of the app's; `hello` and the replaced bytes are as they were."""
    done = run("rejects", "replay", "mend.jsonl")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith(
        "replayed 4 rejects; 3 lines are as before, and not tried\nloaded 6 events from 2 files in "
    )
    rows = query(
        """SELECT id, received_at, loader_file_id, loader_line, loader_element FROM
        (SELECT * FROM pages UNION ALL BY NAME SELECT * FROM resets) WHERE loader_file_id > 2 ORDER BY ALL"""
    )
    early = datetime(2024, 5, 1, tzinfo=UTC)
    assert [("auto" if row[0].startswith("auto-") else row[0], *row[1:]) for row in rows if row[2] == 4] == [
        ("w2", MODIFIED, 4, 2, None),
        ("w3", MODIFIED, 4, 3, 0),
        ("w4", MODIFIED, 4, 3, 1),
        ("w6", MODIFIED, 4, 4, 1),
    ]
    assert sorted(row[1:] for row in rows if row[2] == 3) == [(early, 3, 3, 1), (MODIFIED, 3, 3, 0)]
    web, app = str(loaded / "in" / WEB), str(loaded / "in" / APP)
    assert query(
        """SELECT load_id, file_id, uri, size, modified, source, lines, blank, items, loaded, duplicates, rejected
        FROM loader.files WHERE load_id = 2 ORDER BY file_id"""
    ) == [
        (2, 3, app, None, MODIFIED, None, 1, 0, 2, 2, 0, 0),
        (2, 4, web, None, MODIFIED, "src1", 4, 0, 4, 4, 0, 0),
    ]
    assert query(REJECTS) == [
        (1, 1, None, None),
        (1, 2, None, None),
        (1, 3, None, 2),
        (2, 2, None, 2),
        (2, 3, None, 2),
        (2, 4, 1, 2),
        (2, 4, 2, None),
    ]
    check_books()


def test_the_second_replay_does_nothing(run: Run, folder: Path) -> None:
    assert run("rejects", "replay", "mend.jsonl", "--quiet").output == ""
    before = content(folder)
    done = run("rejects", "replay", "mend.jsonl")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "replayed 0 rejects; 4 rejects were replayed before; 3 lines are as before, and not tried\n"
    assert content(folder) == before
    files = {name for name, *_ in query("SELECT uri FROM loader.files")}
    report = pipeline.load_only(loader.Settings(warehouse=folder / "warehouse", sources=tuple(files)))
    assert (report.known_files, report.loads) == (2, [])


def test_mending_goes_on_in_the_same_file(run: Run, folder: Path) -> None:
    mend = Path("mend.jsonl")
    mend.write_text(mend.read_text().replace("hello\n", '{"type":"reset","messageId":"hello"\n'))
    done = run("rejects", "replay", "mend.jsonl", "--quiet")
    line = mend.read_text().splitlines().index('{"type":"reset","messageId":"hello"') + 1
    still = (
        f"error: mend.jsonl:{line}: invalid_json: the line is not valid JSON\n"
        "error: 1 reject stays (invalid_json 1). Mend on, and replay again.\n"
    )
    assert (done.exit_code, done.stderr) == (3, still)
    assert query("SELECT count(*) FROM loader.rejects") == [(7,)]
    before = content(folder)
    done = run("rejects", "replay", "mend.jsonl", "--quiet")
    assert (done.exit_code, done.stderr) == (3, still)
    assert content(folder) == before
    mend.write_text(mend.read_text().replace('"hello"\n', '"hello"}\n'))
    done = run("rejects", "replay", "mend.jsonl", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["loads"], found["loaded"], found["rejects"]) == ([3], 1, {})
    assert found["replay"] == {"rejects": 1, "before": 4, "unchanged": 2, "left_out": 0, "stay": {}}
    assert query("SELECT loader_file_id, loader_line FROM resets WHERE id = 'hello'") == [(5, 1)]
    assert query("SELECT count(*) FROM loader.rejects WHERE replayed_by = 3 AND loader_line = 1") == [(1,)]
    check_books()


def test_where_nothing_is_right_yet_nothing_is_loaded(run: Run, folder: Path) -> None:
    before = content(folder)
    text = Path("mend.jsonl").read_text()
    (mark,) = re.findall(r"# reject 1:1/.*\n", text)
    Path("bad.jsonl").write_text(f"{mark}{{}}\n{{\n")
    done = run("rejects", "replay", "bad.jsonl")
    assert done.exit_code == 1
    assert done.stderr == (
        "replayed 0 rejects\n"
        'error: bad.jsonl:2: missing_type: the event has no key "type"\n'
        "error: bad.jsonl:3: invalid_json: the line is not valid JSON\n"
        "error: 1 reject stays (missing_type 1). Mend on, and replay again.\n"
    )
    assert content(folder) == before


def test_a_reject_is_replayed_as_a_whole(run: Run, folder: Path) -> None:
    """One of two lines, or an element of a batch, is not right: then all of it waits."""
    text = Path("mend.jsonl").read_text()
    for good, bad in (
        ('{"type":"page","messageId":"w4"}', '{"type":"page","messageId":"w4"'),
        ('[{"type":"reset"},', '[{"type":"rest"},'),
    ):
        assert text.count(good) == 1
        text = text.replace(good, bad)
    Path("mend.jsonl").write_text(text)
    assert run("rejects", "replay", "mend.jsonl", "--quiet").exit_code == 3
    assert query("SELECT id FROM pages WHERE loader_file_id > 2 ORDER BY id") == [("w2",), ("w6",)]
    assert query("SELECT count(*) FROM resets") == [(0,)]
    assert query("SELECT loader_line FROM loader.rejects WHERE replayed_by = 2 ORDER BY 1") == [(2,), (4,)]
    check_books()


def test_an_element_of_a_batch_is_one_event(run: Run, folder: Path) -> None:
    text = Path("mend.jsonl").read_text()
    event = '{"type":"Page","messageId":"w6"}'
    for several in (f"{event}\n{event}", f'{{"batch":[{event},{event}]}}'):
        Path("two.jsonl").write_text(text.replace(event, several))
        done = run("rejects", "replay", "two.jsonl", "--quiet")
        assert done.exit_code == 3
        assert "bad_batch: an element of a batch is one event, these are 2\n" in done.stderr
    assert query("SELECT id FROM pages WHERE loader_element IS NOT NULL ORDER BY id") == [("w3",), ("w4",), ("w5",)]
    Path("two.jsonl").write_text(text.replace(event, f'{{"batch":[{event}]}}'))
    assert run("rejects", "replay", "two.jsonl", "--quiet").exit_code == 0
    assert query("SELECT id, loader_line, loader_element FROM pages WHERE id = 'w6'") == [("w6", 4, 0)]


def test_a_mended_event_that_is_there_already_is_a_duplicate(run: Run, folder: Path) -> None:
    text = Path("mend.jsonl").read_text()
    Path("mend.jsonl").write_text(text.replace('"w2"', '"w1"'))
    done = run("rejects", "replay", "mend.jsonl", "--json")
    assert (done.exit_code, json.loads(done.stdout)["duplicates"]) == (0, 1)
    assert query("SELECT count(*) FROM loader.rejects WHERE replayed_by = 2") == [(4,)]
    check_books()


def test_a_pipe_with_line_ends_of_windows_and_what_was_deleted(run: Run, folder: Path) -> None:
    marks = re.findall(r"(# reject (\S+)/.*)\n(.*)\n", Path("mend.jsonl").read_text())
    given = "".join(f"{mark}\r\n{line}\r\n\r\n" if name != "2:3" else f"{mark}\r\n" for mark, name, line in marks)
    done = run("rejects", "export", "--reason", "bad_batch")
    process = subprocess.run(
        [sys.executable, "-m", "loader", "rejects", "replay", "-", "--json"],
        input=given.encode(),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        timeout=120,
    )
    assert (process.returncode, process.stderr) == (0, b"")
    assert json.loads(process.stdout)["replay"]["rejects"] == 3
    assert query("SELECT id FROM pages WHERE loader_file_id > 2 ORDER BY id") == [("w2",), ("w6",)]
    assert done.exit_code == 0


def test_a_dry_run(run: Run, folder: Path) -> None:
    before = content(folder)
    done = run("rejects", "replay", "mend.jsonl", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "dry run: nothing was loaded\n")
    assert [line.split()[1:] for line in done.stdout.splitlines()[2:4]] == [
        ["1", "2", "0", "0"],
        ["4", "4", "0", "0"],
    ]
    assert content(folder) == before
    assert run("rejects", "replay", "mend.jsonl", "--quiet").exit_code == 0


def test_strict_holds_for_a_replay(run: Run, loaded: Path, folder: Path) -> None:
    text = Path("mend.jsonl").read_text()
    Path("mend.jsonl").write_text(text.replace('"w2"', '"w2","sentAt":"never"'))
    before = content(folder)
    done = run("rejects", "replay", "mend.jsonl", "--strict")
    assert done.exit_code == 1
    assert f"the first is {loaded}/in/{WEB}:2: bad_timestamp: pages.sentAt" in done.stderr
    assert content(folder) == before
    assert run("rejects", "replay", "mend.jsonl", "--quiet").exit_code == 0


# --- as they are ------------------------------------------------------------------------------------------------------


def test_rejects_as_they_are(run: Run, folder: Path) -> None:
    """A line that was too long for one setting is not for another. What is cut, or not as it was, is left out."""
    long = json.dumps({"type": "reset", "messageId": "long", "properties": {"a": "x" * 500}})
    Path("long").write_text(long + "\n" + "y" * (3 << 20) + "\n")
    assert run("load", "long", "--max-line-bytes", "400", "--max-reject-share", "1", "--quiet").exit_code == 0
    before = content(folder)
    done = run("rejects", "replay", "--as-is", "--max-line-bytes", "400")
    assert (done.exit_code, done.stderr) == (
        0,
        "replayed 0 rejects; 7 rejects are still no event (invalid_json 3, bad_batch 1, line_too_long 1, "
        "missing_type 1, unknown_type 1); 2 rejects can only be mended by hand\n",
    )
    assert content(folder) == before
    done = run("rejects", "replay", "--as-is", "--reason", "line_too_long", "--json")
    assert json.loads(done.stdout)["replay"] == {"rejects": 1, "before": 0, "unchanged": 0, "left_out": 1, "stay": {}}
    assert query("SELECT id, len(a), loader_file_id, loader_line FROM resets") == [("long", 500, 4, 1)]
    assert query(
        "SELECT loader_file_id, loader_line, replayed_by FROM loader.rejects WHERE reason = 'line_too_long'"
        " ORDER BY ALL"
    ) == [(3, 1, 3), (3, 2, None)]
    assert json.loads(run("rejects", "replay", "--as-is", "--json").stdout)["replay"]["rejects"] == 0
    check_books()


def test_what_was_mended_stays_so_when_its_file_is_read_again(run: Run, loaded: Path, folder: Path) -> None:
    assert run("rejects", "replay", "mend.jsonl", "--quiet").exit_code == 0
    assert run("load", str(loaded / "in"), "--reload", "--quiet", "--max-reject-share", "1").exit_code == 0
    assert query("SELECT count(*) FROM loader.rejects WHERE replayed_by IS NULL") == [(10,)]
    rows = json.loads(run("rejects", "list", "--json").stdout)
    assert sorted((row["reason"], row["line"], row["element"]) for row in rows) == [
        ("invalid_json", 1, None),
        ("invalid_utf8", 2, None),
        ("missing_type", 4, 2),
    ]
    assert sum(row["rejects"] for row in rows) == 3
    assert sum(row["rejects"] for row in json.loads(run("rejects", "list", "--all", "--json").stdout)) == 10
    check_books()


def test_lines_of_stdin_are_never_those_of_another_night(run: Run) -> None:
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "loader", "load", "-", "--quiet", "--max-reject-share", "1"],
            input=b"{no\n",
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            timeout=120,
            check=True,
        )
    assert json.loads(run("rejects", "list", "--json").stdout)[0]["rejects"] == 2
    (mark, _) = re.findall(r"# reject [12]:1/.*\n", run("rejects", "export").stdout)
    done = run("rejects", "replay", "-", "--as-is")
    assert done.exit_code == 2
    Path("m").write_text(mark + '{"type":"reset"}\n')
    assert run("rejects", "replay", "m", "--quiet").exit_code == 0
    assert json.loads(run("rejects", "list", "--json").stdout)[0]["rejects"] == 1


# --- what is no file of mended lines ----------------------------------------------------------------------------------


def test_files_that_are_something_else(run: Run, folder: Path) -> None:
    before = content(folder)
    (mark,) = re.findall(r"# reject 1:1/.*\n", Path("mend.jsonl").read_text())
    event = '{"type":"reset","messageId":"e"}\n'
    other = (
        f"{folder}/warehouse has no such reject. Is this file from another warehouse, or was the line changed? "
        "Export it again.\n"
    )
    for text, message in (
        (
            "# mine\n\n" + event + mark + event,
            "error: f:3: there is no line '# reject ...' above this one, so it mends nothing. Take a file that loader "
            "rejects export wrote; other events are loaded with loader load.\n",
        ),
        (
            mark + event + "# reject 1:1 x\n" + event,
            "error: f:3: this line is to name a reject and does not: # reject 1:1 x. Export it again.\n",
        ),
        (mark + event + mark.replace("1:1/", "1:99/") + event, f"error: f:3: {other}"),
        (mark.replace("1:1/", "1:1:0/") + event, f"error: f:1: {other}"),
        (mark.replace("1:1/", f"{10**30}:1/") + event, "error: f:1: this line is to name a reject and does not: "),
        (re.sub("/........ ", "/00000000 ", mark) + event, f"error: f:1: {other}"),
    ):
        Path("f").write_text(text)
        done = run("rejects", "replay", "f")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith(message)
    assert content(folder) == before
    for args in ([], ["f", "--as-is"], ["f", "--reason", "invalid_json"], ["warehouse/loader"]):
        done = run("rejects", "replay", *args)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
    Path("cut.gz").write_bytes(b"\x1f\x8b\x08\x00")
    for name, message in (
        ("cut.gz", "error: cut.gz: the compressed data ends too early"),
        ("no", "error: no: there is"),
    ):
        done = run("rejects", "replay", name)
        assert done.exit_code == 1
        assert done.stderr.startswith(message)
    assert content(folder) == before


def test_another_run_is_at_work(run: Run, folder: Path) -> None:
    """Then a replay ends at once; list and export need not wait."""
    with store.locked(folder / "warehouse"):
        done = run("rejects", "replay", "mend.jsonl")
        assert (done.exit_code, done.stdout) == (4, "")
        assert f"process {os.getpid()} on " in done.stderr
        assert run("rejects", "list").exit_code == 0
        assert "# reject 1:1/" in run("rejects", "export").stdout


def test_nothing_is_loaded_yet(run: Run, tmp_path: Path) -> None:
    with store.locked(tmp_path / "warehouse"):
        store.open_warehouse(tmp_path / "warehouse")
    with pytest.raises(LoaderError, match="warehouse: nothing is loaded yet, so there are no rejects"):
        pipeline.replay_rejects(loader.Settings(warehouse=tmp_path / "warehouse"), Request(None))


# --- a replay that dies -----------------------------------------------------------------------------------------------

# Each ends the process where it says, as kill -9 does.
DEATHS = {
    "before the manifest": "patch(store, 'make_certain', lambda *_: die())",
    "after the manifest": "patch(store, 'commit', lambda *_: die())",
    "before the rejects are marked": "on_commit(lambda commit: commit.folder == 'loader/rejects')",
    "after the rejects are marked": "on_commit(lambda commit: commit.folder == 'loader/schema_changes' or"
    " commit.folder == 'loader/files')",
    "before the load counts": "on_commit(lambda commit: commit.folder == 'loader/loads')",
    "before the file of views": "patch(publish, 'publish', lambda *_, **__: die())",
    "before the manifest goes": "patch(store, 'forget', lambda *of: die() if len(of) == 2 else None)",
}
DRIVER = """
import os, signal, sys
from pathlib import Path
import loader
from loader import delta, pipeline, publish, store
from loader.replay import Request

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def patch(owner, name, function):
    getattr(owner, name)
    setattr(owner, name, function)

def on_commit(condition):
    real = delta.commit
    patch(delta, "commit", lambda to, commit, *rest: die() if condition(commit) else real(to, commit, *rest))

warehouse, mended, death = sys.argv[1:]
exec(death)
pipeline.replay_rejects(loader.Settings(warehouse=Path(warehouse), threads=1), Request(mended))
"""


@pytest.mark.parametrize("name", DEATHS)
def test_a_replay_that_died_is_finished_once(name: str, folder: Path, run: Run) -> None:
    before = content(folder)
    command = [sys.executable, "-c", DRIVER, str(folder / "warehouse"), str(folder / "mend.jsonl"), DEATHS[name]]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}, timeout=120)
    assert done.returncode == -signal.SIGKILL
    published = name == "before the manifest goes"
    assert (content(folder) == before) == (not published)
    again = json.loads(run("rejects", "replay", "mend.jsonl", "--json").stdout)
    certain = name != "before the manifest"
    assert again["recovered"] == ([2] if certain else [])
    assert (again["replay"]["rejects"], again["replay"]["before"]) == ((0, 4) if certain else (4, 0))
    after = content(folder)
    assert query("SELECT count(*) FROM loader.rejects WHERE replayed_by = 2") == [(4,)]
    assert query("SELECT count(*) FROM pages") == [(6,)]
    assert query("SELECT max(load_id), count(*) FROM loader.loads") == [(2, 2)]
    check_books()
    assert run("rejects", "replay", "mend.jsonl", "--quiet").exit_code == 0
    assert content(folder) == after
    assert not (folder / "warehouse" / "loader" / "spill").exists()
