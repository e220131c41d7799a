"""Contexts that are nearly alike, many of them in one load: what is known is told right, and no value is lost."""

import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from json import loads as from_json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loader import compiled, context, split
from tests import reference, test_context
from tests.test_flatten_property import compare

KEYS = [
    "app",
    "build",
    "name",
    "ip",
    "IP",
    "",
    "page",
    "url",
    "size",
    "w",
    "wifi",
    "tags",
    "traits",
    "locale",
    "a",
    "a.b",
]


SCALARS = (None, True, False, "", "x", "{}", "{x", "[]", "true", "7", "NaN", "2024-05-06", "2024-05-06T07:08:09Z")
INTEGERS = ("0", "-0", "7", "9007199254740993", "18446744073709551616")
DOUBLES = ("1.5", "1E2", "2.0", "1e22", "1e999")
ARRAYS = ("[]", '[""]', "[null]", '["x",true]', '[[["x"]]]', "[{}]", '[{"a":null,"a":"x"}]')
OBJECTS = ("{}", '{"a":null}', '{"a":"x"}', '{"w":null,"w":null}', '{"url":"x"}')
VALUES: list[reference.JSON] = [
    *SCALARS,
    *(reference.Number(text, True) for text in INTEGERS),
    *(reference.Number(text, False) for text in DOUBLES),
    *map(reference.parse, (*ARRAYS, *OBJECTS)),
]


def near(to: reference.JSON, chance: random.Random) -> reference.JSON:
    """A value made of this one: most of it the same, now and then with another value, a key more, less or twice."""
    if chance.random() < 0.06:
        return chance.choice(VALUES)
    if not isinstance(to, reference.Object):
        return to
    pairs = [(key, near(inner, chance)) for key, inner in to.pairs if chance.random() < 0.9]
    while chance.random() < 0.06:
        keys = [key for key, _ in pairs] if pairs and chance.random() < 0.6 else KEYS
        pairs.insert(chance.randint(0, len(pairs)), (chance.choice(keys), chance.choice(VALUES)))
    return reference.Object(pairs)


# Keys that collide, land on rule columns, have no name or need quoting; and texts and numbers that need a second look.
COLLIDING = (
    '{"a":{"b":1,"":"e"},"a_b":2,"a.b":"x","A":{"B":true},"ip":"1","IP":"2","traits":{"a":1,"id":"z","a_b":{"c":[1]}},'
    r'"list":["a",{"0":1}],"0":{"x":1},"x\ny":"n","q\"u":"v","@#$":"n","\u0000":"o","order":7,"ключ":"я","passed_ip":"p"}'
)
DOUBTFUL = (
    '{"d":"2024-05-06","e":"2024-05-06T07:08:09Z","f":"","g":1.0,"h":10,"i":9007199254740993,"j":1e400,"k":"{x",'
    '"l":null,"m":{"n":null}}'
)


def contexts_near(chance: random.Random, count: int, usual: str = test_context.USUAL) -> list[str]:
    """Contexts like the usual one. All are objects."""
    to = reference.parse(usual)
    made = [near(to, chance) for _ in range(count)]
    return [reference.minified(each) for each in made if isinstance(each, reference.Object)]


def examples(number: int) -> settings:
    """As many loads; the seed of one that fails is printed."""
    return settings(
        max_examples=int(os.environ.get("LOADER_EXAMPLES", number)),
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )


seeds = given(st.integers(0, 2**32))


@examples(5)
@seeds
def test_what_is_known_is_told_from_the_rest(seed: int) -> None:
    """Also where the first contexts are not all alike."""
    chance = random.Random(seed)
    first = [test_context.USUAL] * chance.randint(0, 30) + contexts_near(chance, 4)
    texts = contexts_near(chance, 300)
    members = test_context.members_of(*first)
    wrong = []
    for scanned in (True, False):
        with mock.patch.object(compiled, "is_there", lambda scanned=scanned: scanned):
            found = test_context.read(texts, first)
        for text, each in zip(texts, found, strict=True):
            json, members_ = test_context.expected(members, text)
            if (values(each.json) or None, told(each.texts)) != (values(json) or None, told(members_)):
                wrong.append((scanned, text, each))
    assert wrong == []


def told(texts: dict[str, str]) -> dict[str, Any]:
    """What the texts of members say."""
    return {key: values(text) for key, text in texts.items()}


def values(text: str | None) -> Any:
    """What a JSON text says, however its numbers are written; objects are tuples, so that none is taken for a list."""
    return None if text is None else from_json(text, object_pairs_hook=tuple)


@examples(4)
@seeds
def test_same_tables_as_the_reference(seed: int) -> None:
    same_tables(seed)


@pytest.mark.long
@examples(150)
@seeds
def test_same_tables_as_the_reference_many_times(seed: int) -> None:
    same_tables(seed)


def same_tables(seed: int) -> None:
    """Two loads: many events of several calls with contexts that are much alike."""
    chance = random.Random(seed)
    rules: dict[str, Any] = {
        "allow_users_context_traits": chance.random() < 0.3,
        "json_paths": ("page.context.app", "identify.context.tags") if chance.random() < 0.1 else (),
        "on_type_conflict": chance.choice(["discard", "discard", "widen"]),
        "max_columns": chance.choice([1600, 1600, 24]),
        "store_full_event": chance.random() < 0.2,
    }
    usual = chance.choice([test_context.USUAL, test_context.USUAL, COLLIDING, DOUBTFUL])
    loads = []
    for load in range(2):
        numbers = iter(range(load * 1000, load * 1000 + 1000))
        first = [usual, *contexts_near(chance, chance.randint(0, 3), usual)]
        head = list(islice(cycle(events_with(first, chance, numbers)), split.SAMPLE_LINES))
        files = [head, events_with(contexts_near(chance, 150, usual), chance, numbers)]
        loads.append(["\n".join(lines).encode() for lines in files])
    part = chance.choice([context._PART, 5000])
    with tempfile.TemporaryDirectory() as name, mock.patch.object(context, "_PART", part):
        compare(Path(name), loads, rules)


def events_with(contexts: Sequence[str], chance: random.Random, numbers: Iterator[int]) -> list[str]:
    """Events with these contexts; a few have none, two, or one that is no object, or come in a batch."""
    lines = []
    for context_ in contexts:
        call = chance.choice(["track", "track", "identify", "page", "reset"])
        number = next(numbers)
        fields = [
            f'"type":"{call}","messageId":"m{number}","userId":"u{number % 5}","receivedAt":"2024-05-06T07:08:09Z"',
            '"event":"A"',
            '"traits":{"a":1}',
        ]
        shown = chance.random()
        if shown > 0.03:
            fields.insert(chance.randint(0, 3), f'"context":{context_}')
        if shown < 0.06:
            fields.append('"context":' + chance.choice(["null", "{}", "[]", '"x"', '{"ip":"192.0.2.2"}']))
        line = "{" + ",".join(fields) + "}"
        lines.append(f'{{"batch":[{line}]}}' if chance.random() < 0.03 else line)
    return lines
