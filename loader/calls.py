"""Which call becomes which table, from which parts of the event, with which rule columns (warehouse-schema.md, 1-3)."""

from dataclasses import dataclass

from loader.schema import Column

TRACK = "track"
OTHER_EVENTS = "other_events"

# call -> its table. The order is the one in which tables are shown and committed.
CALL_TABLES = {
    "identify": "identifies",
    "track": "tracks",
    "page": "pages",
    "screen": "screens",
    "group": "groups",
    "alias": "aliases",
    "reset": "resets",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the event whose keys become columns.

    `json` is the staged JSON column that holds it (`context`, `props`: properties or traits by call, `user_props`),
    `under` the keys to its root in there, `prefix` what its columns start with, `field` its name in the event.
    """

    json: str
    field: str
    prefix: str = ""
    under: tuple[str, ...] = ()


CONTEXT = Part("context", "context", "context_")
PROPERTIES = Part("props", "properties")
TRAITS = Part("props", "traits")
USER_PROPERTIES = Part("user_props", "userProperties")
CONTEXT_TRAITS = Part("context", "context.traits", under=("traits",))

# Calls whose `props` are traits; the others have properties.
TRAIT_CALLS = ("identify", "group", "alias")
USER_PROPERTY_CALLS = ("track", "identify")


def parts(call: str, event_table: bool, context_traits: bool = False) -> tuple[Part, ...]:
    """The parts that a table of this call flattens, later ones winning (section 3, precedence)."""
    if call == TRACK:
        return (PROPERTIES, USER_PROPERTIES, CONTEXT) if event_table else (CONTEXT,)
    if call == "identify":
        allowed = (CONTEXT_TRAITS,) if context_traits else ()
        return (USER_PROPERTIES, *allowed, TRAITS, CONTEXT)
    return (TRAITS if call in TRAIT_CALLS else PROPERTIES, CONTEXT)


_FIRST = (
    Column("id", "VARCHAR"),
    Column("anonymous_id", "VARCHAR"),
    Column("user_id", "VARCHAR"),
    Column("channel", "VARCHAR"),
    Column("timestamp", "TIMESTAMPTZ"),
    Column("original_timestamp", "TIMESTAMPTZ"),
    Column("sent_at", "TIMESTAMPTZ"),
    Column("received_at", "TIMESTAMPTZ"),
    Column("received_date", "DATE"),
)
_OWN = {
    "track": (Column("event", "VARCHAR"), Column("event_text", "VARCHAR")),
    "page": (Column("name", "VARCHAR"),),
    "screen": (Column("name", "VARCHAR"),),
    "group": (Column("group_id", "VARCHAR"),),
    "alias": (Column("previous_id", "VARCHAR"),),
}
_LAST = (
    Column("context_ip", "VARCHAR"),
    Column("context_request_ip", "VARCHAR"),
    Column("context_passed_ip", "VARCHAR"),
    Column("uuid_ts", "TIMESTAMPTZ"),
    Column("loader_file_id", "BIGINT"),
    Column("loader_line", "BIGINT"),
    Column("loader_element", "BIGINT"),
)
PARTITION = "received_date"
LINEAGE = ("loader_file_id", "loader_line", "loader_element")


def rule_columns(call: str, event_table: bool, full_event: bool = False) -> tuple[Column, ...]:
    """The columns whose meaning and type the rules fix, in table order.

    `full_event`: with `store_full_event`, call tables also hold `rudder_event`.
    """
    full = (Column("rudder_event", "JSON"),) if full_event and not event_table else ()
    return (*_FIRST, *_OWN.get(call, ()), *_LAST, *full)
