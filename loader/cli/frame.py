"""What all commands share: their common options, their streams, and how an exception ends as a message and a code."""

import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from loader import failure, progress, settings
from loader.errors import Exit
from loader.settings import OPTIONS, Option, Settings

# The engine takes a third of a second to import: the commands do that, so that --help and --version need not wait.
if TYPE_CHECKING:
    import duckdb

Command = TypeVar("Command", bound=Callable[..., Any])

CODES = {
    Exit.OK: "done (also: nothing new)",
    Exit.FAILED: "failed; what was loaded before stays",
    Exit.USAGE: "the command or a setting is not usable",
    Exit.LOOK: "loaded and published, but something needs a look: many rejects, a file that could not be read",
    Exit.LOCKED: "another run holds the lock",
}
EPILOG = """Settings are taken from a flag, else from the environment (LOADER_ and the option's name), else from
loader.toml, else they have their default.\n\n\b\nExit codes:\n""" + "\n".join(
    f"  {code.value}  {text}" for code, text in CODES.items()
)
CONTEXT = {"max_content_width": 120, "help_option_names": ["-h", "--help"]}


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
                say(ctx, "error", message)
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


def common(command: Command) -> Command:
    """The options of every command, after its name."""
    return _add_common(command, at_root=False)


def common_first(command: Command) -> Command:
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


def setting_options(command: Command, without: Collection[str] = ()) -> Command:
    """An option for every setting but the warehouse, and those that the command goes without. Their values are read,
    with those of elsewhere, by `gather`."""
    return _add(command, [o for o in OPTIONS if not o.section and o.name not in (*without, "warehouse")])


def section_options(section: str) -> Callable[[Command], Command]:
    """An option for every setting of a table of loader.toml."""
    return lambda command: _add(command, [option for option in OPTIONS if option.section == section])


def _add(command: Command, options: Sequence[Option]) -> Command:
    for option in reversed(options):
        more: dict[str, Any] = {"metavar": "TEXT"}
        flag = option.flag
        if option.read is settings.switch:
            more = {"is_flag": True, "default": None}
            flag += f"/--no-{option.flag.removeprefix('--')}" if option.lasting else ""
        elif option.read in (settings.size, settings.days, settings.whole, settings.count, settings.share):
            more["metavar"] = {"size": "SIZE", "days": "DAYS"}.get(option.read.__name__, "NUMBER")
        elif option.read is settings.conflict:
            more["metavar"] = "|".join(settings.CONFLICTS)
        elif option.read is settings.devices:
            more["metavar"] = "|".join(settings.DEVICES)
        elif option.read is settings.shared_device:
            more["metavar"] = "|".join(settings.SHARED_DEVICE)
        elif option.name == "json_paths":
            more = {"metavar": "PATH", "multiple": True}
        text = f"{option.help} [{option.variable}; default: {option.default}]"
        command = click.option(flag, option.name, help=text, **more)(command)
    return command


def gather(ctx: click.Context, flags: dict[str, Any]) -> tuple[Settings, dict[str, str]]:
    """The settings in force for the command, and where each comes from."""
    given = ctx.obj
    file = settings.config_file(given["config"])
    wanted, origins = settings.gather({**flags, "warehouse": given["warehouse"]}, os.environ, file)
    given["folder"] = wanted.warehouse
    return wanted, origins


# --- streams ----------------------------------------------------------------------------------------------------------


def say(ctx: click.Context, level: str, message: str, **fields: Any) -> None:
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


def inform(ctx: click.Context, message: str, **fields: Any) -> None:
    """A summary on stderr, unless --quiet or --json."""
    if not ctx.obj["quiet"] and not ctx.obj["json"]:
        say(ctx, "info", message, **fields)


def write_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def show_progress(ctx: click.Context) -> AbstractContextManager[progress.Progress]:
    if ctx.obj["quiet"]:
        return nullcontext(progress.nothing)
    if ctx.obj["log_format"] == "json":
        return nullcontext(progress.stages(lambda *at: say(ctx, "info", "stage", **progress.fields(*at))))
    return progress.bar() if sys.stderr.isatty() else nullcontext(progress.nothing)


def connect(ctx: click.Context) -> "duckdb.DuckDBPyConnection":
    from loader import warehouse

    wanted, _ = gather(ctx, {})
    return warehouse.connect(wanted.warehouse, wanted.engine_memory, wanted.threads)
