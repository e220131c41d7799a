"""The command line: what goes to which stream, exit codes, and that no traceback reaches a user."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import loader
from loader import failure, pipeline, report, store
from loader.report import Report
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("nothing_from_elsewhere")

ROOT = Path(__file__).parent.parent

COMMON = {"receivedAt": "2026-03-02T10:00:02Z", "userId": "u1"}
GOOD = [
    COMMON | {"type": "track", "messageId": "m1", "event": "Order Done", "properties": {"total": 1.5}},
    COMMON | {"type": "track", "messageId": "m2", "event": "Order Done", "properties": {"total": 2.5}},
    COMMON | {"type": "track", "messageId": "m2", "event": "Order Done", "properties": {"total": 2.5}},
    COMMON | {"type": "page", "messageId": "m3", "name": "Home", "properties": {"id": "x"}},
]


def lines(*events: dict[str, Any]) -> str:
    """Events as NDJSON."""
    return "".join(json.dumps(event) + "\n" for event in events)


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file with four events, one of them a duplicate, and a line that is no JSON; which is not too much here."""
    monkeypatch.setenv("LOADER_MAX_REJECT_SHARE", "20%")
    (tmp_path / "events.jsonl").write_text(lines(*GOOD) + "{no\n")
    return "events.jsonl"


