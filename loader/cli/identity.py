"""`loader resolve` and `loader identity`: who is who, and what the operator says of it."""

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from loader.cli.frame import (
    common,
    connect,
    gather,
    inform,
    resolving_options,
    say,
    say_failed,
    text,
    write_json,
)
from loader.errors import Exit

if TYPE_CHECKING:
    from loader.report import Report


@click.command()
@click.option("--full", is_flag=True, envvar="LOADER_FULL", help="Look at all events anew. [LOADER_FULL]")
@click.option(
    "--verify", is_flag=True, envvar="LOADER_VERIFY", help="Resolve all beside, show what differs. [LOADER_VERIFY]"
)
@resolving_options
@common
@click.pass_context
def resolve(ctx: click.Context, /, full: bool, verify: bool, **flags: Any) -> None:
    """Work out who is who up to the last load, and publish it.

    Only what is new is looked at, unless --full says so: that keeps the ids of persons, too. --verify changes nothing;
    where a table differs from one made anew the exit code is 3.
    """
    from loader import pipeline, report

    wanted, _ = gather(ctx, flags)
    if verify:
        found = pipeline.verify(wanted)
        differing = {name: rows for name, rows in (found.differences or {}).items() if rows}
        if ctx.obj["json"]:
            write_json(found.to_dict())
        for name, rows in differing.items():
            say(ctx, "warning", f"{name}: {rows:,} rows differ from those made of all events anew")
        inform(ctx, f"verified {report.resolution(found.to_dict())}: {len(differing)} tables differ")
        ctx.exit(Exit.LOOK if differing else Exit.OK)
    done = pipeline.resolve_only(wanted, complete=full)
    _tell(ctx, done, f"resolved {report.resolution(done.resolved)}" if done.resolved else "nothing new to resolve")


def _tell(ctx: click.Context, done: "Report", words: str) -> None:
    """Says what resolving came to, and ends the command."""
    from loader import report

    if ctx.obj["json"]:
        write_json({"resolved": done.resolved, "models": done.models})
    inform(ctx, f"{words}\n{report.modelling(done.models)}")
    ctx.exit(Exit.LOOK if say_failed(ctx, done.models) else Exit.OK)


@click.group()
def identity() -> None:
    """Say who is who, and see where it is in doubt.

    An ID is user_id:A or anonymous_id:D; a bare one will do where events have it as one of the two only.
    """


def _ruling(action: str, ids: int, help_: str) -> click.Command:
    def command(ctx: click.Context, /, names: tuple[str, ...], reason: str | None, undo: bool, **flags: Any) -> None:
        _rule(ctx, action, names, reason, undo, flags)

    command.__doc__ = help_
    decorated: Callable[..., Any] = click.pass_context(command)
    for wrap in (
        common,
        resolving_options,
        click.option("--undo", is_flag=True, envvar="LOADER_UNDO", help="Take the rule back. [LOADER_UNDO]"),
        click.option(
            "--reason", type=text, metavar="TEXT", envvar="LOADER_REASON", help="Kept with the rule. [LOADER_REASON]"
        ),
        click.argument(
            "names",
            metavar=" ".join(["ID"] * ids),
            nargs=ids,
            type=text,
            callback=lambda _, __, v: (v,) if ids == 1 else v,
        ),
    ):
        decorated = wrap(decorated)
    return click.command(action)(decorated)


identity.add_command(
    _ruling(
        "block", 1, "Let an id be nobody's.\n\nIts events stay, and their other ids count. Applies to the past, too."
    )
)
identity.add_command(
    _ruling("link", 2, "Two ids are one person.\n\nTwo user ids, or a user id and a device. Applies to the past, too.")
)
identity.add_command(
    _ruling(
        "unlink",
        2,
        "What ties two ids does not count.\n\nNo event or alias between them does. Applies to the past, too.",
    )
)


def _rule(
    ctx: click.Context, action: str, names: tuple[str, ...], reason: str | None, undo: bool, flags: dict[str, Any]
) -> None:
    from loader import pipeline, report, rules

    with closing(connect(ctx)) as connection:
        ids = [rules.find(connection, name) for name in names]
    wanted, _ = gather(ctx, flags)
    done = pipeline.resolve_only(wanted, change=lambda known: rules.made(known, action, ids, reason, undo=undo))
    words = f"{action} {' '.join(map(rules.shown, ids))}{' --undo' if undo else ''}"
    _tell(ctx, done, f"{words}: resolved {report.resolution(done.resolved)}" if done.resolved else words)


@identity.command("rules")
@common
@click.pass_context
def rules_(ctx: click.Context) -> None:
    """List the rules in force."""
    from loader import doubts

    with closing(connect(ctx)) as connection:
        found = doubts.rules(connection)
    if ctx.obj["json"]:
        write_json(found)
    else:
        click.echo(doubts.write_rules(found), nl=False)


@identity.command()
@common
@click.pass_context
def conflicts(ctx: click.Context) -> None:
    """Show where it is in doubt who is who.

    Devices of several persons, user ids with too many aliases, persons of more than 50 user ids, ids that are nobody's,
    aliases in a circle. Each with how many persons and events it is about, and some of the events.
    """
    from loader import doubts

    with closing(connect(ctx)) as connection:
        found = doubts.conflicts(connection)
    if ctx.obj["json"]:
        write_json(found)
    else:
        click.echo(doubts.write_conflicts(found), nl=False)
