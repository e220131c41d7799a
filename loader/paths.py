"""Paths into JSON: as json_tree writes them, as keys, as pointers. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

_MAX_DEPTH = 32  # of a path that json_transform reads; deeper ones are read by pointer


def split_path(fullkey: str) -> tuple[str, ...]:
    r"""The keys of a path as json_tree writes it: `$.a."b.c"` is ("a", "b.c"); `\` escapes in quotes."""
    keys, at = [], 1
    while at < len(fullkey):
        at += 1  # the dot
        if fullkey[at] == '"':
            end = at + 1
            while fullkey[end] != '"':
                end += 2 if fullkey[end] == "\\" else 1
            quoted = fullkey[at + 1 : end]
            keys.append(re.sub(r"(?s)\\(.)", r"\1", quoted))
            at = end + 1
        else:
            end = fullkey.find(".", at)
            end = len(fullkey) if end < 0 else end
            keys.append(fullkey[at:end])
            at = end
    return tuple(keys)


def pointer(keys: Iterable[str]) -> str:
    """The JSON pointer to a path: it takes any key."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def plant(tree: dict[str, Any], keys: Sequence[str], type_: str) -> bool:
    """Adds a path to a structure for json_transform; False where that cannot hold it: its keys are told apart without
    regard to case, and none may be empty."""
    if len(keys) > _MAX_DEPTH:
        return False
    node: dict[str, Any] | None = tree
    for at, key in enumerate(keys):
        last = at == len(keys) - 1
        twin = next((name for name in node or () if name.lower() == key.lower()), None)
        if not key or (twin is not None and (twin != key or last or not isinstance((node or {})[twin], dict))):
            return False
        node = node[key] if node is not None and twin is not None else None
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = type_
    return True