def loader_process(*args: str | Path, input: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m loader` in the current folder."""
    return subprocess.run(
        [sys.executable, "-m", "loader", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        input=input,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


# --- load -------------------------------------------------------------------------------------------------------------

SUMMARY = """\
loaded 3 events from 1 file in # s, # B/s
  lines       5
  duplicates  1
  rejects     1 (invalid_json 1)
  discards    1 (rule_column 1)
  new         8 tables, 137 columns
  table       rows
  ----------  ----
  order_done     2
  tracks         2
  pages          1
rejects are kept; to see them: loader rejects list
discards are kept; to see them: loader query "SELECT table_name, column_name, reason, column_value FROM \
loader.discards WHERE load_id = 1"
"""


def test_a_load_and_another_that_finds_nothing_new(events: str) -> None:
    done = loader_process("load", events)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.sub(r"[0-9.]+ (k?B/s|s)", r"# \1", done.stderr.replace("kB/s", "B/s")) == SUMMARY
    done = loader_process("load", events)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing new: 1 file was loaded before\n")
    done = loader_process("query", "SELECT id, total FROM order_done ORDER BY id", "--format", "csv")
    assert (done.returncode, done.stdout, done.stderr) == (0, "id,total\nm1,1.5\nm2,2.5\n", "")


def test_the_report_as_json(run: Run, events: str) -> None:
    done = run("load", events, "--json", "--warehouse", "wh")
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    found.pop("seconds")
    found["new_tables"].sort()
    assert found == {
        "files": 1,
        "bytes": os.stat(events).st_size,  # noqa: PTH116
        "lines": 5,
        "items": 5,
        "loaded": 3,
        "duplicates": 1,
        "rows": {"tracks": 2, "pages": 1, "order_done": 2},
        "rejects": {"invalid_json": 1},
        "discards": {"rule_column": 1},
        "loads": [1],
        "known_files": 0,
        "unread": {},
        "growing": [],
        "late": 0,
        "refused": [],
        "new_tables": "aliases groups identifies order_done pages resets screens tracks".split(),
        "new_columns": 137,
        "recovered": [],
        "written_files": 3,
        "dates": 1,
        "rewritten": [],
        "planned_changes": [],
        "planned_files": [],
        "resolved": None,
        "models": [],
        "compacted": [],
    }
    assert json.loads(run("load", events, "--json", "--warehouse", "wh").stdout)["known_files"] == 1


def test_quiet_says_nothing(run: Run, events: str) -> None:
    done = run("load", events, "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    done = run("--quiet", "load", events)
    assert (done.exit_code, done.output) == (0, "")


def test_the_hint_names_a_warehouse_that_a_flag_gave(run: Run, events: str) -> None:
    said = run("load", events, "--warehouse", "my wh").stderr
    assert "loader rejects list --warehouse 'my wh'\n" in said
    assert "loader query --warehouse 'my wh' \"SELECT table_name" in said
    said = run("load", events, LOADER_WAREHOUSE="other").stderr
    assert "loader rejects list\n" in said
    assert 'loader query "SELECT table_name' in said


def test_standard_input() -> None:
    done = loader_process("load", "-", "--json", "--source", "pipe", input=lines(*GOOD))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["loaded"] == 3
    done = loader_process("query", "SELECT uri, source, loaded FROM loader.files", "--json")
    assert json.loads(done.stdout) == [{"uri": "-", "source": "pipe", "loaded": 3}]


def test_flags_and_the_environment_reach_the_load(run: Run, events: str) -> None:
    done = run("load", events, "--json", "--json-path", "page.properties.a", "--store-full-event", LOADER_THREADS="1")
    assert done.exit_code == 0
    rules = run("query", "SELECT settings->>'json_paths' AS j, settings->>'store_full_event' AS f FROM loader.loads")
    assert rules.stdout.splitlines()[2] == '["page.properties.a"]  true'
    done = run("load", events, "--reload")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert "--accept-new-rules" in done.stderr
    assert run("load", events, "--reload", "--accept-new-rules").exit_code == 0


def test_a_file_that_cannot_be_read_is_told_and_the_others_are_loaded(run: Run, events: str, tmp_path: Path) -> None:
    whole = gzip.compress(lines(*GOOD).encode())
    (tmp_path / "cut.gz").write_bytes(whole[:-12])
    done = run("load", "cut.gz")
    assert done.exit_code == 1
    assert re.fullmatch(rf"error: {tmp_path}/cut.gz: .+\n", done.stderr)
    done = run("load", "cut.gz", events, "--quiet")
    assert done.exit_code == 3
    assert re.fullmatch(rf"error: {tmp_path}/cut.gz: .+\n", done.stderr)
    done = run("load", "cut.gz", events)
    assert done.exit_code == 3
    assert done.stderr.startswith("nothing new: 1 file was loaded before\nerror: ")
    assert run("query", "SELECT count(*) AS n FROM tracks").stdout == "n\n-\n2\n"


def test_event_names_past_the_limit_are_told(run: Run, tmp_path: Path) -> None:
    named = [COMMON | {"type": "track", "messageId": f"n{at}", "event": f"e{at}\n"} for at in range(8)]
    (tmp_path / "many.jsonl").write_text(lines(*named))
    done = run("load", "many.jsonl", "--max-event-tables", "1", "--quiet")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == (
        "warning: max_event_tables is reached: 7 event names got no table "
        "(e1\\n, e2\\n, e3\\n, e4\\n, e5\\n and 2 more). Their events are in tracks, with properties in other_events.\n"
    )


def test_a_dry_run_prints_the_plan(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Report(known_files=2)
    found.planned_files = [{"uri": "/d/a.jsonl", "lines": 1200, "items": 1201, "rejected": 1, "duplicates": 0}]
    found.planned_changes = [
        {"table_name": table, "column_name": column, "change": change, "old_type": old, "new_type": new}
        for table, column, change, old, new in [
            ("order_done", None, "created", None, None),
            ("order_done", "total", "added", None, "DOUBLE"),
            ("pages", "depth", "widened", "BIGINT", "DOUBLE"),
        ]
    ]
    monkeypatch.setattr(pipeline, "load_only", lambda *_: found)
    done = run("load", "a.jsonl", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "dry run: nothing was loaded. Files that were loaded before: 2\n")
    assert done.stdout == (
        "file        lines  items  rejected  duplicates\n"
        "----------  -----  -----  --------  ----------\n"
        "/d/a.jsonl  1,200  1,201         1           0\n"
        "\n"
        "table       column  change   type\n"
        "----------  ------  -------  ----------------\n"
        "order_done          created\n"
        "order_done  total   added    DOUBLE\n"
        "pages       depth   widened  BIGINT to DOUBLE\n"
    )
    found.planned_changes = []
    assert run("load", "a.jsonl", "--dry-run").stdout.endswith("0\n\nno change of schema\n")
    assert json.loads(run("load", "a.jsonl", "--dry-run", "--json").stdout)["planned_files"] == found.planned_files


def test_a_long_summary_is_cut() -> None:
    found = Report(files=2, loaded=1_000_000, bytes=50_000_000, seconds=2.0, known_files=1, recovered=[7], loads=[8, 9])
    found.rows = {f"t{at:02}": 100 - at for at in range(25)}
    found.rejects = {"invalid_json": 3}
    text = report.summary(found, " --warehouse w").splitlines()
    assert text[:2] == [
        "finished load 7, which an earlier run had left",
        "loaded 1,000,000 events from 2 files (1 file was loaded before) in 2.0 s, 25.0 MB/s",
    ]
    assert text[-3:] == [
        "  t19           81",
        "  and 5 more   390",
        "rejects are kept; to see them: loader rejects list --warehouse w",
    ]


def test_of_many_files_that_could_not_be_read_the_first_are_named() -> None:
    found = Report(unread={f"{at:02}": "why." for at in range(23)})
    told = report.unread(found, 20)
    assert (told[0], told[19], told[20:]) == (
        "00: why.",
        "19: why.",
        ["and 3 more files could not be read; --json names all."],
    )
    assert report.unread(found, 23)[22:] == ["22: why."]


# --- streams, options -------------------------------------------------------------------------------------------------


def test_a_log_of_json(run: Run, events: str) -> None:
    done = run("load", events, "--log-format", "json")
    assert (done.exit_code, done.stdout) == (0, "")
    log = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["stage"], line["load"]) for line in log] == [
        ("sources", None),
        *((stage, 1) for stage in ("read", "plan", "write", "ledger", "commit")),
        *[("publish", None)] * 2,
    ]
    assert {line["level"] for line in log} == {"info"}
    assert log[-1]["event"].startswith("loaded 3 events from 1 file in ")
    assert log[-1]["report"]["rows"] == {"tracks": 2, "pages": 1, "order_done": 2}
    done = run("--log-format", "json", "--quiet", "load", "nowhere.jsonl")
    assert done.exit_code == 1
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "load": None,
        "stage": "sources",
        "level": "error",
        "event": "nowhere.jsonl: there is no such file or folder. Check the path, or quote it if it is a glob.",
    }


def test_options_before_and_after_the_command_and_in_the_environment(run: Run, events: str) -> None:
    assert run("load", events, "--warehouse", "a", "--quiet").exit_code == 0
    sql = ("query", "SELECT count(*) AS n FROM tracks")
    assert run("--warehouse", "a", "--json", *sql).stdout == '[{"n":2}]\n'
    assert run(*sql, "--warehouse", "a", "--json").stdout == '[{"n":2}]\n'
    assert run(*sql, LOADER_WAREHOUSE="a", LOADER_JSON="1").stdout == '[{"n":2}]\n'
    assert run(*sql, LOADER_WAREHOUSE="a", LOADER_FORMAT="csv").stdout == "n\n2\n"
    assert run(*sql, "--warehouse", "a", "--json", LOADER_WAREHOUSE="b").stdout == '[{"n":2}]\n'
    assert run("--warehouse", "b", *sql, "--warehouse", "a", "--json").stdout == '[{"n":2}]\n'
    assert run("--warehouse", "a", *sql, "--json", LOADER_WAREHOUSE="b").stdout == '[{"n":2}]\n'


def test_usage_errors_exit_2(run: Run, tmp_path: Path) -> None:
    assert run("load").stderr == (
        "error: no SOURCE: give files, folders or places in buckets, or set `sources` in loader.toml.\n"
    )
    for args in (
        ["load"],
        ["no-such"],
        ["load", "--no-such", "x"],
        ["query", "x", "--format", "xml"],
        ["load", "x", "--threads", "no"],
    ):
        done = run(*args)
        assert (done.exit_code, done.stdout) == (2, "")
    (tmp_path / "loader.toml").write_text("thread = 1\n")
    for args in (["load", "x"], ["query", "x"], ["status"], ["schema"], ["publish"], ["config"]):
        done = run(*args)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == "error: loader.toml: thread: there is no such setting. Is it threads?\n"
    (tmp_path / "loader.toml").unlink()
    assert run("query", "x", "--warehouse", "a=b").stderr.startswith(
        f"error: {tmp_path}/a=b: a warehouse's path may not"
    )


@pytest.mark.parametrize("command", ["query", "explain", "identity block", "identity block user_id:a --reason"])
def test_words_that_are_no_utf_8_exit_2(run: Run, command: str) -> None:
    done = run(*command.split(), os.fsdecode(b"x\xff"))
    assert (done.exit_code, "'x\\udcff' is not UTF-8." in done.stderr) == (2, True)


def test_where_there_is_no_warehouse(run: Run, tmp_path: Path) -> None:
    for args in (["query", "SELECT 1"], ["status"], ["schema"], ["publish"]):
        done = run(*args)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == (
            f"error: {tmp_path}/warehouse: there is no warehouse here. Load something first, or give --warehouse.\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_help_tells_the_exit_codes(run: Run) -> None:
    done = run("--help")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.endswith(
        "  Exit codes:\n"
        "    0  done (also: nothing new)\n"
        "    1  failed; what was loaded before stays\n"
        "    2  the command or a setting is not usable\n"
        "    3  loaded and published, but something needs a look: many rejects, a file not read, a model that failed\n"
        "    4  another run holds the lock\n"
    )
    for command in ("load", "query", "status", "schema", "publish", "config", "init"):
        done = run(command, "-h")
        assert done.exit_code == 0
        text = " ".join(done.stdout.split())
        for option in re.findall(r"--([a-z-]+)", text):
            name = option.removeprefix("no-").replace("-", "_").upper()
            assert option in ("help", "no-summary") or f"LOADER_{name}" in text.replace("JSON_PATHS", "JSON_PATH"), (
                option
            )


def test_version_and_help_do_not_import_the_engine() -> None:
    heavy = "{'duckdb', 'pyarrow', 'deltalake', 'polars', 'numpy', 'rich.progress'}"
    code = f"""if True:
        import sys
        from loader.cli import main
        for args in (['--version'], ['--help'], ['load', '--help'], ['config'], ['init']):
            main(args, prog_name='loader', standalone_mode=False)
        assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (0, "wrote loader.toml\n")
    assert done.stdout.startswith(f"loader, version {failure.version()}\n")


def test_the_process_ends_with_all_written(events: str) -> None:
    """It doesn't wait for Python to take everything apart, but for its output."""
    assert loader_process("load", events, "--quiet").returncode == 0
    done = loader_process("query", "FROM range(300_000)", "--format", "csv")
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 300_001, "")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "loader", "query", "SELECT 1"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
    assert (done.returncode, done.stderr[:17]) == (1, "error: disk full:")


def test_the_library_is_there_when_asked_for() -> None:
    assert loader.run is pipeline.run
    assert loader.Report is Report
    with pytest.raises(AttributeError, match="module 'loader' has no attribute 'no_such'"):
        _ = loader.no_such


# --- publish, config, init --------------------------------------------------------------------------------------------


def test_publish_after_a_move(run: Run, events: str, tmp_path: Path) -> None:
    assert run("load", events, "--quiet", "--warehouse", "a").exit_code == 0
    Path("a").rename("b")
    done = run("query", "FROM tracks", "--warehouse", "b")
    assert (done.exit_code, done.stderr) == (
        1,
        f"error: {tmp_path}/b: was moved here from {tmp_path}/a. Run: loader publish\n",
    )
    done = run("publish", "--warehouse", "b")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "published load 1: 8 tables\n")
    assert run("query", "SELECT count(*) AS n FROM tracks", "--json", "--warehouse", "b").stdout == '[{"n":2}]\n'
    shutil.copytree("b", "c")
    assert run("status", "--warehouse", "c").exit_code == 1  # it would show the rows of b
    done = run("publish", "--warehouse", "c", "--json")
    assert (done.stdout, done.stderr) == ('{"load": 1, "tables": 8}\n', "")
    assert json.loads(run("status", "--warehouse", "c", "--json").stdout)["load"] == 1


def test_publish_after_the_file_was_lost(run: Run, events: str, tmp_path: Path) -> None:
    assert run("load", events, "--quiet").exit_code == 0
    before = run("query", "SELECT * FROM loader.discards", "--json").stdout
    (tmp_path / "warehouse/warehouse.duckdb").unlink()
    done = run("query", "FROM tracks")
    assert (done.exit_code, done.stderr) == (
        1,
        f"error: {tmp_path}/warehouse/warehouse.duckdb: there is nothing published yet. "
        "Load something, or run: loader publish\n",
    )
    (tmp_path / "warehouse/warehouse.duckdb").write_text("no database")
    done = run("query", "FROM tracks")
    assert done.exit_code == 1
    assert done.stderr.startswith(
        f"error: {tmp_path}/warehouse/warehouse.duckdb: cannot open this file. Run: loader publish\n"
    )
    assert run("publish", "--quiet").exit_code == 0
    assert run("query", "SELECT * FROM loader.discards", "--json").stdout == before


def test_a_warehouse_in_use_is_exit_4(run: Run, events: str, tmp_path: Path) -> None:
    assert run("load", events, "--quiet").exit_code == 0
    with store.locked(tmp_path / "warehouse"):
        for args in (["load", events], ["publish"]):
            done = run(*args)
            assert (done.exit_code, done.stdout) == (4, "")
            assert re.fullmatch(
                rf"error: {tmp_path}/warehouse: another run is at work: process {os.getpid()} on .*, since .*\n",
                done.stderr,
            )
        assert run("query", "SELECT count(*) AS n FROM tracks", "--json").stdout == '[{"n":2}]\n'
        assert run("status").exit_code == 0


def test_config(run: Run, tmp_path: Path) -> None:
    (tmp_path / "loader.toml").write_text("threads = 3\nmax_columns = 50\n")
    done = run("config", "--max-columns", "60", LOADER_DEDUP_WINDOW="7")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        'warehouse = "warehouse"             # default\n'
        "# sources                           # default: none\n"
        "# since                             # default: all days\n"
        "settle_seconds = 0.0                # LOADER_SETTLE_SECONDS\n"
        "# source                            # default: from the path\n"
        "skip_tracks_table = false           # default\n"
        "skip_users_table = false            # default\n"
        "store_full_event = false            # default\n"
        "underscore_divide_numbers = false   # default\n"
        "allow_users_context_traits = false  # default\n"
        "json_paths = []                     # default\n"
        'dedup_window = "7d"                 # LOADER_DEDUP_WINDOW\n'
        'on_type_conflict = "discard"        # default\n'
        "# memory_limit                      # default: 60 % of the machine's\n"
        "# max_load_bytes                    # default: a third of memory_limit\n"
        'max_line_bytes = "32MiB"            # default\n'
        "max_columns = 60                    # --max-columns\n"
        "max_event_tables = 1000             # default\n"
        "threads = 3                         # loader.toml\n"
        "max_reject_share = 0.05             # default\n"
        "strict = false                      # default\n"
        "# models                            # default: none\n"
        "compact_files = 32                  # default\n"
        "# max_runtime                       # default: no limit\n"
        "[identity]\n"
        'devices = "attach"                  # default\n'
        'shared_device = "by_time"           # default\n'
        "merge_on = []                       # default\n"
        "max_alias_partners = 10             # default\n"
    )
    found = json.loads(run("config", "--json", "--config", "loader.toml", LOADER_DEDUP_WINDOW="all").stdout)
    assert found["max_columns"] == {"value": 50, "from": "loader.toml"}
    assert found["dedup_window"] == {"value": "all", "from": "LOADER_DEDUP_WINDOW"}
    assert found["warehouse"] == {"value": "warehouse", "from": "default"}
    assert run("config", "--config", "no.toml").exit_code == 2


def test_init(run: Run, tmp_path: Path) -> None:
    done = run("init")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "wrote loader.toml\n")
    done = run("init")
    assert (done.exit_code, done.stderr) == (
        1,
        "error: loader.toml: is there already. Edit it, or move it away first.\n",
    )
    assert run("init", "--config", "other.toml", "--quiet").output == ""
    assert (tmp_path / "other.toml").read_text() == (tmp_path / "loader.toml").read_text()
    done = run("init", "--config", "no/where.toml")
    assert (done.exit_code, done.stderr) == (1, "error: no/where.toml: No such file or directory.\n")
