"""S3 servers for tests, on loopback, each a process of its own: moto and OpenStack Swift; and what talks to them."""

import getpass
import hashlib
import hmac
import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import obstore
import pytest
from obstore.store import S3Store

from tests import swift_server

ROOT = Path(__file__).parent.parent
_names = itertools.count(1)


@dataclass(frozen=True)
class Server:
    """An S3 server. requests: where moto is asked to fill buckets, None of others."""

    port: int
    key: str
    secret: str
    process: "subprocess.Popen[str] | None" = None
    region: str = "us-east-1"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def at(self, port: int) -> "Server":
        """The same, behind a proxy."""
        return Server(port, self.key, self.secret, self.process, self.region)

    def environment(self) -> dict[str, str]:
        """The variables with which a program finds it, and nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": self.region,
        }

    def bucket(self) -> "Bucket":
        """A new bucket."""
        name = f"events-{os.getpid()}-{next(_names)}"
        status = _put(self, name)
        assert status == 200, status
        return Bucket(self, name)

    def fill(self, bucket: str, folder: str, first: str, days: int, each: int) -> None:
        """Puts many objects into moto; see tests/moto_server.py."""
        assert self.process
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([bucket, folder, first, days, each]) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@dataclass(frozen=True)
class Bucket:
    """A bucket of a server."""

    server: Server
    name: str
    store: S3Store = field(init=False)

    def __post_init__(self) -> None:
        store = S3Store(
            self.name,
            endpoint=self.server.endpoint,
            access_key_id=self.server.key,
            secret_access_key=self.server.secret,
            region=self.server.region,
            client_options={"allow_http": True},
        )
        object.__setattr__(self, "store", store)

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def put(self, files: Mapping[str, bytes]) -> None:
        """Puts objects, by key."""
        for key, data in files.items():
            obstore.put(self.store, key, data, use_multipart=False)

    def delete(self, key: str) -> None:
        obstore.delete(self.store, key)


@contextmanager
def moto() -> Iterator[Server]:
    """moto's server. It takes any keys."""
    command = [sys.executable, "-m", "tests.moto_server"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        try:
            port = next(int(line) for line in process.stdout if line.strip().isdigit())
            yield Server(port, "AKIAMOTO", "moto-secret-of-the-tests", process)
        finally:
            process.kill()


@contextmanager
def swift(folder: Path) -> Iterator[Server]:
    """OpenStack Swift with s3api: its four servers, with their data in the folder."""
    ports = dict(zip(swift_server.ROLES, _free_ports(len(swift_server.ROLES)), strict=True))
    prepared = [sys.executable, "-W", "ignore", "-m", "tests.swift_server"]
    subprocess.run([*prepared, str(folder), json.dumps(ports), getpass.getuser()], cwd=ROOT, check=True)
    with ExitStack() as stack:
        for role, port in ports.items():
            log: IO[bytes] = stack.enter_context((folder / f"{role}.log").open("wb"))
            command = [*prepared, str(folder), role]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
            stack.callback(process.kill)
            _wait_for(port, process)
        yield Server(ports["proxy"], swift_server.KEY, swift_server.SECRET)


def without_swift(folder: Path) -> str | None:
    """Why Swift can't run here; None if it can."""
    if find_spec("swift") is None:
        return "OpenStack Swift is not installed: it is for Linux"
    try:
        os.setxattr(folder, "user.loader", b"x")
    except OSError:
        return f"no extended attributes in {folder}: choose another with --basetemp"
    return None


def missing(why: str) -> None:
    """Leaves a test out, or fails it where all tests are asked for."""
    if os.environ.get("LOADER_TEST_ALL") == "1":
        pytest.fail(why)
    pytest.skip(why)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.05)


def put_raw(bucket: Bucket, key: str) -> None:
    """Puts an object whose name obstore does not take."""
    assert _put(bucket.server, f"{bucket.name}/{key}") == 200


def _put(server: Server, path: str) -> int:
    """Puts a bucket, or an object without content worth the name, by a request signed as AWS has it (version 4)."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": f"127.0.0.1:{server.port}", "x-amz-content-sha256": empty, "x-amz-date": now}
    names = ";".join(headers)
    request = ["PUT", f"/{path}", "", *(f"{name}:{value}" for name, value in headers.items()), "", names, empty]
    scope = f"{now[:8]}/{server.region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256("\n".join(request).encode()).hexdigest()])
    sign = f"AWS4{server.secret}".encode()
    for part in (*scope.split("/"), text):
        sign = hmac.new(sign, part.encode(), hashlib.sha256).digest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={server.key}/{scope}, SignedHeaders={names}, Signature={sign.hex()}"
    )
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    try:
        connection.request("PUT", f"/{path}", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()
