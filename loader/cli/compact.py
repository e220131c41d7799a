"""`loader compact`: one file of the small ones of a day."""

import click

from loader.cli.frame import common, gather, inform, write_json


@click.command()
@click.argument("tables", metavar="[TABLE]...", nargs=-1)
@common
@click.pass_context
def compact(ctx: click.Context, tables: tuple[str, ...]) -> None:
    """Make few files of many small ones.

    TABLE is a name, such as tracks or loader.files; without any it is all tables. Of each past day the files below
    128 MiB become one, with rows in order of timestamp. No row changes, and readers keep what they have open: the old
    files stay until a `loader vacuum`. `loader run` compacts by itself, see --compact-files.
    """
    from loader import pipeline, report

    wanted, _ = gather(ctx, {})
    done = [each.to_dict() for each in pipeline.compact(wanted, tables)]
    if ctx.obj["json"]:
        write_json(done)
    inform(ctx, report.compaction(done) if done else "nothing to do: no past day has more than one small file")
