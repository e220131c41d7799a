"""What the benchmarks tell: ratios, targets met and missed, a run against the last, and the page of runs."""

import json
from pathlib import Path

import pytest

from benchmarks.measure import ROOT, Bench, Run, cases_table, summary
from benchmarks.report import TARGETS, Finding, Target, file_for, in_order, kept, last, page, ratio, table


def _run(case: str, events: int, repetition: int, wall: float, cpu: float = 1.0, peak: int = 1_000_000) -> Run:
    return Run(case, events, 0, repetition, wall, cpu, peak)


def test_a_ratio_is_taken_within_a_repetition() -> None:
    # The second repetition was disturbed, for both: of the medians the ratio would be 2.5.
    assert ratio([1.0, 10.0, 5.0], [2.0, 20.0, 1.0]) == 0.5
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target("a", "", "x", 0.6), 0.6, True),
        (Target("a", "", "x", 0.6), 0.61, False),
        (Target("a", "", "%", 85, at_least=True), 85, True),
        (Target("a", "", "%", 85, at_least=True), 84.9, False),
        (Target("a", "", "x"), 5, None),
    ],
)
def test_a_target_is_met_at_its_bound(target: Target, value: float, met: bool | None) -> None:
    assert target.is_met(value) is met


def test_a_value_is_shown_with_decimals_that_say_something() -> None:
    assert [Target("a", "", "ms").show(value) for value in (0.583, 19.994, 20.4, 1234.5)] == [
        "0.58 ms",
        "19.99 ms",
        "20 ms",
        "1,234 ms",
    ]
    assert Target("a", "", "x", 0.6).limit() == "≤ 0.6 x"
    assert Target("a", "", "%", 85, at_least=True).limit() == "≥ 85 %"
    assert Target("a", "", "x").limit() == ""


def test_every_target_of_the_project_has_a_benchmark() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "report")
    looped = {f"resolve_{case}" for case in ("chain", "star", "kiosks")}
    assert [name for name in TARGETS if f'"{name}"' not in sources and name not in looped] == []


def test_only_what_has_a_target_is_found(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [10], 1)
    bench.find("cold", 10, 0.5)
    assert bench.found == [Finding("cold", 10, 0.5)]
    with pytest.raises(KeyError):
        bench.find("warm", 10, 0.5)


def test_the_table_compares_with_the_last_of_that_size() -> None:
    found = [Finding("version", 1000, 0.2), Finding("cold", 1000, 0.75), Finding("cold", 500_000, 0.5)]
    shown = table(found, {("cold", 500_000): 0.4, ("cold", 20_000): 0.1})
    assert shown.splitlines() == [
        "                                           events  measured    target  met  last kept  now : then",
        "cold load : DuckDB's lossless conversion    1,000    0.75 x   ≤ 0.6 x   NO",
        "cold load : DuckDB's lossless conversion  500,000    0.50 x   ≤ 0.6 x  yes     0.40 x        1.25",
        "loader --version                            1,000    0.20 s  ≤ 0.25 s  yes",
    ]


def test_findings_come_in_the_order_of_the_targets() -> None:
    found = [Finding("query", 2, 1), Finding("cold", 9, 1), Finding("cold", 2, 1)]
    assert [(each.target, each.events) for each in in_order(found)] == [("cold", 2), ("cold", 9), ("query", 2)]


def _keep(folder: Path, date: str, *found: tuple[str, int, float]) -> None:
    findings = [{"target": target, "events": events, "value": value} for target, events, value in found]
    file_for(date, folder).write_text(json.dumps({"findings": findings, "benchmarks": []}))


def test_runs_are_kept_by_date_and_the_last_counts(tmp_path: Path) -> None:
    _keep(tmp_path, "2026-12-01", ("cold", 10, 0.9), ("gzip", 10, 1.1), ("a_target_of_before", 10, 1.0))
    _keep(tmp_path, "2026-11-30", ("cold", 10, 0.8))
    _keep(tmp_path, "2026-12-01", ("cold", 10, 0.7))
    runs = kept(tmp_path)
    assert list(runs) == ["2026-11-30", "2026-12-01", "2026-12-01-2"]
    assert runs["2026-12-01"] == [Finding("cold", 10, 0.9), Finding("gzip", 10, 1.1)]
    assert last(runs) == {("cold", 10): 0.7, ("gzip", 10): 1.1}


def test_the_page_has_the_newest_run_first_and_misses_bold() -> None:
    runs = {
        "2026-11-30": [Finding("cold", 500_000, 0.7), Finding("cores", 500_000, 90.0)],
        "2026-12-01": [Finding("cold", 500_000, 0.6)],
    }
    assert page(runs).splitlines() == [
        "| | events | target | 2026-12-01 | 2026-11-30 |",
        "|---|---|---|---|---|",
        "| cold load : DuckDB's lossless conversion | 500,000 | ≤ 0.6 x | 0.60 x | **0.70 x** |",
        "| CPU in use, 8 files | 500,000 | ≥ 85 % |  | 90 % |",
    ]
    many = {f"2026-12-{day:02d}": [Finding("cold", 1, 1.0)] for day in range(1, 10)}
    assert (
        page(many).splitlines()[0]
        == "| | events | target | " + " | ".join(f"2026-12-{day:02d}" for day in range(9, 3, -1)) + " |"
    )
    assert page({}).startswith("No run is kept yet")


def test_a_case_is_compared_with_its_peer_of_that_size() -> None:
    runs = [
        *(_run("load", 10, i, wall, cpu=4.0, peak=3_000_000) for i, wall in enumerate((2.0, 9.0, 3.0))),
        *(_run("peer", 10, i, wall, cpu=2.0) for i, wall in enumerate((1.0, 9.0, 2.0))),
        _run("load", 20, 1, 5.0),
    ]
    rows = summary(runs, lambda _: "peer")
    assert [(row["case"], row["events"], row["wall_seconds"], row["wall_seconds_ratio"]) for row in rows] == [
        ("load", 10, 3.0, 1.5),
        ("peer", 10, 2.0, 1.0),
        ("load", 20, 5.0, None),
    ]
    assert [(row["cpu_seconds_ratio"], row["peak_bytes_ratio"]) for row in rows[:1]] == [(2.0, 3.0)]
    assert cases_table(rows).splitlines()[1:] == [
        "        10  load                             3.00     4.00        3    1.50x    2.00x    3.00x",
        "        10  peer                             2.00     2.00        1    1.00x    1.00x    1.00x",
        "        20  load                             5.00     1.00        1",
    ]


def test_what_an_event_takes_is_of_the_wall_clock(tmp_path: Path) -> None:
    runs = [_run("load", 10, 1, 5.0), _run("load", 10, 2, 20.0), _run("load", 5, 1, 5.0)]
    bench = Bench(tmp_path, [10], 2, runs)
    assert bench.an_event("load", 10) == [0.5, 2.0]
    assert bench.figures("load", 5, "peak_bytes") == [1_000_000]
