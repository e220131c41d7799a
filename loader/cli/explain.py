"""`loader explain`: why ids are one person, or are not."""

from contextlib import closing

import click

from loader.cli.frame import common, connect, text, write_json


@click.command()
@click.argument("id_", metavar="ID", type=text)
@click.argument("other", metavar="[ID]", required=False, type=text)
@common
@click.pass_context
def explain(ctx: click.Context, /, id_: str, other: str | None) -> None:
    """Show who an ID is, or why two are one person.

    One ID: the ids of its person, and what ties them; ties that do not count, and why. Two: the shortest way from one
    to the other, or the reason that they are not the same person. Each tie comes with its first event, and that with
    its file and line. Times are UTC.

    An ID is user_id:A, anonymous_id:D, bare where events have it as one of the two only, or a person_id.
    """
    from loader import explain as explains
    from loader import explained

    with closing(connect(ctx)) as connection:
        found = explains.two(connection, id_, other) if other is not None else explains.one(connection, id_)
    if ctx.obj["json"]:
        write_json(found)
    else:
        click.echo(explained.write_two(found) if other is not None else explained.write_one(found), nl=False)
