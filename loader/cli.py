"""The command line: words, streams and exit codes. stdout is data; summary, progress and errors go to stderr."""

import errno
import json
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from loader import failure, progress, settings
from loader.errors import Exit, UsageError
from loader.settings import OPTIONS, Settings

# The engine takes a third of a second to import: the commands do that, so that --help and --version need not wait.
if TYPE_CHECKING:
    import duckdb

    from loader.report import Report

Command = TypeVar("Command", bound=Callable[..., Any])

_CODES = {
    Exit.OK: "done (also: nothing new)",
    Exit.FAILED: "failed; what was loaded before stays",
    Exit.USAGE: "the command or a setting is not usable",
    Exit.LOOK: "loaded and published, but something needs a look, such as a file that could not be read",
    Exit.LOCKED: "another run holds the lock",
}
_EPILOG = """Settings are taken from a flag, else from the environment (LOADER_ and the option's name), else from
loader.toml, else they have their default.\n\n\b\nExit codes:\n""" + "\n".join(
    f"  {code.value}  {text}" for code, text in _CODES.items()
)
_CONTEXT = {"max_content_width": 120, "help_option_names": ["-h", "--help"]}


class Commands(click.Group):
    """The commands. Whatever one of them raises ends as a message on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        with _interruptions() as interruptions:
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.exceptions.Exit, click.Abort, SystemExit):
                raise
            except BaseException as error:
                if getattr(error, "errno", None) == errno.EPIPE:
                    raise  # `| head` has what it wanted: Click ends quietly
                cause = KeyboardInterrupt() if interruptions else error
                message, code = failure.explain(cause, ctx.obj.get("folder", Path()))
                _say(ctx, "error", message)
                ctx.exit(code)


@contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Notes each Ctrl-C: what comes of it is not a KeyboardInterrupt where the engine was at work or being imported."""
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield seen  # nohup, or called by another program
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


# --- options ----------------------------------------------------------------------------------------------------------


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keeps an option that may stand before or after the command's name; the one after it wins."""
    given = ctx.find_root().ensure_object(dict)
    name = parameter.name or ""
    if ctx.parent is None or ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        given[name] = value


def _common(command: Command) -> Command:
    """The options of every command, after its name."""
    return _add_common(command, at_root=False)


def _common_first(command: Command) -> Command:
    """The same, before the name: there the environment counts, too. The warehouse's is read by `gather`."""
    return _add_common(command, at_root=True)


def _add_common(command: Command, *, at_root: bool) -> Command:
    options: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("warehouse", "The folder of the warehouse; by default ./warehouse.", {"metavar": "DIR"}),
        ("config", "The file of settings; by default ./loader.toml, if there.", {"metavar": "FILE"}),
        ("json", "The result as JSON on stdout.", {"is_flag": True}),
        ("quiet", "No summary and no progress: only warnings and errors.", {"is_flag": True}),
        ("log_format", "What stderr gets.", {"type": click.Choice(["text", "json"]), "default": "text"}),
    )
    for name, text, more in reversed(options):
        command = click.option(
            "--" + name.replace("_", "-"),
            name,
            help=f"{text} [LOADER_{name.upper()}]",
            envvar=f"LOADER_{name.upper()}" if at_root and name != "warehouse" else None,
            expose_value=False,
            callback=_remember,
            **more,
        )(command)
    return command


def _setting_options(command: Command) -> Command:
    """An option for every setting but the warehouse. Their values are read, with those of elsewhere, by `gather`."""
    for option in reversed(OPTIONS):
        more: dict[str, Any] = {"metavar": "TEXT"}
        flag = option.flag
        if option.read is settings.switch:
            more = {"is_flag": True, "default": None}
            flag += f"/--no-{option.flag.removeprefix('--')}" if option.lasting else ""
        elif option.read in (settings.size, settings.days, settings.whole, settings.count):
            more["metavar"] = {settings.size: "SIZE", settings.days: "DAYS"}.get(option.read, "NUMBER")
        elif option.name == "json_paths":
            more = {"metavar": "PATH", "multiple": True}
        if option.name != "warehouse":
            text = f"{option.help} [{option.variable}; default: {option.default}]"
            command = click.option(flag, option.name, help=text, **more)(command)
    return command


def _gather(ctx: click.Context, flags: dict[str, Any]) -> tuple[Settings, dict[str, str]]:
    """The settings in force for the command, and where each comes from."""
    given = ctx.obj
    file = settings.config_file(given["config"])
    wanted, origins = settings.gather({**flags, "warehouse": given["warehouse"]}, os.environ, file)
    given["folder"] = wanted.warehouse
    return wanted, origins


# --- streams ----------------------------------------------------------------------------------------------------------


def _say(ctx: click.Context, level: str, message: str, **fields: Any) -> None:
    """Writes to stderr: an error or a warning under that name, a summary (info) as it is; or a line of JSON."""
    if (ctx.obj or {}).get("log_format") == "json":
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "event": message,
            **fields,
        }
        click.echo(json.dumps(line, ensure_ascii=False, default=str), err=True)
    elif level == "info":
        click.echo(message.rstrip("\n"), err=True)
    else:
        click.echo(f"{click.style(level, fg='red' if level == 'error' else 'yellow')}: {message}", err=True)


def _inform(ctx: click.Context, message: str, **fields: Any) -> None:
    """A summary on stderr, unless --quiet or --json."""
    if not ctx.obj["quiet"] and not ctx.obj["json"]:
        _say(ctx, "info", message, **fields)


