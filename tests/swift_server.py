"""OpenStack Swift with its S3 API: what it needs to run in one folder, and one of its four servers as a process.

`python -m tests.swift_server FOLDER PORTS USER` prepares the folder; `... FOLDER ROLE` is a server.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

ROLES = ("account", "container", "object", "proxy")
KEY, SECRET, REGION = "test:tester", "swift-secret-of-the-tests", "us-east-1"

_ALL = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
workers = 0
log_level = ERROR
"""
_STORE = """[pipeline:main]
pipeline = {role}-server
[app:{role}-server]
use = egg:swift#{role}
"""
_PROXY = f"""[pipeline:main]
pipeline = catch_errors gatekeeper s3api tempauth proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:s3api]
use = egg:swift#s3api
location = {REGION}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {SECRET} .admin
"""
_SWIFT = """[swift-hash]
swift_hash_path_suffix = tests
[storage-policy:0]
name = only
default = yes
"""


def prepare(folder: Path, ports: Mapping[str, int], user: str) -> None:
    """Writes the settings and the rings of one device in the folder."""
    from swift.common.ring import RingBuilder

    (folder / "devices/one").mkdir(parents=True)
    (folder / "swift.conf").write_text(_SWIFT)
    for role, port in ports.items():
        settings = _ALL.format(port=port, folder=folder, user=user)
        (folder / f"{role}.conf").write_text(settings + (_PROXY if role == "proxy" else _STORE.format(role=role)))
        if role != "proxy":
            builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
            builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "one", "weight": 1.0})
            builder.rebalance()
            builder.get_ring().save(str(folder / f"{role}.ring.gz"))


def serve(folder: Path, role: str) -> int:
    """Runs a server, until it is killed."""
    import eventlet

    eventlet.monkey_patch()
    from swift.common import storage_policy, utils

    utils.SWIFT_CONF_FILE = storage_policy.SWIFT_CONF_FILE = str(folder / "swift.conf")
    from swift.common.wsgi import run_wsgi

    return int(run_wsgi(str(folder / f"{role}.conf"), f"{role}-server"))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        prepare(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3])
    else:
        sys.exit(serve(Path(sys.argv[1]), sys.argv[2]))
