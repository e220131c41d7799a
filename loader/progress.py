"""What a run shows while it works: a bar on a terminal, lines in a JSON log, else nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int, int], None]  # stage, bytes read, bytes there are (0: not known), load (0: none)


def nothing(stage: str, done: int, total: int, load: int) -> None:
    """Shows nothing."""


@contextmanager
def bar() -> Iterator[Progress]:
    """A bar on stderr, gone at the end: the stage, the bytes read of those there are, the speed, the time."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("start", total=None)

        def progress(stage: str, done: int, total: int, load: int) -> None:
            if total:
                shown.update(task, description=stage, completed=done, total=max(total, done))
            else:
                shown.update(task, description=stage)

        yield progress


def stages(begin: Callable[[str, int, int, int], None]) -> Progress:
    """Calls `begin` each time that a new stage begins."""
    last = ("", 0)

    def progress(stage: str, done: int, total: int, load: int) -> None:
        nonlocal last
        if (stage, load) != last:
            last = (stage, load)
            begin(stage, done, total, load)

    return progress
