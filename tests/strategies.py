"""Hostile events for property tests: small vocabularies, so that keys collide, types mix and ids repeat often."""

import json
from typing import Any

from hypothesis import strategies as st

# Keys that collide after sanitising, land on rule columns, have no name, need quoting, or look like array indexes.
_PLAIN = (
    "a b c a_b A a.b aB id userId event name context_ip context_app_name received_at timestamp uuid_ts order _id 0 1 - "
    "traits ip b_c properties loader_line"
).split(" ")
KEYS = [
    *_PLAIN,
    "",
    "@#$",
    'q"uote',
    "back\\slash",
    "sl/ash",
    "til~de",
    "日本語",
    "Ключ",
    "x\ny",
    "ключ a",
    "*",
    "[0]",
    "é",
    "k" * 140,
]

NUMBERS = [
    0,
    -0.0,
    1,
    -1,
    7,
    2.0,
    1.5,
    -3.25,
    1e22,
    1e-7,
    2**53,
    2**53 + 1,
    -(2**53) - 1,
    2**60,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    10**30,
]
RAW_NUMBERS = [
    "1e999",
    "-1e999",
    "1E2",
    "1.10",
    "-0",
    "0.1e1",
    "123456789012345678901234567890",
    "1.7976931348623157e308",
]
TEXTS = [
    "",
    " ",
    "x",
    "123",
    "true",
    "null",
    "2024-05-06",
    "2024-05-06T07:08:09.010Z",
    "2024-05-06 07:08",
    "2024-05-06T07:08:09.1234567+05:30",
    "2024-02-31",
    "0000-01-01",
    "0001-01-01T00:00:00+05:00",
    "9999-12-31T23:59:59-05:00",
    "2024-05-06T07:08:09z",
    "2024-05-06T24:00:00Z",
    "[]",
    "{}",
    '[""]',
    "[1]",
    '{"a":1}',
    "é",
    "日本",
    "\u0000",
    "a\tb",
    '"',
    "\\",
    "👩‍👩‍👧",
    "\u2028",
    "NaN",
    "2024-05-06x",
]


class Raw(str):
    """JSON text of a number that Python would write otherwise."""


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from([Raw(n) for n in RAW_NUMBERS]),
    st.sampled_from(TEXTS),
    st.text(max_size=4),
)
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS[:8]), st.text(max_size=3))


class Pairs(list[tuple[str, Any]]):
    """A JSON object whose keys may repeat."""


def _objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Pairs]:
    unique = st.lists(st.tuples(keys, values), max_size=5, unique_by=lambda pair: pair[0])
    return st.one_of(unique, unique, unique, st.lists(st.tuples(keys, values), max_size=4)).map(Pairs)


values = st.recursive(scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), _objects(inner)), max_leaves=8)
parts = st.one_of(_objects(values), _objects(values), _objects(values), scalars, st.just([]), st.just([1]))


def text_of(value: Any) -> str:
    """The JSON text of a value of these strategies."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{text_of(inner)}" for key, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    return json.dumps(value)


ids = st.one_of(st.sampled_from(["m1", "m2", "m3", "", " ", 5, None]), st.integers(10, 10**6).map(lambda n: f"m{n}"))
instants: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [
            "2024-05-06T07:08:09.010Z",
            "2024-05-06T07:08:09Z",
            "2024-06-30T00:00:00Z",
            "2024-05-07",
            "2023-01-01T00:00:00+05:00",
        ]
    ),
    st.sampled_from(["2024-05-06T07:08:09.010Z", "2024-05-08T01:00:00.5Z"]),
    st.sampled_from(["2099-01-01", "bad", "", None, 5, [], "0001-01-01", "9999-12-31T23:59:59.999999Z", {"a": 1}]),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "messageId": ids,
    "userId": st.one_of(st.sampled_from(["u1", "u2", 7, "", None]), scalars),
    "anonymousId": st.one_of(st.sampled_from(["a1", "a2"]), values),
    "event": st.one_of(
        st.sampled_from(["A", "a", "B c", "b_c", "order", "pages", "users", "", "@#$", None, 5, ["x"], "日本"]),
        st.text(max_size=3),
    ),
    "name": st.one_of(st.sampled_from(["Home", "", None]), values),
    "groupId": values,
    "previousId": scalars,
    "channel": scalars,
    "request_ip": st.sampled_from(["192.0.2.1", "", None, 5]),
    "originalTimestamp": instants,
    "sentAt": instants,
    "receivedAt": instants,
    "timestamp": instants,
    "properties": parts,
    "traits": parts,
    "userProperties": parts,
    "context": parts,
    "extra": values,
}
types = st.sampled_from(["track"] * 6 + ["identify", "identify", "page", "screen", "group", "alias", "reset", "Track"])


@st.composite
def events(draw: st.DrawFn) -> str:
    """The JSON text of an event, most fields there, now and then a field twice."""
    pairs: list[tuple[str, Any]] = [("type", draw(types))]
    for field, strategy in FIELDS.items():
        if draw(st.integers(0, 9)) < (
            8 if field in ("messageId", "receivedAt", "properties", "context", "event", "traits") else 4
        ):
            pairs.append((field, draw(strategy)))
    if draw(st.integers(0, 9)) == 0:
        field = draw(st.sampled_from(list(FIELDS)))
        pairs.append((field, draw(FIELDS[field])))
    if draw(st.booleans()):
        pairs = draw(st.permutations(pairs))
    return text_of(Pairs(pairs))


no_events = st.sampled_from(
    [
        "",
        "  ",
        "\t",
        "[1]",
        "12",
        "null",
        '"x"',
        "{",
        "{}",
        '{"type":null}',
        '{"type":"x"}',
        '{"type":["track"]}',
        '{"batch":[]}',
        '{"batch":{}}',
        '{"a":1}',
        "nonsense",
        '{"type":"track"} {"type":"track"}',
        '{"type":5,"batch":[1]}',
        "\u0000",
        '{"a":"\\ud800"}',
    ]
)


@st.composite
def batches(draw: st.DrawFn) -> str:
    """The JSON text of an envelope."""
    elements = draw(
        st.lists(
            st.one_of(events(), events(), st.sampled_from(["3", "null", "{}", '{"type":"x"}', '{"batch":[]}'])),
            max_size=3,
        )
    )
    sent = draw(st.sampled_from(["", ',"sentAt":"2024-05-06T07:08:10Z"', ',"sentAt":"bad"', ',"sentAt":null']))
    return '{"batch":[' + ",".join(elements) + "]" + sent + "}"


lines = st.one_of(events(), events(), events(), events(), events(), events(), no_events, batches())
files = st.lists(lines, max_size=25).map(lambda found: "\n".join(found).encode("utf-8", "surrogatepass"))
