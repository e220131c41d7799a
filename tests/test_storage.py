"""Where buckets are and whose keys open them, for all three schemes; no request is made. No value of a key is told."""

import base64
import json
from datetime import date
from pathlib import Path

import pytest

from loader import layout, storage
from loader.errors import LoaderError, UsageError
from loader.storage import Address, connect, parse, settings_for

pytestmark = pytest.mark.usefixtures("no_keys")

KEY = base64.b64encode(b"AZURE-SECRET").decode()
GOOGLE = json.dumps(
    {"gcs_base_url": "http://127.0.0.1:1", "disable_oauth": True}
    | dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_addresses(scheme: str) -> None:
    assert parse(f"{scheme}://events") == parse(f"{scheme}://events/") == Address(scheme, "events", "")
    assert parse(f"{scheme}://my.events_1/a/b c/") == Address(scheme, "my.events_1", "a/b c")
    assert parse(f"{scheme}://events/a/*.gz").uri("a/x.gz") == f"{scheme}://events/a/x.gz"
    assert storage.is_bucket(f"{scheme}://x")


def test_other_names_are_files() -> None:
    assert not any(storage.is_bucket(name) for name in ("s3", "s3:/x", "file:///x", "a/s3://x", "-", "S3://x"))


def test_an_address_with_a_password_is_not_repeated() -> None:
    with pytest.raises(UsageError) as error:
        parse("s3://me:SECRET@events/in")
    assert str(error.value).startswith("s3://: an address has no user and no password.")


@pytest.mark.parametrize(
    ("address", "settings", "shown"),
    [
        (
            "s3://events",
            {"aws_region": "eu-west-1", "aws_endpoint_url": "http://127.0.0.1:1"},
            'S3Store(bucket="events")',
        ),
        ("gs://events", {"google_service_account_key": GOOGLE}, 'GCSStore(bucket="events")'),
        (
            "az://events",
            {"azure_storage_account_name": "me", "azure_storage_account_key": KEY},
            'AzureStore(container_name="events", account_name="me")',
        ),
    ],
)
def test_stores(address: str, settings: dict[str, str], shown: str) -> None:
    """Each scheme takes its own settings, and those of the others do not disturb it."""
    everything = settings | {
        "aws_region": "eu-west-1",
        "google_skip_signature": "true",
        "azure_skip_signature": "false",
    }
    assert repr(connect(parse(address), everything)) == shown


def test_stores_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    of_a_person = dict.fromkeys(("client_id", "client_secret", "refresh_token"), "x")
    (tmp_path / "google.json").write_text(json.dumps({"type": "authorized_user"} | of_a_person))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "google.json"))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "me")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    stores = [type(connect(parse(address), {})).__name__ for address in ("s3://events", "gs://events", "az://events")]
    assert stores == ["S3Store", "GCSStore", "AzureStore"]


@pytest.mark.parametrize(
    ("address", "settings", "message"),
    [
        ("s3://events", {"aws_secret": "SECRET"}, "[storage]: one of these is no setting of s3://: aws_secret."),
        (
            "gs://events",
            {"google_x": "SECRET", "google_bearer_token": "SECRET"},
            ": google_bearer_token, ",
        ),
        ("az://events", {"azure_storage_account_name": "me", "azure_storage_account_key": "SECRET!"}, "not usable"),
        ("az://events", {}, "not usable"),
        ("gs://events", {"google_service_account_key": "SECRET"}, "not usable"),
        ("s3://events", {"aws_access_key_id": "SECRET"}, "not usable"),
    ],
)
def test_settings_that_are_not_usable(address: str, settings: dict[str, str], message: str) -> None:
    """The message says where to look, without what is there."""
    with pytest.raises(UsageError) as error:
        connect(parse(address), settings)
    assert message in str(error.value)
    assert "SECRET" not in str(error.value)
    assert error.value.__suppress_context__


def test_the_environment_goes_before_the_file() -> None:
    mine = {
        "aws_region": "a",
        "aws_access_key_id": "k",
        "aws_secret_access_key": "s",
        "azure_storage_account_name": "x",
    }
    assert settings_for("s3", mine, {"HOME": "/nowhere"}) == {name: mine[name] for name in list(mine)[:3]}
    assert settings_for("s3", mine, {"AWS_REGION": "b", "HOME": "/nowhere"}).keys() == {*list(mine)[1:3]}
    assert settings_for("s3", mine, {"AWS_ACCESS_KEY_ID": "other", "HOME": "/nowhere"}) == {
        "aws_region": "a"
    }  # keys go together
    assert settings_for("az", mine, {}) == {"azure_storage_account_name": "x"}


