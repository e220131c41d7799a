"""`--strict`: a load with a reject or a discard is refused as a whole, before anything of it is committed."""

from collections.abc import Mapping, Sequence

from loader import store
from loader.db import quote
from loader.delta import Commit
from loader.errors import LoaderError
from loader.job import Job
from loader.records import FileRead
from loader.text import counts, many, plain


class StrictError(LoaderError):
    """A strict load met a reject or a discard. Nothing of it was committed."""


def refuse_rejects(job: Job, reads: Sequence[FileRead]) -> None:
    """StrictError if the load is to be strict and a line, or an element of a batch, is no event."""
    if job.settings.strict:
        _refuse(job, reads, "reject", "detail", "file_id, line, element")


def refuse_discards(job: Job, reads: Sequence[FileRead], commits: Sequence[Commit]) -> None:
    """StrictError if the load is to be strict and a value found no cell. Then the files that were written go, too."""
    if not job.settings.strict:
        return
    what = "table_name || '.' || column_name || ' = ' || left(column_value, 100)"
    try:
        _refuse(job, reads, "discard", what, "loader_file_id, loader_line, loader_element")
    except StrictError:
        store.remove(job.settings.warehouse, commits)
        raise


def _refuse(job: Job, reads: Sequence[FileRead], table: str, what: str, place: str) -> None:
    by_reason: Mapping[str, int] = dict(
        job.sql.execute(f"SELECT reason, count(*) FROM {quote(table)} GROUP BY ALL").fetchall()
    )
    if not by_reason:
        return
    ((reason, detail, file_id, line, element),) = job.sql.execute(
        f"SELECT reason, {what}, {place} FROM {quote(table)} ORDER BY {place}, reason, 2 LIMIT 1"
    ).fetchall()
    uri = next(read.file.uri for read in reads if read.file_id == file_id)
    where = f"{uri}:{line}" + (f", element {element} of the batch" if element is not None else "")
    raise StrictError(
        f"strict: {many(sum(by_reason.values()), table)} ({counts(by_reason)}); the first is {plain(where)}: {reason}: "
        f"{plain(detail)}. Nothing of this load was loaded; loads before it stay. Mend the source, or load without "
        "strict."
    )
