"""`loader explain`: what it prints of small histories, and what it says where an id is not known.

`explained.txt` has commands and what they print of the history below; there the folder of the events is `~`, and a time
of today `NOW`.
"""

import itertools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from loader import ties
from loader.cli import main
from tests import warehouses
from tests.conftest import Run
from tests.test_identity_cases import raw

A, B = "p_4b93cd6f250d92cfdc8f", "p_098b198ce5d3ff460cba"  # the persons named after user_id:A and user_id:B

FIRST = """
    09:00 page1 page @D
    09:02 id1 identify A @D
    09:03 id2 track A @D
    09:10 b1 track B @DB
    10:00 k1 track K1 @K
    10:01 k2 identify K2 @K
    10:02 out reset @K
    11:00 n1 track null @X
    11:01 n2 track null @Y
    11:02 q1 track @Q
    12:00 u1 alias E>F
    13:00 z1 track Z
    13:01 z2 track D
"""
SECOND = """
    09:20 s1 alias A>B
    09:21 s2 alias C>A
"""
COMMANDS = (Path(__file__).parent / "explained.txt").read_text(encoding="utf-8").split("$ loader explain ")[1:]
HUB = "".join(f"    14:{at:02} h{at} alias spoke{at}>hub\n" for at in range(11))


def load(folder: Path, *files: str, **settings: Any) -> None:
    """Loads and resolves each file: lines as in the golden cases of who is who."""
    for at, text in enumerate(files, 1):
        events = [raw(line) for line in dedent(text).strip().splitlines()]
        warehouses.run(folder, {f"{at}.jsonl": warehouses.lines(*events)}, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    load(folder, FIRST + HUB, SECOND)
    for rule in ("unlink E F", "link Z user_id:D", "block Q"):
        arguments = ["identity", *rule.split(), "--reason", "they said so"]
        assert CliRunner().invoke(main, [*arguments, "--warehouse", str(folder / "warehouse")]).exit_code == 0
    return folder


def shown(text: str, folder: Path) -> str:
    return re.sub(r"20(?!24)\d\d-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", "NOW", text.replace(str(folder / "in"), "~"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: text.splitlines()[0])
def test_what_is_printed(run: Run, folder: Path, command: str) -> None:
    ids, _, text = command.partition("\n")
    result = run("explain", *ids.split(), "--warehouse", str(folder / "warehouse"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert shown(result.stdout, folder) == text.rstrip("\n") + "\n"


@pytest.fixture
def found(run: Run) -> Callable[..., dict[str, Any]]:
    """The JSON that the command gives."""

    def found(folder: Path, *ids: str) -> dict[str, Any]:
        result = run("explain", *ids, "--json", "--warehouse", str(folder / "warehouse"))
        assert (result.exit_code, result.stderr) == (0, "")
        value: dict[str, Any] = json.loads(result.stdout)
        return value

    return found


Found = Callable[..., dict[str, Any]]


def test_one_as_json(found: Found, folder: Path) -> None:
    one = found(folder, "K1")
    person = "p_02b6e8d29e3942be9d76"
    seen = {"first_seen": "2024-05-06T10:00:00Z", "last_seen": "2024-05-06T10:00:00Z", "events": 1}
    id_ = {"id_type": "user_id", "id": "K1", "status": "user"}
    assert one.pop("person").pop("minted_at").endswith("Z")
    assert one == {
        "asked": {**id_, **seen, "person_id": person},
        "reason": None,
        "identifiers": [{**id_, **seen, "above": None, "ties": []}],
        "more_identifiers": 0,
        "aside": [
            {
                "kind": "seen",
                "type_a": "user_id",
                "id_a": "K1",
                "type_b": "anonymous_id",
                "id_b": "K",
                "status": "shared",
                "reason": "anonymous_id:K is a shared device",
                **seen,
                "event": {
                    "id": "k1",
                    "timestamp": "2024-05-06T10:00:00Z",
                    "table": "tracks",
                    "file": str(folder / "in" / "1.jsonl"),
                    "line": 5,
                    "element": None,
                },
            }
        ],
        "more_aside": 0,
        "stretches": [
            {
                "anonymous_id": "K",
                "person_id": person,
                "anchor_type": "user_id",
                "anchor_id": "K1",
                "valid_from": None,
                "valid_to": "2024-05-06T10:01:00Z",
            }
        ],
        "more_stretches": 0,
        "changes": [
            {
                "load_id": 1,
                "kind": "new",
                "old_id": None,
                "new_id": person,
                **dict.fromkeys(("id_type_a", "id_a", "id_type_b", "id_b", "event_id")),
            }
        ],
        "more_changes": 0,
    }


def test_the_person_as_json(found: Found, folder: Path) -> None:
    one = found(folder, A)
    assert {name: one["asked"][name] for name in ("id_type", "id", "status", "person_id")} == {
        "id_type": "person_id",
        "id": A,
        "status": "retired",
        "person_id": B,
    }
    assert {name: value for name, value in one["person"].items() if name != "minted_at"} == {
        "person_id": B,
        "anchor_type": "user_id",
        "anchor_id": "B",
        "user_ids": 3,
        "anonymous_ids": 2,
        "first_seen": "2024-05-06T09:00:00Z",
        "last_seen": "2024-05-06T09:21:00Z",
    }
    assert [(each["id"], each["above"] and each["above"]["id"]) for each in one["identifiers"]] == [
        ("A", None),
        ("D", "A"),
        ("B", "A"),
        ("C", "A"),
        ("DB", "B"),
    ]


def test_two_as_json(found: Found, folder: Path) -> None:
    two = found(folder, "C", "B")
    assert (two["same"], two["person_id"], two["reason"], two["why"]) == (True, B, None, None)
    assert [(step["from"]["id"], step["to"]["id"], step["kind"], step["event"]["id"]) for step in two["steps"]] == [
        ("C", "A", "alias", "s2"),
        ("A", "B", "alias", "s1"),
    ]
    assert two["steps"][0]["event"] == {
        "id": "s2",
        "timestamp": "2024-05-06T09:21:00Z",
        "table": "aliases",
        "file": str(folder / "in" / "2.jsonl"),
        "line": 2,
        "element": None,
    }


@pytest.mark.parametrize(
    ("ids", "reason", "why"),
    [
        ("K1 K2", "shared", "anonymous_id:K is a shared device"),
        ("spoke1 hub", "capped", "user_id hub has aliases with more than 10 user ids"),
        ("X Y", "blocked", "user_id null: a word that is nobody's id"),
        ("E F", "unlinked", "unlinked by a rule: they said so"),
        ("A Q", "blocked", "anonymous_id:Q is nobody's"),
        ("A K", "shared", "anonymous_id:K is a shared device"),
        ("A Z", "no_path", "nothing ties them"),
    ],
)
def test_why_not(found: Found, folder: Path, ids: str, reason: str, why: str) -> None:
    two = found(folder, *ids.split())
    assert (two["same"], two["person_id"], two["reason"], two["why"]) == (False, None, reason, why)
    assert bool(two["steps"]) == (ids not in ("A Q", "A K", "A Z"))


def test_only_white_space_that_ids_are_trimmed_of_is_no_part_of_one(run: Run, tmp_path: Path) -> None:
    load(tmp_path, r'09:00 a track @D {"userId": "\u3000x \t"}')
    for words in ("\u3000x", "user_id:\u3000x\xa0"):
        assert run("explain", words).stdout.startswith(r"user_id:\u3000x is p_"), words
    result = run("explain", "x")
    assert (result.exit_code, result.stderr[:19]) == (1, "error: x: no event ")
    for words in ("", " ", "user_id: "):
        result = run("explain", words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.endswith(": names no id. Give for example user_id:4711.\n"), words


@pytest.mark.parametrize(
    ("ids", "code", "message"),
    [
        (
            "nobody",
            1,
            "nobody: no event up to the last `loader resolve` has this id. For loads since, run: loader resolve",
        ),
        ("user_id:K", 1, "user_id:K: no event up to the last"),
        ("p_00000000000000000000", 1, "p_00000000000000000000: no event up to the last"),
        ("D", 2, "D: is a user_id and an anonymous_id. Say which: user_id:D or anonymous_id:D"),
        ("A user_id:A", 2, "A: is one id, not two."),
        ("A nobody", 1, "nobody: no event"),
    ],
)
def test_errors(run: Run, folder: Path, ids: str, code: int, message: str) -> None:
    result = run("explain", *ids.split(), "--warehouse", str(folder / "warehouse"))
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(f"error: {message}")


def test_before_the_first_resolve(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(warehouses.lines(raw("09:00 a track A")))
    assert run("load", "a.jsonl").exit_code == 0
    result = run("explain", "A")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: who is who was not worked out yet. Run: loader resolve\n",
    )


def test_a_reset_at_the_end_of_time(run: Run, tmp_path: Path) -> None:
    """It ends nothing: so no stretch has an end beyond all times."""
    load(tmp_path, "09:00 b1 track B @K", "09:01 a1 track A @K", "9999-12-31T23:59:59.999999 out reset @K")
    text = run("explain", "K").stdout
    assert "- anonymous_id:K from the beginning until 2024-05-06 09:01:00: " in text
    assert "- anonymous_id:K from 2024-05-06 09:01:00 on: " in text


# --- where events are found -------------------------------------------------------------------------------------------


def places(one: dict[str, Any]) -> list[tuple[Any, ...]]:
    events = [tie["event"] for each in one["identifiers"] for tie in each["ties"]]
    return [(each["id"], each["table"], Path(each["file"]).name, each["line"], each["element"]) for each in events]


def test_events_received_late_or_in_a_batch(found: Found, tmp_path: Path) -> None:
    late = raw('09:00 late track A @D {"receivedAt": "2024-07-01T00:00:00Z"}')
    batch = {"batch": [raw("09:01 z track Z"), raw("09:02 inside page A @E")]}
    warehouses.run(tmp_path, {"a.jsonl": warehouses.lines(raw("08:00 y track Y"), late, batch)})
    assert places(found(tmp_path, "A")) == [
        ("late", "tracks", "a.jsonl", 2, None),
        ("inside", "pages", "a.jsonl", 3, 1),
    ]


def test_events_of_one_id_and_time(found: Found, tmp_path: Path) -> None:
    """Calls may share an id: the one with the ids of the tie is meant."""
    load(tmp_path, "09:00 x track B @E\n09:00 x page A @D\n09:00 x alias F>A\n09:00 x identify A")
    assert places(found(tmp_path, "A")) == [("x", "pages", "1.jsonl", 2, None), ("x", "aliases", "1.jsonl", 3, None)]


def test_events_without_a_table_of_all_tracks(found: Found, tmp_path: Path) -> None:
    load(tmp_path, '09:00 a track A @D {"event": "Bought"}\n09:01 b track A @E {"event": "!"}', skip_tracks_table=True)
    assert places(found(tmp_path, "A")) == [
        ("a", "bought", "1.jsonl", 1, None),
        ("b", "other_events", "1.jsonl", 2, None),
    ]


# --- what there can be much of ----------------------------------------------------------------------------------------


def test_a_large_person(run: Run, found: Found, tmp_path: Path) -> None:
    load(tmp_path, "\n".join(f"09:00:{at:02} e{at:02} track A @D{at:02}" for at in range(60)))
    one = found(tmp_path, "A")
    assert [each["id"] for each in one["identifiers"]] == ["A", *(f"D{at:02}" for at in range(49))]
    assert one["more_identifiers"] == 11
    text = run("explain", "A").stdout
    assert "and 11 ids more; to see why one of them: loader explain user_id:A ID\n" in text
    assert [each["id"] for each in found(tmp_path, "D59")["identifiers"]][:2] == ["D59", "A"]


def test_a_long_chain(found: Found, tmp_path: Path) -> None:
    load(tmp_path, "\n".join(f"09:{at:02} s{at:02} alias c{at:02}>c{at + 1:02}" for at in range(20)))
    one = found(tmp_path, "c00")
    assert [each["id"] for each in one["identifiers"]] == [f"c{at:02}" for at in range(13)]
    assert one["more_identifiers"] == 8
    steps = found(tmp_path, "c20", "c00")["steps"]
    assert [step["to"]["id"] for step in steps] == [f"c{at:02}" for at in range(19, -1, -1)]


def test_ties_that_do_not_count_are_followed_so_far(
    found: Found, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ties, "MOST", 1)  # not on from the hub, but on to it
    assert [step["to"]["id"] for step in found(folder, "hub", "spoke1")["steps"]] == ["spoke1"]
    two = found(folder, "hub", "A")
    assert (two["reason"], two["why"]) == ("no_path", "nothing ties them")
    monkeypatch.setattr(ties, "STEPS", 1)
    two = found(folder, "K1", "K2")
    assert (two["reason"], two["why"]) == ("no_path", "nothing that is near ties them (1 ties)")


def test_a_way_within_persons(found: Found, tmp_path: Path) -> None:
    """Two persons with a shared device between: the way leads through ids of each."""
    load(tmp_path, "09:00 a alias A>B\n09:01 b track B @K\n09:02 c track C @K\n09:03 d track C @D")
    two = found(tmp_path, "A", "D")
    assert [(step["from"]["id"], step["to"]["id"], step["status"]) for step in two["steps"]] == [
        ("A", "B", "used"),
        ("B", "K", "shared"),
        ("K", "C", "shared"),
        ("C", "D", "used"),
    ]
    person = found(tmp_path, "A")["asked"]["person_id"]
    assert [step["to"]["id"] for step in found(tmp_path, person, "D")["steps"]] == ["K", "C", "D"]


def test_traits(found: Found, tmp_path: Path) -> None:
    """What is merged on is an id between; one of too many users does not count."""
    load(
        tmp_path,
        """
        09:00 a identify A {"traits": {"email": "X@x.org"}}
        09:01 b identify B {"traits": {"email": "x@x.org "}}
        09:02 c identify C {"traits": {"email": "many@x.org"}}
        09:03 d identify D {"traits": {"email": "many@x.org"}}
        09:04 e identify E {"traits": {"email": "many@x.org"}}
        """,
        merge_on=("email",),
        max_alias_partners=2,
    )
    one = found(tmp_path, "A")
    assert [(each["id_type"], each["id"]) for each in one["identifiers"]] == [
        ("user_id", "A"),
        ("email", "x@x.org"),
        ("user_id", "B"),
    ]
    assert (one["more_identifiers"], places(one)[1]) == (0, ("b", "identifies", "1.jsonl", 2, None))
    two = found(tmp_path, "C", "E")
    assert (two["reason"], [step["to"]["id"] for step in two["steps"]]) == ("capped", ["many@x.org", "E"])


def test_ids_are_safe_to_show(run: Run, tmp_path: Path) -> None:
    load(tmp_path, '09:00 a track @D {"userId": "\\u001b[31m\\n"}')
    text = run("explain", "D").stdout
    assert "└─ user_id:\\x1b[31m, 1 event" in text
    assert "\x1b" not in text


def test_the_way_is_the_shortest() -> None:
    """Against a search of all ways, over random ties."""
    draw = random.Random(4)
    for _ in range(200):
        vertices = draw.randrange(2, 9)
        pairs = [draw.sample(range(vertices), 2) for _ in range(draw.randrange(1, 12))]
        rows = [
            {"kind": "alias", "type_a": "user_id", "id_a": str(a), "type_b": "user_id", "id_b": str(b)}
            for a, b in pairs
        ]
        found = ties.Ties(pa.Table.from_pylist([{**row, "status": "used"} for row in rows]))
        far = {(a, b): 0 if a == b else 99 for a in range(vertices) for b in range(vertices)}
        far |= {pair: 1 for a, b in pairs for pair in ((a, b), (b, a))}
        for middle, a, b in itertools.product(range(vertices), repeat=3):
            far[a, b] = min(far[a, b], far[a, middle] + far[middle, b])
        for (a, b), distance in far.items():
            path = found.path(("user_id", str(a)), ("user_id", str(b)))
            assert (99 if path is None else len(path)) == distance
            for tie in path or []:
                assert str(a) in (tie["id_a"], tie["id_b"])
                a = int(tie["id_b"] if tie["id_a"] == str(a) else tie["id_a"])
            assert path is None or a == b
