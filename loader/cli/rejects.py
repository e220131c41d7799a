"""`loader rejects`: what was no event is listed, exported to be mended, and loaded once it is mended."""

import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader.cli.frame import common, connect, gather, inform, say, setting_options, show_progress, write_json
from loader.errors import Exit, LoaderError, UsageError
from loader.open_rejects import Chosen
from loader.text import counts, many, number

if TYPE_CHECKING:
    from loader.replay import Replay

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def rejects() -> None:
    """List, export and replay the lines that are no events.

    A reject is open until it is replayed. Of a file that was read again, those of its last reading are.
    """


def _choosing(command: Command) -> Command:
    """The options that say which rejects are meant."""
    for option in (
        click.option(
            "--all", "every", is_flag=True, envvar="LOADER_ALL", help="Also of files read again. [LOADER_ALL]"
        ),
        click.option(
            "--file",
            metavar="FILE",
            envvar="LOADER_FILE",
            help="Of this file: a path, its end, or a glob. [LOADER_FILE]",
        ),
        click.option(
            "--reason",
            metavar="REASON",
            multiple=True,
            envvar="LOADER_REASON",
            help="With this reason; may be given several times. [LOADER_REASON]",
        ),
    ):
        command = option(command)
    return command


@rejects.command("list")
@_choosing
@common
@click.pass_context
def list_(ctx: click.Context, every: bool, file: str | None, reason: tuple[str, ...]) -> None:
    """Show the open rejects by reason and file."""
    from loader import rejects as found

    with closing(connect(ctx)) as connection:
        rows = found.by_reason(connection, Chosen(reason, file, every))
    if ctx.obj["json"]:
        write_json(rows)
    elif rows:
        click.echo(found.write_list(rows), nl=False)
        total = many(sum(row["rejects"] for row in rows), "reject")
        inform(ctx, f"{total}; to mend them: loader rejects export -o mend.jsonl{_warehouse(ctx)}")
    else:
        inform(ctx, "no rejects are open")


@rejects.command()
@_choosing
@click.option("-o", "--output", metavar="FILE", envvar="LOADER_OUTPUT", help="Write there. [LOADER_OUTPUT]")
@common
@click.pass_context
def export(ctx: click.Context, every: bool, file: str | None, reason: tuple[str, ...], output: str | None) -> None:
    """Write the lines of the open rejects, to be mended.

    Above each stands a line that names its reject, with reason, file and line. Leave these as they are, mend the lines
    below them, and run loader rejects replay FILE. Of a line of more than 1 MiB only the beginning is kept: it is not
    written, and the whole line is to be put in its place.
    """
    from loader import query
    from loader import rejects as found

    path = Path(output) if output else None
    if path and path.is_file():
        raise LoaderError(f"{path}: is there already, and may hold lines that you mended. Give another name.")
    chosen = Chosen(reason, file, every)
    with closing(connect(ctx)) as connection:
        there = found.count(connection, chosen)
        if ctx.obj["json"] and path:
            write_json({"rejects": there.rejects, "cut": there.cut})
        if not there.rejects:
            inform(ctx, "no rejects are open")
            return
        name = shlex.quote(output) if output else "FILE"
        write = partial(found.export, connection, chosen, there, name=name + _warehouse(ctx))
        if path is None:
            query.interruptible(connection, lambda: write(sys.stdout.buffer))
        else:
            with query.whole_file(path) as beside, beside.open("wb") as to:
                query.interruptible(connection, lambda: write(to))
    cut = f", {number(there.cut)} of them without their line, of which only the beginning is kept" if there.cut else ""
    inform(ctx, f"{many(there.rejects, 'reject')}{cut}; when mended: loader rejects replay {name}{_warehouse(ctx)}")


@rejects.command()
@click.argument("mended", metavar="[FILE]", required=False)
@click.option("--as-is", is_flag=True, envvar="LOADER_AS_IS", help="Try the rejects as they are. [LOADER_AS_IS]")
@_choosing
@partial(setting_options, without=("source", "since", "settle_seconds", "max_runtime", "reload"))
@common
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    mended: str | None,
    as_is: bool,
    every: bool,
    file: str | None,
    reason: tuple[str, ...],
    **flags: Any,
) -> None:
    """Load mended rejects, each once.

    FILE (or - for stdin) is what loader rejects export wrote, with its lines mended. What is an event now is loaded, as
    from the file and line that it was in first, and its reject is marked with the load. The others stay, and can be
    mended further in the same FILE: what is loaded already is left out.

    With --as-is and no FILE, the open rejects are tried as they are, as after an upgrade or a new max_line_bytes.
    """
    from loader import pipeline, report
    from loader.replay import Request

    if (mended is None) != as_is:
        raise UsageError("give the FILE of mended lines that loader rejects export wrote, or --as-is.")
    if mended is not None and (every or file or reason):
        raise UsageError("--reason, --file and --all choose rejects for --as-is; with a FILE its lines are meant.")
    wanted, _ = gather(ctx, flags)
    with show_progress(ctx) as shown:
        found, again = pipeline.replay_rejects(wanted, Request(mended, Chosen(reason, file, every)), shown)
    if ctx.obj["json"]:
        write_json({**found.to_dict(), "replay": again.to_dict()})
    elif wanted.dry_run:
        if found.planned_files:
            click.echo(report.plan_tables(found), nl=False)
        inform(ctx, "dry run: nothing was loaded")
    else:
        text = report.summary(found, _warehouse(ctx)) if found.loads or found.recovered else ""
        inform(ctx, _said(again, as_is) + text, report=found.to_dict(), replay=again.to_dict())
    for warning in report.warnings(found, wanted.max_reject_share, _warehouse(ctx)):
        say(ctx, "warning", warning)
    ctx.exit(Exit.OK if as_is else _stay(ctx, again))


def _said(again: "Replay", as_is: bool) -> str:
    facts = []
    if as_is and again.stay:
        total = sum(again.stay.values())
        facts.append(f"{many(total, 'reject is', 'rejects are')} still no event ({counts(again.stay)})")
    if again.before:
        facts.append(f"{many(again.before, 'reject was', 'rejects were')} replayed before")
    if again.unchanged:
        facts.append(f"{many(again.unchanged, 'line is', 'lines are')} as before, and not tried")
    if again.left_out:
        facts.append(f"{many(again.left_out, 'reject')} can only be mended by hand")
    return f"replayed {many(again.rejects, 'reject')}{''.join('; ' + fact for fact in facts)}\n"


def _stay(ctx: click.Context, again: "Replay") -> Exit:
    """Tells what of a mended file is still no event; the exit code."""
    for line in again.told:
        say(ctx, "error", line)
    if not again.stay:
        return Exit.OK
    total = sum(again.stay.values())
    say(
        ctx,
        "error",
        f"{many(total, 'reject stays', 'rejects stay')} ({counts(again.stay)}). Mend on, and replay again.",
    )
    return Exit.LOOK if again.rejects or again.before else Exit.FAILED


def _warehouse(ctx: click.Context) -> str:
    """What to add to a command so that it means the same warehouse."""
    wanted, origins = gather(ctx, {})
    return f" --warehouse {shlex.quote(str(wanted.warehouse))}" if origins["warehouse"] == "--warehouse" else ""
