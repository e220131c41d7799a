"""A load on a disk that is full, at every amount of free space. Prints one line of JSON for each.

    python -m tests.small_disk FOLDER KB...    FOLDER: a warehouse of one load, and in/2

Where the system lets a user mount, FOLDER/disk is a file system of 8 MB that is filled up but for so many KB. Where it
doesn't, no file may be larger than that (`ulimit -f`).
"""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import loader
from tests import test_store

MOUNT = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"']


def main() -> None:
    folder, *sizes = sys.argv[1:]
    disk = Path(folder) / "disk"
    if "SMALL_DISK" not in os.environ:
        disk.mkdir()
        command = [sys.executable, "-m", "tests.small_disk", *sys.argv[1:]]
        mounted = subprocess.run([*MOUNT, str(disk), "true"], capture_output=True).returncode == 0
        environment = {**os.environ, "SMALL_DISK": "disk" if mounted else "limit"}
        sys.exit(subprocess.run([*MOUNT, str(disk), *command] if mounted else command, env=environment).returncode)
    beginning = Path(folder) / "beginning"
    for size in map(int, sizes):
        shutil.rmtree(disk / "warehouse", ignore_errors=True)
        shutil.copytree(beginning, disk, dirs_exist_ok=True)
        test_store.run(disk)
        before = test_store.content(disk)
        command = [sys.executable, "-m", "loader", "load", str(disk / "in" / "2")]
        command += ["--warehouse", str(disk / "warehouse")]
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        if os.environ["SMALL_DISK"] == "disk":
            (disk / "ballast").write_bytes(bytes(max(shutil.disk_usage(disk).free - size * 1000, 0)))
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size * 1000, limit[1]))
        done = subprocess.run(command, capture_output=True, text=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        stays = test_store.content(disk) == before
        (disk / "ballast").unlink(missing_ok=True)
        unfinished = [path.name for path in (disk / "warehouse").glob("*.part*")]
        report: loader.Report = test_store.run(disk, "2")
        print(
            json.dumps(
                {
                    "code": done.returncode,
                    "message": done.stderr.replace(str(disk), "DISK"),
                    "stays": stays,
                    "unfinished": unfinished,
                    "certain": bool(report.recovered),
                    "content": repr(test_store.content(disk)),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
