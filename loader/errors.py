"""What can stop a run, and the exit code that each ending has."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line (architecture.md, "Command line")."""

    OK = 0
    FAILED = 1
    USAGE = 2
    LOOK = 3
    LOCKED = 4


class LoaderError(Exception):
    """The run cannot go on. The message says what, where and what to do next."""

    exit = Exit.FAILED


class UsageError(LoaderError):
    """The command, a setting or a path is not usable as given."""

    exit = Exit.USAGE


class LockedError(LoaderError):
    """Another run holds the warehouse's lock."""

    exit = Exit.LOCKED
