"""Which files a command reads, in which order, and which of them are new."""

import os
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import loader
from loader import pipeline, sources
from loader.errors import LoaderError
from loader.records import SourceFile
from tests import warehouses

STARTED = datetime(2024, 5, 10, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with some files in it."""
    for name in (
        "b.jsonl",
        "a.jsonl.gz",
        "é.jsonl",
        "B.jsonl",
        "day/2/x.json",
        "day/10/x.json",
        "day/_SUCCESS",
        "day/.x.json.crc",
        "day/.hidden/x.json",
        "day/_temporary/x.json",
        "[odd]*.jsonl",
        "none/.hidden",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*given: str, source: str | None = None, since: date | None = None) -> list[SourceFile]:
    empty: dict[str, str] = {}
    settings = loader.Settings(sources=given, source=source, since=since)
    files = sources.in_order(sources.find(settings, STARTED, empty))
    sources.refuse_empty(empty, ())
    return files


def names(folder: Path, *given: str) -> list[str]:
    """What is found, relative to the folder."""
    return [file.uri.removeprefix(f"{folder}/") for file in found(*given)]


def test_files_and_folders(folder: Path) -> None:
    """By their path's bytes, each once, whatever the order given; of a folder all below it but what is hidden."""
    assert names(folder, "b.jsonl") == ["b.jsonl"]
    assert names(folder, "b.jsonl", "a.jsonl.gz", str(folder / "b.jsonl"), "./b.jsonl") == ["a.jsonl.gz", "b.jsonl"]
    assert names(folder, "day") == ["day/10/x.json", "day/2/x.json"]
    assert names(folder, ".") == [
        "B.jsonl",
        "[odd]*.jsonl",
        "a.jsonl.gz",
        "b.jsonl",
        "day/10/x.json",
        "day/2/x.json",
        "é.jsonl",
    ]
    assert names(folder, "day/.hidden/x.json", "day/2") == ["day/.hidden/x.json", "day/2/x.json"]
    assert found() == []


def test_globs(folder: Path) -> None:
    assert names(folder, "*.jsonl") == ["B.jsonl", "[odd]*.jsonl", "b.jsonl", "é.jsonl"]
    assert names(folder, "day/*/*.json") == ["day/10/x.json", "day/2/x.json", "day/_temporary/x.json"]  # as it says
    assert names(folder, "**/1*/*.json") == ["day/10/x.json"]
    assert names(folder, "d?y/[12]", "?.jsonl") == ["B.jsonl", "b.jsonl", "day/2/x.json", "é.jsonl"]
    assert names(folder, "d*") == ["day/10/x.json", "day/2/x.json"]
    assert names(folder, "[odd]*.jsonl") == ["[odd]*.jsonl"]  # a file that is there is no glob
    assert names(folder, str(folder / "*.gz")) == ["a.jsonl.gz"]


def test_what_a_file_is(folder: Path) -> None:
    os.utime("b.jsonl", ns=(0, 1_715_342_400_123_456_789))
    assert found("b.jsonl") == [
        SourceFile(str(folder / "b.jsonl"), 7, datetime(2024, 5, 10, 12, 0, 0, 123456, UTC), None)
    ]
    assert found("b.jsonl")[0].version == "2024-05-10T12:00:00.123456+00:00"
    os.utime("b.jsonl", ns=(0, 1_715_342_400_000_000_000))
    assert found("b.jsonl")[0].version == "2024-05-10T12:00:00.000000+00:00"


def test_streams_come_last(folder: Path) -> None:
    """stdin and pipes have no size; they are of now."""
    os.mkfifo("a.fifo")
    assert found("-", "a.fifo", "b.jsonl", "-", source="s") == [
        replace(found("b.jsonl")[0], source="s"),
        SourceFile(str(folder / "a.fifo"), None, STARTED, "s"),
        SourceFile("-", None, STARTED, "s"),
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no.jsonl", "no.jsonl: there is no such file or folder. Check the path, or quote it if it is a glob."),
        ("no/b.jsonl", "no/b.jsonl: there is no such file or folder."),
        ("empty", "empty: this folder holds no file to read (hidden files do not count)."),
        ("none", "none: this folder holds no file to read (hidden files do not count)."),
        ("*.csv", "*.csv: no file matches this glob."),
        ("no/*.jsonl", "no/*.jsonl: no file matches this glob."),
    ],
)
def test_nothing_to_read(given: str, message: str, folder: Path) -> None:
    """An error, also beside files that are there: a path that is wrong must not go unnoticed."""
    with pytest.raises(LoaderError) as error:
        found("b.jsonl", given)
    assert str(error.value).startswith(message)
    assert error.value.exit == 1


