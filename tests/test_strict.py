"""How many rejects are too many, and loads that take none at all."""

import json
from pathlib import Path

import pytest

import loader
from loader import pipeline, store
from loader.strict import StrictError
from tests import warehouses
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("nothing_from_elsewhere")


def reset(message_id: str, **properties: object) -> dict[str, object]:
    return {"type": "reset", "messageId": message_id, "receivedAt": "2024-05-09T10:00:00Z", "properties": properties}


FINE = warehouses.lines(*(reset(f"r{at}", v=at) for at in range(8)))
BAD = warehouses.lines(reset("b1"), {"batch": [{"type": "x"}, reset("b2")]}, "{", {"type": "y"})
MISFIT = warehouses.lines(reset("m1", v=1), reset("m2", v="text"), reset("m3", v=[1]))


def put(**files: bytes) -> None:
    for name, data in files.items():
        Path("in").mkdir(exist_ok=True)
        Path("in", name).write_bytes(data)


def ids() -> list[str]:
    return [id_ for (id_,) in warehouses.query(Path(), "SELECT id FROM resets ORDER BY id")]


def parquet_files() -> set[str]:
    return {str(path) for path in Path("warehouse").rglob("*.parquet")}


# --- max_reject_share -------------------------------------------------------------------------------------------------


def test_more_rejects_than_the_share_are_exit_3_and_the_good_events_are_loaded(run: Run) -> None:
    put(a=BAD)
    done = run("load", "in", "--quiet")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == (
        "warning: 3 rejects of 5 items, 60.0%: more than max_reject_share (0.05): unknown_type 2, invalid_json 1. "
        "To see where: loader rejects list\n"
    )
    assert ids() == ["b1", "b2"]
    assert warehouses.query(Path(), "SELECT count(*) FROM loader.rejects") == [(3,)]


@pytest.mark.parametrize(("share", "code"), [("0.6", 0), ("60%", 0), ("0.59", 3), ("0", 3), ("1", 0)])
def test_the_share_itself_is_allowed(run: Run, share: str, code: int) -> None:
    put(a=BAD)
    done = run("load", "in", "--quiet", "--max-reject-share", share, "--warehouse", "w h")
    assert done.exit_code == code
    assert (done.stderr == "") == (code == 0)
    assert ("loader rejects list --warehouse 'w h'" in done.stderr) == (code == 3)


def test_the_share_is_that_of_all_loads_of_the_command(run: Run) -> None:
    """3 of 13 items, though 3 of 5 in the first of two loads."""
    put(a=BAD, b=FINE)
    share = 3 / 13
    for given, code in ((share, 0), (share - 1e-9, 3)):
        done = run("load", "in", "--json", "--max-load-bytes", "1", "--max-reject-share", repr(given), "--reload")
        assert (done.exit_code, len(json.loads(done.stdout)["loads"])) == (code, 2)


def test_nothing_new_is_no_share(run: Run) -> None:
    put(a=BAD)
    assert run("load", "in", "--quiet").exit_code == 3
    assert run("load", "in", "--quiet", "--max-reject-share", "0").exit_code == 0


def test_an_unusable_share(run: Run) -> None:
    done = run("load", "in", "--max-reject-share", "5")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: --max-reject-share: '5' is not usable. It takes a share from 0 to 1, such as 0.05 or 5%.\n",
    )


# --- strict -----------------------------------------------------------------------------------------------------------


def test_a_reject_stops_a_strict_load(run: Run, tmp_path: Path) -> None:
    put(a=FINE, b=BAD)
    done = run("load", "in", "--strict")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: strict: 3 rejects (unknown_type 2, invalid_json 1); the first is {tmp_path}/in/b:2, element 0 of the "
        'batch: unknown_type: type is "x". Nothing of this load was loaded; loads before it stay. Mend the source, or '
        "load without strict.\n"
    )
    assert not Path("warehouse/warehouse.duckdb").exists()
    assert parquet_files() == set()
    assert run("load", "in", "--quiet", "--max-reject-share", "1").exit_code == 0
    assert len(ids()) == 10


def test_a_discard_stops_a_strict_load(run: Run, tmp_path: Path) -> None:
    """The column `v` is there as BIGINT. No file is left over."""
    put(a=FINE)
    assert run("load", "in", "--strict", "--quiet").exit_code == 0
    before = parquet_files()
    put(b=MISFIT)
    done = run("load", "in", "--strict")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: strict: 2 discards (type_mismatch 2); the first is {tmp_path}/in/b:2: type_mismatch: "
        'resets.v = "text". Nothing of this load was loaded; loads before it stay. Mend the source, or load without '
        "strict.\n"
    )
    assert parquet_files() == before
    assert len(ids()) == 8
    assert warehouses.query(Path(), "SELECT max(load_id) FROM loader.loads") == [(1,)]
    assert store.manifests(Path("warehouse").absolute()) == []
    put(b=MISFIT.splitlines(keepends=True)[0])
    assert run("load", "in", "--strict", "--quiet").exit_code == 0
    assert ids()[-1:] == ["r7"]
    assert "m1" in ids()


def test_loads_before_a_strict_one_that_fails_stay(run: Run) -> None:
    put(a=FINE, b=BAD, c=warehouses.lines(reset("c1")))
    done = run("load", "in", "--quiet", LOADER_STRICT="1", LOADER_MAX_LOAD_BYTES="1")
    assert done.exit_code == 1
    assert "in/b:2, element 0" in done.stderr
    assert ids() == [f"r{at}" for at in range(8)]
    assert warehouses.query(Path(), "SELECT load_id, items FROM loader.loads") == [(1, 8)]


def test_duplicates_are_fine_in_a_strict_load_and_a_dry_run_shows_the_rejects(run: Run, tmp_path: Path) -> None:
    put(a=FINE + FINE)
    assert run("load", "in", "--strict", "--quiet").exit_code == 0
    put(b=BAD)
    done = run("load", "in", "--strict", "--dry-run", "--json")
    assert done.exit_code == 0
    assert [file["rejected"] for file in json.loads(done.stdout)["planned_files"]] == [3]
    with pytest.raises(StrictError, match="strict: 3 rejects"):
        pipeline.load_only(loader.Settings(warehouse=tmp_path / "warehouse", sources=("in",), strict=True))