def _write_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def _progress(ctx: click.Context) -> AbstractContextManager[progress.Progress]:
    if ctx.obj["quiet"]:
        return nullcontext(progress.nothing)
    if ctx.obj["log_format"] == "json":
        return nullcontext(progress.stages(lambda *at: _say(ctx, "info", "stage", **progress.fields(*at))))
    return progress.bar() if sys.stderr.isatty() else nullcontext(progress.nothing)


# --- commands ---------------------------------------------------------------------------------------------------------


@click.group(cls=Commands, epilog=_EPILOG, context_settings=_CONTEXT)
@click.version_option(failure.version(), prog_name="loader")
@_common_first
def main() -> None:
    """Load RudderStack and Segment events into Delta tables, and query them."""


@main.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@_setting_options
@_common
@click.pass_context
def load(ctx: click.Context, /, sources: tuple[str, ...], **flags: Any) -> None:
    """Load what is new in files and publish it.

    SOURCE is a file, a folder, a glob or - (stdin).
    """
    from loader import pipeline, report

    wanted, origins = _gather(ctx, flags)
    with _progress(ctx) as shown:
        found = pipeline.run(replace(wanted, sources=sources), shown)
    if ctx.obj["json"]:
        _write_json(found.to_dict())
    elif wanted.dry_run:
        if found.planned_files:
            click.echo(report.plan_tables(found), nl=False)
        _inform(ctx, f"dry run: nothing was loaded. Files that were loaded before: {found.known_files:,}")
    else:
        at = f" --warehouse {shlex.quote(str(wanted.warehouse))}" if origins["warehouse"] == "--warehouse" else ""
        if text := report.summary(found, at):
            _inform(ctx, text, report=found.to_dict())
    for warning in report.warnings(found):
        _say(ctx, "warning", warning)
    for uri, why in found.unread.items():
        _say(ctx, "error", f"{uri}: {why}")
    ctx.exit(_exit_code(found))


def _exit_code(found: "Report") -> Exit:
    if not found.unread:
        return Exit.OK
    return Exit.LOOK if found.files or found.planned_files or found.known_files else Exit.FAILED


@main.command()
@click.argument("sql", metavar="SQL")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    envvar="LOADER_FORMAT",
    help="[LOADER_FORMAT; default: by the name of FILE, else table]",
)
@click.option("-o", "--output", metavar="FILE", envvar="LOADER_OUTPUT", help="Write there. [LOADER_OUTPUT]")
@_common
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
    with closing(_connect(ctx)) as connection:
        rows = queries.result(connection, sys.stdin.buffer.read().decode(errors="replace") if sql == "-" else sql)
        if rows is None:
            return
        width = shutil.get_terminal_size().columns if path is None and sys.stdout.isatty() else None
        if remark := queries.interruptible(
            connection, lambda: queries.write(rows, form, path, sys.stdout.buffer, width)
        ):
            _inform(ctx, remark)


def _form_of(path: Path | None) -> str:
    suffix = path.suffix.lower().removeprefix(".") if path else ""
    return suffix if suffix in ("csv", "json", "parquet") else "table"


def _connect(ctx: click.Context) -> "duckdb.DuckDBPyConnection":
    from loader import warehouse

    wanted, _ = _gather(ctx, {})
    return warehouse.connect(wanted.warehouse, wanted.engine_memory, wanted.threads)


@main.command()
@click.option("--all", "every", is_flag=True, envvar="LOADER_ALL", help="Count every event table. [LOADER_ALL]")
@_common
@click.pass_context
def status(ctx: click.Context, every: bool) -> None:
    """Show what is loaded, and what was not.

    The last loads, rows by table and day, rejects and discards by reason, events without a table.
    """
    from loader import status as state

    with closing(_connect(ctx)) as connection:
        found = state.gather(connection, ctx.obj["folder"], every=every)
    if ctx.obj["json"]:
        _write_json(found)
    else:
        click.echo(state.write(found), nl=False)


@main.command()
@click.argument("table", required=False)
@_common
@click.pass_context
def schema(ctx: click.Context, table: str | None) -> None:
    """List the tables, or the columns of one.

    TABLE is a name, such as tracks or loader.rejects: its columns with their types, and the load that added each.
    """
    from loader import catalogue

    with closing(_connect(ctx)) as connection:
        if table is None:
            found = catalogue.tables(connection)
            text = catalogue.write_tables(found)
        else:
            found = catalogue.columns(connection, table)
            text = catalogue.write_columns(found)
    if ctx.obj["json"]:
        _write_json(found)
    else:
        click.echo(text, nl=False)


@main.command()
@_common
@click.pass_context
def publish(ctx: click.Context) -> None:
    """Make warehouse.duckdb afresh.

    That is needed after the warehouse was moved, or the file was lost.
    """
    from loader import pipeline

    wanted, _ = _gather(ctx, {})
    load_id, tables = pipeline.republish(wanted)
    if ctx.obj["json"]:
        _write_json({"load": load_id, "tables": tables})
    _inform(ctx, f"published load {load_id}: {tables:,} tables")


@main.command()
@_setting_options
@_common
@click.pass_context
def config(ctx: click.Context, /, **flags: Any) -> None:
    """Print the settings, and where they come from."""
    from loader import config as files

    wanted, origins = _gather(ctx, flags)
    if ctx.obj["json"]:
        _write_json(files.as_json(wanted, origins))
    else:
        click.echo(files.as_toml(wanted, origins), nl=False)


@main.command()
@_common
@click.pass_context
def init(ctx: click.Context) -> None:
    """Write a loader.toml to start with.

    Every setting is in it, as a comment. A file that is there is left alone.
    """
    from loader import config as files

    path = Path(ctx.obj["config"] or settings.FILE)
    files.write_template(path)
    _inform(ctx, f"wrote {path}")
