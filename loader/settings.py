"""Every default and limit of a run, in one frozen object."""

import os
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's limit if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one command. Sizes are bytes, windows days; None means: no limit, or worked out when needed.

    warehouse: the folder that holds the warehouse. sources: files, folders, globs, `-`, in the order given.
    source: the name that `loader.files.source` gets; None takes it from the path.
    memory_limit: what the engine may use; None is 60 % of the machine's. max_load_bytes: input of one load;
    None is a third of the memory limit. dedup_window_days: None compares with all that was ever loaded.
    """

    warehouse: Path = Path("warehouse")
    sources: tuple[str, ...] = ()
    source: str | None = None
    # what becomes of an event (stored at the first load where they change names or types)
    skip_tracks_table: bool = False
    skip_users_table: bool = False
    store_full_event: bool = False
    underscore_divide_numbers: bool = False
    allow_users_context_traits: bool = False
    json_paths: tuple[str, ...] = ()
    dedup_window_days: int | None = 30
    # limits
    memory_limit: int | None = None
    max_load_bytes: int | None = None
    max_line_bytes: int = 32 * MIB
    max_columns: int = 1600
    max_event_tables: int = 1000
    threads: int | None = None
    # what a run may do
    accept_new_rules: bool = False
    reload: bool = False
    dry_run: bool = False

    @property
    def engine_memory(self) -> int:
        """Bytes that the engine may use."""
        return self.memory_limit or int(machine_memory() * 0.6)

    @property
    def load_bytes(self) -> int:
        """Bytes of (uncompressed) input that one load takes, a file more at the most."""
        return self.max_load_bytes or max(self.engine_memory // 3, 64 * MIB)


# The settings that change names or types: the warehouse keeps those of its first load (warehouse-schema.md, 2).
RULES = (
    "skip_tracks_table",
    "store_full_event",
    "underscore_divide_numbers",
    "allow_users_context_traits",
    "json_paths",
)
