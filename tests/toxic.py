"""A proxy that does what networks and overloaded servers do to HTTP: refuses, cuts, waits."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ANSWER = "<Error><Code>{code}</Code><Message>AKIA-IN-A-MESSAGE</Message></Error>"


@dataclass(frozen=True)
class Fault:
    """What becomes of a request. status, code: it gets this answer. cut: after so many bytes of the body the connection
    ends; short: so many are said to be all. wait: seconds before the answer. before: is called first. without: a header
    that is not passed on."""

    status: int | None = None
    code: str = ""
    cut: int | None = None
    short: int | None = None
    wait: float = 0.0
    before: Callable[[], object] | None = None
    without: str = ""


class Proxy(ThreadingHTTPServer):
    """Passes requests on to a port of this machine. fault: is asked for each, with its method and path, what is to
    become of it. seen: the requests so far."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.to = port
        self.fault: Callable[[str, str], Fault | None] = lambda *_: None
        self.seen: list[tuple[str, str]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def first(self, count: int, path: str, fault: Fault) -> None:
        """The first requests for a path that holds this text get the fault."""
        left = iter(range(count))
        self.fault = lambda _, asked: fault if path in asked and next(left, None) is not None else None

    def handle_error(self, *_: object) -> None:
        """Clients go: that is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path))
        fault = self.server.fault(self.command, self.path) or Fault()
        if fault.before:
            fault.before()
        time.sleep(fault.wait)
        if fault.status:
            body = _ANSWER.format(code=fault.code).encode()
            self._answer(fault.status, [("Content-Length", str(len(body)))])
            self.wfile.write(body)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.to)
        try:
            passed = {name: value for name, value in self.headers.items() if name.lower() != fault.without}
            upstream.request(self.command, self.path, headers=passed)
            answer = upstream.getresponse()
            body = answer.read()
            body = body[: fault.short]
            hop = ("transfer-encoding", "connection", "content-length")
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in hop]
            length = len(body) if self.command == "GET" else answer.getheader("Content-Length", "0")
            headers.append(("Content-Length", str(length)))
            self._answer(answer.status, headers)
            self.wfile.write(body[: fault.cut])
            self.close_connection = fault.cut is not None
        finally:
            upstream.close()

    do_HEAD = do_GET

    def _answer(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """A proxy to a port, at work."""
    with Proxy(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