@pytest.mark.parametrize(
    "value", ["127.0.0.1:1", "", "http://", "http://a b", "http://a:SECRET", "http://[a", "ftp://a"]
)
def test_an_endpoint_that_is_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client would not say so, but crash."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", value)
    with pytest.raises(UsageError) as error:
        connect(parse("s3://events"), {})
    what = "is no address of a server. It begins with https:// or http://, and a name follows."
    assert str(error.value) == f"AWS_ENDPOINT_URL: {what}"
    with pytest.raises(UsageError) as error:
        connect(parse("az://events"), {"azure_storage_account_name": "x", "azure_endpoint": value})
    assert str(error.value) == f"azure_endpoint: {what}"
    connect(parse("gs://events"), {"google_service_account_key": GOOGLE})  # that is not the one of this store


@pytest.mark.parametrize("value", ["http://127.0.0.1:1", "https://s3.example.com/path", "http://[::1]:9000/"])
def test_an_endpoint(value: str) -> None:
    connect(parse("s3://events"), {"aws_endpoint_url": value})


def test_a_line_end_in_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """As files of variables with the line ends of another system leave it there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA\r")
    with pytest.raises(UsageError) as error:
        connect(parse("s3://events"), {})
    assert str(error.value) == (
        "AWS_ACCESS_KEY_ID: there is a space, a line end or another odd character in it. Take it out."
    )


def test_profiles(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(
        "[default]\nregion = r0\n[profile one]\nregion = r1\nendpoint_url = e1\n[profile sso]\nsso_session = x\n"
    )
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = k0\naws_secret_access_key = s%0\n[one]\naws_access_key_id = k1\n"
        "aws_secret_access_key = s1\naws_session_token = t1\n"
    )
    home = {"HOME": str(tmp_path)}
    assert settings_for("s3", {}, home) == {
        "aws_region": "r0",
        "aws_access_key_id": "k0",
        "aws_secret_access_key": "s%0",
    }
    one = home | {"AWS_PROFILE": "one"}
    assert settings_for("s3", {}, one) == {
        "aws_region": "r1",
        "aws_endpoint_url": "e1",
        "aws_access_key_id": "k1",
        "aws_secret_access_key": "s1",
        "aws_session_token": "t1",
    }
    assert settings_for("s3", {"aws_region": "mine"}, one)["aws_region"] == "mine"
    assert "aws_region" not in settings_for("s3", {}, one | {"AWS_DEFAULT_REGION": "env"})
    assert settings_for("s3", {}, one | {"AWS_ACCESS_KEY_ID": "k"}).keys() == {"aws_region", "aws_endpoint_url"}
    assert settings_for("s3", {"aws_access_key_id": "k"}, one)["aws_access_key_id"] == "k"
    with pytest.raises(UsageError, match="AWS_PROFILE: there is no profile 'two'"):
        settings_for("s3", {}, home | {"AWS_PROFILE": "two"})
    with pytest.raises(UsageError, match="AWS profile 'sso': its keys come by sso_session, which loader does not do"):
        settings_for("s3", {}, home | {"AWS_PROFILE": "sso"})
    (tmp_path / "other").write_text("SECRET")
    with pytest.raises(LoaderError, match="other: is no file of AWS profiles") as error:
        settings_for("s3", {}, home | {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "other")})
    assert "SECRET" not in str(error.value)


def test_layouts() -> None:
    """RudderStack's days are dates, Segment's midnights in milliseconds."""
    rudder, segment = "x/rudder-logs/s1/2026-03-04/a.gz", "segment-logs/s2/1772582400000/b.gz"
    assert [layout.source(path) for path in (rudder, segment, "logs/s/2026-03-04/a")] == ["s1", "s2", None]
    day = date(2026, 3, 4)
    assert [layout.day(path) for path in (rudder, segment, "logs/s/2026-03-04/a")] == [day, day, None]
    after = date(2026, 3, 5)
    assert layout.ahead(rudder, after) == "x/rudder-logs/s1/2026-03-05"
    assert layout.ahead(segment, after) == "segment-logs/s2/1772668800000"
    assert [layout.ahead(path, day) for path in (rudder, segment, "a")] == [None, None, None]
