"""`loader restore`: the warehouse as an earlier load left it."""

from dataclasses import asdict

import click

from loader.cli.frame import common, gather, inform, write_json
from loader.text import many


@click.command()
@click.argument("load_id", metavar="LOAD", type=click.IntRange(1))
@common
@click.pass_context
def restore(ctx: click.Context, load_id: int) -> None:
    """Put the warehouse back to an earlier load.

    LOAD is a load_id; `loader status` lists the last ones. The files of the loads after it count as not loaded, so the
    next run loads those that are still there. It needs the old files of the tables, which a vacuum takes after some
    days; until then it can be undone, by restoring a load that it undid.
    """
    from loader import pipeline

    wanted, _ = gather(ctx, {})
    done = pipeline.restore(wanted, load_id)
    if ctx.obj["json"]:
        write_json(asdict(done))
    if not done.undone and not done.again:
        inform(ctx, f"nothing to do: that is the state of load {done.restored}")
        return
    lines = [f"restored load {done.restored}, as load {done.load}"]
    lines += [
        f"{what}: {', '.join(map(str, loads))}"
        for what, loads in (("undone", done.undone), ("in force again", done.again))
        if loads
    ]
    if done.files:
        lines.append(f"{many(done.files, 'file')} {'counts' if done.files == 1 else 'count'} as not loaded")
    inform(ctx, "\n".join(lines))
