"""What the benchmarks are held to, and how it is told: the table of targets, what a run found, and the page of runs.

Nothing is asserted: a target that is missed is shown as missed. Runs are compared by the findings, which are ratios but
for a few, and only at the same number of events.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HISTORY = Path(__file__).resolve().parent / "history"
SHOWN = 6  # runs on the page, the newest first


@dataclass(frozen=True, slots=True)
class Target:
    """What is found under a name. bound: the most that it should be, with `at_least` the least; None: only told."""

    name: str
    what: str
    unit: str
    bound: float | None = None
    at_least: bool = False

    def is_met(self, value: float) -> bool | None:
        """Whether the value is within the bound; None where there is none."""
        if self.bound is None:
            return None
        return value >= self.bound if self.at_least else value <= self.bound

    def show(self, value: float) -> str:
        """The value in its unit, with two decimals where they say something."""
        return f"{value:,.{0 if abs(value) >= 20 else 2}f} {self.unit}"

    def limit(self) -> str:
        """The bound in words."""
        return "" if self.bound is None else f"{'≥' if self.at_least else '≤'} {self.bound:,g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured for a target, with so many events."""

    target: str
    events: int
    value: float


TARGETS = {
    target.name: target
    for target in (
        Target("cold", "cold load : DuckDB's lossless conversion", "x", 0.6),
        Target("cold_sampled", "cold load : DuckDB's sampled conversion", "x", 1.5),
        Target("known", "second load : cold load", "x", 1.05),
        Target("gzip", "gzip : plain", "x", 1.2),
        Target("cores", "CPU in use, 8 files", "%", 85, at_least=True),
        Target("dlt", "dlt, a table for each name : cold load, an event", "x", 80, at_least=True),
        Target("dlt_one_table", "dlt, one table : cold load, an event", "x"),
        Target("dlt_plain", "dlt as installed, a table for each name : cold load, an event", "x"),
        Target("memory", "peak with memory_limit = 2GB", "GB", 3.2),
        Target("memory_time", "memory_limit = 2GB : a tenth of it without limit, an event", "x", 1.2),
        Target("history", "load into 20 times its events : into nothing", "x", 1.2),
        Target("version", "loader --version", "s", 0.25),
        Target("status", "loader status, 1,000 tables", "s", 1),
        Target("tables", "a table of 1,000, in a load of one date", "ms", 30),
        Target("query", "query over the views : over one Parquet file", "x", 1.3),
        Target("nothing_new", "run with nothing new", "s", 1.5),
        Target("bucket", "objects of a bucket : files", "x", 1.3),
        Target("resolve_history", "resolve a night on 10 times the history : on the history", "x", 1.5),
        Target("resolve_chain", "resolve a chain of aliases : ordinary events, an event", "x"),
        Target("resolve_star", "resolve a star of devices : ordinary events, an event", "x"),
        Target("resolve_kiosks", "resolve kiosks : ordinary events, an event", "x"),
        Target("resolve_memory", "peak of these three with memory_limit = 1GB", "GB", 2),
    )
}


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios within a repetition, which need not be the ratio of the medians."""
    return median(a / b for a, b in zip(values, others, strict=True))


def table(found: Sequence[Finding], last: Mapping[tuple[str, int], float]) -> str:
    """The findings in the order of the targets, beside the target and the last value kept, with now : then."""
    rows = [["", "events", "measured", "target", "met", "last kept", "now : then"]]
    for finding in in_order(found):
        target = TARGETS[finding.target]
        then = last.get((finding.target, finding.events))
        rows.append(
            [
                target.what,
                f"{finding.events:,}",
                target.show(finding.value),
                target.limit(),
                {True: "yes", False: "NO", None: ""}[target.is_met(finding.value)],
                "" if then is None else target.show(then),
                f"{finding.value / then:.2f}" if then else "",
            ]
        )
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """The findings in the order of the targets, then by number of events."""
    place = {name: at for at, name in enumerate(TARGETS)}
    return sorted(found, key=lambda finding: (place[finding.target], finding.events))


# --- runs that are kept -----------------------------------------------------------------------------------------------


def kept(folder: Path = HISTORY) -> dict[str, list[Finding]]:
    """The findings of the runs that are kept, oldest first, by date; none of a target that is no more."""
    runs = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stem):
        found = [Finding(**each) for each in json.loads(path.read_text())["findings"]]
        runs[path.stem] = [finding for finding in found if finding.target in TARGETS]
    return runs


def last(runs: Mapping[str, Sequence[Finding]]) -> dict[tuple[str, int], float]:
    """The newest value for each target and number of events."""
    return {(finding.target, finding.events): finding.value for found in runs.values() for finding in found}


def file_for(date: str, folder: Path = HISTORY) -> Path:
    """The file of a new run of that date; runs of one date are numbered from the second on."""
    path, number = folder / f"{date}.json", 1
    while path.exists():
        number += 1
        path = folder / f"{date}-{number}.json"
    return path


def page(runs: Mapping[str, Sequence[Finding]]) -> str:
    """A Markdown table: a row for each target and number of events, a column for each of the newest runs."""
    if not runs:
        return "No run is kept yet: `make bench ARGS=--save` keeps one."
    newest = list(runs)[: -SHOWN - 1 : -1]
    values = {(name, *key): value for name in newest for key, value in last({name: runs[name]}).items()}
    rows = ["| | events | target | " + " | ".join(newest) + " |", "|---|---|---|" + "---|" * len(newest)]
    for finding in in_order(Finding(target, events, 0) for target, events in {key[1:] for key in values}):
        target = TARGETS[finding.target]
        cells = [_cell(target, values.get((name, finding.target, finding.events))) for name in newest]
        rows.append(f"| {target.what} | {finding.events:,} | {target.limit()} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(target: Target, value: float | None) -> str:
    """A value, bold where it misses its target."""
    if value is None:
        return ""
    return f"**{target.show(value)}**" if target.is_met(value) is False else target.show(value)
