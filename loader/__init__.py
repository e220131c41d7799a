"""Batch loader of customer events: NDJSON in files or a bucket to typed Delta tables and a DuckDB file of views."""

from loader.pipeline import run
from loader.report import Report
from loader.settings import Settings

__all__ = ["Report", "Settings", "run"]
