"""`loader vacuum`: the files that nothing needs any more go."""

import click

from loader import given
from loader.cli.frame import common, gather, inform, write_json
from loader.errors import UsageError
from loader.text import many, size


@click.command()
@click.option(
    "--retain",
    metavar="DAYS",
    default="7d",
    envvar="LOADER_RETAIN",
    help="Keep every version of that time, at least 1d. [LOADER_RETAIN; default: 7d]",
)
@common
@click.pass_context
def vacuum(ctx: click.Context, retain: str) -> None:
    """Remove files that are not needed any more.

    Files that no version of the last days needs, and nothing that is published: what was compacted, replaced or undone
    before, and what runs that died had begun to write. After that `loader restore`, time travel, and readers that had
    warehouse.duckdb open for longer, do not find them.
    """
    from loader import pipeline

    try:
        days = given.retention(retain)
    except ValueError as error:
        raise UsageError(f"--retain: {retain!r} is not usable. It takes {error}.") from None
    wanted, _ = gather(ctx, {})
    done = pipeline.vacuum(wanted, days)
    if ctx.obj["json"]:
        write_json(done.to_dict())
    inform(ctx, f"removed {many(done.files, 'file')}, {size(done.bytes)}; kept all versions of {many(days, 'day')}")
