"""Sources in buckets: what is found and read there is what would be on disk, and new means new."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pytest

import loader
from loader import fetch, sources
from loader.errors import LoaderError, UsageError
from loader.records import SourceFile
from tests import s3, toxic, warehouses
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_keys")

SAMPLE = Path(__file__).parent.parent / "sample_data/events"
STARTED = datetime(2026, 3, 9, tzinfo=UTC)


@pytest.fixture(params=["moto", "swift"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> s3.Bucket:
    """A new bucket, on either server; the environment says where, and with which keys."""
    return made(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture
def moto_bucket(moto: s3.Server, monkeypatch: pytest.MonkeyPatch) -> s3.Bucket:
    """The same, where one server will do."""
    return made(moto, monkeypatch)


def made(server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> s3.Bucket:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server.bucket()


def load(folder: Path, *given: str, **settings: Any) -> loader.Report:
    settings = {"settle_seconds": 0, "threads": 2, **settings}
    return loader.run(loader.Settings(warehouse=folder / "warehouse", sources=given, **settings))


def page(*ids: object) -> bytes:
    """Lines of page events with these ids."""
    return warehouses.lines(*({"type": "page", "messageId": str(each)} for each in ids))


def ids(folder: Path) -> list[str]:
    return [each for (each,) in warehouses.query(folder, "SELECT id FROM pages ORDER BY id")]


def found(*given: str, since: date | None = None) -> list[SourceFile]:
    empty: dict[str, str] = {}
    files = sources.in_order(sources.find(loader.Settings(sources=given, since=since), STARTED, empty))
    sources.refuse_empty(empty, ())
    return files


def keys(bucket: s3.Bucket, *given: str, since: date | None = None) -> list[str]:
    """What is found below or by these globs, without the bucket."""
    files = found(*(f"{bucket.uri}{each}" for each in given), since=since)
    return [file.uri.removeprefix(f"{bucket.uri}/") for file in files]


def test_the_same_tables_as_from_disk(bucket: s3.Bucket, tmp_path: Path) -> None:
    """Also the same files in the same order, so the same lineage, in one load and in several."""
    events = {str(path.relative_to(SAMPLE)): path.read_bytes() for path in sorted(SAMPLE.rglob("*")) if path.is_file()}
    bucket.put(events)
    for at, limit in enumerate((None, 3_000_000)):
        disk, there = tmp_path / f"disk{at}", tmp_path / f"bucket{at}"
        told = load(disk, str(SAMPLE), max_load_bytes=limit), load(there, bucket.uri, max_load_bytes=limit)
        same = ("files", "bytes", "lines", "items", "loaded", "duplicates", "rows", "rejects", "discards", "loads")
        assert [getattr(told[0], name) for name in same] == [getattr(told[1], name) for name in same]
        assert (told[1].files, told[1].loaded, len(told[1].loads) > 1) == (len(events), 5044, limit is not None)
        assert without_times(warehouses.tables(disk)) == without_times(warehouses.tables(there))
        books = "SELECT file_id, split_part(uri, '/', -1), source, size, lines, loaded FROM loader.files ORDER BY ALL"
        assert warehouses.query(disk, books) == warehouses.query(there, books)


def without_times(tables: Mapping[str, warehouses.Table]) -> Any:
    return {name: (table.columns, warehouses.filled(table.rows, ["uuid_ts"])) for name, table in tables.items()}


def test_names_as_they_are(bucket: s3.Bucket, tmp_path: Path) -> None:
    """An object is known by its address, whatever characters its key has, and by its etag."""
    names = ["a b.json", "é%20.json", "[x]*?.json", "a+b&c=d.json", "~'\"\\.json", "日本/語.json"]
    bucket.put({f"in/{name}": page(name) for name in names})
    assert keys(bucket, "/in") == sorted((f"in/{name}" for name in names), key=os.fsencode)
    assert load(tmp_path, f"{bucket.uri}/in").loaded == len(names)
    assert ids(tmp_path) == sorted(names)
    assert keys(bucket, "/in/a b.json") == ["in/a b.json"]
    (file,) = found(f"{bucket.uri}/in/a b.json")
    rows = warehouses.query(tmp_path, "SELECT uri, size, version FROM loader.files WHERE uri LIKE '%a b.json'")
    assert rows == [(f"{bucket.uri}/in/a b.json", len(page("a b.json")), file.etag)]


def test_folders_globs_and_objects(moto_bucket: s3.Bucket) -> None:
    """As on disk: hidden names count nowhere, a wildcard takes no dot, `**` is any depth. What has no bytes is none."""
    there = ["a.json", "day/1/x.json", "day/1/y.gz", "day/10/x.json", "day/_SUCCESS", "day/.x.crc", "days/x.json"]
    hidden = ["day/.hidden/x.json", "day/_temporary/x.json"]
    moto_bucket.put({name: page(name) for name in (*there, *hidden)})
    moto_bucket.put({"empty/nothing.json": b"", "day/1": b""})
    seen = ["a.json", "day/1/x.json", "day/1/y.gz", "day/10/x.json", "days/x.json"]
    assert keys(moto_bucket, "") == keys(moto_bucket, "/") == keys(moto_bucket, "", "/day") == seen
    assert keys(moto_bucket, "/day") == keys(moto_bucket, "/day/") == seen[1:4]
    assert keys(moto_bucket, "/day/1/x.json") == ["day/1/x.json"]
    assert keys(moto_bucket, "/day/_SUCCESS") == ["day/_SUCCESS"]  # it was asked for
    assert keys(moto_bucket, "/day/*/*.json") == ["day/1/x.json", "day/10/x.json", "day/_temporary/x.json"]
    assert keys(moto_bucket, "/day/?") == ["day/1/x.json", "day/1/y.gz"]
    assert keys(moto_bucket, "/d*") == ["day/1/x.json", "day/1/y.gz", "day/10/x.json", "days/x.json"]
    assert keys(moto_bucket, "/**/x.json") == ["day/1/x.json", "day/10/x.json", "day/_temporary/x.json", "days/x.json"]
    assert keys(moto_bucket, "/day/[!1]*/x.json") == ["day/_temporary/x.json"]
    assert keys(moto_bucket, "/day/1*/[xy].*") == ["day/1/x.json", "day/1/y.gz", "day/10/x.json"]
    for given, why in (("/da", "there is no such object, and none below"), ("/*.csv", "no object matches this glob")):
        with pytest.raises(LoaderError) as error:
            keys(moto_bucket, given)
        assert str(error.value).startswith(f"{moto_bucket.uri}{given}: {why}.")


def test_an_object_without_bytes(bucket: s3.Bucket, tmp_path: Path) -> None:
    """As an empty file on disk, where it is named; among others it costs none of them."""
    bucket.put({"in/a.json": page(1), "in/b.json": b"", "in/c.json": page(2)})
    place = f"{bucket.uri}/in"
    report = load(tmp_path, f"{place}/b.json")
    assert (report.files, report.lines, report.loaded, report.unread) == (1, 0, 0, {})
    assert load(tmp_path, f"{place}/b.json").known_files == 1
    report = load(tmp_path, f"{place}/a.json", f"{place}/b.json", f"{place}/c.json", reload=True)
    assert (report.files, report.loaded, ids(tmp_path)) == (3, 2, ["1", "2"])
    assert load(tmp_path / "folder", place).files == 2


def test_new_means_new(bucket: s3.Bucket, tmp_path: Path) -> None:
    """What is loaded is not read again; what was overwritten is, and its rows stay single; what is gone is no error."""
    bucket.put({"in/a.json": page(1, 2), "in/b.json.gz": gzip.compress(page(3))})
    place = f"{bucket.uri}/in"
    assert load(tmp_path, place).loaded == 3
    again = load(tmp_path, place)
    assert (again.known_files, again.files, again.bytes) == (2, 0, 0)
    bucket.put({"in/a.json": page(1, 2, 4), "in/c.json": page(5)})
    more = load(tmp_path, place)
    assert (more.known_files, more.files, more.loaded, more.duplicates) == (1, 2, 2, 2)
    assert ids(tmp_path) == ["1", "2", "3", "4", "5"]
    for name in ("a.json", "b.json.gz", "c.json"):
        bucket.delete(f"in/{name}")
    gone = load(tmp_path, place, f"{place}/*.json", f"{place}/a.json")
    assert (gone.known_files, gone.files, gone.unread) == (0, 0, {})
    with pytest.raises(LoaderError, match="there is no such object"):
        load(tmp_path, f"{bucket.uri}/other")
    bucket.put({"in/a.json": page(1)})
    assert load(tmp_path, place, reload=True).duplicates == 1


def test_sources_of_loader_toml(moto: s3.Server, moto_bucket: s3.Bucket, run: Run, tmp_path: Path) -> None:
    """Disk and bucket in one command, and where the bucket is: also from the file, and from a profile."""
    moto_bucket.put({"segment-logs/s9/1772668800000/1.gz": gzip.compress(page("bucket"))})
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.json").write_bytes(page("disk"))
    text = f'sources = ["in", "{moto_bucket.uri}"]\n[storage]\n'
    keys = {"access_key_id": moto.key, "secret_access_key": moto.secret}
    (tmp_path / "loader.toml").write_text(
        text + "".join(f'aws_{name} = "{value}"\n' for name, value in {**keys, "endpoint_url": moto.endpoint}.items())
    )
    names = tuple(moto.environment())
    nothing: dict[str, Any] = dict.fromkeys(names)  # None: taken out of the environment
    done = run("load", **nothing)
    assert (done.exit_code, done.stderr.splitlines()[0][:26]) == (0, "loaded 2 events from 2 fil")
    rows = warehouses.query(tmp_path, "SELECT uri, source FROM loader.files ORDER BY uri")
    assert rows == [
        (str(tmp_path / "in/a.json"), None),
        (f"{moto_bucket.uri}/segment-logs/s9/1772668800000/1.gz", "s9"),
    ]
    profiles = tmp_path / "profiles"
    profiles.write_text(f"[mine]\naws_access_key_id = k\naws_secret_access_key = s\nendpoint_url = {moto.endpoint}\n")
    environment = nothing | {
        "AWS_PROFILE": "mine",
        "AWS_SHARED_CREDENTIALS_FILE": str(profiles),
    }
    done = run("load", moto_bucket.uri, "--config", os.devnull, **environment)
    assert (done.exit_code, done.stderr) == (0, "nothing new: 1 file was loaded before\n")


def test_run(moto_bucket: s3.Bucket, run: Run) -> None:
    """`loader run` reads the same sources, and says in one piece of JSON what it did."""
    moto_bucket.put({"in/a.json": warehouses.lines({"type": "identify", "messageId": "m", "userId": "u"})})
    done = run("run", f"{moto_bucket.uri}/in", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["loads"], told["loaded"], told["resolved"] is not None) == ([1], 1, True)


def test_only_the_days_since_are_listed(
    moto: s3.Server, moto_bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a year of two sources and other objects, the last days take a few requests."""
    for source in ("one", "two"):
        moto.fill(moto_bucket.name, f"x/rudder-logs/{source}", "2025-03-01", 365, 10)
    moto_bucket.put({"x/a.json": page(1), "x/segment-logs/s/1772150400000/a": page(2)})
    moto_bucket.put({"x/segment-logs/s/1772236800000/a": page(3), "x/z/2020-01-01/a.json": page(4)})
    with toxic.proxy(moto.port) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{between.port}")
        since = keys(moto_bucket, "/x", since=date(2026, 2, 28))
        assert len(between.seen) <= 9
        assert [key for key in since if "rudder-logs" not in key] == [
            "x/a.json",
            "x/segment-logs/s/1772236800000/a",
            "x/z/2020-01-01/a.json",
        ]
        assert len(since) == 3 + 2 * 10
        assert {key.split("/")[3] for key in since if "rudder-logs" in key} == {"2026-02-28"}
        assert keys(moto_bucket, "/x/rudder-logs/one", since=date(2026, 3, 1)) == []  # no error: there are some before
        assert len(keys(moto_bucket, "/x/rudder-logs/*/2026-02-2*", since=date(2026, 2, 27))) == 40


