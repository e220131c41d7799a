"""`loader widen`: a wider type for a column that holds values."""

import click

from loader.cli.frame import common, gather, inform, write_json


@click.command()
@click.argument("column", metavar="TABLE.COLUMN")
@click.argument("type_", metavar="TYPE", type=click.Choice(["DOUBLE", "VARCHAR", "JSON"], case_sensitive=False))
@common
@click.pass_context
def widen(ctx: click.Context, column: str, type_: str) -> None:
    """Give a column a wider type, old rows included.

    TYPE is DOUBLE (for a BIGINT whose values it holds), VARCHAR (each value's text) or JSON. The table is written anew.
    Then `loader discards replay` puts the values that did not fit before into their rows.
    """
    from loader import pipeline, report

    wanted, _ = gather(ctx, {})
    done = pipeline.widen(wanted, column, type_)
    if ctx.obj["json"]:
        write_json(done.to_dict())
    name = f"{done.table}.{done.column}"
    if done.rewritten is None:
        inform(ctx, f"{name}: is {done.new} already")
        return
    inform(
        ctx,
        f"load {done.load_id}: {name} was {done.old}, is {done.new}\n  rewritten  {report.rewriting(done.rewritten)}",
    )
