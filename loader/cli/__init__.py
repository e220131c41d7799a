"""The command line: words, streams and exit codes. stdout is data; summary, progress and errors go to stderr."""

import shutil
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loader import failure, given, settings
from loader.cli.compact import compact
from loader.cli.discards import discards
from loader.cli.ending import finish, need_sources, notifying
from loader.cli.explain import explain
from loader.cli.frame import (
    CONTEXT,
    EPILOG,
    Commands,
    common,
    common_first,
    compact_option,
    connect,
    gather,
    inform,
    models_option,
    section_options,
    setting_options,
    show_progress,
    stdin_text,
    text,
    write_json,
)
from loader.cli.identity import identity, resolve
from loader.cli.rejects import rejects
from loader.cli.restore import restore
from loader.cli.vacuum import vacuum
from loader.cli.widen import widen
from loader.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader.progress import Progress
    from loader.report import Report
    from loader.settings import Settings


@click.group(cls=Commands, epilog=EPILOG, context_settings=CONTEXT)
@click.version_option(failure.version(), prog_name="loader")
@common_first
def main() -> None:
    """Load RudderStack and Segment events into Delta tables, and query them."""


main.add_command(rejects)
main.add_command(discards)
main.add_command(widen)
main.add_command(resolve)
main.add_command(identity)
main.add_command(explain)


@main.command()
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@setting_options
@models_option
@compact_option
@section_options("identity")
@common
@click.pass_context
def run(ctx: click.Context, /, **flags: Any) -> None:
    """Load what is new, work out who is who, and publish both: the line for cron.

    SOURCE is a file, a folder, a glob, - (stdin), or a place in a bucket: s3://, gs:// or az://BUCKET/FOLDER, also with
    a glob. Without any it is the sources of loader.toml.
    """
    from loader import pipeline

    _load(ctx, flags, pipeline.run)


@main.command()
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@setting_options
@common
@click.pass_context
def load(ctx: click.Context, /, **flags: Any) -> None:
    """Load what is new in files and publish it.

    SOURCE is as for `loader run`. Persons stay those of the last `loader run` or `loader resolve`.
    """
    from loader import pipeline

    _load(ctx, flags, pipeline.load_only)


def _load(ctx: click.Context, flags: dict[str, Any], do: "Callable[[Settings, Progress], Report]") -> None:
    wanted, origins = gather(ctx, flags)
    with notifying(ctx, wanted), show_progress(ctx) as shown:
        found = do(need_sources(wanted), shown)
    finish(ctx, wanted, origins, found)


@main.command()
@click.argument("sql", metavar="SQL", type=text)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    envvar="LOADER_FORMAT",
    help="[LOADER_FORMAT; default: by the name of FILE, else table]",
)
@click.option("-o", "--output", metavar="FILE", envvar="LOADER_OUTPUT", help="Write there. [LOADER_OUTPUT]")
@common
@click.pass_context
def query(ctx: click.Context, sql: str, form: str | None, output: str | None) -> None:
    """Run SQL on what is published.

    SQL may be - to read it from stdin. It can only read. Times are UTC.

    JSON is one array: instants as in 2026-03-01T10:00:00.000000Z, NaN and infinities as null. In CSV, NULL is nothing
    and an empty text is "". A table on a terminal has the first 40 rows.
    """
    from loader import query as queries

    path = Path(output) if output else None
    form = form or ("json" if ctx.obj["json"] else None) or _form_of(path)
    if form == "parquet" and path is None:
        raise UsageError("--format parquet needs a file: give -o FILE.")
    with closing(connect(ctx)) as connection:
        rows = queries.result(connection, stdin_text() if sql == "-" else sql)
        if rows is None:
            return
        width = shutil.get_terminal_size().columns if path is None and sys.stdout.isatty() else None
        if remark := queries.interruptible(
            connection, lambda: queries.write(rows, form, path, sys.stdout.buffer, width)
        ):
            inform(ctx, remark)


def _form_of(path: Path | None) -> str:
    suffix = path.suffix.lower().removeprefix(".") if path else ""
    return suffix if suffix in ("csv", "json", "parquet") else "table"


@main.command()
@click.option("--all", "every", is_flag=True, envvar="LOADER_ALL", help="Count every event table. [LOADER_ALL]")
@click.option("--check", is_flag=True, envvar="LOADER_CHECK", help="Only whether loads come in. [LOADER_CHECK]")
@click.option(
    "--max-age",
    metavar="TIME",
    default="26h",
    envvar="LOADER_MAX_AGE",
    help="With --check: how old the last load may be. [LOADER_MAX_AGE; default: 26h]",
)
@common
@click.pass_context
def status(ctx: click.Context, every: bool, check: bool, max_age: str) -> None:
    """Show what is loaded, and what was not.

    The last loads, rows by table and day, rejects and discards by reason, events without a table.

    With --check, for a monitor: one line, and exit code 1 when the last good load is older than --max-age.
    """
    from loader import status as state

    if check:
        try:
            seconds = given.duration(max_age)
        except ValueError as error:
            raise UsageError(f"--max-age: {max_age!r} is not usable. It takes {error}.") from None
        with closing(connect(ctx)) as connection:
            age = state.age(connection, datetime.now(UTC))
        if ctx.obj["json"]:
            write_json(age.to_dict(seconds))
        else:
            click.echo(age.text(seconds))
        ctx.exit(Exit.OK if age.is_good(seconds) else Exit.FAILED)
    with closing(connect(ctx)) as connection:
        found = state.gather(connection, ctx.obj["folder"], every=every)
    if ctx.obj["json"]:
        write_json(found)
    else:
        click.echo(state.write(found), nl=False)


@main.command()
@click.argument("table", required=False)
@common
@click.pass_context
def schema(ctx: click.Context, table: str | None) -> None:
    """List the tables, or the columns of one.

    TABLE is a name, such as tracks or loader.rejects: its columns with their types, and the load that added each.
    """
    from loader import catalogue

    with closing(connect(ctx)) as connection:
        if table is None:
            found = catalogue.tables(connection)
            text = catalogue.write_tables(found)
        else:
            found = catalogue.columns(connection, table)
            text = catalogue.write_columns(found)
    if ctx.obj["json"]:
        write_json(found)
    else:
        click.echo(text, nl=False)


@main.command()
@common
@click.pass_context
def publish(ctx: click.Context) -> None:
    """Make warehouse.duckdb afresh.

    That is needed after the warehouse was moved, or the file was lost.
    """
    from loader import pipeline

    wanted, _ = gather(ctx, {})
    load_id, tables = pipeline.republish(wanted)
    if ctx.obj["json"]:
        write_json({"load": load_id, "tables": tables})
    inform(ctx, f"published load {load_id}: {tables:,} tables")


@main.command()
@setting_options
@models_option
@compact_option
@section_options("identity")
@common
@click.pass_context
def config(ctx: click.Context, /, **flags: Any) -> None:
    """Print the settings, and where they come from."""
    from loader import config as files

    wanted, origins = gather(ctx, flags)
    if ctx.obj["json"]:
        write_json(files.as_json(wanted, origins))
    else:
        click.echo(files.as_toml(wanted, origins), nl=False)


@main.command()
@common
@click.pass_context
def init(ctx: click.Context) -> None:
    """Write a loader.toml to start with.

    Every setting is in it, as a comment. A file that is there is left alone.
    """
    from loader import config as files

    path = Path(ctx.obj["config"] or settings.FILE)
    files.write_template(path)
    inform(ctx, f"wrote {path}")


main.add_command(restore)
main.add_command(compact)
main.add_command(vacuum)
