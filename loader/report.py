"""Everything counted, for a person and for a machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from loader.text import counts, many, number, plain, size, table

_TABLES = 20  # that a summary lists
_MANY_FILES = 1000  # of which a summary speaks
_NAMES = 5  # event names that a remark lists


@dataclass(slots=True)
class Report:
    """What one command did. bytes: read, before decompression. rows: written, by table. rejects, discards: by reason.

    unread: files that could not be read, with why. growing: files that are still being written, late: the number of
    those that there was no time for; both are left for the next run. refused: event names without a table of their own
    because of `max_event_tables`. new_columns: added, also to new tables. recovered: loads of an earlier run, finished.
    written_files, dates: Parquet files of events, and most dates that one load's are of.
    rewritten: tables that were written anew because columns got wider types: table, columns, rows, bytes, seconds.
    planned_changes, planned_files: of a dry run, what it would change (table_name, column_name, change, old_type,
    new_type) and what is in each file (uri, lines, items, rejected, duplicates).
    resolved: what resolving came to (load, complete, events, persons, changes); None: there was nothing to resolve.
    models: the user's own that were to run: name, file, rows, seconds (both None where it failed), error.
    compacted: tables whose small files became fewer: table, rows, files, into, bytes.
    """

    files: int = 0
    bytes: int = 0
    lines: int = 0
    items: int = 0
    loaded: int = 0
    duplicates: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    discards: dict[str, int] = field(default_factory=dict)
    loads: list[int] = field(default_factory=list)
    known_files: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    growing: list[str] = field(default_factory=list)
    late: int = 0
    refused: list[str] = field(default_factory=list)
    new_tables: list[str] = field(default_factory=list)
    new_columns: int = 0
    seconds: float = 0.0
    recovered: list[int] = field(default_factory=list)
    written_files: int = 0
    dates: int = 0
    rewritten: list[dict[str, Any]] = field(default_factory=list)
    planned_changes: list[dict[str, Any]] = field(default_factory=list)
    planned_files: list[dict[str, Any]] = field(default_factory=list)
    resolved: dict[str, Any] | None = None
    models: list[dict[str, Any]] = field(default_factory=list)
    compacted: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        """Items that are no events."""
        return sum(self.rejects.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


def add(into: dict[str, int], counts: dict[str, int]) -> None:
    """Adds counts to those there are."""
    for key, count in counts.items():
        into[key] = into.get(key, 0) + count


def summary(report: Report, warehouse: str) -> str:
    """What a load did, in a few lines. warehouse: the words to add to a command, "" if it is the default one."""
    lines = [f"finished load {load_id}, which an earlier run had left\n" for load_id in report.recovered]
    known = f"{many(report.known_files, 'file')} {'was' if report.known_files == 1 else 'were'} loaded before"
    left = [f"left for the next run: {text}\n" for text in left_files(report)]
    persons = f"resolved {resolution(report.resolved)}\n" if report.resolved else ""
    persons += f"{compaction(report.compacted)}\n" if report.compacted else ""
    persons += modelling(report.models)
    if not report.files:
        nothing = [f"nothing new: {known}\n"] if report.known_files and not left else []
        return "".join([*lines, *nothing, *left, persons])
    lines.append(
        f"loaded {many(report.loaded, 'event')} from {many(report.files, 'file')}"
        f"{f' ({known})' if report.known_files else ''} in {report.seconds:,.1f} s, {speed(report)}\n"
    )
    facts = [
        ("lines", number(report.lines)),
        ("duplicates", number(report.duplicates)),
        ("rejects", _with_reasons(report.rejects)),
        ("discards", _with_reasons(report.discards)),
        ("new", f"{many(len(report.new_tables), 'table')}, {many(report.new_columns, 'column')}"),
    ]
    lines += [f"  {name:<12}{fact}\n" for name, fact in facts]
    lines += [f"  {'rewritten':<12}{rewriting(each)}\n" for each in report.rewritten]
    lines += [f"  {line}\n" for line in _rows(report.rows)]
    if report.written_files > _MANY_FILES and report.dates > 1:
        lines.append(
            f"{many(report.written_files, 'file')} were written, for {many(report.dates, 'date')} of received_at: each "
            "date is a file of its own in each table, which takes its time\n"
        )
    lines += left
    lines.append(persons)
    which = f"load_id = {report.loads[0]}" if len(report.loads) == 1 else f"load_id >= {min(report.loads, default=0)}"
    if report.rejects:
        lines.append(f"rejects are kept; to see them: loader rejects list{warehouse}\n")
    if report.discards:
        sql = f"SELECT table_name, column_name, reason, column_value FROM loader.discards WHERE {which}"
        lines.append(f'discards are kept; to see them: loader query{warehouse} "{sql}"\n')
    return "".join(lines)


def left_files(report: Report) -> list[str]:
    """Which files the command left for the next one, and why."""
    found = []
    if report.growing:
        more = f" and {many(len(report.growing) - 1, 'other file')}" if len(report.growing) > 1 else ""
        found.append(f"{report.growing[0]}{more}, still being written")
    if report.late:
        found.append(f"{many(report.late, 'file')}, since max_runtime is over")
    return found


def rewriting(done: Mapping[str, Any]) -> str:
    """What it cost to write a table anew."""
    names = ", ".join(done["columns"])
    return f"{done['table']} ({names}): {many(done['rows'], 'row')}, {size(done['bytes'])} in {done['seconds']:,.1f} s"


def compaction(done: Sequence[Mapping[str, Any]]) -> str:
    """What compacting came to: `compacted 2 tables: 80 small files into 12, 1.2 MB`."""
    files, into, size_ = (sum(each[name] for each in done) for name in ("files", "into", "bytes"))
    return f"compacted {many(len(done), 'table')}: {many(files, 'small file')} into {number(into)}, {size(size_)}"


def resolution(done: Mapping[str, Any]) -> str:
    """What resolving came to: `12 events (all there are): 3 persons (new 2, merge 1)`."""
    how = " (all there are)" if done["complete"] else ""
    changes = f" ({counts(done['changes'])})" if done["changes"] else ""
    blocked = f", {many(done['blocked'], 'id')} of events blocked" if done["blocked"] else ""
    return f"{many(done['events'], 'event')}{how}: {many(done['persons'], 'person')}{changes}{blocked}"


def oversize(done: Mapping[str, Any], warehouse: str) -> list[str]:
    """A warning where a person has suspiciously many user ids. warehouse: as for `summary`."""
    if not done["oversize"]:
        return []
    persons = (
        f"{many(len(done['oversize']), 'person')} of more than 50 user ids ({', '.join(done['oversize'][:_NAMES])})"
    )
    return [f"{persons}: were different people taken for one? See: loader identity conflicts{warehouse}"]


def modelling(models: Sequence[Mapping[str, Any]]) -> str:
    """What the user's models made, in a line; "" for nothing."""
    made = [f"{each['name']} {many(each['rows'], 'row')}" for each in models if not each["error"]]
    return f"made {many(len(made), 'model')}: {', '.join(made)}\n" if made else ""


