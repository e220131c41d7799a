"""One load: some files, all of their events, at once or not at all. Its steps and their order are architecture.md's."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from loader import (
    books,
    conflicts,
    dedup,
    delta,
    discards,
    entry,
    flatten,
    id_hashes,
    ledger,
    measure,
    odd,
    plan,
    read,
    runs,
    shape,
    split,
    store,
    strict,
    widen,
)
from loader.calls import CALL_TABLES, OTHER_EVENTS, PARTITION, TRACK
from loader.db import connect
from loader.delta import Commit
from loader.errors import LoaderError
from loader.job import FileCounts, Job, Planned
from loader.leaf_sql import is_plain
from loader.records import COLUMN, GROWING, LATE, NO_TABLE, FileRead, Look, Measure, SourceFile, Target
from loader.replay import Replay
from loader.report import Report, add
from loader.schema import Column
from loader.settings import Settings


def load(
    settings: Settings,
    files: Sequence[SourceFile],
    report: Report,
    stage: Callable[[str, int], None],
    replay: Replay | None = None,
    until: float | None = None,
) -> None:
    """Loads the files into the warehouse, up to the load's commit, and adds what was done to the report.

    stage: is called with the stage and the load. replay: lines of these files that come in again, mended; else the
    files are read. until: no file is begun at or after that time.monotonic().
    """
    memory = settings.engine_memory * 9 // 10  # the rest is for rows on their way from the engine to Parquet
    with connect(memory, settings.threads, store.spill_folder(settings.warehouse)) as connection:
        connection.execute("SET GLOBAL arrow_large_buffer_size = true")  # else 2 GB of text are too much for a batch
        known = ledger.read(connection, settings.warehouse)
        rules = ledger.rules(settings, known.settings)
        job = Job(connection, settings, known, datetime.now(UTC), rules, lambda name: stage(name, known.last_load + 1))
        reads = [FileRead(file, known.last_file + at) for at, file in enumerate(files, 1)]
        counts = scan(job, reads, report, replay, until)
        if not counts:
            return
        if not settings.dry_run:
            strict.refuse_rejects(job, reads)
        plans = lay_out_and_measure(job, report)
        if settings.on_type_conflict == "fail":
            conflicts.refuse(job, plans, reads)
        if settings.dry_run:
            entry.preview(job, plans, reads, counts, report)
            return
        commits = write(job, plans, sum(each.text for each in reads), report)
        strict.refuse_discards(job, reads, commits)
        if replay:
            job.rewritten["rejects"] = replay.rewritten(job)
        commits += entry.write(job, plans, reads, counts, report)
        job.stage("commit")
        with ThreadPoolExecutor(1, thread_name_prefix="close") as pool:
            closed = pool.submit(connection.close)  # it takes a while to give its memory back
            opened = store.make_certain(settings.warehouse, job.load_id, commits)
            store.commit(settings.warehouse, job.load_id, commits, store.LOADER, opened)
            closed.result()
        report.loads.append(job.load_id)


def scan(
    job: Job, reads: Sequence[FileRead], report: Report, replay: Replay | None = None, until: float | None = None
) -> dict[int, FileCounts]:
    """Lines to events, duplicates out, paths and kinds found. By file_id what each file held; no unreadable files."""
    job.stage("read")

    def progress(count: int) -> None:
        report.bytes += count
        job.stage("read")

    given = job.settings
    lines = (
        replay.lines(reads)
        if replay
        else read.lines(reads, given.max_line_bytes, progress, buckets=given.storage, until=until)
    )
    job.members = split.split(job.sql, lines, reads, job.started, job.settings.store_full_event)
    found = split.count(job.sql)
    report.unread |= {each.file.uri: each.error for each in reads if each.error is not None and not each.left}
    report.growing += [each.file.uri for each in reads if each.left == GROWING]
    report.late += sum(each.left == LATE for each in reads)
    good = {each.file_id: each for each in reads if each.error is None}
    books.balance(
        "lines of a file",
        {file_id: each.lines for file_id, each in good.items()},
        {file_id: found[file_id].lines + found[file_id].blank for file_id in good if file_id in found},
    )
    books.balance(
        "bytes of a file",
        {each.file.uri: each.text for each in good.values()},
        {each.file.uri: each.given + each.dropped for each in good.values()},
    )
    if replay:
        replay.place(job.sql)
    job.stage("plan")
    duplicates = dedup.drop_duplicates(job.sql, _known_ids(job), job.settings.dedup_window_days)
    counts = {}
    for file_id, each in good.items():
        there = found.get(file_id, split.Count(0, 0, 0, 0))
        counts[file_id] = FileCounts(each.lines, there.blank, there.items, there.rejected, duplicates.get(file_id, 0))
    return counts


def _name_events(job: Job, report: Report) -> tuple[str, ...]:
    """Gives each event name its table; returns these, by number."""
    names = shape.event_names(job.sql)
    tables = plan.event_tables([name.text for name in names], job.known.event_tables, job.settings)
    shape.name_events(job.sql, [(text, *found) for text, found in tables.names.items()])
    report.refused += tables.refused
    return tables.tables


def _known_ids(job: Job) -> dict[str, list[str]]:
    """By call, the files whose ids new events are compared with: those of dates within the window, but for files that
    are known not to have any of them."""
    rows = job.sql.execute("SELECT call, min(received_at)::DATE, max(received_at)::DATE FROM item GROUP BY call")
    dates = {call: (first, last) for call, first, last in rows.fetchall()}
    known: dict[str, list[str]] = {call: [] for call in dates}
    for table in job.known.tables:
        call = plan.call_of(table)
        # A track is in its event's table too, but only there where tracks were skipped.
        elsewhere = call == TRACK and table != CALL_TABLES[TRACK] and not job.known.skipped_tracks
        if table == OTHER_EVENTS or elsewhere or call not in dates:
            continue
        root = job.settings.warehouse / store.table_folder(table)
        known[call] += delta.files_near(root, *dates[call], job.settings.dedup_window_days)
    if job.settings.dry_run:  # which leaves nothing behind
        return known
    return {call: id_hashes.holding(job.sql, job.settings.warehouse, call, files) for call, files in known.items()}


def lay_out_and_measure(job: Job, report: Report) -> list[Planned]:
    """Which tables and columns there will be: what is there, exactly, and then what fits it."""
    event_tables = _name_events(job, report)
    shape.scan(job.sql, job.members)
    usages = shape.usages(job.sql, job.members)
    context = shape.merged(usage for table in usages.values() for usage in table if usage.json == "context")
    job.rows = flatten.rows(job.sql)
    rare, kinds = plan.slow_paths(context), plan.kinds_by_path(context)
    targets = []
    for call, table in CALL_TABLES.items():
        found = shape.merged(usage for (owner, _), table_ in usages.items() if owner == call for usage in table_)
        unnamed = call == TRACK and job.settings.skip_tracks_table
        slow = rare | plan.slow_paths(found)
        targets.append(plan.lay_out(table, call, None, found, slow, kinds, job.settings, unnamed))
    for number, table in enumerate(event_tables):
        found = usages.get((TRACK, number), [])
        slow = rare | plan.slow_paths(found)
        targets.append(plan.lay_out(table, TRACK, number, found, slow, kinds, job.settings))
    odd.mark(job.sql, targets, job.members)
    odd.read(job.sql, targets, job.members)
    there = {target.table: flatten.rows_and_dates(target, job.rows) for target in targets}
    with_odd = flatten.with_odd(job.sql)
    planned = []
    for target, measures in _measure(job, [target for target in targets if there[target.table][0]]):
        planned.append(
            _decide(job, target, measures, *there[target.table], (target.call, target.event_table) in with_odd)
        )
    done = {each.plan.target.table for each in planned}
    planned += [_decide(job, target, {}, 0, [], False) for target in targets if target.table not in done]
    flatten.stage(job.sql)
    odd.stage(job.sql, [each.plan for each in planned])
    return planned


def _decide(
    job: Job,
    target: Target,
    measures: Mapping[str, Measure],
    rows: int,
    dates: list[str],
    has_odd: bool,
) -> Planned:
    known = job.known.tables.get(target.table)
    root = job.settings.warehouse / store.table_folder(target.table)
    inexact = widen.inexact(job.sql, root, plan.needing_doubles(known or (), measures))
    decided = plan.decide(target, known, measures, job.settings, inexact)
    causes, misfits = conflicts.of_plan(job.sql, decided, measures, inexact)
    kept = {leaf.column for leaf in decided.target.leaves if leaf.fate == COLUMN}
    values = {name: sum(measure.classes.values()) for name, measure in measures.items() if name in kept}
    firsts = {name: measure.first for name, measure in measures.items() if measure.first is not None}
    return Planned(decided, rows, dates, values, firsts, has_odd, causes, misfits)


def _measure(job: Job, targets: Sequence[Target]) -> list[tuple[Target, dict[str, Measure]]]:
    """What the values of each table's columns are, by column. Checks that no value was overlooked; leaves whose values
    are all plain are marked so."""
    looks = measure.look(job.sql, targets, job.members)
    elsewhere = odd.events_by_path(job.sql, job.members)
    paths = {(target.call, target.event_table, leaf.path) for target in targets for leaf in target.leaves}
    by_shape, by_value = odd.events_by_path(job.sql, job.members, without_repeated=True), odd.cells_by_path(job.sql)
    books.balance("values of odd events", {key: by_shape.get(key, 0) for key in paths}, by_value)
    # Cells of the context are made once for all tables.
    mixed = {
        leaf.path
        for (_, leaf), look in looks.items()
        if leaf.part.json == "context" and not is_plain(leaf, look.measure.classes)
    }
    measured = []
    of_odd = odd.measure(job.sql)
    for target in targets:
        found = dict(of_odd.get((target.call, target.event_table), {}))
        leaves = []
        for leaf in target.leaves:
            look = looks.get((target.table, leaf), Look(0, Measure({}, None)))
            if leaf.common and not target.unnamed:
                there = look.texts + elsewhere.get((target.call, target.event_table, leaf.path), 0)
                what = ".".join((leaf.part.field, *leaf.keys))
                books.balance(f"values of {target.table}", {what: leaf.events}, {what: there})
            if leaf.common and leaf.fate == COLUMN:
                found[leaf.column] = plan.together(found.get(leaf.column), look.measure)
            plain = leaf.path not in mixed if leaf.part.json == "context" else is_plain(leaf, look.measure.classes)
            leaves.append(leaf if leaf.plain == plain else replace(leaf, plain=plain))
        measured.append((replace(target, leaves=tuple(leaves)), found))
    return measured


def write(job: Job, planned: Sequence[Planned], size: int, report: Report) -> list[Commit]:
    """Writes the files of all tables, and finds the values that had no cell. Checks that no other is missing.

    size: of the lines read, in bytes.
    """
    job.stage("write")
    discards.prepare(job.sql)
    there = [each for each in planned if each.rows]
    for each in there:
        _check_there(job, each)
    filled = flatten.filled(job.sql)
    plans = [each.plan for each in there]
    has_odd = any(each.has_odd for each in there)
    of_event = size // max(sum(each.rows for each in there if each.plan.target.event_table is None), 1)
    with job.sql.cursor() as cursor, ThreadPoolExecutor(1, thread_name_prefix="members") as pool:
        entries = pool.submit(flatten.cells_of_members, cursor, plans, job.members)  # while the rows are sorted
        rows = flatten.in_order(job.sql, plans, job.members, job.settings.store_full_event, has_odd, of_event)
    written = runs.write(
        job.sql,
        rows,
        entries.result(),
        [(each.plan, each.rows, len(each.dates), each.has_odd) for each in there],
        job.settings.warehouse,
        job.load_id,
        job.started,
    )
    discards.of_events(job.sql)
    discards.of_repeated_keys(job.sql, job.settings.json_paths)
    for each in there:
        result = written[each.plan.target.table]
        short = [name for name, count in each.values.items() if result.cells.get(name, 0) < count]
        discards.of_table(job.sql, each.plan, short)
        if each.has_odd:
            discards.of_odd_cells(job.sql, each.plan, short)
    mismatches = discards.mismatches(job.sql)
    for each in there:
        name = each.plan.target.table
        result, lost = written[name], mismatches.get(name, {})
        books.balance(f"rows of {name}", {name: each.rows}, {name: result.rows})
        expected = flatten.filled_rule_columns(each.plan.target, filled)
        books.balance(f"cells of {name}", expected, {column: result.cells.get(column, 0) for column in expected})
        books.balance(
            f"cells of {name}",
            each.values,
            {column: result.cells.get(column, 0) + lost.get(column, 0) for column in each.values},
        )
        add(report.rows, {name: result.rows})
    results = {table: result.files for table, result in written.items()}
    report.written_files += sum(len(files) for files in results.values())
    report.dates = max(report.dates, *(len(each.dates) for each in planned))
    rewritten = {each.plan.target.table: _rewrite(job, each, report) for each in there if each.plan.widened}
    commits = [
        _commit(job, table, each.plan.columns, (*rewritten.get(table, ()), *results.get(table, ())), table in rewritten)
        for each in planned
        if (table := each.plan.target.table) in results or each.plan.created
    ]
    return commits + _write_other_events(job, report)


def _check_there(job: Job, planned: Planned) -> None:
    """LoaderError where the ledger knows a table whose folder is gone: a new one in its place would hide the loss."""
    root = job.settings.warehouse / store.table_folder(planned.plan.target.table)
    if not planned.plan.created and not delta.exists(root):
        raise LoaderError(
            f"{root}: this table was loaded before, and is gone. Put the folder back from a backup, or load all files "
            "into a new warehouse."
        )


def _rewrite(job: Job, planned: Planned, report: Report) -> Sequence[delta.DeltaFile]:
    done = widen.rewrite(job.sql, job.settings.warehouse, planned.plan.target.table, planned.plan.columns, job.load_id)
    report.rewritten.append(done.to_dict())
    return done.files


def _commit(
    job: Job, table: str, columns: Sequence[Column], files: Sequence[delta.DeltaFile], rewritten: bool = False
) -> Commit:
    """What the load does to a table. One that the ledger does not know, but that is there, is of a load that was
    undone: nothing of it stays, columns neither."""
    folder = store.table_folder(table)
    undone = table not in job.known.tables and delta.exists(job.settings.warehouse / folder)
    return Commit(folder, table, tuple(columns), (PARTITION,), tuple(files), overwrite=rewritten or undone)


def _write_other_events(job: Job, report: Report) -> list[Commit]:
    rows, dates = flatten.rows_and_dates(Target(OTHER_EVENTS, TRACK, NO_TABLE, ()), job.rows)
    if not rows:
        return []
    sql = flatten.other_events_sql(job.uuid_ts)
    folder = store.table_folder(OTHER_EVENTS)
    result = store.write(
        job.sql, job.settings.warehouse, folder, flatten.OTHER_EVENTS_COLUMNS, sql, job.load_id, rows, dates
    )
    books.balance(f"rows of {OTHER_EVENTS}", {OTHER_EVENTS: rows}, {OTHER_EVENTS: result.rows})
    expected = {"properties": flatten.other_properties(job.sql), "id": rows, "received_at": rows}
    books.balance(f"cells of {OTHER_EVENTS}", expected, {column: result.cells.get(column, 0) for column in expected})
    add(report.rows, {OTHER_EVENTS: rows})
    return [_commit(job, OTHER_EVENTS, flatten.OTHER_EVENTS_COLUMNS, result.files)]