def test_nothing_happens_without_files(folder: Path) -> None:
    with pytest.raises(LoaderError, match="no such file"):
        pipeline.load_only(loader.Settings(warehouse=folder / "warehouse", sources=("no.jsonl",)))
    assert not (folder / "warehouse").exists()


def test_source_of_the_events(tmp_path: Path) -> None:
    """The name given, else the id of the source in a path of RudderStack's or Segment's."""
    path = tmp_path / "bucket/rudder-logs/2vKx9/2024-05-10/1715342400.2vKx9.uuid.json.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    other = tmp_path / "rudder-logs.jsonl"
    other.write_bytes(b"")
    segment = tmp_path / "segment-logs/9zY8/1715299200000/1715342400.x.gz"
    segment.parent.mkdir(parents=True)
    segment.write_bytes(b"")
    assert [file.source for file in found(str(tmp_path))] == ["2vKx9", None, "9zY8"]
    assert [file.source for file in found(str(tmp_path), source="shop")] == ["shop", "shop", "shop"]


def test_days_before_are_left_out(tmp_path: Path) -> None:
    """Those of the folders of RudderStack and Segment; what has no day stays. Not to find any is no error."""
    for name in (
        "rudder-logs/s/2026-03-04/a.json",
        "rudder-logs/s/2026-03-05/a.json",
        "rudder-logs/s/2026-02-31/a.json",
        "segment-logs/s/1772582400000/a.gz",
        "segment-logs/s/1772668800000/a.gz",
        "other/2026-03-04/a.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    folder = str(tmp_path)
    assert [file.uri.removeprefix(f"{folder}/") for file in found(folder, since=date(2026, 3, 5))] == [
        "other/2026-03-04/a.json",
        "rudder-logs/s/2026-02-31/a.json",
        "rudder-logs/s/2026-03-05/a.json",
        "segment-logs/s/1772668800000/a.gz",
    ]
    assert found(f"{folder}/rudder-logs/s/2026-03-04", since=date(2026, 3, 5)) == []
    assert len(found(folder, since=date(2026, 3, 4))) == len(found(folder)) == 6


def file(uri: str, size: int | None) -> SourceFile:
    return SourceFile(uri, size, STARTED, None)


def test_files_of_one_load() -> None:
    """As many as there is room for, at least one; a compressed one counts tenfold, a stream nothing."""
    files = [file("a", 50), file("b", 50), file("c", 1), file("-", None)]
    assert sources.take(files, 100) == (files[:2], files[2:])
    assert sources.take(files, 101) == (files, [])
    assert sources.take(files, 1) == (files[:1], files[1:])
    packed = [file("a.gz", 5), file("b.zst", 5), file("c.json", 1)]
    assert sources.take(packed, 100) == (packed[:2], packed[2:])
    assert sources.take([], 100) == ([], [])


def test_loads_of_a_run(tmp_path: Path) -> None:
    """What does not fit into one load is loaded in several, in order, and published once."""
    files = {f"{at}.jsonl": warehouses.lines({"type": "reset", "messageId": str(at)}) for at in range(3)}
    report = warehouses.load(tmp_path, files, max_load_bytes=80)
    assert (report.loads, report.files, report.loaded) == ([1, 2], 3, 3)
    rows = warehouses.query(tmp_path, "SELECT load_id, file_id, uri FROM loader.files ORDER BY file_id")
    assert rows == [
        (1, 1, f"{tmp_path}/in/0.jsonl"),
        (1, 2, f"{tmp_path}/in/1.jsonl"),
        (2, 3, f"{tmp_path}/in/2.jsonl"),
    ]
    assert warehouses.query(tmp_path, "SELECT load_id FROM loader.published") == [(2,)]


def test_what_is_gone_since_it_was_loaded_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    event = warehouses.lines({"type": "page", "messageId": "m"})
    assert warehouses.load(tmp_path, {"a.jsonl": event}).loaded == 1
    (folder / "a.jsonl").unlink()
    for given in (folder, folder / "a.jsonl", folder / "*.jsonl"):
        report = pipeline.load_only(loader.Settings(warehouse=tmp_path / "warehouse", sources=(str(given),)))
        assert (report.known_files, report.loaded) == (0, 0)
    folder.rmdir()
    assert pipeline.load_only(loader.Settings(warehouse=tmp_path / "warehouse", sources=(str(folder),))).loaded == 0
    with pytest.raises(LoaderError, match=r"other: there is no such file or folder"):
        pipeline.load_only(loader.Settings(warehouse=tmp_path / "warehouse", sources=(str(tmp_path / "other"),)))
