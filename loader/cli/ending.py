"""How the end of a load is told: summary, warnings, the webhook, the exit code."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from loader import failure
from loader.cli.frame import inform, say, write_json
from loader.errors import Exit, UsageError
from loader.settings import Settings

if TYPE_CHECKING:
    from loader.report import Report

_FILES = 20  # that could not be read and are named one by one


def need_sources(wanted: Settings) -> Settings:
    """The settings. UsageError where they name no source."""
    if not wanted.sources:
        raise UsageError("no SOURCE: give files, folders or places in buckets, or set `sources` in loader.toml.")
    return wanted


@contextmanager
def notifying(ctx: click.Context, wanted: Settings) -> Iterator[None]:
    """Tells the webhook of what ends the command; not of a Ctrl-C, and not of a run that another one keeps out."""
    try:
        yield
    except Exception as error:
        message, code = failure.explain(error, wanted.warehouse)
        if code not in (Exit.LOCKED, failure.INTERRUPTED):
            _notify(ctx, wanted, code, [message], None)
        raise


def finish(ctx: click.Context, wanted: Settings, origins: Mapping[str, str], found: "Report") -> None:
    """Writes what was done, tells the webhook what needs a look, and ends the command."""
    from loader import report

    at = f" --warehouse {shlex.quote(str(wanted.warehouse))}" if origins["warehouse"] == "--warehouse" else ""
    code = _exit_code(found, wanted.max_reject_share)
    if ctx.obj["json"]:
        write_json(found.to_dict())
    elif wanted.dry_run:
        if found.planned_files:
            click.echo(report.plan_tables(found), nl=False)
        inform(ctx, f"dry run: nothing was loaded. Files that were loaded before: {found.known_files:,}")
    elif text := report.summary(found, at):
        inform(ctx, text, report=found.to_dict())
    warnings = report.warnings(found, wanted.max_reject_share, at)
    for warning in warnings:
        say(ctx, "warning", warning)
    errors = report.unread(found, _FILES) + [each["error"] for each in found.models if each["error"]]
    for error in errors:
        say(ctx, "error", error)
    reasons = [*warnings, *errors, *report.schema_changes(found)]
    if reasons:
        _notify(ctx, wanted, code, reasons, found)
    ctx.exit(code)


def _exit_code(found: "Report", max_reject_share: float) -> Exit:
    from loader import report

    if report.too_many_rejects(found, max_reject_share) or any(each["error"] for each in found.models):
        return Exit.LOOK
    if not found.unread:
        return Exit.OK
    return Exit.LOOK if found.files or found.planned_files or found.known_files else Exit.FAILED


def _notify(ctx: click.Context, wanted: Settings, code: int, reasons: list[str], found: "Report | None") -> None:
    if wanted.webhook is None or wanted.dry_run:
        return
    from loader import notify

    summary = {
        "text": f"loader {ctx.info_name}: {' '.join(reasons)}",
        "command": ctx.info_name,
        "warehouse": str(wanted.warehouse.absolute()),
        "exit": int(code),
        "reasons": reasons,
        "report": found.to_dict() if found else None,
    }
    if why := notify.post(wanted.webhook, summary):
        say(ctx, "warning", f"the webhook was not told: {why}. Check [notify] in loader.toml.")
