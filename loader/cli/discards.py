"""`loader discards`: the values that found no cell, and a second try for those of a column."""

from contextlib import closing

import click

from loader.cli.frame import common, connect, gather, inform, write_json
from loader.errors import Exit


@click.group()
def discards() -> None:
    """List values that found no cell; put them into their rows."""


@discards.command("list")
@common
@click.pass_context
def list_(ctx: click.Context) -> None:
    """Count the discards by table, column and reason.

    With the first value of each. Those that were replayed are left out.
    """
    from loader import discarded

    with closing(connect(ctx)) as connection:
        found = discarded.gather(connection)
    if ctx.obj["json"]:
        write_json(found)
    else:
        click.echo(discarded.write(found), nl=False)


@discards.command()
@click.argument("column", metavar="TABLE.COLUMN")
@common
@click.pass_context
def replay(ctx: click.Context, column: str) -> None:
    """Put a column's discarded values into their rows.

    Those that fit its type now: widen the column first. Values that still don't fit stay discards; then the exit code
    is 3.
    """
    from loader import pipeline, report

    wanted, _ = gather(ctx, {})
    done = pipeline.replay_discards(wanted, column)
    if ctx.obj["json"]:
        write_json(done.to_dict())
    name = f"{done.table}.{done.column}"
    if done.rewritten is None:
        inform(ctx, f"{name}: there is no discarded value of it to replay")
        return
    inform(
        ctx,
        f"load {done.load_id}: put {done.replayed:,} of {done.values:,} values into {name} ({done.new})\n"
        f"  rewritten  {report.rewriting(done.rewritten)}",
    )
    if done.replayed < done.values:
        ctx.exit(Exit.LOOK)
