"""The tables of identity: decides their columns, their keys and where they lie (identity.md, "Tables and views").

Columns that only a later run needs stand after those that analysts see.
"""

from collections.abc import Sequence

from loader.calls import rule_columns
from loader.keyed import Keyed
from loader.schema import Column

FOLDER = "identity"  # of the warehouse


def folder(name: str) -> str:
    """The folder of a table of identity, relative to the warehouse."""
    return f"{FOLDER}/{name}"


def _columns(text: str) -> tuple[Column, ...]:
    return tuple(Column(*pair.split()) for pair in text.replace("\n", " ").split(","))


def _keyed(name: str, key: str, columns: str) -> Keyed:
    return Keyed(name, folder(name), tuple(key.split()), _columns(columns))


EDGES = _keyed(
    "edges",
    "kind type_a id_a type_b id_b",
    """kind VARCHAR, type_a VARCHAR, id_a VARCHAR, type_b VARCHAR, id_b VARCHAR, first_seen TIMESTAMPTZ,
    last_seen TIMESTAMPTZ, events BIGINT, first_event_id VARCHAR, status VARCHAR, reason VARCHAR,
    first_received_at TIMESTAMPTZ""",
)
MAP = _keyed(
    "map",
    "id_type id",
    """id_type VARCHAR, id VARCHAR, person_id VARCHAR, status VARCHAR, first_seen TIMESTAMPTZ, last_seen TIMESTAMPTZ,
    events BIGINT, example_event_id VARCHAR, own_first TIMESTAMPTZ, own_last TIMESTAMPTZ, partners BIGINT""",
)
PERSONS = _keyed(
    "persons",
    "person_id",
    """person_id VARCHAR, anchor_type VARCHAR, anchor_id VARCHAR, minted_at TIMESTAMPTZ, retired_at TIMESTAMPTZ,
    current_person_id VARCHAR""",
)
INTERVALS = _keyed(
    "device_intervals",
    "anonymous_id",
    "anonymous_id VARCHAR, person_id VARCHAR, valid_from TIMESTAMPTZ, valid_to TIMESTAMPTZ",
)
SESSIONS = _keyed(
    "sessions",
    "person_id",
    """session_id VARCHAR, person_id VARCHAR, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, events BIGINT, pages BIGINT,
    landing_page VARCHAR, referrer VARCHAR, utm_source VARCHAR, utm_medium VARCHAR, utm_campaign VARCHAR,
    utm_term VARCHAR, utm_content VARCHAR""",
)
USER_TRAITS = _keyed(
    "user_traits",
    "person_id",
    """person_id VARCHAR, trait VARCHAR, value VARCHAR, set_at TIMESTAMPTZ, event_id VARCHAR, previous_value VARCHAR""",
)
KEYED = (EDGES, MAP, PERSONS, INTERVALS, SESSIONS, USER_TRAITS)
CHANGES = _columns("""load_id BIGINT, kind VARCHAR, old_id VARCHAR, new_id VARCHAR,
    id_type_a VARCHAR, id_a VARCHAR, id_type_b VARCHAR, id_b VARCHAR, event_id VARCHAR""")
RULES = _columns("""action VARCHAR, type_a VARCHAR, id_a VARCHAR, type_b VARCHAR, id_b VARCHAR,
    reason VARCHAR, added_at TIMESTAMPTZ""")
RESOLVES = _columns("""resolve_id BIGINT, load_id BIGINT, file_id BIGINT, started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ, complete BOOLEAN, clean BOOLEAN, events BIGINT, options JSON""")
HIDDEN = {"edges": ("first_received_at",), "map": ("own_first", "own_last", "partners")}  # from analysts

PERSON = _columns("""person_id VARCHAR, primary_user_id VARCHAR, user_ids JSON, anonymous_ids JSON,
    first_seen TIMESTAMPTZ, last_seen TIMESTAMPTZ, events BIGINT, sessions BIGINT""")
OVERSIZE = 50  # user ids of a person; more are an alarm (R8; sql/views/conflicts.sql has it, too)
LISTS = ("user_ids", "anonymous_ids")  # text of JSON on disk, lists for analysts


def free(name: str, taken: Sequence[str]) -> str:
    """The name with as many `_` in front as keep it apart from those taken."""
    while name in taken:
        name = "_" + name
    return name


def traits(identifies: Sequence[Column]) -> list[Column]:
    """The columns of `identifies` that hold a trait: neither a rule column nor part of the context."""
    rules = {column.name for column in rule_columns("identify", event_table=False, full_event=True)}
    return [column for column in identifies if column.name not in rules and not column.name.startswith("context_")]


def trait_names(identifies: Sequence[Column]) -> dict[str, str]:
    """The column of `resolved.users` for each trait: its name, with `_` in front where a fixed column is called so."""
    fixed = [column.name for column in PERSON]
    found = [column.name for column in traits(identifies)]
    names: dict[str, str] = {}
    for name in found:
        others = [*fixed, *names.values(), *(other for other in found if other not in fixed and other != name)]
        names[name] = free(name, others) if name in fixed else name
    return names


def persons(identifies: Sequence[Column]) -> Keyed:
    """`resolved.users`: a living person a row, with the latest value of every trait."""
    names = trait_names(identifies)
    columns = tuple(Column(names[column.name], column.type) for column in traits(identifies))
    return Keyed("resolved_users", folder("resolved_users"), ("person_id",), (*PERSON, *columns))


def users(identifies: Sequence[Column]) -> Keyed:
    """`users` (warehouse-schema.md, 7): a user id a row, with the latest value of every column of `identifies`."""
    own = [c for c in identifies if c.name not in ("id", "user_id", "loader_file_id", "loader_line", "loader_element")]
    own.sort(key=lambda column: column.name == "received_at")
    return Keyed("users", folder("users"), ("id",), (Column("id", "VARCHAR"), *own))
