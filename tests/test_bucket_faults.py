"""What goes wrong between here and a bucket: tried again where that helps, else told with what to check; and an object
that was read in part never counts."""

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from loader import bucket as buckets
from loader import fetch, storage
from loader.errors import LoaderError
from tests import s3, toxic
from tests.test_bucket import STARTED, ids, load, page

pytestmark = pytest.mark.usefixtures("no_keys")

ALWAYS = 10**9


@pytest.fixture
def between(moto: s3.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[toxic.Proxy]:
    """A proxy to moto, which the environment takes for the server. Pauses are short."""
    monkeypatch.setattr(buckets, "PAUSES", (0.01, 0.01, 0.01))
    with toxic.proxy(moto.port) as proxy:
        for name, value in moto.at(proxy.port).environment().items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def bucket(moto: s3.Server) -> s3.Bucket:
    """A bucket of moto with four objects, to be changed behind the proxy's back."""
    made = moto.bucket()
    made.put({f"in/{name}.json": page(f"{name}1", f"{name}2") for name in "abcd"})
    return made


def refused(folder: Path, *given: str) -> str:
    """Why a load could not be."""
    with pytest.raises(LoaderError) as error:
        load(folder, *given)
    assert error.value.exit == 1
    return str(error.value)


# --- what passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        toxic.Fault(503, "SlowDown"),
        toxic.Fault(500, "InternalError"),
        toxic.Fault(429, "TooManyRequests"),
        toxic.Fault(cut=10),
        toxic.Fault(cut=0),
        toxic.Fault(short=10),
    ],
)
@pytest.mark.parametrize("path", ["list-type", "in/b.json", "in/"])
def test_what_passes_is_tried_again(
    fault: toxic.Fault, path: str, bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path
) -> None:
    """Bursts of answers that say so, and connections that are cut, of listings and of objects."""
    between.first(3, path, fault)
    report = load(tmp_path, f"{bucket.uri}/in")
    assert (report.files, report.loaded, report.unread) == (4, 8, {})
    assert ids(tmp_path) == [f"{name}{number}" for name in "abcd" for number in (1, 2)]