def speed(report: Report) -> str:
    """Bytes read a second."""
    return f"{size(report.bytes / max(report.seconds, 1e-3))}/s"


def too_many_rejects(report: Report, max_share: float) -> bool:
    """Whether the rejects of all items are more than that share."""
    return report.rejected > max_share * report.items


def warnings(report: Report, max_reject_share: float, warehouse: str) -> list[str]:
    """What a person should look at, though the events are loaded. warehouse: as for `summary`."""
    found = []
    if too_many_rejects(report, max_reject_share):
        share = (
            f"{many(report.rejected, 'reject')} of {many(report.items, 'item')}, {report.rejected / report.items:.1%}"
        )
        found.append(
            f"{share}: more than max_reject_share ({max_reject_share:.4g}): {counts(report.rejects)}. "
            f"To see where: loader rejects list{warehouse}"
        )
    return found + _refused(report) + (oversize(report.resolved, warehouse) if report.resolved else [])


def unread(report: Report, most: int) -> list[str]:
    """The files that could not be read, with why; of many the first, and the number of the others."""
    told = [f"{uri}: {why}" for uri, why in list(report.unread.items())[:most]]
    more = len(report.unread) - len(told)
    return told + ([f"and {many(more, 'more file')} could not be read; --json names all."] if more else [])


def schema_changes(report: Report) -> list[str]:
    """What the loads changed in the schema."""
    tables = ", ".join(plain(name) for name in report.new_tables[:_NAMES])
    more = f" and {number(len(report.new_tables) - _NAMES)} more" if len(report.new_tables) > _NAMES else ""
    found = [f"new tables: {tables}{more}."] if tables else []
    found += [f"new columns: {number(report.new_columns)}."] if report.new_columns else []
    return found + [f"wider columns: {each['table']} ({', '.join(each['columns'])})." for each in report.rewritten]


def _refused(report: Report) -> list[str]:
    if not report.refused:
        return []
    names = ", ".join(plain(name) for name in report.refused[:_NAMES])
    more = f" and {number(len(report.refused) - _NAMES)} more" if len(report.refused) > _NAMES else ""
    return [
        f"max_event_tables is reached: {many(len(report.refused), 'event name')} got no table ({names}{more}). "
        "Their events are in tracks, with properties in other_events."
    ]


def plan_tables(report: Report) -> str:
    """What a dry run found: what is in each file, and what a load would change."""
    names = ("lines", "items", "rejected", "duplicates")
    files = [[each["uri"], *(number(each[name]) for name in names)] for each in report.planned_files]
    changes = [
        [
            each["table_name"],
            each["column_name"] or "",
            each["change"],
            " to ".join(filter(None, (each["old_type"], each["new_type"]))),
        ]
        for each in report.planned_changes
    ]
    text = table(["file", *names], files, range(1, 5))
    return text + "\n" + (table(["table", "column", "change", "type"], changes) if changes else "no change of schema\n")


def _with_reasons(by_reason: Mapping[str, int]) -> str:
    return f"{number(sum(by_reason.values()))} ({counts(by_reason)})" if by_reason else "0"


def _rows(rows: Mapping[str, int]) -> list[str]:
    ordered = sorted(rows.items(), key=lambda item: (-item[1], item[0]))
    listed = [[name, number(count)] for name, count in ordered[:_TABLES]]
    if rest := ordered[_TABLES:]:
        listed.append([f"and {number(len(rest))} more", number(sum(count for _, count in rest))])
    return table(["table", "rows"], listed, [1]).splitlines() if listed else []
