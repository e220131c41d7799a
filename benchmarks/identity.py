"""What it costs to work out who is who: a night's new events on a long history, and the worst that ids can do.

Every figure is of one `loader resolve` process: wall clock, CPU seconds, peak of resident memory. Events are thin: who
is who reads little of them. `python -m benchmarks.identity --help` says what can be asked for.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb

from benchmarks.run import apart, process

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


def loader(work: Path, warehouse: Path, *words: str | Path) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and peak bytes of a command."""
    return process(["-m", "loader", *words, "--warehouse", warehouse, "--quiet"], work)


def night(work: Path, old: int, new: int) -> dict[str, float]:
    """Resolving a night's events on a history: once all of that, then the new ones, then nothing differs."""
    warehouse = work / "warehouse"
    apart(history, work / "old.jsonl", old, old // 20, 1)
    loader(work, warehouse, "load", work / "old.jsonl")
    (work / "old.jsonl").unlink()
    first = loader(work, warehouse, "resolve")
    found = {
        "history": float(old),
        "new": float(new),
        "first_wall": first[0],
        "first_cpu": first[1],
        "first_mb": first[2] / 1e6,
    }
    for at in range(2):  # the second night, too: rows may be folded together in one of them
        apart(history, work / "new.jsonl", new, old // 20, 2 + at, f"2026-04-{at + 1:02d}", 1)
        loader(work, warehouse, "load", work / "new.jsonl")
        wall, cpu, peak = loader(work, warehouse, "resolve")
        found |= {f"night{at + 1}_wall": wall, f"night{at + 1}_cpu": cpu, f"night{at + 1}_mb": peak / 1e6}
    return found


def worst(work: Path, name: str, sql: str, size: int) -> dict[str, float]:
    """Resolving events that are hard on who is who."""
    warehouse = work / "warehouse"
    apart(write, work / "events.jsonl", sql.format(size=size))
    loader(work, warehouse, "load", work / "events.jsonl")
    wall, cpu, peak = loader(work, warehouse, "resolve", *(("--max-alias-partners", "10") if name == "chain" else ()))
    largest, persons = apart(largest_person, warehouse)
    return {name: float(size), "wall": wall, "cpu": cpu, "mb": peak / 1e6, "persons": persons, "largest": largest}


def largest_person(warehouse: Path) -> tuple[int, int]:
    """The most ids that a person has, and the number of persons."""
    with duckdb.connect(str(warehouse / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(
            "SELECT max(ids), count(*) FROM (SELECT count(*) AS ids FROM identity.map WHERE person_id IS NOT NULL "
            "GROUP BY person_id)"
        ).fetchall()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=int, nargs="*", default=[1_000_000, 4_000_000, 10_000_000], help="events")
    parser.add_argument("--new", type=int, default=200_000, help="events of a night")
    parser.add_argument("--worst", nargs="*", choices=["chain", "star", "kiosks"], default=["chain", "star", "kiosks"])
    parser.add_argument("--size", type=int, help="of the worst cases; by default 1 M ids, 4 M events with kiosks")
    asked = parser.parse_args()
    sizes = {"chain": (_CHAIN, 1_000_000), "star": (_STAR, 1_000_000), "kiosks": (_KIOSKS, 4_000_000)}
    cases: list[Callable[[Path], dict[str, float]]] = [partial(night, old=old, new=asked.new) for old in asked.history]
    cases += [partial(worst, name=name, sql=sizes[name][0], size=asked.size or sizes[name][1]) for name in asked.worst]
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({name: round(value, 2) for name, value in case(Path(folder)).items()}), flush=True)


if __name__ == "__main__":
    main()