def test_few_new_ones_among_many_old(
    moto: s3.Server, moto_bucket: s3.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing comes in pages, and what is known of it leaves no trace."""
    place = f"{moto_bucket.uri}/rudder-logs/s"
    old, new = 1500, 50
    moto.fill(moto_bucket.name, "rudder-logs/s", "2026-01-01", 1, old)
    assert load(tmp_path, place).loaded == old
    moto.fill(moto_bucket.name, "rudder-logs/s", "2026-01-02", 1, new)
    with toxic.proxy(moto.port) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{between.port}")
        report = load(tmp_path, place)
        assert (report.known_files, report.files, report.loaded) == (old, new, new)
        pages = [path for method, path in between.seen if "list-type" in path]
        assert len(pages) == 2  # of 1,000
        assert len(between.seen) == 1 + len(pages) + new  # and a look whether the folder is an object


def test_blocks_of_large_objects(bucket: s3.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of many blocks, plain and compressed, beside small ones: whole, and in order."""
    monkeypatch.setattr(fetch, "BLOCK", 10_000)
    large = page(*(f"{at:06}-{os.urandom(20).hex()}" for at in range(2000)))
    bucket.put({"a": page("a"), "b": large, "c": page("c"), "d.gz": gzip.compress(large), "e": page("e")})
    report = load(tmp_path, bucket.uri)
    assert (report.lines, report.loaded, report.duplicates, report.unread) == (4003, 2003, 2000, {})
    rows = warehouses.query(
        tmp_path, "SELECT loader_file_id, count(*), max(loader_line) FROM pages GROUP BY ALL ORDER BY 1"
    )
    assert rows == [(1, 1, 1), (2, 2000, 2000), (3, 1, 1), (5, 1, 1)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("s3://", "'' is no name of a bucket. An address is s3://BUCKET/FOLDER."),
        ("s3:///x", "'' is no name of a bucket."),
        ("s3://a b/x", "'a b' is no name of a bucket."),
        ("gs://bucket/a//b", "a part between two / is empty or only dots"),
        ("az://bucket/../b", "a part between two / is empty or only dots"),
        ("https://bucket.example.com/a?Signature=SECRET", "https://: is no source. In buckets these are s3://, gs:// "),
        ("s3a://bucket/a", "s3a://: is no source. In buckets these are s3://, gs:// and az://BUCKET/FOLDER."),
    ],
)
def test_addresses_that_are_none(given: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        found(given)
    assert message in str(error.value)
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize("old", [5_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_memory_does_not_grow_with_what_is_known(
    old: int, moto: s3.Server, moto_bucket: s3.Bucket, tmp_path: Path
) -> None:
    """So many objects of before, and fifty new ones."""
    moto.fill(moto_bucket.name, "in/rudder-logs/s", "2026-01-01", 1, 1)
    assert load(tmp_path, moto_bucket.uri).loaded == 1
    peaks = []
    for day, known in (("2026-01-02", 10), ("2026-01-03", old - 10)):
        moto.fill(moto_bucket.name, "in/rudder-logs/s", day, 1, known)
        know(tmp_path / "warehouse", moto_bucket.uri)
        moto.fill(moto_bucket.name, "in/rudder-logs/s", f"2026-02-{day[-2:]}", 1, 50)
        told, peak = apart(tmp_path, moto_bucket.uri)
        peaks.append(peak)
        assert (told["files"], told["loaded"]) == (50, 50)
    assert told["known_files"] == old + 51
    assert peaks[1] < peaks[0] + 60e6


def know(warehouse: Path, uri: str) -> None:
    """Writes what is in the bucket by now into the ledger, as if it had been loaded."""
    folder = warehouse / "loader/files"
    known = pl.read_delta(str(folder))
    listed = [file for file in found(uri) if file.uri not in set(known["uri"])]
    facts = {"uri": "uri", "size": "size", "version": "version", "modified": "modified"}
    rows = pl.DataFrame({name: [getattr(file, field) for file in listed] for name, field in facts.items()})
    rows = rows.with_columns(load_id=pl.lit(1, pl.Int64), file_id=pl.lit(1, pl.Int64))
    deltalake.write_deltalake(str(folder), pl.concat([known.head(0), rows], how="diagonal_relaxed"), mode="append")


def apart(folder: Path, uri: str) -> tuple[dict[str, Any], int]:
    """The report of a load in a process of its own, and its peak of resident memory in bytes."""
    code = """if True:
        import json, pathlib, sys
        import loader
        settings = loader.Settings(warehouse=pathlib.Path(sys.argv[1]), sources=(sys.argv[2],), threads=2)
        told = loader.run(settings).to_dict()
        status = pathlib.Path("/proc/self/status").read_text()
        print(json.dumps([told, int(status.partition("VmHWM:")[2].split()[0]) << 10]))
    """
    command = [sys.executable, "-c", code, str(folder / "warehouse"), uri]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, peak = json.loads(done.stdout)
    return told, peak
