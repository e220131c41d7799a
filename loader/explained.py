"""What `loader explain` found, written for a person: a tree of ids with their ties, or the way from one to another."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loader.text import CUT, many, plain

WIDE = 80  # of an id; what is longer is cut

_STATUS = {"attached": "", "user": "", "anonymous": "never seen with a user id", None: ""}


def write_one(found: Mapping[str, Any]) -> str:
    """One id, its person and the ids of that (UTC)."""
    asked, person = found["asked"], found["person"]
    lines = [_asked(asked, found["reason"])]
    if person:
        ids = f"{many(person['user_ids'], 'user id')}, {many(person['anonymous_ids'], 'device')}, {_seen(person)}"
        lines.append(f"{ids}; named after {_named(person, 'anchor_type', 'anchor_id')}")
        lines += ["", *_tree(found["identifiers"])]
        if more := found["more_identifiers"]:
            first = _named(found["identifiers"][0])
            lines.append(f"and {many(more, 'id')} more; to see why one of them: loader explain {first} ID")
    elif asked["id_type"] != "person_id":
        lines.append(_seen(asked))
    aside = [line for tie in found["aside"] for line in (f"- {_tie(tie)}", *_more(tie, "  "))]
    lines += _section("ties that do not count", aside, found["more_aside"])
    lines += _section("stretches of shared devices", map(_stretch, found["stretches"]), found["more_stretches"])
    lines += _section("what happened to the person", map(_change, found["changes"]), found["more_changes"])
    return "".join(f"{line}\n" for line in lines)


def write_two(found: Mapping[str, Any]) -> str:
    """Whether two ids are one person, and the way from one to the other (UTC)."""
    a, b, steps = _named(found["a"]), _named(found["b"]), found["steps"]
    if found["same"]:
        lines = [f"{a} and {b} are the same person, {found['person_id']}"]
    else:
        lines = [f"{a} and {b} are not the same person: {plain(found['why'])}"]
        lines += [
            f"{_named(each)} is {_whose(each)}" for each in (found["a"], found["b"]) if each["id_type"] != "person_id"
        ]
    if steps:
        lines += ["", _named(steps[0]["from"])]
    for tie in steps:
        bar = "│ " if tie["status"] == "used" else "┊ "
        lines += [bar + _tie(tie, tie["from"], tie["to"]), *_more(tie, bar), _named(tie["to"])]
    return "".join(f"{line}\n" for line in lines)


def _asked(asked: Mapping[str, Any], reason: str | None) -> str:
    name = _named(asked)
    if asked["status"] == "retired":
        since = f"since {_time(asked['retired_at'])}"
        if asked["person_id"] is None:
            return f"{name} is nobody {since}; it was named after {_named(asked, 'anchor_type', 'anchor_id')}"
        return f"{name} is {asked['person_id']} {since}"
    if asked["id_type"] == "person_id":
        return f"{name}, minted {_time(asked['minted_at'])}"
    return f"{name} is {_whose(asked)}" + (f": {plain(reason)}" if reason else "")


def _whose(asked: Mapping[str, Any]) -> str:
    if asked["status"] == "shared":
        return "a shared device: of several persons, so of none"
    return "nobody's" if asked["status"] == "blocked" else str(asked["person_id"])


def _tree(identifiers: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each id, below it those that it leads to, and of each its ties."""
    below: dict[tuple[str, str] | None, list[Mapping[str, Any]]] = {}
    for each in identifiers:
        above = (each["above"]["id_type"], each["above"]["id"]) if each["above"] else None
        below.setdefault(above, []).append(each)
    lines: list[str] = []
    waiting = [(each, "", "") for each in reversed(below.get(None, []))]
    while waiting:
        each, lead, rest = waiting.pop()
        under = below.get((each["id_type"], each["id"]), [])
        known = _STATUS.get(each["status"], "")
        lines.append(lead + ", ".join(filter(None, [_named(each), known, _seen(each) if each["status"] else ""])))
        bar = rest + ("│ " if under else "  ")
        lines += [line for tie in each["ties"] for line in (bar + _tie(tie, each, each["above"]), *_more(tie, bar))]
        last = len(under) - 1
        waiting += [
            (child, rest + ("└─ " if at == last else "├─ "), rest + ("   " if at == last else "│  "))
            for at, child in reversed([*enumerate(under)])
        ]
    return lines


