"""Where a bucket is and whose keys open it: addresses, `[storage]`, the environment, AWS profiles. No key is told."""

import configparser
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loader.errors import LoaderError, UsageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = {"s3": "aws_", "gs": "google_", "az": "azure_"}  # with what their settings begin with
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Who has one of these in the environment, does not mean the keys of a profile.
_OTHER_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SKIP_SIGNATURE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_UNREAD = ("role_arn", "sso_session", "sso_start_url", "credential_process", "source_profile")
# What a client makes no error of, but a crash, where it is not usable.
_ADDRESSES = (
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_METADATA_ENDPOINT",
    "AZURE_ENDPOINT",
    "AZURE_STORAGE_ENDPOINT",
    "GOOGLE_BASE_URL",
)
_WORDS = ("AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN")
_WORD = re.compile(r"[!-~]*")
_CLIENT: Any = {
    "allow_http": True,  # an endpoint is https unless somebody says http
    "connect_timeout": "10s",
    "read_timeout": "30s",
    "timeout": "10m",
    "user_agent": "loader",
}
_ONCE: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=30), "backoff": {}}  # loader.bucket tries again


@dataclass(frozen=True, slots=True)
class Address:
    """A place in a bucket. key: an object, a folder of objects, or a glob; "" is all of the bucket."""

    scheme: str
    bucket: str
    key: str

    @property
    def root(self) -> str:
        """The bucket."""
        return f"{self.scheme}://{self.bucket}"

    def uri(self, key: str) -> str:
        """The address of an object of the same bucket."""
        return f"{self.root}/{key}"


def is_bucket(source: str) -> bool:
    """Whether a source is in a bucket: `s3://`, `gs://` or `az://`."""
    return source.partition("://")[0] in SCHEMES and "://" in source


def parse(source: str) -> Address:
    """The parts of `s3://bucket/key`. UsageError where it is no such address."""
    scheme, _, rest = source.partition("://")
    bucket, _, key = rest.partition("/")
    if "@" in bucket:  # not repeated: it may hold a secret
        raise UsageError(
            f"{scheme}://: an address has no user and no password. Give keys in the environment, or in [storage] of "
            "loader.toml."
        )
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{source}: {bucket!r} is no name of a bucket. An address is {scheme}://BUCKET/FOLDER.")
    key = key.rstrip("/")
    if any(part in ("", ".", "..") for part in key.split("/")) and key:
        raise UsageError(f"{source}: a part between two / is empty or only dots, and such names can't be read.")
    return Address(scheme, bucket, key)


def check(table: Mapping[str, Any]) -> dict[str, str]:
    """The settings of `[storage]`: variables of the environment in lower case. ValueError says what is expected."""
    found = {}
    for name, value in table.items():
        if not name.startswith(tuple(SCHEMES.values())) or not isinstance(value, str | bool | int):
            raise ValueError(
                "texts under the names that the environment has, in lower case, such as aws_endpoint_url, "
                f"google_application_credentials or azure_storage_account_name; {name} is none"
            )
        found[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def connect(address: Address, storage: Mapping[str, str]) -> "ObjectStore":
    """The bucket of an address, with what the environment, `[storage]` and, for `s3://`, the AWS profile say.

    No request is made. UsageError where a setting is unknown or unusable.
    """
    from obstore import exceptions, store

    makers: dict[str, Callable[..., ObjectStore]] = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}
    config = settings_for(address.scheme, storage, os.environ)
    prefix = SCHEMES[address.scheme].upper()
    _check_values({**{name: value for name, value in os.environ.items() if name.startswith(prefix)}, **config})
    try:
        return makers[address.scheme](address.bucket, config=config, client_options=_CLIENT, retry_config=_ONCE)
    except exceptions.UnknownConfigurationKeyError:
        names = ", ".join(sorted(name for name in storage if name.startswith(SCHEMES[address.scheme])))
        raise UsageError(f"[storage]: one of these is no setting of {address.scheme}://: {names}.") from None
    except (exceptions.BaseError, ValueError, OSError) as error:
        # what the error says may hold a key: its first words name the setting
        what = str(error).split("\n")[0].rpartition("error: ")[2].partition(":")[0][:60]
        raise UsageError(
            f"{address.root}: the settings for it are not usable ({what}). Check the variables "
            f"{prefix}… and [storage] in loader.toml."
        ) from None


def _check_values(given: Mapping[str, str]) -> None:
    """UsageError for an address that is none, or a word with a space or line end in it, which files of variables often
    leave there. Values are not told."""
    for name, value in given.items():
        if name.upper() in _ADDRESSES and not _is_address(value):
            raise UsageError(
                f"{name}: is no address of a server. It begins with https:// or http://, and a name follows."
            )
        if name.upper() in _WORDS and not _WORD.fullmatch(value):
            raise UsageError(f"{name}: there is a space, a line end or another odd character in it. Take it out.")


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname and _WORD.fullmatch(text)) and parts.port != 0
    except ValueError:  # of the port, or brackets
        return False


def settings_for(scheme: str, storage: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """What is to be set beside the environment: `[storage]`, then the profile, without what is in the environment."""
    mine = {name: value for name, value in storage.items() if name.startswith(SCHEMES[scheme])}
    if scheme == "s3":
        if "AWS_ACCESS_KEY_ID" in environment:
            mine = {name: value for name, value in mine.items() if name not in _KEYS}
        has_keys = "aws_access_key_id" in mine or "aws_skip_signature" in mine
        has_keys = has_keys or any(name in environment for name in _OTHER_KEYS)
        mine = {**_profile(environment, has_keys), **mine}
    return {name: value for name, value in mine.items() if name.upper() not in environment}


def _profile(environment: Mapping[str, str], has_keys: bool) -> dict[str, str]:
    """The region, the endpoint and, unless there are others, the keys of the AWS profile in force."""
    name = environment.get("AWS_PROFILE", "default")
    home = Path(environment.get("HOME", "~")).expanduser()
    files = (
        ("AWS_CONFIG_FILE", ".aws/config", "default" if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", name),
    )
    found: dict[str, str] = {}
    for variable, default, section in files:
        path = Path(environment[variable]).expanduser() if variable in environment else home / default
        parser = configparser.ConfigParser(interpolation=None, default_section="")
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):  # the error shows the line, and that may be a key
            raise LoaderError(f"{path}: is no file of AWS profiles. Repair it, or set {variable} to another.") from None
        if parser.has_section(section):
            found |= dict(parser[section])
    if "AWS_PROFILE" in environment and not found:
        raise UsageError(f"AWS_PROFILE: there is no profile {name!r} in ~/.aws/config or ~/.aws/credentials.")
    settings = {"aws_region": found.get("region"), "aws_endpoint_url": found.get("endpoint_url")}
    if "AWS_DEFAULT_REGION" in environment:
        settings["aws_region"] = None
    if not has_keys:
        settings |= {key: found.get(key) for key in _KEYS}
        other = next((key for key in _UNREAD if key in found), None)
        if other and not found.get("aws_access_key_id"):
            raise UsageError(
                f"AWS profile {name!r}: its keys come by {other}, which loader does not do. Put them into the "
                f'environment first: eval "$(aws configure export-credentials --profile {name} --format env)"'
            )
    return {key: value for key, value in settings.items() if value}
