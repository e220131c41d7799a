"""Batch loader of customer events: NDJSON in files or a bucket to typed Delta tables and a DuckDB file of views."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loader.pipeline import run
    from loader.report import Report
    from loader.settings import Settings

__all__ = ["Report", "Settings", "run"]

_HOME = {"run": "loader.pipeline", "Report": "loader.report", "Settings": "loader.settings"}


def __getattr__(name: str) -> Any:
    """Imports the engine when it is asked for: `loader --help` does without."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