def test_a_listing_goes_on_where_it_broke_off(
    bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PAGE", 2)
    between.first(2, "start-after", toxic.Fault(cut=5))
    assert load(tmp_path, bucket.uri).files == 4


def test_a_cut_in_the_middle_of_an_object(
    bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the block that broke off is read again; no line twice, none missing."""
    monkeypatch.setattr(fetch, "BLOCK", 5000)
    many = page(*(f"{at:05}" for at in range(1000)))
    bucket.put({"big/a.json": many, "big/b.gz": gzip.compress(many)})
    faults = iter([toxic.Fault(cut=cut) for cut in (1, 4999, 2500, 0, 100)])
    between.fault = lambda _, path: next(faults, None) if "big/a" in path or "big/b" in path else None
    report = load(tmp_path, f"{bucket.uri}/big")
    assert (report.lines, report.loaded, report.duplicates, report.unread) == (2000, 1000, 1000, {})


# --- what does not: the object ----------------------------------------------------------------------------------------


def test_an_object_that_never_comes_whole(bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path) -> None:
    """It does not count as loaded, leaves no line, and costs none of the others. The next run reads it."""
    between.first(ALWAYS, "in/b.json", toxic.Fault(cut=20))
    report = load(tmp_path, f"{bucket.uri}/in")
    assert report.unread == {
        f"{bucket.uri}/in/b.json": "the connection was cut by the server, also after 3 more tries. Check the network, "
        "and the endpoint in the variables AWS_… and [storage] in loader.toml."
    }
    assert (report.files, ids(tmp_path)) == (3, ["a1", "a2", "c1", "c2", "d1", "d2"])
    between.first(0, "", toxic.Fault())
    again = load(tmp_path, f"{bucket.uri}/in")
    assert (again.known_files, again.loaded, len(ids(tmp_path))) == (3, 2, 8)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (
            toxic.Fault(403, "AccessDenied"),
            "permission denied (403 AccessDenied). Check the keys in the variables AWS_…",
        ),
        (
            toxic.Fault(403, "InvalidObjectState"),
            "it is archived (403 InvalidObjectState). Restore it there, or leave out its day with --since.",
        ),
        (toxic.Fault(404, "NoSuchKey"), "it is gone: it was deleted after it was listed."),
        (toxic.Fault(412, "PreconditionFailed"), "it was replaced while it was read. The next run reads the new one."),
        (toxic.Fault(503, "SlowDown"), "the server is overloaded or failing (503 SlowDown), also after 3 more tries."),
        (toxic.Fault(400, "ExpiredToken"), "the request was refused (400 ExpiredToken). Check the address, and the"),
    ],
)
def test_an_object_that_can_not_be_had(
    fault: toxic.Fault, why: str, bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path
) -> None:
    between.first(ALWAYS, "in/c.json", fault)
    report = load(tmp_path, f"{bucket.uri}/in")
    ((uri, told),) = report.unread.items()
    assert (uri, report.loaded) == (f"{bucket.uri}/in/c.json", 6)
    assert told.startswith(why)
    assert "AKIA" not in told


def test_an_object_that_is_replaced_while_it_is_read(
    bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of two versions are never put together."""
    monkeypatch.setattr(fetch, "BLOCK", 1000)
    monkeypatch.setattr(fetch, "REQUESTS", 1)
    bucket.put({"in/b.json": page(*(f"old{at}" for at in range(200)))})
    seen = iter(range(5))

    def overwrite() -> None:
        if next(seen, None) == 3:
            bucket.put({"in/b.json": page(*(f"new{at}" for at in range(200)))})

    between.fault = lambda _, path: toxic.Fault(before=overwrite) if "in/b.json" in path else None
    report = load(tmp_path, f"{bucket.uri}/in")
    told = {f"{bucket.uri}/in/b.json": "it was replaced while it was read. The next run reads the new one."}
    assert (report.unread, report.loaded) == (told, 6)
    assert (load(tmp_path, f"{bucket.uri}/in").loaded, ids(tmp_path)[-1]) == (200, "new99")


def test_a_store_that_ignores_if_match(bucket: s3.Bucket, between: toxic.Proxy) -> None:
    """The answer tells which object it is of; where there is no etag, its time and size do."""
    there = buckets.Bucket(storage.parse(bucket.uri), {})
    (listed,) = [each for each in there.objects("in") if each.key == "in/a.json"]
    between.first(ALWAYS, "in/a.json", toxic.Fault(without="if-match"))
    assert bytes(there.block(listed, 0, 5)) == page("a1")[:5]
    unnamed = replace(listed, etag=None)
    assert bytes(there.block(unnamed, 0, 5)) == page("a1")[:5]
    for wanted in (replace(listed, etag="other"), replace(unnamed, size=1), replace(unnamed, modified=STARTED)):
        with pytest.raises(buckets.BucketError) as error:
            there.block(wanted, 0, 5)
        assert error.value.replaced


# --- what does not: the bucket ----------------------------------------------------------------------------------------


def test_nobody_listens(tmp_path: Path, between: toxic.Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert refused(tmp_path, "s3://events/in") == (
        "s3://events/in: no connection to 127.0.0.1:1, also after 3 more tries. Check the network, and the endpoint in "
        "the variables AWS_… and [storage] in loader.toml."
    )
    assert not (tmp_path / "warehouse").exists()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (toxic.Fault(403, "AccessDenied"), "permission denied (403)"),
        (toxic.Fault(403, "InvalidAccessKeyId"), "permission denied (403)"),
        (toxic.Fault(301, "PermanentRedirect"), "the bucket is in another region. Check AWS_REGION."),
        (toxic.Fault(503, "SlowDown"), "the server is overloaded or failing (503"),
    ],
)
def test_a_bucket_that_can_not_be_listed(
    fault: toxic.Fault, why: str, bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path
) -> None:
    between.first(ALWAYS, "", fault)
    assert refused(tmp_path, f"{bucket.uri}/in").startswith(f"{bucket.uri}/in: {why}")


def test_no_such_bucket(between: toxic.Proxy, tmp_path: Path) -> None:
    assert refused(tmp_path, "s3://no-such-bucket").startswith(
        "s3://no-such-bucket/: there is no bucket no-such-bucket there (404 NoSuchBucket). Check its name, and the "
    )


def test_a_wrong_clock(bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path) -> None:
    """Signatures hold for a quarter of an hour."""
    between.first(ALWAYS, "list-type", toxic.Fault(403, "RequestTimeTooSkewed"))
    assert refused(tmp_path, bucket.uri) == (
        f"{bucket.uri}/: the clock of this machine is wrong, and such requests are refused (403 RequestTimeTooSkewed). "
        "Set it, best by NTP."
    )


def test_wrong_keys_and_regions(swift: s3.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server that checks them says it."""
    monkeypatch.setattr(buckets, "PAUSES", ())
    bucket = swift.bucket()
    bucket.put({"in/a.json": page(1)})
    for name, value in swift.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert refused(tmp_path, bucket.uri) == f"{bucket.uri}/: the bucket is in another region. Check AWS_REGION."
    assert refused(tmp_path, f"{bucket.uri}/in").startswith(
        f"{bucket.uri}/in: the request was refused (400). Check the address, and the region and the keys in the "
    )
    monkeypatch.setenv("AWS_REGION", swift.region)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "OTHER")
    why = "permission denied (403 SignatureDoesNotMatch). Check the keys in the variables AWS_…"
    assert refused(tmp_path, bucket.uri).startswith(f"{bucket.uri}/: {why}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OTHER")
    assert refused(tmp_path, bucket.uri).startswith(f"{bucket.uri}/: permission denied (403 ")


def test_no_keys_at_all(
    bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert refused(tmp_path, bucket.uri) == (
        f"{bucket.uri}/: there are no keys for {bucket.uri}. Check the variables AWS_… and [storage] in loader.toml."
    )


@pytest.mark.parametrize(
    ("key", "name"), [("odd//x.json", "odd//x.json"), ("odd/../x", "odd/../x"), ("odd/%09x", "odd/\\tx")]
)
def test_a_name_that_can_not_be_read(
    key: str, name: str, bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path
) -> None:
    between.first(ALWAYS, "", toxic.Fault())
    s3.put_raw(bucket, key)
    assert refused(tmp_path, bucket.uri) == (
        f"{bucket.uri}/: '{name}' is there, and a name with an empty part, a part of dots or a control character can't "
        "be read. Rename it, or give another folder."
    )
    assert load(tmp_path, f"{bucket.uri}/in").loaded == 8


def test_a_service_that_goes_down(bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path) -> None:
    """After three objects that could not be had the others are not tried; what was read by then is loaded."""
    bucket.put({f"in/e{at:02}.json": page(f"e{at}") for at in range(20)})
    between.fault = lambda _, path: toxic.Fault(503, "ServiceUnavailable") if "/in/e" in path else None
    report = load(tmp_path, f"{bucket.uri}/in")
    assert (report.loaded, report.files, len(report.unread)) == (8, 4, 20)
    whys = list(report.unread.values())
    assert all(why.startswith("the server is overloaded") for why in whys[:3])
    assert all(why.startswith(f"not tried, since others could not be had: {bucket.uri}/in/e00") for why in whys[3:])


# --- secrets, and an end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faulty", [False, True])
def test_no_secret_is_told(faulty: bool, bucket: s3.Bucket, between: toxic.Proxy, tmp_path: Path) -> None:
    """Not on any stream, in text or JSON, not in what is listed of the settings, and in no file of the warehouse."""
    secrets = {"aws_access_key_id": "AKIA-ID", "aws_secret_access_key": "SECRET-KEY", "aws_session_token": "TOKEN-1"}
    lines = "".join(f'{name} = "{value}"\n' for name, value in secrets.items())
    file = tmp_path / "loader.toml"
    hook = f"http://127.0.0.1:{between.port}/HOOK-PATH"
    file.write_text(f'sources = ["{bucket.uri}/in"]\n[storage]\n{lines}[notify]\nwebhook = "{hook}"\n')
    if faulty:
        faults = {"in/c": toxic.Fault(403, "SignatureDoesNotMatch"), "in/d": toxic.Fault(400, "Odd")}
        between.fault = lambda _, path: next((fault for key, fault in faults.items() if key in path), None)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    }
    told = b""
    for more in (["load", "--log-format", "json"], ["load", "--json"], ["config"], ["config", "--json"], ["status"]):
        command = [sys.executable, "-m", "loader", *more, "--config", str(file), "--warehouse", str(tmp_path / "wh")]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert done.returncode in (0, 3), done.stderr
        told += done.stdout + done.stderr
    ours = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != file]
    assert len(ours) > 10
    for secret in ("AKIA-", "SECRET-KEY", "TOKEN-1", "HOOK-PATH"):
        assert secret.encode() not in told
        assert not any(secret.encode() in content for content in ours)


STOPPED = "error: stopped by SIGTERM; what was committed stays, and the next run goes on from there\n"
INTERRUPTED = "error: interrupted; what was committed stays\n"


@pytest.mark.parametrize(
    ("number", "path", "code", "message"),
    [
        (signal.SIGTERM, "in/c.json", 143, STOPPED),
        (signal.SIGTERM, "list-type", 143, STOPPED),  # the main thread waits, and Python calls no handler
        (signal.SIGINT, "in/c.json", 130, INTERRUPTED),
    ],
)
def test_a_signal_while_a_server_hangs(
    number: signal.Signals,
    path: str,
    code: int,
    message: str,
    bucket: s3.Bucket,
    between: toxic.Proxy,
    tmp_path: Path,
) -> None:
    """It ends within 10 s, says so, and the next run does what it had begun."""
    between.first(ALWAYS, path, toxic.Fault(wait=60))
    warehouse = tmp_path / "warehouse"
    command = [sys.executable, "-m", "loader", "load", f"{bucket.uri}/in", "--warehouse", str(warehouse)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not any(path in asked for _, asked in between.seen):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert (process.returncode, said) == (code, message)
    between.first(0, "", toxic.Fault())
    assert load(tmp_path, f"{bucket.uri}/in").loaded == 8
