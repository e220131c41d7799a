"""An analyst's process: queries a warehouse in a loop, as a plain DuckDB client, and checks that what it sees is whole.

    python -m tests.reader FILE    FILE: warehouse.duckdb

Prints the load that it sees each time that this is another, and `looked` after each query; ends when stdin does.
"""

import sys
import threading

import duckdb

# Rows of tracks that no event table has, rows of event tables that tracks lacks, rows and loads that were not counted.
TORN = """
    WITH event AS (SELECT id, 'a' AS event FROM a UNION ALL SELECT id, 'b' FROM b)
    SELECT (SELECT count(*) FROM tracks ANTI JOIN event USING (id, event)),
        (SELECT count(*) FROM event ANTI JOIN tracks USING (id, event)),
        (SELECT count(*) FROM tracks) + (SELECT count(*) FROM resets) - (SELECT sum(loaded) FROM loader.files),
        (SELECT sum(files) FROM loader.loads) - (SELECT count(*) FROM loader.files),
        (SELECT max(load_id) FROM loader.loads) - (SELECT load_id FROM loader.published)
"""
SEEN = "SELECT (SELECT load_id FROM loader.published), (SELECT count(*) FROM tracks), (SELECT sum(v) FROM resets)"


def main() -> None:
    file = sys.argv[1]
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    shown = 0
    while not ended.is_set():
        with duckdb.connect(file, read_only=True, config={"threads": 1}) as connection:
            [before] = connection.execute(SEEN).fetchall()
            for _ in range(3):  # a connection keeps what it saw
                assert connection.execute(TORN).fetchall() == [(0, 0, 0, 0, 0)]
                assert connection.execute(SEEN).fetchall() == [before]
                print("looked", flush=True)
        load = before[0]
        assert load >= shown, (load, shown)
        if load > shown:
            print("load", load, flush=True)
        shown = load


if __name__ == "__main__":
    main()
