"""Which events are there already: one row per (call, id), a load's earliest, none that a table holds (section 7)."""

from collections.abc import Mapping, Sequence

import duckdb


def drop_duplicates(
    connection: duckdb.DuckDBPyConnection, known: Mapping[str, Sequence[str]], window_days: int | None
) -> dict[int, int]:
    """Takes the duplicates out of `item`, and returns their number by file_id.

    known: for each call the Parquet files (absolute paths) whose `id` and `received_at` tell what is loaded.
    window_days: how far a known row's `received_at` may be from the event's; None: any distance.
    """
    connection.execute("CREATE TABLE loser (pos BIGINT)")
    for call, files in known.items():
        if files:
            connection.execute(
                """
                INSERT INTO loser
                SELECT DISTINCT i.pos FROM read_parquet($files, union_by_name = true) k
                JOIN (SELECT pos, id, received_at FROM item WHERE call = $call) i ON k.id = i.id
                WHERE $window IS NULL
                    OR abs(epoch_us(k.received_at) - epoch_us(i.received_at)) <= $window * 86400000000
                """,
                {"files": list(files), "call": call, "window": window_days},
            )
    # By the hash first: few ids have that of another, and numbers are told apart in less time and memory than texts.
    connection.execute("""
        INSERT INTO loser
        WITH left_over AS (
                SELECT pos, call, id, received_at, hash(call, id) AS hash FROM item
                WHERE pos NOT IN (SELECT pos FROM loser)
            ), suspect AS (SELECT hash FROM left_over GROUP BY hash HAVING count(*) > 1)
        SELECT pos FROM left_over SEMI JOIN suspect USING (hash)
        QUALIFY row_number() OVER (PARTITION BY call, id ORDER BY received_at, pos) > 1
    """)
    duplicates = connection.execute("""
        SELECT file_id, count(*) FROM item WHERE pos IN (SELECT pos FROM loser) GROUP BY file_id
    """).fetchall()
    if duplicates:
        connection.execute("DELETE FROM item WHERE pos IN (SELECT pos FROM loser)")
    return dict(duplicates)
