"""What all commands share: their common options, their streams, and how an exception ends as a message and a code."""

import errno
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from loader import failure, given, progress, settings
from loader.errors import Exit
from loader.settings import OPTIONS, Option, Settings

# The engine takes a third of a second to import: the commands do that, so that --help and --version need not wait.
if TYPE_CHECKING:
    import duckdb

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads that wait busily, for algebra

Command = TypeVar("Command", bound=Callable[..., Any])

CODES = {
    Exit.OK: "done (also: nothing new)",
    Exit.FAILED: "failed; what was loaded before stays",
    Exit.USAGE: "the command or a setting is not usable",
    Exit.LOOK: "loaded and published, but something needs a look: many rejects, a file not read, a model that failed",
    Exit.LOCKED: "another run holds the lock",
}
EPILOG = """Settings are taken from a flag, else from the environment (LOADER_ and the option's name), else from
loader.toml, else they have their default.\n\n\b\nExit codes:\n""" + "\n".join(
    f"  {code.value}  {text}" for code, text in CODES.items()
)
GRACE = 8  # seconds that a command has after Ctrl-C or SIGTERM
_STOPPED = "stopped by SIGTERM; what was committed stays, and the next run goes on from there"
_AT = {"load": None, "stage": None}  # in a JSON log, of what belongs to no load
CONTEXT = {"max_content_width": 120, "help_option_names": ["-h", "--help"]}


class Commands(click.Group):
    """The commands. Whatever one of them raises ends as a message on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        with _interruptions(ctx) as interruptions:
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.exceptions.Exit, click.Abort, SystemExit):
                raise
            except BaseException as error:
                if getattr(error, "errno", None) == errno.EPIPE:
                    raise  # `| head` has what it wanted: Click ends quietly
                cause = KeyboardInterrupt() if interruptions else error
                message, code = failure.explain(cause, ctx.obj.get("folder", Path()))
                if signal.SIGTERM in interruptions:
                    message, code = _STOPPED, failure.STOPPED
                say(ctx, "error", message)
                ctx.exit(code)


def text(value: str) -> str:
    """The type of an option or argument that is kept or shown. What is no UTF-8 on the command line is refused."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise click.BadParameter(f"{value!a} is not UTF-8.") from None
    return value


@contextmanager
def _interruptions(ctx: click.Context) -> Iterator[list[int]]:
    """Notes each Ctrl-C and SIGTERM: what comes of them is not a KeyboardInterrupt where the engine was at work or
    being imported. After one of them the process ends in time, whatever it is doing: a load survives that."""
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield seen  # called by another program
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):  # nohup, or in the background; a handler that is not Python's
            signal.signal(number, note)
    # While the main thread waits in a library, for a server, say, `note` is not called. This hears of signals at once.
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    wakeup = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    over = threading.Event()
    threading.Thread(target=_end_in_time, args=(ctx, ear, over), daemon=True).start()
    try:
        yield seen
    finally:
        if signal.SIGTERM not in seen:  # then the end of the process is waited for, too
            over.set()
        signal.set_wakeup_fd(wakeup)
        os.close(mouth)
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _end_in_time(ctx: click.Context, ear: int, over: threading.Event) -> None:
    """Ends the process GRACE seconds after the first Ctrl-C or SIGTERM that is heard, unless all is over by then."""
    with open(ear, "rb", buffering=0) as signals:
        while number := signals.read(1):
            if number[0] in (signal.SIGINT, signal.SIGTERM) and not over.wait(GRACE):
                message, code = failure.explain(KeyboardInterrupt(), Path())
                if number[0] == signal.SIGTERM:
                    message, code = _STOPPED, failure.STOPPED
                say(ctx, "error", message)
                os._exit(code)


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
    """An option for every setting but the warehouse, the sources, those that only some commands have, and those that
    the command goes without. Their values are read, with those of elsewhere, by `gather`."""
    without = (*without, "warehouse", "sources", "models", "compact_files")
    return _add(command, [option for option in OPTIONS if not option.section and option.name not in without])


def models_option(command: Command) -> Command:
    """The option for the user's models, of the commands that run them."""
    return _add(command, [option for option in OPTIONS if option.name == "models"])


def compact_option(command: Command) -> Command:
    """The option for how many small files there may be, of the commands that compact by it."""
    return _add(command, [option for option in OPTIONS if option.name == "compact_files"])


def resolving_options(command: Command) -> Command:
    """The options of the commands that resolve and do not load: what the engine may use, the models, who is who."""
    engine = [option for option in OPTIONS if option.name in ("memory_limit", "threads")]
    return _add(models_option(section_options("identity")(command)), engine)


def section_options(section: str) -> Callable[[Command], Command]:
    """An option for every setting of a table of loader.toml."""
    return lambda command: _add(command, [option for option in OPTIONS if option.section == section])


def _add(command: Command, options: Sequence[Option]) -> Command:
    for option in reversed(options):
        more: dict[str, Any] = {"metavar": "TEXT"}
        flag = option.flag
        if option.read is given.switch:
            more = {"is_flag": True, "default": None}
            flag += f"/--no-{option.flag.removeprefix('--')}" if option.lasting else ""
        elif option.read in (given.size, given.days, given.whole, given.count, given.share):
            more["metavar"] = {"size": "SIZE", "days": "DAYS"}.get(option.read.__name__, "NUMBER")
        elif option.read is given.conflict:
            more["metavar"] = "|".join(given.CONFLICTS)
        elif option.read is given.devices:
            more["metavar"] = "|".join(given.DEVICES)
        elif option.read is given.shared_device:
            more["metavar"] = "|".join(given.SHARED_DEVICE)
        elif option.read is given.folder:
            more["metavar"] = "DIR"
        elif option.name == "json_paths":
            more = {"metavar": "PATH", "multiple": True}
        elif option.read in (given.since, given.duration, given.seconds):
            more["metavar"] = {"since": "DATE", "duration": "TIME", "seconds": "SECONDS"}[option.read.__name__]
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
            **_AT,
            **(ctx.obj or {}).get("at", {}),
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


def say_failed(ctx: click.Context, models: Sequence[dict[str, Any]]) -> bool:
    """Says which of the user's models failed, and how; False if none did."""
    failed = [each["error"] for each in models if each["error"]]
    for error in failed:
        say(ctx, "error", error)
    return bool(failed)


def stdin_text() -> str:
    """What stdin says up to its end, also where it doesn't block. OSError where it is closed."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, "stdin is closed")
    with suppress(io.UnsupportedOperation):  # without a descriptor there is nothing to wait for
        os.set_blocking(sys.stdin.fileno(), True)  # else "nothing yet" would be taken for its end
    return sys.stdin.buffer.read().decode(errors="replace")


def write_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def show_progress(ctx: click.Context) -> AbstractContextManager[progress.Progress]:
    """What shows how far a command is. Lines of a JSON log have the load and the stage from then on."""
    if ctx.obj["log_format"] == "json":

        def begin(stage: str, done: int, total: int, load: int) -> None:
            ctx.obj["at"] = {"load": load or None, "stage": stage}
            if not ctx.obj["quiet"]:
                say(ctx, "info", "stage", bytes=done, of=total)

        return nullcontext(progress.stages(begin))
    return progress.bar() if sys.stderr.isatty() and not ctx.obj["quiet"] else nullcontext(progress.nothing)


def connect(ctx: click.Context) -> "duckdb.DuckDBPyConnection":
    from loader import warehouse

    wanted, _ = gather(ctx, {})
    return warehouse.connect(wanted.warehouse, wanted.engine_memory, wanted.threads)
