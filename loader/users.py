"""`users`: one row a user_id, each trait's latest value, rebuilt in full from `identifies` (section 7)."""

from pathlib import Path

import duckdb

from loader import delta, store
from loader.publish import view_sql
from loader.schema import Column

TABLE = "users"


def sql_folder() -> Path:
    """Where the models are: `loader/sql` in an installed package, `sql` beside `loader` in a checkout."""
    packaged = Path(__file__).parent / "sql"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "sql"


def rebuild(
    connection: duckdb.DuckDBPyConnection, warehouse: Path, load_id: int, identifies: int | None = None
) -> None:
    """Replaces the rows of `users`, if they are older than the load. identifies: its version; None: the newest."""
    root = warehouse / store.table_folder(TABLE)
    if (delta.transaction_version(root) or 0) >= load_id:
        return
    source = delta.snapshot(warehouse / store.table_folder("identifies"), identifies)
    files = [file.path for file in source.files]
    connection.execute(f"CREATE OR REPLACE TEMP VIEW identifies AS {view_sql(source.columns, files, partitioned=True)}")
    model = (sql_folder() / "users.sql").read_text()
    types = {column.name: column.type for column in source.columns}
    names = [name for (name, *_) in connection.execute(f"DESCRIBE {model}").fetchall()]
    columns = tuple(Column(name, types[name]) for name in names)
    written = store.write(connection, warehouse, store.table_folder(TABLE), model, load_id)
    commit = delta.Commit(store.table_folder(TABLE), TABLE, columns, (), written.files, overwrite=delta.exists(root))
    delta.commit(warehouse, commit, load_id)