def _tie(tie: Mapping[str, Any], *between: Mapping[str, Any]) -> str:
    """A tie in a line: its kind, its ends, how often and when. between: ids that need not be named again."""
    ends = [(tie["type_a"], tie["id_a"]), (tie["type_b"], tie["id_b"])]
    implied = sorted(ends) == sorted((each["id_type"], each["id"]) for each in between)
    a, b = _named(tie, "type_a", "id_a"), _named(tie, "type_b", "id_b")
    named = f" {a} → {b}" if tie["kind"] == "alias" else "" if implied else f" {a}, {b}"
    how = f"a rule of {_time(tie['first_seen'])}" if tie["kind"] == "link" else _seen(tie)
    how += _colon(tie["reason"]) if tie["status"] == "used" else ""
    return f"{plain(tie['kind'])}{named}: {how}"


def _more(tie: Mapping[str, Any], bar: str) -> list[str]:
    """The lines below a tie: why it does not count, and the event that made it."""
    lines = [] if tie["status"] == "used" else [f"{bar}  does not count ({tie['status']}){_colon(tie['reason'])}"]
    if event := tie["event"]:
        where = "not in the tables any more"
        if event["file"] is not None:
            element = f" element {event['element']}" if event["element"] is not None else ""
            where = f"{plain(event['file'])} line {event['line']}{element}"
        lines.append(f"{bar}  first: {_cut(event['id'])}, {where}")
    return lines


def _stretch(stretch: Mapping[str, Any]) -> str:
    device = _cut(f"anonymous_id:{stretch['anonymous_id']}")
    start = f"from {_time(stretch['valid_from'])}" if stretch["valid_from"] else "from the beginning"
    end = f" until {_time(stretch['valid_to'])}" if stretch["valid_to"] else " on"
    return f"- {device} {start}{end}: {stretch['person_id']} ({_named(stretch, 'anchor_type', 'anchor_id')})"


def _change(change: Mapping[str, Any]) -> str:
    persons = " → ".join(filter(None, [change["old_id"], change["new_id"]]))
    text = f"- load {change['load_id']}: {change['kind']} {persons}"
    if change["id_a"] is not None:
        text += f", by {_named(change, 'id_type_a', 'id_a')} and {_named(change, 'id_type_b', 'id_b')}"
    return text + (f", event {_cut(change['event_id'])}" if change["event_id"] else "")


def _section(name: str, lines: Iterable[str], more: int) -> list[str]:
    found = list(lines)
    return ["", f"{name}:", *found, *([f"- and {more:,} more"] if more else [])] if found else []


def _seen(each: Mapping[str, Any]) -> str:
    if each["first_seen"] is None:
        return "no event"
    first, last = _time(each["first_seen"]), _time(each["last_seen"])
    return f"{many(each['events'], 'event')}, {first}" + (f" to {last}" if last != first else "")


def _named(each: Mapping[str, Any], type_: str = "id_type", id_: str = "id") -> str:
    return each[id_] if each[type_] == "person_id" else _cut(f"{each[type_]}:{each[id_]}")


def _cut(text: str) -> str:
    text = plain(text)
    return text if len(text) <= WIDE else text[: WIDE - 1] + CUT


def _colon(reason: str | None) -> str:
    return f": {plain(reason)}" if reason else ""


def _time(text: str) -> str:
    text = text.removesuffix("Z").replace("T", " ")
    return text.rstrip("0") if "." in text else text
