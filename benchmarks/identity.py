"""What it costs to work out who is who: a night's new events on a long history, and the worst that ids can do.

What is measured is a `loader resolve`. Events are thin: who is who reads little of them.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb

from benchmarks.checks import check_warehouse, expect
from benchmarks.measure import Bench, apart, process
from benchmarks.report import ratio

LONG = 10  # times the history
FIRST = "first, of all"

# Visits of 7 events by people who may come again; of these a third say who they are. Two devices each.
_HISTORY = """
    WITH placed AS (
        SELECT n, hash(n, {seed}) AS h, (hash(n // 7, {seed}) % {people})::BIGINT AS person,
            TIMESTAMPTZ '{day} 00:00:00+00' + to_seconds(((n * 86400.0 * {days}) / {events})::BIGINT) AS happened
        FROM range({events}) AS r(n)
    )
    SELECT CASE h % 20 WHEN 0 THEN 'identify' WHEN 1 THEN 'page' WHEN 2 THEN 'page' WHEN 3 THEN 'page'
            WHEN 4 THEN CASE WHEN h % 50 = 4 THEN 'reset' ELSE 'page' END ELSE 'track' END AS type,
        'm' || {seed} || '-' || n AS "messageId",
        CASE h % 20 WHEN 0 THEN NULL WHEN 1 THEN NULL WHEN 2 THEN NULL WHEN 3 THEN NULL WHEN 4 THEN NULL
            ELSE 'Event ' || (h % 7) END AS event,
        'd' || person || '-' || (h // 64 % 2) AS "anonymousId",
        CASE WHEN person % 3 = 0 AND (h % 20 = 0 OR h // 1024 % 2 = 0) THEN 'u' || person END AS "userId",
        CASE WHEN h % 20 = 0
            THEN {{'plan': ['free', 'pro'][1 + (h // 32 % 2)::INT], 'city': 'c' || (person % 100)}} END AS traits,
        strftime(happened, '%Y-%m-%dT%H:%M:%S.%fZ') AS "timestamp",
        strftime(happened, '%Y-%m-%dT%H:%M:%S.%fZ') AS "receivedAt"
    FROM placed
"""
_DAY = "2026-03-02"
_CHAIN = """
    SELECT 'alias' AS type, 'm' || n AS "messageId", 'u' || (n * 7919 % {size}) AS "previousId",
        'u' || ((n + 1) * 7919 % {size}) AS "userId", '2026-03-02T00:00:00Z' AS "receivedAt"
    FROM range({size} - 1) AS r(n)
"""
_STAR = """
    SELECT 'track' AS type, 'Seen' AS event, 'm' || n AS "messageId", 'd' || n AS "anonymousId", 'centre' AS "userId",
        '2026-03-02T00:00:00Z' AS "receivedAt" FROM range({size}) AS r(n)
"""
# 40 kiosks have 1 of 200 events; the others' people have a device each.
_KIOSKS = """
    SELECT CASE WHEN n % 200 = 0 AND n // 200 % 5 = 4 THEN 'reset' ELSE 'track' END AS type, 'Seen' AS event,
        'm' || n AS "messageId",
        CASE WHEN n % 200 = 0 THEN 'kiosk' || (n // 200 % 40)
            ELSE 'd' || (hash(n) % ({size} // 20)) END AS "anonymousId",
        CASE WHEN n % 200 = 0 THEN CASE WHEN n // 200 % 5 = 0 THEN 'u' || (hash(n) % ({size} // 60)) * 3 END
            WHEN hash(n) % ({size} // 20) % 3 = 0 THEN 'u' || (hash(n) % ({size} // 20)) END AS "userId",
        strftime(TIMESTAMPTZ '2026-03-02' + to_milliseconds(n * 20), '%Y-%m-%dT%H:%M:%S.%fZ') AS "receivedAt"
    FROM range({size}) AS r(n)
"""


def history(path: Path, events: int, people: int, seed: int, day: str = _DAY, days: int = 30) -> None:
    """Writes made-up events of so many people over so many days."""
    write(path, _HISTORY.format(events=events, people=people, seed=seed, day=day, days=days))


def write(path: Path, sql: str) -> None:
    """Writes the rows of a query as events, a line each."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT json)")


def identity(bench: Bench) -> Iterator[str]:
    """A night on a history and on ten times that; then chains, stars and kiosks, by event against a history's first."""
    for events in bench.sizes:
        new = max(events // 5, 1)
        worst = {
            "chain": (_CHAIN.format(size=events), events, events - 1, ("--max-alias-partners", "10")),
            "star": (_STAR.format(size=events), events, events, ()),
            "kiosks": (_KIOSKS.format(size=4 * events), 4 * events, 4 * events, ()),
        }
        for i in range(1, bench.repetitions + 1):
            for old in (events, LONG * events):
                _nights(bench, old, new, i)
            for case, (sql, size, rows, options) in worst.items():
                persons, largest = _worst(bench, case, sql, size, rows, i, options)
                yield f"{case}, {size:,}: {persons:,} persons, the largest has {largest:,} ids"
        short, long = (bench.figures(_night(old), new) for old in (events, LONG * events))
        bench.find("resolve_history", events, ratio(long, short))
        for case, (_, size, _, _) in worst.items():
            bench.find(f"resolve_{case}", events, ratio(bench.an_event(case, size), bench.an_event(FIRST, events)))
        peaks = (max(bench.figures(case, size, "peak_bytes")) for case, (_, size, _, _) in worst.items())
        bench.find("resolve_memory", events, max(peaks) / 1e9)


def _night(old: int) -> str:
    return f"night on {old:,}"


def _nights(bench: Bench, old: int, new: int, repetition: int) -> None:
    """Resolves a history at once, then the new events of two nights: rows may be folded together in one of them."""
    warehouse, source = bench.work / "warehouse", bench.work / "events.jsonl"
    apart(history, source, old, max(old // 20, 1), 1)
    _load(bench, source, warehouse, old)
    _resolve(bench, FIRST, old, repetition, warehouse)
    for at in range(2):
        apart(history, source, new, max(old // 20, 1), 2 + at, f"2026-04-{at + 1:02d}", 1)
        _load(bench, source, warehouse, old + (at + 1) * new)
        _resolve(bench, _night(old), new, repetition, warehouse)
    shutil.rmtree(warehouse)


def _worst(
    bench: Bench, case: str, sql: str, size: int, rows: int, repetition: int, options: tuple[str, ...]
) -> tuple[int, int]:
    """Resolves events that are hard on who is who; the number of persons, and the most ids of one."""
    warehouse, source = bench.work / "warehouse", bench.work / "events.jsonl"
    apart(write, source, sql)
    _load(bench, source, warehouse, rows)
    _resolve(bench, case, size, repetition, warehouse, "--memory-limit", "1GB", *options)
    persons, largest = apart(largest_person, warehouse)
    if case == "chain":
        expect(warehouse, {"persons": (persons, 1), "ids of the chain": (largest, size)})
    shutil.rmtree(warehouse)
    return persons, largest


def _load(bench: Bench, source: Path, warehouse: Path, events: int) -> None:
    """Loads these events, so that there are so many."""
    process(["-m", "loader", "load", source, "--warehouse", warehouse, "--quiet"], bench.work)
    source.unlink()
    apart(check_warehouse, warehouse, events)


def _resolve(bench: Bench, case: str, events: int, repetition: int, warehouse: Path, *options: str) -> None:
    command: list[str | Path] = ["-m", "loader", "resolve", "--warehouse", warehouse, "--quiet", *options]
    bench.measure(case, events, repetition, None, command)


def largest_person(warehouse: Path) -> tuple[int, int]:
    """The number of persons, and the most ids that one has."""
    with duckdb.connect(str(warehouse / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(
            "SELECT count(*), max(ids) FROM (SELECT count(*) AS ids FROM identity.map WHERE person_id IS NOT NULL "
            "GROUP BY person_id)"
        ).fetchall()[0]
