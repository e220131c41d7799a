"""Kept hashes of ids: which files they say may hold a duplicate, and that no damage to them lets one through."""

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest

from loader import delta, id_hashes, pipeline
from loader.settings import Settings
from tests import warehouses
from tests.conftest import Run

FILES = {"a": ["x1", "x2"], "b": ["x3"], "c": [], "d": ["x1", "x4", "x5"]}


@pytest.fixture
def engine(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """With an empty `item`; the data files lie in the folder."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE item (call VARCHAR, id VARCHAR)")
    for name, ids in FILES.items():
        (tmp_path / "tables/t").mkdir(parents=True, exist_ok=True)
        connection.execute("CREATE OR REPLACE TABLE rows AS SELECT unnest($ids::VARCHAR[]) AS id, 1 AS n", {"ids": ids})
        connection.execute(f"COPY rows TO '{tmp_path}/tables/t/{name}.parquet'")
    return connection


def holding(connection: duckdb.DuckDBPyConnection, folder: Path, *new: str) -> list[str]:
    """The names of the files that may hold one of the new ids."""
    connection.execute("DELETE FROM item")
    connection.executemany("INSERT INTO item VALUES (?, ?)", [["track", id_] for id_ in new] + [["page", "x5"]])
    files = [f"{folder}/tables/t/{name}.parquet" for name in FILES]
    return sorted(Path(file).stem for file in id_hashes.holding(connection, folder, "track", files))


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "loader/ids").rglob("*.ids"))


@pytest.mark.parametrize("bits", [1, 22])
def test_the_files_with_an_id_in_common(
    bits: int, engine: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many hashes are looked up though they are not there."""
    monkeypatch.setattr(id_hashes, "_BITS", bits)
    for _ in ("made", "kept"):
        assert holding(engine, tmp_path, "x1", "y") == ["a", "d"]
        assert holding(engine, tmp_path, "y", "x3") == ["b"]
        assert holding(engine, tmp_path, "y") == []
        assert holding(engine, tmp_path, "x5", "x2") == ["a", "d"]
    assert [str(place.relative_to(tmp_path)) for place in kept(tmp_path)] == [
        f"loader/ids/tables/t/{name}.parquet.ids" for name in FILES
    ]
    assert id_hashes.holding(engine, tmp_path, "track", []) == []


def test_what_is_kept_is_not_read_again(engine: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    holding(engine, tmp_path, "x1")
    for name in FILES:
        (tmp_path / f"tables/t/{name}.parquet").write_bytes(b"")
    assert holding(engine, tmp_path, "x1") == ["a", "d"]


def test_many_files_of_many_ids(tmp_path: Path) -> None:
    """Each has its own hashes, wherever in the list it stands; one of them has one of the new ids."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE item (call VARCHAR, id VARCHAR)")
    connection.execute("INSERT INTO item SELECT 'track', 'n' || i FROM range(5000) t(i)")
    files = []
    for at in range(19):
        files.append(f"{tmp_path}/{at}.parquet")
        connection.execute(f"COPY (SELECT {at} || '-' || i AS id FROM range({at * 500}) t(i)) TO '{files[-1]}'")
    shared = f"{tmp_path}/shared.parquet"
    connection.execute(f"COPY (FROM '{files[7]}' UNION ALL SELECT 'n4321') TO '{shared}'")
    files.insert(11, shared)
    for _ in ("made", "kept"):
        assert id_hashes.holding(connection, tmp_path, "track", files) == [shared]
    for at, file in enumerate(files):
        rows = connection.execute(f"SELECT count(*), sum(hash(id))::VARCHAR FROM '{file}'").fetchall()[0]
        own = np.fromfile(tmp_path / f"loader/ids/{Path(file).name}.ids", np.uint64)[2:]
        assert (len(own), str(sum(own.tolist())) if len(own) else None) == rows, at
        assert (own[:-1] <= own[1:]).all()


def torn(place: Path) -> None:
    place.write_bytes(place.read_bytes()[:-8])


def odd_length(place: Path) -> None:
    place.write_bytes(place.read_bytes()[:-3])


def empty(place: Path) -> None:
    place.write_bytes(b"")


def zeros(place: Path) -> None:
    place.write_bytes(bytes(place.stat().st_size))


def zeros_at_the_end(place: Path) -> None:
    place.write_bytes(place.read_bytes()[:-8] + bytes(8))


def of_another_engine(place: Path) -> None:
    """Other hashes, whose sum is right, under another proof."""
    words = np.fromfile(place, np.uint64)
    np.concatenate([words[:1] + np.uint64(1), [(words[2:] + np.uint64(1)).sum()], words[2:] + np.uint64(1)]).astype(
        np.uint64
    ).tofile(place)


@pytest.mark.parametrize("damage", [torn, odd_length, empty, zeros, zeros_at_the_end, of_another_engine])
def test_damage_lets_no_duplicate_through(
    damage: Callable[[Path], None], engine: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """What cannot be trusted is made anew."""
    holding(engine, tmp_path, "x1")
    whole = {place: place.read_bytes() for place in kept(tmp_path)}
    for place in whole:
        damage(place)
    assert holding(engine, tmp_path, "x1", "x3") == ["a", "b", "d"]
    assert {place: place.read_bytes() for place in kept(tmp_path)} == whole


def test_a_full_disk(run: Run, tmp_path: Path) -> None:
    """/dev/full says what it does. The next load goes on."""
    events = warehouses.lines(track(1))
    warehouses.load(tmp_path, {"1.jsonl": events})
    (file,) = delta.snapshot(tmp_path / "warehouse/tables/tracks").files
    place = tmp_path / f"warehouse/loader/ids/{Path(file.path).relative_to(tmp_path / 'warehouse')}.ids.part"
    place.parent.mkdir(parents=True)
    place.symlink_to("/dev/full")
    (tmp_path / "2.jsonl").write_bytes(events)
    command = ("load", "2.jsonl", "--warehouse", "warehouse")
    done = run(*command)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: disk full: ")
    assert done.stderr.endswith("Make room and run this again; what was committed stays.\n")
    place.unlink()
    assert json.loads(run(*command, "--json").stdout)["duplicates"] == 1


def track(number: int, day: int = 1) -> dict[str, object]:
    return {"type": "track", "event": "E", "messageId": f"t{number}", "receivedAt": f"2026-03-{day:02}T10:00:00Z"}


def test_loads_keep_them_and_a_vacuum_takes_those_of_files_that_are_gone(tmp_path: Path) -> None:
    def load(number: int, *events: dict[str, object]) -> int:
        return warehouses.load(tmp_path, {f"{number}.jsonl": warehouses.lines(*events)}).duplicates

    folder = tmp_path / "warehouse"
    assert load(1, track(1), track(2, 2)) == 0
    assert kept(folder) == []
    assert load(2, track(2), track(3)) == 1  # with another day, too
    assert len(kept(folder)) == 2
    assert load(3, track(1), track(3), track(4)) == 2
    assert len(kept(folder)) == 3
    given = Settings(warehouse=folder)
    pipeline.compact(given, ["tracks"])
    assert load(4, track(1), track(2), track(3), track(4), track(5)) == 4
    assert len(kept(folder)) == 4
    pipeline.vacuum(given, 0)
    assert len(kept(folder)) == 2
    assert load(5, *(track(number) for number in range(1, 7))) == 5


def test_only_calls_that_have_events_are_looked_at_and_a_dry_run_keeps_nothing(tmp_path: Path) -> None:
    events = [track(1), {**track(1), "type": "page"}]
    folder = tmp_path / "warehouse"
    warehouses.load(tmp_path, {"1.jsonl": warehouses.lines(*events)})
    assert warehouses.load(tmp_path, {"2.jsonl": warehouses.lines(*events)}, dry_run=True).duplicates == 2
    assert kept(folder) == []
    assert warehouses.load(tmp_path, {"3.jsonl": warehouses.lines(track(1), track(2))}).duplicates == 1
    assert [place.parts[-3] for place in kept(folder)] == ["tracks"]


def test_columns_that_are_called_like_what_the_engine_tells_of_files(tmp_path: Path) -> None:
    """Such as `file_index`, of the trait `fileIndex`: they are the events' own."""

    def identify(number: int) -> dict[str, object]:
        traits = {"fileIndex": number, "fileRowNumber": "x", "filename": None, "hash": 1}
        return {**track(number), "type": "identify", "userId": "u", "traits": traits}

    for number in range(3):
        warehouses.load(tmp_path, {f"{number}.jsonl": warehouses.lines(identify(number))})
    report = warehouses.load(tmp_path, {"3.jsonl": warehouses.lines(*map(identify, range(4)))})
    assert (report.loaded, report.duplicates) == (1, 3)
