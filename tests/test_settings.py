"""Settings: the first of flag, environment, file and default wins; what is malformed is told with its place."""

import re
import tomllib
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from loader import config, settings
from loader import given as read
from loader.errors import Exit, LoaderError, UsageError
from loader.settings import OPTIONS, Settings, gather


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its loader.toml."""
    return tmp_path / "loader.toml"


def test_defaults_are_those_of_settings() -> None:
    found, origins = gather({}, {}, None)
    assert found == Settings()
    assert set(origins.values()) == {"default"}


def test_every_setting_has_an_option() -> None:
    assert {option.field for option in OPTIONS} | {"storage", "webhook"} == {field.name for field in fields(Settings)}


def test_flag_before_environment_before_file_before_default(file: Path) -> None:
    file.write_text("max_columns = 1\nthreads = 1\nmax_event_tables = 1\n")
    environment = {"LOADER_MAX_COLUMNS": "2", "LOADER_THREADS": "2"}
    found, origins = gather({"max_columns": "3", "threads": None, "json_paths": ()}, environment, file)
    assert (found.max_columns, found.threads, found.max_event_tables, found.max_line_bytes) == (3, 2, 1, 32 << 20)
    assert (origins["max_columns"], origins["threads"], origins["max_event_tables"], origins["max_line_bytes"]) == (
        "--max-columns",
        "LOADER_THREADS",
        str(file),
        "default",
    )


def test_sources(file: Path) -> None:
    """Of the command, else the environment, else the file; there files are relative to it."""
    file.write_text(
        'sources = ["in/*.gz", "-", "/data", "s3://bucket/a", "s3a://b"]\nsince = 2026-03-01\nmax_runtime = "2h"\n'
    )
    found, origins = gather({"sources": ()}, {}, file)
    assert found.sources == (str(file.parent / "in/*.gz"), "-", "/data", "s3://bucket/a", "s3a://b")
    assert (found.since, found.max_runtime, origins["sources"]) == (date(2026, 3, 1), 7200, str(file))
    found, _ = gather({}, {"LOADER_SOURCES": "'a b' gs://x", "LOADER_SINCE": "2d"}, file)
    assert found.sources == ("a b", "gs://x")
    assert (datetime.now(UTC).date() - (found.since or date.min)).days in (2, 3)
    found, origins = gather({"sources": ("c",)}, {"LOADER_SOURCES": "a"}, file)
    assert (found.sources, origins["sources"]) == (("c",), "SOURCE")


def test_the_webhook_and_storage(file: Path) -> None:
    """They are in no representation of the settings."""
    file.write_text(
        '[storage]\naws_token = "SECRET"\naws_skip_signature = true\n[notify]\nwebhook = "https://x/SECRET"\n'
    )
    found, origins = gather({}, {}, file)
    assert found.storage == {"aws_token": "SECRET", "aws_skip_signature": "true"}
    assert found.webhook == "https://x/SECRET"
    assert "SECRET" not in repr(found) + config.as_toml(found, origins) + repr(config.as_json(found, origins))
    assert gather({}, {"LOADER_NOTIFY_WEBHOOK": "https://y"}, file)[0].webhook == "https://y"
    with pytest.raises(UsageError) as error:
        gather({}, {"LOADER_NOTIFY_WEBHOOK": "file:///SECRET"}, file)
    assert str(error.value) == (
        "LOADER_NOTIFY_WEBHOOK: is not usable. It takes webhook, an address that begins with https://."
    )


def test_a_flag_can_switch_off_what_the_file_switches_on(file: Path) -> None:
    file.write_text("skip_tracks_table = true\n")
    assert gather({}, {}, file)[0].skip_tracks_table is True
    assert gather({"skip_tracks_table": False}, {}, file)[0].skip_tracks_table is False


def test_other_variables_and_empty_ones_are_ignored() -> None:
    environment = {"LOADER_TEST_ALL": "1", "LOADER_NO_SUCH": "x", "LOADER_THREADS": "", "THREADS": "9"}
    assert gather({}, environment, None)[0] == Settings()


def test_everything_from_a_file(file: Path) -> None:
    file.write_text("""
        warehouse = "data/wh"
        source = "web"
        skip_tracks_table = true
        skip_users_table = true
        store_full_event = true
        underscore_divide_numbers = true
        allow_users_context_traits = true
        json_paths = ["track.properties.items", "identify.context.traits.x"]
        dedup_window = "all"
        memory_limit = "4GB"
        max_load_bytes = 1000
        max_line_bytes = "64MiB"
        max_columns = 100
        max_event_tables = 0
        threads = 2
        max_reject_share = "2.5%"
        strict = true
    """)
    assert gather({}, {}, file)[0] == Settings(
        warehouse=file.parent / "data/wh",
        source="web",
        skip_tracks_table=True,
        skip_users_table=True,
        store_full_event=True,
        underscore_divide_numbers=True,
        allow_users_context_traits=True,
        json_paths=("track.properties.items", "identify.context.traits.x"),
        dedup_window_days=None,
        memory_limit=4_000_000_000,
        max_load_bytes=1000,
        max_line_bytes=64 << 20,
        max_columns=100,
        max_event_tables=0,
        threads=2,
        max_reject_share=0.025,
        strict=True,
    )


def test_json_paths_from_the_environment_have_commas() -> None:
    found, _ = gather({}, {"LOADER_JSON_PATHS": "track.properties.a, page.context.b"}, None)
    assert found.json_paths == ("track.properties.a", "page.context.b")


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (1, 1),
        ("1", 1),
        ("1B", 1),
        ("1GB", 1_000_000_000),
        ("512MB", 512_000_000),
        ("64MiB", 64 * 1024**2),
        ("1.5 GB", 1_500_000_000),
        ("0.5KiB", 512),
        ("2gib", 2 * 1024**3),
        (" 10 kB ", 10_000),
        ("9007199254740993", 9_007_199_254_740_993),
        ("1TB", 10**12),
    ],
)
def test_sizes(given: str | int, count: int) -> None:
    assert read.size(given) == count


@pytest.mark.parametrize("given", ["", "GB", "1G", "-1", "1e9", "1,5GB", "0", 0, -1, True, 1.5, None, "1PB"])
def test_no_sizes(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^a size, such as 1GB, 64MiB, or a number of bytes$"):
        read.size(given)


@pytest.mark.parametrize(
    ("given", "days"), [("30", 30), ("30d", 30), ("7D", 7), (30, 30), ("0", 0), ("all", None), ("ALL", None)]
)
def test_days(given: str | int, days: int | None) -> None:
    assert read.days(given) == days


@pytest.mark.parametrize("given", ["", "d", "-1", "1.5", "30h", True, None, -3])
def test_no_days(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^days, such as 30 or 30d, or all$"):
        read.days(given)


@pytest.mark.parametrize(
    ("given", "share"), [(0, 0.0), (1, 1.0), ("0", 0.0), ("0.05", 0.05), (0.2, 0.2), ("5%", 0.05), (" 100 % ", 1.0)]
)
def test_shares(given: str | float, share: float) -> None:
    assert read.share(given) == share


@pytest.mark.parametrize("given", ["", "%", "x", "-1", "1.1", "101%", "nan", "5", True, None, [], -0.1, 2])
def test_no_shares(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^a share from 0 to 1, such as 0.05 or 5%$"):
        read.share(given)


@pytest.mark.parametrize(("given", "value"), [(True, True), ("1", True), ("Yes", True), ("off", False), ("0", False)])
def test_switches(given: str | bool, value: bool) -> None:
    assert read.switch(given) is value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_columns = 'x'", "max_columns: 'x' is not usable. It takes a whole number from 1 on."),
        ("max_columns = true", "max_columns: True is not usable. It takes a whole number from 1 on."),
        ("max_columns = 0", "max_columns: 0 is not usable. It takes a whole number from 1 on."),
        ("skip_tracks_table = 1", "skip_tracks_table: 1 is not usable. It takes true or false."),
        (
            "memory_limit = '1G'",
            "memory_limit: '1G' is not usable. It takes a size, such as 1GB, 64MiB, or a number of bytes.",
        ),
        ("dedup_window = 'x'", "dedup_window: 'x' is not usable. It takes days, such as 30 or 30d, or all."),
        ("source = ' '", "source: ' ' is not usable. It takes a text that is not empty."),
        (
            "json_paths = [1]",
            "json_paths: [1] is not usable. It takes a list of paths, such as track.properties.items.",
        ),
        ("max_colums = 3", "max_colums: there is no such setting. Is it max_columns?"),
        ("dedup_window_days = 3", "dedup_window_days: there is no such setting. Is it dedup_window?"),
        ("xyz = 3", "xyz: there is no such setting."),
        ("sources = []", "sources: [] is not usable. It takes a list of files, folders, globs and places in buckets."),
        (
            'since = "May"',
            "since: 'May' is not usable. It takes a day, such as 2026-03-01, or days before today, such as 7d.",
        ),
        ("settle_seconds = -1", "settle_seconds: -1 is not usable. It takes seconds, such as 5 or 0.5, or 0."),
        (
            "max_runtime = 5",
            "max_runtime: 5 is not usable. It takes a time with its unit, such as 45s, 30m, 26h or 2d.",
        ),
        ("reload = true", "reload: belongs to one command, not into a file. Give --reload there."),
        ("storage = 1", "[storage]: is not usable. It takes a table."),
        (
            "[storage]\nsecret = 'x'",
            "[storage]: is not usable. It takes texts under the names that the environment has, in lower case, such as "
            "aws_endpoint_url, google_application_credentials or azure_storage_account_name; secret is none.",
        ),
        ("[notify]", "[notify]: is not usable. It takes webhook, an address that begins with https://."),
        ("[notify]\nwebhook = 'x'", "[notify]: is not usable. It takes webhook, an address that begins with https://."),
        ("[identity]\ndevices = 'join'", "devices: 'join' is not usable. It takes one of attach, merge."),
        ("[identity]\nshared_device = 1", "shared_device: 1 is not usable. It takes one of by_time, none."),
        ("[identity]\nmerge_on = ['']", "merge_on: [''] is not usable. It takes a list of traits, such as email."),
        *(  # kinds of ties, and what every identify has: an address or a time makes nobody one
            (
                f"[identity]\nmerge_on = ['email', '{name}']",
                f"merge_on: ['email', '{name}'] is not usable. "
                f"It takes a list of traits, such as email, and {name} is none.",
            )
            for name in ("alias", "link", "seen", "anonymous_id", "received_at", "context_ip", "context_traits_email")
        ),
        ("[identity]\nmerge_on = 7", "merge_on: 7 is not usable. It takes a list of traits, such as email."),
        (
            "[identity]\nmax_alias_partners = 0",
            "max_alias_partners: 0 is not usable. It takes a whole number from 1 on.",
        ),
        ("[identity]\ndevice = 1", "[identity] device: there is no such setting. Is it devices under [identity]?"),
        ("[identity]\nthreads = 1", "[identity] threads: there is no such setting. Is it threads?"),
        ("devices = 'merge'", "devices: there is no such setting. Is it devices under [identity]?"),
        ("identity = 3", "identity: is a table of settings. Write [identity] above them."),
    ],
)
def test_a_wrong_file_is_told_with_its_name_and_the_key(file: Path, line: str, message: str) -> None:
    file.write_text(line)
    with pytest.raises(UsageError) as error:
        gather({}, {}, file)
    assert str(error.value) == f"{file}: {message}"
    assert error.value.exit == Exit.USAGE


def test_a_malformed_file_is_told_even_where_a_flag_wins(file: Path) -> None:
    file.write_text("threads = 0")
    with pytest.raises(UsageError, match="threads: 0 is not usable"):
        gather({"threads": "1"}, {"LOADER_THREADS": "2"}, file)


def test_what_is_no_toml_or_not_there(file: Path) -> None:
    with pytest.raises(
        UsageError, match=f"^{re.escape(str(file))}: cannot read this file: No such file or directory.$"
    ):
        gather({}, {}, file)
    file.write_text("threads =")
    with pytest.raises(UsageError, match=r"loader.toml: is not TOML: Invalid value \(at end of document\).$"):
        gather({}, {}, file)
    file.write_bytes(b"source = '\xff'")
    with pytest.raises(UsageError, match=r"loader.toml: is not TOML: 'utf-8' codec can't decode byte 0xff"):
        gather({}, {}, file)


def test_wrong_flags_and_variables_are_told_by_name() -> None:
    with pytest.raises(UsageError, match=r"^--threads: 'x' is not usable. It takes a whole number from 1 on.$"):
        gather({"threads": "x"}, {}, None)
    with pytest.raises(UsageError, match=r"^LOADER_STORE_FULL_EVENT: 'maybe' is not usable. It takes true or false.$"):
        gather({}, {"LOADER_STORE_FULL_EVENT": "maybe"}, None)


@pytest.mark.parametrize(
    "path", ["x", "trak.properties.a", "track", "track.properties", "track.properties.", "track.traits.x", "page.a..b"]
)
def test_json_paths_that_name_nothing(path: str) -> None:
    with pytest.raises(UsageError, match=f"^--json-path: '{re.escape(path)}' is not usable. It takes paths"):
        gather({"json_paths": (path,)}, {}, None)


def test_the_message_for_a_json_path_says_what_there_is() -> None:
    with pytest.raises(UsageError) as error:
        gather({"json_paths": ("page.props.a",)}, {}, None)
    assert str(error.value) == (
        "--json-path: 'page.props.a' is not usable. "
        "It takes paths such as page.properties.… or page.context.…, and 'page.props.a' is none."
    )


def test_the_file_is_the_given_one_or_loader_toml_if_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.config_file(None) is None
    Path("loader.toml").touch()
    assert settings.config_file(None) == Path("loader.toml")
    assert settings.config_file("x/y.toml") == Path("x/y.toml")


def test_the_template_sets_nothing_and_its_lines_are_settings(file: Path) -> None:
    config.write_template(file)
    assert gather({}, {}, file)[0] == Settings()
    pattern = re.compile(r"(# )?(\w+ = |\[\w+]$)")
    lines = [line.removeprefix("# ") for line in file.read_text().splitlines() if pattern.match(line)]
    named = tomllib.loads("\n".join(lines))
    lasting = [option for option in OPTIONS if option.lasting]
    assert list(named) == [*[option.name for option in lasting if not option.section], "identity", "storage", "notify"]
    assert list(named["identity"]) == [option.name for option in lasting if option.section == "identity"]
    file.write_text("\n".join(lines))
    found, _ = gather({}, {}, file)
    assert (found.json_paths, found.max_line_bytes) == (("track.properties.items",), Settings().max_line_bytes)
    assert (found.devices, found.merge_on) == ("attach", ("email",))
    assert found.storage == {"aws_endpoint_url": "https://s3.example.com"}
    assert found.webhook == "https://example.com/hook"


def test_a_template_is_not_written_over_a_file(file: Path) -> None:
    file.write_text("threads = 3\n")
    with pytest.raises(LoaderError, match="is there already"):
        config.write_template(file)
    assert file.read_text() == "threads = 3\n"


def test_the_listing_is_a_file_that_gives_the_same_settings(file: Path) -> None:
    flags = {
        "warehouse": 'a "b" é',
        "json_paths": ("track.properties.a",),
        "dedup_window": "all",
        "max_line_bytes": "7",
    }
    found, origins = gather(flags, {"LOADER_DRY_RUN": "1"}, None)
    text = config.as_toml(found, origins)
    assert "# dry_run = true" in text
    file.write_text(text)
    again, _ = gather({"dry_run": True}, {}, file)
    assert again == Settings(
        **{**{f.name: getattr(found, f.name) for f in fields(found)}, "warehouse": again.warehouse}
    )
    assert again.warehouse == file.parent / 'a "b" é'


def test_traits_to_merge_on(file: Path) -> None:
    """A list in a file, words with commas between them elsewhere; each once."""
    file.write_text("[identity]\nmerge_on = ['email', ' phone ', 'email']\ndevices = ' Merge'")
    found, origins = gather({}, {"LOADER_SHARED_DEVICE": "none"}, file)
    assert (found.merge_on, found.devices, found.shared_device) == (("email", "phone"), "merge", "none")
    assert (origins["merge_on"], origins["shared_device"]) == (str(file), "LOADER_SHARED_DEVICE")
    assert gather({"merge_on": "a, b"}, {}, file)[0].merge_on == ("a", "b")
